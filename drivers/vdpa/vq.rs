// SPDX-License-Identifier: GPL-2.0-only

//! Values that describe a virtqueue.

use super::bindings;
use kernel::prelude::*;

/// The addresses of a virtqueue's three areas, in the address space of the virtqueue's group.
///
/// The vDPA core checks no more than the alignment of the driver and device areas; all else is up
/// to the driver. Any of them may legally be 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VqAddress {
    /// Descriptor table (split) or descriptor ring (packed).
    pub desc: u64,
    /// Available ring (split) or driver event suppression (packed).
    pub driver: u64,
    /// Used ring (split) or device event suppression (packed).
    pub device: u64,
}

/// A position in a packed ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackedIndex {
    /// Index of a descriptor; 15 bits.
    pub idx: u16,
    /// Ring wrap counter.
    pub wrap: bool,
}

impl PackedIndex {
    /// The bit of the wrap counter in what [`Self::to_bits()`] returns.
    const WRAP: u16 = 1 << 15;

    /// The position in one half-word, as virtio writes it: the index in bits 0 to 14, the wrap counter in bit 15.
    pub fn to_bits(self) -> u16 {
        match self.wrap {
            true => self.idx | Self::WRAP,
            false => self.idx & !Self::WRAP,
        }
    }

    /// The position that a half-word has, written likewise.
    pub fn from_bits(bits: u16) -> Self {
        Self {
            idx: bits & !Self::WRAP,
            wrap: bits & Self::WRAP != 0,
        }
    }
}

/// Where a virtqueue stands: `struct vdpa_vq_state`.
///
/// Which of the two the C union holds follows from `VIRTIO_F_RING_PACKED` in
/// [`Operations::get_driver_features()`].
///
/// [`Operations::get_driver_features()`]: super::Operations::get_driver_features
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VqState {
    /// Split ring.
    Split {
        /// Index of the next available-ring entry that the device will read.
        avail_index: u16,
    },
    /// Packed ring.
    Packed {
        /// The next descriptor that the device will look at.
        avail: PackedIndex,
        /// The next descriptor that the device will mark as used.
        used: PackedIndex,
    },
}

impl VqState {
    /// Reads the C union.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a valid `vdpa_vq_state`, of which the member that `packed` selects is
    /// initialised.
    pub(super) unsafe fn read(ptr: *const bindings::vdpa_vq_state, packed: bool) -> Self {
        if packed {
            let ptr = ptr.cast::<bindings::vdpa_vq_state_packed>();
            // SAFETY: By the safety requirements; both members of the union start at its address.
            let state = unsafe { &*ptr };

            Self::Packed {
                avail: PackedIndex {
                    idx: state.last_avail_idx(),
                    wrap: state.last_avail_counter() != 0,
                },
                used: PackedIndex {
                    idx: state.last_used_idx(),
                    wrap: state.last_used_counter() != 0,
                },
            }
        } else {
            let ptr = ptr.cast::<bindings::vdpa_vq_state_split>();

            Self::Split {
                // SAFETY: By the safety requirements; both members of the union start at its
                // address.
                avail_index: unsafe { (*ptr).avail_index },
            }
        }
    }

    /// Writes the C union, all of it.
    ///
    /// # Errors
    ///
    /// `EINVAL`, with nothing written, if this is the state of the other kind of ring, or if an
    /// index does not fit 15 bits.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid for writing a `vdpa_vq_state`.
    pub(super) unsafe fn write(self, ptr: *mut bindings::vdpa_vq_state, packed: bool) -> Result {
        const MAX: u16 = 0x7fff;

        let mut raw = bindings::vdpa_vq_state::default();

        match self {
            Self::Split { avail_index } if !packed => {
                let raw = (&raw mut raw).cast::<bindings::vdpa_vq_state_split>();
                // SAFETY: `raw` is a live union, and its members start at its address.
                unsafe { (*raw).avail_index = avail_index };
            }
            Self::Packed { avail, used } if packed && avail.idx <= MAX && used.idx <= MAX => {
                let raw = (&raw mut raw).cast::<bindings::vdpa_vq_state_packed>();
                // SAFETY: `raw` is a live, zeroed union, and its members start at its address.
                let raw = unsafe { &mut *raw };
                raw.set_last_avail_idx(avail.idx);
                raw.set_last_avail_counter(avail.wrap.into());
                raw.set_last_used_idx(used.idx);
                raw.set_last_used_counter(used.wrap.into());
            }
            _ => return Err(EINVAL),
        }

        // SAFETY: By the safety requirements.
        unsafe { ptr.write(raw) };

        Ok(())
    }
}

/// A page of the device that userspace may map to ring a virtqueue's doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotificationArea {
    /// Physical address of the area.
    pub addr: u64,
    /// Size of the area.
    pub size: u64,
}
