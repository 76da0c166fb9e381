// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Queues whose rings lie in another address space than their buffers.

use mooring_hw_regs::wire::{
    AddressSpaceMode, ErrorCode, ExtentOperation, PERMISSION_READ, PERMISSION_WRITE,
};

use super::faults::expect_fault;
use super::{mapped_space, BOTH, BROADCAST};
use crate::testing::driver::extent;
use crate::testing::{Buffer, CardAccess, Region, TestDriver, TestQueue};

const IOVA: u64 = 0x10_0000;
const ENTRIES: u16 = 16;

/// Rings go through one space and buffers through the other, at the same addresses, and neither reaches what only the
/// other maps. Both count as used by the queue.
pub fn two_spaces<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let created = driver.create_device(1, 0).expect("a device");
    let device = created.device.get();
    let mut rings = driver.allocate(8192, IOVA);
    let buffers = driver.allocate(8192, IOVA);
    let ring_space = mapped_space(&mut driver, &rings);
    let space = mapped_space(&mut driver, &buffers);
    driver.agree(&created).expect("features");
    let mut rx = TestQueue::new(driver.memory.clone(), &mut rings, ENTRIES);
    let mut tx = TestQueue::new(driver.memory.clone(), &mut rings, ENTRIES);
    let apart = |queue: &TestQueue, index: u16| {
        let mut enable = queue.enable(index, space, None, 0);
        enable.ring_address_space = ring_space.into();
        enable
    };
    driver.enable_queue(device, &apart(&rx, 0)).expect("start");
    driver.enable_queue(device, &apart(&tx, 1)).expect("start");

    // The driver's packet lies in the buffers' memory, and so does what comes back.
    let packet = [
        &[0; 12][..],
        &BROADCAST,
        &created.mac,
        &[0x88, 0xb5],
        &[7; 60],
    ]
    .concat();
    let length = packet.len() as u32;
    driver.memory.write(buffers.bus, &packet).expect("memory");
    let received = Buffer {
        iova: IOVA + 4096,
        length: 2048,
        writable: true,
    };
    let sent = Buffer {
        iova: IOVA,
        length,
        writable: false,
    };
    rx.add(&[received]);
    tx.add(&[sent]);
    driver.ring(created.first_queue.get() + 1);
    assert!(driver.access.wait_until(|_| tx.take_used().is_some()));
    assert!(driver.access.wait_until(|_| rx.take_used().is_some()));
    let mut frame = vec![0; packet.len() - 12];
    let bus = buffers.bus(IOVA + 4096 + 12);
    driver.memory.read(bus, &mut frame).expect("memory");
    assert_eq!(frame, packet[12..]);

    for space in [space, ring_space] {
        let info = driver.query_space(space).expect("query");
        assert_eq!((info.running_queues.get(), info.faults.get()), (2, 0));
        assert_eq!(driver.destroy_space(space), Err(ErrorCode::Busy));
        let identity = driver.set_mode(space, AddressSpaceMode::Identity);
        assert_eq!(identity.map(drop), Err(ErrorCode::Busy));
    }

    // Buffers that only the rings' space maps, to read and to write.
    let foreign = driver.allocate(4096, IOVA + 0x10_0000);
    let (iova, bus) = (foreign.iova, foreign.bus);
    let map = [extent(ExtentOperation::Add, iova, bus, 4096, BOTH)];
    driver.change(ring_space, &map).expect("an update");
    tx.add(&[Buffer { iova, ..sent }]);
    driver.ring(created.first_queue.get() + 1);
    let access = (iova, length, PERMISSION_READ);
    expect_fault(&mut driver, device, 1, space, access);
    tx.used_index = tx.avail_index;
    driver.enable_queue(device, &apart(&tx, 1)).expect("start");
    rx.add(&[Buffer { iova, ..received }]);
    tx.add(&[sent]);
    driver.ring(created.first_queue.get() + 1);
    let access = (iova, length, PERMISSION_WRITE);
    expect_fault(&mut driver, device, 0, space, access);
    let mut bytes = [0xff; 128];
    driver.memory.read(bus, &mut bytes).expect("memory");
    assert_eq!(bytes, [0; 128]);

    // Rings that only the buffers' space maps.
    driver.reset_device(device).expect("reset");
    let mut moved = Region::new(bus, IOVA + 0x20_0000, 4096);
    let map = [extent(ExtentOperation::Add, moved.iova, bus, 4096, BOTH)];
    driver.change(space, &map).expect("an update");
    let mut tx = TestQueue::new(driver.memory.clone(), &mut moved, ENTRIES);
    tx.add(&[sent]);
    driver.enable_queue(device, &apart(&tx, 1)).expect("start");
    let access = (tx.avail + 2, 2, PERMISSION_READ);
    expect_fault(&mut driver, device, 1, ring_space, access);
}

/// Each of a queue's spaces must be translated by itself, unless the queue may run through a 1:1 one.
pub fn two_modes<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let created = driver.create_device(1, 0).expect("a device");
    let device = created.device.get();
    let mut region = driver.allocate(8192, IOVA);
    let mapped = mapped_space(&mut driver, &region);
    let queue = TestQueue::new(driver.memory.clone(), &mut region, ENTRIES);
    for mode in [AddressSpaceMode::Identity, AddressSpaceMode::Blocked] {
        let other = driver.create_space(mode).expect("a space");
        for (space, rings) in [
            (mapped, other.address_space.get()),
            (other.address_space.get(), mapped),
        ] {
            let mut enable = queue.enable(1, space, None, 0);
            enable.ring_address_space = rings.into();
            assert_eq!(
                driver.enable_queue(device, &enable),
                Err(ErrorCode::NotTranslated)
            );
        }
    }
}

/// The default card has room for so many devices with three spaces each, gives everything back, and says when it is full.
pub fn many_devices<A: CardAccess>(access: A) {
    const DEVICES: usize = 128;
    let mut driver = TestDriver::new(access);
    for _ in 0..2 {
        let mut devices = vec![];
        let mut spaces = vec![];
        for _ in 0..DEVICES {
            let created = driver.create_device(1, 0).expect("a device");
            devices.push(created.device.get());
            for _ in 0..3 {
                let space = driver.create_space(AddressSpaceMode::Blocked);
                spaces.push(space.expect("a space").address_space.get());
            }
        }
        let device = driver.create_device(1, 0).map(drop);
        assert_eq!(device, Err(ErrorCode::NoResources));
        let space = driver.create_space(AddressSpaceMode::Blocked).map(drop);
        assert_eq!(space, Err(ErrorCode::NoResources));
        for device in devices.into_iter().rev() {
            driver.destroy_device(device).expect("destroy");
        }
        for space in spaces {
            driver.destroy_space(space).expect("destroy");
        }
    }
}
