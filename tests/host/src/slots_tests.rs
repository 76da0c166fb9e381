// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The bounce pool's slots against a naive model: a list of runs.

use crate::slots::{Loan, Slot, Slots};
use proptest::prelude::*;

/// A run as the model has it: first slot, number of slots, for whom.
type Run = (usize, usize, Loan);

fn pool(len: usize) -> Slots<Vec<Slot>> {
    Slots::new(vec![Slot::FREE; len])
}

fn loan(receive: bool) -> Loan {
    Loan {
        phys: 0x1000,
        len: 1,
        receive,
    }
}

/// Slots that a direction's runs have together.
fn used(runs: &[Run], receive: bool) -> usize {
    let of_direction = runs.iter().filter(|(_, _, loan)| loan.receive == receive);
    of_direction.map(|(_, count, _)| count).sum()
}

fn overlap(one: &Run, other: &Run) -> bool {
    one.0 < other.0 + other.1 && other.0 < one.0 + one.1
}

/// Whether there are `count` free neighbours anywhere.
fn has_room(runs: &[Run], len: usize, count: usize) -> bool {
    (0..len.saturating_sub(count - 1)).any(|first| {
        !runs
            .iter()
            .any(|run| overlap(run, &(first, count, loan(false))))
    })
}

#[derive(Clone, Debug)]
enum Step {
    Take(usize, bool),
    /// The number of the run among those there are.
    Release(usize),
    /// A slot, whatever is there.
    ReleaseAt(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..7, any::<bool>()).prop_map(|(count, receive)| Step::Take(count, receive)),
        3 => any::<usize>().prop_map(Step::Release),
        1 => (0usize..40).prop_map(Step::ReleaseAt),
    ]
}

proptest! {
    /// Every run is where the model has none, is found by each of its slots until it is released, and is refused
    /// only if there is no room or its direction has its half.
    #[test]
    fn slots_agree_with_a_list_of_runs(len in 1usize..34, steps in proptest::collection::vec(step(), 0..200)) {
        let mut slots = pool(len);
        let mut runs: Vec<Run> = Vec::new();

        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Take(count, receive) => {
                    let loan = Loan { phys: number as u64 * 0x1000, len: number + 1, receive };
                    match slots.take(count, loan) {
                        Some(first) => {
                            let run = (first, count, loan);
                            prop_assert!(count > 0 && first + count <= len);
                            prop_assert!(!runs.iter().any(|other| overlap(other, &run)));
                            runs.push(run);
                            prop_assert!(used(&runs, receive) <= len / 2);
                        }
                        None => prop_assert!(
                            count == 0
                                || used(&runs, receive) + count > len / 2
                                || !has_room(&runs, len, count)
                        ),
                    }
                }
                Step::Release(index) => {
                    if !runs.is_empty() {
                        let (first, _, loan) = runs.swap_remove(index % runs.len());
                        prop_assert_eq!(slots.release(first), Some(loan));
                    }
                }
                Step::ReleaseAt(slot) => {
                    let known = runs.iter().position(|&(first, _, _)| first == slot);
                    let wanted = known.map(|index| runs.swap_remove(index).2);
                    prop_assert_eq!(slots.release(slot), wanted);
                }
            }
            prop_assert_eq!(slots.used(), used(&runs, false) + used(&runs, true));
            for slot in 0..len + 2 {
                let run = runs.iter().find(|run| overlap(run, &(slot, 1, loan(false))));
                prop_assert_eq!(slots.find(slot), run.map(|&(first, _, loan)| (first, loan)));
            }
        }
    }
}

#[test]
fn a_direction_gets_half_and_no_more() {
    let mut slots = pool(8);
    for _ in 0..4 {
        assert!(slots.take(1, loan(true)).is_some());
    }
    assert_eq!(slots.take(1, loan(true)), None);
    for _ in 0..4 {
        assert!(slots.take(1, loan(false)).is_some());
    }
    assert_eq!(slots.take(1, loan(false)), None);
}

#[test]
fn a_run_that_came_back_is_found_before_the_place_to_look_next() {
    let mut slots = pool(8);
    let first = slots.take(4, loan(true)).unwrap();
    assert!(slots.take(3, loan(false)).is_some());
    slots.release(first).unwrap();
    // One slot is left behind the others, too few for this.
    assert_eq!(slots.take(2, loan(true)), Some(first));
}

#[test]
fn a_run_does_not_go_round_the_end() {
    let mut slots = pool(8);
    let first = slots.take(3, loan(true)).unwrap();
    assert_eq!(slots.take(4, loan(false)), Some(3));
    slots.release(first).unwrap();
    // Slot 7 and slots 0 to 2 are free: four, but not in a row.
    assert_eq!(slots.take(4, loan(true)), None);
    assert_eq!(slots.take(3, loan(true)), Some(0));
}
