// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The files of the driver that have no I/O, and what they allocate with.

pub(crate) mod list;

#[path = "../../../drivers/iommu/compare.rs"]
pub(crate) mod compare;
#[path = "../../../drivers/iommu/fallback.rs"]
pub(crate) mod fallback;
#[path = "../../../drivers/iommu/row.rs"]
pub(crate) mod row;
#[path = "../../../drivers/iommu/shadow.rs"]
pub(crate) mod shadow;
#[path = "../../../drivers/iommu/sorted.rs"]
pub(crate) mod sorted;
#[path = "../../../drivers/iommu/space.rs"]
pub(crate) mod space;
