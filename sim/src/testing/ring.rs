// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The driver's side of a split ring.

use std::sync::Arc;

use mooring_hw_regs::wire::{QueueEnable, NO_VECTOR};

use super::Region;
use crate::HostMemory;

/// A buffer to make available.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// I/O virtual address.
    pub iova: u64,
    /// Bytes.
    pub length: u32,
    /// Whether the device may write it, and not read.
    pub writable: bool,
}

/// A split ring in a region.
pub struct TestQueue {
    memory: Arc<dyn HostMemory>,
    region: Region,
    /// Entries.
    pub size: u16,
    /// I/O virtual address of the descriptor table.
    pub descriptors: u64,
    /// I/O virtual address of the available ring.
    pub avail: u64,
    /// I/O virtual address of the used ring.
    pub used: u64,
    next_descriptor: u16,
    /// The driver's index in the available ring.
    pub avail_index: u16,
    /// What the driver has taken from the used ring.
    pub used_index: u16,
}

impl TestQueue {
    /// A zeroed ring in a region.
    pub fn new(memory: Arc<dyn HostMemory>, region: &mut Region, size: u16) -> Self {
        let entries = u64::from(size);
        let descriptors = region.allocate(16 * entries, 16);
        let avail = region.allocate(6 + 2 * entries, 2);
        let used = region.allocate(6 + 8 * entries, 4);
        let region = region.clone();
        let queue = Self {
            memory,
            region,
            size,
            descriptors,
            avail,
            used,
            next_descriptor: 0,
            avail_index: 0,
            used_index: 0,
        };
        for (iova, length) in [
            (descriptors, 16 * entries),
            (avail, 6 + 2 * entries),
            (used, 6 + 8 * entries),
        ] {
            queue.write(iova, &vec![0; length as usize]);
        }
        queue
    }

    /// What starts the queue with an index in its device, from where the driver stands, with everything in one address
    /// space.
    pub fn enable(
        &self,
        queue: u16,
        address_space: u16,
        vector: Option<u16>,
        flags: u16,
    ) -> QueueEnable {
        QueueEnable {
            queue: queue.into(),
            size: self.size.into(),
            vector: vector.unwrap_or(NO_VECTOR).into(),
            address_space: address_space.into(),
            flags: flags.into(),
            avail_index: self.used_index.into(),
            used_index: self.used_index.into(),
            ring_address_space: address_space.into(),
            descriptor_area: self.descriptors.into(),
            driver_area: self.avail.into(),
            device_area: self.used.into(),
        }
    }

    /// Writes memory of the region, by I/O virtual address.
    pub fn write(&self, iova: u64, data: &[u8]) {
        self.memory
            .write(self.region.bus(iova), data)
            .expect("ring memory");
    }

    /// Writes a descriptor.
    pub fn write_descriptor(&self, index: u16, iova: u64, length: u32, flags: u16, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&iova.to_le_bytes());
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.write(self.descriptors + 16 * u64::from(index), &bytes);
    }

    /// Makes a chain available that is already in the descriptor table.
    pub fn publish(&mut self, head: u16) {
        let slot = u64::from(self.avail_index % self.size);
        self.write(self.avail + 4 + 2 * slot, &head.to_le_bytes());
        self.avail_index = self.avail_index.wrapping_add(1);
        self.publish_index(self.avail_index);
    }

    /// Sets the index of the available ring.
    pub fn publish_index(&self, index: u16) {
        self.memory
            .store_u16(self.region.bus(self.avail + 2), index)
            .expect("ring memory");
    }

    /// Sets the flags of the available ring.
    pub fn set_flags(&self, flags: u16) {
        self.memory
            .store_u16(self.region.bus(self.avail), flags)
            .expect("ring memory");
    }

    /// Makes a chain of buffers available and returns its head. The caller keeps to the ring's size.
    pub fn add(&mut self, buffers: &[Buffer]) -> u16 {
        let head = self.next_descriptor;
        for (place, buffer) in buffers.iter().enumerate() {
            let index = self.next_descriptor;
            self.next_descriptor = (index + 1) % self.size;
            let more = place + 1 < buffers.len();
            let flags = u16::from(more) | (u16::from(buffer.writable) << 1);
            self.write_descriptor(
                index,
                buffer.iova,
                buffer.length,
                flags,
                self.next_descriptor,
            );
        }
        self.publish(head);
        head
    }

    /// The next chain that the device gave back: its head and the bytes written.
    pub fn take_used(&mut self) -> Option<(u16, u32)> {
        let index = self
            .memory
            .load_u16(self.region.bus(self.used + 2))
            .expect("ring memory");
        if index == self.used_index {
            return None;
        }
        let slot = u64::from(self.used_index % self.size);
        let mut element = [0; 8];
        self.memory
            .read(self.region.bus(self.used + 4 + 8 * slot), &mut element)
            .expect("ring memory");
        self.used_index = self.used_index.wrapping_add(1);
        let [a, b, c, d, e, f, g, h] = element;
        Some((
            u32::from_le_bytes([a, b, c, d]) as u16,
            u32::from_le_bytes([e, f, g, h]),
        ))
    }
}
