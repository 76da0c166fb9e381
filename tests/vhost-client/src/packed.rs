// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The driver's side of a packed ring: positions, and the descriptors in the ring.

use crate::memory::Memory;
use crate::ring::{Buffer, DESCRIPTOR_NEXT, DESCRIPTOR_WRITE};
use std::cell::Cell;

/// Flags of a descriptor: how the wrap counter stood when it was made available, and when it was used.
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// The wrap counter in a position; the rest is the index of a descriptor.
pub const WRAP: u16 = 1 << 15;

/// What a side wants to hear of, in the second half-word of its event suppression.
const EVENT_DISABLE: u16 = 1;
const EVENT_DESCRIPTOR: u16 = 2;

/// A packed ring with the driver's book-keeping. Event suppression of the driver stays zero: it wants every interrupt.
pub struct PackedRing {
    descriptors: u64,
    device_events: u64,
    entries: u16,
    /// Where the next chain goes.
    next_available: u16,
    /// Where the device gives the next chain back.
    next_used: u16,
    /// Descriptors that no chain takes.
    room: u16,
    /// Descriptors made available since the device's wish was looked at.
    added: Cell<u16>,
    /// Descriptors of the chain with each buffer ID.
    lengths: Vec<Option<u16>>,
}

impl PackedRing {
    /// A ring in zeroed memory that begins at a position, as after a move from another host.
    pub fn new(
        memory: &Memory,
        descriptors: u64,
        device_events: u64,
        entries: u16,
        first: u16,
    ) -> Self {
        // Every descriptor looks used: those before `first` in this round, the others in the round before. Memory is zero, as
        // the flags of a round without the wrap counter are.
        for index in 0..entries {
            let wrap = (first & WRAP != 0) == (index < first & !WRAP);
            if wrap {
                memory.publish(descriptors + 16 * u64::from(index) + 14, AVAIL | USED);
            }
        }
        Self {
            descriptors,
            device_events,
            entries,
            next_available: first,
            next_used: first,
            room: entries,
            added: Cell::new(0),
            lengths: vec![None; usize::from(entries)],
        }
    }

    pub fn room(&self) -> usize {
        usize::from(self.room)
    }

    pub fn outstanding(&self) -> usize {
        self.lengths.iter().flatten().count()
    }

    /// The position `by` descriptors behind another in a ring of so many entries.
    pub fn place(position: u16, by: u32, entries: u16) -> u16 {
        let next = u32::from(position & !WRAP) + by;
        let rounds = next / u32::from(entries);
        let wrap = if rounds % 2 == 0 { position } else { !position };
        (next % u32::from(entries)) as u16 | (wrap & WRAP)
    }

    fn after(&self, position: u16, by: u16) -> u16 {
        Self::place(position, by.into(), self.entries)
    }

    fn address(&self, position: u16) -> u64 {
        self.descriptors + 16 * u64::from(position & !WRAP)
    }

    /// Makes a chain available. `extra` is a flag for all its descriptors. The caller knows that there is room.
    pub fn add(&mut self, memory: &Memory, id: u16, buffers: &[Buffer], extra: u16) {
        let first = self.next_available;
        for (place, buffer) in buffers.iter().enumerate().rev() {
            let position = self.after(first, place as u16);
            let flags = extra
                | if position & WRAP != 0 { AVAIL } else { USED }
                | if buffer.writable { DESCRIPTOR_WRITE } else { 0 }
                | if place + 1 < buffers.len() {
                    DESCRIPTOR_NEXT
                } else {
                    0
                };
            let mut bytes = [0; 14];
            bytes[0..8].copy_from_slice(&buffer.iova.to_le_bytes());
            bytes[8..12].copy_from_slice(&buffer.length.to_le_bytes());
            bytes[12..14].copy_from_slice(&id.to_le_bytes());
            memory.write(self.address(position), &bytes);
            // Backwards, so that the first one is available when all others are.
            memory.publish(self.address(position) + 14, flags);
        }
        let count = buffers.len() as u16;
        self.next_available = self.after(first, count);
        self.room -= count;
        self.added.set(self.added.get().wrapping_add(count));
        self.lengths[usize::from(id)] = Some(count);
    }

    /// True if the device gave back a chain that we have not taken.
    pub fn has_used(&self, memory: &Memory) -> bool {
        self.is_used(memory, self.next_used)
    }

    fn is_used(&self, memory: &Memory, position: u16) -> bool {
        let flags = memory.observe(self.address(position) + 14);
        let expected = if position & WRAP != 0 {
            AVAIL | USED
        } else {
            0
        };
        flags & (AVAIL | USED) == expected
    }

    /// The buffer ID in a descriptor that the device gave back, and the bytes that it wrote.
    fn used_chain(&self, memory: &Memory, position: u16) -> (u16, u32) {
        let mut bytes = [0; 6];
        memory.read(self.address(position) + 8, &mut bytes);
        let length = u32::from_le_bytes(bytes[0..4].try_into().expect("four bytes"));
        let id = u16::from_le_bytes(bytes[4..6].try_into().expect("two bytes"));
        (id, length)
    }

    /// The position behind all chains that the device gave back, those included that we have not taken.
    pub fn used_until(&self, memory: &Memory) -> u16 {
        let mut position = self.next_used;
        for _ in 0..self.outstanding() {
            let (id, _) = self.used_chain(memory, position);
            let count = self.lengths.get(usize::from(id)).copied().flatten();
            let Some(count) = count.filter(|_| self.is_used(memory, position)) else {
                break;
            };
            position = self.after(position, count);
        }
        position
    }

    /// Takes the next chain that the device gave back: its ID and the bytes that the device wrote. Nothing if the device
    /// doesn't hold that chain.
    pub fn take_used(&mut self, memory: &Memory) -> (u16, Option<u32>) {
        let (id, length) = self.used_chain(memory, self.next_used);
        let Some(count) = self.lengths.get_mut(usize::from(id)).and_then(Option::take) else {
            return (id, None);
        };
        self.next_used = self.after(self.next_used, count);
        self.room += count;
        (id, Some(length))
    }

    /// True if the device wants to hear of what was added since this was last asked. The caller has a barrier before.
    pub fn wants_kick(&self, memory: &Memory) -> bool {
        let added = self.added.take();
        match memory.observe(self.device_events + 2) & 3 {
            EVENT_DISABLE => false,
            EVENT_DESCRIPTOR => {
                let wish = memory.observe(self.device_events);
                let mut event = wish & !WRAP;
                if (wish ^ self.next_available) & WRAP != 0 {
                    event = event.wrapping_sub(self.entries);
                }
                crosses(event, self.next_available & !WRAP, added)
            }
            _ => added > 0,
        }
    }
}

/// Whether one of the `count` indices before `new` is `event` (the specification's `vring_need_event()`).
pub fn crosses(event: u16, new: u16, count: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Backing, Span};

    #[test]
    fn chains_go_round_and_the_wrap_counter_changes() {
        for first in [WRAP, WRAP | 3, 0, 2] {
            let memory = Memory::new(&[Span::new(0, 0x10000)], Backing::Memfd).unwrap();
            let mut ring = PackedRing::new(&memory, 0, 0x1000, 4, first);
            for place in 0..4 {
                ring.next_used = ring.after(first, place);
                assert!(!ring.has_used(&memory), "{place} behind {first:#x}");
            }
            ring.next_used = first;
            let buffer = Buffer {
                iova: 0x8000,
                length: 64,
                writable: false,
            };
            let mut device = first;
            for round in 0..20u16 {
                let count = 1 + usize::from(round % 3);
                let id = round % 4;
                ring.add(&memory, id, &vec![buffer; count], 0);
                assert!(!ring.has_used(&memory) && ring.room() == 4 - count);
                assert_eq!(ring.used_until(&memory), device);
                // The device's part: length and ID, then the flags, all in the first descriptor.
                let at = ring.address(device);
                let flags = memory.observe(at + 14);
                let (avail, used) = (flags & AVAIL != 0, flags & USED != 0);
                assert!(avail == (device & WRAP != 0) && avail != used);
                memory.write(at + 8, &u32::from(round).to_le_bytes());
                memory.write(at + 12, &id.to_le_bytes());
                memory.publish(at + 14, if avail { AVAIL | USED } else { 0 });
                assert_eq!(ring.used_until(&memory), ring.after(device, count as u16));
                device = ring.after(device, count as u16);
                assert!(ring.has_used(&memory));
                assert_eq!(ring.take_used(&memory), (id, Some(round.into())));
                assert_eq!((ring.room(), ring.outstanding()), (4, 0));
            }
            assert_eq!(ring.take_used(&memory).1, None);
        }
    }

    #[test]
    fn kicks_follow_the_devices_wish() {
        let memory = Memory::new(&[Span::new(0, 0x10000)], Backing::Memfd).unwrap();
        let mut ring = PackedRing::new(&memory, 0, 0x1000, 4, WRAP | 3);
        let wish = |position: u16, flags: u16| {
            memory.write(0x1000, &position.to_le_bytes());
            memory.publish(0x1002, flags);
        };
        let add = |ring: &mut PackedRing| {
            ring.room = 4;
            let buffer = Buffer {
                iova: 0,
                length: 1,
                writable: false,
            };
            ring.add(&memory, 0, &[buffer], 0);
        };
        // At 3 of one round, then at 0 of the next.
        wish(WRAP | 3, EVENT_DESCRIPTOR);
        add(&mut ring);
        assert!(ring.wants_kick(&memory) && !ring.wants_kick(&memory));
        add(&mut ring);
        assert!(!ring.wants_kick(&memory));
        wish(2, EVENT_DESCRIPTOR);
        add(&mut ring);
        assert!(!ring.wants_kick(&memory));
        add(&mut ring);
        assert!(ring.wants_kick(&memory));
        wish(0, EVENT_DISABLE);
        add(&mut ring);
        assert!(!ring.wants_kick(&memory));
        wish(0, 0);
        add(&mut ring);
        assert!(ring.wants_kick(&memory));
    }
}
