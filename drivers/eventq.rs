// SPDX-License-Identifier: GPL-2.0-only

//! The event queue: what the card tells without being asked.
//!
//! Where the events lie depends on the kind of card, as with commands: [`ring`] in host memory, [`mailbox`] in the
//! card's registers.

mod mailbox;
mod ring;

use crate::{
    card::Card,
    info::{
        Info,
        Translation, //
    },
    limit::Limit,
    pci::Registers,
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
    prelude::*, //
};
use mailbox::EventMailbox;
use ring::EventRing;

/// Events that are taken at a time: a ring's worth.
const MOST: u32 = 1 << ring::LOG2_ENTRIES;

/// Where events come from.
enum Source {
    /// A ring in host memory.
    Ring(EventRing),
    /// A window of the card's registers.
    Mailbox(EventMailbox),
}

/// The event queue.
///
/// Dropping it frees memory that the card writes to, so it has to be disabled, or the function cut off from the bus,
/// before.
pub(crate) struct EventQueue {
    source: Source,
    /// Lines in the log about events that were lost.
    lost: Limit,
}

impl EventQueue {
    /// Makes what this kind of card needs.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub(crate) fn new(dev: &device::Device<Bound>, info: &Info) -> Result<Self> {
        Ok(Self {
            source: match info.translation {
                Translation::Platform => Source::Mailbox(EventMailbox::new()),
                Translation::OnChipIdentity | Translation::OnChip => {
                    Source::Ring(EventRing::new(dev)?)
                }
            },
            lost: Limit::new(),
        })
    }

    /// Switches a new queue on. A mailbox is on since the command queue is.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the function has been unbound.
    pub(crate) fn enable(&mut self, registers: &Registers) -> Result {
        match &mut self.source {
            Source::Ring(ring) => ring.enable(registers),
            Source::Mailbox(_) => Ok(()),
        }
    }

    /// Takes what is there, [`MOST`] at most: the card interrupts again for what comes later.
    pub(crate) fn drain(&mut self, card: &Card) {
        for _ in 0..MOST {
            let event = match &mut self.source {
                Source::Ring(ring) => ring.next(),
                Source::Mailbox(mailbox) => mailbox.next(card.registers()),
            };
            let Some(event) = event else {
                break;
            };
            if event.lost.get() != 0 {
                card.note_lost_events(event.lost.get());
                if let Some(count) = self.lost.count() {
                    dev_warn!(
                        card.dev(),
                        "{} events of the card were lost; all devices are checked ({})\n",
                        event.lost.get(),
                        count
                    );
                }
            }
            dispatch(card, &event);
        }

        if let Source::Ring(ring) = &mut self.source {
            ring.give_back(card.registers());
        }
    }
}

/// Hands an event to its device. Events that make no sense are dropped.
fn dispatch(card: &Card, event: &Event) {
    let Some(kind) = wire::EventKind::from_number(event.kind.get()) else {
        dev_dbg!(card.dev(), "event of unknown kind {}\n", event.kind.get());
        return;
    };
    if kind == wire::EventKind::EventsLost {
        // Its count was taken as that of every event.
        return;
    }
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
