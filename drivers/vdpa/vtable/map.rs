// SPDX-License-Identifier: GPL-2.0-only

//! Address translation.

use super::{
    bindings,
    Operations,
    VTable, //
};
use crate::vdpa::{
    Iotlb,
    IovaRange,
    Map, //
};
use kernel::{
    bindings as kbindings,
    error::from_result,
    mm::Mm,
    prelude::*, //
};

impl<T: Operations> VTable<T> {
    /// # Safety
    ///
    /// See [`VTable`]; `iotlb` must be valid, and nobody may change it meanwhile.
    pub(super) unsafe extern "C" fn set_map(
        vdev: *mut bindings::vdpa_device,
        asid: c_uint,
        iotlb: *mut bindings::vhost_iotlb,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let dev = unsafe { Self::dev_with_as(vdev, asid) }?;

            // SAFETY: By the safety requirements; vhost holds its device mutex, under which alone
            // it changes the structure.
            let iotlb = unsafe { Iotlb::from_raw(iotlb) };

            T::set_map(dev, asid, iotlb).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn dma_map(
        vdev: *mut bindings::vdpa_device,
        asid: c_uint,
        iova: u64,
        size: u64,
        pa: u64,
        perm: u32,
        _opaque: *mut c_void,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let dev = unsafe { Self::dev_with_as(vdev, asid) }?;
            let range = IovaRange::from_size(iova, size).ok_or(EINVAL)?;
            let map = Map::new(range, pa, perm).ok_or(EINVAL)?;

            T::dma_map(dev, asid, &map).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn dma_unmap(
        vdev: *mut bindings::vdpa_device,
        asid: c_uint,
        iova: u64,
        size: u64,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let dev = unsafe { Self::dev_with_as(vdev, asid) }?;
            let range = IovaRange::from_size(iova, size).ok_or(EINVAL)?;

            T::dma_unmap(dev, asid, range).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn reset_map(
        vdev: *mut bindings::vdpa_device,
        asid: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let dev = unsafe { Self::dev_with_as(vdev, asid) }?;
            T::reset_map(dev, asid).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn set_group_asid(
        vdev: *mut bindings::vdpa_device,
        group: c_uint,
        asid: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let dev = unsafe { Self::dev_with_as(vdev, asid) }?;
            if group >= dev.ngroups() {
                return Err(EINVAL);
            }
            T::set_group_asid(dev, group, asid).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// See [`VTable`]; `mm` must be valid, and its memory stay until `unbind_mm()` has returned.
    pub(super) unsafe extern "C" fn bind_mm(
        vdev: *mut bindings::vdpa_device,
        mm: *mut kbindings::mm_struct,
    ) -> c_int {
        // SAFETY: By the safety requirements; vhost holds a reference that keeps the structure.
        from_result(|| unsafe { T::bind_mm(Self::dev(vdev), Mm::from_raw(mm)) }.map(|()| 0))
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn unbind_mm(vdev: *mut bindings::vdpa_device) {
        // SAFETY: By the safety requirements.
        T::unbind_mm(unsafe { Self::dev(vdev) });
    }
}
