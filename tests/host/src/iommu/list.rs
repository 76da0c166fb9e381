// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What `drivers/iommu/list.rs` is in the kernel, on the standard library, with allocations that fail when a test
//! wants them to.

use std::cell::Cell;

/// No memory.
#[derive(Debug)]
pub(crate) struct NoMemory;

/// A vector.
pub(crate) type List<T> = Vec<T>;

/// Elements of a chunk at most: so few that every test has several chunks.
pub(crate) const CHUNK: usize = 4;

thread_local! {
    /// Allocations to come before one fails.
    static UNTIL_FAILURE: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Makes an allocation of this thread fail after `successes` more that don't, or none.
pub(crate) fn fail_after(successes: Option<u32>) {
    UNTIL_FAILURE.set(successes);
}

fn allocate() -> Result<(), NoMemory> {
    let left = UNTIL_FAILURE.get();

    UNTIL_FAILURE.set(left.and_then(|left| left.checked_sub(1)));
    match left {
        Some(0) => Err(NoMemory),
        _ => Ok(()),
    }
}

pub(crate) fn with_capacity<T>(capacity: usize) -> Result<List<T>, NoMemory> {
    allocate()?;
    Ok(Vec::with_capacity(capacity))
}

pub(crate) fn reserve<T>(list: &mut List<T>, additional: usize) -> Result<(), NoMemory> {
    if list.capacity() - list.len() < additional {
        allocate()?;
        // No more than that, so that forgetting to reserve is found out.
        list.reserve_exact(additional);
    }
    Ok(())
}

pub(crate) fn insert<T>(list: &mut List<T>, index: usize, element: T) -> bool {
    let fits = index <= list.len() && list.len() < list.capacity();

    if fits {
        list.insert(index, element);
    }
    fits
}

pub(crate) fn remove<T>(list: &mut List<T>, index: usize) -> Option<T> {
    (index < list.len()).then(|| list.remove(index))
}

pub(crate) fn retain<T>(list: &mut List<T>, stays: impl FnMut(&T) -> bool) {
    list.retain(stays);
}
