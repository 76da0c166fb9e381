// SPDX-License-Identifier: GPL-2.0-only

//! The table of operations that the vDPA core calls, and what it is made of.
//!
//! One function for each operation turns the C arguments into Rust ones, after the checks that
//! [`Operations`] promises.

mod config;
mod map;
mod vq;

use super::{
    bindings,
    Device,
    Operations, //
};
use core::marker::PhantomData;
use kernel::prelude::*;

/// Operations that a device may lack although its driver implements them.
///
/// The core looks at the table of operations to find out what a device is able to do. With this,
/// one driver serves cards that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionalOp {
    /// [`Operations::kick_vq_with_data()`]
    KickVqWithData,
    /// [`Operations::get_vendor_vq_stats()`]
    GetVendorVqStats,
    /// [`Operations::get_vq_notification()`]
    GetVqNotification,
    /// [`Operations::get_vq_irq()`]
    GetVqIrq,
    /// [`Operations::get_vq_size()`]
    GetVqSize,
    /// [`Operations::get_vq_group()`]
    GetVqGroup,
    /// [`Operations::get_vq_desc_group()`]
    GetVqDescGroup,
    /// [`Operations::set_vq_affinity()`]
    SetVqAffinity,
    /// [`Operations::get_vq_affinity()`]
    GetVqAffinity,
    /// [`Operations::get_vq_num_min()`]
    GetVqNumMin,
    /// [`Operations::get_backend_features()`]
    GetBackendFeatures,
    /// [`Operations::get_generation()`]
    GetGeneration,
    /// [`Operations::compat_reset()`]
    CompatReset,
    /// [`Operations::suspend()`]
    Suspend,
    /// [`Operations::resume()`]
    Resume,
    /// [`Operations::get_iova_range()`]
    GetIovaRange,
    /// [`Operations::set_map()`]
    SetMap,
    /// [`Operations::dma_map()`] and [`Operations::dma_unmap()`], which the core accepts together
    /// only.
    DmaMap,
    /// [`Operations::reset_map()`]
    ResetMap,
    /// [`Operations::set_group_asid()`]
    SetGroupAsid,
    /// [`Operations::bind_mm()`] and [`Operations::unbind_mm()`].
    BindMm,
}

/// The table for devices of type `T`.
///
/// All its functions share these safety requirements: they are for the vDPA core to call, with
/// `vdev` the C side of a [`Device<T>`] that has been registered and whose `dev_del` has not
/// returned. The core ends all use of a device in [`_vdpa_unregister_device()`], so this holds by
/// itself.
///
/// [`_vdpa_unregister_device()`]: srctree/drivers/vdpa/vdpa.c
pub(super) struct VTable<T: Operations>(PhantomData<T>);

/// `Some(function)` if the driver implements the operation.
macro_rules! optional {
    ($has:expr, $function:expr) => {
        if $has {
            Some($function)
        } else {
            None
        }
    };
}

impl<T: Operations> VTable<T> {
    /// The table, with all that the driver implements. It names every operation that the C structure has, so that a
    /// kernel with more of them does not go unnoticed.
    pub(super) const OPS: bindings::vdpa_config_ops = {
        assert!(
            T::HAS_DMA_MAP == T::HAS_DMA_UNMAP,
            "dma_map and dma_unmap come together"
        );
        assert!(
            T::HAS_BIND_MM == T::HAS_UNBIND_MM,
            "bind_mm and unbind_mm come together"
        );

        bindings::vdpa_config_ops {
            set_vq_address: Some(Self::set_vq_address),
            set_vq_num: Some(Self::set_vq_num),
            kick_vq: Some(Self::kick_vq),
            kick_vq_with_data: optional!(T::HAS_KICK_VQ_WITH_DATA, Self::kick_vq_with_data),
            set_vq_cb: Some(Self::set_vq_cb),
            set_vq_ready: Some(Self::set_vq_ready),
            get_vq_ready: Some(Self::get_vq_ready),
            set_vq_state: Some(Self::set_vq_state),
            get_vq_state: Some(Self::get_vq_state),
            get_vendor_vq_stats: optional!(T::HAS_GET_VENDOR_VQ_STATS, Self::get_vendor_vq_stats),
            get_vq_notification: optional!(T::HAS_GET_VQ_NOTIFICATION, Self::get_vq_notification),
            get_vq_irq: optional!(T::HAS_GET_VQ_IRQ, Self::get_vq_irq),
            get_vq_size: optional!(T::HAS_GET_VQ_SIZE, Self::get_vq_size),
            get_vq_align: Some(Self::get_vq_align),
            get_vq_group: optional!(T::HAS_GET_VQ_GROUP, Self::get_vq_group),
            get_vq_desc_group: optional!(T::HAS_GET_VQ_DESC_GROUP, Self::get_vq_desc_group),
            get_device_features: Some(Self::get_device_features),
            get_backend_features: optional!(
                T::HAS_GET_BACKEND_FEATURES,
                Self::get_backend_features
            ),
            set_driver_features: Some(Self::set_driver_features),
            get_driver_features: Some(Self::get_driver_features),
            set_config_cb: Some(Self::set_config_cb),
            get_vq_num_max: Some(Self::get_vq_num_max),
            get_vq_num_min: optional!(T::HAS_GET_VQ_NUM_MIN, Self::get_vq_num_min),
            get_device_id: Some(Self::get_device_id),
            get_vendor_id: Some(Self::get_vendor_id),
            get_status: Some(Self::get_status),
            set_status: Some(Self::set_status),
            reset: Some(Self::reset),
            compat_reset: optional!(T::HAS_COMPAT_RESET, Self::compat_reset),
            suspend: optional!(T::HAS_SUSPEND, Self::suspend),
            resume: optional!(T::HAS_RESUME, Self::resume),
            get_config_size: Some(Self::get_config_size),
            get_config: Some(Self::get_config),
            set_config: Some(Self::set_config),
            get_generation: optional!(T::HAS_GET_GENERATION, Self::get_generation),
            get_iova_range: optional!(T::HAS_GET_IOVA_RANGE, Self::get_iova_range),
            set_vq_affinity: optional!(T::HAS_SET_VQ_AFFINITY, Self::set_vq_affinity),
            get_vq_affinity: optional!(T::HAS_GET_VQ_AFFINITY, Self::get_vq_affinity),
            set_map: optional!(T::HAS_SET_MAP, Self::set_map),
            dma_map: optional!(T::HAS_DMA_MAP, Self::dma_map),
            dma_unmap: optional!(T::HAS_DMA_UNMAP, Self::dma_unmap),
            reset_map: optional!(T::HAS_RESET_MAP, Self::reset_map),
            set_group_asid: optional!(T::HAS_SET_GROUP_ASID, Self::set_group_asid),
            // Depends on the device, see `table()`.
            get_vq_map: None,
            bind_mm: optional!(T::HAS_BIND_MM, Self::bind_mm),
            unbind_mm: optional!(T::HAS_UNBIND_MM, Self::unbind_mm),
            // The abstraction drops the driver's data itself, when the device is deleted.
            free: None,
        }
    };

    /// The table without some of the optional operations, of a device that maps virtio-vdpa's memory or not.
    pub(super) fn table(absent: &[OptionalOp], maps: bool) -> bindings::vdpa_config_ops {
        let mut ops = Self::OPS;

        ops.get_vq_map = optional!(maps, Self::get_vq_map);

        for op in absent {
            match op {
                OptionalOp::KickVqWithData => ops.kick_vq_with_data = None,
                OptionalOp::GetVendorVqStats => ops.get_vendor_vq_stats = None,
                OptionalOp::GetVqNotification => ops.get_vq_notification = None,
                OptionalOp::GetVqIrq => ops.get_vq_irq = None,
                OptionalOp::GetVqSize => ops.get_vq_size = None,
                OptionalOp::GetVqGroup => ops.get_vq_group = None,
                OptionalOp::GetVqDescGroup => ops.get_vq_desc_group = None,
                OptionalOp::SetVqAffinity => ops.set_vq_affinity = None,
                OptionalOp::GetVqAffinity => ops.get_vq_affinity = None,
                OptionalOp::GetVqNumMin => ops.get_vq_num_min = None,
                OptionalOp::GetBackendFeatures => ops.get_backend_features = None,
                OptionalOp::GetGeneration => ops.get_generation = None,
                OptionalOp::CompatReset => ops.compat_reset = None,
                OptionalOp::Suspend => ops.suspend = None,
                OptionalOp::Resume => ops.resume = None,
                OptionalOp::GetIovaRange => ops.get_iova_range = None,
                OptionalOp::SetMap => ops.set_map = None,
                OptionalOp::DmaMap => {
                    ops.dma_map = None;
                    ops.dma_unmap = None;
                }
                OptionalOp::ResetMap => ops.reset_map = None,
                OptionalOp::SetGroupAsid => ops.set_group_asid = None,
                OptionalOp::BindMm => {
                    ops.bind_mm = None;
                    ops.unbind_mm = None;
                }
            }
        }

        ops
    }

    /// Borrows the device.
    ///
    /// # Safety
    ///
    /// As for all of [`VTable`].
    #[inline]
    unsafe fn dev<'a>(vdev: *mut bindings::vdpa_device) -> &'a Device<T> {
        // SAFETY: By the safety requirements, the device is registered, hence initialised; its data
        // is dropped, and the parent unbound, only after `dev_del`.
        unsafe { Device::from_raw(vdev) }
    }

    /// Borrows the device if it has a virtqueue `idx`.
    ///
    /// # Safety
    ///
    /// As for all of [`VTable`].
    #[inline]
    unsafe fn dev_with_vq<'a>(vdev: *mut bindings::vdpa_device, idx: u16) -> Option<&'a Device<T>> {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Self::dev(vdev) };
        (idx < dev.nvqs()).then_some(dev)
    }

    /// Borrows the device if it has an address space `asid`.
    ///
    /// # Safety
    ///
    /// As for all of [`VTable`].
    #[inline]
    unsafe fn dev_with_as<'a>(
        vdev: *mut bindings::vdpa_device,
        asid: u32,
    ) -> Result<&'a Device<T>> {
        // SAFETY: By the safety requirements.
        let dev = unsafe { Self::dev(vdev) };
        if asid < dev.nas() {
            Ok(dev)
        } else {
            Err(EINVAL)
        }
    }
}
