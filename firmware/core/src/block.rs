// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Block devices: features, limits, and which disk is whose.
//!
//! Each disk of the card is behind one device at most, so that two drivers with caches of their own can't ruin a file system.

use mooring_hw_regs::wire::{BlockInfo, DeviceCreate, DeviceCreated, ErrorCode, SECTOR_SIZE};

use crate::cp::{result, Outcome};
use crate::device::{Device, Devices, Kind};
use crate::hal::{Capabilities, DiskInfo, Hal, ReceiveFilter};
use crate::net::status::Status;
use crate::{net, ring};

/// Most bytes of a buffer in a request of a driver that has agreed to be told.
pub const SIZE_MAX: u32 = 64 << 10;

/// Most buffers with data in a request, where the rings are large enough; likewise.
pub const SEG_MAX: u16 = 126;

/// Most bytes of data in a request, whatever was agreed on: more than fits the two above, which are no limits to a driver that
/// has not agreed to them.
pub const MAX_DATA: u64 = 16 << 20;
const _: () = assert!(MAX_DATA >= SIZE_MAX as u64 * SEG_MAX as u64);

/// Most sectors in a range to discard: 1 GiB.
pub const MAX_DISCARD_SECTORS: u32 = 1 << 21;

/// Most ranges in a request to discard.
pub const MAX_DISCARD_SEG: u32 = 16;

/// Most sectors in a range to zero: 8 MiB, which doesn't take long even where zeros have to be written.
pub const MAX_WRITE_ZEROES_SECTORS: u32 = 1 << 14;

/// Most ranges in a request to zero.
pub const MAX_WRITE_ZEROES_SEG: u32 = 1;

/// Virtio feature bits of block devices, as far as the firmware knows them.
pub mod features {
    use crate::hal::{Capabilities, DiskInfo, Hal};
    use crate::net::features::{ACCESS_PLATFORM, ORDER_PLATFORM, VERSION_1};
    use crate::ring;

    /// `VIRTIO_BLK_F_SIZE_MAX`.
    pub const SIZE_MAX: u64 = 1 << 1;
    /// `VIRTIO_BLK_F_SEG_MAX`.
    pub const SEG_MAX: u64 = 1 << 2;
    /// `VIRTIO_BLK_F_RO`.
    pub const RO: u64 = 1 << 5;
    /// `VIRTIO_BLK_F_BLK_SIZE`.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// `VIRTIO_BLK_F_FLUSH`.
    pub const FLUSH: u64 = 1 << 9;
    /// `VIRTIO_BLK_F_TOPOLOGY`.
    pub const TOPOLOGY: u64 = 1 << 10;
    /// `VIRTIO_BLK_F_MQ`.
    pub const MQ: u64 = 1 << 12;
    /// `VIRTIO_BLK_F_DISCARD`.
    pub const DISCARD: u64 = 1 << 13;
    /// `VIRTIO_BLK_F_WRITE_ZEROES`.
    pub const WRITE_ZEROES: u64 = 1 << 14;

    /// What a device with this disk offers whose creator wants at most `wanted`, or all if that is 0. `ring` is what all
    /// devices of the card offer about their rings. That a disk is read-only is no offer but a warning, which nobody may do
    /// without.
    pub(crate) fn offered(wanted: u64, queues: u16, disk: &DiskInfo, ring: u64) -> u64 {
        let mut offered = VERSION_1 | ACCESS_PLATFORM | ORDER_PLATFORM | ring;
        offered |= SIZE_MAX | SEG_MAX | BLK_SIZE | TOPOLOGY | FLUSH;
        if queues > 1 {
            offered |= MQ;
        }
        if !disk.read_only {
            offered |= DISCARD | WRITE_ZEROES;
        }
        if wanted != 0 {
            offered &= wanted;
        }
        if disk.read_only {
            offered |= RO;
        }
        offered
    }

    /// All that some block device of this card could offer.
    pub(crate) fn possible<H: Hal>(hal: &H, capabilities: &Capabilities) -> u64 {
        let ring = ring::offered(capabilities);
        (0..capabilities.disks).fold(0, |all, disk| {
            all | offered(0, capabilities.queues, &hal.disk(disk), ring)
        })
    }
}

/// Most buffers with data in a request: all that a ring has room for beside header and status.
fn seg_max(capabilities: &Capabilities) -> u16 {
    capabilities
        .max_queue_size
        .saturating_sub(2)
        .clamp(1, SEG_MAX)
}

impl<const D: usize, const Q: usize> Devices<D, Q> {
    /// `Opcode::DeviceCreate` for a block device.
    pub(crate) fn create_block<H: Hal>(
        &mut self,
        hal: &mut H,
        arguments: &DeviceCreate,
    ) -> Outcome {
        let capabilities = hal.capabilities();
        let num_queues = arguments.queue_pairs.get();
        let wanted = arguments.features.get();
        let must_have = net::features::VERSION_1 | net::features::ACCESS_PLATFORM;
        if num_queues == 0
            || arguments.mtu.get() != 0
            || arguments.mac != net::NO_MAC
            || (wanted != 0 && wanted & must_have != must_have)
        {
            return Err(ErrorCode::InvalidArgument);
        }
        if capabilities.disks == 0 {
            return Err(ErrorCode::NotSupported);
        }
        let disk = (0..capabilities.disks)
            .find(|disk| self.all().all(|device| device.kind != Kind::Block(*disk)))
            .ok_or(ErrorCode::NoResources)?;
        let device = self
            .free_device(&capabilities)
            .ok_or(ErrorCode::NoResources)?;
        let first_queue = self
            .free_queues(&capabilities, num_queues)
            .ok_or(ErrorCode::NoResources)?;
        let offered = features::offered(
            wanted,
            num_queues,
            &hal.disk(disk),
            ring::offered(&capabilities),
        );
        let object = Device {
            kind: Kind::Block(disk),
            first_queue,
            num_queues,
            pairs: 0,
            offered,
            features: 0,
            permanent_mac: net::NO_MAC,
            mac: net::NO_MAC,
            filter: ReceiveFilter::default(),
            status: Status::new(),
        };
        self.insert(hal, device, object)?;
        hal.attach_disk(device, disk);
        result(&DeviceCreated {
            device: device.into(),
            first_queue: first_queue.into(),
            num_queues: num_queues.into(),
            reserved: 0.into(),
            features: offered.into(),
            mac: net::NO_MAC,
            mtu: 0.into(),
        })
    }

    /// `Opcode::BlockQuery`.
    pub(crate) fn block_info<H: Hal>(&self, hal: &H, device: u16) -> Result<BlockInfo, ErrorCode> {
        let Kind::Block(disk) = self.get(device)?.kind else {
            return Err(ErrorCode::InvalidArgument);
        };
        let DiskInfo {
            sectors,
            block_size,
            physical_block_size,
            ..
        } = hal.disk(disk);
        let physical_blocks = (physical_block_size / block_size.max(1)).max(1);
        Ok(BlockInfo {
            capacity: sectors.into(),
            size_max: SIZE_MAX.into(),
            seg_max: u32::from(seg_max(&hal.capabilities())).into(),
            block_size: block_size.into(),
            max_discard_sectors: MAX_DISCARD_SECTORS.into(),
            max_discard_seg: MAX_DISCARD_SEG.into(),
            // CAST: a sector's size. A part of a physical block can't be freed.
            discard_alignment: (physical_block_size / SECTOR_SIZE as u32).into(),
            max_write_zeroes_sectors: MAX_WRITE_ZEROES_SECTORS.into(),
            max_write_zeroes_seg: MAX_WRITE_ZEROES_SEG.into(),
            disk: disk.into(),
            write_zeroes_may_unmap: 1,
            // CAST: less than 32.
            physical_block_exp: physical_blocks.ilog2() as u8,
            min_io_size: u16::try_from(physical_blocks).unwrap_or(1).into(),
            opt_io_size: 0.into(),
        })
    }
}
