// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Links that go down and come up, and what the host is told of them.

use mooring_hw_regs::wire::{Event, EventKind, NET_STATUS_LINK_UP};

use super::{expect_echo, running_pair, BROADCAST};
use crate::testing::{CardAccess, TestDriver};

/// The device and the status that an event tells.
fn status(event: &Event) -> (u16, u32) {
    assert_eq!(event.kind.get(), EventKind::NetStatusChanged as u16);
    assert_eq!(event.length.get(), 100_000, "the speed");
    (event.device.get(), event.detail.get())
}

/// Nothing passes a link that is down, in either direction, and the host is told before the command completes.
pub fn link<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut a, _) = running_pair(&mut driver, 0);
    let (mut b, _) = running_pair(&mut driver, 0);
    let (first, second) = (a.device.device.get(), b.device.device.get());
    assert!(driver.event().is_none(), "a new device has nothing to tell");

    driver.set_link(second, false).expect("down");
    let event = driver.event().expect("an event, before the completion");
    assert_eq!(status(&event), (second, 0));
    let (there, back) = (a.frame(b.device.mac, 1, 64), b.frame(a.device.mac, 2, 64));
    assert!(a.send(&mut driver, &there), "the buffer comes back");
    assert!(b.send(&mut driver, &back), "the buffer comes back");
    assert_eq!((a.poll(&mut driver), b.poll(&mut driver)), (None, None));
    // The other device's link is its own.
    expect_echo(&mut driver, &mut a, 3);
    assert_eq!(b.poll(&mut driver), None, "a broadcast");

    driver.set_link(second, true).expect("up");
    assert_eq!(
        status(&driver.event().expect("an event")),
        (second, NET_STATUS_LINK_UP)
    );
    assert!(a.send(&mut driver, &there) && b.send(&mut driver, &back));
    assert_eq!(a.receive(&mut driver), back);
    assert_eq!(b.receive(&mut driver), there);

    // What has not changed is told to who asks.
    driver.set_link(second, true).expect("up");
    assert!(driver.event().is_none());
    driver.tell(first).expect("told");
    let mac = driver.event().expect("an event");
    assert_eq!(mac.kind.get(), EventKind::MacChanged as u16);
    assert_eq!(mac.mac(), a.device.mac);
    assert_eq!(
        status(&driver.event().expect("an event")),
        (first, NET_STATUS_LINK_UP)
    );

    // A device reset leaves the link as it is.
    driver.set_link(first, false).expect("down");
    assert_eq!(status(&driver.event().expect("an event")), (first, 0));
    driver.reset_device(first).expect("reset");
    assert!(driver.event().is_none());
    let frame = b.frame(BROADCAST, 4, 64);
    assert!(b.send(&mut driver, &frame));
    assert_eq!(a.poll(&mut driver), None);
}

/// Changes that find no room in the event queue are not lost, as other events are: they are told when there is room.
pub fn changes_wait_for_room<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let devices: Vec<u16> = (0..70)
        .map(|_| driver.create_device(1, 0).expect("a device").device.get())
        .collect();
    for &device in &devices {
        driver.set_link(device, false).expect("down");
    }
    // Told once, as it is when it is told.
    driver.set_link(devices[69], true).expect("up");
    let mut told: Vec<(u16, u32)> = devices
        .iter()
        .map(|_| {
            let event = driver.expect_event();
            assert_eq!(event.lost.get(), 0);
            status(&event)
        })
        .collect();
    assert!(driver.event().is_none());
    told.sort_unstable();
    let expected: Vec<(u16, u32)> = devices
        .iter()
        .map(|device| (*device, u32::from(*device == devices[69])))
        .collect();
    assert_eq!(told, expected);
}
