// SPDX-License-Identifier: GPL-2.0-only

//! Maps that fail: an addition leaves all as it was, anything else is reduced to the removal, or closes the address
//! space, before memory goes back.

use kernel::prelude::*;

#[kunit_tests(mooring_map_failures)]
mod tests {
    use crate::{
        iommu::{
            InForce,
            MapError,
            Owner, //
        },
        kunit::{
            cp::Answer,
            fixture::Space,
            memory::{
                Maps,
                Pages, //
            },
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

    /// A range that can't be mapped: what was taken before goes back, the card hears nothing.
    #[test]
    fn failing_to_map_gives_back() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0)])?;
        trace::take();
        trace::fail_mapping_after(1);
        let places = [(1, 0), (2, 2), (3, 1)];
        check!(space.fail_to_map(&pages, &places)? == Some((ENOMEM, InForce::OldMap)));
        let trace = trace::take();
        check!(
            trace.steps()
                == [
                    Step::Get,
                    Step::Get,
                    Step::Map,
                    Step::Put,
                    Step::Unmap,
                    Step::Put
                ]
        );
        check!(trace.mapped().count() == 1);
        check!((0..4).map(|index| pages.refs(index)).eq([2, 1, 1, 1]));
        // The old map serves, and the next one works.
        check!(space.is(AddressSpaceMode::Translated));
        space.map(&pages, &places)?;
        check!((0..4).map(|index| pages.refs(index)).eq([2, 2, 2, 1]));
        Ok(())
    }

    /// A card that has no room for more: the old map serves.
    #[test]
    fn refused_addition_keeps_the_old_map() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0)])?;
        trace::take();
        space.fill(1);
        check!(space.fail_to_map(&pages, &[(1, 0), (9, 1)])? == Some((ENOSPC, InForce::OldMap)));
        check!(trace::take().steps() == [Step::Get, Step::Map, UPDATE, Step::Unmap, Step::Put]);
        check!(pages.refs(0) == 2 && pages.refs(1) == 1);
        check!(space.is(AddressSpaceMode::Translated));
        Ok(())
    }

    /// A removal that fails because of what is added is done alone: it takes no room, and no memory. What had no room
    /// before doesn't close the space when something else is removed.
    #[test]
    fn refused_removal_is_done_without_the_addition() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(2)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0), (5, 1)])?;
        trace::take();
        space.fill(1);
        check!(space.fail_to_map(&pages, &[(1, 0), (9, 2)])? == Some((ENOSPC, InForce::Rest)));
        check!(
            trace::take().steps()
                == [
                    Step::Get,
                    Step::Map,
                    UPDATE,
                    Step::Unmap,
                    Step::Put,
                    UPDATE,
                    Step::Unmap,
                    Step::Put
                ]
        );
        check!(space.is(AddressSpaceMode::Translated));
        check!((0..4).map(|index| pages.refs(index)).eq([2, 1, 1, 1]));
        // So it is if the memory can't even be mapped.
        space.map(&pages, &[(1, 0), (5, 1)])?;
        trace::take();
        trace::fail_mapping_after(0);
        check!(space.fail_to_map(&pages, &[(1, 0), (9, 2)])? == Some((ENOMEM, InForce::Rest)));
        check!(trace::take().steps() == [Step::Get, Step::Put, UPDATE, Step::Unmap, Step::Put]);
        space.map(&pages, &[(1, 0), (9, 2)])
    }

    /// A hole takes an extent more. Where there is no room for it, the longer side stays, and the other waits with its
    /// memory until there is room at a start.
    #[test]
    fn hole_that_has_no_room_keeps_the_longer_side() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::folio(2)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0), (2, 1), (3, 2), (4, 3)])?;
        check!(space.space.extents().len() == 1 && pages.refs(0) == 5);
        trace::take();
        space.fill(2);
        let rest = [(1, 0), (3, 2), (4, 3)];
        check!(space.fail_to_map(&pages, &rest)? == Some((ENOSPC, InForce::Rest)));
        let trace = trace::take();
        check!(trace.steps() == [UPDATE, UPDATE, UPDATE, Step::Unmap, Step::Put]);
        // All that was to stay is held, translated or not; what was removed has gone back.
        check!(space.space.extents().len() == 1 && pages.refs(0) == 4);
        check!(space.is(AddressSpaceMode::Translated));
        // As long as there is no room it waits, and no queue starts.
        space.fill(1);
        check!(space
            .restore()
            .is_err_and(|failure| failure.error == ENOSPC && failure.in_force == InForce::OldMap));
        check!(space.space.extents().len() == 1 && pages.refs(0) == 4);
        check!(space.restore().is_ok());
        check!(space.space.extents().len() == 2 && pages.refs(0) == 4);
        trace::take();
        check!(space.restore().is_ok());
        check!(trace::take().steps().is_empty());
        Ok(())
    }

    /// What waits belongs to its owner: when that lets go of it, it goes, and never comes back.
    #[test]
    fn what_waits_can_be_unmapped() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::folio(2)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0), (2, 1), (3, 2), (4, 3)])?;
        space.fill(2);
        check!(
            space.fail_to_map(&pages, &[(1, 0), (3, 2), (4, 3)])? == Some((ENOSPC, InForce::Rest))
        );
        check!(pages.refs(0) == 4);
        // The card has let go of it already, so that takes no command.
        trace::take();
        space.map(&pages, &[(3, 2), (4, 3)])?;
        check!(trace::take().steps() == [Step::Unmap, Step::Put]);
        check!(pages.refs(0) == 3);
        check!(space.restore().is_ok());
        check!(space.space.extents().len() == 1);

        // So it is if the whole address space is blocked, and remains so.
        space.fill(3);
        check!(space.fail_to_map(&pages, &[(3, 2)])? == Some((ENOSPC, InForce::Nothing)));
        check!(pages.refs(0) == 2);
        check!(space.space.reset_map(space.card.card()).is_ok());
        check!(pages.refs(0) == 1);
        check!(space.restore().is_ok());
        check!(space.is(AddressSpaceMode::Identity));
        Ok(())
    }

    /// Nothing is mapped after a failed `.reset_map`, and the next owner may want it 1:1: that is tried once more when a
    /// queue starts which may run untranslated.
    #[test]
    fn refused_reset_map_is_repaired_at_the_start() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(0)?;
        let mut space = Space::new(&parent)?;
        let refuse = |space: &Space<'_>| {
            let answer = Answer::Refused(ErrorCode::Busy);
            space
                .card
                .cp(|cp| cp.answer(Opcode::AddressSpaceSetMode, answer));
        };

        space.map(&pages, &[(1, 0)])?;
        refuse(&space);
        check!(space
            .space
            .reset_map(space.card.card())
            .is_err_and(|failure| failure.in_force == InForce::Nothing));
        check!(space.is(AddressSpaceMode::Blocked) && pages.refs(0) == 1);
        // No process gets there, and the kernel only if the card plays along.
        trace::take();
        check!(space.restore().is_ok());
        check!(trace::take().steps().is_empty());
        refuse(&space);
        check!(space.space.restore(space.card.card(), true).is_err());
        check!(space.is(AddressSpaceMode::Blocked));
        check!(space.space.restore(space.card.card(), true).is_ok());
        check!(space.is(AddressSpaceMode::Identity));
        trace::take();
        check!(space.space.restore(space.card.card(), true).is_ok());
        check!(trace::take().steps().is_empty());
        Ok(())
    }

    /// A removal that fails in every form closes the address space, before any memory goes back.
    #[test]
    fn refused_removal_blocks() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(1)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0), (5, 1)])?;
        trace::take();
        space.fill(3);
        check!(space.fail_to_map(&pages, &[(1, 0)])? == Some((ENOSPC, InForce::Nothing)));
        let trace = trace::take();
        check!(trace.steps() == [UPDATE, UPDATE, UPDATE, SET_MODE, Step::Unmap, Step::Put]);
        check!(space.is(AddressSpaceMode::Blocked));
        check!(space.space.extents().len() == 0);
        // What was to stay is back when the device starts again, and no sooner.
        check!(pages.refs(0) == 2 && pages.refs(1) == 1);
        check!(!space.space.is_mapped_by(Owner::Process));
        space.fill(1);
        check!(space
            .restore()
            .is_err_and(|failure| failure.error == ENOSPC));
        check!(!space.space.is_mapped_by(Owner::Process));
        check!(space.restore().is_ok());
        check!(space.space.is_mapped_by(Owner::Process) && space.is(AddressSpaceMode::Translated));
        check!(space.space.extents().len() == 1);
        trace::take();
        check!(space.restore().is_ok());
        check!(trace::take().steps().is_empty());
        Ok(())
    }

    /// A card that doesn't even block is cut off from memory, before any goes back.
    #[test]
    fn refused_block_cuts_the_card_off() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(0)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0)])?;
        trace::take();
        let answer = Answer::Refused(ErrorCode::Busy);
        space
            .card
            .cp(|cp| cp.answer(Opcode::AddressSpaceUpdate, answer));
        space
            .card
            .cp(|cp| cp.answer(Opcode::AddressSpaceSetMode, answer));
        check!(space.fail_to_map(&pages, &[])? == Some((EBUSY, InForce::Nothing)));
        check!(space.card.card().is_dead());
        let trace = trace::take();
        check!(
            trace.steps()
                == [
                    UPDATE,
                    SET_MODE,
                    Step::BusMasterCleared,
                    Step::Unmap,
                    Step::Put
                ]
        );
        check!(pages.refs(0) == 1);
        Ok(())
    }

    /// So is a card that goes away.
    #[test]
    fn card_that_goes_away_is_cut_off() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(1)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0)])?;
        trace::take();
        space
            .card
            .cp(|cp| cp.answer(Opcode::AddressSpaceUpdate, Answer::Gone));
        check!(space.fail_to_map(&pages, &[(1, 0), (3, 1)])? == Some((EIO, InForce::Nothing)));
        let trace = trace::take();
        check!(trace.steps().starts_with(&[
            Step::Get,
            Step::Map,
            Step::BusMasterCleared,
            Step::Unmap,
            Step::Put
        ]));
        check!(trace.is_balanced());
        check!(pages.refs(0) == 1 && pages.refs(1) == 1);
        Ok(())
    }

    /// A card that holds something else than the driver believes is closed, even for an addition.
    #[test]
    fn contradiction_blocks() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(1)?;
        let mut space = Space::new(&parent)?;

        space.map(&pages, &[(1, 0)])?;
        trace::take();
        let answer = Answer::Refused(ErrorCode::StaleGeneration);
        space
            .card
            .cp(|cp| cp.answer(Opcode::AddressSpaceUpdate, answer));
        check!(space.fail_to_map(&pages, &[(1, 0), (3, 1)])? == Some((EIO, InForce::Nothing)));
        check!(trace::take().steps().ends_with(&[SET_MODE]));
        check!(space.is(AddressSpaceMode::Blocked));
        check!(pages.refs(0) == 2 && pages.refs(1) == 1);
        // The next map begins anew, with the memory that is held.
        space.map(&pages, &[(1, 0)])?;
        check!(trace::take().steps() == [UPDATE]);
        Ok(())
    }

    /// What the card can't have is refused before memory is taken.
    #[test]
    fn nonsense_takes_nothing() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(0)?;
        let mut space = Space::new(&parent)?;
        let phys = pages.phys(0);

        for (first, last, phys, permission) in [
            // Not on pages; beyond the card's addresses; no permission.
            (1, 0x1000, phys, 3),
            (0, 0xffe, phys, 3),
            (1 << 48, (1 << 48) | 0xfff, phys, 3),
            (0, 0xfff, phys, 0),
            (0, 0xfff, phys + 1, 3),
        ] {
            let maps = Maps::of(&[(first, last, phys, permission)])?;
            check!(matches!(
                space.set_map(&maps),
                Err(MapError { error, in_force: InForce::OldMap }) if error == EINVAL
            ));
        }
        check!(trace::take().steps().is_empty());
        check!(pages.refs(0) == 1);
        check!(space.is(AddressSpaceMode::Identity));
        Ok(())
    }
}
