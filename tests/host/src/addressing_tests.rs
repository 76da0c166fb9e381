// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Which bus addresses a card is given whose address spaces can be 1:1.

use crate::info::{
    addressing::{addressing, Addressing},
    last_address,
};
use proptest::prelude::*;

const fn used(identity: bool, bus_bits: u8) -> Addressing {
    Addressing { identity, bus_bits }
}

#[test]
fn the_last_address_of_a_number_of_bits() {
    assert_eq!(last_address(32), 0xffff_ffff);
    assert_eq!(last_address(63), u64::MAX / 2);
    assert_eq!(last_address(64), u64::MAX);
}

#[test]
fn narrow_cards_are_one_to_one_only_where_all_addresses_fit() {
    let narrow = last_address(39);

    assert_eq!(addressing(64, 64, u64::MAX), used(true, 64));
    assert_eq!(addressing(48, 40, u64::MAX), used(true, 40));
    assert_eq!(addressing(39, 64, 0xffff_ffff), used(true, 39));
    assert_eq!(addressing(39, 64, narrow), used(true, 39));
    assert_eq!(addressing(39, 64, narrow + 1), used(false, 64));
}

proptest! {
    /// A 1:1 card gets no address that it can't name; no card gets fewer than the platform needs if it has them.
    #[test]
    fn no_address_is_cut_off(iova in 32u8..=64, bus in 32u8..=64, required in any::<u64>(), shift in 0u32..64) {
        let required = required >> shift;
        let result = addressing(iova, bus, required);
        let last = last_address(result.bus_bits);

        prop_assert!(last <= last_address(bus));
        prop_assert!(!result.identity || last <= last_address(iova));
        prop_assert!(last >= required.min(last_address(bus)));
    }
}
