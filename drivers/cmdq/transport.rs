// SPDX-License-Identifier: GPL-2.0-only

//! The rings of the command queue, and waiting with a bound.
//!
//! # Ownership of the rings
//!
//! - The entry of the submission ring at `tail` belongs to the driver until it writes `CMDQ_TAIL`, and
//!   then to the card until the command's completion was read.
//! - The entry of the completion ring with the next sequence number belongs to the card until that
//!   number appears in it, and then to the driver.
//! - The payload buffer belongs to the card from the doorbell to the completion, else to the driver.
//!
//! One command is under way at most, so these rules hold by the `&mut self` of [`CommandQueue::execute`].

use crate::{
    dma::ring::{
        Buffer,
        Ring, //
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
    device,
    io::Io,
    prelude::*,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};

/// Entries of both rings, as a base 2 logarithm.
const LOG2_ENTRIES: u8 = 6;

/// Vector number that switches completion interrupts off: there is no such vector.
const NO_INTERRUPT: u16 = wire::NO_VECTOR;

/// What a command carries beside its arguments.
pub(crate) enum Payload<'a> {
    /// Nothing.
    None,
    /// Bytes for the card to read.
    ToCard(&'a [u8]),
    /// Room for bytes that the card writes.
    FromCard(&'a mut [u8]),
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

/// The command queue's rings and positions.
///
/// Dropping it frees memory that the card writes to, so the queue has to be disabled, or the function
/// cut off from the bus, before.
pub(crate) struct CommandQueue {
    submission: Ring<Command>,
    completion: Ring<Completion>,
    payload: Buffer,
    payload_size: usize,
    /// Index of the next command.
    tail: u16,
    /// Index of the next completion.
    head: u16,
    /// Sequence number of the next completion.
    sequence: u32,
}

impl CommandQueue {
    /// Allocates the rings and a payload buffer of `payload_size` bytes.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub(crate) fn new(dev: &device::Device<device::Bound>, payload_size: usize) -> Result<Self> {
        Ok(Self {
            submission: Ring::new(dev, LOG2_ENTRIES)?,
            completion: Ring::new(dev, LOG2_ENTRIES)?,
            payload: Buffer::new(dev, payload_size)?,
            payload_size,
            tail: 0,
            head: 0,
            sequence: wire::FIRST_SEQUENCE,
        })
    }

    /// Switches a new queue on.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the function has been unbound.
    pub(crate) fn enable(&mut self, registers: &Registers) -> Result {
        let (submission, completion) = (self.submission.bus(), self.completion.bus());

        registers.with(|io| {
            io.write_reg(regs::CMDQ_CONTROL::from(0));
            io.write_reg(regs::CMDQ_SUBMISSION_BASE_LO::from(submission as u32));
            io.write_reg(regs::CMDQ_SUBMISSION_BASE_HI::from(
                (submission >> 32) as u32,
            ));
            io.write_reg(regs::CMDQ_COMPLETION_BASE_LO::from(completion as u32));
            io.write_reg(regs::CMDQ_COMPLETION_BASE_HI::from(
                (completion >> 32) as u32,
            ));
            io.write_reg(regs::CMDQ_SIZE::from(u32::from(LOG2_ENTRIES)));
            io.write_reg(
                regs::CMDQ_CONTROL::from(0)
                    .with_enable(true)
                    .with_vector(NO_INTERRUPT),
            );
        })
    }

    /// Gives `command` to the card and waits for its completion, `timeout` at most. May sleep.
    ///
    /// The command's tag and payload fields are filled in here. After any error but
    /// [`TransportError::NotIssued`] the queue is of no more use.
    pub(crate) fn execute(
        &mut self,
        registers: &Registers,
        mut command: Command,
        payload: &mut Payload<'_>,
        timeout: Delta,
    ) -> Result<Completion, TransportError> {
        let length = match payload {
            Payload::None => 0,
            Payload::ToCard(data) => data.len(),
            Payload::FromCard(data) => data.len(),
        };
        if length > self.payload_size {
            return Err(TransportError::NotIssued(EINVAL));
        }
        if let Payload::ToCard(data) = payload {
            self.payload
                .write(0, data)
                .map_err(TransportError::NotIssued)?;
        }

        command.tag = self.tail.into();
        if length != 0 {
            command.payload = self.payload.bus().into();
            // CAST: `length` is at most `payload_size`, a few pages.
            command.payload_length = (length as u32).into();
        }
        self.submission
            .write(self.tail, &command)
            .map_err(TransportError::NotIssued)?;

        let tail = self.tail.wrapping_add(1);
        registers
            .with(|io| io.write_reg(regs::CMDQ_TAIL::from(u32::from(tail))))
            .map_err(|_| TransportError::Gone)?;
        self.tail = tail;

        let completion = self.wait(registers, timeout)?;
        if completion.tag.get() != command.tag.get() {
            return Err(TransportError::Desynchronised);
        }
        if let Payload::FromCard(data) = payload {
            self.payload
                .read(0, data)
                .map_err(|_| TransportError::Desynchronised)?;
        }
        Ok(completion)
    }

    /// Waits for the next completion.
    fn wait(
        &mut self,
        registers: &Registers,
        timeout: Delta,
    ) -> Result<Completion, TransportError> {
        // The sleeps grow from a short command's time to one that costs nothing in a long wait, after
        // each of which it's worth a register read to see whether the card is still there.
        const FIRST_SLEEP: i64 = 10;
        const LONGEST_SLEEP: i64 = 2000;

        let start: Instant<Monotonic> = Instant::now();
        let mut sleep = FIRST_SLEEP;

        loop {
            // The time is taken before the ring is read, so that a long delay in between can't be
            // mistaken for a card that doesn't answer.
            let expired = start.elapsed() > timeout;
            if let Some(completion) = self
                .completion
                .read_if(self.head, self.sequence)
                .map_err(|_| TransportError::Desynchronised)?
            {
                self.head = self.head.wrapping_add(1);
                self.sequence = wire::next_sequence(self.sequence);
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
}
