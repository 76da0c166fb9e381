// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The bounce pool's slots against a naive model: a list of runs.

use crate::slots::{Loan, Slot, Slots};
use proptest::prelude::*;

/// A run as the model has it: first slot, number of slots, for whom.
type Run = (usize, usize, Loan);

fn pool(len: usize) -> Slots<Vec<Slot>> {
    Slots::new(vec![Slot::FREE; len])
}

const LOAN: Loan = Loan {
    phys: 0x1000,
    len: 1,
};

/// Slots that the runs have together.
fn used(runs: &[Run]) -> usize {
    runs.iter().map(|(_, count, _)| count).sum()
}

fn overlap(one: &Run, other: &Run) -> bool {
    one.0 < other.0 + other.1 && other.0 < one.0 + one.1
}

/// Whether there are `count` free neighbours anywhere.
fn has_room(runs: &[Run], len: usize, count: usize) -> bool {
    (0..len.saturating_sub(count - 1))
        .any(|first| !runs.iter().any(|run| overlap(run, &(first, count, LOAN))))
}

#[derive(Clone, Debug)]
enum Step {
    Take(usize),
    /// The number of the run among those there are.
    Release(usize),
    /// A slot, whatever is there.
    ReleaseAt(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..7).prop_map(Step::Take),
        3 => any::<usize>().prop_map(Step::Release),
        1 => (0usize..40).prop_map(Step::ReleaseAt),
    ]
}

proptest! {
    /// Every run is where the model has none, is found by each of its slots until it is released, and is refused
    /// only if there is no room.
    #[test]
    fn slots_agree_with_a_list_of_runs(len in 1usize..34, steps in proptest::collection::vec(step(), 0..200)) {
        let mut slots = pool(len);
        let mut runs: Vec<Run> = Vec::new();

        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Take(count) => {
                    let loan = Loan { phys: number as u64 * 0x1000, len: number + 1 };
                    match slots.take(count, loan) {
                        Some(first) => {
                            let run = (first, count, loan);
                            prop_assert!(count > 0 && first + count <= len);
                            prop_assert!(!runs.iter().any(|other| overlap(other, &run)));
                            runs.push(run);
                        }
                        None => prop_assert!(
                            count == 0
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
            prop_assert_eq!(slots.used(), used(&runs));
            for slot in 0..len + 2 {
                let run = runs.iter().find(|run| overlap(run, &(slot, 1, LOAN)));
                prop_assert_eq!(slots.find(slot), run.map(|&(first, _, loan)| (first, loan)));
            }
        }
    }
}

/// What the kernel relies on for receiving: nothing that came and went before makes a slot unusable.
#[test]
fn runs_of_one_slot_can_be_had_until_all_are_taken() {
    let mut slots = pool(64);
    for round in 1..9 {
        let taken: Vec<_> = (0..64).map(|_| slots.take(1, LOAN).unwrap()).collect();
        assert_eq!(slots.take(1, LOAN), None);
        for first in taken.iter().step_by(round) {
            slots.release(*first).unwrap();
        }
        for _ in taken.iter().step_by(round) {
            slots.take(1, LOAN).unwrap();
        }
        (0..64).for_each(|first| assert_eq!(slots.release(first), Some(LOAN)));
    }
}

#[test]
fn a_run_that_came_back_is_found_before_the_place_to_look_next() {
    let mut slots = pool(8);
    let first = slots.take(4, LOAN).unwrap();
    assert!(slots.take(3, LOAN).is_some());
    slots.release(first).unwrap();
    // One slot is left behind the others, too few for this.
    assert_eq!(slots.take(2, LOAN), Some(first));
}

#[test]
fn a_run_does_not_go_round_the_end() {
    let mut slots = pool(8);
    let first = slots.take(3, LOAN).unwrap();
    assert_eq!(slots.take(4, LOAN), Some(3));
    slots.release(first).unwrap();
    // Slot 7 and slots 0 to 2 are free: four, but not in a row.
    assert_eq!(slots.take(4, LOAN), None);
    assert_eq!(slots.take(3, LOAN), Some(0));
}
