// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A disk in a file or a block device of the host.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mooring_hw_regs::wire::SECTOR_SIZE;
use nix::errno::Errno;
use nix::fcntl::{fallocate, FallocateFlags, Flock, FlockArg};
use rustix::io::{preadv2, ReadWriteFlags};

use super::Disk;

/// Zeros, to be written where the file system can't zero by itself.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Bytes that are written before they are synced even if nobody asks. Without a bound a flush could take as long as it takes
/// to write out whatever the host has memory for, and the card's driver doesn't wait for ever for a queue to stop.
/// A smaller one costs a disk whose blocks are written again and again much of its speed.
const MOST_UNSYNCED: u64 = 256 << 20;

/// Largest block of a file system that accesses are advised to be a multiple of.
const MAX_PHYSICAL_BLOCK: u32 = 64 << 10;

/// Which file is a disk, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// The file.
    pub path: PathBuf,
    /// Whether it is never written.
    pub read_only: bool,
    /// Bytes of a block.
    pub block_size: u32,
}

impl FromStr for DiskOptions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let mut options = Self {
            path: words.next().unwrap_or_default().into(),
            read_only: false,
            block_size: 512,
        };
        if options.path.as_os_str().is_empty() {
            return Err("must begin with the name of a file".into());
        }
        for word in words {
            match word.split_once('=') {
                None if word == "ro" => options.read_only = true,
                Some(("block-size", size)) => {
                    options.block_size = size
                        .parse()
                        .ok()
                        .filter(|size: &u32| size.is_power_of_two() && (512..=4096).contains(size))
                        .ok_or("block-size must be 512, 1024, 2048 or 4096")?;
                }
                _ => return Err(format!("{word:?} is neither ro nor block-size=N")),
            }
        }
        Ok(options)
    }
}

/// The system call, or what a test has in its place.
type Fallocate = fn(&File, FallocateFlags, i64, i64) -> nix::Result<()>;

/// A disk in a file. It is locked against another model that would write to it.
pub struct FileDisk {
    file: Flock<File>,
    size: u64,
    block_size: u32,
    physical_block_size: u32,
    read_only: bool,
    /// Bytes written since the last sync.
    unsynced: AtomicU64,
    /// Whether a sync has failed, so that nobody knows what is on stable storage.
    lost: AtomicBool,
    /// The system call, so that a test can be a file system without it.
    fallocate: Fallocate,
}

impl FileDisk {
    /// Opens the file, which is as large as the disk shall be.
    ///
    /// # Errors
    ///
    /// If it can't be opened or locked, or its size isn't a multiple of the block size, or is 0.
    pub fn open(options: &DiskOptions) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(!options.read_only)
            .open(&options.path)?;
        // A block device has no size but this.
        let size = file.seek(SeekFrom::End(0))?;
        if size == 0 || size % u64::from(options.block_size) != 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "its size of {size} bytes is not a multiple of the block size, {}; make it so with truncate",
                    options.block_size
                ),
            ));
        }
        let lock = match options.read_only {
            true => FlockArg::LockSharedNonblock,
            false => FlockArg::LockExclusiveNonblock,
        };
        let file = Flock::lock(file, lock).map_err(|(_, errno)| match errno {
            Errno::EWOULDBLOCK => io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another model has it; give each card a disk of its own, or the option ro to all",
            ),
            errno => errno.into(),
        })?;
        let physical_block_size = u32::try_from(file.metadata()?.blksize())
            .ok()
            .filter(|size| size.is_power_of_two() && *size <= MAX_PHYSICAL_BLOCK)
            .unwrap_or(0);
        Ok(Self {
            file,
            size,
            block_size: options.block_size,
            physical_block_size: physical_block_size.max(options.block_size),
            read_only: options.read_only,
            unsynced: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            fallocate: |file, flags, offset, length| fallocate(file, flags, offset, length),
        })
    }

    /// Counts what was written, and sees to it that a flush never has much to do. That it fails is for the next flush to tell,
    /// because what was written before is concerned as well.
    fn written(&self, length: u64) {
        let before = self.unsynced.fetch_add(length, Ordering::Relaxed);
        if before.saturating_add(length) > MOST_UNSYNCED {
            let _ = self.flush();
        }
    }

    /// Syncs, by `sync`. The system tells of what it couldn't write once, and takes it for written then: the disk remembers, or
    /// the next flush would succeed although something is lost.
    fn sync_with(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if let Err(error) = sync() {
            log::error!(
                "disk: what was written could not be stored: {error}; no flush succeeds any more"
            );
            self.lost.store(true, Ordering::Relaxed);
        }
        match self.lost.load(Ordering::Relaxed) {
            true => Err(io::Error::other("something that was written is lost")),
            false => Ok(()),
        }
    }

    /// Has the file system change a range. Returns `false` if it can't.
    fn fallocate(&self, flags: FallocateFlags, offset: u64, length: u64) -> io::Result<bool> {
        let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if length == 0 {
            return Ok(true);
        }
        match (self.fallocate)(&self.file, flags, offset, length) {
            Ok(()) => Ok(true),
            // EINVAL is the answer of a block device whose blocks are larger than this one's, and the range not whole ones.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::ENODEV | Errno::EINVAL) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

const PUNCH: FallocateFlags =
    FallocateFlags::FALLOC_FL_PUNCH_HOLE.union(FallocateFlags::FALLOC_FL_KEEP_SIZE);
const ZERO: FallocateFlags =
    FallocateFlags::FALLOC_FL_ZERO_RANGE.union(FallocateFlags::FALLOC_FL_KEEP_SIZE);

impl Disk for FileDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn physical_block_size(&self) -> u32 {
        self.physical_block_size
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(data, offset)
    }

    fn read_at_once(&self, offset: u64, data: &mut [u8]) -> bool {
        let length = data.len();
        let read = preadv2(
            &*self.file,
            &mut [IoSliceMut::new(data)],
            offset,
            ReadWriteFlags::NOWAIT,
        );
        read == Ok(length)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)?;
        self.written(data.len() as u64);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        // What is written while this lasts may be synced or not.
        self.unsynced.store(0, Ordering::Relaxed);
        self.sync_with(|| self.file.sync_data())
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        // A hint: where it can't be followed, nothing is to be done.
        self.fallocate(PUNCH, offset, length).map(drop)
    }

    fn zero(&self, offset: u64, length: u64, free: bool) -> io::Result<()> {
        if self.fallocate(if free { PUNCH } else { ZERO }, offset, length)? {
            return Ok(());
        }
        let (mut at, end) = (offset, offset.saturating_add(length));
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let zeros = ZEROS.get(..left).unwrap_or(&ZEROS);
            self.write(at, zeros)?;
            at += zeros.len() as u64;
        }
        Ok(())
    }
}

// Blocks are multiples of sectors.
const _: () = assert!(SECTOR_SIZE == 512);

#[cfg(test)]
mod tests;
