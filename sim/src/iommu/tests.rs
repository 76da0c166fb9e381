// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The IOMMU against a naive model: a map from page to page.

use std::collections::BTreeMap;

use mooring_firmware::hal::Iommu as _;
use mooring_hw_regs::wire::{
    AddressSpaceMode, ErrorCode, Extent, ExtentOperation, IOMMU_PAGE_SIZE, PERMISSION_READ,
    PERMISSION_WRITE,
};
use proptest::prelude::*;

use super::{Iommu, Piece};

const SPACES: u16 = 2;
/// I/O virtual pages of the tests; few, so that changes meet each other.
const PAGES: u64 = 24;
const CAPACITY: u32 = 8;
const BOTH: u32 = PERMISSION_READ | PERMISSION_WRITE;

fn extent(operation: ExtentOperation, iova: u64, bus: u64, pages: u64, permission: u32) -> Extent {
    Extent {
        iova: (iova * IOMMU_PAGE_SIZE).into(),
        bus: (bus * IOMMU_PAGE_SIZE).into(),
        length: (pages * IOMMU_PAGE_SIZE).into(),
        permission: permission.into(),
        operation: (operation as u32).into(),
    }
}

fn add(iova: u64, bus: u64, pages: u64, permission: u32) -> Extent {
    extent(ExtentOperation::Add, iova, bus, pages, permission)
}

fn update(iommu: &mut Iommu, space: u16, extents: &[Extent]) -> Result<(), ErrorCode> {
    iommu.begin(space);
    for extent in extents {
        let operation = ExtentOperation::from_number(extent.operation.get()).unwrap();
        if let Err(code) = iommu.stage(space, operation, extent) {
            iommu.abort(space);
            return Err(code);
        }
    }
    iommu.commit(space);
    Ok(())
}

fn bus(iommu: &mut Iommu, space: u16, iova: u64, permission: u32) -> Option<u64> {
    let mut pieces = Vec::new();
    iommu
        .translate(space, iova, 1, permission, &mut pieces)
        .ok()?;
    pieces.first().map(|piece| piece.bus)
}

/// What an address space is, page by page.
#[derive(Clone, Default)]
struct Naive {
    mode: Option<AddressSpaceMode>,
    /// Every mapped page: its bus page, permission, and the extent that it belongs to.
    pages: BTreeMap<u64, (u64, u32, usize)>,
    extents: BTreeMap<usize, (u64, u64, u64, u32)>,
    next: usize,
}

impl Naive {
    fn apply(&mut self, extent: &Extent) -> Result<(), ErrorCode> {
        let page = |value: u64| value / IOMMU_PAGE_SIZE;
        let (iova, bus) = (page(extent.iova.get()), page(extent.bus.get()));
        let (length, permission) = (page(extent.length.get()), extent.permission.get());
        if extent.operation.get() == ExtentOperation::Add as u32 {
            if (iova..iova + length).any(|page| self.pages.contains_key(&page)) {
                return Err(ErrorCode::Overlap);
            }
            for offset in 0..length {
                self.pages
                    .insert(iova + offset, (bus + offset, permission, self.next));
            }
            self.extents
                .insert(self.next, (iova, bus, length, permission));
            self.next += 1;
            return Ok(());
        }
        let found = self
            .extents
            .iter()
            .find(|(_, held)| **held == (iova, bus, length, permission));
        let (number, _) = found.ok_or(ErrorCode::NotMapped)?;
        let number = *number;
        self.extents.remove(&number);
        self.pages.retain(|_, page| page.2 != number);
        Ok(())
    }

    /// Bus addresses of the bytes of an access, or `None` if it is refused.
    fn translate(&self, iova: u64, length: u64, permission: u32) -> Option<Vec<u64>> {
        (iova..iova + length)
            .map(|at| match self.mode? {
                AddressSpaceMode::Blocked => None,
                AddressSpaceMode::Identity => Some(at),
                AddressSpaceMode::Translated => {
                    let (bus, allowed, _) = self.pages.get(&(at / IOMMU_PAGE_SIZE))?;
                    (permission & !allowed == 0)
                        .then_some(bus * IOMMU_PAGE_SIZE + at % IOMMU_PAGE_SIZE)
                }
            })
            .collect()
    }

    fn digest(&self) -> u64 {
        let digests = self
            .extents
            .values()
            .map(|(iova, bus, length, permission)| add(*iova, *bus, *length, *permission).digest());
        digests.fold(0, u64::wrapping_add)
    }
}

/// Something that happens to the IOMMU.
#[derive(Clone, Debug)]
enum Step {
    SetMode(u16, AddressSpaceMode),
    Update(u16, Vec<Change>, bool),
    Access {
        space: u16,
        iova: u64,
        length: u64,
        permission: u32,
    },
}

#[derive(Clone, Debug)]
enum Change {
    Add {
        iova: u64,
        bus: u64,
        pages: u64,
        permission: u32,
    },
    /// Removes the held extent of this rank, or spoils its values by a page first.
    Remove { rank: usize, spoil: u8 },
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0..PAGES, 0..1000u64, 1..6u64, 1..=3u32)
            .prop_map(|(iova, bus, pages, permission)| Change::Add { iova, bus, pages, permission }),
        2 => (0..8usize, prop_oneof![9 => Just(0u8), 1 => 1..4u8])
            .prop_map(|(rank, spoil)| Change::Remove { rank, spoil }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![
        Just(AddressSpaceMode::Blocked),
        Just(AddressSpaceMode::Identity),
        Just(AddressSpaceMode::Translated)
    ];
    prop_oneof![
        1 => (0..SPACES, mode).prop_map(|(space, mode)| Step::SetMode(space, mode)),
        6 => (0..SPACES, prop::collection::vec(change(), 0..4), prop::bool::weighted(0.9))
            .prop_map(|(space, changes, commit)| Step::Update(space, changes, commit)),
        12 => (0..SPACES, 0..(PAGES + 4) * IOMMU_PAGE_SIZE, 1..3 * IOMMU_PAGE_SIZE, 1..=2u32)
            .prop_map(|(space, iova, length, permission)| Step::Access { space, iova, length, permission }),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_map_of_pages(steps in prop::collection::vec(step(), 1..80)) {
        let mut iommu = Iommu::new(SPACES, CAPACITY);
        let mut naive = vec![Naive { mode: Some(AddressSpaceMode::Blocked), ..Naive::default() }; SPACES.into()];
        let mut faults = 0;
        let mut pieces = Vec::new();
        for step in steps {
            match step {
                Step::SetMode(space, mode) => {
                    iommu.set_mode(space, mode);
                    naive[usize::from(space)] = Naive { mode: Some(mode), ..Naive::default() };
                }
                Step::Update(space, changes, commit) => {
                    let others: usize = naive.iter().map(|space| space.extents.len()).sum::<usize>()
                        - naive[usize::from(space)].extents.len();
                    let mut staged = naive[usize::from(space)].clone();
                    let before = staged.extents.len();
                    iommu.begin(space);
                    let mut refused = false;
                    for change in changes {
                        let extent = match change {
                            Change::Add { iova, bus, pages, permission } => add(iova, bus, pages, permission),
                            Change::Remove { rank, spoil } => {
                                let held = staged.extents.values().nth(rank).copied();
                                let (iova, bus, pages, permission) = held.unwrap_or((30, 0, 1, 3));
                                let spoil = |number| u64::from(spoil == number);
                                extent(
                                    ExtentOperation::Remove,
                                    iova,
                                    bus + spoil(1),
                                    pages + spoil(2),
                                    permission ^ (spoil(3) as u32),
                                )
                            }
                        };
                        let operation = ExtentOperation::from_number(extent.operation.get()).unwrap();
                        // Room is needed for what is in force as well as for what will be.
                        let needed = others + before.max(staged.extents.len() + 1);
                        let room = needed <= CAPACITY as usize;
                        let expected = if operation == ExtentOperation::Add && !room {
                            Err(ErrorCode::NoSpace)
                        } else {
                            staged.apply(&extent)
                        };
                        let got = iommu.stage(space, operation, &extent);
                        prop_assert_eq!(got, expected);
                        if got.is_err() {
                            refused = true;
                            break;
                        }
                    }
                    if commit && !refused {
                        iommu.commit(space);
                        staged.mode = Some(AddressSpaceMode::Translated);
                        naive[usize::from(space)] = staged;
                    } else {
                        iommu.abort(space);
                    }
                }
                Step::Access { space, iova, length, permission } => {
                    let expected = naive[usize::from(space)].translate(iova, length, permission);
                    let got = iommu.translate(space, iova, length as usize, permission, &mut pieces);
                    match expected {
                        Some(bytes) => {
                            prop_assert!(got.is_ok());
                            let all: Vec<u64> = pieces
                                .iter()
                                .flat_map(|piece| piece.bus..piece.bus + piece.length as u64)
                                .collect();
                            prop_assert_eq!(all, bytes);
                        }
                        None => {
                            let fault = got.expect_err("the naive map refuses it");
                            prop_assert_eq!((fault.iova, u64::from(fault.length)), (iova, length));
                            prop_assert_eq!((fault.address_space, fault.permission), (space, permission));
                            faults += 1;
                        }
                    }
                }
            }
            for (space, naive) in (0..).zip(&naive) {
                let state = iommu.space_state(space);
                prop_assert_eq!(state.extents as usize, naive.extents.len());
                prop_assert_eq!(state.digest, naive.digest());
                prop_assert_eq!(state.mapped_bytes, naive.pages.len() as u64 * IOMMU_PAGE_SIZE);
            }
            prop_assert_eq!(iommu.faults(), faults);
        }
    }
}

#[test]
fn an_access_across_extents_is_one() {
    let mut iommu = Iommu::new(1, 8);
    let map = [
        add(0, 100, 1, BOTH),
        add(1, 101, 1, BOTH),
        add(2, 50, 1, PERMISSION_READ),
    ];
    update(&mut iommu, 0, &map).unwrap();
    let mut pieces = Vec::new();
    let page = IOMMU_PAGE_SIZE;
    iommu
        .translate(0, 10, 3 * page as usize - 20, PERMISSION_READ, &mut pieces)
        .unwrap();
    // Adjacent on the bus, too: one piece.
    let first = Piece {
        bus: 100 * page + 10,
        length: 2 * page as usize - 10,
    };
    let second = Piece {
        bus: 50 * page,
        length: page as usize - 10,
    };
    assert_eq!(pieces, [first, second]);
    // One byte that may not be written refuses all of it.
    let fault = iommu
        .translate(0, 10, 2 * page as usize, PERMISSION_WRITE, &mut pieces)
        .unwrap_err();
    assert_eq!((fault.iova, fault.length), (10, 2 * page as u32));
    assert!(pieces.is_empty());
    assert_eq!(iommu.space_state(0).faults, 1);
}

#[test]
fn the_ends_of_the_address_range_are_addresses_like_others() {
    let mut iommu = Iommu::new(1, 8);
    let last = u64::MAX / IOMMU_PAGE_SIZE;
    update(&mut iommu, 0, &[add(0, 7, 1, BOTH), add(last, 9, 1, BOTH)]).unwrap();
    assert_eq!(bus(&mut iommu, 0, 0, BOTH), Some(7 * IOMMU_PAGE_SIZE));
    assert_eq!(
        bus(&mut iommu, 0, u64::MAX, BOTH),
        Some(10 * IOMMU_PAGE_SIZE - 1)
    );
    let mut pieces = Vec::new();
    assert!(iommu
        .translate(0, u64::MAX, 2, PERMISSION_READ, &mut pieces)
        .is_err());
    iommu.set_mode(0, AddressSpaceMode::Identity);
    assert_eq!(bus(&mut iommu, 0, u64::MAX, BOTH), Some(u64::MAX));
    assert!(iommu
        .translate(0, u64::MAX, 2, PERMISSION_READ, &mut pieces)
        .is_err());
    assert_eq!(
        bus(&mut iommu, 1, 0, PERMISSION_READ),
        None,
        "a space that isn't there"
    );
}

#[test]
fn addresses_beyond_the_cards_bits_are_refused_in_every_mode() {
    let mut iommu = Iommu::new(2, 8).with_iova_bits(39);
    let end = 1u64 << 39;
    iommu.set_mode(0, AddressSpaceMode::Identity);
    update(&mut iommu, 1, &[add(end / IOMMU_PAGE_SIZE - 1, 7, 2, BOTH)]).unwrap();
    for (space, bus_of_last) in [(0, end - 1), (1, 8 * IOMMU_PAGE_SIZE - 1)] {
        assert_eq!(
            bus(&mut iommu, space, end - 1, PERMISSION_READ),
            Some(bus_of_last)
        );
        assert_eq!(bus(&mut iommu, space, end, PERMISSION_READ), None);
        let mut pieces = Vec::new();
        let fault = iommu
            .translate(space, end - 1, 2, PERMISSION_WRITE, &mut pieces)
            .unwrap_err();
        assert_eq!((fault.iova, fault.length), (end - 1, 2));
        assert!(pieces.is_empty());
        assert_eq!(iommu.space_state(space).faults, 2);
    }
}

#[test]
fn the_iotlb_caches() {
    let mut iommu = Iommu::new(1, 8);
    update(&mut iommu, 0, &[add(0, 5, 16, BOTH)]).unwrap();
    for _ in 0..10 {
        assert!(bus(&mut iommu, 0, 123, PERMISSION_READ).is_some());
    }
    assert_eq!(iommu.iotlb.counters(), (9, 1));
}

/// Were an invalidation forgotten, the tests would see it: the IOTLB does serve what is no longer in force.
#[test]
fn a_stale_entry_would_be_seen() {
    let mut iommu = Iommu::new(1, 8);
    let old = add(0, 5, 1, BOTH);
    update(&mut iommu, 0, &[old]).unwrap();
    assert_eq!(bus(&mut iommu, 0, 0, BOTH), Some(5 * IOMMU_PAGE_SIZE));

    // The same as `Iommu::commit`, without its invalidation.
    let space = &mut iommu.spaces[0];
    space.begin();
    space.stage_remove(&old).unwrap();
    space.stage_add(&add(0, 6, 1, BOTH)).unwrap();
    space.commit();
    assert_eq!(
        bus(&mut iommu, 0, 0, BOTH),
        Some(5 * IOMMU_PAGE_SIZE),
        "stale"
    );

    iommu.iotlb.invalidate(0);
    assert_eq!(bus(&mut iommu, 0, 0, BOTH), Some(6 * IOMMU_PAGE_SIZE));
}

#[test]
fn an_extent_is_lost_if_the_card_is_to_lose_it() {
    let mut iommu = Iommu::new(1, 8).forgetting(Some(2));
    update(
        &mut iommu,
        0,
        &[
            add(0, 10, 1, BOTH),
            add(2, 20, 1, BOTH),
            add(4, 30, 1, BOTH),
        ],
    )
    .unwrap();
    let state = iommu.space_state(0);
    assert_eq!(
        (state.extents, state.mapped_bytes),
        (2, 2 * IOMMU_PAGE_SIZE)
    );
    assert_eq!(bus(&mut iommu, 0, 2 * IOMMU_PAGE_SIZE, BOTH), None);
    assert!(bus(&mut iommu, 0, 4 * IOMMU_PAGE_SIZE, BOTH).is_some());
}
