// SPDX-License-Identifier: GPL-2.0-only

//! The making of a device, up to its registration.

use super::{
    affinity::Masks,
    bindings,
    map_ops::{
        MapOperations,
        Space,
        MAP_OPS, //
    },
    mgmt::{
        AddRequest,
        ManagementOperations, //
    },
    vtable::{
        OptionalOp,
        VTable, //
    },
    BusDriver,
    Callbacks,
    Device,
    Operations, //
};
use core::{
    alloc::Layout,
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    bindings as kbindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc, //
    },
    types::Opaque, //
};

/// What a device looks like to the vDPA core.
pub struct DeviceParams<'a> {
    /// Table of callbacks; its size is the number of virtqueues of the device.
    pub callbacks: Arc<Callbacks>,
    /// Number of virtqueue groups.
    pub ngroups: u32,
    /// Number of address spaces.
    pub nas: u32,
    /// Who maps the memory that virtio-vdpa uses, by the number of the virtqueues' group; empty if the device can use
    /// what the DMA API maps for the parent.
    pub maps: KVec<Arc<dyn MapOperations>>,
    /// Whether vhost passes virtual addresses of the process that owns the device, instead of physical ones of memory that
    /// it has pinned: as the memory behind I/O virtual addresses, in [`Operations::set_map()`] and
    /// [`Operations::dma_map()`]. They belong to the process that [`Operations::bind_mm()`] names. Only for devices that
    /// have one of the former operations.
    pub use_va: bool,
    /// Operations that this device lacks although the driver implements them.
    pub without: &'a [OptionalOp],
}

/// A vDPA device that is not registered yet.
///
/// Dropping it frees the device together with the driver's data.
///
/// # Invariants
///
/// `dev` points to a [`Device`] that satisfies its type invariants, is not registered, and to which
/// `self` holds the only reference. Its `mdev` is that of the request `'r` belongs to.
pub struct UnregisteredDevice<'r, T: Operations> {
    dev: NonNull<Device<T>>,
    _request: PhantomData<&'r ()>,
}

impl<'r, T: Operations> UnregisteredDevice<'r, T> {
    /// Allocates a device, named `name`, and initialises the driver's data.
    ///
    /// Buffers of virtio-vdpa are mapped for the parent, unless the device has [`DeviceParams::maps`].
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM` without memory, `EINVAL` for a device without groups or address spaces, or with `use_va` but nothing that
    /// could use it, and what `data` fails with.
    pub fn new<M, E>(
        request: &'r AddRequest<'_, M>,
        name: &CStr,
        params: DeviceParams<'_>,
        data: impl PinInit<T, E>,
    ) -> Result<Self>
    where
        M: ManagementOperations<Device = T>,
        Error: From<E>,
    {
        if params.ngroups == 0 || params.nas == 0 {
            return Err(EINVAL);
        }

        let parent = request.parent_raw();
        let table = VTable::<T>::table(params.without, !params.maps.is_empty());
        if params.use_va && table.set_map.is_none() && table.dma_map.is_none() {
            return Err(EINVAL);
        }
        let affinity = match table.get_vq_affinity {
            Some(_) => Masks::new(params.callbacks.nvqs())?,
            None => Masks::NONE,
        };
        let maps = Space::make(request.parent(), params.maps)?;
        let map_ops = match maps.is_empty() {
            true => core::ptr::null(),
            false => &raw const MAP_OPS,
        };

        // kmalloc() aligns to the largest power of two that divides the size, so the size has to be
        // a multiple of the alignment. It is, for any Rust type.
        const_assert!(size_of::<Device<T>>() % align_of::<Device<T>>() == 0);

        // SAFETY: `parent` is valid; the tables are static; the size is that of a structure which starts with a `vdpa_device`; the name is
        // copied.
        let vdev = from_err_ptr(unsafe {
            bindings::__vdpa_alloc_device(
                parent,
                &VTable::<T>::OPS,
                map_ops,
                params.ngroups,
                params.nas,
                Layout::new::<Device<T>>().size(),
                name.as_char_ptr(),
                params.use_va,
            )
        })?;
        let this = vdev.cast::<Device<T>>();

        // The device carries its own table, because the core looks into it once more when the last
        // reference to the `struct device` goes, and by then the driver's module may be gone.
        //
        // SAFETY: `this` points to zeroed memory for a `Device<T>` which nobody else knows, and
        // whose `vdev` is initialised.
        unsafe {
            let ops = Opaque::cast_into(&raw const (*this).ops);
            ops.write(table);

            (*vdev).config = ops;
            (*vdev).vmap.dma_dev = parent;
            (*vdev).mdev = request.mdev_raw();
        }

        // SAFETY: As above; the memory does not move. A failure leaves `data` uninitialised.
        if let Err(err) = unsafe { pin_init::raw_try_init(&raw mut (*this).data, data) } {
            // SAFETY: We own the reference. This frees the memory; nothing has to be dropped.
            unsafe { kbindings::put_device(&raw mut (*vdev).dev) };
            return Err(err.into());
        }

        // SAFETY: As above.
        unsafe {
            (&raw mut (*this).callbacks).write(params.callbacks);
            (&raw mut (*this).maps).write(maps);
            (&raw mut (*this).affinity).write(affinity);
            (&raw mut (*this).bus_driver).write(Atomic::new(BusDriver::None as u32));
        }

        // INVARIANT: All fields are initialised; the parent is bound, by `AddRequest`, for longer
        // than the device is registered.
        Ok(Self {
            // SAFETY: Not null, `from_err_ptr()` has seen to errors.
            dev: unsafe { NonNull::new_unchecked(this) },
            _request: PhantomData,
        })
    }

    /// Registers the device; from now on it belongs to the bus, until `dev_del`.
    ///
    /// Bus drivers are bound before this returns, if any are loaded: operations run, and with
    /// virtio-vdpa the device starts to work. That a bus driver fails to bind is not an error.
    ///
    /// May sleep. Runs under `vdpa_dev_lock`, which `dev_add` holds.
    ///
    /// # Errors
    ///
    /// `EEXIST` if there is a vDPA device of that name, on any management device.
    pub fn register(self) -> Result<&'r Device<T>> {
        let dev = self.dev;

        // SAFETY: By the type invariant, `dev` is valid, with `mdev` set, and not registered; `'r`
        // does not outlive `dev_add`, in which the lock is held.
        to_result(unsafe {
            let vdev = (*dev.as_ptr()).as_raw();
            bindings::_vdpa_register_device(vdev, (*dev.as_ptr()).nvqs().into())
        })?;

        // The bus owns the reference now.
        core::mem::forget(self);

        // SAFETY: `dev_del` does not run during `dev_add`, hence `dev` stays valid for `'r`.
        Ok(unsafe { dev.as_ref() })
    }
}

impl<T: Operations> Deref for UnregisteredDevice<'_, T> {
    type Target = Device<T>;

    #[inline]
    fn deref(&self) -> &Device<T> {
        // SAFETY: By the type invariant.
        unsafe { self.dev.as_ref() }
    }
}

impl<T: Operations> Drop for UnregisteredDevice<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the device is valid, and it was never registered, or
        // registering it has failed; either way no operation runs. Nobody else drops the data.
        unsafe { Device::drop_data(self.dev) };

        // SAFETY: By the type invariant, we hold this reference.
        unsafe {
            let vdev = self.dev.as_ptr().cast::<bindings::vdpa_device>();
            kbindings::put_device(&raw mut (*vdev).dev);
        }
    }
}
