// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Completions: what the card answers.

use super::command::AddressSpaceMode;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a command's result inside its completion.
pub const RESULT_SIZE: usize = 24;

/// An entry of the completion ring, or what is in the mailbox's completion window.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Completion {
    /// The `tag` of the command that this answers.
    pub tag: U16,
    /// [`STATUS_OK`](super::STATUS_OK) or an [`ErrorCode`](super::ErrorCode).
    pub status: U16,
    /// The command's result; which type it has depends on the opcode. Zero after an error.
    pub result: [u8; RESULT_SIZE],
    /// Number of this completion, written last. See the module's description.
    pub sequence: U32,
}

/// Result of [`Opcode::DeviceCreate`](super::Opcode::DeviceCreate).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DeviceCreated {
    /// Number of the new device object.
    pub device: U16,
    /// Card-wide number of the device's first queue; the others follow it. It is also the number of the
    /// queue's doorbell page.
    pub first_queue: U16,
    /// Queues of the device, its control queue included.
    pub num_queues: U16,
    /// Zero.
    pub reserved: U16,
    /// Virtio feature bits that the device offers.
    pub features: U64,
    /// A network device's MAC address: the one asked for, or the card's choice. Zero of a block device.
    pub mac: [u8; 6],
    /// A network device's maximum transmission unit in bytes: the one asked for, or the card's default. Zero of
    /// a block device.
    pub mtu: U16,
}

/// Result of [`Opcode::DeviceTypeQuery`](super::Opcode::DeviceTypeQuery).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DeviceTypeInfo {
    /// Virtio feature bits of which each is offered by some device of this type that the card could make: some depend on the
    /// number of queues, others on the disk.
    pub features: U64,
}

/// Result of [`Opcode::QueueDisable`](super::Opcode::QueueDisable) and
/// [`Opcode::QueueQuery`](super::Opcode::QueueQuery).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct QueueState {
    /// Where the card takes the next chain, as in [`QueueEnable::avail_index`](super::QueueEnable).
    pub avail_index: U16,
    /// Where the card gives the next chain back, as in [`QueueEnable::used_index`](super::QueueEnable).
    pub used_index: U16,
    /// 1 if the queue runs, 0 if it is stopped.
    pub running: U16,
    /// Zero.
    pub reserved: U16,
}

/// Result of [`Opcode::AddressSpaceCreate`](super::Opcode::AddressSpaceCreate).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AddressSpaceCreated {
    /// Card-wide number of the address space.
    pub address_space: U16,
    /// Zero.
    pub reserved: [U16; 3],
    /// The space's first generation. A number that was given back and taken again goes on counting, so an
    /// update made against the earlier owner's space is stale.
    pub generation: U64,
}

/// Result of [`Opcode::AddressSpaceUpdate`](super::Opcode::AddressSpaceUpdate) and
/// [`Opcode::AddressSpaceSetMode`](super::Opcode::AddressSpaceSetMode).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AddressSpaceUpdated {
    /// Generation that is in force now. It grew by one if the command committed or set the mode.
    pub generation: U64,
    /// Extents that the space holds now.
    pub extents: U32,
    /// Zero.
    pub reserved: U32,
}

/// Payload that the card writes for [`Opcode::AddressSpaceQuery`](super::Opcode::AddressSpaceQuery).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AddressSpaceInfo {
    /// An [`AddressSpaceMode`].
    pub mode: U16,
    /// Queues that run through this space.
    pub running_queues: U16,
    /// Extents that the space holds.
    pub extents: U32,
    /// Generation in force.
    pub generation: U64,
    /// Bytes that all extents together translate.
    pub mapped_bytes: U64,
    /// Sum of the extents' digests, see [`Extent::digest`](super::Extent::digest).
    pub digest: U64,
    /// IOMMU commands on this space that the card has carried out: mode changes and updates.
    pub commands: U64,
    /// Accesses through this space that the IOMMU refused.
    pub faults: U64,
    /// IOMMU commands on any space of the card since its reset, creating and destroying spaces included.
    pub card_commands: U64,
    /// Zero.
    pub reserved: U64,
}

impl AddressSpaceInfo {
    /// The space's mode, or `None` if the card answered a number that isn't one.
    pub fn mode(&self) -> Option<AddressSpaceMode> {
        AddressSpaceMode::from_number(self.mode.get())
    }
}

/// Payload that the card writes for [`Opcode::DeviceStatistics`](super::Opcode::DeviceStatistics).
///
/// All are counted since the device was created; a device reset doesn't clear them.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DeviceStatistics {
    /// Frames that the device handed to its driver.
    pub rx_frames: U64,
    /// Bytes in those frames, without virtio headers.
    pub rx_bytes: U64,
    /// Frames for the device that found no buffer.
    pub rx_dropped: U64,
    /// Frames that the device took from its driver.
    pub tx_frames: U64,
    /// Bytes in those frames, without virtio headers.
    pub tx_bytes: U64,
    /// Doorbell writes to the device's queues.
    pub doorbells: U64,
    /// Interrupts that the device's queues raised.
    pub interrupts: U64,
    /// Reads of host memory that the device's queues asked of the IOMMU, refused ones included.
    pub dma_reads: U64,
    /// Writes to host memory that the device's queues asked of the IOMMU, refused ones included.
    pub dma_writes: U64,
    /// Times a queue stopped on an error.
    pub queue_errors: U64,
    /// Requests to its disk that a block device answered.
    pub requests: U64,
    /// Bytes that they read and wrote.
    pub request_bytes: U64,
}

/// Payload that the card writes for [`Opcode::QueueStatistics`](super::Opcode::QueueStatistics).
///
/// All are counted since the queue's device was created; a device reset doesn't clear them.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct QueueStatistics {
    /// Frames that passed the queue; of a block device, requests that it answered.
    pub packets: U64,
    /// Bytes in those frames, without virtio headers; of a block device, bytes read and written.
    pub bytes: U64,
    /// Frames for the queue that found no buffer.
    pub dropped: U64,
    /// Writes to the queue's doorbell.
    pub doorbells: U64,
    /// Interrupts that the queue raised.
    pub interrupts: U64,
    /// Reads of host memory that the queue asked of the IOMMU, refused ones included.
    pub dma_reads: U64,
    /// Writes to host memory that the queue asked of the IOMMU, refused ones included.
    pub dma_writes: U64,
    /// Times that the queue stopped on an error, refused accesses included.
    pub errors: U64,
    /// Times that the queue stopped because the IOMMU refused an access.
    pub faults: U64,
    /// Zero.
    pub reserved: U64,
}

/// Payload that the card writes for [`Opcode::BlockQuery`](super::Opcode::BlockQuery).
///
/// It is what the configuration space of a block device tells; see the virtio specification, section 5.2.4. It doesn't
/// change while the device exists. That a disk is read-only is told by the device's features.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BlockInfo {
    /// Sectors of the disk.
    pub capacity: U64,
    /// Most bytes of a buffer in a request.
    pub size_max: U32,
    /// Most buffers with data in a request.
    pub seg_max: U32,
    /// Bytes of a block: reads and writes of whole blocks are the fastest. A multiple of a sector.
    pub block_size: U32,
    /// Most sectors in a range to discard.
    pub max_discard_sectors: U32,
    /// Most ranges in a request to discard.
    pub max_discard_seg: U32,
    /// Sectors of which the begin of a range to discard is best a multiple.
    pub discard_alignment: U32,
    /// Most sectors in a range to zero.
    pub max_write_zeroes_sectors: U32,
    /// Most ranges in a request to zero.
    pub max_write_zeroes_seg: U32,
    /// Number of the disk on the card, from 0 on.
    pub disk: U16,
    /// 1 if zeroing may free the disk's space, else 0.
    pub write_zeroes_may_unmap: u8,
    /// Blocks in a physical block, as the exponent of a power of two.
    pub physical_block_exp: u8,
    /// Blocks of which the length of an access is best a multiple.
    pub min_io_size: U16,
    /// The same for many accesses in a row; 0 if there is no such length.
    pub opt_io_size: U16,
}
