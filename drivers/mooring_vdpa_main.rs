// SPDX-License-Identifier: GPL-2.0-only

//! Mooring: a vDPA parent driver for SmartNICs with an on-chip IOMMU.

#![crate_name = "mooring_vdpa"]

mod block;
mod card;
mod cmdq;
mod cp;
mod debugfs;
mod dma;
mod eventq;
mod info;
mod iommu;
mod limit;
mod mailbox;
mod mgmt;
mod msix;
mod pci;
#[path = "../hw-regs/generated/mooring_kernel_regs.rs"]
mod regs;
mod vdpa;
mod virtio_device;
mod vq;
// The messages serve firmware and model too, which use what the driver doesn't.
#[allow(dead_code, unreachable_pub)]
#[path = "../hw-regs/src/wire/mod.rs"]
mod wire;

kernel::prelude::module! {
    type: pci::MooringModule,
    name: "mooring_vdpa",
    authors: ["The Mooring authors"],
    description: "vDPA parent driver for SmartNICs with an on-chip IOMMU",
    license: "GPL",
}
