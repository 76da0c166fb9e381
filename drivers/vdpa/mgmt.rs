// SPDX-License-Identifier: GPL-2.0-only

//! Management devices: what `vdpa dev add` and `vdpa dev del` talk to.
//!
//! The core has no way to hand an error message (extack) to these operations; an errno is all that
//! reaches the user.

mod config;

pub use self::config::{
    ConfigAttr,
    ConfigAttrs,
    DeviceConfig, //
};

use super::{
    bindings,
    Device,
    Operations, //
};
use core::{
    marker::PhantomPinned,
    ops::Deref, //
};
use kernel::{
    bindings as kbindings,
    container_of,
    device,
    error::{
        from_result,
        to_result, //
    },
    faux,
    fmt,
    prelude::*,
    str::CString,
    types::Opaque, //
};

/// The operations of a management device: `struct vdpa_mgmtdev_ops`.
///
/// All of them run under the global `vdpa_dev_lock`, hence one at a time, for all vDPA devices of
/// the machine. They may sleep.
#[vtable]
pub trait ManagementOperations: Sized + Send + Sync {
    /// The driver's data for a device.
    type Device: Operations;

    /// Adds a device named `name`: creates it with [`UnregisteredDevice::new()`] and registers it.
    ///
    /// To be left without a device if it fails; dropping the [`UnregisteredDevice`] is enough.
    /// Whether another device has this name already turns out only when it is registered.
    ///
    /// [`UnregisteredDevice`]: super::UnregisteredDevice
    /// [`UnregisteredDevice::new()`]: super::UnregisteredDevice::new
    fn dev_add(&self, request: &AddRequest<'_, Self>, name: &CStr, config: &DeviceConfig)
        -> Result;

    /// Called before a device is deleted. Optional.
    ///
    /// It is still registered and possibly open; deleting it then waits for whoever uses it. When
    /// that is over, the driver's data is dropped, which is the place to release what the device
    /// holds.
    fn dev_del(&self, _dev: &Device<Self::Device>) {}

    /// Changes attributes of an existing device, which may be in use. Optional.
    ///
    /// Runs with the device's `cf_lock` held for writing.
    fn dev_set_attr(&self, _dev: &Device<Self::Device>, _config: &DeviceConfig) -> Result {
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }
}

/// A request to add a device, and with it the permission to register one.
///
/// # Invariants
///
/// Exists only during `dev_add`, with `vdpa_dev_lock` held for writing.
pub struct AddRequest<'r, M: ManagementOperations> {
    mgmt: &'r ManagementDevice<'r, M>,
}

impl<'r, M: ManagementOperations> AddRequest<'r, M> {
    /// Returns the device that the driver is bound to.
    #[inline]
    pub fn parent(&self) -> &'r device::Device<device::Bound> {
        self.mgmt.parent
    }

    pub(super) fn parent_raw(&self) -> *mut kbindings::device {
        parent_raw(self.mgmt.parent)
    }

    pub(super) fn mdev_raw(&self) -> *mut bindings::vdpa_mgmt_dev {
        self.mgmt.mdev.get()
    }
}

/// What a management device says about itself.
#[derive(Clone, Copy)]
pub struct ManagementInfo<'i> {
    /// Virtio device IDs (`VIRTIO_ID_*`) of the devices that can be added.
    pub device_ids: &'i [u32],
    /// Features that devices may offer.
    pub supported_features: u64,
    /// The largest number of virtqueues that a device may have.
    pub max_supported_vqs: u32,
    /// Attributes that may be given when a device is added or changed.
    pub config_attrs: ConfigAttrs,
    /// If a driver has several management devices: what this one is called. It then is that of a child of the parent, a
    /// faux device named `CHILD.PARENT`, because the core tells management devices apart by their devices. The parent of
    /// the vDPA devices is the same as ever. [`None`]: it is the parent's own.
    pub child: Option<&'i str>,
}

/// Returns the C side of a device, of which `device::Device` is a transparent wrapper.
fn parent_raw(parent: &device::Device<device::Bound>) -> *mut kbindings::device {
    core::ptr::from_ref(parent).cast_mut().cast()
}

/// A registered management device.
///
/// A driver keeps one of these in its bus device data, declared before all that devices use, so
/// that it is dropped first. Dropping it deletes every device that was added, and waits for those
/// who use them: a process that keeps a vhost-vdpa file open blocks it. Netlink requests either
/// come before and are over, or do not find the management device any more.
///
/// Hence it must not be dropped with a lock held that any of the operations takes, nor from one of
/// them.
///
/// # Invariants
///
/// - `mdev` is registered with the core, and contains pointers to `child` or, without one, to
///   `parent`, and to `id_table`, which ends with a zeroed entry.
/// - `parent` is bound as long as `self` exists.
//
// Pinned on purpose, even if `M` is not: it must be fine for the core to use the structure while
// `drop()` holds a mutable reference to it.
#[pin_data(PinnedDrop)]
pub struct ManagementDevice<'a, M: ManagementOperations> {
    #[pin]
    mdev: Opaque<bindings::vdpa_mgmt_dev>,
    id_table: KVec<bindings::virtio_device_id>,
    parent: &'a device::Device<device::Bound>,
    child: Option<faux::Registration>,
    #[pin]
    data: M,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The core may be called from any thread, and `M` is `Send`.
unsafe impl<M: ManagementOperations> Send for ManagementDevice<'_, M> {}

// SAFETY: Nothing is changed through a shared reference but by the core, under its lock, and `M` is
// `Sync`.
unsafe impl<M: ManagementOperations> Sync for ManagementDevice<'_, M> {}

impl<'a, M: ManagementOperations> ManagementDevice<'a, M> {
    const OPS: bindings::vdpa_mgmtdev_ops = bindings::vdpa_mgmtdev_ops {
        dev_add: Some(Self::dev_add),
        dev_del: Some(Self::dev_del),
        dev_set_attr: if M::HAS_DEV_SET_ATTR {
            Some(Self::dev_set_attr)
        } else {
            None
        },
    };

    /// Registers a management device for `parent`; its name is that of `parent`, unless
    /// [`ManagementInfo::child`] says otherwise.
    ///
    /// Operations may run before this returns, so it is the last thing to do when probing.
    ///
    /// # Errors
    ///
    /// `ENOMEM` without memory, `ENODEV` if there is a child of that name, and what `data` fails with.
    ///
    /// # Safety
    ///
    /// Callers must not `mem::forget()` the result, or otherwise keep it from being dropped before
    /// `parent` is unbound.
    pub unsafe fn new<E>(
        parent: &'a device::Device<device::Bound>,
        info: ManagementInfo<'a>,
        data: impl PinInit<M, E> + 'a,
    ) -> impl PinInit<Self, Error> + 'a
    where
        M: 'a,
        E: 'a,
        Error: From<E>,
    {
        try_pin_init!(&this in Self {
            mdev: Opaque::new(pin_init::zeroed()),
            id_table: Self::id_table(info.device_ids)?,
            parent,
            child: Self::child(parent, info.child)?,
            data <- data,
            _pin: PhantomPinned,
            _: {
                // SAFETY: The field has been initialised just above; the core does not know it yet.
                let mdev = unsafe { (*this.as_ptr()).mdev.get() };

                // SAFETY: As above. What the pointers point to lives as long as `Self`.
                unsafe {
                    (*mdev).device = match child.as_ref() {
                        Some(child) => parent_raw(child.as_ref().as_ref()),
                        None => parent_raw(parent),
                    };
                    (*mdev).ops = &Self::OPS;
                    (*mdev).id_table = id_table.as_ptr().cast_mut();
                    (*mdev).config_attr_mask = info.config_attrs.into();
                    (*mdev).supported_features = info.supported_features;
                    (*mdev).max_supported_vqs = info.max_supported_vqs;
                }

                // INVARIANT: Registered, unless this fails.
                // SAFETY: `mdev` is complete, and stays where it is until it is unregistered in
                // `drop()`. All that operations use has been initialised.
                to_result(unsafe { bindings::vdpa_mgmtdev_register(mdev) })?;
            },
        })
    }

    fn child(
        parent: &device::Device<device::Bound>,
        name: Option<&str>,
    ) -> Result<Option<faux::Registration>> {
        let Some(name) = name else {
            return Ok(None);
        };
        let parent_name = parent.name().to_str()?;
        let name = CString::try_from_fmt(fmt!("{name}.{parent_name}"))?;

        faux::Registration::new(&name, Some(parent)).map(Some)
    }

    fn id_table(ids: &[u32]) -> Result<KVec<bindings::virtio_device_id>> {
        let mut table = KVec::with_capacity(ids.len() + 1, GFP_KERNEL)?;

        for &device in ids {
            let vendor = bindings::VIRTIO_DEV_ANY_ID;
            table.push(bindings::virtio_device_id { device, vendor }, GFP_KERNEL)?;
        }
        table.push(pin_init::zeroed(), GFP_KERNEL)?;

        Ok(table)
    }

    /// Borrows a management device from its C side.
    ///
    /// # Safety
    ///
    /// `mdev` must be that of a live [`ManagementDevice<M>`], for `'m`.
    unsafe fn from_raw<'m>(mdev: *mut bindings::vdpa_mgmt_dev) -> &'m ManagementDevice<'m, M> {
        // SAFETY: By the safety requirements.
        unsafe { &*container_of!(Opaque::cast_from(mdev), ManagementDevice<'m, M>, mdev) }
    }

    /// # Safety
    ///
    /// For the core to call, under `vdpa_dev_lock`, with a registered `mdev`.
    unsafe extern "C" fn dev_add(
        mdev: *mut bindings::vdpa_mgmt_dev,
        name: *const c_char,
        config: *const bindings::vdpa_dev_set_config,
    ) -> c_int {
        // SAFETY: By the safety requirements; a registered management device is live.
        let mgmt = unsafe { Self::from_raw(mdev) };
        // SAFETY: The core passes a string, and holds on to it meanwhile.
        let name = unsafe { CStr::from_char_ptr(name) };
        // SAFETY: The core passes a valid structure.
        let config = DeviceConfig::from(unsafe { &*config });

        // INVARIANT: By the safety requirements.
        let request = AddRequest { mgmt };

        from_result(|| M::dev_add(&mgmt.data, &request, name, &config).map(|()| 0))
    }

    /// # Safety
    ///
    /// For the core to call, under `vdpa_dev_lock`, with a registered `mdev`, and a registered
    /// `vdev` whose `mdev` it is.
    unsafe extern "C" fn dev_del(
        mdev: *mut bindings::vdpa_mgmt_dev,
        vdev: *mut bindings::vdpa_device,
    ) {
        // SAFETY: By the safety requirements; a registered management device is live.
        let mgmt = unsafe { Self::from_raw(mdev) };

        // SAFETY: By the safety requirements. `UnregisteredDevice::new()` alone creates devices for
        // this management device, and they have this type.
        M::dev_del(&mgmt.data, unsafe { Device::from_raw(vdev) });

        // SAFETY: As above, and the reference above is gone.
        unsafe { Device::<M::Device>::unregister(vdev) };
    }

    /// # Safety
    ///
    /// For the core to call, under `vdpa_dev_lock`, with a registered `mdev`, and a registered
    /// `vdev` whose `mdev` it is.
    unsafe extern "C" fn dev_set_attr(
        mdev: *mut bindings::vdpa_mgmt_dev,
        vdev: *mut bindings::vdpa_device,
        config: *const bindings::vdpa_dev_set_config,
    ) -> c_int {
        // SAFETY: By the safety requirements; a registered management device is live.
        let mgmt = unsafe { Self::from_raw(mdev) };
        // SAFETY: By the safety requirements; see `dev_del()` for the type.
        let dev = unsafe { Device::from_raw(vdev) };
        // SAFETY: The core passes a valid structure.
        let config = DeviceConfig::from(unsafe { &*config });

        from_result(|| M::dev_set_attr(&mgmt.data, dev, &config).map(|()| 0))
    }
}

impl<M: ManagementOperations> Deref for ManagementDevice<'_, M> {
    type Target = M;

    #[inline]
    fn deref(&self) -> &M {
        &self.data
    }
}

#[pinned_drop]
impl<M: ManagementOperations> PinnedDrop for ManagementDevice<'_, M> {
    fn drop(self: Pin<&mut Self>) {
        // Deletes all devices, by way of `dev_del()`.
        //
        // SAFETY: By the type invariant, it is registered.
        unsafe { bindings::vdpa_mgmtdev_unregister(self.mdev.get()) };
    }
}
