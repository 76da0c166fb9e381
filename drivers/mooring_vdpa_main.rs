// SPDX-License-Identifier: GPL-2.0-only

//! Mooring: vDPA parent driver for SmartNICs with an on-chip IOMMU.

#![crate_name = "mooring_vdpa"]

use kernel::prelude::*;

#[expect(dead_code, unused_imports, reason = "the card's driver comes next")]
mod dma;
mod vdpa;

module! {
    type: Placeholder,
    name: "mooring_vdpa",
    authors: ["The Mooring authors"],
    description: "vDPA parent driver for SmartNICs with an on-chip IOMMU",
    license: "GPL",
}

struct Placeholder;

impl kernel::Module for Placeholder {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Placeholder)
    }
}
