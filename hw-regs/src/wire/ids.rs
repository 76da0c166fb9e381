// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Identifiers of the card, and those that commands and events carry.

/// PCI vendor ID of a card: Red Hat's, in whose range QEMU's own devices lie.
pub const PCI_VENDOR_ID: u16 = 0x1b36;

/// PCI device ID of a card. Provisional, until the card has a registered one.
pub const PCI_DEVICE_ID: u16 = 0x4d52;

/// Virtio device type of a network device.
pub const VIRTIO_ID_NET: u32 = 1;

/// Virtio device type of a block device.
pub const VIRTIO_ID_BLOCK: u32 = 2;

/// Bytes of a disk's sector, the unit of capacities and of positions on a disk, whatever a disk's block size.
pub const SECTOR_SIZE: u64 = 512;

/// Device field of a command that concerns no device.
pub const NO_DEVICE: u16 = 0xffff;

/// Vector field of a queue that raises no interrupt.
pub const NO_VECTOR: u16 = 0xffff;

/// Address-space field of an event that concerns none, and of a queue on a card without an IOMMU.
pub const NO_ADDRESS_SPACE: u16 = 0xffff;

/// Queue field of an event that concerns none.
pub const NO_QUEUE: u16 = 0xffff;

/// Bytes in a page of the on-chip IOMMU: the unit of every extent's start, length and bus address.
pub const IOMMU_PAGE_SIZE: u64 = 4096;
