// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Messages between the host driver and the card's control processor (CP).
//!
//! Three rings in host memory carry them, each a power of two of fixed-size entries:
//!
//! | ring       | entry          | producer | consumer | how the consumer knows that an entry is new |
//! |------------|----------------|----------|----------|----------------------------------------------|
//! | submission | [`Command`]    | driver   | card     | the `CMDQ_TAIL` register                     |
//! | completion | [`Completion`] | card     | driver   | `sequence` is the one expected next          |
//! | event      | [`Event`]      | card     | driver   | `sequence` is the one expected next          |
//!
//! A sequence number starts at 1 when the ring is enabled, grows by one an entry and is never 0, so a
//! zeroed ring holds no valid entry. The card writes an entry's `sequence` last. The completion ring has
//! as many entries as the submission ring and can't overflow, because a command's slot is reused only
//! after its completion was taken.
//!
//! A card without an IOMMU of its own carries the same messages in its mailbox, windows of its registers,
//! one command and one event at a time: there the platform's IOMMU translates all its DMA, for whoever owns
//! a device, so no ring of the driver's could lie in host memory. The sequence numbers are the same.
//!
//! All integers are little-endian. Reserved fields are zero when written and ignored when read.
//! Bus addresses are what the card puts on the bus (the DMA API's `dma_addr_t`); commands, completions
//! and events never pass through the on-chip IOMMU, virtqueue memory always does.

mod command;
mod completion;
mod error;
mod event;
mod extent;
mod ids;

pub use command::*;
pub use completion::*;
pub use error::*;
pub use event::*;
pub use extent::*;
pub use ids::*;

/// The interface's major version. A driver refuses a card whose major version differs.
pub const INTERFACE_MAJOR: u16 = 1;

/// The interface's minor version. It grows when something is added that an older driver may ignore.
pub const INTERFACE_MINOR: u16 = 0;

/// The value of the `MAGIC` register: "MOOR" in ASCII, first letter in the lowest byte.
pub const MAGIC: u32 = u32::from_le_bytes(*b"MOOR");

/// Sequence number of a ring's first entry.
pub const FIRST_SEQUENCE: u32 = 1;

/// The sequence number that follows `sequence`; 0 is skipped.
pub const fn next_sequence(sequence: u32) -> u32 {
    match sequence.wrapping_add(1) {
        0 => FIRST_SEQUENCE,
        next => next,
    }
}
