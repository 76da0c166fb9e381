// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The scenarios against the program, over its socket; and what only a connection has: maps that go away, interrupts
//! as events, resets by the client, and clients that leave.

mod vfio_user_support;

use mooring_hw_regs::regs::{
    CmdqControl, CmdqHead, CmdqStatus, InfoInterfaceVersion, InfoMagic, InfoScratch,
};
use mooring_hw_regs::wire::{AddressSpaceMode, Command, EventKind, NO_VECTOR};
use mooring_sim::testing::{scenarios, CardAccess, NetPair, TestDriver};
use nix::sys::signal::Signal;
use vfio_user_support::card::{VfioUserCard, COMMAND, MSIX_CONTROL};
use vfio_user_support::Sim;
use zerocopy::FromZeros;

mooring_sim::test_scenarios!(VfioUserCard::start(&["--uplink", "loopback"]));

#[test]
fn capacity() {
    scenarios::capacity(VfioUserCard::start(&["--extents", "8", "--max-batch", "4"]));
}

#[test]
fn without_identity() {
    scenarios::without_identity(VfioUserCard::start(&["--iommu", "explicit"]));
}

#[test]
fn without_iommu() {
    scenarios::without_iommu(VfioUserCard::start(&[
        "--iommu", "none", "--uplink", "loopback",
    ]));
}

#[test]
fn without_iommu_bus_errors() {
    scenarios::without_iommu_bus_errors(VfioUserCard::start(&[
        "--iommu", "none", "--uplink", "loopback",
    ]));
}

/// A device with a running pair in a 1:1 space.
fn running_pair(driver: &mut TestDriver<VfioUserCard>) -> NetPair {
    let device = driver.create_device(1, 0).unwrap();
    let space = driver
        .create_space(AddressSpaceMode::Identity)
        .unwrap()
        .address_space
        .get();
    let bus = driver.allocate(NetPair::REGION, 0).bus;
    let region = mooring_sim::testing::Region::new(bus, bus, NetPair::REGION);
    let pair = NetPair::new(driver, device, region);
    driver.agree(&device).unwrap();
    pair.enable(driver, space, true).unwrap();
    pair
}

fn echo(driver: &mut TestDriver<VfioUserCard>, pair: &mut NetPair, content: u8) {
    let frame = pair.frame([0xff; 6], content, 100);
    assert!(pair.send(driver, &frame));
    assert_eq!(pair.receive(driver), frame);
}

#[test]
fn no_access_after_the_client_took_its_memory_away() {
    let mut driver = TestDriver::new(VfioUserCard::start(&["--uplink", "loopback"]));
    let mut pair = running_pair(&mut driver);
    echo(&mut driver, &mut pair, 1);
    driver.access.unmap();
    // From here on a write by the card would be seen, because the test's own view stays.
    let used = pair.rx.used_index;
    pair.queue_frame(&pair.frame([0xff; 6], 2, 100));
    driver.ring(pair.device.first_queue.get() + 1);
    driver.access.settle();
    assert_eq!(pair.tx.take_used(), None);
    assert_eq!(pair.poll(&mut driver), None);
    assert_eq!(pair.rx.used_index, used);
    // The queue has stopped on the error; the card lives on.
    driver.access.map();
    assert!(
        driver
            .statistics(pair.device.device.get())
            .unwrap()
            .queue_errors
            .get()
            > 0
    );
}

#[test]
fn a_reset_by_the_client_is_a_reset_of_the_card() {
    let mut driver = TestDriver::new(VfioUserCard::start(&["--uplink", "loopback"]));
    let mut pair = running_pair(&mut driver);
    driver.write(InfoScratch::OFFSET, 5);
    driver.access.client().reset().unwrap();
    assert_eq!(driver.access.read_config(COMMAND) & 0xffff, 0);
    pair.queue_frame(&pair.frame([0xff; 6], 1, 100));
    driver.ring(pair.device.first_queue.get() + 1);
    assert_eq!(pair.poll(&mut driver), None);
    driver.access.restore_config();
    assert_eq!(driver.read(InfoScratch::OFFSET), 0);
    // The client doesn't connect its events again, so they must still be there.
    let mut driver = TestDriver::new(driver.access);
    let mut pair = running_pair(&mut driver);
    echo(&mut driver, &mut pair, 2);
    assert!(driver.access.wait_interrupt(pair.rx_vector()));
}

#[test]
fn interrupts_wait_while_they_are_masked() {
    let mut driver = TestDriver::new(VfioUserCard::start(&["--uplink", "loopback"]));
    let mut pair = running_pair(&mut driver);
    driver.access.settle();
    driver.access.take_interrupt(pair.rx_vector());
    driver.access.write_config16(MSIX_CONTROL, 0xc000);
    echo(&mut driver, &mut pair, 1);
    assert!(!driver.access.take_interrupt(pair.rx_vector()));
    driver.access.write_config16(MSIX_CONTROL, 0x8000);
    assert!(driver.access.wait_interrupt(pair.rx_vector()));
}

#[test]
fn signals_plug_the_cable_of_the_uplink_in_and_out() {
    let sim = Sim::start(&["--uplink", "loopback"]);
    let mut driver = TestDriver::new(VfioUserCard::attach(&sim));
    let mut pair = running_pair(&mut driver);
    echo(&mut driver, &mut pair, 1);
    for (signal, status) in [(Signal::SIGUSR1, 0), (Signal::SIGUSR2, 1)] {
        sim.signal(signal);
        let event = driver.expect_event();
        assert_eq!(event.kind.get(), EventKind::NetStatusChanged as u16);
        assert_eq!(event.detail.get(), status);
        // The same again is no news.
        sim.signal(signal);
    }
    echo(&mut driver, &mut pair, 2);
    sim.signal(Signal::SIGUSR1);
    assert_eq!(driver.expect_event().detail.get(), 0);
    // Neither a device that comes later nor a reset of the card plugs the cable in.
    drop(driver);
    let mut driver = TestDriver::new(VfioUserCard::attach(&sim));
    let device = driver.create_device(1, 0).unwrap().device.get();
    driver.tell(device).unwrap();
    assert_eq!(driver.expect_event().mac()[0] & 1, 0);
    assert_eq!(driver.expect_event().detail.get(), 0);
    drop(driver);
}

#[test]
fn a_client_may_leave_at_any_time_and_another_one_come() {
    let sim = Sim::start(&["--uplink", "loopback"]);
    for round in 0..3 {
        let mut driver = TestDriver::new(VfioUserCard::attach(&sim));
        let mut pair = running_pair(&mut driver);
        echo(&mut driver, &mut pair, round);
        // Leaves with frames under way.
        for _ in 0..8 {
            pair.queue_frame(&pair.frame([0xff; 6], round, 100));
            driver.ring(pair.device.first_queue.get() + 1);
        }
    }
}

#[test]
fn captures_hold_what_passed() {
    let card = VfioUserCard::start(&[
        "--uplink",
        "loopback",
        "--pcap",
        "uplink={}/up",
        "--pcap",
        "0={}/device",
    ]);
    let mut driver = TestDriver::new(card);
    let mut pair = running_pair(&mut driver);
    echo(&mut driver, &mut pair, 1);
    echo(&mut driver, &mut pair, 2);
    for name in ["up", "device"] {
        let path = driver.access.sim().file(name);
        // Out and back in again, twice, with 16 bytes before each frame.
        assert!(
            driver
                .access
                .wait_until(|_| std::fs::read(&path).unwrap().len() == 24 + 4 * (16 + 100)),
            "{name}"
        );
    }
}

#[test]
fn two_cards_with_a_cable_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let cable = format!("unix:{}/cable", folder.path().to_str().unwrap());
    let mut here = TestDriver::new(VfioUserCard::start(&["--uplink", &cable]));
    let mut there = TestDriver::new(VfioUserCard::start(&["--uplink", &cable]));
    let (mut a, mut b) = (running_pair(&mut here), running_pair(&mut there));
    for content in 0..20 {
        let frame = a.frame([0xff; 6], content, 60 + 70 * usize::from(content));
        assert!(a.send(&mut here, &frame));
        assert_eq!(b.receive(&mut there), frame);
        let answer = b.frame([0xff; 6], content, 1514);
        assert!(b.send(&mut there, &answer));
        assert_eq!(a.receive(&mut here), answer);
    }
}

#[test]
fn bad_cards_look_bad() {
    let mut card = VfioUserCard::start(&[
        "--bad-magic",
        "--interface-version",
        "7.3",
        "--register-bar-size",
        "512",
    ]);
    assert_ne!(card.read32(0, InfoMagic::OFFSET as u64), 0x524f_4f4d);
    assert_eq!(
        card.read32(0, InfoInterfaceVersion::OFFSET as u64),
        (7 << 16) | 3
    );
    assert_eq!(card.client().region(0).unwrap().size, 512);
    assert_eq!(card.read32(0, 0x200), u32::MAX);
}

#[test]
fn a_card_with_msi_has_no_msix() {
    let sim = Sim::start(&["--interrupts", "msi"]);
    let mut client = vfio_user::Client::new(&sim.socket()).unwrap();
    assert_eq!(client.get_irq_info(1).unwrap().count, 32);
    assert_eq!(client.get_irq_info(2).unwrap().count, 0);
    assert_eq!(client.region(4).unwrap().size, 0);
}

#[test]
fn a_card_that_hangs_takes_no_further_command_until_its_reset() {
    let mut driver = TestDriver::new(VfioUserCard::start(&["--hang-after", "2"]));
    for _ in 0..2 {
        for _ in 0..2 {
            driver.create_space(AddressSpaceMode::Blocked).unwrap();
        }
        driver.submit(&Command::new_zeroed());
        driver.access.settle();
        assert_eq!(driver.read(CmdqHead::OFFSET), 2);
        driver.access.function_reset();
        driver.set_up();
    }
}

#[test]
fn a_driver_may_do_without_interrupts_for_completions() {
    let mut driver = TestDriver::new(VfioUserCard::start(&[]));
    let enable = |vector| CmdqControl(0).with_enable(true).with_vector(vector).0;
    driver.write(CmdqControl::OFFSET, 0);
    driver.write(CmdqControl::OFFSET, enable(NO_VECTOR));
    driver.create_space(AddressSpaceMode::Blocked).unwrap();
    driver.access.settle();
    assert!(!driver.access.take_interrupt(0));
    // Any other vector must be one that the card has.
    driver.write(CmdqControl::OFFSET, 0);
    driver.write(CmdqControl::OFFSET, enable(65));
    assert_eq!(
        CmdqStatus(driver.read(CmdqStatus::OFFSET)),
        CmdqStatus(0).with_error(true)
    );
}
