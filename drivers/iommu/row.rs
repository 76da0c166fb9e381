// SPDX-License-Identifier: GPL-2.0-only

//! Which new ranges get bus addresses in a row.
//!
//! Pure logic without I/O and without allocation. The kernel module and the host tests compile this same file.

/// Most bytes in a row.
///
/// A row's bus addresses are freed with the last of its ranges, so an owner that unmaps all but one page of a row pins all of
/// it. Functions of some platforms have no more than 2^32 bus addresses, and vhost lets an owner keep 2048 ranges: the smaller
/// the rows, the less can be pinned. 1 GiB is what one entry of the larger page tables covers, so that longer rows would not make
/// the card's accesses any cheaper; they save an extent for each GiB.
pub(crate) const MAX_ROW: u64 = 1 << 30;

/// The ranges of a row so far. `P` is what must be the same for all of them.
pub(crate) struct Row<P> {
    /// Last address, if there is a row.
    last: Option<u64>,
    bytes: u64,
    permission: Option<P>,
}

impl<P: PartialEq> Row<P> {
    /// No row.
    pub(crate) fn new() -> Self {
        Self {
            last: None,
            bytes: 0,
            permission: None,
        }
    }

    /// Takes the range from `first` to `last`, which isn't less. Returns whether it goes on with the row; else it begins
    /// another one. A range that is longer than [`MAX_ROW`] by itself is a row of its own.
    pub(crate) fn take(&mut self, first: u64, last: u64, permission: P) -> bool {
        let permission = Some(permission);
        let length = last.saturating_sub(first).saturating_add(1);
        let bytes = self.bytes.saturating_add(length);
        let continues = self.last.and_then(|last| last.checked_add(1)) == Some(first)
            && self.permission == permission
            && bytes <= MAX_ROW;

        *self = Self {
            last: Some(last),
            bytes: if continues { bytes } else { length },
            permission,
        };
        continues
    }
}
