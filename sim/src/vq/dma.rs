// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A queue's accesses to host memory, each through the IOMMU.
//!
//! A queue has two address spaces, which may be the same: its rings, that is the descriptor table, the available and the
//! used ring, lie in one, and the buffers that descriptors point to in the other. A table of indirect descriptors is such
//! a buffer: a descriptor points to it.

use mooring_firmware::hal::{Fault, QueueSetup, QueueStatistics};
use mooring_hw_regs::wire::{QueueErrorReason, PERMISSION_READ, PERMISSION_WRITE};

use crate::iommu::{Iommu, Piece};
use crate::memory::{Bus, BusError};

/// Why a queue stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueError {
    pub reason: QueueErrorReason,
    /// The access that the IOMMU refused, if that is why.
    pub fault: Option<Fault>,
    /// Where the bus failed an access, if that is why; else 0.
    pub bus_address: u64,
}

impl QueueError {
    /// The ring is broken.
    pub const RING: Self = Self {
        reason: QueueErrorReason::Ring,
        fault: None,
        bus_address: 0,
    };

    /// A buffer doesn't suit its queue.
    pub const BUFFER: Self = Self {
        reason: QueueErrorReason::Buffer,
        fault: None,
        bus_address: 0,
    };
}

impl From<Fault> for QueueError {
    fn from(fault: Fault) -> Self {
        Self {
            reason: QueueErrorReason::Access,
            fault: Some(fault),
            bus_address: 0,
        }
    }
}

impl From<BusError> for QueueError {
    fn from(error: BusError) -> Self {
        Self {
            reason: QueueErrorReason::Bus,
            fault: None,
            bus_address: error.address,
        }
    }
}

/// What all queues share on their way to host memory.
pub(crate) struct Dma<'a> {
    pub iommu: &'a mut Iommu,
    pub bus: &'a Bus,
    /// Scratch memory, kept so that an access allocates nothing.
    pub pieces: &'a mut Vec<Piece>,
}

impl Dma<'_> {
    /// The same way for one queue: through its address spaces, counted in its statistics.
    pub fn queue<'a>(
        &'a mut self,
        setup: &QueueSetup,
        statistics: &'a mut QueueStatistics,
    ) -> QueueDma<'a> {
        QueueDma {
            iommu: self.iommu,
            bus: self.bus,
            pieces: self.pieces,
            buffers: setup.address_space,
            rings: setup.ring_address_space,
            statistics,
        }
    }
}

/// The way of one queue to host memory. All addresses are I/O virtual addresses.
pub(crate) struct QueueDma<'a> {
    iommu: &'a mut Iommu,
    bus: &'a Bus,
    pieces: &'a mut Vec<Piece>,
    /// The address space of the buffers.
    buffers: u16,
    /// The address space of the rings.
    rings: u16,
    statistics: &'a mut QueueStatistics,
}

impl QueueDma<'_> {
    /// Reads from a buffer as one access. A refused access reads nothing.
    pub fn read_buffer(&mut self, iova: u64, data: &mut [u8]) -> Result<(), QueueError> {
        self.read(self.buffers, iova, data)
    }

    /// Writes to a buffer as one access. A refused access writes nothing.
    pub fn write_buffer(&mut self, iova: u64, data: &[u8]) -> Result<(), QueueError> {
        self.write(self.buffers, iova, data)
    }

    /// Reads from a ring as one access.
    pub fn read_ring(&mut self, iova: u64, data: &mut [u8]) -> Result<(), QueueError> {
        self.read(self.rings, iova, data)
    }

    /// Writes to a ring as one access.
    pub fn write_ring(&mut self, iova: u64, data: &[u8]) -> Result<(), QueueError> {
        self.write(self.rings, iova, data)
    }

    /// Reads an aligned word of a ring; what is read later is at least as new.
    pub fn load_ring(&mut self, iova: u64) -> Result<u16, QueueError> {
        let bus = self.translate_word(iova, 2, PERMISSION_READ)?;
        Ok(self.bus.load_u16(bus)?)
    }

    /// As [`load_ring`](Self::load_ring), for 32 bits.
    pub fn load_ring_u32(&mut self, iova: u64) -> Result<u32, QueueError> {
        let bus = self.translate_word(iova, 4, PERMISSION_READ)?;
        Ok(self.bus.load_u32(bus)?)
    }

    /// Writes an aligned word of a ring; who sees it also sees what was written earlier.
    pub fn store_ring(&mut self, iova: u64, value: u16) -> Result<(), QueueError> {
        let bus = self.translate_word(iova, 2, PERMISSION_WRITE)?;
        Ok(self.bus.store_u16(bus, value)?)
    }

    /// As [`store_ring`](Self::store_ring), for 32 bits.
    pub fn store_ring_u32(&mut self, iova: u64, value: u32) -> Result<(), QueueError> {
        let bus = self.translate_word(iova, 4, PERMISSION_WRITE)?;
        Ok(self.bus.store_u32(bus, value)?)
    }

    fn read(&mut self, space: u16, iova: u64, data: &mut [u8]) -> Result<(), QueueError> {
        self.translate(space, iova, data.len(), PERMISSION_READ)?;
        let mut rest = data;
        for piece in self.pieces.iter() {
            let (now, later) = rest
                .split_at_mut_checked(piece.length)
                .ok_or(QueueError::RING)?;
            self.bus.read(piece.bus, now)?;
            rest = later;
        }
        Ok(())
    }

    fn write(&mut self, space: u16, iova: u64, data: &[u8]) -> Result<(), QueueError> {
        self.translate(space, iova, data.len(), PERMISSION_WRITE)?;
        let mut rest = data;
        for piece in self.pieces.iter() {
            let (now, later) = rest
                .split_at_checked(piece.length)
                .ok_or(QueueError::RING)?;
            self.bus.write(piece.bus, now)?;
            rest = later;
        }
        Ok(())
    }

    /// An aligned word lies in one page, and so in one piece.
    fn translate_word(
        &mut self,
        iova: u64,
        length: usize,
        permission: u32,
    ) -> Result<u64, QueueError> {
        self.translate(self.rings, iova, length, permission)?;
        self.pieces
            .first()
            .map(|piece| piece.bus)
            .ok_or(QueueError::RING)
    }

    fn translate(
        &mut self,
        space: u16,
        iova: u64,
        length: usize,
        permission: u32,
    ) -> Result<(), QueueError> {
        let count = if permission == PERMISSION_READ {
            &mut self.statistics.dma_reads
        } else {
            &mut self.statistics.dma_writes
        };
        *count += 1;
        Ok(self
            .iommu
            .translate(space, iova, length, permission, self.pieces)?)
    }
}
