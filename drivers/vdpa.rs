// SPDX-License-Identifier: GPL-2.0-only

//! Abstractions for vDPA parent drivers.
//!
//! vDPA devices have virtqueues that follow the virtio specification, and a control path of their
//! own. A *parent* driver turns the latter into [`Operations`]; a *bus driver* calls them, on
//! behalf of a process (vhost-vdpa) or of a virtio driver (virtio-vdpa). Users add and delete
//! devices through a [`ManagementDevice`].
//!
//! # Examples
//!
//! What a driver of net devices looks like, cut down to the frame:
//!
//! ```ignore
//! struct MyNet { /* ... */ }
//!
//! #[vtable]
//! impl vdpa::Operations for MyNet {
//!     fn kick_vq(dev: &vdpa::Device<Self>, idx: u16) {
//!         dev.ring_doorbell(idx);
//!     }
//!     // ...
//! }
//!
//! struct MyMgmt { /* ... */ }
//!
//! #[vtable]
//! impl vdpa::ManagementOperations for MyMgmt {
//!     type Device = MyNet;
//!
//!     fn dev_add(
//!         &self,
//!         request: &vdpa::AddRequest<'_, Self>,
//!         name: &CStr,
//!         config: &vdpa::DeviceConfig,
//!     ) -> Result {
//!         let callbacks = vdpa::Callbacks::new(3)?;
//!         let params = vdpa::DeviceParams {
//!             callbacks: callbacks.clone(),
//!             ngroups: 2,
//!             nas: 2,
//!             maps: KVec::new(),
//!             use_va: false,
//!             without: &[],
//!         };
//!         let data = MyNet::new(config, callbacks);
//!         vdpa::UnregisteredDevice::new(request, name, params, data)?.register()?;
//!         Ok(())
//!     }
//! }
//!
//! // In the interrupt handler of virtqueue `idx`:
//! callbacks.call_vq(idx);
//! ```
//!
//! C headers: [`include/linux/vdpa.h`](srctree/include/linux/vdpa.h),
//! [`include/linux/vhost_iotlb.h`](srctree/include/linux/vhost_iotlb.h)

// This is made like a part of the kernel crate, whose users are in other crates. A driver that
// carries it along need not use all of it.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod affinity;
mod bindings;
mod bus_driver;
mod callback;
mod device;
mod iotlb;
mod map_ops;
mod mgmt;
mod netlink;
mod notify;
mod operations;
mod unregistered;
pub mod virtio;
mod vq;
mod vtable;

pub use self::{
    affinity::{
        irq_affinity,
        set_irq_affinity, //
    },
    bus_driver::BusDriver,
    callback::Callbacks,
    device::Device,
    iotlb::{
        Iotlb,
        IovaRange,
        Iter,
        Map,
        Permission, //
    },
    map_ops::{
        Buffer,
        MapOperations, //
    },
    mgmt::{
        AddRequest,
        ConfigAttr,
        ConfigAttrs,
        DeviceConfig,
        ManagementDevice,
        ManagementInfo,
        ManagementOperations, //
    },
    netlink::{
        ExtAck,
        VendorStats, //
    },
    notify::ChangeNotifier,
    operations::Operations,
    unregistered::{
        DeviceParams,
        UnregisteredDevice, //
    },
    vq::{
        NotificationArea,
        PackedIndex,
        VqAddress,
        VqState, //
    },
    vtable::OptionalOp, //
};

/// Virtqueues may be enabled after `DRIVER_OK`, a bit of [`Operations::get_backend_features()`].
pub use self::bindings::VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK;

/// The map stays across a reset, a bit of [`Operations::get_backend_features()`]. vhost derives it for devices
/// that have [`Operations::reset_map()`] or leave translating to the platform.
pub use self::bindings::VHOST_BACKEND_F_IOTLB_PERSIST;
