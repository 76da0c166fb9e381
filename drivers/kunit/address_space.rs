// SPDX-License-Identifier: GPL-2.0-only

//! What an address space holds of the host's memory, and when it gives it back: after the card has
//! acknowledged that it does not translate to it any more, the mapping first and then the pages.

use kernel::prelude::*;

#[kunit_tests(mooring_address_space)]
mod tests {
    use crate::{
        kunit::{
            cp::Answer,
            fixture::{
                Space,
                BATCH, //
            },
            memory::Pages,
            sys::Parent,
            trace::{
                self,
                Step, //
            },
        },
        wire::{
            AddressSpaceMode,
            ErrorCode,
            Opcode, //
        },
    };
    use kernel::prelude::*;

    const UPDATE: Step = Step::Command(Opcode::AddressSpaceUpdate);
    const SET_MODE: Step = Step::Command(Opcode::AddressSpaceSetMode);
    const DESTROY: Step = Step::Command(Opcode::AddressSpaceDestroy);

    #[test]
    fn holds_what_is_mapped() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0), (2, 2)])?;
        check!((0..4).map(|index| pages.refs(index)).eq([2, 1, 2, 1]));
        check!(trace::take().steps() == [Step::Get, Step::Get, Step::Map, Step::Map, UPDATE]);
        check!(space.is(AddressSpaceMode::Translated));

        // The same again costs nothing.
        space.map(&pages, &[(1, 0), (2, 2)])?;
        check!(trace::take().steps().is_empty());
        check!((0..4).map(|index| pages.refs(index)).eq([2, 1, 2, 1]));
        Ok(())
    }

    /// What stays mapped is left alone when something is added or removed.
    #[test]
    fn touches_the_difference_only() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0), (10, 1)])?;
        trace::take();
        space.map(&pages, &[(1, 0), (5, 2), (10, 1)])?;
        check!(trace::take().steps() == [Step::Get, Step::Map, UPDATE]);
        space.map(&pages, &[(5, 2), (10, 1)])?;
        check!(trace::take().steps() == [UPDATE, Step::Unmap, Step::Put]);
        check!((0..4).map(|index| pages.refs(index)).eq([1, 2, 2, 1]));
        Ok(())
    }

    /// vhost has unpinned the pages before it tells the driver. They must not go before the card lets go.
    #[test]
    fn keeps_pages_until_acknowledged() -> Result {
        let parent = Parent::new()?;
        let mut pages = Pages::single(1)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0), (4, 1)])?;
        trace::take();
        let pfn = pages.pfn() + 1;
        pages.free_from(1);
        space.card.cp(|cp| cp.watch(pfn));
        space.map(&pages, &[(1, 0)])?;
        check!(space.card.cp(|cp| cp.watched_refs()) == 1);
        check!(trace::take().steps() == [UPDATE, Step::Unmap, Step::Put]);
        Ok(())
    }

    /// As above, when the change takes several commands: only the last one commits.
    #[test]
    fn keeps_pages_until_the_commit() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(3)?;
        let mut space = Space::new(&parent)?;
        let places: [(u64, usize); 4] = [(0, 0), (10, 1), (20, 2), (30, 3)];

        space.map(&pages, &places)?;
        trace::take();
        space.map(&pages, &[])?;
        check!(places.len() == 2 * usize::from(BATCH));
        let trace = trace::take();
        check!(trace
            .steps()
            .starts_with(&[UPDATE, UPDATE, Step::Unmap, Step::Put]));
        check!(trace.steps().len() == 2 + 2 * places.len());
        check!(trace.is_balanced());
        check!((0..4).all(|index| pages.refs(index) == 1));
        check!(space.is(AddressSpaceMode::Translated));
        Ok(())
    }

    /// Other memory at the same address: the new is there before the card hears of it, the old after.
    #[test]
    fn replaces_memory() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(1)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0)])?;
        trace::take();
        space.map(&pages, &[(1, 1)])?;
        check!(trace::take().steps() == [Step::Get, Step::Map, UPDATE, Step::Unmap, Step::Put]);
        check!(pages.refs(0) == 1 && pages.refs(1) == 2);
        Ok(())
    }

    #[test]
    fn reset_gives_back_after_the_card() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::folio(1)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0), (2, 1)])?;
        // Both pieces have a reference to the same folio.
        check!(pages.refs(0) == 3);
        trace::take();
        let Space { space, card, .. } = &mut space;
        space
            .reset_map(card.card())
            .map_err(|failure| failure.error)?;
        let trace = trace::take();
        check!(trace.steps() == [SET_MODE, Step::Unmap, Step::Put, Step::Unmap, Step::Put]);
        check!(trace.is_balanced());
        check!(pages.refs(0) == 1);
        check!(card.cp(|cp| cp.modes().eq([AddressSpaceMode::Identity])));
        Ok(())
    }

    #[test]
    fn destroying_gives_back_after_the_card() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(0)?;

        for refused in [false, true] {
            let mut space = Space::new(&parent)?;
            space.map(&pages, &[(1, 0)])?;
            trace::take();
            let Space { space, card, .. } = space;
            if refused {
                let answer = Answer::Refused(ErrorCode::Busy);
                card.cp(|cp| cp.answer(Opcode::AddressSpaceDestroy, answer));
            }
            space.destroy(card.card());
            let trace = trace::take();
            let cut_off: &[Step] = match refused {
                true => &[DESTROY, Step::BusMasterCleared, Step::Unmap, Step::Put],
                false => &[DESTROY, Step::Unmap, Step::Put],
            };
            check!(trace.steps() == cut_off);
            check!(trace.is_balanced());
            check!(pages.refs(0) == 1);
        }
        Ok(())
    }
}
