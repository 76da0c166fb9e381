// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The driver's side of a virtqueue, split or packed.

use crate::format::Format;
use crate::memory::Memory;
use crate::packed::{crosses, PackedRing, WRAP};
use anyhow::{bail, Result};
use std::cell::Cell;

pub const DESCRIPTOR_NEXT: u16 = 1;
pub const DESCRIPTOR_WRITE: u16 = 2;
const DESCRIPTOR_INDIRECT: u16 = 4;
const USED_NO_NOTIFY: u16 = 1;

/// Bytes between the three parts of a ring; enough for 256 entries each.
const PART: u64 = 0x1000;
/// Bytes that a ring takes.
pub const RING_SIZE: u64 = 3 * PART;
/// Most entries that fit into a part.
pub const MAX_ENTRIES: u16 = 256;
/// Where tables of indirect descriptors begin in the last part, behind the used ring, and bytes of each.
const TABLES: u64 = 0x900;
const TABLE_SIZE: u64 = 32;
/// Chains, by their head, that have a table.
const WITH_TABLE: u64 = (PART - TABLES) / TABLE_SIZE;

/// One buffer of a descriptor chain.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    pub iova: u64,
    pub length: u32,
    pub writable: bool,
}

/// A descriptor as it lies in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Descriptor {
    pub iova: u64,
    pub length: u32,
    pub flags: u16,
    pub next: u16,
}

/// A ring in memory with the driver's book-keeping.
pub struct Ring {
    base: u64,
    entries: u16,
    format: Format,
    /// The ring, if it is packed; most of what follows is about split rings then.
    packed: Option<PackedRing>,
    /// Chains made available since the device's wish was looked at.
    added: Cell<u16>,
    /// Index that the next chain gets in the available ring, free running.
    next_available: u16,
    /// Index in the used ring of the entry that we take next, free running.
    next_used: u16,
    /// Descriptors that no chain uses.
    free: Vec<u16>,
    /// For every head that the device holds: the descriptors of its chain.
    chains: Vec<Option<Vec<u16>>>,
}

impl Ring {
    /// A fresh ring at `base` that begins at `first`, as after a move from another host: with these indices if it is
    /// split, with this position if it is packed.
    pub fn new(memory: &Memory, base: u64, entries: u16, first: u16, format: Format) -> Self {
        assert!(entries.is_power_of_two() && entries <= MAX_ENTRIES);
        memory.write(base, &vec![0; RING_SIZE as usize]);
        let packed = format
            .packed
            .then(|| PackedRing::new(memory, base, base + 2 * PART, entries, first));
        let ring = Self {
            base,
            entries,
            format,
            packed,
            added: Cell::new(0),
            next_available: first,
            next_used: first,
            free: (0..entries).rev().collect(),
            chains: vec![None; usize::from(entries)],
        };
        if !format.packed {
            memory.publish(ring.available() + 2, first);
            memory.publish(ring.used() + 2, first);
            ring.ask_interrupt(memory);
        }
        ring
    }

    pub fn entries(&self) -> u16 {
        self.entries
    }

    pub fn descriptors(&self) -> u64 {
        self.base
    }

    pub fn available(&self) -> u64 {
        self.base + PART
    }

    pub fn used(&self) -> u64 {
        self.base + 2 * PART
    }

    /// What `VHOST_SET_VRING_BASE` takes for a ring that begins at `first`, an index of a split ring or a position of a
    /// packed one. Of a packed ring it has two positions: where the next chain is looked for, and above where the next one
    /// is given back.
    pub fn base_of(format: Format, first: u16) -> u32 {
        let used = if format.packed {
            u32::from(first) << 16
        } else {
            0
        };
        u32::from(first) | used
    }

    /// The first position of a ring that begins where a fresh one does, or at an index.
    pub fn first(format: Format, index: u16) -> u16 {
        index | if format.packed { WRAP } else { 0 }
    }

    pub fn free_descriptors(&self) -> usize {
        match &self.packed {
            Some(packed) => packed.room().min(self.free.len()),
            None => self.free.len(),
        }
    }

    /// Where the device stands if it holds no chain but those that it has not begun, as memory shows it and
    /// `VHOST_GET_VRING_BASE` tells it.
    pub fn position(&self, memory: &Memory) -> u32 {
        let first = match &self.packed {
            Some(packed) => packed.used_until(memory),
            None => memory.observe(self.used() + 2),
        };
        Self::base_of(self.format, first)
    }

    /// Chains that the device holds.
    pub fn outstanding(&self) -> usize {
        match &self.packed {
            Some(packed) => packed.outstanding(),
            None => self.chains.iter().flatten().count(),
        }
    }

    /// Takes a descriptor out of the pool, so that buffers can be chosen by its number.
    pub fn reserve(&mut self) -> Option<u16> {
        self.free.pop()
    }

    /// Makes a chain available that begins with a reserved descriptor.
    pub fn add(&mut self, memory: &Memory, head: u16, buffers: &[Buffer]) -> Result<()> {
        let table = self.write_table(memory, head, buffers);
        let (buffers, extra) = match &table {
            Some(table) => (std::slice::from_ref(table), DESCRIPTOR_INDIRECT),
            None => (buffers, 0),
        };
        if let Some(packed) = &mut self.packed {
            if packed.room() < buffers.len() {
                bail!("the ring has no free descriptors");
            }
            packed.add(memory, head, buffers, extra);
            return Ok(());
        }
        let mut chain = vec![head];
        while chain.len() < buffers.len() {
            match self.free.pop() {
                Some(index) => chain.push(index),
                None => bail!("the ring has no free descriptors"),
            }
        }
        for (position, buffer) in buffers.iter().enumerate() {
            let next = chain.get(position + 1);
            let flags = extra
                | if buffer.writable { DESCRIPTOR_WRITE } else { 0 }
                | if next.is_some() { DESCRIPTOR_NEXT } else { 0 };
            let descriptor = Descriptor {
                iova: buffer.iova,
                length: buffer.length,
                flags,
                next: next.copied().unwrap_or(0),
            };
            self.write_descriptor(memory, chain[position], descriptor);
        }
        self.chains[usize::from(head)] = Some(chain);
        self.make_available(memory, head);
        Ok(())
    }

    /// Writes a chain into a table, if there are to be tables, the chain needs one and there is room. Returns the table.
    fn write_table(&self, memory: &Memory, head: u16, buffers: &[Buffer]) -> Option<Buffer> {
        let fits = u64::from(head) < WITH_TABLE && 16 * buffers.len() as u64 <= TABLE_SIZE;
        if !self.format.indirect || buffers.len() < 2 || !fits {
            return None;
        }
        let iova = self.used() + TABLES + TABLE_SIZE * u64::from(head);
        for (place, buffer) in buffers.iter().enumerate() {
            let write = if buffer.writable { DESCRIPTOR_WRITE } else { 0 };
            let next = place + 1 < buffers.len();
            let link = if next { DESCRIPTOR_NEXT } else { 0 };
            let mut bytes = [0; 16];
            bytes[0..8].copy_from_slice(&buffer.iova.to_le_bytes());
            bytes[8..12].copy_from_slice(&buffer.length.to_le_bytes());
            if self.format.packed {
                // All entries count; there is no link.
                bytes[14..16].copy_from_slice(&write.to_le_bytes());
            } else {
                bytes[12..14].copy_from_slice(&(write | link).to_le_bytes());
                bytes[14..16].copy_from_slice(&(place as u16 + 1).to_le_bytes());
            }
            memory.write(iova + 16 * place as u64, &bytes);
        }
        Some(Buffer {
            iova,
            length: 16 * buffers.len() as u32,
            writable: false,
        })
    }

    /// Writes any descriptor, sensible or not.
    pub fn write_descriptor(&self, memory: &Memory, index: u16, descriptor: Descriptor) {
        let mut bytes = [0; 16];
        bytes[0..8].copy_from_slice(&descriptor.iova.to_le_bytes());
        bytes[8..12].copy_from_slice(&descriptor.length.to_le_bytes());
        bytes[12..14].copy_from_slice(&descriptor.flags.to_le_bytes());
        bytes[14..16].copy_from_slice(&descriptor.next.to_le_bytes());
        memory.write(self.descriptors() + 16 * u64::from(index), &bytes);
    }

    /// Puts any head into the available ring and tells the device's side of it.
    pub fn make_available(&mut self, memory: &Memory, head: u16) {
        let slot = self.next_available % self.entries;
        memory.write(
            self.available() + 4 + 2 * u64::from(slot),
            &head.to_le_bytes(),
        );
        self.next_available = self.next_available.wrapping_add(1);
        self.added.set(self.added.get().wrapping_add(1));
        memory.publish(self.available() + 2, self.next_available);
    }

    /// Moves the available index without any chain behind it.
    pub fn skip_available(&mut self, memory: &Memory, count: u16) {
        self.next_available = self.next_available.wrapping_add(count);
        memory.publish(self.available() + 2, self.next_available);
    }

    /// True if the device gave back a chain that we have not taken.
    pub fn has_used(&self, memory: &Memory) -> bool {
        if let Some(packed) = &self.packed {
            return packed.has_used(memory);
        }
        memory.observe(self.used() + 2) != self.next_used
    }

    /// Takes the next chain that the device gave back: its head and the bytes that the device wrote.
    pub fn take_used(&mut self, memory: &Memory) -> Result<Option<(u16, u32)>> {
        if !self.has_used(memory) {
            if !self.format.event_index || self.format.packed {
                return Ok(None);
            }
            // The device may have used a chain before it saw that we want to hear of it.
            self.ask_interrupt(memory);
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            if !self.has_used(memory) {
                return Ok(None);
            }
        }
        if let Some(packed) = &mut self.packed {
            let (id, Some(length)) = packed.take_used(memory) else {
                bail!("the device gave back a chain that it doesn't hold");
            };
            self.free.push(id);
            return Ok(Some((id, length)));
        }
        let slot = self.next_used % self.entries;
        let mut bytes = [0; 8];
        memory.read(self.used() + 4 + 8 * u64::from(slot), &mut bytes);
        let head = u32::from_le_bytes(bytes[0..4].try_into().expect("four bytes"));
        let length = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
        let Some(chain) = self.chains.get_mut(head as usize).and_then(Option::take) else {
            bail!("the device gave back chain {head}, which it doesn't hold");
        };
        self.free.extend(chain.iter().rev());
        self.next_used = self.next_used.wrapping_add(1);
        Ok(Some((head as u16, length)))
    }

    /// Asks for an interrupt when the next chain is used, in a split ring with an event index.
    fn ask_interrupt(&self, memory: &Memory) {
        if self.format.event_index {
            let event = self.available() + 4 + 2 * u64::from(self.entries);
            memory.publish(event, self.next_used);
        }
    }

    /// True if the device wants to hear of the chains that were added since this was last asked.
    pub fn wants_kick(&self, memory: &Memory) -> bool {
        // The index must be visible before the flag is read, or both sides could wait for each other.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        if let Some(packed) = &self.packed {
            return packed.wants_kick(memory);
        }
        let added = self.added.take();
        if self.format.event_index {
            let event = self.used() + 4 + 8 * u64::from(self.entries);
            return crosses(memory.observe(event), self.next_available, added);
        }
        memory.observe(self.used()) & USED_NO_NOTIFY == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Backing, Span};

    /// Plays the device: gives back the chain that is next in the available ring, with `length`.
    fn use_next(memory: &Memory, ring: &Ring, length: u32) -> u16 {
        let index = memory.observe(ring.used() + 2);
        let mut head = [0; 2];
        memory.read(
            ring.available() + 4 + 2 * u64::from(index % ring.entries()),
            &mut head,
        );
        let mut entry = [0; 8];
        entry[0..2].copy_from_slice(&head);
        entry[4..8].copy_from_slice(&length.to_le_bytes());
        memory.write(
            ring.used() + 4 + 8 * u64::from(index % ring.entries()),
            &entry,
        );
        memory.publish(ring.used() + 2, index.wrapping_add(1));
        u16::from_le_bytes(head)
    }

    fn buffer(iova: u64) -> Buffer {
        Buffer {
            iova,
            length: 64,
            writable: false,
        }
    }

    #[test]
    fn chains_go_round_and_indices_wrap() {
        let memory = Memory::new(&[Span::new(0x10_0000, 0x10000)], Backing::Memfd).unwrap();
        let mut ring = Ring::new(&memory, 0x10_0000, 4, 0xfffe, Format::default());
        for round in 0..20 {
            let head = ring.reserve().unwrap();
            ring.add(&memory, head, &[buffer(0x10_8000), buffer(0x10_9000)])
                .unwrap();
            assert_eq!(ring.free_descriptors(), 2);
            assert!(ring.take_used(&memory).unwrap().is_none());
            assert_eq!(use_next(&memory, &ring, round), head);
            assert_eq!(ring.take_used(&memory).unwrap(), Some((head, round)));
            assert_eq!((ring.free_descriptors(), ring.outstanding()), (4, 0));
        }
        assert_eq!(
            memory.observe(ring.available() + 2),
            0xfffe_u16.wrapping_add(20)
        );
    }

    #[test]
    fn full_ring_and_foreign_heads_are_noticed() {
        let memory = Memory::new(&[Span::new(0, 0x10000)], Backing::Anonymous).unwrap();
        let mut ring = Ring::new(&memory, 0, 2, 0, Format::default());
        let head = ring.reserve().unwrap();
        assert!(ring
            .add(
                &memory,
                head,
                &[buffer(0x8000), buffer(0x9000), buffer(0xa000)]
            )
            .is_err());
        // A head that no chain has, as a broken device would give back.
        let mut ring = Ring::new(&memory, 0, 2, 0, Format::default());
        memory.write(ring.used() + 4, &[1, 0, 0, 0, 0, 0, 0, 0]);
        memory.publish(ring.used() + 2, 1);
        assert!(ring.take_used(&memory).is_err());
    }
}
