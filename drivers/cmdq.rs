// SPDX-License-Identifier: GPL-2.0-only

//! The command queue: how the driver asks the card's control processor (CP) for something.
//!
//! Three layers: [`transport`] moves one command and waits for its completion; [`commands`] gives every
//! opcode a typed function; the raw messages are those of `crate::wire`, which firmware and model share.
//!
//! Commands run one at a time, under a mutex. The driver polls for the completion instead of waiting for an
//! interrupt: a command takes the card microseconds, and polling goes on working when interrupts don't. Where
//! the completion lies in host memory, it needs no register access either.

pub(crate) mod commands;
mod mailbox;
mod ring;
pub(crate) mod transport;

use crate::wire;
use kernel::{
    alloc::AllocError,
    error::code::*,
    prelude::*, //
};

/// Why a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandError {
    /// The card understood the command and refused it. Nothing has changed.
    Refused(wire::ErrorCode),
    /// The card is dead: it was declared so before, or this command got no answer or a senseless one.
    /// It can't reach host memory any more.
    Dead,
    /// The driver couldn't issue the command; the card knows nothing of it.
    NotIssued(Error),
}

impl CommandError {
    /// Whether the card refused an update because what it holds isn't what the driver believes.
    pub(crate) fn contradicts_the_driver(self) -> bool {
        use wire::ErrorCode::*;

        matches!(
            self,
            Self::Refused(StaleGeneration | NotMapped | Overlap | NoSuchAddressSpace)
        )
    }
}

impl From<AllocError> for CommandError {
    fn from(_: AllocError) -> Self {
        Self::NotIssued(ENOMEM)
    }
}

impl From<CommandError> for Error {
    /// The errno that the field's drivers give for it.
    fn from(error: CommandError) -> Error {
        use wire::ErrorCode::*;

        match error {
            CommandError::Dead => EIO,
            CommandError::NotIssued(error) => error,
            CommandError::Refused(code) => match code {
                InvalidArgument | NoSuchDevice | NoSuchQueue | NoSuchAddressSpace | Overlap
                | NotMapped => EINVAL,
                NoSpace | NoResources => ENOSPC,
                Busy => EBUSY,
                NotTranslated => EPERM,
                NotSupported | UnknownOpcode => EOPNOTSUPP,
                StaleGeneration | PayloadDma | Internal => EIO,
            },
        }
    }
}
