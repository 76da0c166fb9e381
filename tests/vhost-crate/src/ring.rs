// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A split virtqueue (virtio 1.3, 2.7), the driver's side: a descriptor for each buffer, each a chain of its own.

use crate::buffer;
use crate::memory::{Guest, RINGS};
use anyhow::{ensure, Result};
use std::sync::atomic::Ordering;
use vhost::VringConfigData;
use vm_memory::{Bytes, GuestAddress};

/// Entries of a ring.
pub const ENTRIES: u16 = 64;

/// Each part of a ring has a page of its own, so that nothing depends on how they lie to each other.
const PART: u64 = 4096;

const WRITE: u16 = 2;

pub struct Ring {
    queue: usize,
    /// Buffers that were made available, and those that came back, since the start; both wrap.
    offered: u16,
    taken: u16,
}

impl Ring {
    /// An empty ring.
    pub fn new(guest: &Guest, queue: usize) -> Result<Self> {
        let ring = Self {
            queue,
            offered: 0,
            taken: 0,
        };
        guest
            .memory
            .write_slice(&[0; 3 * PART as usize], ring.part(0))?;
        Ok(ring)
    }

    fn part(&self, part: u64) -> GuestAddress {
        GuestAddress(RINGS + (self.queue as u64 * 3 + part) * PART)
    }

    /// What the device is told of the ring. `largest`: how many entries it allows.
    pub fn addresses(&self, largest: u16) -> VringConfigData {
        VringConfigData {
            queue_max_size: largest,
            queue_size: ENTRIES,
            flags: 0,
            desc_table_addr: self.part(0).0,
            avail_ring_addr: self.part(1).0,
            used_ring_addr: self.part(2).0,
            log_addr: None,
        }
    }

    /// Buffers that came back since the start.
    pub fn taken(&self) -> u16 {
        self.taken
    }

    /// Makes a buffer available, for the device to read or to write.
    pub fn offer(&mut self, guest: &Guest, slot: u16, length: u32, write: bool) -> Result<()> {
        let memory = &guest.memory;
        let descriptor = GuestAddress(self.part(0).0 + 16 * u64::from(slot));
        memory.write_obj(buffer(self.queue, slot).0.to_le(), descriptor)?;
        memory.write_obj(length.to_le(), GuestAddress(descriptor.0 + 8))?;
        let flags = if write { WRITE } else { 0 };
        memory.write_obj(flags.to_le(), GuestAddress(descriptor.0 + 12))?;
        let available = self.part(1).0;
        let entry = available + 4 + 2 * u64::from(self.offered % ENTRIES);
        memory.write_obj(slot.to_le(), GuestAddress(entry))?;
        self.offered = self.offered.wrapping_add(1);
        // Releases what was written before it.
        memory.store(
            self.offered.to_le(),
            GuestAddress(available + 2),
            Ordering::Release,
        )?;
        Ok(())
    }

    /// Takes the next used buffer; returns how many bytes the device has written to it, `None` if there is none.
    pub fn take(&mut self, guest: &Guest) -> Result<Option<u32>> {
        let used = self.part(2).0;
        let index: u16 = guest
            .memory
            .load(GuestAddress(used + 2), Ordering::Acquire)?;
        if u16::from_le(index) == self.taken {
            return Ok(None);
        }
        let slot = self.taken % ENTRIES;
        let entry = GuestAddress(used + 4 + 8 * u64::from(slot));
        let [id, length]: [u32; 2] = guest.memory.read_obj(entry)?;
        // One frame is under way at a time, so they come back as they were offered.
        ensure!(
            u32::from_le(id) == u32::from(slot),
            "buffer {} came back instead of {slot}",
            u32::from_le(id)
        );
        self.taken = self.taken.wrapping_add(1);
        Ok(Some(u32::from_le(length)))
    }
}
