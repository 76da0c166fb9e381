// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Cards without an IOMMU: commands and events through the mailbox, and all DMA as the platform has it.

use mooring_hw_regs::regs::{
    CmdqControl, CmdqStatus, CmdqSubmissionBaseLo, EventqControl, EventqStatus, InfoMaxExtents,
    InfoNumAddressSpaces, MailboxControl, MailboxDoorbell, MailboxStatus,
    MAILBOX_COMPLETION_OFFSET,
};
use mooring_hw_regs::wire::{
    AddressSpaceMode, Completion, ErrorCode, EventKind, QueueErrorReason, NO_ADDRESS_SPACE,
};

use super::{expect_echo, BROADCAST};
use crate::testing::{Buffer, CardAccess, NetPair, Region, TestDriver};

/// A running device whose memory lies where the bus has it.
fn running_pair<A: CardAccess>(driver: &mut TestDriver<A>) -> NetPair {
    let device = driver.create_device(1, 0).expect("a device");
    let memory = driver.allocate(NetPair::REGION, 0);
    let region = Region::new(memory.bus, memory.bus, memory.length);
    let pair = NetPair::new(driver, device, region);
    driver.agree(&device).expect("features");
    pair.enable(driver, NO_ADDRESS_SPACE, true).expect("queues");
    pair
}

/// Devices work, and translate nothing.
pub fn without_iommu<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    assert_eq!(driver.read(InfoNumAddressSpaces::OFFSET), 0);
    assert_eq!(driver.read(InfoMaxExtents::OFFSET), 0);
    for mode in [AddressSpaceMode::Blocked, AddressSpaceMode::Identity] {
        let refused = driver.create_space(mode).map(|_| ());
        assert_eq!(refused, Err(ErrorCode::NotSupported));
    }

    let mut pair = running_pair(&mut driver);
    let device = pair.device.device.get();
    expect_echo(&mut driver, &mut pair, 1);
    assert!(driver.access.take_interrupt(pair.rx_vector()));
    // A payload that the card writes.
    let statistics = driver.statistics(device).expect("statistics");
    assert_eq!(
        (statistics.tx_frames.get(), statistics.rx_frames.get()),
        (1, 1)
    );

    // A queue whose owner doesn't say that it may run untranslated is not started.
    driver.reset_device(device).expect("reset");
    pair.restart(&driver);
    let refused = pair.enable(&mut driver, NO_ADDRESS_SPACE, false);
    assert_eq!(refused, Err(ErrorCode::NotTranslated));
    let refused = pair.enable(&mut driver, 0, true);
    assert_eq!(refused, Err(ErrorCode::NoSuchAddressSpace));
    pair.enable(&mut driver, NO_ADDRESS_SPACE, true)
        .expect("queues");
    expect_echo(&mut driver, &mut pair, 2);
}

/// Command and event queue are not there: nothing that is written to them does anything.
pub fn without_iommu_no_rings<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    driver.write(CmdqSubmissionBaseLo::OFFSET, 0x1000);
    driver.write(CmdqControl::OFFSET, 1);
    driver.write(EventqControl::OFFSET, 1);
    for offset in [
        CmdqSubmissionBaseLo::OFFSET,
        CmdqControl::OFFSET,
        CmdqStatus::OFFSET,
        EventqControl::OFFSET,
        EventqStatus::OFFSET,
    ] {
        assert_eq!(driver.read(offset), 0, "{offset:#x}");
    }
    let mut pair = running_pair(&mut driver);
    expect_echo(&mut driver, &mut pair, 1);
}

/// Where nothing answers, or the platform's IOMMU maps nothing, the access fails, stops its queue, and is told with its
/// address.
pub fn without_iommu_bus_errors<A: CardAccess>(access: A) {
    const NOWHERE: u64 = 0x7f00_0000_0000;
    let mut driver = TestDriver::new(access);
    let mut pair = running_pair(&mut driver);
    let mut other = running_pair(&mut driver);
    let device = pair.device.device.get();
    pair.tx.add(&[Buffer {
        iova: NOWHERE,
        length: 100,
        writable: false,
    }]);
    driver.ring(pair.device.first_queue.get() + 1);
    let event = driver.expect_event();
    assert_eq!(
        EventKind::from_number(event.kind.get()),
        Some(EventKind::QueueStopped)
    );
    assert_eq!((event.device.get(), event.queue.get()), (device, 1));
    assert_eq!(
        QueueErrorReason::from_number(event.detail.get()),
        Some(QueueErrorReason::Bus)
    );
    assert_eq!(event.iova.get(), NOWHERE);
    assert!(driver.event().is_none());
    let running = |driver: &mut TestDriver<A>, queue| {
        let state = driver.query_queue(device, queue).expect("query");
        state.running.get()
    };
    assert_eq!((running(&mut driver, 0), running(&mut driver, 1)), (1, 0));
    // Nothing else stops.
    let frame = other.frame(BROADCAST, 1, 64);
    assert!(other.send(&mut driver, &frame));
}

/// Commands need no access to host memory. Queues do.
pub fn without_iommu_bus_master_off<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let mut pair = running_pair(&mut driver);
    let device = pair.device.device.get();
    driver.access.set_bus_master(false);
    let frame = pair.frame(BROADCAST, 1, 64);
    pair.queue_frame(&frame);
    driver.ring(pair.device.first_queue.get() + 1);
    let event = driver.expect_event();
    assert_eq!(
        QueueErrorReason::from_number(event.detail.get()),
        Some(QueueErrorReason::Bus)
    );
    assert!(
        !driver.access.take_interrupt(0),
        "without the right to interrupt"
    );
    let state = driver.query_queue(device, 1).expect("query");
    assert_eq!(state.running.get(), 0);
    driver.access.set_bus_master(true);
    assert!(driver.access.wait_interrupt(0), "what was withheld comes");
}

/// A card reset ends what the mailbox was about, and it works again when it is switched on.
pub fn without_iommu_card_reset<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    running_pair(&mut driver);
    driver.write(MailboxDoorbell::OFFSET, 77);
    assert!(MailboxStatus(driver.read(MailboxStatus::OFFSET)).error());
    driver.access.function_reset();
    driver.access.settle();
    assert_eq!(driver.read(MailboxControl::OFFSET), 0);
    assert_eq!(driver.read(MailboxStatus::OFFSET), 0);
    let completion: Completion = driver.read_window(MAILBOX_COMPLETION_OFFSET);
    assert_eq!(completion.sequence.get(), 0);
    driver.set_up();
    let mut pair = running_pair(&mut driver);
    expect_echo(&mut driver, &mut pair, 1);
}
