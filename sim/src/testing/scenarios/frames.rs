// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Frames: loopback, two devices, multicast filter, several pairs.

use mooring_hw_regs::wire::{AddressSpaceMode, ExtentOperation};

use super::{expect_echo, running_pair, BOTH, BROADCAST};
use crate::testing::driver::extent;
use crate::testing::{Buffer, CardAccess, TestDriver, TestQueue};

/// What a device sends comes back from the loopback, and is counted. Rings at I/O virtual address 0 are legal.
pub fn loopback<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut pair, _) = running_pair(&mut driver, 0);
    driver.access.take_interrupt(pair.rx_vector());
    for round in 0..40 {
        expect_echo(&mut driver, &mut pair, round);
    }
    assert!(driver.access.wait_interrupt(pair.rx_vector()));
    let statistics = driver
        .statistics(pair.device.device.get())
        .expect("statistics");
    assert_eq!(
        (statistics.tx_frames.get(), statistics.rx_frames.get()),
        (40, 40)
    );
    assert_eq!(statistics.tx_bytes, statistics.rx_bytes);
    assert_eq!(
        statistics.tx_bytes.get(),
        (0..40).map(|round| 60 + round).sum::<u64>()
    );
    assert_eq!(
        (statistics.rx_dropped.get(), statistics.queue_errors.get()),
        (0, 0)
    );
    assert_eq!(statistics.doorbells.get(), 40);
    assert!(
        statistics.dma_reads.get() > 0
            && statistics.dma_writes.get() > 0
            && statistics.interrupts.get() > 0
    );

    // Each queue has its part of it.
    let device = pair.device.device.get();
    let [rx, tx] = [0, 1].map(|queue| driver.queue_statistics(device, queue).expect("statistics"));
    assert_eq!(
        (rx.packets, tx.packets),
        (statistics.rx_frames, statistics.tx_frames)
    );
    assert_eq!(
        (rx.bytes, tx.bytes),
        (statistics.rx_bytes, statistics.tx_bytes)
    );
    assert_eq!(
        rx.dma_writes.get() + tx.dma_writes.get(),
        statistics.dma_writes.get()
    );
    assert_eq!((tx.doorbells.get(), tx.faults.get()), (40, 0));
    assert!(rx.interrupts.get() > 0);

    // A driver that wants no interrupts gets none.
    pair.rx.set_flags(1);
    driver.access.take_interrupt(pair.rx_vector());
    let before = driver
        .statistics(pair.device.device.get())
        .expect("statistics")
        .interrupts;
    expect_echo(&mut driver, &mut pair, 7);
    assert_eq!(
        driver
            .statistics(pair.device.device.get())
            .expect("statistics")
            .interrupts,
        before
    );
    assert!(!driver.access.take_interrupt(pair.rx_vector()));
}

/// Frames that find no buffer are dropped and counted; later ones arrive.
pub fn no_buffers<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut pair, _) = running_pair(&mut driver, 0);
    let frame = pair.frame(BROADCAST, 5, 100);
    for _ in 0..20 {
        assert!(pair.send(&mut driver, &frame));
        driver.access.settle();
    }
    let device = pair.device.device.get();
    let dropped = |driver: &mut TestDriver<A>| {
        driver
            .statistics(device)
            .expect("statistics")
            .rx_dropped
            .get()
    };
    assert!(
        (0..1000).any(|_| dropped(&mut driver) == 4),
        "16 buffers, 20 frames"
    );
    for _ in 0..16 {
        assert_eq!(pair.receive(&mut driver), frame);
    }
    assert_eq!(pair.poll(&mut driver), None);
    expect_echo(&mut driver, &mut pair, 9);
}

/// Buffers of any layout, across extents that are apart on the bus.
pub fn scattered<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let device = driver.create_device(1, 0).expect("a device");
    let space = driver
        .create_space(AddressSpaceMode::Translated)
        .expect("a space")
        .address_space
        .get();
    // Pages that are adjacent in the space lie in opposite order on the bus.
    let region = driver.allocate(32 * 4096, 0x10_0000);
    let extents: Vec<_> = (0..32)
        .map(|page| {
            let (iova, bus) = (region.iova + page * 4096, region.bus + (31 - page) * 4096);
            extent(ExtentOperation::Add, iova, bus, 4096, BOTH)
        })
        .collect();
    driver.change(space, &extents).expect("an update");
    let bus = |iova: u64| region.bus + (31 - (iova - region.iova) / 4096) * 4096 + iova % 4096;
    // Each ring in a page of its own, so that the harness's view of a region holds.
    let page = |number: u64| {
        let iova = region.iova + number * 4096;
        crate::testing::Region::new(bus(iova), iova, 4096)
    };
    let mut rx = TestQueue::new(driver.memory.clone(), &mut page(0), 8);
    let mut tx = TestQueue::new(driver.memory.clone(), &mut page(1), 8);
    driver
        .enable_queue(device.device.get(), &rx.enable(0, space, None, 0))
        .expect("rx");
    driver
        .enable_queue(device.device.get(), &tx.enable(1, space, None, 0))
        .expect("tx");

    let mut frame = [BROADCAST, device.mac].concat();
    frame.extend((0..700).map(|n| (n * 7) as u8));
    let packet = [&[0; 12][..], &frame].concat();
    // The packet lies across the border of two pages that are apart on the bus.
    let start = region.iova + 11 * 4096 - 300;
    for (offset, byte) in packet.iter().enumerate() {
        driver
            .memory
            .write(bus(start + offset as u64), &[*byte])
            .expect("memory");
    }
    let part = |iova, length, writable| Buffer {
        iova,
        length,
        writable,
    };
    let into = region.iova + 21 * 4096 - 5;
    rx.add(&[
        part(into, 3, true),
        part(into + 3, 400, true),
        part(into + 403, 0, true),
        part(into + 403, 2000, true),
    ]);
    tx.add(&[
        part(start, 5, false),
        part(start + 5, 500, false),
        part(start + 505, packet.len() as u32 - 505, false),
    ]);
    driver.ring(device.first_queue.get() + 1);
    assert!(driver
        .access
        .wait_until(|_| rx.take_used() == Some((0, packet.len() as u32))));
    let received: Vec<u8> = (0..packet.len() as u64)
        .map(|offset| {
            let mut byte = [0];
            driver
                .memory
                .read(bus(into + offset), &mut byte)
                .expect("memory");
            byte[0]
        })
        .collect();
    assert_eq!(received[12..], frame);
}

/// Two devices reach each other, and a third hears only what is for all.
pub fn two_devices<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut a, _) = running_pair(&mut driver, 0);
    let (mut b, _) = running_pair(&mut driver, 0);
    let (mut c, _) = running_pair(&mut driver, 0);
    for round in 0..20 {
        let there = a.frame(b.device.mac, round, 1514);
        assert!(a.send(&mut driver, &there));
        assert_eq!(b.receive(&mut driver), there);
        let back = b.frame(a.device.mac, round, 64);
        assert!(b.send(&mut driver, &back));
        assert_eq!(a.receive(&mut driver), back);
    }
    assert_eq!(c.poll(&mut driver), None);
    let all = a.frame(BROADCAST, 1, 64);
    assert!(a.send(&mut driver, &all));
    // Once from the switch, once more from the loopback.
    for _ in 0..2 {
        assert_eq!(b.receive(&mut driver), all);
        assert_eq!(c.receive(&mut driver), all);
    }
    assert_eq!(a.receive(&mut driver), all);
    // The echo moved no address.
    let there = b.frame(a.device.mac, 3, 64);
    assert!(b.send(&mut driver, &there));
    assert_eq!(a.receive(&mut driver), there);
    assert_eq!(c.poll(&mut driver), None);
}
