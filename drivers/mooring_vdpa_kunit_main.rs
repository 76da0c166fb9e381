// SPDX-License-Identifier: GPL-2.0-only

//! Unit tests of Mooring's driver that only a kernel can run: reference counts, drop order, locks, DMA.
//!
//! This module is the driver once more, compiled from the same files, with tests instead of a PCI driver:
//! the card behind it is the one in `kunit/pci.rs`. See [`kunit`].

#![crate_name = "mooring_vdpa_kunit"]
// What only the PCI driver uses is not used here.
#![allow(dead_code)]
// The tests have vDPA's C functions a second time, with types of their own; see `kunit/bus.rs`.
#![allow(clashing_extern_declarations)]

mod block;
mod card;
mod cmdq;
mod debugfs;
mod dma;
mod eventq;
mod info;
mod iommu;
mod kunit;
mod limit;
mod mailbox;
mod mgmt;
mod msix;
#[path = "kunit/pci.rs"]
mod pci;
#[path = "../hw-regs/generated/mooring_kernel_regs.rs"]
mod regs;
mod vdpa;
mod virtio_device;
mod vq;
#[allow(unreachable_pub)]
#[path = "../hw-regs/src/wire/mod.rs"]
mod wire;

kernel::prelude::module! {
    type: kunit::Tests,
    name: "mooring_vdpa_kunit",
    authors: ["The Mooring authors"],
    description: "Unit tests of mooring_vdpa",
    license: "GPL",
}
