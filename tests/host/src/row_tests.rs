// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Which ranges get bus addresses in a row.

use crate::iommu::row::{Row, MAX_ROW};

const PAGE: u64 = 4096;

fn take(row: &mut Row<u8>, first: u64, length: u64, permission: u8) -> bool {
    row.take(first, first + (length - 1), permission)
}

#[test]
fn a_row_is_contiguous_and_of_one_permission() {
    let mut row = Row::new();
    assert!(!take(&mut row, 0, PAGE, 3), "the first range");
    assert!(take(&mut row, PAGE, PAGE, 3));
    assert!(!take(&mut row, 3 * PAGE, PAGE, 3), "a gap");
    assert!(!take(&mut row, 4 * PAGE, PAGE, 1), "less permission");
    assert!(take(&mut row, 5 * PAGE, PAGE, 1));
    let mut row = Row::new();
    assert!(!row.take(u64::MAX - PAGE + 1, u64::MAX, 3));
    assert!(
        !take(&mut row, 0, PAGE, 3),
        "nothing follows the last address"
    );
}

/// One page that stays must not pin more than this.
#[test]
fn a_row_ends_at_the_most_bytes() {
    let mut row = Row::new();
    let huge = 2 << 20;
    let begins = (0..4 * MAX_ROW / huge)
        .filter(|index| !take(&mut row, index * huge, huge, 3))
        .map(|index| index * huge);
    assert!(begins.eq((0..4).map(|index| index * MAX_ROW)));
    // A longer range is alone, whatever comes before and after.
    let mut row = Row::new();
    assert!(!take(&mut row, 0, PAGE, 3));
    assert!(!take(&mut row, PAGE, 2 * MAX_ROW, 3));
    assert!(!take(&mut row, PAGE + 2 * MAX_ROW, PAGE, 3));
    assert!(!row.take(0, u64::MAX, 3));
}
