// SPDX-License-Identifier: GPL-2.0-only

//! vDPA devices: `struct vdpa_device` together with the driver's data.

use super::{
    affinity::Masks,
    bindings,
    map_ops::Space,
    BusDriver,
    Callbacks,
    ChangeNotifier,
    Operations, //
};
use core::{
    mem::offset_of,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    bindings as kbindings,
    device,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque, //
};

/// A vDPA device, with the driver's data for it; dereferences to the latter.
///
/// References exist while an operation runs, and inside `dev_add`; they cannot be kept. That is
/// what lets the data be dropped at a known time: when the device is deleted, after its bus driver
/// has let go of it, before `dev_del` returns, with the parent still bound and with `vdpa_dev_lock`
/// held. So the data may borrow from what lives as long as the parent is bound, and it may sleep
/// when it is dropped. A reference to the `struct device` that somebody else holds, by an open
/// sysfs file, say, keeps the memory but not the data.
///
/// # Invariants
///
/// - `vdev` comes first and was initialised by `__vdpa_alloc_device()`, with a bound parent.
/// - Every field is initialised as long as there are references to `Self`.
/// - References exist only while the parent is bound.
#[repr(C)]
pub struct Device<T: Operations> {
    pub(super) vdev: Opaque<bindings::vdpa_device>,
    /// What `vdev.config` points to.
    pub(super) ops: Opaque<bindings::vdpa_config_ops>,
    pub(super) bus_driver: Atomic<u32>,
    pub(super) callbacks: Arc<Callbacks>,
    /// By the number of a group of virtqueues, if virtio-vdpa's memory is mapped by the driver. Does not change.
    pub(super) maps: KVec<Space>,
    /// Places for the answers to `get_vq_affinity`. Does not change, apart from what is under its lock.
    pub(super) affinity: Masks,
    pub(super) data: T,
}

impl<T: Operations> Device<T> {
    /// Borrows a device from its C side.
    ///
    /// # Safety
    ///
    /// `ptr` must point to the `vdev` of a [`Device<T>`] that satisfies the type invariants for
    /// `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::vdpa_device) -> &'a Self {
        const_assert!(offset_of!(Device<T>, vdev) == 0);

        // SAFETY: By the safety requirements, and because `vdev` is the first field.
        unsafe { &*ptr.cast() }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::vdpa_device {
        self.vdev.get()
    }

    /// Returns the driver's data.
    #[inline]
    pub fn data(&self) -> Pin<&T> {
        // SAFETY: `data` is initialised in place and does not move until it is dropped; all access
        // is through shared references.
        unsafe { Pin::new_unchecked(&self.data) }
    }

    /// Returns the device that the driver is bound to, which does the DMA.
    #[inline]
    pub fn parent(&self) -> &device::Device<device::Bound> {
        // SAFETY: By the type invariant, the parent is valid, bound, and stays so while `self` is
        // borrowed. It was set before the device was published and does not change.
        unsafe { &*(*self.as_raw()).dev.parent.cast() }
    }

    /// Returns the number of virtqueues.
    #[inline]
    pub fn nvqs(&self) -> u16 {
        self.callbacks.nvqs()
    }

    /// Returns the number of virtqueue groups.
    #[inline]
    pub fn ngroups(&self) -> u32 {
        // SAFETY: By the type invariant; does not change after allocation.
        unsafe { (*self.as_raw()).ngroups }
    }

    /// Returns the number of address spaces.
    #[inline]
    pub fn nas(&self) -> u32 {
        // SAFETY: By the type invariant; does not change after allocation.
        unsafe { (*self.as_raw()).nas }
    }

    /// Returns the name that the device was added under.
    pub fn name(&self) -> &CStr {
        self.as_ref().name()
    }

    /// Returns a way to tell userspace about the device, which may be kept.
    pub fn change_notifier(&self) -> ChangeNotifier {
        // SAFETY: By the type invariant.
        unsafe { ChangeNotifier::new(self.as_ref()) }
    }

    /// Returns the callbacks of the device.
    #[inline]
    pub fn callbacks(&self) -> &Arc<Callbacks> {
        &self.callbacks
    }

    /// Returns which bus driver uses the device.
    ///
    /// See [`BusDriver`] for what the answer can be relied upon for.
    #[inline]
    pub fn bus_driver(&self) -> BusDriver {
        BusDriver::from_u32(self.bus_driver.load(Relaxed))
    }

    /// Finds out which bus driver uses the device.
    ///
    /// # Safety
    ///
    /// To be called only where the bus driver cannot be unbound meanwhile.
    pub(super) unsafe fn note_bus_driver(&self) {
        // SAFETY: By the type invariant, `vdev` is valid; the rest is by the safety requirements.
        let driver = unsafe { BusDriver::of(&raw const (*self.as_raw()).dev) };
        self.bus_driver.store(driver as u32, Relaxed);
    }

    /// Returns whether somebody has set driver features since the last reset.
    ///
    /// The core keeps this so as to tell a legacy guest, which reads the configuration before that.
    /// The answer may be out of date unless the operation that asks runs under `cf_lock`, see
    /// [`Operations`].
    pub fn features_valid(&self) -> bool {
        // SAFETY: By the type invariant, `vdev` is valid. `bool` is written as a byte, 0 or 1,
        // under `cf_lock`; the access is volatile because that need not be held here.
        unsafe { (&raw const (*self.as_raw()).features_valid).read_volatile() }
    }

    /// Drops what `Device` has beyond the C structure.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `Device` whose fields are initialised, and to which there are no
    /// references. It must not be called twice. Afterwards, only the C structure may be used.
    pub(super) unsafe fn drop_data(ptr: NonNull<Self>) {
        let ptr = ptr.as_ptr();

        // SAFETY: By the safety requirements. `data` has been pinned and is dropped in place.
        unsafe {
            core::ptr::drop_in_place(&raw mut (*ptr).data);
            // After the data, by which the device has let go of memory that these may still own.
            core::ptr::drop_in_place(&raw mut (*ptr).maps);
            core::ptr::drop_in_place(&raw mut (*ptr).callbacks);
            core::ptr::drop_in_place(&raw mut (*ptr).affinity);
        }
    }

    /// Unregisters a device, drops its data, and gives back the bus's reference.
    ///
    /// # Safety
    ///
    /// `vdev` must belong to a registered [`Device<T>`] and `vdpa_dev_lock` must be held for
    /// writing.
    pub(super) unsafe fn unregister(vdev: *mut bindings::vdpa_device) {
        // SAFETY: By the safety requirements, `vdev` is valid.
        let dev = unsafe { &raw mut (*vdev).dev };

        // The bus's reference goes away below, but the data is still to be dropped.
        //
        // SAFETY: `dev` is valid.
        unsafe { kbindings::get_device(dev) };

        // Returns once the bus driver has let go of the device; in particular this waits until
        // vhost's file is closed.
        //
        // SAFETY: By the safety requirements, it is registered, and the lock is held.
        unsafe { bindings::_vdpa_unregister_device(vdev) };

        // SAFETY: `vdev` is valid, hence not null, and the first field of `Self`.
        let this = unsafe { NonNull::new_unchecked(vdev.cast::<Self>()) };

        // The bus driver is gone. Callbacks of its own may still be reachable through other
        // references to the table if it did not reset the device at last.
        //
        // SAFETY: The data is still there; the reference ends with this statement.
        unsafe { (*this.as_ptr()).callbacks.clear() };

        // SAFETY: There is no bus driver, netlink does not find the device any more, and it holds
        // the lock while it uses one; thus no operation runs, and there are no references. The
        // device has been registered, so nobody else has dropped the data or will: it cannot be
        // registered twice.
        unsafe { Self::drop_data(this) };

        // SAFETY: This is the reference taken above.
        unsafe { kbindings::put_device(dev) };
    }
}

impl<T: Operations> Deref for Device<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T: Operations> AsRef<device::Device> for Device<T> {
    #[inline]
    fn as_ref(&self) -> &device::Device {
        // SAFETY: By the type invariant, `vdev` is valid, and so is the device in it.
        unsafe { device::Device::from_raw(&raw mut (*self.as_raw()).dev) }
    }
}

// SAFETY: The C structure may be used from any thread, `data` is `Send` and `Sync`, the masks are memory
// behind a mutex, and the rest is immutable or atomic.
unsafe impl<T: Operations> Send for Device<T> {}

// SAFETY: As for `Send`.
unsafe impl<T: Operations> Sync for Device<T> {}
