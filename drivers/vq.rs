// SPDX-License-Identifier: GPL-2.0-only

//! A virtqueue, as its owner has set it up.

use crate::{
    info::Info,
    vdpa::VqAddress,
    wire, //
};
use kernel::prelude::*;

/// Alignment of the descriptor area in bytes (virtio 1.3, section 2.7).
const DESCRIPTOR_ALIGNMENT: u64 = 16;

/// Alignment of the driver area in bytes.
const DRIVER_ALIGNMENT: u64 = 2;

/// Alignment of the device area in bytes.
const DEVICE_ALIGNMENT: u64 = 4;

/// Whether none of a split ring's areas, with `size` entries, wraps at the end of the address range.
fn areas_exist(address: &VqAddress, size: u16) -> bool {
    let size = u64::from(size);
    // Sizes of the areas in bytes (virtio 1.3, section 2.7), without used_event and avail_event, which
    // exist only with VIRTIO_F_EVENT_IDX.
    let areas = [
        (address.desc, 16 * size),
        (address.driver, 4 + 2 * size),
        (address.device, 4 + 8 * size),
    ];

    areas
        .iter()
        .all(|(start, length)| start.checked_add(length.saturating_sub(1)).is_some())
}

/// Set-up and state of a split virtqueue.
///
/// Set-up may change only while the queue isn't ready, or its device is suspended.
#[derive(Clone, Copy)]
pub(crate) struct Virtqueue {
    address: VqAddress,
    /// Entries; 0 until somebody set a number that the card can have.
    size: u16,
    /// Where to begin in the available ring.
    avail_index: u16,
    /// Where to begin in the used ring.
    used_index: u16,
    /// What the owner asked for.
    ready: bool,
    /// Whether the card runs the queue.
    running: bool,
    /// Whether its device is suspended: it runs again, as it is set up then, when that ends.
    suspended: bool,
}

impl Virtqueue {
    /// The state after a reset.
    pub(crate) const RESET: Self = Self {
        address: VqAddress {
            desc: 0,
            driver: 0,
            device: 0,
        },
        size: 0,
        avail_index: 0,
        used_index: 0,
        ready: false,
        running: false,
        suspended: false,
    };

    /// Whether its owner has enabled it.
    pub(crate) fn ready(&self) -> bool {
        self.ready
    }

    /// Enables or disables it.
    pub(crate) fn set_ready(&mut self, ready: bool) {
        self.ready = ready;
    }

    /// Whether the card runs it.
    pub(crate) fn running(&self) -> bool {
        self.running
    }

    /// Notes that the card runs it.
    pub(crate) fn started(&mut self) {
        self.running = true;
    }

    /// Notes that the card has stopped it at `state`.
    pub(crate) fn stopped(&mut self, state: &wire::QueueState) {
        self.running = false;
        self.avail_index = state.avail_index.get();
        self.used_index = state.used_index.get();
    }

    /// Notes that the card has forgotten the queue before it could do anything: it stands where it began.
    pub(crate) fn not_started(&mut self) {
        self.running = false;
    }

    /// Whether the card has taken buffers that it had not returned when it stopped.
    pub(crate) fn holds_buffers(&self) -> bool {
        self.avail_index != self.used_index
    }

    /// Where it begins, or where it was stopped.
    pub(crate) fn avail_index(&self) -> u16 {
        self.avail_index
    }

    /// Notes that its device is suspended, or that this is over.
    pub(crate) fn set_suspended(&mut self, suspended: bool) {
        self.suspended = suspended;
    }

    fn check_idle(&self) -> Result {
        if self.running || (self.ready && !self.suspended) {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// Sets the areas' I/O virtual addresses.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is enabled and its device not suspended, `EINVAL` if an address isn't aligned or an area wraps.
    pub(crate) fn set_address(&mut self, address: VqAddress) -> Result {
        self.check_idle()?;
        if address.desc % DESCRIPTOR_ALIGNMENT != 0
            || address.driver % DRIVER_ALIGNMENT != 0
            || address.device % DEVICE_ALIGNMENT != 0
            || !areas_exist(&address, self.size)
        {
            return Err(EINVAL);
        }
        self.address = address;
        Ok(())
    }

    /// Sets the number of entries. The core has no way to hear of an error, so a number that the card
    /// can't have makes the start fail later.
    pub(crate) fn set_size(&mut self, size: u32, info: &Info) {
        if self.check_idle().is_ok() {
            self.size = match u16::try_from(size) {
                Ok(size)
                    if size.is_power_of_two()
                        && (info.min_queue_size..=info.max_queue_size).contains(&size) =>
                {
                    size
                }
                _ => 0,
            };
        }
    }

    /// Sets where it begins.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is enabled and its device not suspended.
    pub(crate) fn set_avail_index(&mut self, index: u16) -> Result {
        self.check_idle()?;
        self.avail_index = index;
        // vDPA hands over one index only: buffers that the device had taken have been used too.
        self.used_index = index;
        Ok(())
    }

    /// What the card has to know to start it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if no usable number of entries was set, or an area of so many wraps.
    pub(crate) fn to_wire(
        self,
        queue: u16,
        vector: u16,
        address_space: u16,
        ring_address_space: u16,
        flags: u16,
    ) -> Result<wire::QueueEnable> {
        if self.size == 0 || !areas_exist(&self.address, self.size) {
            return Err(EINVAL);
        }
        Ok(wire::QueueEnable {
            queue: queue.into(),
            size: self.size.into(),
            vector: vector.into(),
            address_space: address_space.into(),
            flags: flags.into(),
            avail_index: self.avail_index.into(),
            used_index: self.used_index.into(),
            ring_address_space: ring_address_space.into(),
            descriptor_area: self.address.desc.into(),
            driver_area: self.address.driver.into(),
            device_area: self.address.device.into(),
        })
    }
}
