// SPDX-License-Identifier: GPL-2.0-only

//! The configuration space of a virtio-blk device (`struct virtio_blk_config`; virtio 1.3, section 5.2.4), which the driver
//! answers from what the card told when the device was made.
//!
//! Pure logic without I/O. The kernel module and the host tests compile this same file.

use crate::wire;
use zerocopy::{
    little_endian::{
        U16,
        U32,
        U64, //
    },
    FromZeros, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

/// Bytes of the largest request: that many fit into the bounce pool, in each direction, if nothing else does. A request that
/// finds no room is one that virtio_blk tries again once others are finished.
pub(crate) const LARGEST_REQUEST: usize = 8 << 20;

/// Most sectors of which the size in bytes is a number of 64 bits.
const MAX_CAPACITY: u64 = u64::MAX / wire::SECTOR_SIZE;

/// Largest block that the kernel takes on every architecture.
const MAX_BLOCK_SIZE: u32 = 4096;

/// Largest physical block that makes sense.
const MAX_PHYSICAL_BLOCK: u32 = 1 << 20;

/// The configuration space, up to the last field that a device without secure erase and zones has.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct BlockConfig {
    capacity: U64,
    size_max: U32,
    seg_max: U32,
    cylinders: U16,
    heads: u8,
    sectors: u8,
    blk_size: U32,
    physical_block_exp: u8,
    alignment_offset: u8,
    min_io_size: U16,
    opt_io_size: U32,
    writeback: u8,
    unused0: u8,
    num_queues: U16,
    max_discard_sectors: U32,
    max_discard_seg: U32,
    discard_sector_alignment: U32,
    max_write_zeroes_sectors: U32,
    max_write_zeroes_seg: U32,
    write_zeroes_may_unmap: u8,
    unused1: [u8; 3],
}

impl BlockConfig {
    /// Makes the configuration space of a device with `num_queues` queues out of what the card told. [`None`] if that makes
    /// no sense: the drivers of some systems divide by it.
    pub(crate) fn new(info: &wire::BlockInfo, num_queues: u16) -> Option<Self> {
        let block_size = info.block_size.get();
        let good_block = block_size.is_power_of_two()
            && u64::from(block_size) >= wire::SECTOR_SIZE
            && block_size <= MAX_BLOCK_SIZE;
        let limits = [
            info.size_max,
            info.seg_max,
            info.max_discard_sectors,
            info.max_discard_seg,
            info.discard_alignment,
            info.max_write_zeroes_sectors,
            info.max_write_zeroes_seg,
        ];

        // The kernel shifts by it.
        let physical_block = block_size.checked_shl(info.physical_block_exp.into());

        if !good_block
            || !physical_block.is_some_and(|size| (1..=MAX_PHYSICAL_BLOCK).contains(&size))
            || info.capacity.get() > MAX_CAPACITY
            || limits.iter().any(|limit| limit.get() == 0)
            || info.size_max.get() < block_size
            // The bounce pool has room for one.
            || u64::from(info.size_max.get()) * u64::from(info.seg_max.get())
                > LARGEST_REQUEST as u64
        {
            return None;
        }
        Some(Self {
            capacity: info.capacity,
            size_max: info.size_max,
            seg_max: info.seg_max,
            blk_size: info.block_size,
            physical_block_exp: info.physical_block_exp,
            min_io_size: info.min_io_size,
            opt_io_size: u32::from(info.opt_io_size.get()).into(),
            // A cache that FLUSH empties.
            writeback: 1,
            num_queues: num_queues.into(),
            max_discard_sectors: info.max_discard_sectors,
            max_discard_seg: info.max_discard_seg,
            discard_sector_alignment: info.discard_alignment,
            max_write_zeroes_sectors: info.max_write_zeroes_sectors,
            max_write_zeroes_seg: info.max_write_zeroes_seg,
            write_zeroes_may_unmap: u8::from(info.write_zeroes_may_unmap != 0),
            ..Self::new_zeroed()
        })
    }
}
