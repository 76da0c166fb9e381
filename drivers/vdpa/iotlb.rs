// SPDX-License-Identifier: GPL-2.0-only

//! What is to be translated: a read-only view of `struct vhost_iotlb`.
//!
//! C header: [`include/linux/vhost_iotlb.h`](srctree/include/linux/vhost_iotlb.h)

use super::bindings;
use core::{
    iter::FusedIterator,
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    dma::DataDirection,
    prelude::*,
    types::Opaque, //
};

/// What the device may do with the memory of a [`Map`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// `VHOST_MAP_RO`: the device may read.
    ReadOnly,
    /// `VHOST_MAP_WO`: the device may write.
    WriteOnly,
    /// `VHOST_MAP_RW`: the device may read and write.
    ReadWrite,
}

impl Permission {
    /// Returns whether the device may read.
    #[inline]
    pub const fn can_read(self) -> bool {
        matches!(self, Self::ReadOnly | Self::ReadWrite)
    }

    /// Returns whether the device may write.
    #[inline]
    pub const fn can_write(self) -> bool {
        matches!(self, Self::WriteOnly | Self::ReadWrite)
    }

    /// Returns the direction to map memory for DMA with.
    #[inline]
    pub const fn direction(self) -> DataDirection {
        match self {
            Self::ReadOnly => DataDirection::ToDevice,
            Self::WriteOnly => DataDirection::FromDevice,
            Self::ReadWrite => DataDirection::Bidirectional,
        }
    }
}

impl TryFrom<u32> for Permission {
    type Error = Error;

    /// Converts a `VHOST_MAP_*` value. vhost passes on what userspace wrote, zero and unknown bits
    /// included; those are refused with `EINVAL`.
    fn try_from(perm: u32) -> Result<Self> {
        match perm {
            bindings::VHOST_MAP_RO => Ok(Self::ReadOnly),
            bindings::VHOST_MAP_WO => Ok(Self::WriteOnly),
            bindings::VHOST_MAP_RW => Ok(Self::ReadWrite),
            _ => Err(EINVAL),
        }
    }
}

/// A range of I/O virtual addresses, both ends included. It is never empty.
///
/// # Invariants
///
/// `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaRange {
    first: u64,
    last: u64,
}

impl IovaRange {
    /// Every address.
    pub const ALL: Self = Self {
        first: 0,
        last: u64::MAX,
    };

    /// Creates the range from `first` to `last`, or [`None`] if it would be empty.
    pub const fn new(first: u64, last: u64) -> Option<Self> {
        if first <= last {
            // INVARIANT: Just checked.
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// Creates the range of `size` bytes from `first`, or [`None`] if it would be empty or wrap.
    pub const fn from_size(first: u64, size: u64) -> Option<Self> {
        match size.checked_sub(1) {
            Some(len) => match first.checked_add(len) {
                // INVARIANT: The addition did not wrap.
                Some(last) => Some(Self { first, last }),
                None => None,
            },
            None => None,
        }
    }

    /// Returns the lowest address.
    #[inline]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// Returns the highest address.
    #[inline]
    pub const fn last(self) -> u64 {
        self.last
    }

    /// Returns the size in bytes, or [`None`] for all 2^64 of them.
    #[inline]
    pub const fn size(self) -> Option<u64> {
        // By the type invariant, the subtraction does not wrap.
        (self.last - self.first).checked_add(1)
    }
}

/// One piece of memory to be translated: physically contiguous, of one permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    range: IovaRange,
    addr: u64,
    perm: u32,
}

impl Map {
    /// Creates a piece; [`None`] if either its addresses or its memory would be empty or wrap.
    pub(super) fn new(range: IovaRange, addr: u64, perm: u32) -> Option<Self> {
        addr.checked_add(range.last - range.first)?;
        Some(Self { range, addr, perm })
    }

    /// Returns the addresses that the device uses.
    #[inline]
    pub fn range(&self) -> IovaRange {
        self.range
    }

    /// Returns the lowest address that the device uses.
    #[inline]
    pub fn start(&self) -> u64 {
        self.range.first
    }

    /// Returns the highest address that the device uses.
    #[inline]
    pub fn last(&self) -> u64 {
        self.range.last
    }

    /// Returns the physical address that [`Self::start()`] translates to. The piece does not wrap.
    #[inline]
    pub fn addr(&self) -> u64 {
        self.addr
    }

    /// Returns what the device may do.
    ///
    /// # Errors
    ///
    /// `EINVAL` if userspace asked for nothing or for something unknown, see
    /// [`Permission::try_from()`]. vhost lets that pass.
    #[inline]
    pub fn permission(&self) -> Result<Permission> {
        self.perm.try_into()
    }
}

/// All that an address space shall translate: the argument of [`Operations::set_map()`].
///
/// An empty one means "nothing", not "the default".
///
/// vhost keeps its `max_iotlb_entries` parameter (2048 unless set) as a limit for the pieces of an
/// address space. It cuts a piece that covers all 2^64 addresses in two, so that every size fits a
/// `u64`; [`IovaRange::size()`] does not depend on that.
///
/// # Invariants
///
/// A reference to this type refers to a `struct vhost_iotlb` that nobody changes while it lives.
///
/// [`Operations::set_map()`]: super::Operations::set_map
#[repr(transparent)]
pub struct Iotlb(Opaque<bindings::vhost_iotlb>);

impl Iotlb {
    /// Borrows a C structure.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `struct vhost_iotlb` that is valid, and that nobody changes, for `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::vhost_iotlb) -> &'a Self {
        // INVARIANT: By the safety requirements.
        // SAFETY: By the safety requirements; `Iotlb` is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    /// Returns the number of pieces.
    #[inline]
    pub fn len(&self) -> usize {
        // SAFETY: By the type invariant, the structure is valid and does not change.
        // CAST: `usize` is at least as wide as `unsigned int`.
        unsafe { (*self.0.get()).nmaps as usize }
    }

    /// Returns whether nothing shall be translated.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the pieces, by rising address. They do not overlap.
    ///
    /// Each step is `O(log n)` at worst, a whole walk `O(n)`.
    ///
    /// A piece whose memory would wrap comes as `Err(EINVAL)`.
    pub fn iter(&self) -> Iter<'_> {
        // SAFETY: By the type invariant, the structure is valid and does not change.
        let first = unsafe { bindings::vhost_iotlb_itree_first(self.0.get(), 0, u64::MAX) };

        // INVARIANT: `first` is null or a node of the tree, which is borrowed as long as the
        // iterator.
        Iter {
            next: NonNull::new(first),
            _iotlb: PhantomData,
        }
    }
}

impl<'a> IntoIterator for &'a Iotlb {
    type Item = Result<Map>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterator over the pieces of an [`Iotlb`].
///
/// # Invariants
///
/// `next` is a node of an interval tree that does not change for `'a`.
pub struct Iter<'a> {
    next: Option<NonNull<bindings::vhost_iotlb_map>>,
    _iotlb: PhantomData<&'a Iotlb>,
}

impl Iterator for Iter<'_> {
    type Item = Result<Map>;

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.next?.as_ptr();

        // SAFETY: By the type invariant, `node` is valid, and nobody changes it.
        let (start, last, addr, perm) =
            unsafe { ((*node).start, (*node).last, (*node).addr, (*node).perm) };

        // An interval tree is ordered by the start of its nodes, and walking it while asking for
        // everything yields each node once.
        //
        // INVARIANT: The result is null or a node of the same tree.
        // SAFETY: By the type invariant, `node` is in a tree that does not change.
        self.next = NonNull::new(unsafe { bindings::vhost_iotlb_itree_next(node, 0, u64::MAX) });

        Some(
            IovaRange::new(start, last)
                .and_then(|range| Map::new(range, addr, perm))
                .ok_or(EINVAL),
        )
    }
}

impl FusedIterator for Iter<'_> {}
