// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Resets: of a device, which leaves translations alone, and of the card, which leaves nothing.

use mooring_hw_regs::regs::{
    CmdqControl, CmdqStatus, CpControl, CpState, CpStatus, InfoScratch, IommuCommands, IommuFaults,
};
use mooring_hw_regs::wire::{AddressSpaceMode, ErrorCode};

use super::{expect_echo, running_pair};
use crate::testing::{CardAccess, TestDriver};

/// What the project exists for: a device reset leaves the map as it is, and frames flow again without mapping anew.
pub fn device_reset_keeps_the_map<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut pair, space) = running_pair(&mut driver, 0x8000_0000);
    let device = pair.device.device.get();
    expect_echo(&mut driver, &mut pair, 1);
    let before = driver.query_space(space).expect("query");
    let extents = driver.read_space(space, 0).expect("read");
    let commands = driver.read(IommuCommands::OFFSET);
    for round in 0..5 {
        // Frames are under way, or wait for their doorbell.
        for _ in 0..8 {
            let frame = pair.frame([0xff; 6], round, 800);
            pair.queue_frame(&frame);
        }
        driver.reset_device(device).expect("reset");
        for queue in 0..2 {
            let state = driver.query_queue(device, queue).expect("query");
            assert_eq!(
                (
                    state.avail_index.get(),
                    state.used_index.get(),
                    state.running.get()
                ),
                (0, 0, 0)
            );
        }
        let after = driver.query_space(space).expect("query");
        assert_eq!(after.running_queues.get(), 0);
        assert_eq!(
            (after.digest, after.generation),
            (before.digest, before.generation)
        );
        assert_eq!(
            (after.commands, after.card_commands),
            (before.commands, before.card_commands)
        );
        assert_eq!((after.extents, after.mode), (before.extents, before.mode));
        assert_eq!(driver.read_space(space, 0).expect("read"), extents);
        assert_eq!(driver.read(IommuCommands::OFFSET), commands);

        // The old incarnation is gone: no DMA, no interrupt, whatever is rung.
        let still = driver.statistics(device).expect("statistics");
        driver.access.take_interrupt(pair.rx_vector());
        driver.ring(pair.device.first_queue.get());
        driver.ring(pair.device.first_queue.get() + 1);
        driver.access.settle();
        let later = driver.statistics(device).expect("statistics");
        assert_eq!(
            (still.dma_reads, still.dma_writes),
            (later.dma_reads, later.dma_writes)
        );
        assert!(!driver.access.take_interrupt(pair.rx_vector()));

        driver.agree(&pair.device).expect("features");
        pair.restart(&driver);
        pair.enable(&mut driver, space, false).expect("queues");
        expect_echo(&mut driver, &mut pair, round);
    }
    assert_eq!(driver.read(IommuFaults::OFFSET), 0);
}

/// Stopping a queue tells where it stands, and starting it there goes on.
pub fn stop_and_go_on<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut pair, space) = running_pair(&mut driver, 0);
    let device = pair.device.device.get();
    for round in 0..21 {
        expect_echo(&mut driver, &mut pair, round);
    }
    assert_eq!(pair.enable(&mut driver, space, false), Err(ErrorCode::Busy));
    assert_eq!(driver.set_features(device, 0), Err(ErrorCode::Busy));
    let state = driver.disable_queue(device, 1).expect("stop");
    assert_eq!(
        (
            state.avail_index.get(),
            state.used_index.get(),
            state.running.get()
        ),
        (21, 21, 0)
    );
    let frame = pair.frame([0xff; 6], 3, 60);
    pair.queue_frame(&frame);
    driver.ring(pair.device.first_queue.get() + 1);
    assert_eq!(
        pair.poll(&mut driver),
        None,
        "a stopped queue sends nothing"
    );
    // The start finds what was made available before it, without a doorbell.
    let enable = pair.tx.enable(1, space, None, 0);
    driver.enable_queue(device, &enable).expect("start");
    assert_eq!(pair.receive(&mut driver), frame);
    assert_eq!(
        driver
            .query_queue(device, 1)
            .expect("query")
            .avail_index
            .get(),
        22
    );
    assert_eq!(
        driver.query_queue(device, 2).map(drop),
        Err(ErrorCode::NoSuchQueue)
    );
    // A device goes with queues that run; its space is free then.
    driver.destroy_device(device).expect("destroy");
    driver.destroy_space(space).expect("destroy");
}

/// A card reset leaves nothing behind, and the card can be set up again.
pub fn card_reset<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    for function_level in [false, true] {
        let (mut pair, space) = running_pair(&mut driver, 0);
        expect_echo(&mut driver, &mut pair, 1);
        driver.write(InfoScratch::OFFSET, 1);
        if function_level {
            driver.access.function_reset();
        } else {
            driver.write(CpControl::OFFSET, CpControl(0).with_reset(true).0);
        }
        assert!(driver.access.wait_until(|access| {
            access.read32(0, CpStatus::OFFSET as u64) == CpState::Ready as u32
        }));
        assert_eq!(driver.read(InfoScratch::OFFSET), 0);
        assert_eq!(driver.read(CmdqControl::OFFSET), 0);
        assert_eq!(driver.read(CmdqStatus::OFFSET), 0);
        assert_eq!(driver.read(IommuCommands::OFFSET), 0);
        let frame = pair.frame([0xff; 6], 3, 60);
        pair.queue_frame(&frame);
        driver.ring(pair.device.first_queue.get() + 1);
        assert_eq!(pair.poll(&mut driver), None);
        driver.set_up();
        assert_eq!(
            driver.reset_device(pair.device.device.get()),
            Err(ErrorCode::NoSuchDevice)
        );
        assert_eq!(
            driver.query_space(space).map(drop),
            Err(ErrorCode::NoSuchAddressSpace)
        );
        assert_eq!(
            driver.set_mode(space, AddressSpaceMode::Blocked).map(drop),
            Err(ErrorCode::NoSuchAddressSpace)
        );
    }
    let (mut pair, _) = running_pair(&mut driver, 0);
    expect_echo(&mut driver, &mut pair, 1);
}
