// SPDX-License-Identifier: GPL-2.0-only

//! A limit for lines in the log that whoever owns a device, or the card, can cause at will.
//!
//! Things that weigh differently have limits of their own, so that nobody can silence the one by repeating the other.

mod window;

use kernel::{
    fmt,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};
use window::Window;

/// How long a window is, in nanoseconds: a minute.
const WINDOW: i64 = 60_000_000_000;

/// Attempts to count while others count at the same time.
const ATTEMPTS: usize = 8;

/// Counts occurrences and says which of them are worth a line: the first [`window::LINES`] of each minute.
pub(crate) struct Limit {
    total: Atomic<u32>,
    window: Atomic<u64>,
    /// When window 0 has begun.
    start: Instant<Monotonic>,
}

/// What a line in the log says of those that were left out. Shown, it is how often it has occurred, with this one, and how
/// many of those before it the log doesn't have.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    /// How often it has occurred.
    pub(crate) total: u32,
    /// Lines left out that no line has mentioned yet.
    left_out: u32,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.left_out {
            0 => write!(f, "{}", self.total),
            left_out => write!(f, "{}, {} of them not logged", self.total, left_out),
        }
    }
}

impl Limit {
    /// Nothing has occurred.
    pub(crate) fn new() -> Self {
        Self {
            total: Atomic::new(0),
            window: Atomic::new(Window::NEW.word()),
            start: Instant::now(),
        }
    }

    /// How often it has occurred.
    pub(crate) fn total(&self) -> u32 {
        self.total.load(Relaxed)
    }

    /// Counts one more; says so if it is worth a line. May be called from any context.
    pub(crate) fn count(&self) -> Option<Line> {
        let total = self.total.fetch_add(1, Relaxed).wrapping_add(1);
        let window = self.start.elapsed().as_nanos() / WINDOW;
        let now = u32::try_from(window).unwrap_or(u32::MAX);
        let mut word = self.window.load(Relaxed);

        for _ in 0..ATTEMPTS {
            let (next, told) = Window::from_word(word).count(now);
            match self.window.cmpxchg(word, next.word(), Relaxed) {
                Ok(_) => return told.map(|left_out| Line { total, left_out }),
                Err(found) => word = found,
            }
        }
        // So many at once are too many for the log.
        None
    }
}
