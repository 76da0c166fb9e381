// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Identifiers that commands and events carry.

/// Device field of a command that concerns no device.
pub const NO_DEVICE: u16 = 0xffff;

/// Vector field of a queue that raises no interrupt.
pub const NO_VECTOR: u16 = 0xffff;

/// Address-space field of an event that concerns none.
pub const NO_ADDRESS_SPACE: u16 = 0xffff;

/// Queue field of an event that concerns none.
pub const NO_QUEUE: u16 = 0xffff;

/// Bytes in a page of the on-chip IOMMU: the unit of every extent's start, length and bus address.
pub const IOMMU_PAGE_SIZE: u64 = 4096;
