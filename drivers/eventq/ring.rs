// SPDX-License-Identifier: GPL-2.0-only

//! Events in a ring in host memory, for a card with an IOMMU.

use crate::{
    dma::ring::Ring,
    pci::Registers,
    regs,
    wire::{
        self,
        Event, //
    },
};
use kernel::{
    device::{
        self,
        Bound, //
    },
    io::Io,
    prelude::*, //
};

/// Entries of the ring, as a base 2 logarithm.
pub(super) const LOG2_ENTRIES: u8 = 7;

/// The event ring and the driver's place in it.
///
/// The entry with the next sequence number belongs to the card until that number appears in it, then to
/// the driver until it writes `EVENTQ_CONSUMER`.
pub(super) struct EventRing {
    ring: Ring<Event>,
    consumer: u16,
    sequence: u32,
}

impl EventRing {
    /// Allocates the ring.
    pub(super) fn new(dev: &device::Device<Bound>) -> Result<Self> {
        Ok(Self {
            ring: Ring::new(dev, LOG2_ENTRIES)?,
            consumer: 0,
            sequence: wire::FIRST_SEQUENCE,
        })
    }

    /// Switches a new queue on.
    pub(super) fn enable(&mut self, registers: &Registers) -> Result {
        let base = self.ring.bus();

        registers.with(|io| {
            io.write_reg(regs::EVENTQ_CONTROL::from(0));
            io.write_reg(regs::EVENTQ_BASE_LO::from(base as u32));
            io.write_reg(regs::EVENTQ_BASE_HI::from((base >> 32) as u32));
            io.write_reg(regs::EVENTQ_SIZE::from(u32::from(LOG2_ENTRIES)));
            io.write_reg(
                regs::EVENTQ_CONTROL::from(0)
                    .with_enable(true)
                    .with_vector(crate::msix::EVENT_VECTOR),
            );
        })
    }

    /// Takes the next event out, if there is one.
    pub(super) fn next(&mut self) -> Option<Event> {
        // It fails only for an entry that isn't a whole number of words.
        let event = self.ring.read_if(self.consumer, self.sequence).ok()??;

        self.consumer = self.consumer.wrapping_add(1);
        self.sequence = wire::next_sequence(self.sequence);
        Some(event)
    }

    /// Gives the entries of what was taken back to the card.
    pub(super) fn give_back(&mut self, registers: &Registers) {
        let consumer = u32::from(self.consumer);
        let _ = registers.with(|io| io.write_reg(regs::EVENTQ_CONSUMER::from(consumer)));
    }
}
