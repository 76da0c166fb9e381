// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Descriptors, and the tables that they may refer to.

use super::chain::Chain;
use super::dma::{QueueDma, QueueError};

/// Bytes of a descriptor of either kind of ring.
pub(super) const SIZE: usize = 16;

/// The list goes on with another descriptor.
const NEXT: u16 = 1;
/// The device writes the buffer; else it reads it.
const WRITE: u16 = 2;
/// The buffer is a table of descriptors.
const INDIRECT: u16 = 4;

/// Buffers of a chain that come out of a table, and of all chains that a frame takes, at least. The specification allows as many as the ring has entries, but
/// Linux's driver makes longer tables if its ring is shorter than a frame has fragments.
const MIN_LIMIT: usize = 1024;

/// Entries of a table that one access reads: more than a frame has fragments.
const WINDOW: u32 = 32;

/// Buffers of a chain that come out of a table, and of all chains that a frame takes, at most. `entries` is the size of the
/// ring.
pub(super) fn limit(entries: u16) -> usize {
    usize::from(entries).max(MIN_LIMIT)
}

/// How the descriptors of a list follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Each names the next one, as in split rings.
    Linked,
    /// One behind the other to the end of the table, as in packed rings.
    Sequential,
}

/// A descriptor. The layouts of split and packed rings differ in what the last half-words mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    iova: u64,
    length: u32,
    flags: u16,
    /// Split: the next descriptor. Packed: the ID of the list.
    number: u16,
}

impl Descriptor {
    /// As it lies in a split ring and in its tables: the flags before the number.
    pub fn split(bytes: &[u8; SIZE]) -> Self {
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, n0, n1] = *bytes;
        Self {
            iova: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            number: u16::from_le_bytes([n0, n1]),
        }
    }

    /// As it lies in a packed ring and in its tables: the flags last.
    pub fn packed(bytes: &[u8; SIZE]) -> Self {
        let other = Self::split(bytes);
        Self {
            flags: other.number,
            number: other.flags,
            ..other
        }
    }

    /// Its flags.
    pub fn flags(&self) -> u16 {
        self.flags
    }

    /// The next descriptor, or the ID of the list.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Whether the list goes on behind it.
    pub fn has_next(&self) -> bool {
        self.flags & NEXT != 0
    }

    /// Whether it refers to a table.
    pub fn is_indirect(&self) -> bool {
        self.flags & INDIRECT != 0
    }

    /// Adds its buffer to a chain.
    pub fn push_to(&self, chain: &mut Chain) -> Result<(), QueueError> {
        chain.push(self.iova, self.length, self.flags & WRITE != 0)
    }

    /// Adds the buffers of the table that it refers to to a chain. Whether the table could be written is of no interest.
    /// `entries` is the size of the ring.
    pub fn read_table(
        &self,
        dma: &mut QueueDma<'_>,
        chain: &mut Chain,
        order: Order,
        entries: u16,
    ) -> Result<(), QueueError> {
        // CAST: 16.
        const STEP: u32 = SIZE as u32;
        let limit = limit(entries);
        let count = self.length / STEP;
        if count == 0 || self.length % STEP != 0 || self.has_next() {
            return Err(QueueError::RING);
        }
        let mut window = [0; WINDOW as usize * SIZE];
        let (mut first, mut held) = (0, 0);
        let mut index = 0;
        loop {
            if index >= count || chain.len() >= limit {
                return Err(QueueError::RING);
            }
            if index.wrapping_sub(first) >= held {
                (first, held) = (index, WINDOW.min(count - index));
                // An address that wraps is one that the IOMMU refuses.
                let iova = self.iova.saturating_add(u64::from(STEP * first));
                let part = window
                    .get_mut(..(STEP * held) as usize)
                    .ok_or(QueueError::RING)?;
                dma.read_buffer(iova, part)?;
            }
            let bytes = window
                .get((STEP * (index - first)) as usize..)
                .and_then(<[u8]>::first_chunk)
                .ok_or(QueueError::RING)?;
            let entry = match order {
                Order::Linked => Self::split(bytes),
                Order::Sequential => Self::packed(bytes),
            };
            if entry.is_indirect() {
                return Err(QueueError::RING);
            }
            entry.push_to(chain)?;
            index = match order {
                Order::Linked if entry.has_next() => u32::from(entry.number),
                // In a packed ring's table all entries count, and their flag of a next one means nothing.
                Order::Sequential if index + 1 < count => index + 1,
                _ => return Ok(()),
            };
        }
    }
}
