// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Descriptor chains: the buffers that a driver hands over as one.

use super::dma::{QueueDma, QueueError};

/// A buffer of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Buffer {
    iova: u64,
    length: u32,
}

/// A descriptor chain. One is reused for chain after chain, so that walking a ring allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    id: u16,
    /// Descriptors that it takes in its ring.
    slots: u16,
    /// The readable buffers, then the writable ones.
    buffers: Vec<Buffer>,
    /// How many of the buffers are readable.
    split: usize,
    readable: u64,
    writable: u64,
}

impl Chain {
    /// Starts a new chain.
    pub fn start(&mut self) {
        self.buffers.clear();
        *self = Self {
            buffers: std::mem::take(&mut self.buffers),
            ..Self::default()
        };
    }

    /// Adds a buffer. Readable buffers come before writable ones.
    pub fn push(&mut self, iova: u64, length: u32, writable: bool) -> Result<(), QueueError> {
        let total = if writable {
            &mut self.writable
        } else if self.split == self.buffers.len() {
            self.split += 1;
            &mut self.readable
        } else {
            return Err(QueueError::BUFFER);
        };
        *total += u64::from(length);
        self.buffers.push(Buffer { iova, length });
        Ok(())
    }

    /// Bytes of the card's memory that it takes.
    pub fn footprint(&self) -> usize {
        self.len().saturating_mul(size_of::<Buffer>())
    }

    /// Buffers so far.
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Names the chain, and says how many descriptors it takes in its ring.
    pub fn finish(&mut self, id: u16, slots: u16) {
        self.id = id;
        self.slots = slots;
    }

    /// What the driver knows it by: the index of its first descriptor in a split ring, the buffer ID in a packed one.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Descriptors that it takes in its ring.
    pub fn slots(&self) -> u16 {
        self.slots
    }

    /// Bytes that the device may read.
    pub fn readable(&self) -> u64 {
        self.readable
    }

    /// Bytes that the device may write.
    pub fn writable(&self) -> u64 {
        self.writable
    }

    /// Reads `data.len()` bytes from `offset` of the readable part on; the caller knows that they are there.
    pub fn read(
        &self,
        dma: &mut QueueDma<'_>,
        mut offset: u64,
        data: &mut [u8],
    ) -> Result<(), QueueError> {
        let mut rest = data;
        for buffer in self.buffers.iter().take(self.split) {
            if rest.is_empty() {
                return Ok(());
            }
            let length = u64::from(buffer.length);
            if offset >= length {
                offset -= length;
                continue;
            }
            let now = usize::try_from(length - offset)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let (part, later) = rest.split_at_mut_checked(now).ok_or(QueueError::BUFFER)?;
            // An address that wraps is one that the IOMMU refuses.
            dma.read_buffer(buffer.iova.saturating_add(offset), part)?;
            rest = later;
            offset = 0;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(QueueError::BUFFER)
        }
    }

    /// Writes `data` from the start of the writable part on; the caller knows that it fits.
    pub fn write(&self, dma: &mut QueueDma<'_>, data: &[u8]) -> Result<(), QueueError> {
        self.write_at(dma, 0, data)
    }

    /// Writes `data` from `offset` of the writable part on; the caller knows that it fits.
    pub fn write_at(
        &self,
        dma: &mut QueueDma<'_>,
        mut offset: u64,
        data: &[u8],
    ) -> Result<(), QueueError> {
        let mut rest = data;
        for buffer in self.buffers.iter().skip(self.split) {
            if rest.is_empty() {
                return Ok(());
            }
            let length = u64::from(buffer.length);
            if offset >= length {
                offset -= length;
                continue;
            }
            let now = usize::try_from(length - offset)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let (part, later) = rest.split_at_checked(now).ok_or(QueueError::BUFFER)?;
            // An address that wraps is one that the IOMMU refuses.
            dma.write_buffer(buffer.iova.saturating_add(offset), part)?;
            rest = later;
            offset = 0;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(QueueError::BUFFER)
        }
    }
}
