// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Accesses that are refused.

use mooring_hw_regs::regs::{CmdqControl, CmdqStatus, CmdqTail, IommuFaults};
use mooring_hw_regs::wire::{
    AddressSpaceMode, ErrorCode, EventKind, Extent, ExtentOperation, QueueErrorReason,
    PERMISSION_READ, PERMISSION_WRITE,
};

use super::{expect_echo, running_pair, BROADCAST};
use crate::testing::driver::extent;
use crate::testing::{Buffer, CardAccess, NetPair, TestDriver};

/// An access outside of the map, or against its permission, is refused, told and stops its queue, and nothing else.
pub fn faults<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut other, _) = running_pair(&mut driver, 0);
    let (mut pair, space) = running_pair(&mut driver, 0);
    let device = pair.device.device.get();
    let ro = driver.allocate(4096, 0x4000_0000);
    let wo = driver.allocate(4096, 0x5000_0000);
    driver
        .change(
            space,
            &[
                extent(ExtentOperation::Add, ro.iova, ro.bus, 4096, PERMISSION_READ),
                extent(
                    ExtentOperation::Add,
                    wo.iova,
                    wo.bus,
                    4096,
                    PERMISSION_WRITE,
                ),
            ],
        )
        .expect("an update");
    let mut faults = 0;

    // Reads: unmapped; write-only; the last byte beyond the extent; an address that wraps.
    for (iova, length) in [
        (0x6000_0000, 100),
        (wo.iova, 100),
        (ro.iova + 4096 - 99, 100),
        (u64::MAX - 10, 100),
    ] {
        pair.tx.add(&[Buffer {
            iova,
            length,
            writable: false,
        }]);
        driver.ring(pair.device.first_queue.get() + 1);
        faults += 1;
        expect_fault(
            &mut driver,
            device,
            1,
            space,
            (iova, length, PERMISSION_READ),
        );
        let state = driver.query_queue(device, 1).expect("query");
        assert_eq!(state.running.get(), 0);
        assert_eq!(
            driver.query_space(space).expect("query").faults.get(),
            faults
        );
        assert_eq!(u64::from(driver.read(IommuFaults::OFFSET)), faults);
        // Nothing else stops: neither the other device, nor the other queue.
        while other.poll(&mut driver).is_some() {}
        let frame = other.frame(pair.device.mac, 1, 80);
        assert!(other.send(&mut driver, &frame));
        assert_eq!(pair.receive(&mut driver), frame);
        expect_echo(&mut driver, &mut other, 2);
        assert!(pair.poll(&mut driver).is_some(), "the broadcast");
        assert!(pair.poll(&mut driver).is_some(), "its echo");
        // A queue that failed starts again behind the bad chain.
        pair.tx.used_index = pair.tx.avail_index;
        let enable = pair.tx.enable(1, space, None, 0);
        driver.enable_queue(device, &enable).expect("start");
    }

    // Writes: unmapped; read-only. Nothing is written.
    for iova in [0x6000_0000, ro.iova] {
        driver.disable_queue(device, 0).expect("stop");
        driver.reset_device(device).expect("reset");
        pair.restart(&driver);
        pair.rx.publish_index(0);
        pair.rx.avail_index = 0;
        pair.rx.add(&[Buffer {
            iova,
            length: 2048,
            writable: true,
        }]);
        pair.enable(&mut driver, space, false).expect("queues");
        let frame = other.frame(pair.device.mac, 0x77, 80);
        assert!(other.send(&mut driver, &frame));
        expect_fault(&mut driver, device, 0, space, (iova, 92, PERMISSION_WRITE));
        let mut bytes = [0xff; 128];
        driver.memory.read(ro.bus, &mut bytes).expect("memory");
        assert_eq!(bytes, [0; 128]);
    }

    // Permission holds for rings, too: the used ring can't be read-only.
    driver.reset_device(device).expect("reset");
    pair.restart(&driver);
    let mut enable = pair.tx.enable(1, space, None, 0);
    enable.device_area = ro.iova.into();
    driver.enable_queue(device, &enable).expect("start");
    let frame = pair.frame(BROADCAST, 1, 64);
    pair.queue_frame(&frame);
    driver.ring(pair.device.first_queue.get() + 1);
    expect_fault(
        &mut driver,
        device,
        1,
        space,
        // The first that a transmit ring has written: that its driver shall ring.
        (ro.iova, 2, PERMISSION_WRITE),
    );
    let statistics = driver.statistics(device).expect("statistics");
    assert_eq!(statistics.queue_errors.get(), 7);
    let refused = [0, 1].map(|queue| {
        let queue = driver.queue_statistics(device, queue).expect("statistics");
        assert_eq!(queue.faults, queue.errors, "nothing else went wrong");
        queue.faults.get()
    });
    assert_eq!(refused[0] + refused[1], 7);
    assert!(refused[0] > 0 && refused[1] > 0);
}

pub(super) fn expect_fault<A: CardAccess>(
    driver: &mut TestDriver<A>,
    device: u16,
    queue: u16,
    space: u16,
    access: (u64, u32, u32),
) {
    let event = driver.expect_event();
    assert_eq!(
        EventKind::from_number(event.kind.get()),
        Some(EventKind::IommuFault)
    );
    assert_eq!(
        (
            event.device.get(),
            event.queue.get(),
            event.address_space.get()
        ),
        (device, queue, space)
    );
    assert_eq!(
        (event.iova.get(), event.length.get(), event.detail.get()),
        access
    );
    let event = driver.expect_event();
    assert_eq!(
        EventKind::from_number(event.kind.get()),
        Some(EventKind::QueueStopped)
    );
    assert_eq!((event.device.get(), event.queue.get()), (device, queue));
    assert_eq!(
        QueueErrorReason::from_number(event.detail.get()),
        Some(QueueErrorReason::Access)
    );
}

/// Without a map a queue isn't started, and the card doesn't touch host memory for it.
pub fn start_without_map<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let created = driver.create_device(1, 0).expect("a device");
    let device = created.device.get();
    let region = driver.allocate(NetPair::REGION, 0);
    let one_to_one = crate::testing::Region::new(region.bus, region.bus, region.length);
    let mut pair = NetPair::new(&driver, created, one_to_one);
    for mode in [AddressSpaceMode::Identity, AddressSpaceMode::Blocked] {
        let space = driver
            .create_space(mode)
            .expect("a space")
            .address_space
            .get();
        for queue in [&pair.rx, &pair.tx] {
            let enable = queue.enable(0, space, None, 0);
            assert_eq!(
                driver.enable_queue(device, &enable),
                Err(ErrorCode::NotTranslated)
            );
        }
        let frame = pair.frame(BROADCAST, 1, 64);
        pair.queue_frame(&frame);
        driver.ring(created.first_queue.get());
        driver.ring(created.first_queue.get() + 1);
        driver.access.settle();
        let statistics = driver.statistics(device).expect("statistics");
        assert_eq!(
            (statistics.dma_reads.get(), statistics.dma_writes.get()),
            (0, 0)
        );
        assert_eq!(
            driver.query_queue(device, 0).expect("query").running.get(),
            0
        );
    }
    assert_eq!(driver.event().map(|event| event.kind.get()), None);
}

/// Removing an extent stops translation at once, and what was cached of it is gone.
pub fn unmap_while_running<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut pair, space) = running_pair(&mut driver, 0);
    let device = pair.device.device.get();
    let extra = driver.allocate(4096, 0x4000_0000);
    let map = extent(
        ExtentOperation::Add,
        extra.iova,
        extra.bus,
        4096,
        PERMISSION_READ,
    );
    driver.change(space, &[map]).expect("an update");
    let packet = [&[0; 12][..], &pair.frame(BROADCAST, 1, 64)].concat();
    driver.memory.write(extra.bus, &packet).expect("memory");
    let buffer = Buffer {
        iova: extra.iova,
        length: packet.len() as u32,
        writable: false,
    };
    pair.tx.add(&[buffer]);
    driver.ring(pair.device.first_queue.get() + 1);
    assert_eq!(pair.receive(&mut driver), packet[12..]);
    let gone = Extent {
        operation: (ExtentOperation::Remove as u32).into(),
        ..map
    };
    driver.change(space, &[gone]).expect("an update");
    pair.tx.add(&[buffer]);
    driver.ring(pair.device.first_queue.get() + 1);
    expect_fault(
        &mut driver,
        device,
        1,
        space,
        (extra.iova, packet.len() as u32, PERMISSION_READ),
    );
    // The whole map goes: blocked, fail closed. The receive queue stops when the next frame comes.
    driver
        .set_mode(space, AddressSpaceMode::Blocked)
        .expect("blocked");
    let (mut other, _) = running_pair(&mut driver, 0);
    let frame = other.frame(pair.device.mac, 1, 64);
    assert!(other.send(&mut driver, &frame));
    let event = driver.expect_event();
    assert_eq!(
        EventKind::from_number(event.kind.get()),
        Some(EventKind::IommuFault)
    );
    assert_eq!(event.queue.get(), 0);
}

/// A function that may not be a bus master reaches no memory: the command queue stops with an error, and works again
/// after it was switched off and on.
pub fn bus_master_off<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut pair, _) = running_pair(&mut driver, 0);
    expect_echo(&mut driver, &mut pair, 1);
    driver.access.set_bus_master(false);
    let frame = pair.frame(BROADCAST, 1, 64);
    pair.queue_frame(&frame);
    driver.ring(pair.device.first_queue.get() + 1);
    let tail = CmdqTail(driver.read(CmdqTail::OFFSET)).index();
    driver.write(CmdqTail::OFFSET, tail.wrapping_add(1).into());
    assert!(driver
        .access
        .wait_until(|access| { CmdqStatus(access.read32(0, CmdqStatus::OFFSET as u64)).error() }));
    driver.access.set_bus_master(true);
    assert_eq!(pair.poll(&mut driver), None);
    driver.write(CmdqControl::OFFSET, 0);
    assert_eq!(driver.read(CmdqStatus::OFFSET), 0);
    driver.write(mooring_hw_regs::regs::EventqControl::OFFSET, 0);
    driver.set_up();
    let state = driver
        .query_queue(pair.device.device.get(), 1)
        .expect("query");
    assert_eq!(
        state.running.get(),
        0,
        "the queue stopped when the bus failed it"
    );
}
