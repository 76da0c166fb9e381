// SPDX-License-Identifier: GPL-2.0-only

//! How many of the things that occur are told: pure, and shared with the host tests.
//!
//! Time comes in windows of equal length, which have numbers. The first [`LINES`] occurrences of each window are told, and the
//! first one also says how many were not, when something was last told of. So two windows that meet have no more than
//! twice as many, and whoever comes later is told of as if nobody had been before.
//!
//! # Invariants
//!
//! The number of the window lies in the upper half of a word, how often it has occurred in the window in the
//! lower half. A word can be replaced in one go, so that nobody needs a lock.

/// Occurrences of a window that are told.
pub(crate) const LINES: u32 = 10;

/// The window at hand, and what has occurred in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window(u64);

impl Window {
    /// Nothing has occurred, and it is window 0.
    pub(crate) const NEW: Self = Self(0);

    /// The inverse of [`Self::word()`].
    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// All of it in a word.
    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    /// Counts an occurrence in window `now`. Returns what is to be kept, and, if it is to be told, how many before it
    /// were not and have not been mentioned.
    ///
    /// A window before the one at hand is taken for that one: somebody has looked at the clock earlier and comes later.
    pub(crate) fn count(self, now: u32) -> (Self, Option<u32>) {
        // CAST: the halves of the word.
        let (window, count) = ((self.0 >> 32) as u32, self.0 as u32);
        let (window, count, told) = match now > window {
            true => (now, 1, Some(count.saturating_sub(LINES))),
            false => {
                let count = count.saturating_add(1);
                (window, count, (count <= LINES).then_some(0))
            }
        };

        (Self((u64::from(window) << 32) | u64::from(count)), told)
    }
}
