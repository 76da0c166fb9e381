// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The log on standard error: seconds since the start, level, part of the model, text.
//!
//! Guests can make the model log, so there is a limit: what goes beyond it is counted instead of written. That is
//! what the ready-made loggers lack.

use log::{LevelFilter, Log, Metadata, Record};
use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Lines a second, unless the user asked for everything.
const LIMIT: u32 = 200;

struct Logger {
    start: Instant,
    limit: u32,
    second: Mutex<Second>,
}

/// What was written in the second under way.
#[derive(Default)]
struct Second {
    number: u64,
    lines: u32,
    dropped: u32,
}

impl Second {
    /// Counts a line. Returns whether to write it, and how many were left out before it.
    fn admit(&mut self, now: Duration, limit: u32) -> (bool, u32) {
        let mut dropped = 0;
        if now.as_secs() != self.number {
            dropped = self.dropped;
            *self = Self {
                number: now.as_secs(),
                ..Self::default()
            };
        }
        self.lines = self.lines.saturating_add(1);
        let admitted = self.lines <= limit;
        self.dropped += u32::from(!admitted);
        (admitted, dropped)
    }
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        let now = self.start.elapsed();
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        let (admitted, dropped) = second.admit(now, self.limit);
        let mut text = String::new();
        if dropped > 0 {
            text = format!(
                "[{:12.6}] {dropped} lines were left out\n",
                now.as_secs_f64()
            );
        }
        if admitted {
            let part = record.target().trim_start_matches("mooring_sim::");
            let level = record.level().as_str().to_lowercase();
            text += &format!(
                "[{:12.6}] {level} {part}: {}\n",
                now.as_secs_f64(),
                record.args()
            );
        }
        // A log that can't be written is no reason to stop the card.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    fn flush(&self) {}
}

/// Logs warnings and errors, with 1 also what happens to the card, with 2 its details, and with 3 every access.
pub fn start(verbosity: u8) {
    let (level, limit) = match verbosity {
        0 => (LevelFilter::Warn, LIMIT),
        1 => (LevelFilter::Info, LIMIT),
        2 => (LevelFilter::Debug, u32::MAX),
        _ => (LevelFilter::Trace, u32::MAX),
    };
    static LOGGER: OnceLock<Logger> = OnceLock::new();
    let logger = LOGGER.get_or_init(|| Logger {
        start: Instant::now(),
        limit,
        second: Mutex::default(),
    });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_the_count_comes_with_the_next_second() {
        let mut second = Second::default();
        let first = Duration::from_millis(10);
        assert_eq!(second.admit(first, 2), (true, 0));
        assert_eq!(second.admit(first, 2), (true, 0));
        assert_eq!(second.admit(first, 2), (false, 0));
        assert_eq!(second.admit(first, 2), (false, 0));
        assert_eq!(second.admit(Duration::from_secs(5), 2), (true, 2));
        assert_eq!(second.admit(Duration::from_secs(6), 2), (true, 0));
    }
}
