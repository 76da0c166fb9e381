// SPDX-License-Identifier: GPL-2.0-only

//! References to pages that a card may access.
//!
//! vhost pins the memory that userspace maps, and unpins it *before* it tells the driver to drop
//! the translation (`vhost_vdpa_pa_unmap()` in `drivers/vhost/vdpa.c`). Within a batch of changes,
//! userspace decides how long the device goes on using the stale translation. So the driver holds
//! references of its own, until the card has acknowledged that it does not translate to the pages
//! any more.

use kernel::{
    page::PAGE_SHIFT,
    prelude::*, //
};

unsafe extern "C" {
    // In helpers.c.
    fn mooring_helper_get_folios(pfn: c_ulong, end: c_ulong) -> c_int;
    fn mooring_helper_put_folios(pfn: c_ulong, end: c_ulong);
}

/// References to all folios in a range of physical memory, which keep them from being freed, split
/// or migrated.
///
/// They are plain references and not pins. That makes no difference here: what must not happen
/// after vhost's unpinning is that the memory is used for something else while the card may still
/// write to it.
///
/// # Invariants
///
/// One reference is owned to each folio that has pages in `pfn..end`.
#[derive(Debug)]
pub(crate) struct PageRefs {
    pfn: c_ulong,
    end: c_ulong,
}

impl PageRefs {
    /// Takes a reference to every folio in the `len` bytes from `phys`, rounded outwards to pages.
    ///
    /// To be called while somebody else is known to hold references or pins, otherwise the memory
    /// may already have changed hands. It takes time in proportion to the number of folios, that
    /// is, of huge pages if the memory consists of those. Ranges may overlap, and may cover a part
    /// of a folio.
    ///
    /// # Context
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the range is empty or wraps.
    /// - `EFAULT` if there is something else than memory in the range, or memory that is free.
    pub(crate) fn get(phys: u64, len: u64) -> Result<Self> {
        let last = len
            .checked_sub(1)
            .and_then(|len| phys.checked_add(len))
            .ok_or(EINVAL)?;

        // Once shifted, the end does not wrap.
        let pfn = c_ulong::try_from(phys >> PAGE_SHIFT)?;
        let end = c_ulong::try_from((last >> PAGE_SHIFT) + 1)?;

        // SAFETY: May be called with any range: what is not memory, or is free, is refused.
        let ret = unsafe { mooring_helper_get_folios(pfn, end) };
        kernel::error::to_result(ret)?;

        // INVARIANT: On success, these references have been taken.
        Ok(Self { pfn, end })
    }
}

impl Drop for PageRefs {
    /// May sleep, and takes as long as [`Self::get()`].
    fn drop(&mut self) {
        // SAFETY: By the type invariant, these references are ours.
        unsafe { mooring_helper_put_folios(self.pfn, self.end) };
    }
}
