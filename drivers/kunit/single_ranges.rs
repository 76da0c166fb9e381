// SPDX-License-Identifier: GPL-2.0-only

//! Ranges that are mapped and unmapped one by one: what each costs, and what a failure leaves.

use kernel::prelude::*;

#[kunit_tests(mooring_single_ranges)]
mod tests {
    use crate::{
        iommu::{
            InForce,
            MapError, //
        },
        kunit::{
            fixture::Space,
            memory::{
                Maps,
                Pages, //
            },
            sys::Parent,
            trace::{
                self,
                Step::{
                    self,
                    Get,
                    Map,
                    Put,
                    Unmap, //
                },
            },
        },
        wire::{
            AddressSpaceMode,
            Opcode, //
        },
    };
    use kernel::{
        page::PAGE_SIZE,
        prelude::*, //
    };

    const PAGE: u64 = PAGE_SIZE as u64;
    const UPDATE: Step = Step::Command(Opcode::AddressSpaceUpdate);
    const SET_MODE: Step = Step::Command(Opcode::AddressSpaceSetMode);

    /// Maps page `index` of `pages` at the I/O virtual page `place`.
    fn map(
        space: &mut Space<'_>,
        pages: &Pages,
        place: u64,
        index: usize,
    ) -> Result<Result<(), MapError>> {
        Ok(space.dma_map(&Maps::of_pages(pages, &[(place, index)])?))
    }

    fn map_all(space: &mut Space<'_>, pages: &Pages, places: &[(u64, usize)]) -> Result {
        for &(place, index) in places {
            map(space, pages, place, index)?.map_err(|failure| failure.error)?;
        }
        trace::take();
        Ok(())
    }

    fn unmap(space: &mut Space<'_>, place: u64, count: u64) -> Result<(), MapError> {
        space.dma_unmap(place * PAGE, (place + count) * PAGE - 1)
    }

    fn is(result: Result<(), MapError>, error: Error, in_force: InForce) -> bool {
        matches!(result, Err(failure) if failure.error == error && failure.in_force == in_force)
    }

    #[test]
    fn each_is_one_command() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = Space::new(&parent)?;

        for (place, index) in [(1, 0), (9, 1), (5, 2)] {
            check!(map(&mut space, &pages, place, index)?.is_ok());
            check!(trace::take().steps() == [Get, Map, UPDATE]);
        }
        check!(space.is(AddressSpaceMode::Translated));
        // With the last one the address space goes back to its default.
        for (place, command) in [(1, UPDATE), (5, UPDATE), (9, SET_MODE)] {
            check!(unmap(&mut space, place, 1).is_ok());
            check!(trace::take().steps() == [command, Unmap, Put]);
        }
        check!(trace::take().is_balanced());
        check!((0..4).all(|index| pages.refs(index) == 1));
        Ok(())
    }

    /// One that is joined with both neighbours, and torn from them.
    #[test]
    fn a_range_between_others() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = Space::new(&parent)?;

        map_all(&mut space, &pages, &[(1, 0), (3, 2)])?;
        check!(space.space.extents().len() == 2);
        map_all(&mut space, &pages, &[(2, 1)])?;
        check!(space.space.extents().len() == 1);
        check!(unmap(&mut space, 2, 1).is_ok());
        // A removal and two additions, of which two fit a command.
        check!(trace::take().steps() == [UPDATE, UPDATE, Unmap, Put]);
        check!(space.space.extents().len() == 2);
        check!((0..4).map(|index| pages.refs(index)).eq([2, 1, 2, 1]));
        Ok(())
    }

    #[test]
    fn several_go_at_once() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = Space::new(&parent)?;

        map_all(&mut space, &pages, &[(1, 0), (5, 2), (9, 1)])?;
        // From the middle of nowhere, to the end.
        check!(unmap(&mut space, 3, 40).is_ok());
        check!(trace::take().steps() == [UPDATE, Unmap, Put, Unmap, Put]);
        check!((0..4).map(|index| pages.refs(index)).eq([2, 1, 1, 1]));
        // What isn't there goes without a word.
        check!(unmap(&mut space, 3, 40).is_ok());
        check!(trace::take().steps().is_empty());
        Ok(())
    }

    #[test]
    fn nothing_is_mapped_twice() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = Space::new(&parent)?;

        map_all(&mut space, &pages, &[(1, 0)])?;
        check!(is(map(&mut space, &pages, 1, 1)?, EEXIST, InForce::OldMap));
        check!(trace::take().steps().is_empty());
        check!(space.is(AddressSpaceMode::Translated));
        Ok(())
    }

    #[test]
    fn refused_addition_keeps_the_old_map() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = Space::new(&parent)?;

        map_all(&mut space, &pages, &[(1, 0)])?;
        space.fill(1);
        check!(is(map(&mut space, &pages, 2, 2)?, ENOSPC, InForce::OldMap));
        check!(trace::take().steps() == [Get, Map, UPDATE, Unmap, Put]);
        check!((0..4).map(|index| pages.refs(index)).eq([2, 1, 1, 1]));
        // The next one works.
        map_all(&mut space, &pages, &[(2, 2)])
    }

    /// vhost ignores the error, so what was removed must not be reachable then.
    #[test]
    fn failed_removal_blocks() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = Space::new(&parent)?;

        map_all(&mut space, &pages, &[(1, 0), (9, 1)])?;
        space.fill(3);
        check!(is(unmap(&mut space, 1, 1), ENOSPC, InForce::Nothing));
        check!(trace::take().steps() == [UPDATE, UPDATE, UPDATE, SET_MODE, Unmap, Put]);
        check!(space.is(AddressSpaceMode::Blocked));
        // With the next range the others are back.
        map(&mut space, &pages, 20, 2)?.map_err(|failure| failure.error)?;
        // In the same transaction.
        check!(trace::take().steps() == [Get, Map, UPDATE]);
        check!(space.space.extents().len() == 2);
        // Blocked once more: vhost goes on all the same.
        space.fill(3);
        check!(is(unmap(&mut space, 20, 1), ENOSPC, InForce::Nothing));
        trace::take();
        check!(unmap(&mut space, 9, 1).is_ok());
        check!(trace::take().steps() == [SET_MODE, Unmap, Put]);
        check!((0..4).all(|index| pages.refs(index) == 1));
        Ok(())
    }

    /// A part of a range is never what vhost asks for. All of the range goes, and nothing else.
    #[test]
    fn part_of_a_range_takes_the_range_along() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::folio(2)?;
        let mut space = Space::new(&parent)?;
        let page_size = PAGE;

        let maps = Maps::of(&[(0, 2 * page_size - 1, pages.phys(0), 3)])?;
        check!(space.dma_map(&maps).is_ok());
        map_all(&mut space, &pages, &[(9, 3)])?;
        check!(is(unmap(&mut space, 0, 1), EINVAL, InForce::Rest));
        check!(trace::take().steps() == [UPDATE, Unmap, Put]);
        check!(space.is(AddressSpaceMode::Translated));
        check!(unmap(&mut space, 9, 1).is_ok());
        check!(pages.refs(0) == 1);
        Ok(())
    }

    /// A hole that a full card has no room for: the longer side stays, and the other waits until it is removed, or has
    /// room with the next range.
    #[test]
    fn hole_that_has_no_room_keeps_the_longer_side() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::folio(2)?;
        let mut space = Space::new(&parent)?;

        map_all(&mut space, &pages, &[(1, 0), (2, 1), (3, 2), (4, 3)])?;
        check!(space.space.extents().len() == 1);
        for remap in [true, false] {
            space.fill(2);
            check!(is(unmap(&mut space, 2, 1), ENOSPC, InForce::Rest));
            check!(trace::take().steps() == [UPDATE, UPDATE, UPDATE, Unmap, Put]);
            check!(space.space.extents().len() == 1 && pages.refs(0) == 4);
            if remap {
                // vhost has it in its list, and so has the driver.
                check!(is(map(&mut space, &pages, 1, 0)?, EEXIST, InForce::OldMap));
                // What closes the hole needs no room.
                map_all(&mut space, &pages, &[(2, 1)])?;
                check!(space.space.extents().len() == 1 && pages.refs(0) == 5);
            }
        }
        // The shorter side isn't translated, so no command is needed.
        check!(unmap(&mut space, 1, 1).is_ok());
        check!(trace::take().steps() == [Unmap, Put]);
        check!(unmap(&mut space, 3, 2).is_ok());
        check!(pages.refs(0) == 1);
        Ok(())
    }
}
