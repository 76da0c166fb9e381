// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::*;
use mooring_hw_regs::wire::{EventKind, Opcode, NO_DEVICE, STATUS_OK};
use zerocopy::FromZeros;

const VECTORS: u16 = 4;
const VECTOR: u16 = 3;

/// A mailbox with its registers, as the card has them.
struct Fixture {
    mailbox: Mailbox,
    registers: RegisterFile,
}

impl Fixture {
    fn new() -> Self {
        let mut fixture = Self {
            mailbox: Mailbox::default(),
            registers: RegisterFile::new(),
        };
        fixture.enable();
        fixture
    }

    fn enable(&mut self) {
        let control = MailboxControl(0).with_enable(true).with_vector(VECTOR);
        self.write(MailboxControl::OFFSET, control.0);
    }

    fn write(&mut self, offset: usize, value: u32) -> Option<u16> {
        self.mailbox.write_window(offset, value);
        self.registers.host_write(offset, value);
        self.mailbox.written(offset, &mut self.registers, VECTORS)
    }

    fn read<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        for (at, word) in bytes.chunks_exact_mut(4).enumerate() {
            let value = self.mailbox.read_window(offset + 4 * at).expect("a window");
            word.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn status(&self) -> MailboxStatus {
        MailboxStatus(self.registers.host_read(MailboxStatus::OFFSET))
    }

    fn write_command(&mut self, tag: u16) {
        let command = Command {
            opcode: (Opcode::Nop as u16).into(),
            tag: tag.into(),
            device: NO_DEVICE.into(),
            ..Command::new_zeroed()
        };
        for (at, word) in command.as_bytes().chunks_exact(4).enumerate() {
            let word = u32::from_le_bytes(word.try_into().expect("four bytes"));
            self.write(MAILBOX_COMMAND_OFFSET + 4 * at, word);
        }
    }

    fn ring(&mut self, sequence: u32) {
        self.write(MailboxDoorbell::OFFSET, sequence);
    }

    fn complete(&mut self, tag: u16) {
        let completion = Completion {
            tag: tag.into(),
            status: STATUS_OK.into(),
            ..Completion::new_zeroed()
        };
        self.mailbox.complete(&mut self.registers, &completion);
    }

    fn completion(&self) -> Completion {
        Completion::read_from_bytes(
            &self.read::<MAILBOX_COMPLETION_SIZE>(MAILBOX_COMPLETION_OFFSET),
        )
        .expect("32 bytes")
    }

    fn event(&self) -> Event {
        Event::read_from_bytes(&self.read::<MAILBOX_EVENT_SIZE>(MAILBOX_EVENT_OFFSET))
            .expect("32 bytes")
    }

    fn post(&mut self, device: u16) -> Option<u16> {
        self.mailbox.post(&Event {
            kind: (EventKind::QueueStopped as u16).into(),
            device: device.into(),
            ..Event::new_zeroed()
        })
    }

    fn acknowledge(&mut self, sequence: u32) -> Option<u16> {
        self.write(MailboxEventAcknowledge::OFFSET, sequence)
    }
}

#[test]
fn commands_go_one_after_the_other() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.completion().sequence.get(), 0);
    for sequence in 1..5u32 {
        let tag = sequence as u16 + 100;
        fixture.write_command(tag);
        assert!(!fixture.mailbox.has_commands(), "before the doorbell");
        fixture.ring(sequence);
        assert!(fixture.status().busy());
        let command = fixture.mailbox.fetch().expect("a command");
        assert_eq!(command.tag.get(), tag);
        assert!(fixture.mailbox.fetch().is_none(), "it is taken once");
        assert_eq!(fixture.completion().sequence.get(), sequence - 1);
        fixture.complete(tag);
        let completion = fixture.completion();
        assert_eq!(
            (completion.sequence.get(), completion.tag.get()),
            (sequence, tag)
        );
        assert!(!fixture.status().busy());
    }
}

/// What the host writes behind the doorbell is no part of the command, and doesn't reach its payload.
#[test]
fn windows_belong_to_the_card_while_it_is_busy() {
    let mut fixture = Fixture::new();
    fixture.write_command(7);
    fixture.write(MAILBOX_PAYLOAD_OFFSET, 0x1111_1111);
    fixture.ring(1);
    fixture.write_command(8);
    fixture.write(MAILBOX_PAYLOAD_OFFSET, 0x2222_2222);
    assert_eq!(
        fixture.mailbox.fetch().map(|command| command.tag.get()),
        Some(7)
    );
    assert_eq!(
        fixture.mailbox.payload(0, 4).map(|bytes| bytes.to_vec()),
        Some(vec![0x11; 4])
    );
    fixture.complete(7);
    fixture.write_command(9);
    fixture.ring(2);
    assert_eq!(
        fixture.mailbox.fetch().map(|command| command.tag.get()),
        Some(9)
    );
}

#[test]
fn doorbell_out_of_turn_stops_it() {
    for rings in [&[0][..], &[2], &[u32::MAX], &[1, 1], &[1, 2]] {
        let mut fixture = Fixture::new();
        fixture.write_command(1);
        rings.iter().for_each(|sequence| fixture.ring(*sequence));
        let status = fixture.status();
        assert!(
            status.error() && !status.enabled() && !status.busy(),
            "{rings:?}"
        );
        assert!(!fixture.mailbox.has_commands(), "{rings:?}");
        // Nothing works, and switching on doesn't help, before it is switched off.
        fixture.enable();
        fixture.ring(1);
        assert!(!fixture.mailbox.has_commands());
        assert_eq!(fixture.post(0), None);
        fixture.write(MailboxControl::OFFSET, 0);
        assert_eq!(fixture.status(), MailboxStatus(0));
        fixture.enable();
        fixture.write_command(1);
        fixture.ring(1);
        assert!(fixture.mailbox.has_commands());
    }
}

#[test]
fn completion_of_a_command_that_nobody_waits_for_goes_nowhere() {
    let mut fixture = Fixture::new();
    fixture.complete(5);
    assert_eq!(fixture.completion().sequence.get(), 0);
    // Switched off, and on again, in the middle of a command.
    fixture.write_command(6);
    fixture.ring(1);
    assert!(fixture.mailbox.fetch().is_some());
    fixture.write(MailboxControl::OFFSET, 0);
    fixture.enable();
    fixture.complete(6);
    assert_eq!(fixture.completion().sequence.get(), 0);
}

#[test]
fn set_up_is_checked() {
    let mut fixture = Fixture::new();
    for (vector, good) in [(VECTORS, false), (VECTORS - 1, true), (NO_VECTOR, true)] {
        fixture.write(MailboxControl::OFFSET, 0);
        let control = MailboxControl(0).with_enable(true).with_vector(vector);
        fixture.write(MailboxControl::OFFSET, control.0);
        assert_eq!(
            (fixture.status().enabled(), fixture.status().error()),
            (good, !good)
        );
    }
    assert_eq!(fixture.post(1), None, "an event without a vector");
    assert_eq!(fixture.event().device.get(), 1);
}

#[test]
fn events_appear_one_at_a_time() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.event().sequence.get(), 0);
    assert_eq!(fixture.post(10), Some(VECTOR));
    assert_eq!(fixture.post(11), None, "it can't be seen yet");
    let event = fixture.event();
    assert_eq!((event.sequence.get(), event.device.get()), (1, 10));
    // Not this one: of the future, of the past, none.
    for wrong in [2, 0, u32::MAX] {
        assert_eq!(fixture.acknowledge(wrong), None);
        assert_eq!(fixture.event().device.get(), 10);
    }
    assert_eq!(fixture.acknowledge(1), Some(VECTOR));
    let event = fixture.event();
    assert_eq!((event.sequence.get(), event.device.get()), (2, 11));
    assert_eq!(fixture.acknowledge(1), None, "a second time");
    assert_eq!(fixture.acknowledge(2), None);
    assert_eq!(fixture.event().sequence.get(), 0);
}

#[test]
fn lost_events_are_counted() {
    let mut fixture = Fixture::new();
    let room = WAITING as u16 + 1;
    for device in 0..room + 5 {
        fixture.post(device);
    }
    for sequence in 1..=u32::from(room) {
        assert_eq!(fixture.event().sequence.get(), sequence);
        assert_eq!(fixture.event().lost.get(), 0);
        assert_eq!(fixture.mailbox.has_loss_to_tell(), sequence != 1);
        fixture.acknowledge(sequence);
    }
    assert_eq!(fixture.event().sequence.get(), 0);
    fixture.post(1000);
    assert_eq!(fixture.event().lost.get(), 5);
    assert!(!fixture.mailbox.has_loss_to_tell());
}

#[test]
fn what_the_card_writes_the_host_cannot() {
    let mut fixture = Fixture::new();
    fixture.post(3);
    for offset in [MAILBOX_COMPLETION_OFFSET, MAILBOX_EVENT_OFFSET] {
        let before = fixture.mailbox.read_window(offset);
        fixture.write(offset, 0x5a5a_5a5a);
        assert_eq!(fixture.mailbox.read_window(offset), before);
    }
    assert_eq!(
        fixture.mailbox.read_window(MAILBOX_PAYLOAD_OFFSET - 4),
        None
    );
    let end = MAILBOX_PAYLOAD_OFFSET + MAILBOX_PAYLOAD_SIZE;
    assert_eq!(fixture.mailbox.read_window(end), None);
    for (offset, length) in [
        (1024, 1),
        (1023, 2),
        (u64::MAX, 1),
        (0, 1025),
        (1, usize::MAX),
    ] {
        assert!(fixture.mailbox.payload(offset, length).is_none());
    }
}
