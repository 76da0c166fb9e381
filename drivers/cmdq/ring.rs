// SPDX-License-Identifier: GPL-2.0-only

//! Commands through rings in host memory, for a card with an IOMMU.
//!
//! # Ownership of the rings
//!
//! - The entry of the submission ring at `tail` belongs to the driver until it writes `CMDQ_TAIL`, and
//!   then to the card until the command's completion was read.
//! - The entry of the completion ring with the next sequence number belongs to the card until that
//!   number appears in it, and then to the driver.
//! - The payload buffer belongs to the card from the doorbell to the completion, else to the driver.
//!
//! One command is under way at most, so these rules hold by the `&mut self` of [`CommandRings::execute`].

use super::transport::{
    wait,
    Payload,
    TransportError, //
};
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
    time::Delta, //
};

/// Entries of both rings, as a base 2 logarithm.
const LOG2_ENTRIES: u8 = 6;

/// Vector number that switches completion interrupts off: there is no such vector.
const NO_INTERRUPT: u16 = wire::NO_VECTOR;

/// The command queue's rings and positions.
///
/// Dropping it frees memory that the card writes to, so the queue has to be disabled, or the function
/// cut off from the bus, before.
pub(crate) struct CommandRings {
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

impl CommandRings {
    /// Allocates the rings and a payload buffer of `payload_size` bytes.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub(super) fn new(dev: &device::Device<device::Bound>, payload_size: usize) -> Result<Self> {
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
    pub(super) fn enable(&mut self, registers: &Registers) -> Result {
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

    /// See [`CommandQueue::execute()`](super::transport::CommandQueue::execute).
    pub(super) fn execute(
        &mut self,
        registers: &Registers,
        mut command: Command,
        payload: &mut Payload<'_>,
        timeout: Delta,
    ) -> Result<Completion, TransportError> {
        let length = payload.len();
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

        let completion = wait(registers, timeout, || self.poll())?;
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

    /// The next completion, if it is there.
    fn poll(&mut self) -> Result<Option<Completion>, TransportError> {
        let completion = self
            .completion
            .read_if(self.head, self.sequence)
            .map_err(|_| TransportError::Desynchronised)?;
        if completion.is_some() {
            self.head = self.head.wrapping_add(1);
            self.sequence = wire::next_sequence(self.sequence);
        }
        Ok(completion)
    }
}
