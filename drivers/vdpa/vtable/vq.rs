// SPDX-License-Identifier: GPL-2.0-only

//! Virtqueue operations.

use super::{
    bindings,
    Operations,
    VTable, //
};
use crate::vdpa::{
    callback::Target,
    map_ops::Space,
    ExtAck,
    VendorStats,
    VqAddress,
    VqState, //
};
use kernel::{
    bindings as kbindings,
    cpumask::Cpumask,
    error::from_result,
    prelude::*, //
};

impl<T: Operations> VTable<T> {
    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn set_vq_address(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
        desc: u64,
        driver: u64,
        device: u64,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let dev = unsafe { Self::dev_with_vq(vdev, idx) }.ok_or(EINVAL)?;
            let address = VqAddress {
                desc,
                driver,
                device,
            };
            T::set_vq_address(dev, idx, address).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn set_vq_num(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
        num: u32,
    ) {
        // SAFETY: By the safety requirements.
        if let Some(dev) = unsafe { Self::dev_with_vq(vdev, idx) } {
            T::set_vq_num(dev, idx, num);
        }
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn kick_vq(vdev: *mut bindings::vdpa_device, idx: u16) {
        // SAFETY: By the safety requirements.
        if let Some(dev) = unsafe { Self::dev_with_vq(vdev, idx) } {
            T::kick_vq(dev, idx);
        }
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn kick_vq_with_data(vdev: *mut bindings::vdpa_device, data: u32) {
        // CAST: Virtqueue and index are a half-word each.
        let (idx, next) = (data as u16, (data >> 16) as u16);

        // SAFETY: By the safety requirements.
        if let Some(dev) = unsafe { Self::dev_with_vq(vdev, idx) } {
            T::kick_vq_with_data(dev, idx, next);
        }
    }

    /// # Safety
    ///
    /// See [`VTable`]; `cb` as for [`Target::from_raw()`].
    pub(super) unsafe extern "C" fn set_vq_cb(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
        cb: *mut bindings::vdpa_callback,
    ) {
        // SAFETY: By the safety requirements.
        if let Some(dev) = unsafe { Self::dev_with_vq(vdev, idx) } {
            // SAFETY: By the safety requirements. The entry is emptied when the callback is
            // replaced, and by `reset()`.
            let target = unsafe { Target::from_raw(cb) };
            let present = target.is_some();

            dev.callbacks().set_vq(idx, target);
            T::set_vq_cb(dev, idx, present);
        }
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn set_vq_ready(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
        ready: bool,
    ) {
        // SAFETY: By the safety requirements.
        if let Some(dev) = unsafe { Self::dev_with_vq(vdev, idx) } {
            T::set_vq_ready(dev, idx, ready);
        }
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_vq_ready(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
    ) -> bool {
        // SAFETY: By the safety requirements.
        unsafe { Self::dev_with_vq(vdev, idx) }.is_some_and(|dev| T::get_vq_ready(dev, idx))
    }

    /// # Safety
    ///
    /// See [`VTable`]; `state` must be valid, and initialised for the kind of ring in use.
    pub(super) unsafe extern "C" fn set_vq_state(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
        state: *const bindings::vdpa_vq_state,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let dev = unsafe { Self::dev_with_vq(vdev, idx) }.ok_or(EINVAL)?;

            // SAFETY: By the safety requirements. Callers go by the driver features as well, and
            // only those of them that filled in the whole union think of a packed ring.
            let state = unsafe { VqState::read(state, Self::is_packed(vdev)) };

            T::set_vq_state(dev, idx, state).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// See [`VTable`]; `state` must be valid for writing.
    pub(super) unsafe extern "C" fn get_vq_state(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
        state: *mut bindings::vdpa_vq_state,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let dev = unsafe { Self::dev_with_vq(vdev, idx) }.ok_or(EINVAL)?;
            let current = T::get_vq_state(dev, idx)?;

            // SAFETY: By the safety requirements.
            unsafe { current.write(state, Self::is_packed(vdev)) }.map(|()| 0)
        })
    }

    /// Returns whether virtqueues are packed rings.
    ///
    /// # Safety
    ///
    /// See [`VTable`].
    unsafe fn is_packed(vdev: *mut bindings::vdpa_device) -> bool {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Self::dev(vdev) };
        T::get_driver_features(dev) & (1 << bindings::VIRTIO_F_RING_PACKED) != 0
    }

    /// # Safety
    ///
    /// See [`VTable`]; `msg` must be a netlink message that is being made, `extack` null or valid, and nobody else may
    /// use either meanwhile.
    pub(super) unsafe extern "C" fn get_vendor_vq_stats(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
        msg: *mut kbindings::sk_buff,
        extack: *mut kbindings::netlink_ext_ack,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let mut extack = unsafe { ExtAck::from_raw(extack) };
            // SAFETY: By the safety requirements.
            let Some(dev) = (unsafe { Self::dev_with_vq(vdev, idx) }) else {
                // SAFETY: By the safety requirements.
                let nvqs = unsafe { Self::dev(vdev) }.nvqs();
                extack.set(fmt!(
                    "queue {idx} does not exist: the device has {nvqs} queues"
                ));
                return Err(EINVAL);
            };
            // SAFETY: By the safety requirements.
            let mut stats = unsafe { VendorStats::from_raw(msg) }?;

            T::get_vendor_vq_stats(dev, idx, &mut stats, &mut extack)?;
            stats.finish().map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// See [`VTable`]; `mask` must be null, or valid and unchanged meanwhile.
    pub(super) unsafe extern "C" fn set_vq_affinity(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
        mask: *const kbindings::cpumask,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let dev = unsafe { Self::dev_with_vq(vdev, idx) }.ok_or(EINVAL)?;
            let mask = match mask.is_null() {
                true => None,
                // SAFETY: By the safety requirements, it is valid.
                false => Some(unsafe { Cpumask::from_raw(mask) }),
            };

            T::set_vq_affinity(dev, idx, mask).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// See [`VTable`]. The mask that is returned, if any, is valid as long as the device has a bus driver.
    pub(super) unsafe extern "C" fn get_vq_affinity(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
    ) -> *const kbindings::cpumask {
        // SAFETY: By the safety requirements.
        match unsafe { Self::dev_with_vq(vdev, idx) } {
            Some(dev) => dev
                .affinity
                .fill(idx, |mask| T::get_vq_affinity(dev, idx, mask)),
            None => core::ptr::null(),
        }
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_vq_notification(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
    ) -> bindings::vdpa_notification_area {
        // SAFETY: By the safety requirements.
        let area = unsafe { Self::dev_with_vq(vdev, idx) }
            .and_then(|dev| T::get_vq_notification(dev, idx));

        // A size of zero is never that of a mapping, so vhost refuses.
        area.map_or(pin_init::zeroed(), |area| {
            bindings::vdpa_notification_area {
                addr: area.addr,
                size: area.size,
            }
        })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_vq_irq(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let dev = unsafe { Self::dev_with_vq(vdev, idx) }.ok_or(EINVAL)?;
            Ok(c_int::try_from(T::get_vq_irq(dev, idx)?)?)
        })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_vq_size(vdev: *mut bindings::vdpa_device, idx: u16) -> u16 {
        // SAFETY: By the safety requirements.
        unsafe { Self::dev_with_vq(vdev, idx) }.map_or(0, |dev| T::get_vq_size(dev, idx))
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_vq_group(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
    ) -> u32 {
        // SAFETY: By the safety requirements.
        unsafe { Self::dev_with_vq(vdev, idx) }.map_or(0, |dev| T::get_vq_group(dev, idx))
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_vq_desc_group(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
    ) -> u32 {
        // SAFETY: By the safety requirements.
        unsafe { Self::dev_with_vq(vdev, idx) }.map_or(0, |dev| T::get_vq_desc_group(dev, idx))
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_vq_map(
        vdev: *mut bindings::vdpa_device,
        idx: u16,
    ) -> bindings::virtio_map {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Self::dev_with_vq(vdev, idx) };

        Space::token(dev.and_then(|dev| {
            let group = match T::HAS_GET_VQ_GROUP {
                true => T::get_vq_group(dev, idx),
                false => 0,
            };
            dev.maps.get(usize::try_from(group).ok()?)
        }))
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_vq_align(vdev: *mut bindings::vdpa_device) -> u32 {
        // SAFETY: By the safety requirements.
        T::get_vq_align(unsafe { Self::dev(vdev) })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_vq_num_max(vdev: *mut bindings::vdpa_device) -> u16 {
        // SAFETY: By the safety requirements.
        T::get_vq_num_max(unsafe { Self::dev(vdev) })
    }

    /// # Safety
    ///
    /// See [`VTable`].
    pub(super) unsafe extern "C" fn get_vq_num_min(vdev: *mut bindings::vdpa_device) -> u16 {
        // SAFETY: By the safety requirements.
        T::get_vq_num_min(unsafe { Self::dev(vdev) })
    }
}
