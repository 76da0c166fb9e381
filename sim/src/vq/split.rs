// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Split rings, as the virtio specification lays them out (section 2.7).

use std::sync::atomic::{fence, Ordering};

use mooring_firmware::hal::{QueueRole, QueueSetup, RingFormat};

use super::chain::Chain;
use super::descriptor::{self, Descriptor, Order};
use super::dma::{QueueDma, QueueError};
use super::ring::{crossed, Unsignalled};

/// Flag in the available ring: the driver wants no interrupts.
const AVAIL_NO_INTERRUPT: u16 = 1;

/// Flag in the used ring: the device wants no doorbells.
const USED_NO_NOTIFY: u16 = 1;

/// Entries of the available ring that one access reads.
const HEADS: usize = 16;

/// Elements of the used ring that are written at once.
const ELEMENTS: usize = 16;

/// Bytes of an element of the used ring.
const ELEMENT: usize = 8;

/// A split ring that the device walks. All indices are free running.
#[derive(Clone, Debug)]
pub(crate) struct SplitRing {
    size: u16,
    descriptor_area: u64,
    driver_area: u64,
    device_area: u64,
    format: RingFormat,
    /// Whether the device has to hear of new chains; it looks for them by itself otherwise.
    doorbells: bool,
    /// Where the device takes the next chain.
    avail_index: u16,
    /// The driver's index when it was last read: it saves reading it again for every chain.
    driver_index: u16,
    /// Entries of the available ring from `heads_index` on, `heads_held` of them.
    heads: [u8; 2 * HEADS],
    heads_index: u16,
    heads_held: u16,
    /// Where the device gives the next chain back.
    used_index: u16,
    /// Elements for the used ring that are not in memory yet: the last `elements_held` before `used_index`.
    elements: [u8; ELEMENT * ELEMENTS],
    elements_held: u16,
    /// The index in the used ring that the driver can see.
    published: u16,
    /// What the driver was last told about doorbells: the index that it has to ring at. With no event index any value
    /// means that it has to ring.
    armed: Option<u16>,
    /// The driver was told not to ring.
    quiet: bool,
    unsignalled: Unsignalled,
}

impl SplitRing {
    pub fn new(setup: &QueueSetup) -> Self {
        Self {
            size: setup.size,
            descriptor_area: setup.descriptor_area,
            driver_area: setup.driver_area,
            device_area: setup.device_area,
            format: setup.format,
            doorbells: setup.role != QueueRole::Receive,
            avail_index: setup.avail_index,
            driver_index: setup.avail_index,
            heads: [0; 2 * HEADS],
            heads_index: 0,
            heads_held: 0,
            used_index: setup.used_index,
            elements: [0; ELEMENT * ELEMENTS],
            elements_held: 0,
            published: setup.used_index,
            armed: None,
            quiet: false,
            unsignalled: Unsignalled::default(),
        }
    }

    /// See [`Ring::peek`](super::ring::Ring::peek).
    pub fn peek(&mut self, dma: &mut QueueDma<'_>, chain: &mut Chain) -> Result<bool, QueueError> {
        if self.driver_index == self.avail_index && !self.look(dma)? && !self.arm(dma)? {
            return Ok(false);
        }
        chain.start();
        let head = self.head(dma)?;
        let mut index = head;
        loop {
            if index >= self.size || chain.len() >= usize::from(self.size) {
                return Err(QueueError::RING);
            }
            let mut bytes = [0; descriptor::SIZE];
            dma.read_ring(
                self.descriptor_area + descriptor::SIZE as u64 * u64::from(index),
                &mut bytes,
            )?;
            let descriptor = Descriptor::split(&bytes);
            if descriptor.is_indirect() {
                // A driver that may not use tables may not set the flag either; the buffer would be taken for one.
                if !self.format.indirect {
                    return Err(QueueError::RING);
                }
                descriptor.read_table(dma, chain, Order::Linked, self.size)?;
                break;
            }
            descriptor.push_to(chain)?;
            if !descriptor.has_next() {
                break;
            }
            index = descriptor.number();
        }
        chain.finish(head, 1);
        Ok(true)
    }

    /// Reads the driver's index. Returns whether there are chains.
    fn look(&mut self, dma: &mut QueueDma<'_>) -> Result<bool, QueueError> {
        let driver_index = dma.load_ring(self.driver_area + 2)?;
        if driver_index.wrapping_sub(self.avail_index) > self.size {
            return Err(QueueError::RING);
        }
        self.driver_index = driver_index;
        Ok(self.driver_index != self.avail_index)
    }

    /// Asks the driver to ring for the next chain, unless it knows. Returns whether one came meanwhile.
    fn arm(&mut self, dma: &mut QueueDma<'_>) -> Result<bool, QueueError> {
        if !self.doorbells {
            return Ok(false);
        }
        if self.format.event_index {
            if self.armed == Some(self.avail_index) {
                return Ok(false);
            }
            let event = self.device_area + 4 + ELEMENT as u64 * u64::from(self.size);
            dma.store_ring(event, self.avail_index)?;
        } else {
            if self.armed.is_some() {
                return Ok(false);
            }
            // Who ran the queue before may have left the flag set.
            dma.store_ring(self.device_area, 0)?;
        }
        self.armed = Some(self.avail_index);
        // A driver that didn't see this before it decided not to ring has made its chain available before, and the
        // card sees that now. It has the same barrier between index and decision.
        fence(Ordering::SeqCst);
        self.look(dma)
    }

    /// The head of the chain that is next; there is one.
    fn head(&mut self, dma: &mut QueueDma<'_>) -> Result<u16, QueueError> {
        if self.avail_index.wrapping_sub(self.heads_index) >= self.heads_held {
            let slot = self.avail_index % self.size;
            // CAST: 16.
            let held = (HEADS as u16)
                .min(self.driver_index.wrapping_sub(self.avail_index))
                .min(self.size - slot);
            let part = self
                .heads
                .get_mut(..2 * usize::from(held))
                .ok_or(QueueError::RING)?;
            self.heads_held = 0;
            dma.read_ring(self.driver_area + 4 + 2 * u64::from(slot), part)?;
            (self.heads_index, self.heads_held) = (self.avail_index, held);
        }
        let place = usize::from(self.avail_index.wrapping_sub(self.heads_index));
        let bytes = self
            .heads
            .get(2 * place..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(QueueError::RING)?;
        Ok(u16::from_le_bytes(*bytes))
    }

    /// See [`Ring::take`](super::ring::Ring::take).
    pub fn take(&mut self) {
        self.avail_index = self.avail_index.wrapping_add(1);
    }

    /// See [`Ring::give_back`](super::ring::Ring::give_back).
    pub fn give_back(
        &mut self,
        dma: &mut QueueDma<'_>,
        chain: &Chain,
        written: u32,
    ) -> Result<(), QueueError> {
        if usize::from(self.elements_held) == ELEMENTS {
            self.write_elements(dma)?;
        }
        let place = ELEMENT * usize::from(self.elements_held);
        let element: &mut [u8; ELEMENT] = self
            .elements
            .get_mut(place..)
            .and_then(<[u8]>::first_chunk_mut)
            .ok_or(QueueError::RING)?;
        let [i0, i1, i2, i3] = u32::from(chain.id()).to_le_bytes();
        let [w0, w1, w2, w3] = written.to_le_bytes();
        *element = [i0, i1, i2, i3, w0, w1, w2, w3];
        self.elements_held += 1;
        self.used_index = self.used_index.wrapping_add(1);
        Ok(())
    }

    /// Puts the elements into the used ring, where the driver doesn't look yet.
    fn write_elements(&mut self, dma: &mut QueueDma<'_>) -> Result<(), QueueError> {
        let held = std::mem::take(&mut self.elements_held);
        let first = self.used_index.wrapping_sub(held) % self.size;
        // A part of them may belong to the beginning of the ring.
        let before = held.min(self.size - first);
        let mut done = 0;
        for (slot, count) in [(first, before), (0, held - before)] {
            let (begin, length) = (ELEMENT * done, ELEMENT * usize::from(count));
            let part = self
                .elements
                .get(begin..begin + length)
                .ok_or(QueueError::RING)?;
            if count != 0 {
                let slot = self.device_area + 4 + ELEMENT as u64 * u64::from(slot);
                dma.write_ring(slot, part)?;
            }
            done += usize::from(count);
        }
        Ok(())
    }

    /// See [`Ring::pending`](super::ring::Ring::pending).
    pub fn pending(&self) -> u16 {
        self.used_index.wrapping_sub(self.published)
    }

    /// See [`Ring::publish`](super::ring::Ring::publish).
    pub fn publish(&mut self, dma: &mut QueueDma<'_>) -> Result<(), QueueError> {
        self.write_elements(dma)?;
        if !self.doorbells && !self.quiet && !self.format.event_index {
            dma.store_ring(self.device_area, USED_NO_NOTIFY)?;
            self.quiet = true;
        }
        dma.store_ring(self.device_area + 2, self.used_index)?;
        self.unsignalled.add(self.pending());
        self.published = self.used_index;
        Ok(())
    }

    /// See [`Ring::give_up`](super::ring::Ring::give_up).
    pub fn give_up(&mut self) {
        self.used_index = self.published;
        self.elements_held = 0;
    }

    /// See [`Ring::wants_interrupt`](super::ring::Ring::wants_interrupt).
    pub fn wants_interrupt(&mut self, dma: &mut QueueDma<'_>) -> Result<bool, QueueError> {
        // The used index must be visible before the driver's wish is read: a driver that switches interrupts on, or
        // moves its index, and then looks at the used index must miss neither.
        fence(Ordering::SeqCst);
        if !self.format.event_index {
            return Ok(dma.load_ring(self.driver_area)? & AVAIL_NO_INTERRUPT == 0);
        }
        let event = dma.load_ring(self.driver_area + 4 + 2 * u64::from(self.size))?;
        Ok(match self.unsignalled.take() {
            Some(count) => crossed(event, self.published, count),
            None => true,
        })
    }

    /// See [`Ring::position`](super::ring::Ring::position).
    pub fn position(&self) -> (u16, u16) {
        (self.avail_index, self.published)
    }
}
