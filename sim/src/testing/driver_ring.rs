// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The driver's side of rings in every format, with the notifications that the specification demands and no more.

use std::collections::BTreeMap;
use std::sync::atomic::{fence, Ordering};
use std::sync::Arc;

use mooring_firmware::hal::RingFormat;
use mooring_firmware::ring::features;
use mooring_hw_regs::wire::{QueueEnable, NO_VECTOR};

use super::{Buffer, Region};
use crate::HostMemory;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;
const WRAP: u16 = 1 << 15;

/// Entries of a table of indirect descriptors at most.
const TABLE: u64 = 16;

/// A ring in a region, as a driver has it.
pub struct DriverRing {
    memory: Arc<dyn HostMemory>,
    region: Region,
    /// Entries.
    pub size: u16,
    format: RingFormat,
    descriptors: u64,
    driver: u64,
    device: u64,
    tables: u64,
    /// Names that no chain has: descriptors of a split ring, buffer IDs of a packed one.
    free: Vec<u16>,
    /// Descriptors of the ring that no chain takes.
    room: u16,
    /// The descriptors of each chain that the device has, by its name.
    chains: BTreeMap<u16, Vec<u16>>,
    /// Split: free running. Packed: index and wrap counter.
    avail: u16,
    used: u16,
    /// What was made available since the last look at the device's wish, in entries or descriptors.
    added: u16,
}

impl DriverRing {
    /// Entries of the longest ring.
    pub const ENTRIES: u16 = 64;
    /// Bytes that a ring takes in its region at most.
    pub const LENGTH: u64 = (26 + 16 * TABLE) * Self::ENTRIES as u64 + 64;

    /// The feature bits of a format.
    pub fn features(format: RingFormat) -> u64 {
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        bit(format.packed, features::RING_PACKED)
            | bit(format.indirect, features::INDIRECT_DESC)
            | bit(format.event_index, features::EVENT_IDX)
    }

    /// A ring without chains, of [`Self::ENTRIES`] at most. `first` is where a split ring begins; a packed one begins at its
    /// beginning.
    pub fn new(
        memory: Arc<dyn HostMemory>,
        region: &mut Region,
        size: u16,
        format: RingFormat,
        first: u16,
    ) -> Self {
        let entries = u64::from(size);
        let (driver, device) = if format.packed {
            (4, 4)
        } else {
            (6 + 2 * entries, 6 + 8 * entries)
        };
        let first = if format.packed { WRAP } else { first };
        let ring = Self {
            memory,
            size,
            format,
            descriptors: region.allocate(16 * entries, 16),
            driver: region.allocate(driver, 4),
            device: region.allocate(device, 4),
            tables: region.allocate(16 * TABLE * entries, 16),
            region: region.clone(),
            free: (0..size).rev().collect(),
            room: size,
            chains: BTreeMap::new(),
            avail: first,
            used: first,
            added: 0,
        };
        ring.write(ring.descriptors, &vec![0; 16 * usize::from(size)]);
        for (area, length) in [(ring.driver, driver), (ring.device, device)] {
            ring.write(area, &vec![0; length as usize]);
        }
        if !format.packed {
            ring.store(ring.driver + 2, first);
            ring.store(ring.device + 2, first);
        }
        ring
    }

    /// What starts the queue with an index in its device, where this ring stands.
    pub fn enable(&self, queue: u16, space: u16, vector: Option<u16>, flags: u16) -> QueueEnable {
        QueueEnable {
            queue: queue.into(),
            size: self.size.into(),
            vector: vector.unwrap_or(NO_VECTOR).into(),
            address_space: space.into(),
            flags: flags.into(),
            avail_index: self.used.into(),
            used_index: self.used.into(),
            ring_address_space: space.into(),
            descriptor_area: self.descriptors.into(),
            driver_area: self.driver.into(),
            device_area: self.device.into(),
        }
    }

    /// Where the device must stand if it has used all that it took: what `QueueState` has.
    pub fn position(&self) -> u16 {
        self.used
    }

    /// Writes memory of the region, by I/O virtual address.
    pub fn write(&self, iova: u64, data: &[u8]) {
        self.memory
            .write(self.region.bus(iova), data)
            .expect("memory");
    }

    /// Reads memory of the region, by I/O virtual address.
    pub fn read(&self, iova: u64, data: &mut [u8]) {
        self.memory
            .read(self.region.bus(iova), data)
            .expect("memory");
    }

    /// The bus address of an I/O virtual address of the region.
    pub fn bus(&self, iova: u64) -> u64 {
        self.region.bus(iova)
    }

    fn load(&self, iova: u64) -> u16 {
        self.memory
            .load_u16(self.region.bus(iova))
            .expect("ring memory")
    }

    fn store(&self, iova: u64, value: u16) {
        self.memory
            .store_u16(self.region.bus(iova), value)
            .expect("ring memory");
    }

    /// I/O virtual address of a descriptor.
    pub fn descriptor(&self, index: u16) -> u64 {
        self.descriptors + 16 * u64::from(index)
    }

    /// I/O virtual address of the table that belongs to a chain's name.
    pub fn table(&self, name: u16) -> u64 {
        self.tables + 16 * TABLE * u64::from(name)
    }

    /// Writes a descriptor of this ring's kind, the flags last.
    pub fn write_descriptor(&self, at: u64, iova: u64, length: u32, flags: u16, number: u16) {
        let (flags_at, number_at) = if self.format.packed {
            (14, 12)
        } else {
            (12, 14)
        };
        self.write(at, &iova.to_le_bytes());
        self.write(at + 8, &length.to_le_bytes());
        self.write(at + number_at, &number.to_le_bytes());
        self.store(at + flags_at, flags);
    }

    fn write_table(&self, name: u16, buffers: &[Buffer]) {
        assert!(buffers.len() as u64 <= TABLE);
        for (place, buffer) in buffers.iter().enumerate() {
            let more = !self.format.packed && place + 1 < buffers.len();
            // CAST: 64 at most.
            let (flags, next) = (flags(buffer, more), if more { place as u16 + 1 } else { 0 });
            let at = self.table(name) + 16 * place as u64;
            self.write_descriptor(at, buffer.iova, buffer.length, flags, next);
        }
    }

    /// Makes the chain that begins at a descriptor of a split ring available so many times.
    pub fn publish_head_often(&self, head: u16, count: u16) {
        for number in 0..count {
            let slot = u64::from(self.avail.wrapping_add(number) % self.size);
            self.write(self.driver + 4 + 2 * slot, &head.to_le_bytes());
        }
        self.store(self.driver + 2, self.avail.wrapping_add(count));
    }

    /// Makes whatever chain begins at a descriptor of a split ring available.
    pub fn publish_split(&self, head: u16) {
        let slot = u64::from(self.avail % self.size);
        self.write(self.driver + 4 + 2 * slot, &head.to_le_bytes());
        self.store(self.driver + 2, self.avail.wrapping_add(1));
    }

    /// Makes a chain available, as a table if asked for. Returns its name, or nothing if there is no room.
    pub fn add(&mut self, buffers: &[Buffer], as_table: bool) -> Option<u16> {
        if !as_table {
            return self.add_list(buffers, 0);
        }
        let name = *self.free.last()?;
        self.write_table(name, buffers);
        self.add_table(self.table(name), buffers.len() as u32)
    }

    /// Makes a chain available that is a table of so many entries, wherever it lies. Returns its name, or nothing if there is
    /// no room.
    pub fn add_table(&mut self, iova: u64, entries: u32) -> Option<u16> {
        let table = Buffer {
            iova,
            length: 16 * entries,
            writable: false,
        };
        self.add_list(&[table], INDIRECT)
    }

    fn add_list(&mut self, list: &[Buffer], table: u16) -> Option<u16> {
        let needed = list.len() as u16;
        if needed > self.room || needed == 0 {
            return None;
        }
        let name = *self.free.last()?;
        let taken = if self.format.packed {
            self.add_packed(name, list, table)
        } else {
            self.add_split(list, table)
        };
        self.room -= needed;
        self.chains.insert(name, taken);
        Some(name)
    }

    fn add_split(&mut self, list: &[Buffer], table: u16) -> Vec<u16> {
        let at = self.free.len() - list.len();
        let indices: Vec<u16> = self.free.drain(at..).rev().collect();
        for (place, buffer) in list.iter().enumerate() {
            let next = indices.get(place + 1);
            self.write_descriptor(
                self.descriptor(indices[place]),
                buffer.iova,
                buffer.length,
                flags(buffer, next.is_some()) | table,
                next.copied().unwrap_or(0),
            );
        }
        let slot = u64::from(self.avail % self.size);
        self.write(self.driver + 4 + 2 * slot, &indices[0].to_le_bytes());
        self.avail = self.avail.wrapping_add(1);
        self.added += 1;
        self.store(self.driver + 2, self.avail);
        indices
    }

    fn add_packed(&mut self, name: u16, list: &[Buffer], table: u16) -> Vec<u16> {
        self.free.pop();
        let first = self.avail;
        let mut first_flags = 0;
        for (place, buffer) in list.iter().enumerate() {
            let mark = if self.avail & WRAP != 0 { AVAIL } else { USED };
            let all = flags(buffer, place + 1 < list.len()) | table | mark;
            let at = self.descriptor(self.avail & !WRAP);
            // The first one is not available before all are there.
            let now = if place == 0 {
                all ^ (AVAIL | USED)
            } else {
                all
            };
            if place == 0 {
                first_flags = all;
            }
            // Only the last one has to tell the chain's name.
            let last = place + 1 == list.len();
            let number = if last { name } else { !name };
            self.write_descriptor(at, buffer.iova, buffer.length, now, number);
            self.avail = self.after(self.avail, 1);
        }
        self.store(self.descriptor(first & !WRAP) + 14, first_flags);
        self.added += list.len() as u16;
        vec![0; list.len()]
    }

    /// The position in a packed ring `by` descriptors behind another.
    fn after(&self, position: u16, by: u16) -> u16 {
        let next = (position & !WRAP) + by;
        if next < self.size {
            next | (position & WRAP)
        } else {
            (next - self.size) | (!position & WRAP)
        }
    }

    /// Whether the device has to hear of what was added since this was last asked.
    pub fn wants_doorbell(&mut self) -> bool {
        fence(Ordering::SeqCst);
        let added = std::mem::take(&mut self.added);
        if added == 0 {
            return false;
        }
        if !self.format.packed {
            let event = self.device + 4 + 8 * u64::from(self.size);
            return match self.format.event_index {
                true => need_event(self.load(event), self.avail, added),
                false => self.load(self.device) & 1 == 0,
            };
        }
        match self.load(self.device + 2) & 3 {
            0 => true,
            1 => false,
            kind => {
                assert!(kind == 2 && self.format.event_index, "event flags {kind}");
                let wish = self.load(self.device);
                let event = self.behind(wish, self.avail);
                need_event(event, self.avail & !WRAP, added)
            }
        }
    }

    /// I/O virtual address of where the device says at which doorbell it wants to hear of a chain.
    pub fn wish(&self) -> u64 {
        match (self.format.packed, self.format.event_index) {
            (false, true) => self.device + 4 + 8 * u64::from(self.size),
            _ => self.device,
        }
    }

    /// Leaves word that the device wants no doorbells, as one that ran the queue before may have.
    pub fn refuse_doorbells(&self) {
        let at = self.device + if self.format.packed { 2 } else { 0 };
        self.store(at, 1);
    }

    /// The index of a position, brought into the round of another.
    fn behind(&self, position: u16, other: u16) -> u16 {
        let index = position & !WRAP;
        if (position ^ other) & WRAP == 0 {
            index
        } else {
            index.wrapping_sub(self.size)
        }
    }

    /// Switches interrupts on or off without an event index; in a packed ring one may have been agreed on.
    pub fn set_interrupts(&self, on: bool) {
        let at = self.driver + if self.format.packed { 2 } else { 0 };
        self.store(at, u16::from(!on));
    }

    /// Asks for an interrupt when `later` more chains, or descriptors of a packed ring, have been used than were taken
    /// from the ring; with 0, for the next.
    pub fn ask_interrupt(&self, later: u16) {
        if self.format.packed {
            self.store(self.driver, self.after(self.used, later));
            self.store(self.driver + 2, 2);
        } else {
            let event = self.driver + 4 + 2 * u64::from(self.size);
            self.store(event, self.used.wrapping_add(later));
            // The flag that refuses interrupts means nothing now.
            self.store(self.driver, later & 1);
        }
    }

    /// Takes the next chain that the device gave back: its name, and the bytes that were written.
    pub fn take_used(&mut self) -> Option<(u16, u32)> {
        let (name, written) = if self.format.packed {
            self.next_packed()?
        } else {
            self.next_split()?
        };
        let taken = self
            .chains
            .remove(&name)
            .expect("a chain that the device has");
        self.room += taken.len() as u16;
        if self.format.packed {
            self.free.push(name);
            self.used = self.after(self.used, taken.len() as u16);
        } else {
            self.free.extend(taken.iter().rev());
            self.used = self.used.wrapping_add(1);
        }
        Some((name, written))
    }

    fn next_split(&self) -> Option<(u16, u32)> {
        if self.load(self.device + 2) == self.used {
            return None;
        }
        let slot = u64::from(self.used % self.size);
        let mut element = [0; 8];
        self.read(self.device + 4 + 8 * slot, &mut element);
        let [i0, i1, 0, 0, l0, l1, l2, l3] = element else {
            panic!("a head beyond 16 bits");
        };
        Some((
            u16::from_le_bytes([i0, i1]),
            u32::from_le_bytes([l0, l1, l2, l3]),
        ))
    }

    fn next_packed(&self) -> Option<(u16, u32)> {
        let at = self.descriptor(self.used & !WRAP);
        let expected = if self.used & WRAP != 0 {
            AVAIL | USED
        } else {
            0
        };
        if self.load(at + 14) & (AVAIL | USED) != expected {
            return None;
        }
        let mut element = [0; 6];
        self.read(at + 8, &mut element);
        let [l0, l1, l2, l3, i0, i1] = element;
        Some((
            u16::from_le_bytes([i0, i1]),
            u32::from_le_bytes([l0, l1, l2, l3]),
        ))
    }
}

fn flags(buffer: &Buffer, more: bool) -> u16 {
    let write = if buffer.writable { WRITE } else { 0 };
    write | if more { NEXT } else { 0 }
}

/// Whether one of the `count` indices before `new` is `event`, as the specification has it.
fn need_event(event: u16, new: u16, count: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < count
}
