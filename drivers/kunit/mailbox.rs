// SPDX-License-Identifier: GPL-2.0-only

//! The mailbox from the driver's side, against a card that keeps to the rules and one that doesn't.

use kernel::prelude::*;

#[kunit_tests(mooring_mailbox)]
mod tests {
    use crate::{
        cmdq::transport::{
            CommandQueue,
            Payload,
            TransportError, //
        },
        info::Translation,
        kunit::{
            cp::{
                self,
                Answer, //
            },
            fixture::{
                self,
                TestCard, //
            },
            sys::Parent, //
        },
        mailbox::{
            COMMAND,
            EVENT,
            PAYLOAD, //
        },
        msix::EVENT_VECTOR,
        pci::Registers,
        regs,
        wire::{
            Command,
            Completion,
            EventKind,
            Opcode,
            STATUS_OK, //
        },
    };
    use kernel::{
        io::Io,
        prelude::*,
        time::Delta, //
    };
    use zerocopy::FromZeros;

    /// Long enough for whatever is answered.
    const PATIENT: Delta = Delta::from_millis(10_000);

    /// A mailbox that is on.
    struct Mailbox {
        registers: Registers,
        queue: CommandQueue,
    }

    impl Mailbox {
        fn new(parent: &Parent) -> Result<Self> {
            let registers = Registers::new()?;
            let info = fixture::info(Translation::Platform);
            let mut queue = CommandQueue::new(parent.dev(), &info, 0)?;

            queue.enable(&registers)?;
            Ok(Self { registers, queue })
        }

        fn answer(&self, answer: Answer) {
            self.registers.cp(|cp| cp.answer(Opcode::Nop, answer));
        }

        fn execute(
            &mut self,
            mut payload: Payload<'_>,
            timeout: Delta,
        ) -> Result<Completion, TransportError> {
            let mut command = Command::new_zeroed();

            command.opcode = (Opcode::Nop as u16).into();
            self.queue
                .execute(&self.registers, command, &mut payload, timeout)
        }

        fn nop(&mut self) -> Result<Completion, TransportError> {
            self.execute(Payload::None, PATIENT)
        }
    }

    /// It is switched on for events with the vector that is the events', and not a queue's.
    #[test]
    fn is_switched_on_with_the_vector_of_events() -> Result {
        let parent = Parent::new()?;
        let mailbox = Mailbox::new(&parent)?;
        let control = mailbox
            .registers
            .with(|io| io.read(regs::MAILBOX_CONTROL))?;

        check!(control.enable() && control.vector() == EVENT_VECTOR);
        // The rings stay off.
        let control = mailbox.registers.with(|io| io.read(regs::CMDQ_CONTROL))?;
        check!(!control.enable());
        Ok(())
    }

    /// Each command has a number and a tag of its own, and is answered.
    #[test]
    fn commands_are_answered_in_turn() -> Result {
        let parent = Parent::new()?;
        let mut mailbox = Mailbox::new(&parent)?;

        for sequence in 1..100u32 {
            let completion = mailbox.nop().map_err(|_| EIO)?;
            check!(completion.sequence.get() == sequence);
            check!(u32::from(completion.tag.get()) == sequence);
            check!(completion.status.get() == STATUS_OK);
            let rung = mailbox
                .registers
                .with(|io| io.read(regs::MAILBOX_DOORBELL))?;
            check!(rung.sequence() == sequence);
        }
        Ok(())
    }

    /// The card inverts the window for each command: what is sent with one comes back with the next. An odd length
    /// ends inside a word.
    #[test]
    fn payloads_go_both_ways() -> Result {
        let parent = Parent::new()?;
        let mut mailbox = Mailbox::new(&parent)?;
        let mut sent = KVec::from_elem(0u8, PAYLOAD.size(), GFP_KERNEL)?;
        let mut back = KVec::from_elem(0u8, PAYLOAD.size(), GFP_KERNEL)?;

        for (value, byte) in (1u8..=251).cycle().zip(sent.iter_mut()) {
            *byte = value;
        }
        for len in [PAYLOAD.size(), 1, 31, 4] {
            let (Some(sent), Some(back)) = (sent.get(..len), back.get_mut(..len)) else {
                return Err(EINVAL);
            };
            back.fill(0);
            check!(mailbox.execute(Payload::ToCard(sent), PATIENT).is_ok());
            let mut bytes = [0; size_of::<Command>()];
            COMMAND.read(&mailbox.registers, &mut bytes)?;
            let command = Command::read_from_bytes(&bytes).map_err(|_| EINVAL)?;
            check!(command.payload_length.get() as usize == len);
            check!(mailbox.execute(Payload::FromCard(back), PATIENT).is_ok());
            check!(*back == *sent);
        }
        Ok(())
    }

    /// Nothing is written, no number is used up, and the next command works.
    #[test]
    fn long_payload_is_refused_before_anything_is_written() -> Result {
        let parent = Parent::new()?;
        let mut mailbox = Mailbox::new(&parent)?;
        let mut long = KVec::from_elem(0xa5u8, PAYLOAD.size() + 1, GFP_KERNEL)?;

        let to_card = mailbox.execute(Payload::ToCard(&long), PATIENT);
        check!(to_card.err() == Some(TransportError::NotIssued(EINVAL)));
        let from_card = mailbox.execute(Payload::FromCard(&mut long), PATIENT);
        check!(from_card.err() == Some(TransportError::NotIssued(EINVAL)));
        check!(PAYLOAD.write(&mailbox.registers, &long) == Err(EINVAL));
        check!(PAYLOAD.read(&mailbox.registers, &mut long) == Err(EINVAL));

        let mut window = [1; regs::MAILBOX_PAYLOAD_SIZE];
        PAYLOAD.read(&mailbox.registers, &mut window)?;
        check!(window.iter().all(|byte| *byte == 0));
        let mut command = [1; regs::MAILBOX_COMMAND_SIZE];
        COMMAND.read(&mailbox.registers, &mut command)?;
        check!(command.iter().all(|byte| *byte == 0));
        let rung = mailbox
            .registers
            .with(|io| io.read(regs::MAILBOX_DOORBELL))?;
        check!(rung.sequence() == 0);
        let completion = mailbox.nop().map_err(|_| EIO)?;
        check!(completion.sequence.get() == 1);
        Ok(())
    }

    /// An answer to another command, and one that changes after it was the driver's.
    #[test]
    fn wrong_answers_are_noticed() -> Result {
        let parent = Parent::new()?;

        for answer in [Answer::WrongTag, Answer::Fickle] {
            let mut mailbox = Mailbox::new(&parent)?;

            check!(mailbox.nop().is_ok());
            mailbox.answer(answer);
            check!(mailbox.nop().err() == Some(TransportError::Desynchronised));
        }
        Ok(())
    }

    /// A card that is pulled out before it answers, and one that is while its answer is read.
    #[test]
    fn card_that_goes_away_is_noticed() -> Result {
        let parent = Parent::new()?;

        for answer in [Answer::Gone, Answer::GoneAfterwards] {
            let mut mailbox = Mailbox::new(&parent)?;
            let mut data = [0; 64];

            mailbox.answer(answer);
            let result = mailbox.execute(Payload::FromCard(&mut data), PATIENT);
            check!(result.err() == Some(TransportError::Gone));
        }
        Ok(())
    }

    /// Waiting has an end, and the number of the last completion is not taken for that of the next one.
    #[test]
    fn card_that_does_not_answer_is_given_up() -> Result {
        let parent = Parent::new()?;
        let mut mailbox = Mailbox::new(&parent)?;

        check!(mailbox.nop().is_ok());
        mailbox.answer(Answer::None);
        let result = mailbox.execute(Payload::None, Delta::from_millis(5));
        check!(result.err() == Some(TransportError::TimedOut));
        Ok(())
    }

    /// One event after the other is taken from the window, and each only once.
    #[test]
    fn events_are_taken_in_turn() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::of_kind(&parent, Translation::Platform)?;
        let registers = card.card().registers();
        let mut window = [1; regs::MAILBOX_EVENT_SIZE];

        for round in 0..3u32 {
            for lost in [1, 20, 300] {
                card.post(crate::wire::Event {
                    lost: lost.into(),
                    ..cp::event(EventKind::EventsLost, 7)
                });
            }
            check!(card.card().lost_events() == round * 321);
            card.card().handle_events();
            check!(card.card().lost_events() == (round + 1) * 321);
            let acknowledged = registers.with(|io| io.read(regs::MAILBOX_EVENT_ACKNOWLEDGE))?;
            check!(acknowledged.sequence() == 3 * (round + 1));
            EVENT.read(registers, &mut window)?;
            check!(window.iter().all(|byte| *byte == 0));
            card.card().handle_events();
            check!(card.card().lost_events() == (round + 1) * 321);
        }
        Ok(())
    }
}
