// SPDX-License-Identifier: GPL-2.0-only

//! Device operations.

use super::{
    bindings,
    Operations,
    VTable, //
};
use crate::vdpa::{
    callback::Target,
    Device, //
};
use core::slice;
use kernel::{
    error::from_result,
    prelude::*, //
};

impl<T: Operations> VTable<T> {
    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_device_features(vdev: *mut bindings::vdpa_device) -> u64 {
        // SAFETY: By the safety requirements.
        T::get_device_features(unsafe { Self::dev(vdev) })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_backend_features(
        vdev: *const bindings::vdpa_device,
    ) -> u64 {
        // SAFETY: By the safety requirements. Nothing is written through the pointer.
        T::get_backend_features(unsafe { Self::dev(vdev.cast_mut()) })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn set_driver_features(
        vdev: *mut bindings::vdpa_device,
        features: u64,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        from_result(|| T::set_driver_features(unsafe { Self::dev(vdev) }, features).map(|()| 0))
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_driver_features(vdev: *mut bindings::vdpa_device) -> u64 {
        // SAFETY: By the safety requirements.
        T::get_driver_features(unsafe { Self::dev(vdev) })
    }

    /// # Safety
    ///
    /// See [`VTable`]; `cb` as for [`Target::from_raw()`].
    pub(super) unsafe extern "C" fn set_config_cb(
        vdev: *mut bindings::vdpa_device,
        cb: *mut bindings::vdpa_callback,
    ) {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Self::dev(vdev) };

        // SAFETY: By the safety requirements. The entry is emptied when the callback is replaced,
        // and by `reset()`.
        let target = unsafe { Target::from_raw(cb) };
        let present = target.is_some();

        dev.callbacks().set_config(target);
        T::set_config_cb(dev, present);
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_device_id(vdev: *mut bindings::vdpa_device) -> u32 {
        // SAFETY: By the safety requirements.
        T::get_device_id(unsafe { Self::dev(vdev) })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_vendor_id(vdev: *mut bindings::vdpa_device) -> u32 {
        // SAFETY: By the safety requirements.
        T::get_vendor_id(unsafe { Self::dev(vdev) })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_status(vdev: *mut bindings::vdpa_device) -> u8 {
        // SAFETY: By the safety requirements.
        T::get_status(unsafe { Self::dev(vdev) })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn set_status(vdev: *mut bindings::vdpa_device, status: u8) {
        // SAFETY: By the safety requirements.
        T::set_status(unsafe { Self::dev(vdev) }, status)
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn reset(vdev: *mut bindings::vdpa_device) -> c_int {
        // SAFETY: By the safety requirements.
        unsafe { Self::reset_by(vdev, T::reset) }
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn compat_reset(
        vdev: *mut bindings::vdpa_device,
        flags: u32,
    ) -> c_int {
        let clean_map = flags & bindings::VDPA_RESET_F_CLEAN_MAP != 0;

        // SAFETY: By the safety requirements.
        unsafe { Self::reset_by(vdev, |dev| T::compat_reset(dev, clean_map)) }
    }

    /// What both ways to reset have to do.
    ///
    /// # Safety
    ///
    /// See [`VTable`].
    unsafe fn reset_by(
        vdev: *mut bindings::vdpa_device,
        reset: impl FnOnce(&Device<T>) -> Result,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Self::dev(vdev) };

        // SAFETY: Bus drivers alone reset devices, and are not unbound meanwhile, see `BusDriver`.
        unsafe { dev.note_bus_driver() };

        let result = reset(dev);

        // Whether that has worked or not, the bus driver frees what its callbacks refer to.
        dev.callbacks().clear();

        from_result(|| result.map(|()| 0))
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn suspend(vdev: *mut bindings::vdpa_device) -> c_int {
        // SAFETY: By the safety requirements.
        from_result(|| T::suspend(unsafe { Self::dev(vdev) }).map(|()| 0))
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn resume(vdev: *mut bindings::vdpa_device) -> c_int {
        // SAFETY: By the safety requirements.
        from_result(|| T::resume(unsafe { Self::dev(vdev) }).map(|()| 0))
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_config_size(vdev: *mut bindings::vdpa_device) -> usize {
        // SAFETY: By the safety requirements.
        T::get_config_size(unsafe { Self::dev(vdev) })
    }

    /// # Safety
    ///
    /// See [`VTable`]; `buf` must be valid for writing `len` bytes.
    pub(super) unsafe extern "C" fn get_config(
        vdev: *mut bindings::vdpa_device,
        offset: c_uint,
        buf: *mut c_void,
        len: c_uint,
    ) {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Self::dev(vdev) };
        let buf = buf.cast::<u8>();
        // CAST: `usize` is at least as wide as `unsigned int`.
        let (offset, len) = (offset as usize, len as usize);

        if len == 0 {
            return;
        }

        // SAFETY: By the safety requirements. Once zeroed, the buffer is initialised, and the
        // caller does not look at it before this returns.
        let buf = unsafe {
            buf.write_bytes(0, len);
            slice::from_raw_parts_mut(buf, len)
        };

        // Netlink asks for a whole `virtio_net_config`, however much of it there is.
        let available = T::get_config_size(dev).saturating_sub(offset);
        let buf = &mut buf[..len.min(available)];

        if !buf.is_empty() {
            T::get_config(dev, offset, buf);
        }
    }

    /// # Safety
    ///
    /// See [`VTable`]; `buf` must be valid for reading `len` bytes.
    pub(super) unsafe extern "C" fn set_config(
        vdev: *mut bindings::vdpa_device,
        offset: c_uint,
        buf: *const c_void,
        len: c_uint,
    ) {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Self::dev(vdev) };
        // CAST: `usize` is at least as wide as `unsigned int`.
        let (offset, len) = (offset as usize, len as usize);

        let available = T::get_config_size(dev).saturating_sub(offset);
        if len == 0 || len > available {
            return;
        }

        // SAFETY: By the safety requirements; the caller does not change the buffer meanwhile.
        let buf = unsafe { slice::from_raw_parts(buf.cast::<u8>(), len) };

        T::set_config(dev, offset, buf);
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_generation(vdev: *mut bindings::vdpa_device) -> u32 {
        // SAFETY: By the safety requirements.
        T::get_generation(unsafe { Self::dev(vdev) })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_iova_range(
        vdev: *mut bindings::vdpa_device,
    ) -> bindings::vdpa_iova_range {
        // SAFETY: By the safety requirements.
        let range = T::get_iova_range(unsafe { Self::dev(vdev) });

        bindings::vdpa_iova_range {
            first: range.first(),
            last: range.last(),
        }
    }
}
