// SPDX-License-Identifier: GPL-2.0-only

//! What the card holds beside what the driver believes: two sorted lists of extents, told as one.
//!
//! Pure logic without I/O and without allocation. The kernel module and the host tests compile this
//! same file; `crate::wire` is the shared message crate on both sides.

use super::shadow::Extent;
use crate::wire;

/// Who has an extent, with exactly these values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Card and driver agree.
    Both,
    /// The card translates what the driver knows nothing of.
    CardOnly,
    /// The driver believes the card to translate what it doesn't.
    DriverOnly,
}

/// The next line of both lists together, given the first extent of each that was not told yet. Whoever calls
/// this goes on in the lists that the [`Holder`] names. [`None`]: both are at their end.
///
/// If both lists are sorted by `iova`, so are the lines. Of two extents with the same `iova` and something else
/// different, the card's comes first.
pub(crate) fn next(
    card: Option<&wire::Extent>,
    driver: Option<&Extent>,
) -> Option<(Holder, wire::Extent)> {
    // A card writes no operation when it is read.
    let driver = driver.map(|extent| wire::Extent {
        operation: 0.into(),
        ..extent.to_wire(wire::ExtentOperation::Add)
    });

    match (card.copied(), driver) {
        (None, None) => None,
        (Some(card), None) => Some((Holder::CardOnly, card)),
        (None, Some(driver)) => Some((Holder::DriverOnly, driver)),
        (Some(card), Some(driver)) if card == driver => Some((Holder::Both, card)),
        (Some(card), Some(driver)) if card.iova.get() <= driver.iova.get() => {
            Some((Holder::CardOnly, card))
        }
        (Some(_), Some(driver)) => Some((Holder::DriverOnly, driver)),
    }
}
