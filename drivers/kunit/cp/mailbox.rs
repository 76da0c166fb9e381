// SPDX-License-Identifier: GPL-2.0-only

//! The card's side of the mailbox, in registers that are memory.
//!
//! It inverts what is in the payload window when it takes a command, so that a payload which comes back after two of them
//! has gone through the window twice.

use crate::{
    mailbox::{
        Window,
        COMMAND,
        COMPLETION,
        EVENT,
        PAYLOAD,
        WORD, //
    },
    pci::RegisterBar,
    regs,
    wire::{
        self,
        Command,
        Completion,
        Event, //
    },
};
use kernel::{
    io::Io,
    prelude::*, //
};
use zerocopy::FromZeros;

/// Events that can wait.
const WAITING: usize = 4;

/// The mailbox, as the card sees it.
pub(super) struct CardMailbox {
    enabled: bool,
    /// Sequence number of the next command.
    sequence: u32,
    /// Event in the window, and those behind it.
    events: [Option<Event>; WAITING],
    event_sequence: u32,
    /// Whether the completion's sequence number changes as soon as the driver has looked at it.
    pub(super) fickle: bool,
    /// Whether the driver's next access is that look.
    changes: bool,
}

fn read<const N: usize>(io: RegisterBar<'_>, window: Window) -> [u8; N] {
    let mut bytes = [0; N];

    for (index, to) in bytes.chunks_mut(WORD).enumerate() {
        let word = window.place(index * WORD).and_then(|at| io.try_read32(at));
        for (to, from) in to.iter_mut().zip(word.unwrap_or(0).to_le_bytes()) {
            *to = from;
        }
    }
    bytes
}

fn write(io: RegisterBar<'_>, window: Window, bytes: &[u8]) {
    for (index, from) in bytes.chunks(WORD).enumerate() {
        let mut word = [0; WORD];
        for (to, from) in word.iter_mut().zip(from) {
            *to = *from;
        }
        let word = u32::from_le_bytes(word);
        let _ = window
            .place(index * WORD)
            .and_then(|at| io.try_write32(word, at));
    }
}

impl CardMailbox {
    pub(super) fn new() -> Self {
        Self {
            enabled: false,
            sequence: wire::FIRST_SEQUENCE,
            events: [None; WAITING],
            event_sequence: wire::FIRST_SEQUENCE,
            fickle: false,
            changes: false,
        }
    }

    /// Whether the driver has switched it on.
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Sees to what the driver has written; returns the command that it gives, if there is one.
    pub(super) fn run(&mut self, io: RegisterBar<'_>) -> Option<Command> {
        self.enabled = io.read(regs::MAILBOX_CONTROL).enable();
        if !self.enabled {
            return None;
        }
        if core::mem::take(&mut self.changes) {
            let last = COMPLETION.size() - WORD;
            let _ = COMPLETION.place(last).and_then(|at| io.try_write32(0, at));
        }
        self.run_events(io);
        if io.read(regs::MAILBOX_DOORBELL).sequence() != self.sequence {
            return None;
        }
        let bytes = read::<{ size_of::<Command>() }>(io, COMMAND);
        let command = Command::read_from_bytes(&bytes).ok();

        for at in (0..PAYLOAD.size()).step_by(WORD) {
            let _ = PAYLOAD
                .place(at)
                .and_then(|at| io.try_write32(!io.try_read32(at)?, at));
        }
        self.sequence = wire::next_sequence(self.sequence);
        command
    }

    /// Answers the command that was last taken.
    pub(super) fn complete(&mut self, io: RegisterBar<'_>, completion: Completion) {
        write(io, COMPLETION, completion.as_bytes());
        self.changes = core::mem::take(&mut self.fickle);
    }

    /// Posts an event. It is dropped if there is no room.
    pub(super) fn post(&mut self, io: RegisterBar<'_>, event: Event) {
        let event = Event {
            sequence: self.event_sequence.into(),
            ..event
        };
        if let Some(place) = self.events.iter_mut().find(|place| place.is_none()) {
            *place = Some(event);
            self.event_sequence = wire::next_sequence(self.event_sequence);
        }
        self.show(io);
    }

    fn run_events(&mut self, io: RegisterBar<'_>) {
        let acknowledged = io.read(regs::MAILBOX_EVENT_ACKNOWLEDGE).sequence();
        let [Some(first), ..] = &self.events else {
            return;
        };

        if first.sequence.get() == acknowledged {
            self.events.rotate_left(1);
            self.events[WAITING - 1] = None;
            self.show(io);
        }
    }

    fn show(&self, io: RegisterBar<'_>) {
        let first = self.events[0].unwrap_or(Event::new_zeroed());
        write(io, EVENT, first.as_bytes());
    }
}
