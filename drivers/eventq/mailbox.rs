// SPDX-License-Identifier: GPL-2.0-only

//! Events through the mailbox, for a card without an IOMMU. Why there is one: [`crate::mailbox`].

use crate::{
    mailbox::EVENT,
    pci::Registers,
    regs,
    wire::{
        self,
        Event, //
    },
};
use kernel::{
    io::Io,
    prelude::*, //
};
use zerocopy::FromZeros;

/// The driver's place in the mailbox.
///
/// The event with the next sequence number belongs to the driver from when that number appears in the window until
/// it writes the number to `MAILBOX_EVENT_ACKNOWLEDGE`. The card's next event appears then, with an interrupt.
pub(super) struct EventMailbox {
    sequence: u32,
}

impl EventMailbox {
    pub(super) fn new() -> Self {
        Self {
            sequence: wire::FIRST_SEQUENCE,
        }
    }

    /// Takes the next event out, if there is one.
    pub(super) fn next(&mut self, registers: &Registers) -> Option<Event> {
        let sequence = self.sequence;

        if EVENT.sequence(registers).ok()? != sequence {
            return None;
        }
        let mut event = Event::new_zeroed();
        EVENT.read(registers, event.as_mut_bytes()).ok()?;
        // A card that has gone away reads as all ones. This read comes last, so that it vouches for all before it.
        if registers.gone() || event.sequence.get() != sequence {
            return None;
        }
        self.sequence = wire::next_sequence(sequence);
        registers
            .with(|io| io.write_reg(regs::MAILBOX_EVENT_ACKNOWLEDGE::from(sequence)))
            .ok()?;
        Some(event)
    }
}
