// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What becomes of requests that a disk has not carried out when their queue stops, in whichever way.

mod blk_support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_support::*;
use mooring_firmware::ring::features as ring;
use mooring_hw_regs::regs::{CmdqControl, CmdqTail, MailboxControl};
use mooring_hw_regs::wire::{Command, Opcode, QueueSelect, ARGUMENTS_SIZE, STATUS_OK};
use mooring_sim::testing::{scenarios, CardAccess, PATIENCE};
use mooring_sim::worker::{SharedCard, Worker};
use mooring_sim::{CardConfig, IommuKind};
use zerocopy::IntoBytes;

/// Writes five sectors that the card takes and the disk, which is closed, doesn't carry out.
fn stuck_writes(rig: &mut Rig, disk: &MemoryDisk, content: u8) -> Vec<Sent> {
    rig.driver.access.take_interrupt(1);
    disk.close();
    let sent = (0..5)
        .map(|sector| rig.send(0, (OUT, sector), &[content; 512], 0, 1))
        .collect();
    rig.ring(0);
    rig.driver.access.settle();
    sent
}

/// Has the card stop queue 0, without waiting for it.
fn submit_disable(rig: &mut Rig) {
    let mut arguments = [0; ARGUMENTS_SIZE];
    let select = QueueSelect { queue: 0.into() };
    select.write_to_prefix(&mut arguments).expect("it fits");
    rig.driver.submit(&Command {
        opcode: (Opcode::QueueDisable as u16).into(),
        tag: 0.into(),
        device: rig.device.device,
        reserved: 0.into(),
        payload: 0.into(),
        payload_length: 0.into(),
        reserved2: 0.into(),
        arguments,
    });
}

/// A card that doesn't wait long for a disk.
fn impatient() -> CardConfig {
    CardConfig {
        disk_patience: Duration::from_millis(20),
        ..CardConfig::default()
    }
}

#[test]
fn queue_stops_when_its_requests_are_answered() {
    for without in [ring::RING_PACKED, 0] {
        let disk = MemoryDisk::new();
        let mut rig = Rig::new(threaded(CardConfig::default(), &disk), 2, without);
        let number = rig.device.device.get();
        let sent = stuck_writes(&mut rig, &disk, 7);
        let opener = std::thread::spawn({
            let disk = disk.clone();
            move || {
                std::thread::sleep(std::time::Duration::from_millis(50));
                disk.open();
            }
        });
        let state = rig.driver.disable_queue(number, 0).expect("it stops");
        opener.join().expect("the opener");
        assert!(rig.driver.access.take_interrupt(1), "their interrupt");
        for sent in &sent {
            assert_eq!(rig.wait(sent).status, OK);
        }
        let expected = rig.queues[0].position();
        assert_eq!(
            (state.avail_index.get(), state.used_index.get()),
            (expected, expected)
        );
        // Where it goes on, nothing is lost and nothing comes twice.
        let enable = rig.queues[0].enable(0, rig.space, Some(1), 0);
        rig.driver.enable_queue(number, &enable).expect("start");
        assert_eq!(rig.request((IN, 4), &[], 512).data, [7; 512]);
        rig.driver.access.settle();
        assert_eq!(rig.queues[0].take_used(), None);
    }
}

#[test]
fn queue_that_waits_for_its_disk_holds_nobody_up() {
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(threaded(CardConfig::default(), &disk), 2, 0);
    let (mut pair, _) = scenarios::running_pair(&mut rig.driver, 0x2000_0000);
    let sent = stuck_writes(&mut rig, &disk, 7);
    submit_disable(&mut rig);
    for content in 0..20 {
        scenarios::expect_echo(&mut rig.driver, &mut pair, content);
    }
    // Nothing more is taken from the queue, or it would never end.
    let late = rig.send(0, (OUT, 9), &[9; 512], 0, 1);
    rig.ring(0);
    rig.driver.access.settle();
    disk.open();
    let completion = rig.driver.wait_completion().expect("it stops");
    assert_eq!(completion.status.get(), STATUS_OK);
    for sent in &sent {
        assert_eq!(rig.wait(sent).status, OK);
    }
    rig.driver.access.settle();
    assert_eq!(rig.queues[0].take_used(), None);
    assert_eq!(rig.answer(&late, 0).status, NO_STATUS);
    assert_eq!(disk.content()[9 * 512..10 * 512], [0; 512]);
}

#[test]
fn reset_does_not_wait_for_the_disk() {
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(threaded(CardConfig::default(), &disk), 1, 0);
    let number = rig.device.device.get();
    let sent = stuck_writes(&mut rig, &disk, 7);
    rig.driver.reset_device(number).expect("a reset");
    rig.restart();
    // What comes after the reset is carried out after what came before it, and is all that is answered.
    let later = rig.send(0, (OUT, 4), &[8; 512], 0, 1);
    rig.ring(0);
    disk.open();
    assert_eq!(rig.wait(&later).status, OK);
    assert_eq!(disk.content()[..4 * 512], [7; 4 * 512]);
    assert_eq!(disk.content()[4 * 512..5 * 512], [8; 512]);
    rig.driver.access.settle();
    assert_eq!(rig.queues[0].take_used(), None);
    for sent in &sent {
        assert_eq!(
            rig.answer(sent, 0).status,
            NO_STATUS,
            "an answer after the reset"
        );
    }

    // The card's own reset is no different.
    stuck_writes(&mut rig, &disk, 6);
    let Rig { driver, .. } = rig;
    let mut access = driver.access;
    access.function_reset();
    let mut rig = Rig::new(access, 1, 0);
    disk.open();
    assert_eq!(rig.request((IN, 4), &[], 512).data, [6; 512]);
    rig.driver.access.settle();
    assert_eq!(rig.queues[0].take_used(), None);
}

#[test]
fn failed_queue_that_starts_again_gets_no_old_answers() {
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(threaded(CardConfig::default(), &disk), 1, ring::RING_PACKED);
    let number = rig.device.device.get();
    stuck_writes(&mut rig, &disk, 7);
    rig.stop_by_a_request_without_room();
    let mut enable = rig.queues[0].enable(0, rig.space, Some(1), 0);
    (enable.avail_index, enable.used_index) = (6.into(), 6.into());
    rig.driver.enable_queue(number, &enable).expect("start");
    disk.open();
    rig.driver
        .access
        .wait_until(|_| disk.content()[4 * 512] == 7);
    rig.driver.access.settle();
    let state = rig.driver.query_queue(number, 0).expect("query");
    assert_eq!((state.avail_index.get(), state.used_index.get()), (6, 6));
}

#[test]
fn queue_stops_although_its_disk_hangs() {
    for (without, stands) in [(ring::RING_PACKED, (5, 0)), (0, (0x8000 | 5, 0x8000))] {
        let disk = MemoryDisk::new();
        let mut rig = Rig::new(threaded(impatient(), &disk), 2, without);
        let number = rig.device.device.get();
        let sent = stuck_writes(&mut rig, &disk, 7);
        let state = rig.driver.disable_queue(number, 0).expect("it stops");
        // Whoever asks sees that something is missing.
        let stood = (state.avail_index.get(), state.used_index.get());
        assert_eq!((stood, state.running.get()), (stands, 0));
        // Answers that come later go nowhere, neither into the stopped queue nor into what begins in its place.
        rig.driver.reset_device(number).expect("a reset");
        rig.restart();
        disk.open();
        rig.driver
            .access
            .wait_until(|_| disk.content()[4 * 512] == 7);
        rig.driver.access.settle();
        assert!(!rig.driver.access.take_interrupt(1), "a late interrupt");
        assert_eq!(rig.queues[0].take_used(), None);
        for sent in &sent {
            assert_eq!(rig.answer(sent, 0).status, NO_STATUS, "a late answer");
        }
        assert_eq!(rig.request((IN, 4), &[], 512).data, [7; 512]);
    }
}

#[test]
fn card_that_sleeps_wakes_when_it_has_waited_long_enough() {
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(threaded(impatient(), &disk), 1, 0);
    assert_eq!(rig.driver.access.card().wakes_at(), None);
    stuck_writes(&mut rig, &disk, 7);
    submit_disable(&mut rig);
    // Without a step of the test's.
    let card = SharedCard::new(rig.driver.access.into_card()).expect("a file descriptor");
    let card = Arc::new(card);
    let before = card.with(|card| card.commands_done());
    let worker = Worker::start(card.clone(), None).expect("a thread");
    command_ends(&card, before);
    worker.stop();
    disk.open();
}

/// Fails unless another command is carried out than those before, by a thread of the card's.
fn command_ends(card: &SharedCard, before: Option<u64>) {
    let done = || card.with(|card| card.commands_done());
    let deadline = Instant::now() + PATIENCE;
    while done() == before && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_ne!(done(), before, "the command is forgotten");
    assert_eq!(card.with(|card| card.wakes_at()), Some(None));
}

#[test]
fn card_that_sleeps_already_wakes_for_a_command_that_somebody_else_has_found() {
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(threaded(impatient(), &disk), 1, 0);
    stuck_writes(&mut rig, &disk, 7);
    let tail = rig.driver.read(CmdqTail::OFFSET);
    submit_disable(&mut rig);
    // Not yet.
    rig.driver.write(CmdqTail::OFFSET, tail);
    let card = SharedCard::new(rig.driver.access.into_card()).expect("a file descriptor");
    let card = Arc::new(card);
    let worker = Worker::start(card.clone(), None).expect("a thread");
    // It has nothing to do. Should it not sleep by then, it finds the command itself, as in the test before.
    std::thread::sleep(Duration::from_millis(50));
    let before = card.with(|card| {
        card.write(0, CmdqTail::OFFSET as u64, &(tail + 1).to_le_bytes());
        card.commands_done()
    });
    card.run();
    command_ends(&card, before);
    worker.stop();
    disk.open();
}

#[test]
fn waiting_command_ends_with_the_ring_that_it_came_from() {
    for (iommu, control) in [
        (IommuKind::Identity, CmdqControl::OFFSET),
        (IommuKind::None, MailboxControl::OFFSET),
    ] {
        let disk = MemoryDisk::new();
        let config = CardConfig {
            iommu,
            ..CardConfig::default()
        };
        let mut rig = Rig::new(threaded(config, &disk), 1, 0);
        let number = rig.device.device.get();
        let sent = stuck_writes(&mut rig, &disk, 7);
        submit_disable(&mut rig);
        rig.driver.access.settle();
        assert!(rig.driver.access.card().wakes_at().is_some(), "it waits");
        rig.driver.write(control, 0);
        assert_eq!(rig.driver.access.card().wakes_at(), None);
        rig.driver.set_up();
        // Each command gets an answer with its own tag, before the disk goes on and after.
        let running = |rig: &mut Rig| {
            let state = rig.driver.query_queue(number, 0);
            state.expect("query").running.get()
        };
        assert_eq!(running(&mut rig), 1);
        disk.open();
        for sent in &sent {
            assert_eq!(rig.wait(sent).status, OK);
        }
        rig.driver.access.settle();
        assert_eq!(running(&mut rig), 1);
        // And the queue, which nobody has stopped, takes more.
        assert_eq!(rig.request((IN, 4), &[], 512).data, [7; 512]);
    }
}
