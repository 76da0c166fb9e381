// SPDX-License-Identifier: GPL-2.0-only

//! Bus addresses in a row for memory that isn't, from a platform IOMMU that says yes to everything.

use kernel::prelude::*;

#[kunit_tests(mooring_bus_range)]
mod tests {
    use crate::{
        iommu::InForce,
        kunit::{
            fixture::Space,
            memory::{
                Maps,
                Pages,
                READ,
                READ_WRITE,
                WRITE, //
            },
            sys::Parent,
            trace::{
                self,
                Step::{
                    self,
                    Free,
                    Get,
                    IotlbSync,
                    Link,
                    Map,
                    Put,
                    Reserve,
                    Unlink,
                    Unmap, //
                },
                BUS, //
            },
        },
        wire::{
            AddressSpaceMode,
            Opcode, //
        },
    };
    use kernel::{
        bindings,
        dma::DataDirection,
        page::PAGE_SIZE,
        prelude::*, //
    };

    const PAGE: u64 = PAGE_SIZE as u64;
    const UPDATE: Step = Step::Command(Opcode::AddressSpaceUpdate);
    const SET_MODE: Step = Step::Command(Opcode::AddressSpaceSetMode);

    /// Three pages in a row of I/O virtual addresses, and in no order in memory.
    const ROW: [(u64, usize); 3] = [(2, 0), (3, 2), (4, 1)];

    /// An address space of a card behind a platform IOMMU.
    fn space(parent: &Parent) -> Result<Space<'_>> {
        let space = Space::new(parent)?;

        trace::add_iommu();
        Ok(space)
    }

    #[test]
    fn scattered_memory_is_one_extent() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = space(&parent)?;

        space.map(&pages, &ROW)?;
        let trace = trace::take();
        check!(trace.steps() == [Get, Get, Get, Reserve, Link, Link, Link, IotlbSync, UPDATE]);
        check!(space.space.extents().len() == 1);
        check!(space
            .space
            .extents()
            .iter()
            .all(|extent| extent.bus == BUS && extent.length == 3 * PAGE));
        Ok(())
    }

    /// Each page goes by itself, after the card has let go of it; the bus addresses go with the last.
    #[test]
    fn parts_go_one_by_one() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = space(&parent)?;

        space.map(&pages, &ROW)?;
        trace::take();
        space.map(&pages, &[(2, 0), (4, 1)])?;
        check!(trace::take().steps() == [UPDATE, UPDATE, Unlink, Put]);
        check!(space.space.extents().len() == 2);
        check!((0..4).map(|index| pages.refs(index)).eq([2, 2, 1, 1]));
        space.map(&pages, &[])?;
        let trace = trace::take();
        check!(trace.steps() == [UPDATE, Unlink, Put, Unlink, Free, Put]);
        check!(trace.is_balanced());
        check!((0..4).all(|index| pages.refs(index) == 1));
        Ok(())
    }

    /// What is added later has bus addresses of its own.
    #[test]
    fn what_is_held_stays_where_it_is() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = space(&parent)?;

        space.map(&pages, &[(3, 2)])?;
        check!(trace::take().steps() == [Get, Map, UPDATE]);
        space.map(&pages, &ROW)?;
        check!(trace::take().steps() == [Get, Map, Get, Map, UPDATE]);
        Ok(())
    }

    /// A page that can't be linked: what was linked goes back, and each page gets a mapping of its own.
    #[test]
    fn falls_back_to_mappings_of_their_own() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = space(&parent)?;

        trace::fail_mapping_after(1);
        space.map(&pages, &ROW)?;
        check!(
            trace::take().steps()
                == [Get, Get, Get, Reserve, Link, Unlink, Free, Map, Map, Map, UPDATE, UPDATE]
        );
        space.map(&pages, &[])?;
        check!(trace::take().is_balanced());
        check!((0..4).all(|index| pages.refs(index) == 1));
        Ok(())
    }

    /// A card that has no room: everything goes back, the mappings before the pages.
    #[test]
    fn refused_addition_gives_back() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = space(&parent)?;

        space.fill(1);
        check!(space.fail_to_map(&pages, &ROW)? == Some((ENOSPC, InForce::OldMap)));
        let trace = trace::take();
        let back = [UPDATE, Unlink, Put, Unlink, Put, Unlink, Free, Put];
        check!(trace.steps().ends_with(&back));
        check!(trace.is_balanced());
        check!((0..4).all(|index| pages.refs(index) == 1));
        Ok(())
    }

    /// A removal that fails closes the address space, before any memory goes back.
    #[test]
    fn refused_removal_blocks() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = space(&parent)?;

        space.map(&pages, &ROW)?;
        trace::take();
        space.fill(3);
        check!(space.fail_to_map(&pages, &[(2, 0)])? == Some((ENOSPC, InForce::Nothing)));
        let trace = trace::take();
        check!(trace.steps() == [UPDATE, UPDATE, UPDATE, SET_MODE, Unlink, Put, Unlink, Put]);
        check!(space.is(AddressSpaceMode::Blocked));
        Ok(())
    }

    /// What the device may only read is mapped so, alone or in a row; what differs is no row.
    #[test]
    fn permissions_go_all_the_way() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;

        for (permission, direction) in [
            (READ, DataDirection::ToDevice),
            (WRITE, DataDirection::FromDevice),
            (READ_WRITE, DataDirection::Bidirectional),
        ] {
            let mut space = space(&parent)?;
            let maps = Maps::new()?;
            // A row of two, and one by itself.
            for (page, index) in [(1, 0), (2, 2), (9, 1)] {
                let first = page * PAGE;
                maps.add(first, first + PAGE - 1, pages.phys(index), permission)?;
            }
            space.set_map(&maps).map_err(|failure| failure.error)?;
            let trace = trace::take();
            check!(trace.steps() == [Get, Get, Reserve, Link, Link, IotlbSync, Get, Map, UPDATE]);
            check!(trace.mapped().count() == 3);
            check!(trace.mapped().all(|mapped| {
                mapped.direction == direction.into()
                    && mapped.attrs == bindings::DMA_ATTR_REQUIRE_COHERENT as c_ulong
            }));
        }

        let mut space = space(&parent)?;
        let maps = Maps::of(&[
            (0, PAGE - 1, pages.phys(0), READ),
            (PAGE, 2 * PAGE - 1, pages.phys(2), READ_WRITE),
        ])?;
        space.set_map(&maps).map_err(|failure| failure.error)?;
        check!(trace::take().steps() == [Get, Map, Get, Map, UPDATE]);
        Ok(())
    }

    /// Without a platform IOMMU nobody asks for a row.
    #[test]
    fn works_without_a_platform_iommu() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &ROW)?;
        check!(trace::take().steps() == [Get, Get, Get, Map, Map, Map, UPDATE, UPDATE]);
        space.map(&pages, &[])?;
        let trace = trace::take();
        check!(trace.steps().contains(&Unmap) && trace.is_balanced());
        Ok(())
    }
}
