// SPDX-License-Identifier: GPL-2.0-only

//! What a driver implements for its devices.

use super::{
    Device,
    ExtAck,
    Iotlb,
    IovaRange,
    Map,
    NotificationArea,
    VendorStats,
    VqAddress,
    VqState, //
};
use kernel::{
    cpumask::Cpumask,
    error::VTABLE_DEFAULT_ERROR,
    mm::Mm,
    prelude::*, //
};

/// The operations of a vDPA parent: `struct vdpa_config_ops`.
///
/// The implementing type is the driver's data for one device; see [`Device`]. Implementations carry
/// the `#[vtable]` attribute; an optional operation that is not implemented is absent for the core
/// too. One that only some cards have can be left out at run time, see
/// [`DeviceParams::without`](super::DeviceParams::without).
///
/// Two operations of the C structure are not here: `get_vq_map`, which [`DeviceParams::maps`](super::DeviceParams::maps)
/// stands for, and `free`, in whose place the implementing type is dropped, earlier; see [`Device`].
///
/// # What is checked
///
/// Before the driver is called: every `idx` is below the device's number of virtqueues, every
/// `group` and `asid` below its number of groups and address spaces, configuration accesses lie
/// within [`Self::get_config_size()`], and the addresses of [`Self::dma_map()`] and
/// [`Self::dma_unmap()`] do not wrap. Calls that fail the check are answered with an error, zero or
/// nothing.
///
/// # Context
///
/// Operations run concurrently with each other; a driver has to lock for itself. All of them may
/// sleep, except for [`Self::kick_vq()`] and [`Self::kick_vq_with_data()`], which may come from an
/// interrupt or with interrupts disabled, at any time, even after [`Self::reset()`]; and except for
/// [`Self::get_vq_notification()`], which runs in page faults and must not take locks under which
/// user memory is accessed. The core holds:
///
/// - `vdpa_dev_lock` for reading in [`Self::get_vq_num_max()`], [`Self::get_vq_num_min()`],
///   [`Self::get_device_id()`], [`Self::get_vendor_id()`], [`Self::get_config()`],
///   [`Self::get_device_features()`], [`Self::get_driver_features()`] and [`Self::get_status()`]
///   when they come from netlink. The first four need no privilege, and no bus driver.
/// - `cf_lock` for writing in [`Self::reset()`], [`Self::set_config()`], [`Self::set_status()`]
///   with a status other than 0, and [`Self::set_driver_features()`] once features were set; for
///   reading in [`Self::get_config()`], which may bring [`Self::set_driver_features()`] with it,
///   for a legacy guest.
/// - vhost's device mutex in all that comes through an open vhost-vdpa file, except for open, close
///   and kicks. [`Self::set_map()`] and [`Self::dma_map()`] also come with the `mmap_lock` of the
///   process that owns the device held for reading.
///
/// No operation may add or delete a vDPA device, or otherwise take `vdpa_dev_lock`.
#[vtable]
pub trait Operations: Sized + Send + Sync {
    // Virtqueues.

    /// Sets the addresses of a virtqueue.
    ///
    /// Whatever the error, userspace gets `EINVAL`.
    fn set_vq_address(dev: &Device<Self>, idx: u16, address: VqAddress) -> Result;

    /// Sets the number of entries of a virtqueue.
    ///
    /// The core checks that it is a power of two and no more than [`Self::get_vq_num_max()`], and
    /// nothing about this virtqueue in particular.
    fn set_vq_num(dev: &Device<Self>, idx: u16, num: u32);

    /// Tells the device that a virtqueue has available buffers. May not sleep, nor call back.
    fn kick_vq(dev: &Device<Self>, idx: u16);

    /// As [`Self::kick_vq()`], with `VIRTIO_F_NOTIFICATION_DATA` negotiated. Optional.
    ///
    /// `next` is the next available index of a split ring; of a packed ring, the next index in bits
    /// 0 to 14 and the wrap counter in bit 15.
    fn kick_vq_with_data(_dev: &Device<Self>, _idx: u16, _next: u16) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Learns whether a virtqueue has a callback from now on.
    ///
    /// The callback itself has already been put into [`Device::callbacks()`], or taken out, when
    /// this runs. Does nothing unless implemented.
    fn set_vq_cb(_dev: &Device<Self>, _idx: u16, _present: bool) {}

    /// Starts or stops a virtqueue.
    fn set_vq_ready(dev: &Device<Self>, idx: u16, ready: bool);

    /// Returns whether a virtqueue is started.
    fn get_vq_ready(dev: &Device<Self>, idx: u16) -> bool;

    /// Sets where a virtqueue shall continue.
    ///
    /// Packed if the driver features contain `VIRTIO_F_RING_PACKED`. Indices are not compared with
    /// the number of entries.
    fn set_vq_state(dev: &Device<Self>, idx: u16, state: VqState) -> Result;

    /// Returns where a virtqueue stands. It has to be the state of the kind of ring that was
    /// negotiated, otherwise the caller gets `EINVAL`.
    fn get_vq_state(dev: &Device<Self>, idx: u16) -> Result<VqState>;

    /// Reports the counters of a virtqueue, on behalf of `vdpa dev vstats show`. Optional.
    ///
    /// `idx` is the only thing that the core leaves to its callee to check, and the abstraction does. The caller has the
    /// capability `CAP_NET_ADMIN`, so this may ask the device. It comes for network devices only, and only once their
    /// features are agreed on. Each counter is added with [`VendorStats::put()`]. After an error the user gets none of
    /// them, but the errno and what `extack` was told.
    ///
    /// Runs with `vdpa_dev_lock` and `cf_lock` held for reading.
    fn get_vendor_vq_stats(
        _dev: &Device<Self>,
        _idx: u16,
        _stats: &mut VendorStats<'_>,
        _extack: &mut ExtAck<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the page with a virtqueue's doorbell, if userspace may have it. Optional.
    ///
    /// The doorbell has to be alone in its page, since all of the page is mapped, and may be rung
    /// at any time until the device is deleted.
    fn get_vq_notification(_dev: &Device<Self>, _idx: u16) -> Option<NotificationArea> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the interrupt of a virtqueue, for posting it to a guest directly. Optional.
    ///
    /// It must belong to this virtqueue only, need nothing done but the callback, and stay the same
    /// from `DRIVER_OK` to reset. An error means that there is none.
    fn get_vq_irq(_dev: &Device<Self>, _idx: u16) -> Result<u32> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the maximum number of entries of a virtqueue. Optional.
    fn get_vq_size(_dev: &Device<Self>, _idx: u16) -> u16 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the group of a virtqueue. Optional.
    fn get_vq_group(_dev: &Device<Self>, _idx: u16) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the group of a virtqueue's descriptor area. Optional.
    fn get_vq_desc_group(_dev: &Device<Self>, _idx: u16) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Has the interrupts of a virtqueue go to these CPUs; [`None`] means that its driver has no wish any more. Optional.
    ///
    /// virtio-vdpa is the only caller: when it sets the device up, after which it ignores errors, and whenever the
    /// virtio driver wishes, even with the lock of CPU hotplug held. So an implementation must not take that lock, by
    /// `cpus_read_lock()`, nor wait for somebody who does.
    fn set_vq_affinity(_dev: &Device<Self>, _idx: u16, _mask: Option<&Cpumask>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes to which CPUs the interrupts of a virtqueue go into `mask`, which holds what was written the last time.
    /// Optional.
    ///
    /// An error says that they go anywhere, and the caller gets no mask. virtio-vdpa is the only caller, for virtio
    /// drivers that spread their work as the interrupts are spread. The context is that of
    /// [`Self::set_vq_affinity()`]; besides, a mutex of the abstraction is held, which no other operation takes.
    fn get_vq_affinity(_dev: &Device<Self>, _idx: u16, _mask: &mut Cpumask) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    // The device.

    /// Returns the alignment of rings that virtio-vdpa allocates.
    fn get_vq_align(dev: &Device<Self>) -> u32;

    /// Returns the features that the device offers.
    fn get_device_features(dev: &Device<Self>) -> u64;

    /// Returns backend features (`VHOST_BACKEND_F_*`) that the core does not derive by itself.
    /// Optional.
    fn get_backend_features(_dev: &Device<Self>) -> u64 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets the features that the driver accepts.
    ///
    /// Neither is it checked that the device offers them, nor which depend on which. 0 may come at
    /// any time before features were set, on behalf of a legacy guest.
    fn set_driver_features(dev: &Device<Self>, features: u64) -> Result;

    /// Returns the features in force. Also called by the abstraction, from
    /// [`Self::set_vq_state()`] and [`Self::get_vq_state()`].
    fn get_driver_features(dev: &Device<Self>) -> u64;

    /// As [`Self::set_vq_cb()`], for the callback of configuration changes.
    fn set_config_cb(_dev: &Device<Self>, _present: bool) {}

    /// Returns the largest number of entries that any virtqueue may have.
    fn get_vq_num_max(dev: &Device<Self>) -> u16;

    /// Returns the smallest number of entries that a virtqueue may have. Optional.
    fn get_vq_num_min(_dev: &Device<Self>) -> u16 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the virtio device ID (`VIRTIO_ID_*`).
    fn get_device_id(dev: &Device<Self>) -> u32;

    /// Returns the virtio vendor ID.
    fn get_vendor_id(dev: &Device<Self>) -> u32;

    /// Returns the device status (`VIRTIO_CONFIG_S_*`).
    fn get_status(dev: &Device<Self>) -> u8;

    /// Sets the device status.
    ///
    /// vhost only ever adds bits; which, and in which order, is not checked.
    fn set_status(dev: &Device<Self>, status: u8);

    /// Resets the virtio state of the device, and leaves the translations alone.
    ///
    /// That is status, features, virtqueues and the address space of each group. On return, no DMA
    /// of the former state may still be under way. Callbacks need no attention: the abstraction
    /// removes them, and waits for those under way, after this has run.
    ///
    /// Runs when a vhost-vdpa file is opened, when its status is set to 0 and when it is closed,
    /// and likewise for virtio-vdpa. On close an error is ignored.
    fn reset(dev: &Device<Self>) -> Result;

    /// Resets the virtio state of the device, and with `clean_map` also what [`Self::reset_map()`] would, in all address
    /// spaces. Optional.
    ///
    /// It is for drivers that once cleared their map in [`Self::reset()`], and have to go on doing so for userspace that
    /// has not acknowledged `VHOST_BACKEND_F_IOTLB_PERSIST`. A driver that never did has no use for it. The core calls
    /// this in place of [`Self::reset()`] only if there are flags, so `clean_map` is set in every call so far. All else
    /// is as for [`Self::reset()`].
    fn compat_reset(_dev: &Device<Self>, _clean_map: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Stops all virtqueues, with all state kept: status, features, set-up, and where each stands. Optional.
    ///
    /// On return, no virtqueue takes or returns a buffer any more, even if it is enabled or kicked, and
    /// [`Self::get_vq_state()`] tells where another device can go on with nothing lost or repeated. Kicks may go on
    /// coming. Until [`Self::resume()`] or [`Self::reset()`], vhost lets [`Self::set_vq_address()`] and
    /// [`Self::set_vq_state()`] through although the device is started.
    ///
    /// vhost calls this only after `DRIVER_OK`, any number of times, and answers by itself before. With this
    /// operation it offers `VHOST_BACKEND_F_SUSPEND`.
    fn suspend(_dev: &Device<Self>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Undoes [`Self::suspend()`]: virtqueues go on where they stand, or where they were set to meanwhile. Optional.
    ///
    /// Comes only after `DRIVER_OK`, and also for a device that isn't suspended. A virtqueue that has buffers available
    /// has to look for them by itself: its kick may have come before. With this operation vhost offers
    /// `VHOST_BACKEND_F_RESUME`.
    fn resume(_dev: &Device<Self>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the size of the configuration space, with all that depends on feature bits.
    fn get_config_size(dev: &Device<Self>) -> usize;

    /// Reads the configuration space from `offset`.
    ///
    /// `buf` lies within [`Self::get_config_size()`] and is zeroed. What netlink asks for beyond
    /// that reads as zero.
    fn get_config(dev: &Device<Self>, offset: usize, buf: &mut [u8]);

    /// Writes the configuration space from `offset`.
    ///
    /// Writes that do not lie within [`Self::get_config_size()`] never get here.
    fn set_config(dev: &Device<Self>, offset: usize, buf: &[u8]);

    /// Returns a number that changes with the configuration. Optional.
    fn get_generation(_dev: &Device<Self>) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the addresses that can be translated. Optional; all of them, if absent.
    fn get_iova_range(_dev: &Device<Self>) -> IovaRange {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    // Address translation, of devices that do it on their own.

    /// Makes an address space translate what `iotlb` says, and nothing else. Optional.
    ///
    /// An error is ignored at the end of a batch and after an unmap, so a driver has to be safe by
    /// itself. Memory that is no longer listed has already been unpinned by vhost.
    fn set_map(_dev: &Device<Self>, _asid: u32, _iotlb: &Iotlb) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Adds a translation to an address space. Optional; only together with [`Self::dma_unmap()`].
    ///
    /// With this, vhost-vdpa does not call [`Self::set_map()`] to add anything, batch or not.
    fn dma_map(_dev: &Device<Self>, _asid: u32, _map: &Map) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes translations from an address space. Optional; only together with
    /// [`Self::dma_map()`].
    ///
    /// The memory has already been unpinned. Errors are ignored.
    fn dma_unmap(_dev: &Device<Self>, _asid: u32, _range: IovaRange) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Puts an address space back into its default state. Optional.
    ///
    /// Runs when a vhost-vdpa file is closed, for address spaces that were used; not on reset.
    /// Errors are ignored.
    fn reset_map(_dev: &Device<Self>, _asid: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Assigns an address space to a group of virtqueues. Optional.
    ///
    /// Not after `DRIVER_OK`.
    fn set_group_asid(_dev: &Device<Self>, _group: u32, _asid: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Binds the device to the address space of the process that owns it. Optional; only together with
    /// [`Self::unbind_mm()`], for devices with [`DeviceParams::use_va`](super::DeviceParams::use_va).
    ///
    /// Runs when a process becomes the owner, in its context, with vhost's device mutex held; an error makes that fail.
    /// `mm` keeps its memory, though not its contents, until [`Self::unbind_mm()`] has returned.
    fn bind_mm(_dev: &Device<Self>, _mm: &Mm) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Undoes [`Self::bind_mm()`]. Optional; only together with it.
    ///
    /// Runs when the vhost-vdpa file is closed, after [`Self::reset()`], with vhost's device mutex held, and also if
    /// nobody was bound. The process may have ended.
    fn unbind_mm(_dev: &Device<Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}
