// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the host is told unasked.

mod mock;

use mock::{agree, command, create, created, execute, Call, Firmware, Mock};
use mooring_firmware::hal::{Fault, QueueFailure};
use mooring_firmware::net::features::{CTRL_MAC_ADDR, CTRL_VQ, GUEST_ANNOUNCE, STATUS};
use mooring_hw_regs::wire::{
    ErrorCode, Event, EventKind, NetSetLink, NetSetMac, Opcode, QueueErrorReason,
    NET_STATUS_ANNOUNCE, NET_STATUS_LINK_UP, NO_ADDRESS_SPACE, NO_QUEUE,
};

#[test]
fn failures_become_events() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    created(&mut firmware, &mut mock, &create(1)).expect("a device");
    created(&mut firmware, &mut mock, &create(1)).expect("a device");
    let fault = Fault {
        address_space: 3,
        iova: 0x1234,
        length: 5,
        permission: 2,
    };
    let failure = QueueFailure {
        queue: 3,
        bus_address: 0,
        reason: QueueErrorReason::Access,
        fault: Some(fault),
    };
    let [Some(first), Some(second)] = firmware.failure_events(&failure) else {
        panic!("two events")
    };
    assert_eq!(first.kind.get(), EventKind::IommuFault as u16);
    assert_eq!(
        (
            first.device.get(),
            first.queue.get(),
            first.address_space.get()
        ),
        (1, 1, 3)
    );
    assert_eq!(
        (first.iova.get(), first.length.get(), first.detail.get()),
        (0x1234, 5, 2)
    );
    assert_eq!(second.kind.get(), EventKind::QueueStopped as u16);
    assert_eq!((second.device.get(), second.queue.get()), (1, 1));
    assert_eq!(
        (
            second.address_space.get(),
            second.iova.get(),
            second.length.get()
        ),
        (NO_ADDRESS_SPACE, 0, 0)
    );
    assert_eq!(second.detail.get(), QueueErrorReason::Access as u32);
    let failure = QueueFailure {
        queue: 3,
        bus_address: 0,
        reason: QueueErrorReason::Ring,
        fault: None,
    };
    assert!(matches!(firmware.failure_events(&failure), [None, Some(_)]));
    let failure = QueueFailure {
        queue: 11,
        bus_address: 0,
        reason: QueueErrorReason::Ring,
        fault: None,
    };
    assert!(matches!(firmware.failure_events(&failure), [None, None]));
}

/// All events that there are to tell.
fn events(firmware: &mut Firmware, mock: &Mock) -> Vec<Event> {
    core::iter::from_fn(|| firmware.take_event(mock)).collect()
}

/// The statuses that are told of devices.
fn statuses(firmware: &mut Firmware, mock: &Mock) -> Vec<(u16, u32)> {
    let events = events(firmware, mock);
    let status = |event: &Event| {
        assert_eq!(event.kind.get(), EventKind::NetStatusChanged as u16);
        assert_eq!(event.length.get(), mock.capabilities.link_speed);
        assert_eq!(
            (event.queue.get(), event.address_space.get()),
            (NO_QUEUE, NO_ADDRESS_SPACE)
        );
        (event.device.get(), event.detail.get())
    };
    events.iter().map(status).collect()
}

fn set_link(firmware: &mut Firmware, mock: &mut Mock, up: u16) -> Result<(), ErrorCode> {
    let arguments = NetSetLink { up: up.into() };
    execute(
        firmware,
        mock,
        &command(Opcode::NetSetLink, 0, &arguments, 0),
    )
    .map(drop)
}

#[test]
fn a_link_is_up_if_host_and_carrier_let_it() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    created(&mut firmware, &mut mock, &create(1)).expect("a device");
    created(&mut firmware, &mut mock, &create(1)).expect("a device");
    assert_eq!(statuses(&mut firmware, &mock), []);
    set_link(&mut firmware, &mut mock, 0).expect("down");
    assert_eq!(statuses(&mut firmware, &mock), [(0, 0)]);
    assert_eq!(mock.calls.last(), Some(&Call::SetLink(0, false)));
    // Only what changed is told.
    set_link(&mut firmware, &mut mock, 0).expect("down");
    assert_eq!(statuses(&mut firmware, &mock), []);
    firmware.set_carrier(&mut mock, false);
    assert_eq!(statuses(&mut firmware, &mock), [(1, 0)]);
    set_link(&mut firmware, &mut mock, 1).expect("up");
    assert_eq!(statuses(&mut firmware, &mock), []);
    let late = created(&mut firmware, &mut mock, &create(1)).expect("a device");
    assert_eq!(
        mock.calls.last(),
        Some(&Call::SetLink(late.device.get(), false))
    );
    firmware.set_carrier(&mut mock, true);
    let up = NET_STATUS_LINK_UP;
    assert_eq!(statuses(&mut firmware, &mock), [(0, up), (1, up), (2, up)]);
    assert_eq!(
        set_link(&mut firmware, &mut mock, 2),
        Err(ErrorCode::InvalidArgument)
    );
    assert_eq!(statuses(&mut firmware, &mock), []);
}

#[test]
fn changes_of_a_link_that_find_no_room_are_told_as_one() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    created(&mut firmware, &mut mock, &create(2)).expect("a device");
    let features = CTRL_VQ | STATUS | GUEST_ANNOUNCE;
    agree(&mut firmware, &mut mock, 0, features);
    set_link(&mut firmware, &mut mock, 0).expect("down");
    set_link(&mut firmware, &mut mock, 1).expect("up");
    // Nor is anything to be announced: Linux would send it before the link is up for it.
    assert_eq!(statuses(&mut firmware, &mock), [(0, NET_STATUS_LINK_UP)]);
}

#[test]
fn a_device_that_was_elsewhere_is_announced_if_its_driver_does_that() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    created(&mut firmware, &mut mock, &create(2)).expect("a device");
    let ask = |firmware: &mut Firmware, mock: &mut Mock, device: u16| {
        let announce = command(Opcode::NetAnnounce, device, &[0u8; 0], 0);
        execute(firmware, mock, &announce).map(drop)
    };
    assert_eq!(ask(&mut firmware, &mut mock, 0), Ok(()));
    assert_eq!(statuses(&mut firmware, &mock), [], "nothing was agreed on");
    agree(
        &mut firmware,
        &mut mock,
        0,
        CTRL_VQ | STATUS | GUEST_ANNOUNCE,
    );
    let both = NET_STATUS_LINK_UP | NET_STATUS_ANNOUNCE;
    assert_eq!(ask(&mut firmware, &mut mock, 0), Ok(()));
    assert_eq!(statuses(&mut firmware, &mock), [(0, both)]);
    mock.control = vec![vec![3, 0]; 2];
    assert!(!firmware.serve_control_queue(&mut mock, 4, 8));
    assert_eq!(mock.acks, [0, 0]);
    assert_eq!(
        statuses(&mut firmware, &mock),
        [(0, NET_STATUS_LINK_UP)],
        "the first acknowledgement is told, the second changes nothing"
    );
    // A reset ends it, too.
    assert_eq!(ask(&mut firmware, &mut mock, 0), Ok(()));
    assert_eq!(statuses(&mut firmware, &mock), [(0, both)]);
    let reset = command(Opcode::DeviceReset, 0, &[0u8; 0], 0);
    execute(&mut firmware, &mut mock, &reset).expect("reset");
    assert_eq!(statuses(&mut firmware, &mock), [(0, NET_STATUS_LINK_UP)]);
    let features = CTRL_VQ | STATUS | GUEST_ANNOUNCE;
    agree(&mut firmware, &mut mock, 0, features);

    // So does a link that goes down, and there is nobody to tell on one that is.
    assert_eq!(ask(&mut firmware, &mut mock, 0), Ok(()));
    set_link(&mut firmware, &mut mock, 0).expect("down");
    assert_eq!(statuses(&mut firmware, &mock), [(0, 0)]);
    assert_eq!(ask(&mut firmware, &mut mock, 0), Ok(()));
    assert_eq!(statuses(&mut firmware, &mock), []);
    set_link(&mut firmware, &mut mock, 1).expect("up");
    assert_eq!(statuses(&mut firmware, &mock), [(0, NET_STATUS_LINK_UP)]);
    assert_eq!(
        ask(&mut firmware, &mut mock, 1),
        Err(ErrorCode::NoSuchDevice)
    );
}

#[test]
fn every_change_of_the_mac_address_is_told_once() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let device = created(&mut firmware, &mut mock, &create(2)).expect("a device");
    let macs = |firmware: &mut Firmware, mock: &Mock| {
        let told = events(firmware, mock);
        let mac = |event: &Event| {
            assert_eq!(event.kind.get(), EventKind::MacChanged as u16);
            event.mac()
        };
        told.iter().map(mac).collect::<Vec<_>>()
    };
    let reset = command(Opcode::DeviceReset, 0, &[0u8; 0], 0);
    execute(&mut firmware, &mut mock, &reset).expect("reset");
    assert_eq!(macs(&mut firmware, &mock).len(), 0);
    agree(&mut firmware, &mut mock, 0, CTRL_VQ | CTRL_MAC_ADDR);
    mock.control = vec![vec![1, 1, 2, 3, 4, 5, 6, 7]; 2];
    assert!(firmware.serve_control_queue(&mut mock, 4, 1));
    assert_eq!(macs(&mut firmware, &mock), [[2, 3, 4, 5, 6, 7]]);
    assert!(!firmware.serve_control_queue(&mut mock, 4, 8));
    assert_eq!(macs(&mut firmware, &mock).len(), 0, "it is no news");
    execute(&mut firmware, &mut mock, &reset).expect("reset");
    assert_eq!(macs(&mut firmware, &mock), [device.mac]);
    let mac = [6, 6, 6, 6, 6, 6];
    let set = command(Opcode::NetSetMac, 0, &NetSetMac { mac }, 0);
    execute(&mut firmware, &mut mock, &set).expect("set");
    assert_eq!(macs(&mut firmware, &mock), [mac]);

    // Who asks is told all.
    let tell = command(Opcode::NetTell, 0, &[0u8; 0], 0);
    execute(&mut firmware, &mut mock, &tell).expect("told");
    let [first, second] = events(&mut firmware, &mock)[..] else {
        panic!("two events")
    };
    assert_eq!(first.mac(), mac);
    assert_eq!(second.detail.get(), NET_STATUS_LINK_UP);
    let tell = command(Opcode::NetTell, 1, &[0u8; 0], 0);
    assert_eq!(
        execute(&mut firmware, &mut mock, &tell),
        Err(ErrorCode::NoSuchDevice)
    );
}
