// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Split rings, as the virtio specification lays them out (section 2.7).

use std::sync::atomic::{fence, Ordering};

use mooring_firmware::hal::QueueSetup;

use super::chain::Chain;
use super::dma::{QueueDma, QueueError};

const DESCRIPTOR_SIZE: u64 = 16;
const DESCRIPTOR_NEXT: u16 = 1;
const DESCRIPTOR_WRITE: u16 = 2;
const DESCRIPTOR_INDIRECT: u16 = 4;

/// Flag in the available ring: the driver wants no interrupts.
const AVAIL_NO_INTERRUPT: u16 = 1;

/// A split ring that the device walks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SplitRing {
    size: u16,
    descriptor_area: u64,
    driver_area: u64,
    device_area: u64,
    /// Where the device takes the next chain, free running.
    pub avail_index: u16,
    /// Where the device gives the next chain back, free running.
    pub used_index: u16,
    /// The driver's index when it was last read: it saves reading it again for every chain.
    driver_index: u16,
}

impl SplitRing {
    pub fn new(setup: &QueueSetup) -> Self {
        Self {
            size: setup.size,
            descriptor_area: setup.descriptor_area,
            driver_area: setup.driver_area,
            device_area: setup.device_area,
            avail_index: setup.avail_index,
            used_index: setup.used_index,
            driver_index: setup.avail_index,
        }
    }

    /// Reads the next available chain without taking it. Returns whether there is one.
    pub fn peek(&mut self, dma: &mut QueueDma<'_>, chain: &mut Chain) -> Result<bool, QueueError> {
        if self.driver_index == self.avail_index {
            self.driver_index = dma.load_ring(self.driver_area + 2)?;
            if self.driver_index.wrapping_sub(self.avail_index) > self.size {
                self.driver_index = self.avail_index;
                return Err(QueueError::RING);
            }
            if self.driver_index == self.avail_index {
                return Ok(false);
            }
        }
        let slot = u64::from(self.avail_index % self.size);
        let head = dma.load_ring(self.driver_area + 4 + 2 * slot)?;
        chain.start(head);
        let mut index = head;
        loop {
            if index >= self.size || chain.len() >= usize::from(self.size) {
                return Err(QueueError::RING);
            }
            let mut bytes = [0; DESCRIPTOR_SIZE as usize];
            dma.read_ring(
                self.descriptor_area + DESCRIPTOR_SIZE * u64::from(index),
                &mut bytes,
            )?;
            let descriptor = Descriptor::from_bytes(&bytes);
            // No device offers VIRTIO_F_INDIRECT_DESC yet, so no driver may set it. Its table would be read as a buffer.
            if descriptor.flags & DESCRIPTOR_INDIRECT != 0 {
                return Err(QueueError::RING);
            }
            chain.push(
                descriptor.iova,
                descriptor.length,
                descriptor.flags & DESCRIPTOR_WRITE != 0,
            )?;
            if descriptor.flags & DESCRIPTOR_NEXT == 0 {
                return Ok(true);
            }
            index = descriptor.next;
        }
    }

    /// Takes the chain that [`peek`](Self::peek) read.
    pub fn take(&mut self) {
        self.avail_index = self.avail_index.wrapping_add(1);
    }

    /// Gives a chain back to the driver, `written` bytes of it written.
    pub fn give_back(
        &mut self,
        dma: &mut QueueDma<'_>,
        head: u16,
        written: u32,
    ) -> Result<(), QueueError> {
        let mut element = [0; 8];
        element[..4].copy_from_slice(&u32::from(head).to_le_bytes());
        element[4..].copy_from_slice(&written.to_le_bytes());
        let slot = u64::from(self.used_index % self.size);
        dma.write_ring(self.device_area + 4 + 8 * slot, &element)?;
        let next = self.used_index.wrapping_add(1);
        dma.store_ring(self.device_area + 2, next)?;
        self.used_index = next;
        Ok(())
    }

    /// Whether the driver wants an interrupt for what was given back.
    pub fn wants_interrupt(&self, dma: &mut QueueDma<'_>) -> Result<bool, QueueError> {
        // The used index must be visible before the flag is read: a driver that switches interrupts on and then looks
        // at the index must miss neither.
        fence(Ordering::SeqCst);
        Ok(dma.load_ring(self.driver_area)? & AVAIL_NO_INTERRUPT == 0)
    }
}

struct Descriptor {
    iova: u64,
    length: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    fn from_bytes(bytes: &[u8; DESCRIPTOR_SIZE as usize]) -> Self {
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, n0, n1] = *bytes;
        Self {
            iova: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        }
    }
}
