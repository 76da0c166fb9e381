// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Packed rings, as the virtio specification lays them out (section 2.8).

use std::sync::atomic::{fence, Ordering};

use mooring_firmware::hal::{QueueRole, QueueSetup, RingFormat};

use super::chain::Chain;
use super::descriptor::{self, Descriptor, Order};
use super::dma::{QueueDma, QueueError};
use super::ring::{crossed, Unsignalled};

/// Flags of a descriptor: how the wrap counters stood when it was made available, and used.
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// Where flags, and what comes before them in a used descriptor, lie in a descriptor.
const FLAGS: u64 = 14;
const LENGTH: u64 = 8;

/// The wrap counter in a position; the rest is an index.
const WRAP: u16 = 1 << 15;

/// Event suppression, in the half-word behind the position: notify always, never, or for the descriptor at the position.
const EVENT_ENABLE: u32 = 0;
const EVENT_DISABLE: u32 = 1;
const EVENT_DESCRIPTOR: u32 = 2;

/// Descriptors that one access reads.
const WINDOW: usize = 8;

/// A place in the ring, on the way of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    index: u16,
    /// The wrap counter, which changes with each round.
    wrap: bool,
}

impl Position {
    fn from_bits(bits: u16) -> Self {
        Self {
            index: bits & !WRAP,
            wrap: bits & WRAP != 0,
        }
    }

    fn to_bits(self) -> u16 {
        self.index | if self.wrap { WRAP } else { 0 }
    }

    /// Goes on by no more descriptors than the ring has.
    fn advance(&mut self, by: u16, size: u16) {
        // No overflow: both are at most 32768, and an index is less.
        let next = u32::from(self.index) + u32::from(by);
        if next >= u32::from(size) {
            self.wrap = !self.wrap;
        }
        // CAST: less than `size`.
        self.index = (next % u32::from(size)) as u16;
    }

    /// The flags of a descriptor that was made available here.
    fn available(self) -> u16 {
        if self.wrap {
            AVAIL
        } else {
            USED
        }
    }

    /// The flags of a descriptor that was used here.
    fn used(self) -> u16 {
        if self.wrap {
            AVAIL | USED
        } else {
            0
        }
    }
}

/// Descriptors that were read ahead; they don't change until they are used.
#[derive(Clone, Debug)]
struct Window {
    bytes: [u8; WINDOW * descriptor::SIZE],
    /// Where it begins. It doesn't reach beyond the end of the ring.
    first: Position,
    held: u16,
    /// A bit for each of them that was available when what the window holds was read.
    available: u16,
}

impl Window {
    /// The descriptor of a position.
    fn get(&self, position: Position) -> Option<Descriptor> {
        let place = position.index.wrapping_sub(self.first.index);
        if position.wrap != self.first.wrap || place >= self.held {
            return None;
        }
        let bytes = self.bytes.get(descriptor::SIZE * usize::from(place)..)?;
        bytes.first_chunk().map(Descriptor::packed)
    }

    /// Whether a list that begins at a position is in memory completely.
    fn is_available(&self, position: Position) -> bool {
        let place = position.index.wrapping_sub(self.first.index);
        position.wrap == self.first.wrap && place < self.held && self.available & (1 << place) != 0
    }
}

/// A packed ring that the device walks.
#[derive(Clone, Debug)]
pub(crate) struct PackedRing {
    size: u16,
    descriptor_area: u64,
    driver_area: u64,
    device_area: u64,
    format: RingFormat,
    /// Whether the device has to hear of new chains; it looks for them by itself otherwise.
    doorbells: bool,
    /// Where the device takes the next chain.
    avail: Position,
    window: Window,
    /// Where the device gives the next chain back.
    used: Position,
    /// What the driver can see of that. The descriptor here is the only one up to `used` whose flags are not in memory.
    published: Position,
    /// Chains, and the descriptors that they take, between the two.
    pending: u16,
    pending_slots: u32,
    /// What the driver was last told about doorbells: the position that it has to ring at. With no event index any value
    /// means that it has to ring.
    armed: Option<Position>,
    /// The driver was told not to ring.
    quiet: bool,
    unsignalled: Unsignalled,
}

impl PackedRing {
    pub fn new(setup: &QueueSetup) -> Self {
        let avail = Position::from_bits(setup.avail_index);
        let used = Position::from_bits(setup.used_index);
        Self {
            size: setup.size,
            descriptor_area: setup.descriptor_area,
            driver_area: setup.driver_area,
            device_area: setup.device_area,
            format: setup.format,
            doorbells: setup.role != QueueRole::Receive,
            avail,
            window: Window {
                bytes: [0; WINDOW * descriptor::SIZE],
                first: avail,
                held: 0,
                available: 0,
            },
            used,
            published: used,
            pending: 0,
            pending_slots: 0,
            armed: None,
            quiet: false,
            unsignalled: Unsignalled::default(),
        }
    }

    /// See [`Ring::peek`](super::ring::Ring::peek).
    pub fn peek(&mut self, dma: &mut QueueDma<'_>, chain: &mut Chain) -> Result<bool, QueueError> {
        if !self.window.is_available(self.avail) && !self.look(dma)? && !self.arm(dma)? {
            return Ok(false);
        }
        chain.start();
        let mut position = self.avail;
        let mut slots = 0;
        let id = loop {
            if slots >= self.size {
                return Err(QueueError::RING);
            }
            let descriptor = match self.window.get(position) {
                Some(descriptor) => descriptor,
                None => self.read_descriptor(dma, position)?,
            };
            slots += 1;
            if descriptor.is_indirect() {
                // A list is a table or none of its elements is one.
                if !self.format.indirect || slots > 1 {
                    return Err(QueueError::RING);
                }
                descriptor.read_table(dma, chain, Order::Sequential, self.size)?;
            } else {
                descriptor.push_to(chain)?;
            }
            if !descriptor.has_next() {
                break descriptor.number();
            }
            position.advance(1, self.size);
        };
        chain.finish(id, slots);
        Ok(true)
    }

    /// Reads the descriptors that are next. Returns whether the first of them is available.
    fn look(&mut self, dma: &mut QueueDma<'_>) -> Result<bool, QueueError> {
        let expected = self.avail.available();
        let is_available = |flags: u16| flags & (AVAIL | USED) == expected;
        // A driver writes the flags of a list's first descriptor last; all else of the list is there then.
        if !is_available(dma.load_ring(self.address(self.avail) + FLAGS)?) {
            return Ok(false);
        }
        // CAST: 8.
        let held = (WINDOW as u16).min(self.size - self.avail.index);
        self.window.held = 0;
        self.window.first = self.avail;
        self.window.available = 1;
        self.read_window(dma, held)?;
        self.window.held = held;
        let mut available = 1;
        let mut position = self.avail;
        for place in 1..held {
            position.advance(1, self.size);
            if self
                .window
                .get(position)
                .is_some_and(|descriptor| is_available(descriptor.flags()))
            {
                available |= 1 << place;
            }
        }
        if available != 1 {
            // That their flags were there says nothing of what was read together with them. What is read now is complete.
            fence(Ordering::Acquire);
            self.window.held = 0;
            self.read_window(dma, held)?;
            (self.window.held, self.window.available) = (held, available);
        }
        Ok(true)
    }

    /// Reads descriptors from the start of the window on.
    fn read_window(&mut self, dma: &mut QueueDma<'_>, count: u16) -> Result<(), QueueError> {
        let address = self.address(self.window.first);
        let part = self
            .window
            .bytes
            .get_mut(..descriptor::SIZE * usize::from(count))
            .ok_or(QueueError::RING)?;
        dma.read_ring(address, part)
    }

    fn read_descriptor(
        &self,
        dma: &mut QueueDma<'_>,
        position: Position,
    ) -> Result<Descriptor, QueueError> {
        let mut bytes = [0; descriptor::SIZE];
        dma.read_ring(self.address(position), &mut bytes)?;
        Ok(Descriptor::packed(&bytes))
    }

    fn address(&self, position: Position) -> u64 {
        self.descriptor_area + descriptor::SIZE as u64 * u64::from(position.index)
    }

    /// Asks the driver to ring for the next chain, unless it knows. Returns whether one came meanwhile.
    fn arm(&mut self, dma: &mut QueueDma<'_>) -> Result<bool, QueueError> {
        let known = match self.armed {
            Some(armed) => !self.format.event_index || armed == self.avail,
            None => false,
        };
        if !self.doorbells || known {
            return Ok(false);
        }
        let wish = if self.format.event_index {
            u32::from(self.avail.to_bits()) | (EVENT_DESCRIPTOR << 16)
        } else {
            // Who ran the queue before may have left something else.
            EVENT_ENABLE << 16
        };
        dma.store_ring_u32(self.device_area, wish)?;
        self.armed = Some(self.avail);
        // A driver that didn't see this before it decided not to ring has made its chain available before, and the
        // card sees that now. It has the same barrier between flags and decision.
        fence(Ordering::SeqCst);
        self.look(dma)
    }

    /// See [`Ring::take`](super::ring::Ring::take).
    pub fn take(&mut self, chain: &Chain) {
        self.avail.advance(chain.slots(), self.size);
    }

    /// See [`Ring::give_back`](super::ring::Ring::give_back).
    pub fn give_back(
        &mut self,
        dma: &mut QueueDma<'_>,
        chain: &Chain,
        written: u32,
    ) -> Result<(), QueueError> {
        let [w0, w1, w2, w3] = written.to_le_bytes();
        let [i0, i1] = chain.id().to_le_bytes();
        let [f0, f1] = self.used.used().to_le_bytes();
        let end = [w0, w1, w2, w3, i0, i1, f0, f1];
        // The driver looks at the flags of the first one only, until it finds it used.
        let length = if self.pending == 0 { 6 } else { end.len() };
        let part = end.get(..length).ok_or(QueueError::RING)?;
        dma.write_ring(self.address(self.used) + LENGTH, part)?;
        self.used.advance(chain.slots(), self.size);
        self.pending = self.pending.saturating_add(1);
        self.pending_slots += u32::from(chain.slots());
        Ok(())
    }

    /// See [`Ring::pending`](super::ring::Ring::pending).
    pub fn pending(&self) -> u16 {
        self.pending
    }

    /// See [`Ring::publish`](super::ring::Ring::publish).
    pub fn publish(&mut self, dma: &mut QueueDma<'_>) -> Result<(), QueueError> {
        if !self.doorbells && !self.quiet {
            dma.store_ring_u32(self.device_area, EVENT_DISABLE << 16)?;
            self.quiet = true;
        }
        dma.store_ring(self.address(self.published) + FLAGS, self.published.used())?;
        self.published = self.used;
        self.unsignalled.add(self.pending_slots);
        (self.pending, self.pending_slots) = (0, 0);
        Ok(())
    }

    /// See [`Ring::give_up`](super::ring::Ring::give_up).
    pub fn give_up(&mut self) {
        self.used = self.published;
        (self.pending, self.pending_slots) = (0, 0);
    }

    /// See [`Ring::wants_interrupt`](super::ring::Ring::wants_interrupt).
    pub fn wants_interrupt(&mut self, dma: &mut QueueDma<'_>) -> Result<bool, QueueError> {
        // The flags of what was used must be visible before the driver's wish is read: a driver that changes it and then
        // looks at the flags must miss neither.
        fence(Ordering::SeqCst);
        let wish = dma.load_ring_u32(self.driver_area)?;
        let unsignalled = self.unsignalled.take();
        match (wish >> 16) & 3 {
            EVENT_DISABLE => Ok(false),
            EVENT_DESCRIPTOR if self.format.event_index => Ok(match unsignalled {
                // CAST: the lower half.
                Some(count) => self.passed(Position::from_bits(wish as u16), count),
                None => true,
            }),
            _ => Ok(true),
        }
    }

    /// Whether a position is among the last `count` that were given back.
    fn passed(&self, position: Position, count: u32) -> bool {
        // A whole round passes every position.
        if count >= u32::from(self.size) {
            return true;
        }
        let event = if position.wrap == self.published.wrap {
            position.index
        } else {
            position.index.wrapping_sub(self.size)
        };
        crossed(event, self.published.index, count)
    }

    /// See [`Ring::position`](super::ring::Ring::position).
    pub fn position(&self) -> (u16, u16) {
        (self.avail.to_bits(), self.published.to_bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_passed_across_the_end() {
        let mut ring = PackedRing::new(&QueueSetup {
            device: 0,
            role: QueueRole::Receive,
            size: 8,
            vector: None,
            address_space: 0,
            ring_address_space: 0,
            format: RingFormat::default(),
            avail_index: WRAP,
            used_index: WRAP,
            descriptor_area: 0,
            driver_area: 0,
            device_area: 0,
        });
        ring.published = Position::from_bits(2);
        let passed = |bits, count| ring.passed(Position::from_bits(bits), count);
        assert!(passed(1, 1) && passed(0, 2) && passed(WRAP | 7, 3));
        assert!(!passed(2, 3) && !passed(0, 1) && !passed(WRAP | 7, 2));
        // A place of this round that is still to come has the index of one of the last round.
        assert!(!passed(7, 3) && passed(WRAP | 7, 7));
        // More than a round passes every place, whatever the index says.
        assert!(passed(5, 16) && passed(WRAP | 1, 16));
    }
}
