// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a piece of work costs: time, and instructions of the whole guest where QEMU counts them.

use std::arch::asm;
use std::time::{Duration, Instant};

/// The cost of one piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    pub nanoseconds: u64,
    /// Instructions that the guest executed meanwhile, kernel and programs together; `None` if nobody counts them.
    pub instructions: Option<u64>,
}

impl Cost {
    /// Does the work and says what it cost.
    pub fn of<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let begin = (Instant::now(), instructions());
        let result = work();
        let end = (instructions(), begin.0.elapsed());
        (result, Self::between(begin.1, end.0, end.1))
    }

    fn between(begin: Option<u64>, end: Option<u64>, time: Duration) -> Self {
        Self {
            nanoseconds: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
            // A counter that ran backwards would be none.
            instructions: end
                .zip(begin)
                .and_then(|(end, begin)| end.checked_sub(begin)),
        }
    }
}

/// Instructions that the guest has executed since it began, if QEMU runs with the plugin that counts them.
///
/// The plugin (tests/bench/count_instructions.c) knows the no-operation below by its displacement, and puts the count
/// into RAX before it is executed. For everybody else it does nothing, and RAX stays 0.
pub fn instructions() -> Option<u64> {
    let count: u64;
    // SAFETY: a no-operation that accesses no memory; with or without the plugin, nothing but RAX changes.
    unsafe {
        asm!(
            ".byte 0x0f, 0x1f, 0x84, 0x00, 0x4d, 0x4f, 0x4f, 0x52",
            inout("rax") 0u64 => count,
            options(nomem, nostack, preserves_flags)
        );
    }
    (count != 0).then_some(count)
}

/// Instructions of the loop that [`check`] counts.
pub const CHECK: u64 = 1_000_000;

/// What the counter says of a loop of [`CHECK`] instructions: never less, and little more if it is to be believed.
pub fn check() -> Option<u64> {
    // Of several, because an interrupt in between is counted as well.
    (0..5).filter_map(|_| Cost::of(spin).1.instructions).min()
}

fn spin() {
    // SAFETY: two instructions a turn, on one register, and the flags.
    unsafe {
        asm!("2: dec {turns}", "jnz 2b", turns = inout(reg) CHECK / 2 => _, options(nomem, nostack));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_counts_on_a_real_processor() {
        assert_eq!(instructions(), None);
        assert_eq!(check(), None);
        let (result, cost) = Cost::of(|| 7);
        assert_eq!((result, cost.instructions), (7, None));
    }

    #[test]
    fn a_count_needs_both_ends_in_their_order() {
        let between = |begin, end| Cost::between(begin, end, Duration::from_micros(2));
        assert_eq!(between(Some(10), Some(25)).instructions, Some(15));
        assert_eq!(between(Some(10), None).instructions, None);
        assert_eq!(between(Some(25), Some(10)).instructions, None);
        assert_eq!(between(None, None).nanoseconds, 2000);
    }
}
