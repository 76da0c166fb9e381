// SPDX-License-Identifier: GPL-2.0-only

//! A limit for lines in the log that whoever owns a device, or the card, can cause at will.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Lines before the limit sets in.
const FREE: u32 = 10;

/// Counts occurrences and says which of them are worth a line: the first few, then every doubling. So
/// the log holds how it began and how often it happened, and never more than some dozens of lines.
pub(crate) struct Limit(Atomic<u32>);

impl Limit {
    /// Nothing has occurred.
    pub(crate) fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// How often it has occurred.
    pub(crate) fn total(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Counts one more; returns the count if it is worth a line.
    pub(crate) fn count(&self) -> Option<u32> {
        let count = self.0.fetch_add(1, Relaxed).wrapping_add(1);

        (count <= FREE || count.is_power_of_two()).then_some(count)
    }
}
