// SPDX-License-Identifier: GPL-2.0-only

//! Commands through the mailbox, for a card without an IOMMU. Why there is one: [`crate::mailbox`].
//!
//! # Ownership of the windows
//!
//! - Command and payload window belong to the driver until it writes `MAILBOX_DOORBELL`, and then to the card
//!   until the command's sequence number appears in the completion window.
//! - The completion window belongs to the card from the doorbell until then, else to the driver.

use super::transport::{
    wait,
    Payload,
    TransportError, //
};
use crate::{
    mailbox::{
        self,
        COMMAND,
        COMPLETION,
        PAYLOAD, //
    },
    pci::Registers,
    regs,
    wire::{
        self,
        Command,
        Completion, //
    },
};
use kernel::{
    io::Io,
    prelude::*,
    time::Delta, //
};
use zerocopy::FromZeros;

/// The driver's place in the mailbox.
pub(crate) struct CommandMailbox {
    /// Sequence number of the next command and its completion.
    sequence: u32,
}

impl CommandMailbox {
    pub(super) fn new() -> Self {
        Self {
            sequence: wire::FIRST_SEQUENCE,
        }
    }

    /// Switches the mailbox on.
    pub(super) fn enable(&mut self, registers: &Registers) -> Result {
        mailbox::enable(registers)
    }

    /// See [`CommandQueue::execute()`](super::transport::CommandQueue::execute).
    pub(super) fn execute(
        &mut self,
        registers: &Registers,
        mut command: Command,
        payload: &mut Payload<'_>,
        timeout: Delta,
    ) -> Result<Completion, TransportError> {
        let length = payload.len();
        if length > PAYLOAD.size() {
            return Err(TransportError::NotIssued(EINVAL));
        }
        if let Payload::ToCard(data) = payload {
            PAYLOAD
                .write(registers, data)
                .map_err(|_| TransportError::Gone)?;
        }

        // The tag is a second opinion: it travels with the command and not in a register.
        // CAST: the lower half is as good a tag as any.
        command.tag = (self.sequence as u16).into();
        // CAST: `length` is at most the window's.
        command.payload_length = (length as u32).into();
        COMMAND
            .write(registers, command.as_bytes())
            .map_err(|_| TransportError::Gone)?;
        let sequence = self.sequence;
        registers
            .with(|io| io.write_reg(regs::MAILBOX_DOORBELL::from(sequence)))
            .map_err(|_| TransportError::Gone)?;

        let completion = wait(registers, timeout, || poll(registers, sequence))?;
        self.sequence = wire::next_sequence(sequence);
        if completion.tag.get() != command.tag.get() {
            return Err(TransportError::Desynchronised);
        }
        if let Payload::FromCard(data) = payload {
            PAYLOAD
                .read(registers, data)
                .map_err(|_| TransportError::Gone)?;
            // Had the card gone away meanwhile, the data would be all ones from there on.
            if registers.gone() {
                return Err(TransportError::Gone);
            }
        }
        Ok(completion)
    }
}

/// The completion with this sequence number, if it is there.
fn poll(registers: &Registers, sequence: u32) -> Result<Option<Completion>, TransportError> {
    let read = COMPLETION
        .sequence(registers)
        .map_err(|_| TransportError::Gone)?;
    if read != sequence {
        return Ok(None);
    }
    let mut completion = Completion::new_zeroed();
    COMPLETION
        .read(registers, completion.as_mut_bytes())
        .map_err(|_| TransportError::Gone)?;
    // A card that has gone away reads as all ones, the sequence number of a card that has done 4294967294 commands.
    // This read comes last, so that it vouches for all before it.
    if registers.gone() {
        return Err(TransportError::Gone);
    }
    match completion.sequence.get() == sequence {
        true => Ok(Some(completion)),
        // It changed while it was the driver's.
        false => Err(TransportError::Desynchronised),
    }
}
