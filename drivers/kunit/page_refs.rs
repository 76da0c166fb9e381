// SPDX-License-Identifier: GPL-2.0-only

//! References to pages: to each folio one, to none one too many, whatever is refused in between.

use kernel::prelude::*;

#[kunit_tests(mooring_page_refs)]
mod tests {
    use crate::{
        dma::PageRefs,
        kunit::{
            memory::Pages,
            sys, //
        }, //
    };
    use kernel::{
        page::PAGE_SIZE,
        prelude::*, //
    };

    const PAGE: u64 = PAGE_SIZE as u64;

    #[test]
    fn single_pages() -> Result {
        let pages = Pages::single(2)?;

        let refs = PageRefs::get(pages.phys(1), 2 * PAGE)?;
        check!((0..4).map(|index| pages.refs(index)).eq([1, 2, 2, 1]));
        // Ranges may overlap.
        let more = PageRefs::get(pages.phys(2), 2 * PAGE)?;
        check!((0..4).map(|index| pages.refs(index)).eq([1, 2, 3, 2]));
        drop(refs);
        check!((0..4).map(|index| pages.refs(index)).eq([1, 1, 2, 2]));
        drop(more);
        check!((0..4).map(|index| pages.refs(index)).eq([1, 1, 1, 1]));
        Ok(())
    }

    /// Addresses are rounded outwards to pages.
    #[test]
    fn parts_of_pages() -> Result {
        let pages = Pages::single(2)?;

        for (offset, len, expected) in [
            (0, 1, [2, 1, 1, 1]),
            (PAGE - 1, 1, [2, 1, 1, 1]),
            (PAGE - 1, 2, [2, 2, 1, 1]),
            (PAGE, PAGE, [1, 2, 1, 1]),
            (1, 3 * PAGE, [2, 2, 2, 2]),
        ] {
            let refs = PageRefs::get(pages.phys(0) + offset, len)?;
            check!((0..4).map(|index| pages.refs(index)).eq(expected));
            drop(refs);
            check!((0..4).all(|index| pages.refs(index) == 1));
        }
        Ok(())
    }

    /// A folio gets one reference, however much of it is covered.
    #[test]
    fn parts_of_a_folio() -> Result {
        let folio = Pages::folio(3)?;

        for (first, count) in [(0, 1), (3, 2), (7, 1), (0, 8)] {
            let refs = PageRefs::get(folio.phys(first), count * PAGE)?;
            check!(folio.refs(0) == 2);
            drop(refs);
            check!(folio.refs(0) == 1);
        }
        Ok(())
    }

    /// Two megabytes, as transparent huge pages are.
    #[test]
    fn huge_pages() -> Result {
        let huge = Pages::folio(9)?;

        let whole = PageRefs::get(huge.phys(0), 512 * PAGE)?;
        let tail = PageRefs::get(huge.phys(511), PAGE)?;
        check!(huge.refs(0) == 3);
        drop(whole);
        check!(huge.refs(0) == 2);
        drop(tail);
        check!(huge.refs(0) == 1);
        Ok(())
    }

    /// What its owner has let go is kept, and freed with the last reference.
    #[test]
    fn keeps_memory() -> Result {
        let pages = Pages::folio(4)?;
        let pfn = pages.pfn();

        let refs = PageRefs::get(pages.phys(0), 16 * PAGE)?;
        drop(pages);
        // SAFETY: The page is memory.
        check!(unsafe { sys::page_refs(pfn) } == 1);
        drop(refs);
        // SAFETY: As above. Somebody else may have got the page meanwhile, but hardly all of the folio.
        check!((pfn..pfn + 16).any(|pfn| unsafe { sys::page_refs(pfn) } == 0));
        Ok(())
    }

    /// The zero page is in every process that has only read, too often for references; it is never freed.
    #[test]
    fn zero_page_is_left_alone() -> Result {
        let pfn = sys::zero_page();
        // SAFETY: The page is memory.
        let before = unsafe { sys::page_refs(pfn) };

        let refs = PageRefs::get(pfn as u64 * PAGE, PAGE)?;
        // SAFETY: As above.
        check!(unsafe { sys::page_refs(pfn) } == before);
        drop(refs);
        // SAFETY: As above.
        check!(unsafe { sys::page_refs(pfn) } == before);
        Ok(())
    }

    /// Memory that is free belongs to nobody; there is nothing at the end of the address range.
    #[test]
    fn free_or_no_memory_is_refused() -> Result {
        let pages = Pages::folio(5)?;
        let (pfn, phys) = (pages.pfn(), pages.phys(0));

        drop(pages);
        // SAFETY: The pages are memory.
        if (pfn..pfn + 32).all(|pfn| unsafe { sys::page_refs(pfn) } == 0) {
            check!(PageRefs::get(phys, 32 * PAGE).map(|_| ()) == Err(EFAULT));
        }
        check!(PageRefs::get(1 << 51, PAGE).map(|_| ()) == Err(EFAULT));
        check!(PageRefs::get(u64::MAX - PAGE + 1, PAGE).map(|_| ()) == Err(EFAULT));
        check!(PageRefs::get(u64::MAX, 2).map(|_| ()) == Err(EINVAL));
        check!(PageRefs::get(phys, 0).map(|_| ()) == Err(EINVAL));
        Ok(())
    }

    /// A range that fails in the middle gives back what was taken.
    #[test]
    fn failure_gives_back() -> Result {
        let mut pages = Pages::single(3)?;
        let pfn = pages.pfn();

        pages.free_from(5);
        let result = PageRefs::get(pages.phys(0), 8 * PAGE).map(|_| ());
        // SAFETY: The page is memory. If it has references, somebody else has got it meanwhile.
        check!(result == Err(EFAULT) || unsafe { sys::page_refs(pfn + 5) } != 0);
        check!((0..5).all(|index| pages.refs(index) == 1));
        Ok(())
    }
}
