// SPDX-License-Identifier: GPL-2.0-only

//! Who uses a device.

use kernel::{
    bindings,
    prelude::*, //
};

/// The bus driver that uses a vDPA device.
///
/// The vDPA core does not tell parents, yet it matters to a parent with its own IOMMU: virtio-vdpa
/// belongs to the kernel, and expects its DMA addresses to work; vhost-vdpa belongs to a process,
/// which must reach nothing but what it has mapped.
///
/// The two are told apart by the name of the driver that the device is bound to, and that is looked
/// up once in each `reset`, because both of them reset the device before they do anything else to
/// it, and because it cannot be unbound meanwhile: virtio-vdpa resets the device as part of probing
/// and removing it, and vhost-vdpa with its file open, which removal waits for. In other
/// operations, those that come from netlink, the driver could go away, and its name with it, while
/// it is looked at.
///
/// So this is the one that has reset the device last. Before the first reset there is none, and
/// nothing but netlink has called any operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum BusDriver {
    /// No bus driver has used the device yet.
    None,
    /// vhost-vdpa: a process, through `/dev/vhost-vdpa-N`.
    VhostVdpa,
    /// virtio-vdpa: a virtio driver of this kernel.
    VirtioVdpa,
    /// A driver that this abstraction does not know.
    Other,
}

impl BusDriver {
    pub(super) fn from_u32(value: u32) -> Self {
        match value {
            v if v == Self::None as u32 => Self::None,
            v if v == Self::VhostVdpa as u32 => Self::VhostVdpa,
            v if v == Self::VirtioVdpa as u32 => Self::VirtioVdpa,
            _ => Self::Other,
        }
    }

    /// Looks up which driver a device is bound to.
    ///
    /// # Safety
    ///
    /// `dev` must be valid, and not be bound or unbound during the call.
    pub(super) unsafe fn of(dev: *const bindings::device) -> Self {
        // SAFETY: By the safety requirements.
        let driver = unsafe { (*dev).driver };
        if driver.is_null() {
            return Self::None;
        }

        // SAFETY: A driver that a device is bound to is registered, and has a name.
        let name = unsafe { CStr::from_char_ptr((*driver).name) };

        match name.to_bytes() {
            b"vhost_vdpa" => Self::VhostVdpa,
            b"virtio_vdpa" => Self::VirtioVdpa,
            _ => Self::Other,
        }
    }
}
