// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Requests to a disk, as the virtio specification has them (section 5.2.6): what a driver asks, checked, and what comes of
//! it. Nothing here touches host memory.

use std::io;
use std::sync::Arc;

use mooring_firmware::block::{
    features, MAX_DATA, MAX_DISCARD_SECTORS, MAX_DISCARD_SEG, MAX_WRITE_ZEROES_SECTORS,
    MAX_WRITE_ZEROES_SEG,
};
use mooring_firmware::hal::DiskInfo;
use mooring_hw_regs::wire::SECTOR_SIZE;

use super::Disk;
use crate::vq::Chain;

/// Bytes of a request's header: type, a reserved word, sector.
pub(crate) const HEADER_SIZE: usize = 16;

/// Bytes of a disk's name.
const ID_SIZE: usize = 20;

/// Bytes of a range to discard or to zero: sector, number of sectors, flags.
const RANGE_SIZE: usize = 16;

/// Flag of a range: its space may be freed.
const RANGE_UNMAP: u32 = 1;

/// Types of requests.
const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const TYPE_GET_ID: u32 = 8;
const TYPE_DISCARD: u32 = 11;
const TYPE_WRITE_ZEROES: u32 = 13;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// It was carried out.
    Ok = 0,
    /// The disk couldn't, or it made no sense; how much of it was done is not said.
    IoError = 1,
    /// There is no such request.
    Unsupported = 2,
}

/// What a device's requests may ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub info: DiskInfo,
    /// Features that were agreed on.
    pub features: u64,
}

/// A range to discard or to zero, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub offset: u64,
    pub length: u64,
    pub free: bool,
}

/// What a request asks, checked: it lies on the disk, and has a size that was allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read {
        offset: u64,
    },
    /// With `stable`, it isn't done before it is on stable storage; likewise below.
    Write {
        offset: u64,
        stable: bool,
    },
    Flush,
    Name,
    Discard(Vec<Range>),
    Zero {
        ranges: Vec<Range>,
        stable: bool,
    },
    /// Nothing is done but to answer this.
    Refuse(Status),
}

/// A request that was taken from its ring.
pub(crate) struct Request {
    pub chain: Chain,
    pub operation: Operation,
    /// What is written; or the room for what is read, as much as the driver has. That room holds anything, the data of other
    /// requests too, until the disk has filled it: the driver gets it only then, see `answer` in the engines.
    pub data: Vec<u8>,
    pub status: Status,
}

/// Bytes that a request counts for at least.
const LEAST_LOAD: usize = 4096;

/// Bytes that it counts for if the disk has to do what takes long, whatever the length: to write everything out, to free space.
const SLOW_LOAD: usize = 64 << 10;

impl Request {
    /// Bytes that it counts for while it is under way: what it holds of the card's memory, and what the disk has to do.
    pub fn load(&self) -> usize {
        let work = match &self.operation {
            Operation::Read { .. } | Operation::Write { stable: false, .. } => 0,
            Operation::Write { stable: true, .. } | Operation::Flush => SLOW_LOAD,
            Operation::Discard(ranges) => SLOW_LOAD.saturating_mul(ranges.len()),
            Operation::Zero { ranges, .. } => ranges.iter().fold(SLOW_LOAD, |sum, range| {
                sum.saturating_add(usize::try_from(range.length).unwrap_or(usize::MAX))
            }),
            _ => 0,
        };
        LEAST_LOAD
            .saturating_add(self.data.len())
            .saturating_add(self.chain.footprint())
            .saturating_add(work)
    }

    /// Bytes of the disk that it read or wrote.
    pub fn transferred(&self) -> u64 {
        match (&self.operation, self.status) {
            (Operation::Read { .. } | Operation::Write { .. }, Status::Ok) => {
                self.data.len() as u64
            }
            _ => 0,
        }
    }
}

impl Limits {
    /// What a header asks, given `readable` bytes behind it and `writable` ones before the status. Of requests that have
    /// ranges it is not yet known which.
    pub fn parse(&self, header: &[u8; HEADER_SIZE], readable: u64, writable: u64) -> Operation {
        let [t0, t1, t2, t3, _, _, _, _, sector @ ..] = *header;
        let sector = u64::from_le_bytes(sector);
        let agreed = |feature: u64| self.features & feature != 0;
        let stable = !agreed(features::FLUSH);
        let outcome = match u32::from_le_bytes([t0, t1, t2, t3]) {
            TYPE_IN => data_length(writable, readable)
                .and_then(|length| self.bytes(sector, length))
                .map(|offset| Operation::Read { offset }),
            TYPE_OUT => data_length(readable, writable)
                .and_then(|length| self.bytes(sector, length))
                .and_then(|offset| self.may_write(Operation::Write { offset, stable })),
            TYPE_FLUSH if agreed(features::FLUSH) => match readable | writable {
                0 => Ok(Operation::Flush),
                _ => Err(Status::IoError),
            },
            TYPE_GET_ID => match (readable, writable >= ID_SIZE as u64 && writable <= MAX_DATA) {
                (0, true) => Ok(Operation::Name),
                _ => Err(Status::IoError),
            },
            TYPE_DISCARD if agreed(features::DISCARD) => {
                ranges_length(readable, writable, MAX_DISCARD_SEG)
                    .and_then(|()| self.may_write(Operation::Discard(Vec::new())))
            }
            TYPE_WRITE_ZEROES if agreed(features::WRITE_ZEROES) => {
                let ranges = Vec::new();
                ranges_length(readable, writable, MAX_WRITE_ZEROES_SEG)
                    .and_then(|()| self.may_write(Operation::Zero { ranges, stable }))
            }
            _ => Err(Status::Unsupported),
        };
        outcome.unwrap_or_else(Operation::Refuse)
    }

    /// The same, once the data that the driver wrote are known: all ranges are checked before any is touched.
    pub fn complete(&self, operation: Operation, data: &[u8]) -> Operation {
        let outcome = match operation {
            Operation::Discard(_) => self
                .ranges(data, MAX_DISCARD_SECTORS, 0)
                .map(Operation::Discard),
            Operation::Zero { stable, .. } => self
                .ranges(data, MAX_WRITE_ZEROES_SECTORS, RANGE_UNMAP)
                .map(|ranges| Operation::Zero { ranges, stable }),
            other => Ok(other),
        };
        outcome.unwrap_or_else(Operation::Refuse)
    }

    fn ranges(&self, data: &[u8], most: u32, known_flags: u32) -> Result<Vec<Range>, Status> {
        data.chunks_exact(RANGE_SIZE)
            .map(|bytes| {
                let word = |at: usize| {
                    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
                    bytes.copied().map(u32::from_le_bytes).unwrap_or(u32::MAX)
                };
                let sector = u64::from(word(0)) | (u64::from(word(4)) << 32);
                let (sectors, flags) = (word(8), word(12));
                if flags & !known_flags != 0 {
                    return Err(Status::Unsupported);
                }
                if sectors > most {
                    return Err(Status::IoError);
                }
                let length = u64::from(sectors) * SECTOR_SIZE;
                Ok(Range {
                    offset: self.bytes(sector, length)?,
                    length,
                    free: flags & RANGE_UNMAP != 0,
                })
            })
            .collect()
    }

    /// The offset of a sector from which `length` bytes, whole sectors, lie on the disk.
    fn bytes(&self, sector: u64, length: u64) -> Result<u64, Status> {
        let end = sector.checked_add(length / SECTOR_SIZE);
        match end {
            Some(end) if end <= self.info.sectors => Ok(sector * SECTOR_SIZE),
            _ => Err(Status::IoError),
        }
    }

    fn may_write(&self, operation: Operation) -> Result<Operation, Status> {
        match self.info.read_only {
            true => Err(Status::IoError),
            false => Ok(operation),
        }
    }
}

/// The bytes to transfer in one direction: whole sectors, and nothing in the other one.
fn data_length(length: u64, other: u64) -> Result<u64, Status> {
    match length % SECTOR_SIZE == 0 && length <= MAX_DATA && other == 0 {
        true => Ok(length),
        false => Err(Status::IoError),
    }
}

/// Whether there are as many ranges as a request may have.
fn ranges_length(readable: u64, writable: u64, most: u32) -> Result<(), Status> {
    let count = readable / RANGE_SIZE as u64;
    let whole = readable % RANGE_SIZE as u64 == 0 && writable == 0;
    match whole && (1..=u64::from(most)).contains(&count) {
        true => Ok(()),
        false => Err(Status::IoError),
    }
}

/// A request on its way through an executor.
pub(crate) struct Job {
    pub queue: u16,
    /// Which run of the queue it was taken in.
    pub run: u64,
    pub disk_number: u16,
    pub disk: Arc<dyn Disk>,
    /// What it counts for, see [`Disks`](super::Disks).
    pub load: usize,
    pub request: Request,
}

impl Job {
    /// Carries the request out if nobody needs to wait for that. Returns whether it did.
    pub fn run_at_once(&mut self) -> bool {
        match self.request.operation {
            Operation::Read { offset } => {
                let read = self.disk.read_at_once(offset, &mut self.request.data);
                if read {
                    self.request.status = Status::Ok;
                }
                read
            }
            Operation::Name | Operation::Refuse(_) => {
                self.run();
                true
            }
            _ => false,
        }
    }

    /// Carries the request out. May take as long as the disk likes.
    pub fn run(&mut self) {
        let (disk, data) = (&*self.disk, &mut self.request.data);
        let result = match &self.request.operation {
            Operation::Read { offset } => disk.read(*offset, data),
            Operation::Write { offset, stable } => disk
                .write(*offset, data)
                .and_then(|()| flush_if(disk, *stable)),
            Operation::Flush => disk.flush(),
            Operation::Name => {
                name(self.disk_number, data);
                Ok(())
            }
            Operation::Discard(ranges) => ranges
                .iter()
                .try_for_each(|range| disk.discard(range.offset, range.length)),
            Operation::Zero { ranges, stable } => ranges
                .iter()
                .try_for_each(|range| disk.zero(range.offset, range.length, range.free))
                .and_then(|()| flush_if(disk, *stable)),
            Operation::Refuse(status) => {
                self.request.status = *status;
                return;
            }
        };
        self.request.status = match result {
            Ok(()) => Status::Ok,
            Err(error) => {
                log::warn!("disk {}: {error}", self.disk_number);
                Status::IoError
            }
        };
    }
}

fn flush_if(disk: &dyn Disk, stable: bool) -> io::Result<()> {
    match stable {
        true => disk.flush(),
        false => Ok(()),
    }
}

/// The disk's name, padded with zeros.
fn name(disk: u16, data: &mut [u8]) {
    data.fill(0);
    let name = format!("mooring-disk-{disk}");
    for (to, from) in data.iter_mut().zip(name.bytes()) {
        *to = from;
    }
}

#[cfg(test)]
mod tests;
