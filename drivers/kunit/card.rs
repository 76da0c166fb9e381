// SPDX-License-Identifier: GPL-2.0-only

//! A card that fails is cut off from memory before anybody gets to know of it, and asked nothing more.

use kernel::prelude::*;

#[kunit_tests(mooring_card)]
mod tests {
    use crate::{
        cmdq::{
            commands,
            CommandError, //
        },
        kunit::{
            cp::Answer,
            fixture::TestCard,
            sys::Parent,
            trace::{
                self,
                Step, //
            },
        },
        wire::{
            ErrorCode,
            Opcode, //
        },
    };
    use kernel::{
        prelude::*,
        sync::Arc, //
    };

    const NOP: Step = Step::Command(Opcode::Nop);

    /// Rings have 64 entries; both are passed several times, with the indices that go with them.
    #[test]
    fn commands_are_answered() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;

        for _ in 0..200 {
            trace::start();
            commands::nop(card.card())?;
            check!(trace::take().steps() == [NOP]);
        }
        check!(!card.card().is_dead());
        Ok(())
    }

    #[test]
    fn refusal_changes_nothing() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;

        trace::start();
        card.cp(|cp| cp.answer(Opcode::Nop, Answer::Refused(ErrorCode::Busy)));
        check!(commands::nop(card.card()) == Err(CommandError::Refused(ErrorCode::Busy)));
        check!(commands::nop(card.card()) == Ok(()));
        check!(trace::take().steps() == [NOP, NOP]);
        Ok(())
    }

    /// Whatever the nonsense, the card loses its right to reach memory, once, and gets no further command.
    #[test]
    fn failure_cuts_off() -> Result {
        let parent = Parent::new()?;

        for (answer, answered) in [
            (Answer::WrongTag, true),
            (Answer::Gone, false),
            (Answer::Refused(ErrorCode::Internal), true),
        ] {
            let card = TestCard::new(&parent)?;

            trace::start();
            card.cp(|cp| cp.answer(Opcode::Nop, answer));
            check!(commands::nop(card.card()) == Err(CommandError::Dead));
            check!(card.card().is_dead());
            check!(commands::nop(card.card()) == Err(CommandError::Dead));
            card.card().fail("a test says so");
            let expected = [NOP, Step::BusMasterCleared];
            let skipped = usize::from(!answered);
            check!(Some(trace::take().steps()) == expected.get(skipped..));
        }
        Ok(())
    }

    /// When the driver is unbound the queues are off before their memory goes, and nothing holds the card.
    #[test]
    fn shutdown_ends_commands() -> Result {
        let parent = Parent::new()?;
        let refs = parent.refs();
        let card = TestCard::new(&parent)?;
        let shared = card.card().clone();

        check!(card.cp(|cp| cp.is_enabled()));
        trace::start();
        shared.shutdown();
        check!(!card.cp(|cp| cp.is_enabled()));
        check!(trace::take().steps() == [Step::BusMasterCleared]);
        check!(commands::nop(&shared) == Err(CommandError::Dead));
        shared.handle_events();
        check!(trace::take().steps().is_empty());

        drop(card);
        check!(Arc::into_unique_or_drop(shared).is_some());
        check!(parent.refs() == refs);
        Ok(())
    }
}
