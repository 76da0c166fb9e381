// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The control queue of a network device.

mod mock;

use mock::{agree, command, create, created, execute, Call, Firmware, Mock};
use mooring_firmware::hal::{MacTable, ReceiveFilter};
use mooring_firmware::net::features::*;
use mooring_hw_regs::wire::{DeviceSetFeatures, Opcode};
use proptest::prelude::*;

#[test]
fn the_control_queue_obeys_what_was_agreed_on() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let device = created(&mut firmware, &mut mock, &create(2))
        .expect("a device")
        .device
        .get();
    let promiscuous_off = [0, 0, 0];
    let two_pairs = [4, 0, 2, 0];
    let serve = |firmware: &mut Firmware, mock: &mut Mock, request: &[u8]| {
        mock.control.push(request.to_vec());
        assert!(!firmware.serve_control_queue(mock, 4, 8));
        mock.acks.pop().expect("an answer")
    };
    assert_eq!(
        serve(&mut firmware, &mut mock, &promiscuous_off),
        1,
        "nothing was agreed on"
    );
    let features = DeviceSetFeatures {
        features: (CTRL_VQ | CTRL_RX).into(),
    };
    execute(
        &mut firmware,
        &mut mock,
        &command(Opcode::DeviceSetFeatures, device, &features, 0),
    )
    .expect("features");
    assert_eq!(serve(&mut firmware, &mut mock, &promiscuous_off), 0);
    let filter = ReceiveFilter {
        promiscuous: false,
        ..ReceiveFilter::default()
    };
    assert_eq!(mock.calls.last(), Some(&Call::SetFilter(device, filter)));
    assert_eq!(serve(&mut firmware, &mut mock, &two_pairs), 1);
    let features = DeviceSetFeatures {
        features: (CTRL_VQ | MQ).into(),
    };
    execute(
        &mut firmware,
        &mut mock,
        &command(Opcode::DeviceSetFeatures, device, &features, 0),
    )
    .expect("features");
    assert_eq!(serve(&mut firmware, &mut mock, &two_pairs), 0);
    assert_eq!(mock.calls.last(), Some(&Call::SetPairs(device, 2)));
    for short in [&[][..], &[4], &[4, 0], &[4, 0, 2]] {
        assert_eq!(serve(&mut firmware, &mut mock, short), 1);
    }
    // Data queues and queues that nobody has are no control queues.
    mock.control.push(vec![4, 0, 1, 0]);
    for queue in [0, 3, 5, 11, 12, 0xffff] {
        assert!(!firmware.serve_control_queue(&mut mock, queue, 8));
        assert_eq!(mock.control.len(), 1);
    }
    // The budget bounds the work.
    mock.control = vec![vec![4, 0, 1, 0]; 5];
    assert!(firmware.serve_control_queue(&mut mock, 4, 3));
    assert_eq!(mock.control.len(), 2);
    // A feature without the one that it needs has no effect.
    agree(&mut firmware, &mut mock, device, MQ);
    assert_eq!(serve(&mut firmware, &mut mock, &two_pairs), 1);
}

/// Everything that a control queue has commands for.
const ALL: u64 = VERSION_1
    | ACCESS_PLATFORM
    | STATUS
    | CTRL_VQ
    | CTRL_RX
    | CTRL_RX_EXTRA
    | CTRL_VLAN
    | CTRL_MAC_ADDR
    | GUEST_ANNOUNCE
    | MQ;

/// A device with two pairs whose driver has agreed on `features`, and its control queue.
fn device(features: u64) -> (Firmware, Mock, u16) {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let device = created(&mut firmware, &mut mock, &create(2)).expect("a device");
    let number = device.device.get();
    assert_eq!(features & !device.features.get(), 0, "{features:#x}");
    agree(&mut firmware, &mut mock, number, features);
    mock.calls.clear();
    (firmware, mock, number)
}

/// Has the device carry out a request. Returns the answer, and what was asked of the card.
fn ask_control(firmware: &mut Firmware, mock: &mut Mock, request: &[u8]) -> (u8, Vec<Call>) {
    mock.control.push(request.to_vec());
    assert!(!firmware.serve_control_queue(mock, 4, 8));
    let ack = mock.acks.pop().expect("an answer");
    (ack, core::mem::take(&mut mock.calls))
}

#[test]
fn each_command_does_its_work_if_its_feature_was_agreed_on() {
    let filter = |change: fn(&mut ReceiveFilter)| {
        let mut filter = ReceiveFilter::default();
        change(&mut filter);
        vec![Call::SetFilter(0, filter)]
    };
    let new_mac = [2, 9, 9, 9, 9, 9];
    let set_mac = [&[1, 1][..], &new_mac].concat();
    let cases: [(&[u8], u64, Vec<Call>); 11] = [
        (
            &[0, 0, 0],
            CTRL_RX,
            filter(|filter| filter.promiscuous = false),
        ),
        (
            &[0, 1, 1],
            CTRL_RX,
            filter(|filter| filter.all_multicast = true),
        ),
        (
            &[0, 2, 1],
            CTRL_RX_EXTRA,
            filter(|filter| filter.all_unicast = true),
        ),
        (
            &[0, 3, 1],
            CTRL_RX_EXTRA,
            filter(|filter| filter.no_multicast = true),
        ),
        (
            &[0, 4, 1],
            CTRL_RX_EXTRA,
            filter(|filter| filter.no_unicast = true),
        ),
        (
            &[0, 5, 1],
            CTRL_RX_EXTRA,
            filter(|filter| filter.no_broadcast = true),
        ),
        (&set_mac, CTRL_MAC_ADDR, vec![Call::SetMac(0, new_mac)]),
        (
            &[2, 0, 0xff, 0x0f],
            CTRL_VLAN,
            vec![Call::SetVlan(0, 4095, true)],
        ),
        (&[2, 1, 0, 0], CTRL_VLAN, vec![Call::SetVlan(0, 0, false)]),
        (&[3, 0], GUEST_ANNOUNCE, vec![]),
        (&[4, 0, 2, 0], MQ, vec![Call::SetPairs(0, 2)]),
    ];
    for (request, feature, calls) in cases {
        let (mut firmware, mut mock, _) = device(ALL);
        let answer = ask_control(&mut firmware, &mut mock, request);
        assert_eq!(answer, (0, calls), "{request:?}");
        // Every request but the acknowledgement has data; a byte less of them is too few.
        if request.len() > 2 {
            let short = &request[..request.len() - 1];
            let answer = ask_control(&mut firmware, &mut mock, short);
            assert_eq!(answer, (1, vec![]), "{short:?}");
        }
        let (mut firmware, mut mock, _) = device(ALL & !feature);
        let answer = ask_control(&mut firmware, &mut mock, request);
        assert_eq!(answer, (1, vec![]), "{request:?} without its feature");
    }
}

#[test]
fn senseless_commands_change_nothing() {
    let (mut firmware, mut mock, _) = device(ALL);
    for request in [
        &[][..],
        &[0],
        &[0, 0, 2],
        &[0, 5, 0xff],
        &[0, 6, 1],
        &[1, 2, 2, 9, 9, 9, 9, 9],
        &[1, 1, 3, 9, 9, 9, 9, 9],
        &[1, 1, 0, 0, 0, 0, 0, 0],
        &[2, 0, 0, 0x10],
        &[2, 1, 0xff, 0xff],
        &[2, 2, 1, 0],
        &[3, 1],
        &[4, 0, 0, 0],
        &[4, 0, 3, 0],
        &[4, 1, 1, 0],
        // Nothing of it is offered.
        &[5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[6, 0, 0],
        &[0xff, 0xff, 0xff, 0xff],
    ] {
        let answer = ask_control(&mut firmware, &mut mock, request);
        assert_eq!(answer, (1, vec![]), "{request:?}");
    }
}

/// A request that sets the table to so many addresses of each kind, all different.
fn table_request(unicast: usize, multicast: usize) -> Vec<u8> {
    let mut request = vec![1, 0];
    for (count, first) in [(unicast, 2), (multicast, 3)] {
        request.extend((count as u32).to_le_bytes());
        for number in 0..count as u32 {
            let [a, b, c, d] = number.to_be_bytes();
            request.extend([first, 0, a, b, c, d]);
        }
    }
    request
}

proptest! {
    /// What is listed passes and nothing else, up to what there is room for; of more, all of the kind pass.
    #[test]
    fn the_table_of_addresses(unicast in 0..200usize, multicast in 0..200usize, cut in 1..40usize) {
        let (mut firmware, mut mock, device) = device(ALL);
        let request = table_request(unicast, multicast);
        let (ack, calls) = ask_control(&mut firmware, &mut mock, &request);
        prop_assert_eq!(ack, 0);
        let [Call::SetMacTable(number, table)] = &calls[..] else {
            panic!("{calls:?}")
        };
        prop_assert_eq!(*number, device);
        for (list, count, first) in [(&table.unicast, unicast, 2), (&table.multicast, multicast, 3)] {
            for number in 0..count as u8 {
                prop_assert!(list.contains(&[first, 0, 0, 0, 0, number]));
            }
            let overflows = count > MacTable::ENTRIES;
            prop_assert_eq!(list.contains(&[first, 0, 0, 0, 0, 200]), overflows);
            prop_assert_eq!(list.count.is_none(), overflows);
        }
        // A request that ends too early changes nothing.
        let cut = &request[..request.len().saturating_sub(cut)];
        prop_assert_eq!(ask_control(&mut firmware, &mut mock, cut), (1, vec![]));
    }

    /// Whatever a driver writes, it gets an answer, and no panic.
    #[test]
    fn any_request_is_answered(class in 0..8u8, command in 0..8u8, data in prop::collection::vec(any::<u8>(), 0..40)) {
        let (mut firmware, mut mock, _) = device(ALL);
        let request = [&[class, command][..], &data].concat();
        let (ack, calls) = ask_control(&mut firmware, &mut mock, &request);
        prop_assert!(ack == 0 || (ack == 1 && calls.is_empty()), "{} {:?}", ack, calls);
    }
}

#[test]
fn a_table_that_claims_to_be_huge_is_refused() {
    let (mut firmware, mut mock, _) = device(ALL);
    let huge = [1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(ask_control(&mut firmware, &mut mock, &huge), (1, vec![]));
}

#[test]
fn a_reset_takes_back_what_the_control_queue_has_set() {
    let (mut firmware, mut mock, device) = device(ALL);
    let mac = mock.ports[&device];
    let requests: [&[u8]; 5] = [
        &[0, 0, 0],
        &[1, 1, 2, 9, 9, 9, 9, 9],
        &table_request(1, 1),
        &[2, 0, 5, 0],
        &[4, 0, 2, 0],
    ];
    for request in requests {
        assert_eq!(ask_control(&mut firmware, &mut mock, request).0, 0);
    }
    let reset = command(Opcode::DeviceReset, device, &[0u8; 0], 0);
    execute(&mut firmware, &mut mock, &reset).expect("reset");
    for call in [
        Call::SetFilter(device, ReceiveFilter::default()),
        Call::SetMac(device, mac),
        Call::SetMacTable(device, Box::new(MacTable::EMPTY)),
        Call::SetVlanFilter(device, false),
        Call::SetOffloads(device, 0),
        Call::SetPairs(device, 1),
    ] {
        assert!(mock.calls.contains(&call), "{call:?}");
    }
    // The filter of VLANs is on exactly if it was agreed on.
    for features in [ALL, ALL & !CTRL_VLAN] {
        agree(&mut firmware, &mut mock, device, features);
        let on = features & CTRL_VLAN != 0;
        assert!(mock.calls.contains(&Call::SetVlanFilter(device, on)));
        mock.calls.clear();
    }
}
