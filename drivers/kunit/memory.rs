// SPDX-License-Identifier: GPL-2.0-only

//! Memory as userspace has it, and the list of it that vhost makes.

use super::{
    bus::bindings,
    sys, //
};
use crate::vdpa::Iotlb;
use kernel::{
    error::to_result,
    page::PAGE_SIZE,
    prelude::*, //
};

/// Pages in a row, with one reference to each folio of them, as if a process had mapped them.
///
/// # Invariants
///
/// `folios` references are owned: one to the only folio, which begins at `pfn`, or one to each page from
/// there on.
pub(super) struct Pages {
    pfn: usize,
    folios: usize,
}

impl Pages {
    /// One folio of `1 << order` pages.
    pub(super) fn folio(order: u32) -> Result<Self> {
        // INVARIANT: The folio comes with a reference.
        Ok(Self {
            pfn: sys::alloc_folio(order)?,
            folios: 1,
        })
    }

    /// `1 << order` pages, each by itself.
    pub(super) fn single(order: u32) -> Result<Self> {
        // INVARIANT: Each page comes with a reference.
        Ok(Self {
            pfn: sys::alloc_pages(order)?,
            folios: 1 << order,
        })
    }

    /// Frees all folios from `index`.
    pub(super) fn free_from(&mut self, index: usize) {
        let folios = self.folios;

        self.folios = index.min(folios);
        for pfn in self.pfn + self.folios..self.pfn + folios {
            // SAFETY: By the type invariant, the reference is ours, and by now it isn't counted any more.
            unsafe { sys::mooring_kunit_put_page(pfn as c_ulong) };
        }
    }

    /// Number of the first page frame.
    pub(super) fn pfn(&self) -> usize {
        self.pfn
    }

    /// Physical address of page `index`.
    pub(super) fn phys(&self, index: usize) -> u64 {
        ((self.pfn + index) * PAGE_SIZE) as u64
    }

    /// References to the folio of page `index`.
    pub(super) fn refs(&self, index: usize) -> i32 {
        // SAFETY: The page has been allocated, so it is memory.
        unsafe { sys::page_refs(self.pfn + index) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.free_from(0);
    }
}

unsafe extern "C" {
    // In drivers/vhost/iotlb.c; the driver's bindings have what only reads an IOTLB.
    safe fn vhost_iotlb_alloc(limit: c_uint, flags: c_uint) -> *mut bindings::vhost_iotlb;
    fn vhost_iotlb_free(iotlb: *mut bindings::vhost_iotlb);
    fn vhost_iotlb_add_range(
        iotlb: *mut bindings::vhost_iotlb,
        start: u64,
        last: u64,
        addr: u64,
        perm: c_uint,
    ) -> c_int;
}

/// Permissions as vhost has them.
pub(super) const READ: u32 = bindings::VHOST_MAP_RO;
pub(super) const WRITE: u32 = bindings::VHOST_MAP_WO;
pub(super) const READ_WRITE: u32 = bindings::VHOST_MAP_RW;

/// An IOTLB of vhost.
///
/// # Invariants
///
/// It points to an IOTLB that nobody else knows.
pub(super) struct Maps(*mut bindings::vhost_iotlb);

impl Maps {
    /// An empty one.
    pub(super) fn new() -> Result<Self> {
        let iotlb = vhost_iotlb_alloc(64, 0);

        if iotlb.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: It is new.
        Ok(Self(iotlb))
    }

    /// One with these ranges: first and last address, memory, permission.
    pub(super) fn of(ranges: &[(u64, u64, u64, u32)]) -> Result<Self> {
        let maps = Self::new()?;

        for &(first, last, phys, permission) in ranges {
            maps.add(first, last, phys, permission)?;
        }
        Ok(maps)
    }

    /// One with a page of `pages` at each of these I/O virtual pages: iova page, index of the page.
    pub(super) fn of_pages(pages: &Pages, places: &[(u64, usize)]) -> Result<Self> {
        let maps = Self::new()?;
        let page_size = PAGE_SIZE as u64;

        for &(iova, index) in places {
            let first = iova * page_size;
            maps.add(first, first + page_size - 1, pages.phys(index), READ_WRITE)?;
        }
        Ok(maps)
    }

    /// Adds a range: first and last address, memory, permission.
    pub(super) fn add(&self, first: u64, last: u64, phys: u64, permission: u32) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { vhost_iotlb_add_range(self.0, first, last, phys, permission) })
    }

    /// The C structure.
    pub(super) fn as_raw(&self) -> *mut bindings::vhost_iotlb {
        self.0
    }

    /// As a driver sees it.
    pub(super) fn iotlb(&self) -> &Iotlb {
        // SAFETY: By the type invariant; it changes only while it is being made. `Iotlb` is a transparent
        // wrapper of the C structure.
        unsafe { &*self.0.cast() }
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { vhost_iotlb_free(self.0) };
    }
}
