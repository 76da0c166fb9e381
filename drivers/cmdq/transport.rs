// SPDX-License-Identifier: GPL-2.0-only

//! The way of a command to the card and of its completion back, and waiting with a bound.
//!
//! There are two ways, and the kind of card decides which: [`ring`](super::ring) in host memory for a card that has
//! an IOMMU, and [`mailbox`](super::mailbox) in the card's registers for one that hasn't. One command is under way at
//! most.

use super::{
    mailbox::CommandMailbox,
    ring::CommandRings, //
};
use crate::{
    info::{
        Info,
        Translation, //
    },
    pci::Registers,
    wire::{
        Command,
        Completion, //
    },
};
use kernel::{
    device,
    prelude::*,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};

/// What a command carries beside its arguments.
pub(crate) enum Payload<'a> {
    /// Nothing.
    None,
    /// Bytes for the card to read.
    ToCard(&'a [u8]),
    /// Room for bytes that the card writes.
    FromCard(&'a mut [u8]),
}

impl Payload<'_> {
    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::ToCard(data) => data.len(),
            Self::FromCard(data) => data.len(),
        }
    }
}

/// Why there is no usable completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransportError {
    /// The card isn't there any more: its registers read as all ones, or the driver is being unbound.
    Gone,
    /// No completion came in time.
    TimedOut,
    /// A completion came that answers another command.
    Desynchronised,
    /// The command was not given to the card.
    NotIssued(Error),
}

/// The command queue, or what a card has in its place.
///
/// Dropping it frees memory that the card writes to, so it has to be disabled, or the function cut off from the bus,
/// before.
pub(crate) enum CommandQueue {
    /// Rings in host memory.
    Rings(CommandRings),
    /// Windows of the card's registers.
    Mailbox(CommandMailbox),
}

impl CommandQueue {
    /// Makes what this kind of card needs, with room for payloads of `payload_size` bytes.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub(crate) fn new(
        dev: &device::Device<device::Bound>,
        info: &Info,
        payload_size: usize,
    ) -> Result<Self> {
        Ok(match info.translation {
            Translation::Platform => Self::Mailbox(CommandMailbox::new()),
            Translation::OnChipIdentity | Translation::OnChip => {
                Self::Rings(CommandRings::new(dev, payload_size)?)
            }
        })
    }

    /// Switches a new queue on.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the function has been unbound.
    pub(crate) fn enable(&mut self, registers: &Registers) -> Result {
        match self {
            Self::Rings(rings) => rings.enable(registers),
            Self::Mailbox(mailbox) => mailbox.enable(registers),
        }
    }

    /// Gives `command` to the card and waits for its completion, `timeout` at most. May sleep.
    ///
    /// The command's tag and payload fields are filled in here. After any error but
    /// [`TransportError::NotIssued`] the queue is of no more use.
    pub(crate) fn execute(
        &mut self,
        registers: &Registers,
        command: Command,
        payload: &mut Payload<'_>,
        timeout: Delta,
    ) -> Result<Completion, TransportError> {
        match self {
            Self::Rings(rings) => rings.execute(registers, command, payload, timeout),
            Self::Mailbox(mailbox) => mailbox.execute(registers, command, payload, timeout),
        }
    }
}

/// Waits until `poll` finds a completion.
pub(super) fn wait(
    registers: &Registers,
    timeout: Delta,
    mut poll: impl FnMut() -> Result<Option<Completion>, TransportError>,
) -> Result<Completion, TransportError> {
    // The sleeps grow from a short command's time to one that costs nothing in a long wait, after
    // each of which it's worth a register read to see whether the card is still there.
    const FIRST_SLEEP: i64 = 10;
    const LONGEST_SLEEP: i64 = 2000;

    let start: Instant<Monotonic> = Instant::now();
    let mut sleep = FIRST_SLEEP;

    loop {
        // The time is taken before the card's answer is looked for, so that a long delay in between can't be
        // mistaken for a card that doesn't answer.
        let expired = start.elapsed() > timeout;
        if let Some(completion) = poll()? {
            return Ok(completion);
        }
        if expired {
            return Err(TransportError::TimedOut);
        }
        if sleep >= LONGEST_SLEEP && registers.gone() {
            return Err(TransportError::Gone);
        }
        fsleep(Delta::from_micros(sleep));
        sleep = (sleep * 2).min(LONGEST_SLEEP);
    }
}
