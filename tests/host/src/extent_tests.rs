// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Extents against a naive model: a map of single pages.

use crate::extent::{changes, digest, Difference, Extent, Merged, Permission};
use crate::wire;
use proptest::prelude::*;
use std::collections::BTreeMap;

const PAGE: u64 = wire::IOMMU_PAGE_SIZE;

/// What every page translates to.
type Pages = BTreeMap<u64, (u64, Permission)>;

fn pages(extents: &[Extent]) -> Pages {
    let mut map = Pages::new();
    for extent in extents {
        for offset in (0..extent.length).step_by(PAGE as usize) {
            let old = map.insert(
                extent.iova + offset,
                (extent.bus + offset, extent.permission),
            );
            assert_eq!(old, None, "page mapped twice");
        }
    }
    map
}

fn extents_of(pages: &Pages) -> Vec<Extent> {
    let singles = pages.iter().map(|(&iova, &(bus, permission))| Extent {
        iova,
        bus,
        length: PAGE,
        permission,
    });
    Merged::new(singles).collect()
}

/// Applies changes as the card does: in order, refusing overlaps and what isn't held exactly.
fn apply(held: &[Extent], changes: impl Iterator<Item = wire::Extent>) -> Vec<wire::Extent> {
    let mut table: BTreeMap<u64, wire::Extent> = held
        .iter()
        .map(|extent| (extent.iova, extent.to_wire(wire::ExtentOperation::Add)))
        .collect();
    for mut change in changes {
        let operation = wire::ExtentOperation::from_number(change.operation.get());
        change.operation = (wire::ExtentOperation::Add as u32).into();
        let iova = change.iova.get();
        match operation {
            Some(wire::ExtentOperation::Remove) => {
                assert_eq!(table.remove(&iova), Some(change), "removed what isn't held");
            }
            Some(wire::ExtentOperation::Add) => {
                let end = iova + change.length.get();
                let overlap = table
                    .values()
                    .any(|e| e.iova.get() < end && iova < e.iova.get() + e.length.get());
                assert!(!overlap, "added an overlap");
                table.insert(iova, change);
            }
            None => panic!("unknown operation"),
        }
    }
    table.into_values().collect()
}

fn permission() -> impl Strategy<Value = Permission> {
    prop_oneof![
        Just(Permission::Read),
        Just(Permission::Write),
        Just(Permission::ReadWrite),
    ]
}

/// Few pages with few targets, so that neighbours often merge and maps often share extents.
fn some_pages() -> impl Strategy<Value = Pages> {
    proptest::collection::btree_map(0u64..40, (0u64..4, permission()), 0..40).prop_map(|map| {
        map.into_iter()
            .map(|(page, (shift, permission))| {
                (page * PAGE, ((page + shift * 100) * PAGE, permission))
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn merging_keeps_what_is_translated(map in some_pages()) {
        prop_assert_eq!(pages(&extents_of(&map)), map);
    }

    #[test]
    fn merged_extents_are_maximal(map in some_pages()) {
        let extents = extents_of(&map);
        for pair in extents.windows(2) {
            let joins = pair[0].iova + pair[0].length == pair[1].iova
                && pair[0].bus + pair[0].length == pair[1].bus
                && pair[0].permission == pair[1].permission;
            prop_assert!(!joins, "{:?} should be one extent", pair);
        }
    }

    #[test]
    fn changes_lead_from_one_map_to_the_other(old in some_pages(), new in some_pages()) {
        let (held, wanted) = (extents_of(&old), extents_of(&new));
        let expected: Vec<_> =
            wanted.iter().map(|e| e.to_wire(wire::ExtentOperation::Add)).collect();
        prop_assert_eq!(apply(&held, changes(&held, &wanted)), expected);
    }

    #[test]
    fn changes_leave_common_extents_alone(old in some_pages(), new in some_pages()) {
        let (held, wanted) = (extents_of(&old), extents_of(&new));
        for change in changes(&held, &wanted) {
            let common = held.iter().chain(&wanted).filter(|e| {
                e.iova == change.iova.get() && held.contains(e) && wanted.contains(e)
            });
            prop_assert_eq!(common.count(), 0, "{:?} need not change", change);
        }
    }

    #[test]
    fn nothing_changes_between_equal_maps(map in some_pages()) {
        let extents = extents_of(&map);
        prop_assert_eq!(changes(&extents, &extents).count(), 0);
    }

    #[test]
    fn difference_is_what_only_the_left_has(old in some_pages(), new in some_pages()) {
        let (held, wanted) = (extents_of(&old), extents_of(&new));
        let naive: Vec<_> = held.iter().copied().filter(|e| !wanted.contains(e)).collect();
        prop_assert_eq!(Difference::new(&held, &wanted).collect::<Vec<_>>(), naive);
    }

    #[test]
    fn digests_tell_maps_apart(old in some_pages(), new in some_pages()) {
        prop_assert_eq!(
            digest(&extents_of(&old)) == digest(&extents_of(&new)),
            old == new
        );
    }
}

fn extent(iova: u64, bus: u64, length: u64) -> Extent {
    Extent {
        iova,
        bus,
        length,
        permission: Permission::ReadWrite,
    }
}

#[test]
fn both_ends_of_the_address_range_are_usable() {
    assert!(extent(0, 0, PAGE).is_valid(64, 64));
    assert!(extent(u64::MAX - PAGE + 1, 0, PAGE).is_valid(64, 64));
    assert!(extent(0, 0, 1 << 63).is_valid(64, 64));
    assert!(extent(1 << 63, 0, 1 << 63).is_valid(64, 64));
    assert!(extent((1 << 48) - PAGE, 0, PAGE).is_valid(48, 52));
}

#[test]
fn what_the_card_cannot_have_is_refused() {
    assert!(!extent(0, 0, 0).is_valid(64, 64), "empty");
    assert!(!extent(1, 0, PAGE).is_valid(64, 64), "unaligned start");
    assert!(
        !extent(0, 512, PAGE).is_valid(64, 64),
        "unaligned bus address"
    );
    assert!(!extent(0, 0, PAGE + 1).is_valid(64, 64), "unaligned length");
    assert!(
        !extent(u64::MAX - PAGE + 1, 0, 2 * PAGE).is_valid(64, 64),
        "wraps"
    );
    assert!(
        !extent(0, u64::MAX - PAGE + 1, 2 * PAGE).is_valid(64, 64),
        "bus wraps"
    );
    assert!(
        !extent((1 << 48) - PAGE, 0, 2 * PAGE).is_valid(48, 64),
        "beyond the IOVA bits"
    );
    assert!(
        !extent(0, (1 << 40) - PAGE, 2 * PAGE).is_valid(64, 40),
        "beyond the bus bits"
    );
}

#[test]
fn neighbours_across_the_middle_do_not_overflow() {
    let halves = [extent(0, 0, 1 << 63), extent(1 << 63, 1 << 63, 1 << 63)];
    // All 2^64 bytes have a length that no message can carry, so the halves stay apart.
    assert_eq!(Merged::new(halves.into_iter()).collect::<Vec<_>>(), halves);
}
