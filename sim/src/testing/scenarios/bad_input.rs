// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What no driver should do, and how hardware answers.

use mooring_hw_regs::regs::{
    CmdqControl, CmdqSize, CmdqStatus, CmdqTail, EventqConsumer, EventqControl,
};
use mooring_hw_regs::wire::{
    ErrorCode, EventKind, Opcode, QueueEnable, QueueErrorReason, NO_DEVICE,
};

use super::{expect_echo, running_pair, BROADCAST};
use crate::testing::{Buffer, CardAccess, NetPair, TestDriver};

/// Broken rings and unsuitable buffers stop their queue with the right reason, and nothing else.
pub fn bad_rings<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut pair, space) = running_pair(&mut driver, 0);
    let device = pair.device.device.get();
    const NEXT: u16 = 1;
    const WRITE: u16 = 2;
    const INDIRECT: u16 = 4;
    type Break = fn(&mut NetPair);
    let cases: [(&str, QueueErrorReason, Break); 10] = [
        (
            "head outside of the table",
            QueueErrorReason::Ring,
            |pair| pair.tx.publish(16),
        ),
        ("head far outside", QueueErrorReason::Ring, |pair| {
            pair.tx.publish(0xffff)
        }),
        (
            "next outside of the table",
            QueueErrorReason::Ring,
            |pair| {
                pair.tx.write_descriptor(0, 0, 64, NEXT, 16);
                pair.tx.publish(0);
            },
        ),
        ("a loop", QueueErrorReason::Ring, |pair| {
            pair.tx.write_descriptor(0, 0, 64, NEXT, 1);
            pair.tx.write_descriptor(1, 0, 64, NEXT, 0);
            pair.tx.publish(0);
        }),
        ("a loop to itself", QueueErrorReason::Ring, |pair| {
            pair.tx.write_descriptor(3, 0, 0, NEXT, 3);
            pair.tx.publish(3);
        }),
        (
            "indirect, which isn't offered",
            QueueErrorReason::Ring,
            |pair| {
                pair.tx.write_descriptor(0, 0, 64, INDIRECT, 0);
                pair.tx.publish(0);
            },
        ),
        ("available index too far", QueueErrorReason::Ring, |pair| {
            pair.tx.publish_index(17)
        }),
        (
            "writable in a transmit queue",
            QueueErrorReason::Buffer,
            |pair| {
                pair.tx.write_descriptor(0, 0, 64, WRITE, 0);
                pair.tx.publish(0);
            },
        ),
        (
            "readable behind writable",
            QueueErrorReason::Buffer,
            |pair| {
                pair.tx.write_descriptor(0, 0, 64, WRITE | NEXT, 1);
                pair.tx.write_descriptor(1, 0, 64, 0, 0);
                pair.tx.publish(0);
            },
        ),
        ("too short for a header", QueueErrorReason::Buffer, |pair| {
            pair.tx.write_descriptor(0, 0, 11, 0, 0);
            pair.tx.publish(0);
        }),
    ];
    for (name, reason, break_it) in cases {
        break_it(&mut pair);
        driver.ring(pair.device.first_queue.get() + 1);
        expect_stop(&mut driver, name, device, 1, reason);
        driver.reset_device(device).expect("reset");
        pair.restart(&driver);
        pair.enable(&mut driver, space, false).expect("queues");
        expect_echo(&mut driver, &mut pair, 1);
        driver.reset_device(device).expect("reset");
        pair.restart(&driver);
        pair.enable(&mut driver, space, false).expect("queues");
    }

    // An endless packet, from memory that is there.
    let buffer = Buffer {
        iova: 0,
        length: 65000,
        writable: false,
    };
    pair.tx.add(&[buffer, buffer]);
    driver.ring(pair.device.first_queue.get() + 1);
    expect_stop(&mut driver, "too long", device, 1, QueueErrorReason::Buffer);

    // Readable in a receive queue.
    driver.reset_device(device).expect("reset");
    pair.restart(&driver);
    pair.rx.write_descriptor(0, 0, 2048, 0, 0);
    pair.enable(&mut driver, space, false).expect("queues");
    let frame = pair.frame(BROADCAST, 1, 64);
    assert!(pair.send(&mut driver, &frame));
    expect_stop(
        &mut driver,
        "readable in a receive queue",
        device,
        0,
        QueueErrorReason::Buffer,
    );

    // Frames that can't be frames are dropped without harm: runts, and those longer than the MTU.
    driver.reset_device(device).expect("reset");
    pair.restart(&driver);
    pair.enable(&mut driver, space, false).expect("queues");
    assert!(pair.send(&mut driver, &[]));
    assert!(pair.send(&mut driver, &[0xff; 13]));
    let giant = pair.frame(BROADCAST, 1, 1519);
    assert!(pair.send(&mut driver, &giant));
    assert_eq!(pair.poll(&mut driver), None);
    let largest = pair.frame(BROADCAST, 1, 1518);
    assert!(pair.send(&mut driver, &largest));
    assert_eq!(pair.receive(&mut driver), largest);
}

pub(super) fn expect_stop<A: CardAccess>(
    driver: &mut TestDriver<A>,
    name: &str,
    device: u16,
    queue: u16,
    reason: QueueErrorReason,
) {
    let event = driver.expect_event();
    assert_eq!(
        EventKind::from_number(event.kind.get()),
        Some(EventKind::QueueStopped),
        "{name}"
    );
    assert_eq!(
        (event.device.get(), event.queue.get()),
        (device, queue),
        "{name}"
    );
    assert_eq!(
        QueueErrorReason::from_number(event.detail.get()),
        Some(reason),
        "{name}"
    );
}

/// Queue set-ups that the card refuses.
pub fn bad_set_up<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (pair, space) = running_pair(&mut driver, 0);
    let device = pair.device.device.get();
    driver.reset_device(device).expect("reset");
    let good = pair.tx.enable(1, space, Some(1), 0);
    type Spoil = fn(&mut QueueEnable);
    let cases: [(ErrorCode, Spoil); 17] = [
        (ErrorCode::NoSuchQueue, |enable| enable.queue = 2.into()),
        (ErrorCode::NoSuchAddressSpace, |enable| {
            enable.address_space = 383.into()
        }),
        (ErrorCode::NoSuchAddressSpace, |enable| {
            enable.address_space = 0xffff.into()
        }),
        (ErrorCode::NoSuchAddressSpace, |enable| {
            enable.ring_address_space = 383.into()
        }),
        (ErrorCode::NoSuchAddressSpace, |enable| {
            enable.ring_address_space = 0xffff.into()
        }),
        (ErrorCode::InvalidArgument, |enable| enable.size = 0.into()),
        (ErrorCode::InvalidArgument, |enable| enable.size = 3.into()),
        (ErrorCode::InvalidArgument, |enable| enable.size = 1.into()),
        (ErrorCode::InvalidArgument, |enable| {
            enable.size = 2048.into()
        }),
        (ErrorCode::InvalidArgument, |enable| {
            enable.vector = 65.into()
        }),
        (ErrorCode::InvalidArgument, |enable| enable.flags = 2.into()),
        (ErrorCode::InvalidArgument, |enable| {
            enable.descriptor_area = 8.into()
        }),
        (ErrorCode::InvalidArgument, |enable| {
            enable.driver_area = 1.into()
        }),
        (ErrorCode::InvalidArgument, |enable| {
            enable.device_area = 2.into()
        }),
        (ErrorCode::InvalidArgument, |enable| {
            enable.descriptor_area = (u64::MAX - 15).into()
        }),
        (ErrorCode::InvalidArgument, |enable| {
            enable.driver_area = (u64::MAX - 1).into()
        }),
        (ErrorCode::InvalidArgument, |enable| {
            enable.device_area = (u64::MAX - 3).into()
        }),
    ];
    for (number, (code, spoil)) in cases.into_iter().enumerate() {
        let mut enable = good;
        spoil(&mut enable);
        assert_eq!(
            driver.enable_queue(device, &enable),
            Err(code),
            "case {number}"
        );
    }
    driver.enable_queue(device, &good).expect("start");

    // Payloads that aren't there.
    let command = |opcode: Opcode, payload: u64, length: u32| mooring_hw_regs::wire::Command {
        opcode: (opcode as u16).into(),
        tag: 1.into(),
        device: device.into(),
        reserved: 0.into(),
        payload: payload.into(),
        payload_length: length.into(),
        reserved2: 0.into(),
        arguments: [0; 40],
    };
    for payload in [8, u64::MAX] {
        let refused = driver.execute(&command(Opcode::DeviceStatistics, payload, 80));
        assert_eq!(refused, Err(ErrorCode::PayloadDma));
    }
    // A payload that is too short for the extents that the command announces.
    let mut update = command(Opcode::AddressSpaceUpdate, 0, 31);
    update.arguments[2] = 3;
    update.arguments[4] = 1;
    assert_eq!(driver.execute(&update), Err(ErrorCode::InvalidArgument));
    assert_eq!(driver.query_space(space).expect("query").extents.get(), 1);
}

/// Command and event queue: set-ups and indices that are out of range stop them with an error.
pub fn bad_queues<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let on = |vector: u16| CmdqControl(0).with_enable(true).with_vector(vector).0;
    // The tail runs further ahead than the ring is long.
    driver.write(CmdqTail::OFFSET, 9);
    assert_eq!(
        driver.read(CmdqStatus::OFFSET),
        CmdqStatus(0).with_error(true).0
    );
    // Only switching it off helps.
    driver.write(CmdqControl::OFFSET, on(0));
    assert!(CmdqStatus(driver.read(CmdqStatus::OFFSET)).error());
    driver.write(CmdqControl::OFFSET, 0);
    assert_eq!(driver.read(CmdqStatus::OFFSET), 0);
    for (log2, vector) in [(0, 0), (13, 0), (15, 0), (3, 0xfffe), (3, 65)] {
        driver.write(CmdqSize::OFFSET, log2);
        driver.write(CmdqControl::OFFSET, on(vector));
        assert_eq!(
            driver.read(CmdqStatus::OFFSET),
            CmdqStatus(0).with_error(true).0,
            "{log2} {vector}"
        );
        driver.write(CmdqControl::OFFSET, 0);
    }
    // Its set-up stands still while it is on.
    driver.write(EventqControl::OFFSET, 0);
    driver.set_up();
    driver.write(CmdqSize::OFFSET, 7);
    assert_eq!(driver.read(CmdqSize::OFFSET), 3);
    driver
        .command(Opcode::Nop, NO_DEVICE, &[0u8; 0], &[])
        .expect("nop");
    // A consumer that runs past the producer is ignored.
    driver.write(EventqConsumer::OFFSET, 1);
    assert_eq!(driver.read(EventqConsumer::OFFSET), 0);
}

/// Events that don't fit are counted, and the driver is told how many as soon as there is room.
pub fn lost_events<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut pair, space) = running_pair(&mut driver, 0);
    let device = pair.device.device.get();
    for _ in 0..7 {
        // Two events each.
        pair.tx.used_index = pair.tx.avail_index;
        pair.tx.add(&[Buffer {
            iova: 1 << 40,
            length: 64,
            writable: false,
        }]);
        driver.ring(pair.device.first_queue.get() + 1);
        driver.access.settle();
        assert!(stopped(&mut driver, device));
        let enable = pair.tx.enable(1, space, None, 0);
        let enable = QueueEnable {
            avail_index: pair.tx.avail_index.into(),
            used_index: pair.tx.avail_index.into(),
            ..enable
        };
        driver.enable_queue(device, &enable).expect("start");
    }
    let lost: Vec<u32> = (0..8).map(|_| driver.expect_event().lost.get()).collect();
    assert_eq!(lost, [0; 8]);
    // Nothing else happens: the loss is an event of its own.
    let event = driver.expect_event();
    assert_eq!(event.kind.get(), EventKind::EventsLost as u16);
    assert_eq!((event.device.get(), event.lost.get()), (NO_DEVICE, 6));
    driver.access.settle();
    assert!(driver.event().is_none());
    pair.tx.add(&[Buffer {
        iova: 1 << 40,
        length: 64,
        writable: false,
    }]);
    driver.ring(pair.device.first_queue.get() + 1);
    assert_eq!(driver.expect_event().lost.get(), 0);
    assert_eq!(driver.expect_event().lost.get(), 0);
}

fn stopped<A: CardAccess>(driver: &mut TestDriver<A>, device: u16) -> bool {
    (0..1000).any(|_| driver.query_queue(device, 1).expect("query").running.get() == 0)
}
