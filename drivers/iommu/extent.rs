// SPDX-License-Identifier: GPL-2.0-only

//! What an address space translates, as sorted lists of extents: merging and difference.
//!
//! Pure logic without I/O and without allocation. The kernel module and the host tests compile this
//! same file; `crate::wire` is the shared message crate on both sides.
//!
//! # Invariants of every list of extents in this driver
//!
//! 1. Extents are sorted by `iova` and do not overlap.
//! 2. Start, length and bus address are multiples of [`wire::IOMMU_PAGE_SIZE`], and the length isn't 0.
//! 3. Neither `iova + length - 1` nor `bus + length - 1` wraps.
//! 4. No two neighbours could be merged: [`Merged`] yields maximal extents. Two lists that translate
//!    alike are therefore equal, which is what makes [`Difference`] minimal and the digest canonical.

use crate::wire;

/// What the device may do with an extent's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Device reads only.
    Read,
    /// Device writes only.
    Write,
    /// Both.
    ReadWrite,
}

impl Permission {
    /// The permission as the bits that registers, messages and vhost share.
    pub(crate) const fn bits(self) -> u32 {
        match self {
            Self::Read => wire::PERMISSION_READ,
            Self::Write => wire::PERMISSION_WRITE,
            Self::ReadWrite => wire::PERMISSION_READ | wire::PERMISSION_WRITE,
        }
    }
}

/// A range of I/O virtual addresses that translates to one range of bus addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First I/O virtual address.
    pub(crate) iova: u64,
    /// First bus address.
    pub(crate) bus: u64,
    /// Length in bytes.
    pub(crate) length: u64,
    /// What the device may do.
    pub(crate) permission: Permission,
}

impl Extent {
    /// Whether the extent by itself keeps invariants 2 and 3 and lies within `iova_bits` and `bus_bits`
    /// bits of address.
    pub(crate) fn is_valid(&self, iova_bits: u8, bus_bits: u8) -> bool {
        let aligned = (self.iova | self.bus | self.length) % wire::IOMMU_PAGE_SIZE == 0;

        aligned && fits(self.iova, self.length, iova_bits) && fits(self.bus, self.length, bus_bits)
    }

    /// The extent as it goes over the wire, to be added or removed.
    pub(crate) fn to_wire(self, operation: wire::ExtentOperation) -> wire::Extent {
        wire::Extent {
            iova: self.iova.into(),
            bus: self.bus.into(),
            length: self.length.into(),
            permission: self.permission.bits().into(),
            operation: (operation as u32).into(),
        }
    }

    /// The extent's share of its address space's digest, see [`wire::Extent::digest`].
    pub(crate) fn digest(self) -> u64 {
        self.to_wire(wire::ExtentOperation::Add).digest()
    }

    /// Both as one extent if `next` continues `self` in both address ranges with the same permission.
    fn merge(self, next: Extent) -> Option<Extent> {
        let continues = self.iova.checked_add(self.length) == Some(next.iova)
            && self.bus.checked_add(self.length) == Some(next.bus)
            && self.permission == next.permission;

        if !continues {
            return None;
        }
        let length = self.length.checked_add(next.length)?;
        Some(Extent { length, ..self })
    }
}

/// Whether `length` bytes from `start` exist and lie within addresses of `bits` bits.
fn fits(start: u64, length: u64, bits: u8) -> bool {
    let limit = match bits {
        0..64 => (1u64 << bits) - 1,
        _ => u64::MAX,
    };

    match length
        .checked_sub(1)
        .and_then(|rest| start.checked_add(rest))
    {
        Some(last) => last <= limit,
        None => false,
    }
}

/// Merges neighbours of an iterator over extents that keeps invariants 1 to 3; what comes out keeps 4 too.
pub(crate) struct Merged<I> {
    inner: I,
    pending: Option<Extent>,
}

impl<I: Iterator<Item = Extent>> Merged<I> {
    /// Merges what `inner` yields.
    pub(crate) fn new(inner: I) -> Self {
        Self {
            inner,
            pending: None,
        }
    }
}

impl<I: Iterator<Item = Extent>> Iterator for Merged<I> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        let mut current = match self.pending.take() {
            Some(extent) => extent,
            None => self.inner.next()?,
        };

        for next in self.inner.by_ref() {
            match current.merge(next) {
                Some(merged) => current = merged,
                None => {
                    self.pending = Some(next);
                    break;
                }
            }
        }
        Some(current)
    }
}

/// Yields the extents of `left` that `right` doesn't hold with exactly the same values, in order.
///
/// With the held list on the left and the wanted one on the right these are the extents to remove;
/// the other way round, those to add. Removing first and then adding turns one list into the other.
///
/// Takes a step for every extent of both lists together, however they differ.
pub(crate) struct Difference<'a> {
    left: &'a [Extent],
    right: &'a [Extent],
}

impl<'a> Difference<'a> {
    /// What is in `left` and not in `right`.
    pub(crate) fn new(left: &'a [Extent], right: &'a [Extent]) -> Self {
        Self { left, right }
    }
}

impl Iterator for Difference<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        while let Some((candidate, rest)) = self.left.split_first() {
            self.left = rest;
            while let Some((other, rest)) = self.right.split_first() {
                if other.iova >= candidate.iova {
                    break;
                }
                self.right = rest;
            }
            if self.right.first() != Some(candidate) {
                return Some(*candidate);
            }
        }
        None
    }
}

/// The changes that turn `held` into `wanted`, in the order in which the card must apply them.
pub(crate) fn changes<'a>(
    held: &'a [Extent],
    wanted: &'a [Extent],
) -> impl Iterator<Item = wire::Extent> + 'a {
    let removed = Difference::new(held, wanted).map(|e| e.to_wire(wire::ExtentOperation::Remove));
    let added = Difference::new(wanted, held).map(|e| e.to_wire(wire::ExtentOperation::Add));

    removed.chain(added)
}

/// The digest that a card which holds exactly `extents` reports.
pub(crate) fn digest(extents: &[Extent]) -> u64 {
    extents
        .iter()
        .fold(0, |sum: u64, extent| sum.wrapping_add(extent.digest()))
}
