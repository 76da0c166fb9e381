// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the driver makes of the card's description, as far as it has no I/O; in the place that it has in the driver, because
//! the files of [`crate::iommu`] call it.

#[path = "../../../drivers/info/addressing.rs"]
pub(crate) mod addressing;

pub(crate) use addressing::last_address;
