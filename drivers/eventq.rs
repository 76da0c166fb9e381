// SPDX-License-Identifier: GPL-2.0-only

//! The event queue: what the card tells without being asked.

use crate::{
    card::Card,
    dma::ring::Ring,
    limit::Limit,
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
const LOG2_ENTRIES: u8 = 7;

/// The event ring and the driver's place in it.
///
/// The entry with the next sequence number belongs to the card until that number appears in it, then to
/// the driver until it writes `EVENTQ_CONSUMER`. Dropping the queue frees memory that the card writes
/// to, so it has to be disabled, or the function cut off from the bus, before.
pub(crate) struct EventQueue {
    ring: Ring<Event>,
    consumer: u16,
    sequence: u32,
    /// Lines in the log about events that were lost.
    lost: Limit,
}

impl EventQueue {
    /// Allocates the ring.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub(crate) fn new(dev: &device::Device<Bound>) -> Result<Self> {
        Ok(Self {
            ring: Ring::new(dev, LOG2_ENTRIES)?,
            consumer: 0,
            sequence: wire::FIRST_SEQUENCE,
            lost: Limit::new(),
        })
    }

    /// Switches a new queue on.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the function has been unbound.
    pub(crate) fn enable(&mut self, registers: &Registers) -> Result {
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

    /// Takes what is there, a ring's worth at most: the card interrupts again for what comes later.
    pub(crate) fn drain(&mut self, card: &Card) {
        for _ in 0..1u32 << LOG2_ENTRIES {
            // It fails only for an entry that isn't a whole number of words.
            let Ok(Some(event)) = self.ring.read_if(self.consumer, self.sequence) else {
                break;
            };
            self.consumer = self.consumer.wrapping_add(1);
            self.sequence = wire::next_sequence(self.sequence);
            if event.lost.get() != 0 {
                if let Some(count) = self.lost.count() {
                    dev_warn!(
                        card.dev(),
                        "{} events of the card were lost ({})\n",
                        event.lost.get(),
                        count
                    );
                }
            }
            dispatch(card, &event);
        }

        let consumer = u32::from(self.consumer);
        let _ = card
            .registers()
            .with(|io| io.write_reg(regs::EVENTQ_CONSUMER::from(consumer)));
    }
}

/// Hands an event to its device. Events that make no sense are dropped.
fn dispatch(card: &Card, event: &Event) {
    let Some(kind) = wire::EventKind::from_number(event.kind.get()) else {
        dev_dbg!(card.dev(), "event of unknown kind {}\n", event.kind.get());
        return;
    };
    match card.device(event.device.get()) {
        Some(device) => device.handle_event(kind, event),
        None => dev_dbg!(
            card.dev(),
            "{:?} for device {}, which there is not\n",
            kind,
            event.device.get()
        ),
    }
}
