// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Device objects: what they are made of, and what a reset leaves.

mod mock;

use mock::{command, create, created, enable, execute, space, Call, Firmware, Mock};
use mooring_firmware::net::features::{ACCESS_PLATFORM, CTRL_VQ, MQ, VERSION_1};
use mooring_hw_regs::wire::{
    AddressSpaceMode, DeviceCreate, DeviceCreated, DeviceSetFeatures, ErrorCode, NetSetMac, Opcode,
};

#[test]
fn arguments_of_a_device_are_checked() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let mut refuse = |spoil: fn(&mut DeviceCreate), code| {
        let mut arguments = create(1);
        spoil(&mut arguments);
        assert_eq!(
            created(&mut firmware, &mut mock, &arguments).map(drop),
            Err(code)
        );
        assert_eq!(mock.calls, []);
    };
    refuse(
        |create| create.virtio_id = 3.into(),
        ErrorCode::InvalidArgument,
    );
    refuse(
        |create| create.queue_pairs = 0.into(),
        ErrorCode::InvalidArgument,
    );
    refuse(
        |create| create.queue_pairs = 6.into(),
        ErrorCode::NoResources,
    );
    refuse(
        |create| create.queue_pairs = 0x8000.into(),
        ErrorCode::NoResources,
    );
    refuse(
        |create| create.queue_pairs = 0xffff.into(),
        ErrorCode::NoResources,
    );
    refuse(|create| create.mtu = 67.into(), ErrorCode::InvalidArgument);
    refuse(
        |create| create.mac = [1, 0, 0, 0, 0, 0],
        ErrorCode::InvalidArgument,
    );
    refuse(|create| create.mac = [0xff; 6], ErrorCode::InvalidArgument);
    refuse(
        |create| create.features = VERSION_1.into(),
        ErrorCode::InvalidArgument,
    );
    refuse(
        |create| create.features = ACCESS_PLATFORM.into(),
        ErrorCode::InvalidArgument,
    );
}

#[test]
fn queues_are_allocated_in_a_row() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let first: Vec<u16> = (0..4)
        .map(|_| {
            created(&mut firmware, &mut mock, &create(1))
                .expect("a device")
                .first_queue
                .get()
        })
        .collect();
    assert_eq!(first, [0, 2, 4, 6]);
    assert_eq!(
        created(&mut firmware, &mut mock, &create(1)).map(drop),
        Err(ErrorCode::NoResources)
    );
    for device in [0, 2] {
        execute(
            &mut firmware,
            &mut mock,
            &command(Opcode::DeviceDestroy, device, &[0u8; 0], 0),
        )
        .expect("destroy");
    }
    // Four queues are free in holes of two, and four behind the rest: five in a row are not.
    assert_eq!(
        created(&mut firmware, &mut mock, &create(2)).map(drop),
        Err(ErrorCode::NoResources)
    );
    let again = created(&mut firmware, &mut mock, &create(1)).expect("a device");
    assert_eq!((again.device.get(), again.first_queue.get()), (0, 0));
}

#[test]
fn chosen_addresses_are_free_and_stay_the_vendors() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let mac = |result: Result<DeviceCreated, ErrorCode>| result.expect("a device").mac;
    assert_eq!(
        mac(created(&mut firmware, &mut mock, &create(1))),
        [2, 0, 0, 0xff, 0xff, 0xff]
    );
    let taken = DeviceCreate {
        mac: [2, 0, 0, 0, 0, 0],
        ..create(1)
    };
    assert_eq!(
        mac(created(&mut firmware, &mut mock, &taken)),
        [2, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        mac(created(&mut firmware, &mut mock, &create(1))),
        [2, 0, 0, 0, 0, 1]
    );
    assert_eq!(
        created(&mut firmware, &mut mock, &taken).map(drop),
        Err(ErrorCode::InvalidArgument)
    );

    let mut set = |device: u16, mac: [u8; 6]| {
        execute(
            &mut firmware,
            &mut mock,
            &command(Opcode::NetSetMac, device, &NetSetMac { mac }, 0),
        )
        .map(drop)
    };
    assert_eq!(set(0, [2, 0, 0, 0, 0, 1]), Err(ErrorCode::InvalidArgument));
    assert_eq!(set(0, [3, 0, 0, 0, 0, 1]), Err(ErrorCode::InvalidArgument));
    assert_eq!(set(0, [0; 6]), Err(ErrorCode::InvalidArgument));
    assert_eq!(set(9, [2, 2, 2, 2, 2, 2]), Err(ErrorCode::NoSuchDevice));
    assert_eq!(set(0, [2, 2, 2, 2, 2, 2]), Ok(()));
    assert_eq!(set(0, [2, 2, 2, 2, 2, 2]), Ok(()));
    assert_eq!(mock.ports[&0], [2, 2, 2, 2, 2, 2]);
}

#[test]
fn a_control_queue_is_there_if_it_is_offered() {
    let must_have = VERSION_1 | ACCESS_PLATFORM;
    for (pairs, features, queues) in [
        (1, 0, 2),
        (2, 0, 5),
        (1, must_have, 2),
        (2, must_have, 4),
        (2, must_have | MQ, 4),
        (1, must_have | CTRL_VQ, 3),
        (2, must_have | CTRL_VQ | MQ, 5),
    ] {
        let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
        let arguments = DeviceCreate {
            features: u64::into(features),
            ..create(pairs)
        };
        let device = created(&mut firmware, &mut mock, &arguments).expect("a device");
        let offered = device.features.get();
        assert_eq!(device.num_queues.get(), queues, "{pairs} {features:#x}");
        assert_eq!(offered & CTRL_VQ != 0, queues % 2 == 1);
        assert!(offered & MQ == 0 || offered & CTRL_VQ != 0);
        assert!(features == 0 || offered & !features == 0);
    }
}

#[test]
fn device_reset_asks_nothing_of_the_iommu() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let device = created(&mut firmware, &mut mock, &create(1))
        .expect("a device")
        .device
        .get();
    let space = space(&mut firmware, &mut mock, AddressSpaceMode::Translated)
        .address_space
        .get();
    let features = DeviceSetFeatures {
        features: VERSION_1.into(),
    };
    execute(
        &mut firmware,
        &mut mock,
        &command(Opcode::DeviceSetFeatures, device, &features, 0),
    )
    .expect("features");
    let enable = command(Opcode::QueueEnable, device, &enable(0, space, 0), 0);
    execute(&mut firmware, &mut mock, &enable).expect("start");
    let commands = firmware.iommu_commands();
    mock.calls.clear();
    execute(
        &mut firmware,
        &mut mock,
        &command(Opcode::DeviceReset, device, &[0u8; 0], 0),
    )
    .expect("reset");
    assert!(mock.calls.contains(&Call::Stop(0)) && mock.calls.contains(&Call::Clear(0)));
    assert!(!mock.calls.iter().any(Call::is_iommu), "{:?}", mock.calls);
    assert_eq!(firmware.iommu_commands(), commands);
}
