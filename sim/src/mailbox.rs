// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The mailbox: commands and events of a card without an IOMMU, in windows of the register BAR.
//!
//! One command and one event at a time. A command is copied out of its window when the doorbell is rung, so what the
//! host writes there later is no part of it; while it is under way the payload window belongs to the card alone.

use std::collections::VecDeque;

use mooring_hw_regs::regs::{
    MailboxControl, MailboxDoorbell, MailboxEventAcknowledge, MailboxStatus,
    MAILBOX_COMMAND_OFFSET, MAILBOX_COMMAND_SIZE, MAILBOX_COMPLETION_OFFSET,
    MAILBOX_COMPLETION_SIZE, MAILBOX_EVENT_OFFSET, MAILBOX_EVENT_SIZE, MAILBOX_PAYLOAD_OFFSET,
    MAILBOX_PAYLOAD_SIZE,
};
use mooring_hw_regs::wire::{next_sequence, Command, Completion, Event, FIRST_SEQUENCE, NO_VECTOR};
use zerocopy::{FromBytes, IntoBytes};

use crate::registers::RegisterFile;

/// Events that wait behind the one in the window.
const WAITING: usize = 63;

/// The mailbox of a card.
pub(crate) struct Mailbox {
    enabled: bool,
    vector: u16,
    command: [u8; MAILBOX_COMMAND_SIZE],
    completion: [u8; MAILBOX_COMPLETION_SIZE],
    payload: Box<[u8]>,
    /// The command under way: not completed yet, and not even taken as long as it is here.
    given: Option<Command>,
    busy: bool,
    /// The number that the next ring of the doorbell must name, and then that of the completion.
    sequence: u32,
    /// The event in the window, and those that wait behind it, numbered.
    events: VecDeque<Event>,
    event_sequence: u32,
    /// Events dropped since the last one that fitted.
    lost: u32,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self {
            enabled: false,
            vector: NO_VECTOR,
            command: [0; MAILBOX_COMMAND_SIZE],
            completion: [0; MAILBOX_COMPLETION_SIZE],
            payload: vec![0; MAILBOX_PAYLOAD_SIZE].into_boxed_slice(),
            given: None,
            busy: false,
            sequence: FIRST_SEQUENCE,
            events: VecDeque::new(),
            event_sequence: FIRST_SEQUENCE,
            lost: 0,
        }
    }
}

/// The word at an offset of the BAR, if it lies in the window `bytes` that begins at `start`.
fn word(bytes: &[u8], start: usize, offset: usize) -> Option<u32> {
    let at = offset.checked_sub(start)?;
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_le_bytes)
}

/// Whether an offset of the BAR is that of one of the mailbox's registers.
pub(crate) fn is_register(offset: usize) -> bool {
    (MailboxControl::OFFSET..=MailboxEventAcknowledge::OFFSET).contains(&offset)
}

impl Mailbox {
    /// What the host reads from a window. `None`: there is none at this offset.
    pub fn read_window(&self, offset: usize) -> Option<u32> {
        let event = self
            .events
            .front()
            .filter(|_| self.enabled)
            .map(Event::as_bytes);
        word(&self.command, MAILBOX_COMMAND_OFFSET, offset)
            .or_else(|| word(&self.completion, MAILBOX_COMPLETION_OFFSET, offset))
            .or_else(|| {
                let empty = [0; MAILBOX_EVENT_SIZE];
                word(event.unwrap_or(&empty), MAILBOX_EVENT_OFFSET, offset)
            })
            .or_else(|| word(&self.payload, MAILBOX_PAYLOAD_OFFSET, offset))
    }

    /// The host writes to a window. While a command is under way its windows are not the host's.
    pub fn write_window(&mut self, offset: usize, value: u32) {
        if self.busy {
            return;
        }
        for (bytes, start) in [
            (&mut self.command[..], MAILBOX_COMMAND_OFFSET),
            (&mut self.payload[..], MAILBOX_PAYLOAD_OFFSET),
        ] {
            let place = offset
                .checked_sub(start)
                .and_then(|at| bytes.get_mut(at..)?.first_chunk_mut());
            if let Some(place) = place {
                *place = value.to_le_bytes();
            }
        }
    }

    /// Does what a write to a register causes. Returns a vector to raise.
    pub fn written(
        &mut self,
        offset: usize,
        registers: &mut RegisterFile,
        vectors: u16,
    ) -> Option<u16> {
        match offset {
            MailboxControl::OFFSET => self.control(registers, vectors),
            MailboxDoorbell::OFFSET if self.enabled => self.ring(registers),
            MailboxEventAcknowledge::OFFSET if self.enabled => {
                let sequence = registers.get(offset);
                let first = self.events.front()?;
                if first.sequence.get() == sequence {
                    self.events.pop_front();
                    return self.events.front().and(self.vector());
                }
            }
            _ => {}
        }
        None
    }

    fn control(&mut self, registers: &mut RegisterFile, vectors: u16) {
        let control = MailboxControl(registers.get(MailboxControl::OFFSET));
        let status = MailboxStatus(registers.get(MailboxStatus::OFFSET));
        if !control.enable() {
            self.enabled = false;
            // Whatever is under way completes to nobody.
            self.given = None;
            self.busy = false;
            registers.set(MailboxStatus::OFFSET, 0);
            return;
        }
        if self.enabled || status.error() {
            return;
        }
        *self = Self {
            enabled: true,
            vector: control.vector(),
            ..Self::default()
        };
        registers.set(MailboxDoorbell::OFFSET, 0);
        registers.set(MailboxEventAcknowledge::OFFSET, 0);
        self.show(registers);
        if !(self.vector == NO_VECTOR || self.vector < vectors) {
            log::warn!("mailbox: set-up is invalid: vector {}", self.vector);
            self.fail(registers);
        }
    }

    fn ring(&mut self, registers: &mut RegisterFile) {
        let sequence = registers.get(MailboxDoorbell::OFFSET);
        if self.busy || sequence != self.sequence {
            log::warn!(
                "mailbox: the doorbell is rung for command {sequence}, {} while {} is due",
                if self.busy { "busy" } else { "idle" },
                self.sequence
            );
            self.fail(registers);
            return;
        }
        self.given = Command::read_from_bytes(&self.command).ok();
        self.busy = true;
        self.show(registers);
    }

    fn show(&self, registers: &mut RegisterFile) {
        let status = MailboxStatus(0)
            .with_enabled(self.enabled)
            .with_busy(self.busy);
        registers.set(MailboxStatus::OFFSET, status.0);
    }

    /// Stops the mailbox until it is switched off and on.
    fn fail(&mut self, registers: &mut RegisterFile) {
        self.enabled = false;
        self.given = None;
        self.busy = false;
        registers.set(MailboxStatus::OFFSET, MailboxStatus(0).with_error(true).0);
    }

    /// Whether the mailbox is on.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether there is a command to take.
    pub fn has_commands(&self) -> bool {
        self.given.is_some()
    }

    /// Takes the command that the host has given.
    pub fn fetch(&mut self) -> Option<Command> {
        self.given.take()
    }

    /// Answers the command that was taken.
    pub fn complete(&mut self, registers: &mut RegisterFile, completion: &Completion) {
        if !self.busy {
            return;
        }
        let completion = Completion {
            sequence: self.sequence.into(),
            ..*completion
        };
        if let Ok(bytes) = completion.as_bytes().try_into() {
            self.completion = bytes;
        }
        self.sequence = next_sequence(self.sequence);
        self.busy = false;
        self.show(registers);
    }

    /// Bytes of the payload window, if it has all of them.
    pub fn payload(&mut self, offset: u64, length: usize) -> Option<&mut [u8]> {
        let start = usize::try_from(offset).ok()?;
        self.payload.get_mut(start..start.checked_add(length)?)
    }

    /// Whether events were lost of which the driver can be told now.
    pub fn has_loss_to_tell(&self) -> bool {
        self.lost != 0 && self.has_room()
    }

    /// Whether the next event is posted and not dropped.
    pub fn has_room(&self) -> bool {
        self.enabled && self.events.len() <= WAITING
    }

    /// Whether there is room for events that can wait: the other half is for those that can't.
    pub fn has_room_to_spare(&self) -> bool {
        self.enabled && self.events.len() <= WAITING / 2
    }

    /// Posts an event. Returns the vector to raise, if it appears in the window and there is one.
    pub fn post(&mut self, event: &Event) -> Option<u16> {
        if !self.enabled {
            return None;
        }
        if !self.has_room() {
            self.lost = self.lost.saturating_add(1);
            return None;
        }
        self.events.push_back(Event {
            lost: self.lost.into(),
            sequence: self.event_sequence.into(),
            ..*event
        });
        self.lost = 0;
        self.event_sequence = next_sequence(self.event_sequence);
        (self.events.len() == 1).then(|| self.vector())?
    }

    fn vector(&self) -> Option<u16> {
        Some(self.vector).filter(|vector| *vector != NO_VECTOR)
    }
}

#[cfg(test)]
mod tests;
