// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The comparison of two sorted lists against sets.

use crate::iommu::compare::{next, Holder};
use crate::iommu::shadow::{Extent, Permission};
use crate::wire;
use proptest::prelude::*;
use std::collections::BTreeMap;

const PAGE: u64 = wire::IOMMU_PAGE_SIZE;

fn to_wire(extent: &Extent) -> wire::Extent {
    wire::Extent {
        operation: 0.into(),
        ..extent.to_wire(wire::ExtentOperation::Add)
    }
}

/// Tells both lists as one, as the dump of an address space does.
fn tell(card: &[Extent], driver: &[Extent]) -> Vec<(Holder, wire::Extent)> {
    let card: Vec<_> = card.iter().map(to_wire).collect();
    let (mut at_card, mut at_driver) = (0, 0);
    let mut lines = Vec::new();
    while let Some((holder, extent)) = next(card.get(at_card), driver.get(at_driver)) {
        at_card += usize::from(holder != Holder::DriverOnly);
        at_driver += usize::from(holder != Holder::CardOnly);
        lines.push((holder, extent));
    }
    lines
}

/// A sorted list of single pages, with few addresses and fewer values, so that lists often agree and often don't.
fn list() -> impl Strategy<Value = Vec<Extent>> {
    proptest::collection::btree_map(0u64..24, (0u64..2, any::<bool>()), 0..24).prop_map(|map| {
        map.into_iter()
            .map(|(page, (bus, read_only))| Extent {
                iova: page * PAGE,
                bus: bus * PAGE,
                length: PAGE,
                permission: match read_only {
                    true => Permission::Read,
                    false => Permission::ReadWrite,
                },
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn every_extent_is_told_once_with_its_holder(card in list(), driver in list()) {
        let lines = tell(&card, &driver);
        let of = |wanted: &[Holder]| -> Vec<wire::Extent> {
            lines.iter().filter(|(holder, _)| wanted.contains(holder)).map(|(_, e)| *e).collect()
        };
        let all = |list: &[Extent]| -> Vec<wire::Extent> { list.iter().map(to_wire).collect() };
        prop_assert_eq!(of(&[Holder::Both, Holder::CardOnly]), all(&card));
        prop_assert_eq!(of(&[Holder::Both, Holder::DriverOnly]), all(&driver));
        let driver: BTreeMap<u64, wire::Extent> =
            driver.iter().map(|e| (e.iova, to_wire(e))).collect();
        for extent in of(&[Holder::CardOnly]) {
            prop_assert_ne!(driver.get(&extent.iova.get()), Some(&extent));
        }
    }

    #[test]
    fn lines_are_in_order(card in list(), driver in list()) {
        let lines = tell(&card, &driver);
        for pair in lines.windows(2) {
            prop_assert!(pair[0].1.iova.get() <= pair[1].1.iova.get());
        }
    }
}

#[test]
fn a_difference_in_any_value_is_told() {
    let extent = Extent {
        iova: PAGE,
        bus: 7 * PAGE,
        length: 2 * PAGE,
        permission: Permission::Read,
    };
    for other in [
        Extent {
            iova: 2 * PAGE,
            ..extent
        },
        Extent {
            bus: 8 * PAGE,
            ..extent
        },
        Extent {
            length: PAGE,
            ..extent
        },
        Extent {
            permission: Permission::ReadWrite,
            ..extent
        },
    ] {
        let lines = tell(&[extent], &[other]);
        let holders: Vec<Holder> = lines.iter().map(|(holder, _)| *holder).collect();
        assert_eq!(holders, [Holder::CardOnly, Holder::DriverOnly], "{other:?}");
    }
    assert_eq!(
        tell(&[extent], &[extent]),
        [(Holder::Both, to_wire(&extent))]
    );
}
