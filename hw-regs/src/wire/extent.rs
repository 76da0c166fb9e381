// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Extents: what an address space translates.

use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Permission bit: the device may read.
pub const PERMISSION_READ: u32 = 1;

/// Permission bit: the device may write.
pub const PERMISSION_WRITE: u32 = 2;

/// A range of I/O virtual addresses that translates to one range of bus addresses.
///
/// On the wire, start, length and bus address are multiples of
/// [`IOMMU_PAGE_SIZE`](super::IOMMU_PAGE_SIZE), the length isn't 0, neither range wraps, and at least one
/// permission bit is set; the card refuses anything else with
/// [`ErrorCode::InvalidArgument`](super::ErrorCode::InvalidArgument).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Extent {
    /// First I/O virtual address.
    pub iova: U64,
    /// First bus address.
    pub bus: U64,
    /// Length in bytes.
    pub length: U64,
    /// [`PERMISSION_READ`], [`PERMISSION_WRITE`] or both.
    pub permission: U32,
    /// In an update an [`ExtentOperation`]; zero elsewhere.
    pub operation: U32,
}

/// What an update does with an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ExtentOperation {
    /// Adds an extent that overlaps none of those held.
    Add = 1,
    /// Removes an extent that is held with exactly these values.
    Remove = 2,
}

impl ExtentOperation {
    /// The operation of this number, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Add),
            2 => Some(Self::Remove),
            _ => None,
        }
    }
}

impl Extent {
    /// A 64-bit digest of what the extent translates.
    ///
    /// A space's digest is the wrapping sum of its extents' digests, so the order of the extents doesn't
    /// matter and adding or removing one changes the sum in constant time. It tells states apart that
    /// differ by accident; it is no protection against somebody who chooses extents to collide.
    pub fn digest(&self) -> u64 {
        let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
        for word in [
            self.iova.get(),
            self.bus.get(),
            self.length.get(),
            u64::from(self.permission.get()),
        ] {
            hash = mix(hash ^ word);
        }
        hash
    }
}

/// The finaliser of splitmix64: every input bit reaches every output bit.
fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
