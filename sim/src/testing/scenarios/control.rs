// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The control queue.

use mooring_hw_regs::wire::{ExtentOperation, QueueErrorReason};

use super::bad_input::expect_stop;
use super::{expect_echo, mapped_space, running_pair, BOTH};
use crate::testing::driver::extent;
use crate::testing::{Buffer, CardAccess, NetPair, Region, TestDriver, TestQueue};

/// The number of the control queue of a device with two pairs, and its vector.
const CONTROL: u16 = 4;
const VECTOR: u16 = 9;
/// What is in the answer's byte as long as there is no answer.
const UNANSWERED: u8 = 0x55;

/// The control queue of a device with two pairs, and room for a request and its answer.
struct Control {
    queue: TestQueue,
    region: Region,
    doorbell: u16,
    request: u64,
}

impl Control {
    /// The place of the answer, behind the request.
    fn answer(&self) -> u64 {
        self.request + 255
    }

    /// Writes a request, and returns its two buffers.
    fn write(&self, class: u8, command: u8, data: &[u8]) -> [Buffer; 2] {
        self.queue
            .write(self.request, &[&[class, command][..], data].concat());
        self.queue.write(self.answer(), &[UNANSWERED]);
        let buffer = |offset: u64, length: usize| Buffer {
            iova: self.request + offset,
            length: length as u32,
            writable: false,
        };
        [buffer(0, 2), buffer(2, data.len())]
    }

    /// Has a command carried out, and returns the answer.
    fn ask<A: CardAccess>(
        &mut self,
        driver: &mut TestDriver<A>,
        class: u8,
        command: u8,
        data: &[u8],
    ) -> u8 {
        let [head, data] = self.write(class, command, data);
        let answer = Buffer {
            iova: self.answer(),
            length: 1,
            writable: true,
        };
        let head = self.queue.add(&[head, data, answer]);
        driver.ring(self.doorbell);
        let queue = &mut self.queue;
        assert!(
            driver
                .access
                .wait_until(|_| queue.take_used() == Some((head, 1))),
            "no answer"
        );
        self.answered(driver)
    }

    /// The byte where the answer goes.
    fn answered<A: CardAccess>(&self, driver: &TestDriver<A>) -> u8 {
        let mut ack = [0];
        driver
            .memory
            .read(self.region.bus(self.answer()), &mut ack)
            .expect("memory");
        ack[0]
    }
}

/// A running device with two pairs, of which one runs, and a control queue. Returns also their space.
fn with_control<A: CardAccess>(driver: &mut TestDriver<A>) -> (NetPair, Control, u16) {
    let created = driver.create_device(2, 0).expect("a device");
    assert_eq!(created.num_queues.get(), CONTROL + 1);
    let region = driver.allocate(NetPair::REGION, 0);
    let space = mapped_space(driver, &region);
    let mut control_region = driver.allocate(8192, 0x100_0000);
    let map = extent(
        ExtentOperation::Add,
        control_region.iova,
        control_region.bus,
        control_region.length,
        BOTH,
    );
    driver.change(space, &[map]).expect("an update");
    let pair = NetPair::new(driver, created, region);
    let queue = TestQueue::new(driver.memory.clone(), &mut control_region, 8);
    let control = Control {
        queue,
        request: control_region.allocate(256, 8),
        region: control_region,
        doorbell: created.first_queue.get() + CONTROL,
    };
    driver.agree(&created).expect("features");
    pair.enable(driver, space, false).expect("queues");
    driver
        .enable_queue(
            created.device.get(),
            &control.queue.enable(CONTROL, space, Some(VECTOR), 0),
        )
        .expect("control queue");
    (pair, control, space)
}

/// The control queue answers, and what it sets holds.
pub fn control_queue<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut pair, mut control, space) = with_control(&mut driver);
    let created = pair.device;
    assert_eq!(control.ask(&mut driver, 4, 0, &2u16.to_le_bytes()), 0);
    assert!(driver.access.wait_interrupt(VECTOR));
    assert_eq!(control.ask(&mut driver, 4, 0, &3u16.to_le_bytes()), 1);
    assert_eq!(control.ask(&mut driver, 4, 0, &0u16.to_le_bytes()), 1);
    assert_eq!(control.ask(&mut driver, 4, 0, &1u16.to_le_bytes()), 0);
    assert_eq!(control.ask(&mut driver, 4, 0, &[1]), 1);
    assert_eq!(control.ask(&mut driver, 77, 0, &[1]), 1);
    assert_eq!(control.ask(&mut driver, 0, 0, &[2]), 1);

    // The loopback's echo is for everybody; a device that isn't promiscuous doesn't take what is for a stranger.
    let stranger = pair.frame([2, 9, 9, 9, 9, 9], 1, 64);
    let group = pair.frame([1, 0, 0x5e, 0, 0, 1], 2, 64);
    assert!(pair.send(&mut driver, &stranger));
    assert_eq!(pair.receive(&mut driver), stranger);
    assert_eq!(control.ask(&mut driver, 0, 0, &[0]), 0);
    assert!(pair.send(&mut driver, &stranger) && pair.send(&mut driver, &group));
    assert_eq!(pair.poll(&mut driver), None);
    let table = [&[0; 4][..], &1u32.to_le_bytes(), &[1, 0, 0x5e, 0, 0, 1]].concat();
    assert_eq!(control.ask(&mut driver, 1, 0, &table), 0);
    assert!(pair.send(&mut driver, &stranger) && pair.send(&mut driver, &group));
    assert_eq!(pair.receive(&mut driver), group);
    assert_eq!(control.ask(&mut driver, 1, 0, &table[..13]), 1);

    // Another address: frames for it arrive, frames for the old one don't. A device reset brings the old one back.
    let (other, _) = running_pair(&mut driver, 0);
    let mut other = other;
    let new_mac = [2, 1, 2, 3, 4, 5];
    assert_eq!(control.ask(&mut driver, 1, 1, &other.device.mac), 1);
    assert_eq!(control.ask(&mut driver, 1, 1, &[1, 1, 2, 3, 4, 5]), 1);
    assert_eq!(control.ask(&mut driver, 1, 1, &new_mac), 0);
    let (to_old, to_new) = (other.frame(created.mac, 1, 64), other.frame(new_mac, 2, 64));
    assert!(other.send(&mut driver, &to_old) && other.send(&mut driver, &to_new));
    assert_eq!(pair.receive(&mut driver), to_new);
    driver.reset_device(created.device.get()).expect("reset");
    pair.restart(&driver);
    pair.enable(&mut driver, space, false).expect("queues");
    assert!(other.send(&mut driver, &to_old));
    assert_eq!(pair.receive(&mut driver), to_old);
    // Were the address unknown to the switch, the frame would have come a second time, from the loopback.
    assert_eq!(pair.poll(&mut driver), None);
}

/// A command that leaves no room for its answer stops the queue, and is not carried out.
pub fn no_room_for_an_answer<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut pair, mut control, space) = with_control(&mut driver);
    let device = pair.device.device.get();
    let set_mac = |control: &Control, room: Option<Buffer>| {
        let mut chain = control.write(1, 1, &[2, 1, 2, 3, 4, 5]).to_vec();
        chain.extend(room);
        chain
    };
    for room in [false, true] {
        let empty = Buffer {
            iova: control.answer(),
            length: 0,
            writable: true,
        };
        let chain = set_mac(&control, room.then_some(empty));
        control.queue.add(&chain);
        driver.ring(control.doorbell);
        // The event that tells of a new address would come first.
        expect_stop(
            &mut driver,
            "no room for an answer",
            device,
            CONTROL,
            QueueErrorReason::Buffer,
        );
        assert_eq!(control.answered(&driver), UNANSWERED);
        // The others run on, and the device's address is what it was.
        expect_echo(&mut driver, &mut pair, 1);
        let to_old = pair.frame(pair.device.mac, 2, 64);
        let (mut other, _) = running_pair(&mut driver, 0);
        assert!(other.send(&mut driver, &to_old));
        assert_eq!(pair.receive(&mut driver), to_old);
        let number = other.device.device.get();
        driver.destroy_device(number).expect("destroyed");

        driver.reset_device(device).expect("reset");
        driver.agree(&pair.device).expect("features");
        pair.restart(&driver);
        pair.enable(&mut driver, space, false).expect("queues");
        let region = &control.region;
        let mut region = Region::new(region.bus, region.iova, region.length);
        control.queue = TestQueue::new(driver.memory.clone(), &mut region, 8);
        let enable = control.queue.enable(CONTROL, space, Some(VECTOR), 0);
        driver.enable_queue(device, &enable).expect("control queue");
        assert_eq!(control.ask(&mut driver, 4, 0, &1u16.to_le_bytes()), 0);
    }
}
