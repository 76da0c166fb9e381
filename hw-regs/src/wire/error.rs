// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The one table of errors that card, firmware and driver share.

/// Why the card refused or failed a command. Numbers are never reused.
///
/// Unless a code's text says otherwise, a refused command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ErrorCode {
    /// The opcode is not one of [`Opcode`](super::Opcode).
    UnknownOpcode = 1,
    /// An argument is out of its range, misaligned or inconsistent with another one.
    InvalidArgument = 2,
    /// No device object has this number.
    NoSuchDevice = 3,
    /// The device has no queue of this index.
    NoSuchQueue = 4,
    /// No address space has this number.
    NoSuchAddressSpace = 5,
    /// The card's memory for extents is full.
    NoSpace = 6,
    /// All device objects, queues or address spaces of the card are taken.
    NoResources = 7,
    /// The object is in use: a queue runs that must be stopped first.
    Busy = 8,
    /// The update was made against another generation of the address space.
    StaleGeneration = 9,
    /// An extent to add overlaps one that the address space holds.
    Overlap = 10,
    /// An extent to remove is not held with exactly this start, length, bus address and permission.
    NotMapped = 11,
    /// The queue may run only through a translated address space, and its space is not translated.
    NotTranslated = 12,
    /// The card couldn't read or write the command's payload, or it isn't inside the mailbox's window.
    PayloadDma = 13,
    /// The card, as its capability registers say, has no such function.
    NotSupported = 14,
    /// The firmware failed. The state of the command's object is unknown: reset the card.
    Internal = 15,
}

impl ErrorCode {
    /// Every code, in the order of its number.
    pub const ALL: [ErrorCode; 15] = [
        Self::UnknownOpcode,
        Self::InvalidArgument,
        Self::NoSuchDevice,
        Self::NoSuchQueue,
        Self::NoSuchAddressSpace,
        Self::NoSpace,
        Self::NoResources,
        Self::Busy,
        Self::StaleGeneration,
        Self::Overlap,
        Self::NotMapped,
        Self::NotTranslated,
        Self::PayloadDma,
        Self::NotSupported,
        Self::Internal,
    ];

    /// The code of a completion's `status`, or `None` for success and for a number that isn't in the table.
    pub fn from_status(status: u16) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| *code as u16 == status)
    }

    /// What happened, in a few words for a log.
    pub const fn text(self) -> &'static str {
        match self {
            Self::UnknownOpcode => "unknown opcode",
            Self::InvalidArgument => "invalid argument",
            Self::NoSuchDevice => "no such device",
            Self::NoSuchQueue => "no such queue",
            Self::NoSuchAddressSpace => "no such address space",
            Self::NoSpace => "no memory left for extents",
            Self::NoResources => "no free device, queue or address space",
            Self::Busy => "object in use",
            Self::StaleGeneration => "stale generation",
            Self::Overlap => "extent overlaps another",
            Self::NotMapped => "extent not mapped",
            Self::NotTranslated => "address space not translated",
            Self::PayloadDma => "payload not readable or writable",
            Self::NotSupported => "not supported by this card",
            Self::Internal => "firmware failure",
        }
    }
}

/// Status of a completion whose command succeeded.
pub const STATUS_OK: u16 = 0;
