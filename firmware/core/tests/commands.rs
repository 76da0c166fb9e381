// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Single commands, and what they ask of the card.

mod mock;

use mock::{ask, command, create, execute, Call, Firmware, Mock};
use mooring_firmware::hal::{Fault, QueueFailure, QueueRole, ReceiveFilter};
use mooring_hw_regs::wire::{
    AddressSpaceCreate, AddressSpaceCreated, AddressSpaceInfo, AddressSpaceMode, AddressSpaceRead,
    AddressSpaceSelect, AddressSpaceSetMode, AddressSpaceUpdate, AddressSpaceUpdated, DeviceCreate,
    DeviceCreated, DeviceSetFeatures, DeviceStatistics, ErrorCode, EventKind, Extent,
    ExtentOperation, NetSetMac, Opcode, QueueEnable, QueueErrorReason, QueueSelect,
    QueueStatistics, NO_ADDRESS_SPACE, NO_DEVICE, QUEUE_ALLOW_IDENTITY, UPDATE_BEGIN,
    UPDATE_COMMIT,
};
use zerocopy::{FromBytes, IntoBytes};

const VERSION_1: u64 = 1 << 32;
const ACCESS_PLATFORM: u64 = 1 << 33;
const CTRL_VQ: u64 = 1 << 17;
const CTRL_RX: u64 = 1 << 18;
const MQ: u64 = 1 << 22;

fn created(
    firmware: &mut Firmware,
    mock: &mut Mock,
    arguments: &DeviceCreate,
) -> Result<DeviceCreated, ErrorCode> {
    ask(firmware, mock, Opcode::DeviceCreate, arguments)
}

fn space(firmware: &mut Firmware, mock: &mut Mock, mode: AddressSpaceMode) -> AddressSpaceCreated {
    let arguments = AddressSpaceCreate {
        mode: (mode as u16).into(),
    };
    ask(firmware, mock, Opcode::AddressSpaceCreate, &arguments).expect("a space")
}

fn enable(queue: u16, space: u16, flags: u16) -> QueueEnable {
    QueueEnable {
        queue: queue.into(),
        size: 16.into(),
        vector: 1.into(),
        address_space: space.into(),
        flags: flags.into(),
        avail_index: 5.into(),
        used_index: 5.into(),
        ring_address_space: space.into(),
        descriptor_area: 0x1000.into(),
        driver_area: 0x2000.into(),
        device_area: 0x3000.into(),
    }
}

fn page(number: u64) -> Extent {
    Extent {
        iova: (number * 4096).into(),
        bus: 0.into(),
        length: 4096.into(),
        permission: 3.into(),
        operation: (ExtentOperation::Add as u32).into(),
    }
}

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
        |create| create.virtio_id = 2.into(),
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
fn queues_have_their_roles() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    created(&mut firmware, &mut mock, &create(1)).expect("a device");
    let device = created(&mut firmware, &mut mock, &create(2)).expect("a device");
    let space = space(&mut firmware, &mut mock, AddressSpaceMode::Translated)
        .address_space
        .get();
    for queue in 0..5 {
        let enable = command(
            Opcode::QueueEnable,
            device.device.get(),
            &enable(queue, space, 0),
            0,
        );
        execute(&mut firmware, &mut mock, &enable).expect("start");
    }
    let roles: Vec<QueueRole> = mock
        .queues
        .iter()
        .filter_map(|queue| queue.setup)
        .map(|setup| setup.role)
        .collect();
    use QueueRole::{Control, Receive, Transmit};
    assert_eq!(roles, [Receive, Transmit, Receive, Transmit, Control]);
    assert_eq!(
        mock.queues[2].setup.expect("set-up").device,
        device.device.get()
    );
}

#[test]
fn both_spaces_of_a_queue_are_checked() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let device = created(&mut firmware, &mut mock, &create(1))
        .expect("a device")
        .device
        .get();
    use AddressSpaceMode::{Blocked, Identity, Translated};
    let [mapped, other, blocked, identity] = [Translated, Translated, Blocked, Identity]
        .map(|mode| space(&mut firmware, &mut mock, mode).address_space.get());
    let mut start = |queue: u16, buffers: u16, rings: u16, flags: u16| {
        let enable = QueueEnable {
            ring_address_space: rings.into(),
            ..enable(queue, buffers, flags)
        };
        let command = command(Opcode::QueueEnable, device, &enable, 0);
        execute(&mut firmware, &mut mock, &command).map(drop)
    };
    for bad in [blocked, identity] {
        assert_eq!(start(0, mapped, bad, 0), Err(ErrorCode::NotTranslated));
        assert_eq!(start(0, bad, mapped, 0), Err(ErrorCode::NotTranslated));
    }
    assert_eq!(start(0, mapped, 99, 0), Err(ErrorCode::NoSuchAddressSpace));
    assert_eq!(start(0, 99, mapped, 0), Err(ErrorCode::NoSuchAddressSpace));
    assert_eq!(start(0, mapped, other, 0), Ok(()));
    assert_eq!(start(1, mapped, identity, QUEUE_ALLOW_IDENTITY), Ok(()));

    let setup = mock.queues[0].setup.expect("set-up");
    assert_eq!(
        (setup.address_space, setup.ring_address_space),
        (mapped, other)
    );
    // Whoever runs through a space, with its rings or its buffers, keeps it from going and from becoming 1:1.
    for number in [mapped, other, identity] {
        let select = AddressSpaceSelect {
            address_space: number.into(),
        };
        let destroy = command(Opcode::AddressSpaceDestroy, NO_DEVICE, &select, 0);
        let refused = execute(&mut firmware, &mut mock, &destroy).map(drop);
        assert_eq!(refused, Err(ErrorCode::Busy));
    }
    for (number, outcome) in [
        (mapped, Err(ErrorCode::Busy)),
        (other, Err(ErrorCode::Busy)),
        (identity, Ok(())),
    ] {
        let set = AddressSpaceSetMode {
            address_space: number.into(),
            mode: (Identity as u16).into(),
        };
        let set = command(Opcode::AddressSpaceSetMode, NO_DEVICE, &set, 0);
        let result = execute(&mut firmware, &mut mock, &set).map(drop);
        assert_eq!(result, outcome);
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

#[test]
fn an_update_is_refused_as_a_whole() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let created = space(&mut firmware, &mut mock, AddressSpaceMode::Blocked);
    let update = |flags: u16, count: u32, generation: u64| AddressSpaceUpdate {
        address_space: created.address_space,
        flags: flags.into(),
        count: count.into(),
        generation: generation.into(),
    };
    let generation = created.generation.get();
    let send = |firmware: &mut Firmware,
                mock: &mut Mock,
                update: &AddressSpaceUpdate,
                extents: &[Extent]| {
        mock.payload[..extents.as_bytes().len()].copy_from_slice(extents.as_bytes());
        let command = command(
            Opcode::AddressSpaceUpdate,
            NO_DEVICE,
            update,
            extents.as_bytes().len(),
        );
        execute(firmware, mock, &command).map(|result| {
            AddressSpaceUpdated::read_from_prefix(&result)
                .expect("a result")
                .0
        })
    };
    // More than the firmware copies at a time, and the last one bad.
    let mut extents: Vec<Extent> = (0..40).map(page).collect();
    extents[39].bus = (1u64 << 40).into();
    let both = UPDATE_BEGIN | UPDATE_COMMIT;
    let refused = send(
        &mut firmware,
        &mut mock,
        &update(both, 40, generation),
        &extents,
    );
    assert_eq!(refused.map(drop), Err(ErrorCode::InvalidArgument));
    assert!(mock.calls.ends_with(&[Call::Stage(0), Call::Abort(0)]));
    assert_eq!(mock.spaces[0].extents.len(), 0);
    extents[39].bus = ((1u64 << 40) - 4096).into();
    extents[38].iova = ((1u64 << 48) - 4096).into();
    let updated = send(
        &mut firmware,
        &mut mock,
        &update(both, 40, generation),
        &extents,
    )
    .expect("an update");
    assert_eq!(
        (updated.extents.get(), updated.generation.get()),
        (40, generation + 1)
    );

    // Too many for a batch; more announced than the payload holds; a payload that isn't there; an old generation.
    let generation = generation + 1;
    let more: Vec<Extent> = (100..141).map(page).collect();
    for (update, code) in [
        (update(both, 41, generation), ErrorCode::InvalidArgument),
        (
            update(both, u32::MAX, generation),
            ErrorCode::InvalidArgument,
        ),
        (update(8, 1, generation), ErrorCode::InvalidArgument),
        (update(0, 1, generation), ErrorCode::InvalidArgument),
        (
            update(UPDATE_COMMIT, 1, generation),
            ErrorCode::InvalidArgument,
        ),
        (update(both, 1, generation - 1), ErrorCode::StaleGeneration),
        (update(both, 1, generation + 1), ErrorCode::StaleGeneration),
    ] {
        assert_eq!(
            send(&mut firmware, &mut mock, &update, &more).map(drop),
            Err(code),
            "{update:?}"
        );
        assert_eq!(mock.spaces[0].extents.len(), 40);
    }
    for payload in [4096, u64::MAX, u64::MAX - 31] {
        let mut command = command(
            Opcode::AddressSpaceUpdate,
            NO_DEVICE,
            &update(both, 2, generation),
            64,
        );
        command.payload = payload.into();
        assert_eq!(
            execute(&mut firmware, &mut mock, &command),
            Err(ErrorCode::PayloadDma)
        );
    }

    // An empty commit is an update, too.
    let updated =
        send(&mut firmware, &mut mock, &update(both, 0, generation), &[]).expect("an update");
    assert_eq!(updated.generation.get(), generation + 1);

    // What is held can be read in pieces.
    let read = AddressSpaceRead {
        address_space: created.address_space,
        reserved: 0.into(),
        start: 3.into(),
    };
    let result = execute(
        &mut firmware,
        &mut mock,
        &command(Opcode::AddressSpaceRead, NO_DEVICE, &read, 20 * 32 + 31),
    );
    let result = AddressSpaceUpdated::read_from_prefix(&result.expect("read"))
        .expect("a result")
        .0;
    assert_eq!(result.extents.get(), 20);
    let (first, _) = Extent::read_from_prefix(&mock.payload).expect("an extent");
    assert_eq!(first, mock.spaces[0].extents[3]);
}

#[test]
fn card_without_identity_refuses_it_and_offers_all_else() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    mock.capabilities.identity = false;
    let identity = AddressSpaceCreate {
        mode: (AddressSpaceMode::Identity as u16).into(),
    };
    assert_eq!(
        ask::<AddressSpaceCreated>(
            &mut firmware,
            &mut mock,
            Opcode::AddressSpaceCreate,
            &identity
        )
        .err(),
        Some(ErrorCode::NotSupported)
    );
    // The refusal has taken nothing: all spaces are to be had, blocked.
    let spaces: Vec<u16> = (0..mock.capabilities.address_spaces)
        .map(|_| {
            space(&mut firmware, &mut mock, AddressSpaceMode::Blocked)
                .address_space
                .get()
        })
        .collect();
    for &number in &spaces {
        let arguments = AddressSpaceSetMode {
            address_space: number.into(),
            mode: (AddressSpaceMode::Identity as u16).into(),
        };
        assert_eq!(
            ask::<AddressSpaceUpdated>(
                &mut firmware,
                &mut mock,
                Opcode::AddressSpaceSetMode,
                &arguments
            )
            .err(),
            Some(ErrorCode::NotSupported)
        );
        assert_eq!(
            mock.spaces[usize::from(number)].mode,
            Some(AddressSpaceMode::Blocked)
        );
    }
}

#[test]
fn answers_fit_the_room_that_the_driver_has() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let created = space(&mut firmware, &mut mock, AddressSpaceMode::Identity);
    let select = AddressSpaceSelect {
        address_space: created.address_space,
    };
    mock.payload.fill(0xaa);
    execute(
        &mut firmware,
        &mut mock,
        &command(Opcode::AddressSpaceQuery, NO_DEVICE, &select, 10),
    )
    .expect("query");
    assert_eq!(
        mock.payload[..12],
        [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0xaa, 0xaa]
    );
    let query = command(Opcode::AddressSpaceQuery, NO_DEVICE, &select, 4096);
    execute(&mut firmware, &mut mock, &query).expect("query");
    assert_eq!(mock.payload[size_of::<AddressSpaceInfo>()], 0xaa);

    created_device_statistics(&mut firmware, &mut mock);
}

fn created_device_statistics(firmware: &mut Firmware, mock: &mut Mock) {
    let device = created(firmware, mock, &create(1))
        .expect("a device")
        .device
        .get();
    let room = size_of::<DeviceStatistics>();
    execute(
        firmware,
        mock,
        &command(Opcode::DeviceStatistics, device, &[0u8; 0], room),
    )
    .expect("statistics");
    let (statistics, _) = DeviceStatistics::read_from_prefix(&mock.payload).expect("statistics");
    assert_eq!(
        (statistics.rx_frames.get(), statistics.dma_writes.get()),
        (2, 20)
    );
}

#[test]
fn queues_tell_their_own_counters() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    created(&mut firmware, &mut mock, &create(1)).expect("a device");
    let second = created(&mut firmware, &mut mock, &create(1)).expect("a device");
    let device = second.device.get();
    let room = size_of::<QueueStatistics>();
    let mut statistics = |queue: u16| {
        let select = QueueSelect {
            queue: queue.into(),
        };
        execute(
            &mut firmware,
            &mut mock,
            &command(Opcode::QueueStatistics, device, &select, room),
        )
        .map(|_| {
            let (statistics, _) =
                QueueStatistics::read_from_prefix(&mock.payload).expect("statistics");
            statistics
        })
    };
    let last = statistics(1).expect("statistics");
    // One direction of the two counts nothing, but the sum is what is told.
    assert_eq!((last.packets.get(), last.bytes.get()), (3, 7));
    assert_eq!((last.dropped.get(), last.errors.get()), (5, 9));
    assert_eq!((last.doorbells.get(), last.interrupts.get()), (6, 7));
    assert_eq!((last.dma_reads.get(), last.dma_writes.get()), (8, 10));
    assert_eq!(
        last.faults.get(),
        101 + u64::from(second.first_queue.get()),
        "the card-wide queue's"
    );
    assert_eq!(statistics(2).err(), Some(ErrorCode::NoSuchQueue));

    // A driver that knows fewer counters gets those.
    mock.payload.fill(0xaa);
    let select = QueueSelect { queue: 1.into() };
    let ask = command(Opcode::QueueStatistics, device, &select, 10);
    execute(&mut firmware, &mut mock, &ask).expect("statistics");
    assert_eq!(
        mock.payload[..12],
        [3, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0xaa, 0xaa]
    );
}

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
    // A feature without the one that it needs.
    let features = DeviceSetFeatures {
        features: MQ.into(),
    };
    let refused = execute(
        &mut firmware,
        &mut mock,
        &command(Opcode::DeviceSetFeatures, device, &features, 0),
    );
    assert_eq!(refused, Err(ErrorCode::InvalidArgument));
}

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
