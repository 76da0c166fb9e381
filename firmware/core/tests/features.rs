// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Features of network devices, and those that a driver switches while it runs.

mod mock;

use mock::{agree, create, created, Call, Firmware, Mock};
use mooring_firmware::net::features::*;
use mooring_hw_regs::wire::DeviceCreate;

/// Features without which no device runs.
const LEAST: u64 = VERSION_1 | ACCESS_PLATFORM;

/// A device with two pairs whose driver has agreed on `features`, and its control queue.
fn device(features: u64) -> (Firmware, Mock, u16) {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let device = created(&mut firmware, &mut mock, &create(2)).expect("a device");
    let number = device.device.get();
    agree(&mut firmware, &mut mock, number, features);
    mock.calls.clear();
    (firmware, mock, number)
}

#[test]
fn guest_offloads_are_a_choice_among_those_agreed_on() {
    let agreed = LEAST
        | CTRL_VQ
        | CTRL_GUEST_OFFLOADS
        | GUEST_CSUM
        | GUEST_TSO4
        | GUEST_ECN
        | CSUM
        | HOST_TSO4;
    let rest = agreed & !GUEST_OFFLOADS;
    let request = |offloads: u64| [&[5, 0][..], &offloads.to_le_bytes()].concat();
    let (mut firmware, mut mock, device) = device(agreed);
    let mut ask = |request: &[u8]| {
        mock.control.push(request.to_vec());
        assert!(!firmware.serve_control_queue(&mut mock, 4, 8));
        let ack = mock.acks.pop().expect("an answer");
        (ack, core::mem::take(&mut mock.calls))
    };
    for offloads in [
        0,
        GUEST_CSUM,
        GUEST_CSUM | GUEST_TSO4,
        GUEST_CSUM | GUEST_TSO4 | GUEST_ECN,
    ] {
        let answer = ask(&request(offloads));
        let calls = vec![Call::SetOffloads(device, rest | offloads)];
        assert_eq!(answer, (0, calls), "{offloads:#x}");
    }
    for offloads in [
        GUEST_TSO4,
        GUEST_CSUM | GUEST_ECN,
        GUEST_CSUM | GUEST_TSO6,
        CSUM,
        1 << 63,
        u64::MAX,
    ] {
        let answer = ask(&request(offloads));
        assert_eq!(answer, (1, vec![]), "{offloads:#x}");
    }
    let short = &request(0)[..9];
    assert_eq!(ask(short), (1, vec![]));
}

#[test]
fn features_come_with_those_that_they_need() {
    let offered = |wanted: u64| {
        let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
        let arguments = DeviceCreate {
            features: wanted.into(),
            ..create(1)
        };
        let device = created(&mut firmware, &mut mock, &arguments).expect("a device");
        device.features.get()
    };
    for (wanted, expected) in [
        (MRG_RXBUF, MRG_RXBUF),
        (GUEST_TSO4 | GUEST_ECN, 0),
        (GUEST_CSUM | GUEST_ECN, GUEST_CSUM),
        (
            GUEST_CSUM | GUEST_TSO6 | GUEST_ECN,
            GUEST_CSUM | GUEST_TSO6 | GUEST_ECN,
        ),
        (HOST_TSO4 | HOST_TSO6 | HOST_ECN, 0),
        (CSUM | HOST_ECN, CSUM),
        (CTRL_RX | CTRL_VLAN | CTRL_MAC_ADDR | GUEST_ANNOUNCE, 0),
        (CTRL_VQ | CTRL_VLAN, CTRL_VQ | CTRL_VLAN),
        (1 << 60, 0),
    ] {
        assert_eq!(offered(LEAST | wanted), LEAST | expected, "{wanted:#x}");
    }
    // What a driver agrees on without the rest has no effect.
    let (mut firmware, mut mock, device) = device(LEAST);
    for (agreed, effect) in [
        (HOST_TSO4, 0),
        (GUEST_TSO4, 0),
        (GUEST_CSUM | GUEST_ECN, GUEST_CSUM),
        (MQ, 0),
        (CSUM | HOST_TSO6, CSUM | HOST_TSO6),
    ] {
        agree(&mut firmware, &mut mock, device, LEAST | agreed);
        let last = mock.calls.last();
        assert_eq!(last, Some(&Call::SetOffloads(device, LEAST | effect)));
    }
}

#[test]
fn an_address_that_the_host_has_chosen_is_the_hosts() {
    let offered = |mac: [u8; 6], features: u64| {
        let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
        let arguments = DeviceCreate {
            mac,
            features: features.into(),
            ..create(2)
        };
        let device = created(&mut firmware, &mut mock, &arguments).expect("a device");
        device.features.get() & CTRL_MAC_ADDR
    };
    let mac = [2, 0, 0, 0, 0, 9];
    assert_eq!(offered([0; 6], 0), CTRL_MAC_ADDR);
    assert_eq!(offered(mac, 0), 0);
    assert_eq!(offered(mac, LEAST | CTRL_VQ | CTRL_MAC_ADDR), CTRL_MAC_ADDR);
    assert_eq!(offered(mac, LEAST | CTRL_VQ), 0);
}
