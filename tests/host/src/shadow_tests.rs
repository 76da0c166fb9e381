// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Long random sequences of map operations with failures, and the edges of single functions.

use crate::check::{check, decode, CommandFault, Fault, Operation, Piece, Sequence, BASES, PAGES};
use crate::iommu::fallback::{covers, may_serve_on, Failure};
use crate::iommu::shadow::{Batch, Extent, Permission, PlanError, Shadow};
use crate::wire::{self, AddressSpaceMode, ErrorCode};
use proptest::prelude::*;
use std::collections::BTreeMap;

const PAGE: u64 = wire::IOMMU_PAGE_SIZE;

/// Short pieces at few places, so that neighbours often merge and maps often share extents.
fn piece() -> impl Strategy<Value = Piece> {
    let piece = (0..PAGES, 1u64..8, 0u64..4, 0u8..3);
    piece.prop_map(|(page, count, shift, permission)| Piece {
        page,
        count,
        // Most are alike.
        shift: shift.saturating_sub(2),
        permission: permission.saturating_sub(1),
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => piece().prop_map(Operation::Map),
        4 => (0..PAGES, 1u64..8).prop_map(|(page, count)| Operation::Unmap(page, count)),
        1 => (0..PAGES, 1..PAGES).prop_map(|(page, count)| Operation::Unmap(page, count)),
        3 => proptest::collection::vec(piece(), 0..20).prop_map(Operation::SetMap),
        3 => piece().prop_map(Operation::SetMapWith),
        3 => (0..PAGES, 1u64..8).prop_map(|(page, count)| Operation::SetMapWithout(page, count)),
        1 => (0..PAGES, 1u64..8).prop_map(|(page, count)| Operation::UnmapPart(page, count)),
        2 => any::<bool>().prop_map(|allow_identity| Operation::Restart { allow_identity }),
        1 => Just(Operation::ResetMap),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    let command = prop_oneof![
        3 => Just(CommandFault::Refused(ErrorCode::NoSpace)),
        1 => Just(CommandFault::Refused(ErrorCode::StaleGeneration)),
        2 => Just(CommandFault::NotIssued),
        1 => any::<bool>().prop_map(|carried_out| CommandFault::NoAnswer { carried_out }),
    ];
    prop_oneof![
        3 => (0u32..4, command).prop_map(|(turn, fault)| Fault::Command(turn, fault)),
        1 => (0u32..8).prop_map(Fault::Allocation),
        3 => Just(Fault::Full),
    ]
}

fn sequence() -> impl Strategy<Value = Sequence> {
    let step = (operation(), proptest::option::weighted(0.2, fault()));
    (
        proptest::sample::select(BASES.to_vec()),
        prop_oneof![2 => Just(64usize), 1 => 1usize..16],
        1u16..6,
        proptest::collection::vec(step, 1..120),
    )
        .prop_map(|(base, limit, max_batch, steps)| Sequence {
            base,
            limit,
            max_batch,
            steps,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn driver_card_and_model_agree(sequence in sequence()) {
        check(&sequence);
    }

    #[test]
    fn bytes_are_sequences(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&decode(&bytes));
    }
}

/// Extents for pieces, those left out that overlap an earlier one, and what each page translates to.
fn extents(pieces: &[Piece]) -> (Vec<Extent>, BTreeMap<u64, (u64, u8)>) {
    let mut extents = BTreeMap::new();
    let mut pages = BTreeMap::new();
    for piece in pieces {
        let places = piece.page..piece.page + piece.count;
        if places.clone().any(|page| pages.contains_key(&page)) {
            continue;
        }
        let permission = match piece.permission {
            0 => Permission::Read,
            _ => Permission::ReadWrite,
        };
        pages.extend(places.map(|page| (page, (page + piece.shift, piece.permission))));
        let extent = Extent {
            iova: piece.page * PAGE,
            bus: (piece.page + piece.shift) * PAGE,
            length: piece.count * PAGE,
            permission,
        };
        extents.insert(piece.page, extent);
    }
    (extents.into_values().collect(), pages)
}

proptest! {
    /// What translates alike is the same, however it is cut.
    #[test]
    fn covering_is_what_pages_say(
        pieces in proptest::collection::vec(piece(), 0..12),
        other in proptest::collection::vec(piece(), 0..12),
        mode in 0..3,
        missing in 0..PAGES,
    ) {
        let (held, held_pages) = extents(&pieces);
        // Of two random maps one hardly ever covers the other. The same page by page does, and not if one is missing.
        let single = |(&page, &(target, permission)): (&u64, &(u64, u8))| Piece {
            page,
            count: 1,
            shift: target - page,
            permission,
        };
        let mut other = other;
        if mode != 0 {
            other.splice(..0, held_pages.iter().map(single));
        }
        if mode == 1 {
            other.retain(|piece| piece.page != missing);
        }
        let (wanted, wanted_pages) = extents(&other);
        let is_covered = held_pages.iter().all(|(page, to)| wanted_pages.get(page) == Some(to));
        prop_assert_eq!(covers(wanted.iter().copied(), held.iter().copied()), is_covered);
        let mut shadow = shadow();
        let plan = shadow.plan_all(held.iter().copied()).unwrap();
        apply(&mut shadow, plan);
        prop_assert_eq!(covers(wanted.iter().copied(), shadow.extents().iter().copied()), is_covered);
        prop_assert!(covers(held.iter().copied(), shadow.extents().iter().copied()));
    }
}

fn pages(page: u64, count: u64) -> Piece {
    Piece {
        page,
        count,
        shift: 0,
        permission: 0,
    }
}

/// On a card with room for `limit` extents, nothing of which fails by itself.
fn check_on_card(limit: usize, steps: &[Operation]) {
    check(&Sequence {
        base: BASES[0],
        limit,
        max_batch: 2,
        steps: steps.iter().map(|step| (step.clone(), None)).collect(),
    });
}

/// vhost hides that a batch failed, and goes on asking for all of it. What else is unmapped meanwhile must go, and the
/// rest must stay; [`check()`] says so.
#[test]
fn what_had_no_room_does_not_close_the_space_later() {
    check_on_card(
        2,
        &[
            Operation::SetMap(vec![pages(0, 4), pages(10, 1)]),
            Operation::SetMap(vec![pages(0, 4), pages(10, 1), pages(20, 1), pages(30, 1)]),
            Operation::SetMap(vec![pages(0, 4), pages(20, 1), pages(30, 1)]),
        ],
    );
}

/// A hole takes an extent more, for which a full card has no room. The longer side stays.
#[test]
fn hole_in_an_extent_of_a_full_card() {
    for gone in [Operation::Unmap(2, 1), Operation::SetMapWithout(2, 1)] {
        check_on_card(
            2,
            &[Operation::SetMap(vec![pages(0, 8), pages(20, 1)]), gone],
        );
    }
}

const RESTART: Operation = Operation::Restart {
    allow_identity: false,
};

/// Three ranges in a row and one by itself fill a card with room for two extents.
fn full_card() -> Operation {
    Operation::SetMap(vec![pages(0, 4), pages(4, 2), pages(6, 3), pages(20, 1)])
}

/// The shorter side of the hole waits. There is room for it as soon as something else is gone, and no start before.
#[test]
fn what_had_no_room_is_back_when_there_is_some() {
    check_on_card(
        2,
        &[
            full_card(),
            Operation::Unmap(4, 2),
            RESTART,
            Operation::Unmap(20, 1),
            RESTART,
        ],
    );
}

/// A second hole, above what waits already.
#[test]
fn what_waits_is_no_part_of_what_is_torn() {
    let row = [(0, 2), (2, 2), (4, 2), (6, 1), (7, 2), (20, 1)];
    let row = row.map(|(page, count)| pages(page, count));
    check_on_card(
        2,
        &[
            Operation::SetMap(row.to_vec()),
            Operation::Unmap(2, 2),
            Operation::SetMapWithout(6, 1),
            RESTART,
        ],
    );
}

/// It doesn't come back if its owner has unmapped it meanwhile, or mapped something else there.
#[test]
fn what_waits_can_be_unmapped_and_replaced() {
    let other = Piece {
        shift: 1,
        ..pages(6, 3)
    };
    for then in [
        vec![Operation::Unmap(6, 3), RESTART],
        vec![Operation::ResetMap, RESTART],
        vec![Operation::SetMap(vec![other]), RESTART],
        vec![
            Operation::Map(pages(6, 3)),
            Operation::Map(pages(4, 2)),
            RESTART,
        ],
    ] {
        let steps = [vec![full_card(), Operation::Unmap(4, 2)], then].concat();
        check_on_card(2, &steps);
    }
}

/// What the fuzzer has found worth keeping, and what it begins with.
#[test]
fn seeds_of_the_fuzzer_hold() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds");
    let mut count = 0;
    for seed in std::fs::read_dir(folder).expect("the folder of seeds") {
        check(&decode(&std::fs::read(seed.unwrap().path()).unwrap()));
        count += 1;
    }
    assert!(count > 0, "no seeds in {folder}");
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
    for (extent, what) in [
        (extent(0, 0, 0), "empty"),
        (extent(1, 0, PAGE), "unaligned start"),
        (extent(0, 512, PAGE), "unaligned bus address"),
        (extent(0, 0, PAGE + 1), "unaligned length"),
        (extent(u64::MAX - PAGE + 1, 0, 2 * PAGE), "wraps"),
        (extent(0, u64::MAX - PAGE + 1, 2 * PAGE), "bus wraps"),
    ] {
        assert!(!extent.is_valid(64, 64), "{what}");
    }
    let beyond_iova = extent((1 << 48) - PAGE, 0, 2 * PAGE);
    assert!(!beyond_iova.is_valid(48, 64), "beyond the IOVA bits");
    let beyond_bus = extent(0, (1 << 40) - PAGE, 2 * PAGE);
    assert!(!beyond_bus.is_valid(64, 40), "beyond the bus bits");
}

fn shadow() -> Shadow {
    Shadow::new(AddressSpaceMode::Blocked, 1)
}

/// Applies a plan on a card that takes everything.
fn apply(shadow: &mut Shadow, plan: crate::iommu::shadow::Plan) -> Vec<wire::Extent> {
    let mut sent = Vec::new();
    let mut batch = Batch::new(64).unwrap();
    let result = shadow.apply(plan, &mut batch, |_, generation, changes| {
        sent.extend_from_slice(changes);
        Ok::<_, ()>(generation + 1)
    });
    assert_eq!(result, Ok(()));
    sent
}

#[test]
fn neighbours_across_the_middle_do_not_overflow() {
    let halves = [extent(0, 0, 1 << 63), extent(1 << 63, 1 << 63, 1 << 63)];
    let mut shadow = shadow();
    for half in halves {
        let plan = shadow.plan_add(half).unwrap();
        assert_eq!(apply(&mut shadow, plan).len(), 1);
    }
    // All 2^64 bytes have a length that no message can carry, so the halves stay apart.
    assert!(shadow.extents().iter().eq(&halves));
    let plan = shadow.plan_all(halves.into_iter()).unwrap();
    assert!(apply(&mut shadow, plan).is_empty());
    // And both go at once.
    let plan = shadow.plan_remove(0, u64::MAX).unwrap();
    assert_eq!(apply(&mut shadow, plan).len(), 2);
    assert_eq!(shadow.extents().len(), 0);
}

#[test]
fn a_hole_in_an_extent_leaves_both_ends() {
    let mut shadow = shadow();
    let plan = shadow.plan_add(extent(0, 16 * PAGE, 8 * PAGE)).unwrap();
    apply(&mut shadow, plan);
    let plan = shadow.plan_remove(3 * PAGE, 5 * PAGE - 1).unwrap();
    assert_eq!(apply(&mut shadow, plan).len(), 3);
    let rest = [
        extent(0, 16 * PAGE, 3 * PAGE),
        extent(5 * PAGE, 21 * PAGE, 3 * PAGE),
    ];
    assert!(shadow.extents().iter().eq(&rest));
}

#[test]
fn nonsense_is_not_planned() {
    let mut shadow = shadow();
    for (first, last) in [
        (1, PAGE - 1),
        (0, PAGE - 2),
        (PAGE, 0),
        (2 * PAGE, PAGE - 1),
    ] {
        let plan = shadow.plan_remove(first, last);
        assert_eq!(
            plan.err(),
            Some(PlanError::Invalid),
            "{first:#x} to {last:#x}"
        );
    }
    let overlap = [extent(0, 0, 2 * PAGE), extent(PAGE, 0, PAGE)];
    let unsorted = [extent(PAGE, 0, PAGE), extent(0, 0, PAGE)];
    for extents in [overlap, unsorted] {
        let plan = shadow.plan_all(extents.into_iter());
        assert_eq!(plan.err(), Some(PlanError::Overlap));
    }
}

#[test]
fn only_an_addition_that_surely_failed_leaves_a_space_open() {
    assert!(may_serve_on(Failure::Unchanged, false));
    assert!(!may_serve_on(Failure::Unchanged, true));
    assert!(!may_serve_on(Failure::Unknown, false));
    assert!(!may_serve_on(Failure::Unknown, true));
}

/// A map with very many ranges costs what its changes cost.
#[test]
fn a_change_in_a_large_map_is_as_small_as_in_a_small_one() {
    let mut shadow = shadow();
    // Every other page, so that nothing merges.
    let maps = || (0..65536u64).map(|index| extent(2 * index * PAGE, 2 * index * PAGE, PAGE));
    let plan = shadow.plan_all(maps()).unwrap();
    assert_eq!(apply(&mut shadow, plan).len(), 65536);
    let middle = 65535 * PAGE;
    let plan = shadow.plan_add(extent(middle, middle, PAGE)).unwrap();
    // Both neighbours are joined.
    assert_eq!(apply(&mut shadow, plan).len(), 3);
    let plan = shadow.plan_remove(middle, middle + PAGE - 1).unwrap();
    assert_eq!(apply(&mut shadow, plan).len(), 3);
    let plan = shadow.plan_all(maps()).unwrap();
    assert!(apply(&mut shadow, plan).is_empty());
}

/// Everything that the largest card holds: 65536 extents of 16 MiB, 1 TiB of I/O virtual addresses.
#[test]
fn a_tebibyte_is_mapped_changed_and_unmapped() {
    const SIZE: u64 = 16 << 20;
    let mut shadow = shadow();
    // The same memory again and again, so that nothing is contiguous there. Permissions alternate.
    let permission = |index: u64| match index % 2 {
        0 => Permission::Read,
        _ => Permission::ReadWrite,
    };
    let map = |index: u64| Extent {
        permission: permission(index),
        ..extent(index * SIZE, SIZE, SIZE)
    };
    let maps = || (0..65536).map(map);
    let plan = shadow.plan_all(maps()).unwrap();
    assert_eq!(apply(&mut shadow, plan).len(), 65536);

    // The last page is taken away, and all of it is given back: the extent is made shorter, and long again.
    let last = 65536 * SIZE - 1;
    let plan = shadow.plan_remove(last - PAGE + 1, last).unwrap();
    assert_eq!(apply(&mut shadow, plan).len(), 2);
    let plan = shadow.plan_all(maps()).unwrap();
    assert_eq!(apply(&mut shadow, plan).len(), 2);

    let plan = shadow.plan_remove(0, last).unwrap();
    assert_eq!(apply(&mut shadow, plan).len(), 65536);
    let plan = shadow.plan_all(std::iter::empty()).unwrap();
    assert!(apply(&mut shadow, plan).is_empty());
}
