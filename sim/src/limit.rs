// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A limit on how often a guest can make the model log.

use std::time::{Duration, Instant};

/// Messages that pass in one period.
const BURST: u32 = 10;

/// How long a period is.
const PERIOD: Duration = Duration::from_secs(5);

/// Lets a few messages through in each period.
#[derive(Default)]
pub(crate) struct LogLimit {
    begin: Option<Instant>,
    passed: u32,
    suppressed: u64,
}

impl LogLimit {
    /// Whether a message may be logged now. Tells how many weren't when the next period begins.
    pub fn allows(&mut self) -> bool {
        if self.begin.is_none_or(|begin| begin.elapsed() >= PERIOD) {
            if self.suppressed > 0 {
                log::warn!("{} more messages like these were left out", self.suppressed);
            }
            *self = Self {
                begin: Some(Instant::now()),
                ..Self::default()
            };
        }
        if self.passed < BURST {
            self.passed += 1;
            return true;
        }
        self.suppressed += 1;
        false
    }
}
