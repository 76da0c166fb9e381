// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The driver's logic without I/O, for `cargo test`.
//!
//! The modules are the driver's own files. What they call `crate::wire` is the shared message crate here
//! as it is in the kernel module.

// Nothing but the tests uses them here.
#![cfg_attr(not(test), allow(dead_code))]

use mooring_hw_regs::wire;

#[path = "../../../drivers/iommu/extent.rs"]
mod extent;

#[cfg(test)]
mod extent_tests;
