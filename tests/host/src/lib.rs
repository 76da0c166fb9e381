// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The driver's logic without I/O, for `cargo test` and for the fuzzer (`tests/fuzz`).
//!
//! The modules in [`iommu`] are the driver's own files. What they call `crate::wire` is the shared message crate
//! here as it is in the kernel module. [`check`] holds them to what they promise.

use mooring_hw_regs::wire;

pub mod check;
// Not all of the driver's functions are of use here.
#[allow(dead_code)]
mod iommu;

#[allow(dead_code)]
mod info;

#[cfg(test)]
#[path = "../../../drivers/block/config.rs"]
mod block_config;
#[cfg(test)]
#[path = "../../../drivers/virtio_device/share.rs"]
mod share;
#[cfg(test)]
#[path = "../../../drivers/dma/slots.rs"]
mod slots;
#[cfg(test)]
#[path = "../../../drivers/limit/window.rs"]
mod window;

#[cfg(test)]
mod addressing_tests;
#[cfg(test)]
mod block_config_tests;
#[cfg(test)]
mod compare_tests;
#[cfg(test)]
mod row_tests;
#[cfg(test)]
mod shadow_tests;
#[cfg(test)]
mod share_tests;
#[cfg(test)]
mod slots_tests;
#[cfg(test)]
mod sorted_tests;
#[cfg(test)]
mod window_tests;
