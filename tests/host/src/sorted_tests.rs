// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Sorted lists against the standard library's ordered map.

use crate::iommu::list::{self, CHUNK};
use crate::iommu::sorted::{Keyed, Sorted};
use proptest::prelude::*;
use std::collections::BTreeSet;

impl Keyed for u64 {
    fn key(&self) -> u64 {
        *self
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(u64),
    Remove(u64),
    Push(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0u64..200).prop_map(Step::Insert),
        (0u64..200).prop_map(Step::Remove),
        (0u64..4).prop_map(Step::Push),
    ];
    proptest::collection::vec(step, 0..400)
}

/// Carries a step out on both.
fn carry_out(list: &mut Sorted<u64>, model: &mut BTreeSet<u64>, step: Step) {
    match step {
        Step::Insert(key) => {
            if model.insert(key) {
                list.reserve(1).unwrap();
                assert!(list.insert(key), "reserved, and yet there was no room");
            }
        }
        Step::Remove(key) => {
            let place = list.find(key);
            assert_eq!(list.get(place), model.range(key..).next());
            assert_eq!(list.before(place), model.range(..key).next_back());
            let found = list.get(place).copied();
            assert_eq!(list.remove(place), found);
            if let Some(found) = found {
                model.remove(&found);
            }
        }
        Step::Push(step) => {
            let key = model.last().map_or(0, |last| last + 1 + step);
            model.insert(key);
            list.push(key).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn holds_what_an_ordered_set_holds(steps in steps()) {
        let (mut list, mut model) = (Sorted::new(), BTreeSet::new());
        for step in steps {
            carry_out(&mut list, &mut model, step);
            prop_assert_eq!(list.len(), model.len());
            prop_assert!(list.iter().eq(&model));
        }
        for key in 0..=200 {
            prop_assert!(list.iter_from(list.find(key)).eq(model.range(key..)));
        }
    }

    /// However it was filled and emptied, it doesn't consist of many short chunks.
    #[test]
    fn chunks_do_not_crumble(steps in steps()) {
        let (mut list, mut model) = (Sorted::new(), BTreeSet::new());
        for step in steps {
            carry_out(&mut list, &mut model, step);
        }
        prop_assert!(list.num_chunks() <= enough_chunks(model.len()));
    }

    /// What stays is what was chosen, each once and in order, and in few chunks.
    #[test]
    fn retaining_keeps_what_was_chosen(steps in steps(), divisor in 1u64..12, rest in 0u64..3) {
        let (mut list, mut model) = (Sorted::new(), BTreeSet::new());
        for step in steps {
            carry_out(&mut list, &mut model, step);
        }
        let mut asked = Vec::new();
        list::fail_after(Some(0));
        list.retain(|key| {
            asked.push(*key);
            key % divisor == rest
        });
        list::fail_after(None);
        prop_assert!(asked.iter().eq(&model));
        model.retain(|key| key % divisor == rest);
        prop_assert_eq!(list.len(), model.len());
        prop_assert!(list.iter().eq(&model));
        prop_assert!(list.num_chunks() <= enough_chunks(model.len()));
    }

    #[test]
    fn no_memory_changes_nothing(keys in proptest::collection::btree_set(0u64..100, 0..60), successes in 0u32..4) {
        let mut list = Sorted::new();
        for &key in &keys {
            list.push(key).unwrap();
        }
        list::fail_after(Some(successes));
        let failed = (100..120).find(|&key| list.push(key).is_err() || list.reserve(2).is_err());
        list::fail_after(None);
        prop_assert!(failed.is_some());
        prop_assert!(list.iter().take(keys.len()).eq(&keys));
        prop_assert!(list.iter().is_sorted());
    }
}

/// As many chunks as there may be: any two in a row have more than half of a chunk's elements together.
fn enough_chunks(elements: usize) -> usize {
    1 + 2 * elements / (CHUNK / 2 + 1)
}

#[test]
fn what_few_elements_are_left_are_in_few_chunks() {
    let mut list = Sorted::new();
    for key in 0..1000u64 {
        list.push(key).unwrap();
    }
    for key in (0..1000u64).filter(|key| key % CHUNK as u64 != 0) {
        assert_eq!(list.remove(list.find(key)), Some(key));
    }
    assert!(
        list.num_chunks() <= enough_chunks(list.len()),
        "{} chunks",
        list.num_chunks()
    );
}

/// As vhost maps, and unmaps at close.
#[test]
fn filled_and_emptied_from_the_front() {
    let mut list = Sorted::new();
    for key in 0..1000u64 {
        list.reserve(1).unwrap();
        assert!(list.insert(key));
    }
    assert!(list.num_chunks() == 1000 / CHUNK, "full chunks, no halves");
    for key in 0..1000u64 {
        assert_eq!(list.remove(list.find(0)), Some(key));
    }
    assert_eq!((list.len(), list.num_chunks()), (0, 0));
}

#[test]
fn an_insertion_without_room_is_refused_and_loses_nothing() {
    let mut list = Sorted::new();
    for key in (0..40u64).step_by(2) {
        list.push(key).unwrap();
    }
    assert!(!list.insert(3), "no chunk was reserved");
    assert!(list.iter().copied().eq((0..40).step_by(2)));
}
