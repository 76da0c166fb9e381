// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The limit of lines in the log: who comes later is told of, and what was left out is mentioned once.

use crate::window::{Window, LINES};
use proptest::prelude::*;

#[test]
fn a_storm_does_not_silence_who_comes_a_window_later() {
    let mut window = Window::NEW;
    let mut told = 0;

    for _ in 0..1000 {
        let (next, line) = window.count(0);
        window = next;
        told += u32::from(line.is_some());
    }
    assert_eq!(told, LINES);
    // The next owner's first one, and then no word of it any more.
    let (window, line) = window.count(1);
    assert_eq!(line, Some(1000 - LINES));
    let (window, line) = window.count(1);
    assert_eq!(line, Some(0));
    assert_eq!(window.count(7).1, Some(0));
}

#[test]
fn a_late_comer_does_not_turn_the_clock_back() {
    let (window, _) = Window::NEW.count(5);
    let (window, line) = window.count(4);
    assert_eq!(line, Some(0));
    assert_eq!(window, Window::NEW.count(5).0.count(5).0);
}

#[test]
fn counting_ends_at_the_top_and_not_at_zero() {
    let full = Window::from_word(u64::from(u32::MAX));
    assert_eq!(full.count(0), (full, None));
    assert_eq!(full.count(1).1, Some(u32::MAX - LINES));
}

proptest! {
    /// No window tells more than it may, and in the end every occurrence is told of or mentioned.
    #[test]
    fn each_is_told_or_mentioned(steps in proptest::collection::vec(0u32..2, 1..400)) {
        let mut window = Window::NEW;
        let mut now = 0;
        let (mut told, mut mentioned, mut in_window) = (0u32, 0, 0);

        for &step in &steps {
            now += step;
            if step != 0 {
                in_window = 0;
            }
            let (next, line) = Window::from_word(window.word()).count(now);
            window = next;
            if let Some(left_out) = line {
                told += 1;
                in_window += 1;
                mentioned += left_out;
            }
            prop_assert!(in_window <= LINES);
        }
        let (_, line) = window.count(now + 1);
        mentioned += line.unwrap();
        prop_assert_eq!(told + mentioned, steps.len() as u32);
    }
}
