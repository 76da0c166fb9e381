// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The command queue: fetches commands and posts completions.

use mooring_hw_regs::regs::{
    CmdqCompletionBaseHi, CmdqCompletionBaseLo, CmdqControl, CmdqHead, CmdqSize, CmdqStatus,
    CmdqSubmissionBaseHi, CmdqSubmissionBaseLo, CmdqTail,
};
use mooring_hw_regs::wire::{next_sequence, Command, Completion, NO_VECTOR};
use zerocopy::{FromZeros, IntoBytes};

use crate::memory::{Bus, BusError};
use crate::registers::RegisterFile;

/// Offsets of the registers that may change only while the queue is off.
const SET_UP: [usize; 5] = [
    CmdqSubmissionBaseLo::OFFSET,
    CmdqSubmissionBaseHi::OFFSET,
    CmdqCompletionBaseLo::OFFSET,
    CmdqCompletionBaseHi::OFFSET,
    CmdqSize::OFFSET,
];

/// The command queue of a card.
#[derive(Default)]
pub(crate) struct Cmdq {
    enabled: bool,
    submission: u64,
    completion: u64,
    size: u16,
    vector: u16,
    head: u16,
    tail: u16,
    /// Number of the next completion.
    sequence: u32,
    /// Place of the next completion, free running.
    completed: u16,
}

/// Whether an offset of the BAR is that of one of the queue's registers.
pub(crate) fn is_register(offset: usize) -> bool {
    (CmdqSubmissionBaseLo::OFFSET..=CmdqHead::OFFSET).contains(&offset)
}

impl Cmdq {
    /// Whether a write to a register is to be ignored.
    pub fn ignores(&self, offset: usize) -> bool {
        self.enabled && SET_UP.contains(&offset)
    }

    /// Does what a write to a register causes.
    pub fn written(&mut self, offset: usize, registers: &mut RegisterFile, vectors: u16) {
        match offset {
            CmdqControl::OFFSET => self.control(registers, vectors),
            CmdqTail::OFFSET if self.enabled => {
                self.tail = CmdqTail(registers.get(offset)).index();
                if self.tail.wrapping_sub(self.head) > self.size {
                    log::warn!(
                        "cmdq: tail {} is out of range, head is {}",
                        self.tail,
                        self.head
                    );
                    self.fail(registers);
                }
            }
            _ => {}
        }
    }

    fn control(&mut self, registers: &mut RegisterFile, vectors: u16) {
        let control = CmdqControl(registers.get(CmdqControl::OFFSET));
        let status = CmdqStatus(registers.get(CmdqStatus::OFFSET));
        if !control.enable() {
            self.enabled = false;
            registers.set(CmdqStatus::OFFSET, 0);
            return;
        }
        if self.enabled || status.error() {
            return;
        }
        let log2 = CmdqSize(registers.get(CmdqSize::OFFSET)).log2();
        *self = Self {
            enabled: true,
            submission: registers
                .address(CmdqSubmissionBaseLo::OFFSET, CmdqSubmissionBaseHi::OFFSET),
            completion: registers
                .address(CmdqCompletionBaseLo::OFFSET, CmdqCompletionBaseHi::OFFSET),
            size: 1 << log2,
            vector: control.vector(),
            sequence: 1,
            ..Self::default()
        };
        registers.set(CmdqTail::OFFSET, 0);
        registers.set(CmdqHead::OFFSET, 0);
        registers.set(CmdqStatus::OFFSET, CmdqStatus(0).with_enabled(true).0);
        if !(1..=12).contains(&log2) || !(self.vector == NO_VECTOR || self.vector < vectors) {
            log::warn!(
                "cmdq: set-up is invalid: size 2^{log2}, vector {}",
                self.vector
            );
            self.fail(registers);
        }
    }

    /// Stops the queue until it is switched off and on.
    fn fail(&mut self, registers: &mut RegisterFile) {
        self.enabled = false;
        registers.set(CmdqStatus::OFFSET, CmdqStatus(0).with_error(true).0);
    }

    /// Whether the queue is on.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether there are commands to take.
    pub fn has_commands(&self) -> bool {
        self.enabled && self.head != self.tail
    }

    /// The vector of completions, if the driver wants interrupts.
    pub fn vector(&self) -> Option<u16> {
        Some(self.vector).filter(|vector| *vector != NO_VECTOR)
    }

    /// Takes the next command.
    pub fn fetch(&mut self, bus: &Bus, registers: &mut RegisterFile) -> Option<Command> {
        if !self.has_commands() {
            return None;
        }
        let mut command = Command::new_zeroed();
        let address = slot(self.submission, self.head, self.size, size_of::<Command>());
        if let Err(error) = address.and_then(|address| bus.read(address, command.as_mut_bytes())) {
            log::warn!("cmdq: reading a command: {error}");
            self.fail(registers);
            return None;
        }
        self.head = self.head.wrapping_add(1);
        registers.set(CmdqHead::OFFSET, self.head.into());
        Some(command)
    }

    /// Posts a completion. Returns whether that worked.
    pub fn complete(
        &mut self,
        bus: &Bus,
        registers: &mut RegisterFile,
        completion: &Completion,
    ) -> bool {
        if !self.enabled {
            return false;
        }
        let posted = slot(
            self.completion,
            self.completed,
            self.size,
            size_of::<Completion>(),
        )
        .and_then(|address| post(bus, address, completion.as_bytes(), self.sequence));
        if let Err(error) = posted {
            log::warn!("cmdq: writing a completion: {error}");
            self.fail(registers);
            return false;
        }
        self.completed = self.completed.wrapping_add(1);
        self.sequence = next_sequence(self.sequence);
        true
    }
}

/// Address of a ring's entry.
pub(crate) fn slot(
    base: u64,
    index: u16,
    entries: u16,
    entry_size: usize,
) -> Result<u64, BusError> {
    let offset = u64::from(index & entries.wrapping_sub(1)) * entry_size as u64;
    base.checked_add(offset).ok_or(BusError { address: base })
}

/// Writes an entry whose last word is its sequence number; that comes last.
pub(crate) fn post(bus: &Bus, address: u64, entry: &[u8], sequence: u32) -> Result<(), BusError> {
    let body = entry.len().saturating_sub(4);
    bus.write(address, entry.get(..body).unwrap_or_default())?;
    bus.store_u32(address.wrapping_add(body as u64), sequence)
}
