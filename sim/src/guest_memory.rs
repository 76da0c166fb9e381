// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Host memory as the card reaches it: the ranges that the vfio-user client has mapped for DMA.
//!
//! Two rules shape this file:
//!
//! - After an unmap was answered the card must not touch the range, because the client gives the memory to
//!   somebody else. Every access therefore holds the read lock from the look-up to the last byte copied, and an
//!   unmap waits for it with the write lock.
//! - A client behind a virtual IOMMU maps 4 KiB at a time, thousands of times, from one file. The file is mapped
//!   once as a whole, and ranges only refer to it; a process has no more than 65530 mappings to spend.
//!
//! What the client owns it can also break: it can truncate a file below a range, which ends this process with a
//! bus error. The client is the hypervisor and is trusted that far; the guest is not, and cannot do that.

use crate::{BusError, HostMemory};
use nix::libc;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use vm_memory::{AtomicAccess, Bytes, FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

/// What the card may do in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The card may read.
    pub read: bool,
    /// The card may write.
    pub write: bool,
}

/// The ranges of bus addresses behind which there is memory.
#[derive(Default)]
pub struct GuestMemory {
    maps: RwLock<Maps>,
}

#[derive(Default)]
struct Maps {
    /// Sorted by address and free of overlaps.
    ranges: Vec<Range>,
    /// Files that some range still uses.
    files: Vec<(FileKey, Weak<MmapRegion>)>,
}

/// What makes two file descriptors the same mapping.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileKey {
    device: u64,
    inode: u64,
    writable: bool,
}

struct Range {
    first: u64,
    /// Inclusive, so that a range may end with the last address.
    last: u64,
    permission: Permission,
    /// Nothing if the client sent no file: the range is taken, but every access fails.
    backing: Option<Backing>,
}

#[derive(Clone)]
struct Backing {
    file: Arc<MmapRegion>,
    offset: usize,
}

impl GuestMemory {
    /// Gives the card access to `size` bytes at the bus address `first`: those of `file` from `offset` on.
    ///
    /// Without a file the range is remembered as inaccessible. That happens for memory that the client cannot
    /// share, a device's BAR for example.
    ///
    /// # Errors
    ///
    /// If the range is empty, wraps around, overlaps another one, or lies outside the file. Nothing changes then.
    pub fn map(
        &self,
        first: u64,
        size: u64,
        permission: Permission,
        file: Option<File>,
        offset: u64,
    ) -> io::Result<()> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
        let last =
            last_of(first, size).ok_or_else(|| invalid("the range is empty or wraps around"))?;
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        let index = maps.ranges.partition_point(|range| range.last < first);
        if maps
            .ranges
            .get(index)
            .is_some_and(|next| next.first <= last)
        {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the range overlaps another one",
            ));
        }
        let backing = match file {
            Some(file) => Some(maps.backing(file, permission.write, offset, size)?),
            None => None,
        };
        maps.ranges.insert(
            index,
            Range {
                first,
                last,
                permission,
                backing,
            },
        );
        Ok(())
    }

    /// Takes `size` bytes from the bus address `first` on away from the card, whatever ranges or parts of ranges lie
    /// there, and waits for accesses under way. Returns how many ranges it met.
    pub fn unmap(&self, first: u64, size: u64) -> usize {
        let Some(last) = last_of(first, size) else {
            return 0;
        };
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        let begin = maps.ranges.partition_point(|range| range.last < first);
        let end = maps.ranges.partition_point(|range| range.first <= last);
        if begin >= end {
            return 0;
        }
        let head = maps.ranges.get(begin).and_then(|range| range.before(first));
        let tail = maps.ranges.get(end - 1).and_then(|range| range.after(last));
        maps.ranges.splice(begin..end, head.into_iter().chain(tail));
        maps.forget_unused_files();
        end - begin
    }

    /// Takes everything away, as when the client leaves.
    pub fn unmap_all(&self) {
        *self.maps.write().unwrap_or_else(PoisonError::into_inner) = Maps::default();
    }

    /// Calls `access` for each piece of memory behind `length` bytes at `bus`, with the piece's position among them.
    fn for_each_piece(
        &self,
        bus: u64,
        length: usize,
        write: bool,
        mut access: impl FnMut(usize, &VolatileSlice) -> bool,
    ) -> Result<(), BusError> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        let mut index = maps.ranges.partition_point(|range| range.last < bus);
        let mut done = 0;
        while done < length {
            let address = bus.wrapping_add(done as u64);
            let piece = maps
                .ranges
                .get(index)
                .and_then(|range| range.piece(address, length - done, write));
            let size = match piece {
                Some(slice) if access(done, &slice) => slice.len(),
                _ => return Err(BusError { address }),
            };
            done += size;
            index += 1;
        }
        Ok(())
    }

    /// Reads a whole word, which must be aligned and may not cross from one range into the next.
    fn load<T: AtomicAccess + Default>(&self, bus: u64) -> Result<T, BusError> {
        let mut value = T::default();
        self.for_each_piece(bus, size_of::<T>(), false, |_, slice| {
            slice
                .load(0, Ordering::Acquire)
                .map(|read| value = read)
                .is_ok()
        })?;
        Ok(value)
    }

    /// Writes a whole word; the same holds as for [`load`](Self::load).
    fn store<T: AtomicAccess>(&self, bus: u64, value: T) -> Result<(), BusError> {
        self.for_each_piece(bus, size_of::<T>(), true, |_, slice| {
            slice.store(value, 0, Ordering::Release).is_ok()
        })
    }
}

impl HostMemory for GuestMemory {
    fn read(&self, bus: u64, data: &mut [u8]) -> Result<(), BusError> {
        self.for_each_piece(bus, data.len(), false, |position, slice| {
            data.get_mut(position..position + slice.len())
                .is_some_and(|part| slice.copy_to(part) == part.len())
        })
    }

    fn write(&self, bus: u64, data: &[u8]) -> Result<(), BusError> {
        self.for_each_piece(bus, data.len(), true, |position, slice| {
            data.get(position..position + slice.len())
                .is_some_and(|part| slice.write_slice(part, 0).is_ok())
        })
    }

    fn load_u16(&self, bus: u64) -> Result<u16, BusError> {
        self.load(bus).map(u16::from_le)
    }

    fn store_u16(&self, bus: u64, value: u16) -> Result<(), BusError> {
        self.store(bus, value.to_le())
    }

    fn load_u32(&self, bus: u64) -> Result<u32, BusError> {
        self.load(bus).map(u32::from_le)
    }

    fn store_u32(&self, bus: u64, value: u32) -> Result<(), BusError> {
        self.store(bus, value.to_le())
    }
}

impl Maps {
    /// Finds or makes the mapping of the whole file, and the place in it.
    fn backing(
        &mut self,
        file: File,
        writable: bool,
        offset: u64,
        size: u64,
    ) -> io::Result<Backing> {
        let outside = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the range lies outside its file",
            )
        };
        let metadata = file.metadata()?;
        let end = offset
            .checked_add(size)
            .filter(|end| *end <= metadata.len())
            .ok_or_else(outside)?;
        let end = usize::try_from(end).map_err(|_| outside())?;
        let offset = usize::try_from(offset).map_err(|_| outside())?;

        let key = FileKey {
            device: metadata.dev(),
            inode: metadata.ino(),
            writable,
        };
        let known = self
            .files
            .iter()
            .filter(|(other, _)| *other == key)
            .find_map(|(_, file)| file.upgrade());
        // A file may have grown since it was mapped; ranges that use the shorter mapping keep it.
        if let Some(file) = known.filter(|file| file.size() >= end) {
            return Ok(Backing { file, offset });
        }
        let length = usize::try_from(metadata.len()).map_err(|_| outside())?;
        let protection = if writable {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        let region = MmapRegion::build(Some(FileOffset::new(file, 0)), length, protection, flags);
        let file = Arc::new(region.map_err(io::Error::other)?);
        self.files.retain(|(other, _)| *other != key);
        self.files.push((key, Arc::downgrade(&file)));
        Ok(Backing { file, offset })
    }

    fn forget_unused_files(&mut self) {
        self.files.retain(|(_, file)| file.strong_count() > 0);
    }
}

impl Range {
    /// The part below `address`, if there is one.
    fn before(&self, address: u64) -> Option<Self> {
        let last = address.checked_sub(1).filter(|last| *last >= self.first)?;
        Some(Range {
            first: self.first,
            last,
            permission: self.permission,
            backing: self.backing.clone(),
        })
    }

    /// The part above `address`, if there is one.
    fn after(&self, address: u64) -> Option<Self> {
        let first = address.checked_add(1).filter(|first| *first <= self.last)?;
        // CAST: ranges with a backing fit into a file that is mapped, so the distance fits into a usize.
        let skipped = (first - self.first) as usize;
        let backing = self.backing.clone().map(|old| Backing {
            offset: old.offset + skipped,
            ..old
        });
        Some(Range {
            first,
            last: self.last,
            permission: self.permission,
            backing,
        })
    }

    /// The memory from `address` to the end of the range, at most `length` bytes.
    fn piece(&self, address: u64, length: usize, write: bool) -> Option<VolatileSlice<'_>> {
        let allowed = if write {
            self.permission.write
        } else {
            self.permission.read
        };
        if address < self.first || address > self.last || !allowed {
            return None;
        }
        let backing = self.backing.as_ref()?;
        let rest =
            usize::try_from(self.last - address).map_or(usize::MAX, |rest| rest.saturating_add(1));
        let skipped = usize::try_from(address - self.first).ok()?;
        backing
            .file
            .get_slice(backing.offset.checked_add(skipped)?, length.min(rest))
            .ok()
    }
}

fn last_of(first: u64, size: u64) -> Option<u64> {
    first.checked_add(size.checked_sub(1)?)
}

#[cfg(test)]
mod tests;
