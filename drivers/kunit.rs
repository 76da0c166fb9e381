// SPDX-License-Identifier: GPL-2.0-only

//! KUnit suites. KUnit runs them when the module is loaded; the results are in
//! `/sys/kernel/debug/kunit/<suite>/results` until it is unloaded.
//!
//! - Suites: [`lifetime`], [`operations`], [`callbacks`], [`iotlb`] for the vDPA abstraction; [`mapping`],
//!   [`page_refs`], [`ring`], [`bounce`] for memory; [`address_space`], [`single_ranges`], [`bus_range`],
//!   [`map_failures`], [`card`], [`mailbox`], [`net_device`], [`block_device`], [`explicit`], [`dump`] for the driver.
//! - What they stand on: [`sys`], the C glue; [`bus`], the vDPA core's side of a device; [`device`], a
//!   vDPA device that notes what happens to it; [`memory`], pages and an IOTLB as vhost has them;
//!   [`trace`], which notes in what order the driver gives memory back; [`fixture`], a card; [`cp`], its
//!   control processor, and `pci.rs`, its registers.
//!
//! They need a kernel whose KUnit is enabled (`kunit.enable=1 kunit.autorun=1`, where its configuration does
//! not say so), and virtio-vdpa not to be loaded: it would use the devices that the tests make.
//!
//! A test makes its checks with [`check!`] and not with KUnit's assertions, which would end the thread
//! without dropping anything: a registered device would then outlive its parent.
//!
//! The tests count what the driver does. What they can't see, a use after free or a lock taken in the
//! wrong context, is for KASAN and lockdep to see, so the log must have no report either.

/// Makes the test fail unless the condition is true, and returns, so that everything is dropped.
macro_rules! check {
    ($condition:expr $(,)?) => {
        if !$condition {
            $crate::kunit::sys::fail(file!(), line!(), stringify!($condition));
            return Err(kernel::error::code::EINVAL);
        }
    };
}

mod address_space;
mod block_device;
mod bounce;
pub(crate) mod bus;
mod bus_range;
mod callbacks;
mod card;
pub(crate) mod cp;
mod device;
mod dump;
mod explicit;
mod fixture;
mod iotlb;
mod lifetime;
mod mailbox;
mod map_failures;
mod mapping;
mod memory;
mod net_device;
mod operations;
mod page_refs;
mod ring;
mod single_ranges;
pub(crate) mod sys;
pub(crate) mod trace;

use kernel::prelude::*;

/// The module: nothing but the suites, which KUnit finds by itself.
pub(crate) struct Tests;

impl kernel::Module for Tests {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: This runs once, and KUnit runs the tests after it.
        unsafe { trace::init() };
        Ok(Self)
    }
}
