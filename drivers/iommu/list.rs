// SPDX-License-Identifier: GPL-2.0-only

//! Memory for lists of any length: what the kernel's and the standard library's vectors call differently.
//!
//! The pure files of this folder use nothing else to allocate. `tests/host` has a file of the same name on the
//! standard library, where each allocation can be made to fail.

use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*, //
};

/// No memory.
pub(crate) use kernel::alloc::AllocError as NoMemory;

/// A vector. What is in it may be a lot, and userspace decides how much: it need not be contiguous memory, and is
/// accounted to whoever has it allocated.
pub(crate) type List<T> = KVVec<T>;

/// Elements of a chunk of a [`Sorted`](super::sorted::Sorted) list at most: a page of extents.
pub(crate) const CHUNK: usize = 128;

/// Returns an empty list with room for `capacity` elements. May sleep.
pub(crate) fn with_capacity<T>(capacity: usize) -> Result<List<T>, NoMemory> {
    List::with_capacity(capacity, GFP_KERNEL_ACCOUNT)
}

/// Makes room for `additional` elements more. May sleep.
pub(crate) fn reserve<T>(list: &mut List<T>, additional: usize) -> Result<(), NoMemory> {
    list.reserve(additional, GFP_KERNEL_ACCOUNT)
}

/// Inserts an element, and allocates nothing. Returns whether there was room, and an element before or at `index`;
/// the element is dropped otherwise.
pub(crate) fn insert<T>(list: &mut List<T>, index: usize, element: T) -> bool {
    list.insert_within_capacity(index, element).is_ok()
}

/// Takes an element out, if it exists.
pub(crate) fn remove<T>(list: &mut List<T>, index: usize) -> Option<T> {
    list.remove(index).ok()
}

/// Drops the elements that `stays` doesn't choose. It is asked once for each, in order. Allocates nothing.
pub(crate) fn retain<T>(list: &mut List<T>, mut stays: impl FnMut(&T) -> bool) {
    list.retain(|element| stays(element));
}
