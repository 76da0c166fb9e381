// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The formats that rings can have, as features and as options of the command line.

use clap::Args;

const INDIRECT_DESC: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const RING_PACKED: u64 = 1 << 34;

/// How rings are laid out and used.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Format {
    /// Use packed rings instead of split ones
    #[arg(long)]
    pub packed: bool,
    /// Use an event index: ring and be interrupted at an index
    #[arg(long)]
    pub event_index: bool,
    /// Use a table of indirect descriptors where a frame has several buffers
    #[arg(long)]
    pub indirect: bool,
}

impl Format {
    /// The feature bits that it needs.
    pub fn features(&self) -> u64 {
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        bit(self.packed, RING_PACKED)
            | bit(self.event_index, EVENT_IDX)
            | bit(self.indirect, INDIRECT_DESC)
    }
}
