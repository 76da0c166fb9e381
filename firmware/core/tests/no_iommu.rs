// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A card without an IOMMU of its own: everything works but address spaces, and nothing pretends otherwise.

mod mock;

use mock::{ask, command, create, execute, Firmware, Mock};
use mooring_firmware::hal::QueueFailure;
use mooring_hw_regs::wire::{
    AddressSpaceMode, DeviceCreated, DeviceStatistics, ErrorCode, EventKind, Opcode, QueueEnable,
    QueueErrorReason, NO_ADDRESS_SPACE, NO_DEVICE, QUEUE_ALLOW_IDENTITY,
};
use zerocopy::FromZeros;

fn mock() -> Mock {
    let mut mock = Mock::default();
    mock.capabilities.address_spaces = 0;
    mock.capabilities.identity = false;
    mock
}

fn enable(space: u16, flags: u16) -> QueueEnable {
    QueueEnable {
        size: 16.into(),
        address_space: space.into(),
        ring_address_space: space.into(),
        flags: flags.into(),
        vector: 1.into(),
        descriptor_area: 0x1000.into(),
        driver_area: 0x2000.into(),
        device_area: 0x3000.into(),
        ..QueueEnable::new_zeroed()
    }
}

#[test]
fn address_spaces_are_not_supported() {
    let (mut firmware, mut mock) = (Firmware::new(), mock());
    for opcode in Opcode::ALL {
        let about_spaces = matches!(
            opcode,
            Opcode::AddressSpaceCreate
                | Opcode::AddressSpaceDestroy
                | Opcode::AddressSpaceSetMode
                | Opcode::AddressSpaceUpdate
                | Opcode::AddressSpaceQuery
                | Opcode::AddressSpaceRead
        );
        // Whatever the arguments: that of a mode which exists, and nonsense.
        for argument in [AddressSpaceMode::Blocked as u16, 0xffff] {
            let outcome = execute(
                &mut firmware,
                &mut mock,
                &command(opcode, NO_DEVICE, &argument.to_le_bytes(), 0),
            );
            assert_eq!(
                outcome == Err(ErrorCode::NotSupported),
                about_spaces,
                "{opcode:?}: {outcome:?}"
            );
        }
    }
    assert!(mock.calls.is_empty(), "{:?}", mock.calls);
    assert_eq!(firmware.iommu_commands(), 0);
}

#[test]
fn queues_run_untranslated_and_only_if_that_is_meant() {
    let (mut firmware, mut mock) = (Firmware::new(), mock());
    let device: DeviceCreated =
        ask(&mut firmware, &mut mock, Opcode::DeviceCreate, &create(1)).expect("a device");
    let number = device.device.get();
    mock.calls.clear();
    for (space, flags, refusal) in [
        (NO_ADDRESS_SPACE, 0, ErrorCode::NotTranslated),
        (0, QUEUE_ALLOW_IDENTITY, ErrorCode::NoSuchAddressSpace),
        (0, 0, ErrorCode::NoSuchAddressSpace),
    ] {
        let refused = execute(
            &mut firmware,
            &mut mock,
            &command(Opcode::QueueEnable, number, &enable(space, flags), 0),
        );
        assert_eq!(refused, Err(refusal));
    }
    // One of the two spaces is as bad as both.
    for spoil in [
        (|enable| enable.address_space = 0.into()) as fn(&mut QueueEnable),
        |enable| enable.ring_address_space = 0.into(),
    ] {
        let mut bad = enable(NO_ADDRESS_SPACE, QUEUE_ALLOW_IDENTITY);
        spoil(&mut bad);
        let refused = execute(
            &mut firmware,
            &mut mock,
            &command(Opcode::QueueEnable, number, &bad, 0),
        );
        assert_eq!(refused, Err(ErrorCode::NoSuchAddressSpace));
    }
    assert!(mock.calls.is_empty(), "{:?}", mock.calls);

    let good = enable(NO_ADDRESS_SPACE, QUEUE_ALLOW_IDENTITY);
    execute(
        &mut firmware,
        &mut mock,
        &command(Opcode::QueueEnable, number, &good, 0),
    )
    .expect("a start");
    let setup = mock.queues[0].setup.expect("a queue's set-up");
    assert_eq!(setup.address_space, NO_ADDRESS_SPACE);
    assert!(mock.queues[0].running);

    // The reset stops it as on any card.
    execute(
        &mut firmware,
        &mut mock,
        &command(Opcode::DeviceReset, number, &[0u8; 0], 0),
    )
    .expect("a reset");
    assert!(!mock.queues[0].running);
}

/// A card with an IOMMU has no way around it.
#[test]
fn with_an_iommu_a_queue_needs_a_space() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let device: DeviceCreated =
        ask(&mut firmware, &mut mock, Opcode::DeviceCreate, &create(1)).expect("a device");
    let refused = execute(
        &mut firmware,
        &mut mock,
        &command(
            Opcode::QueueEnable,
            device.device.get(),
            &enable(NO_ADDRESS_SPACE, QUEUE_ALLOW_IDENTITY),
            0,
        ),
    );
    assert_eq!(refused, Err(ErrorCode::NoSuchAddressSpace));
    assert!(!mock.queues[0].running);
}

#[test]
fn payloads_are_bounded_by_their_memory() {
    let (mut firmware, mut mock) = (Firmware::new(), mock());
    let device: DeviceCreated =
        ask(&mut firmware, &mut mock, Opcode::DeviceCreate, &create(1)).expect("a device");
    let length = size_of::<DeviceStatistics>();
    mock.payload = vec![0xee; length];
    let mut ask = command(
        Opcode::DeviceStatistics,
        device.device.get(),
        &[0u8; 0],
        length,
    );
    ask.payload = 8.into();
    assert_eq!(
        execute(&mut firmware, &mut mock, &ask),
        Err(ErrorCode::PayloadDma)
    );
    assert_eq!(mock.payload, vec![0xee; length], "a refused command wrote");
    ask.payload = 0.into();
    execute(&mut firmware, &mut mock, &ask).expect("statistics");
    assert!(!mock.payload.contains(&0xee), "all of it is written");
}

#[test]
fn bus_errors_say_where() {
    let (mut firmware, mut mock) = (Firmware::new(), mock());
    let _: DeviceCreated =
        ask(&mut firmware, &mut mock, Opcode::DeviceCreate, &create(1)).expect("a device");
    let [None, Some(event)] = firmware.failure_events(&QueueFailure {
        queue: 1,
        reason: QueueErrorReason::Bus,
        fault: None,
        bus_address: 0x1_2345_6000,
    }) else {
        panic!("one event")
    };
    assert_eq!(event.kind.get(), EventKind::QueueStopped as u16);
    assert_eq!(event.detail.get(), QueueErrorReason::Bus as u32);
    assert_eq!(event.iova.get(), 0x1_2345_6000);
    assert_eq!(event.address_space.get(), NO_ADDRESS_SPACE);
}
