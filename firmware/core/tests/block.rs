// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Block devices: what they are made of, and what the card is asked for them.

mod mock;

use mock::{ask, command, create, execute, Call, Firmware, Mock};
use mooring_firmware::block::features;
use mooring_firmware::hal::QueueRole;
use mooring_hw_regs::wire::{
    AddressSpaceCreate, AddressSpaceCreated, BlockInfo, DeviceCreate, DeviceCreated,
    DeviceSetFeatures, ErrorCode, NetSetLink, NetSetMac, Opcode, QueueEnable, NO_DEVICE,
    QUEUE_ALLOW_IDENTITY, VIRTIO_ID_BLOCK,
};
use zerocopy::FromBytes;

const MUST_HAVE: u64 = 3 << 32;
const ORDER_PLATFORM: u64 = 1 << 36;
const RING: u64 = mooring_firmware::ring::features::ALL;

fn block(queues: u16) -> DeviceCreate {
    DeviceCreate {
        virtio_id: VIRTIO_ID_BLOCK.into(),
        ..create(queues)
    }
}

fn created(
    firmware: &mut Firmware,
    mock: &mut Mock,
    arguments: &DeviceCreate,
) -> Result<DeviceCreated, ErrorCode> {
    ask(firmware, mock, Opcode::DeviceCreate, arguments)
}

fn info(firmware: &mut Firmware, mock: &mut Mock, device: u16) -> Result<BlockInfo, ErrorCode> {
    execute(
        firmware,
        mock,
        &command(
            Opcode::BlockQuery,
            device,
            &[0u8; 0],
            size_of::<BlockInfo>(),
        ),
    )?;
    Ok(BlockInfo::read_from_prefix(&mock.payload)
        .expect("the payload fits")
        .0)
}

#[test]
fn arguments_are_checked() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let mut refuse = |arguments: DeviceCreate, code| {
        assert_eq!(
            created(&mut firmware, &mut mock, &arguments).map(drop),
            Err(code)
        );
        assert_eq!(mock.calls, []);
    };
    refuse(block(0), ErrorCode::InvalidArgument);
    refuse(block(13), ErrorCode::NoResources);
    let spoilt = DeviceCreate {
        mtu: 1500.into(),
        ..block(1)
    };
    refuse(spoilt, ErrorCode::InvalidArgument);
    let spoilt = DeviceCreate {
        mac: [2, 0, 0, 0, 0, 1],
        ..block(1)
    };
    refuse(spoilt, ErrorCode::InvalidArgument);
    let spoilt = DeviceCreate {
        features: features::FLUSH.into(),
        ..block(1)
    };
    refuse(spoilt, ErrorCode::InvalidArgument);
}

#[test]
fn card_without_disks_has_no_block_devices() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    mock.capabilities.disks = 0;
    let refused = created(&mut firmware, &mut mock, &block(1));
    assert_eq!(refused.map(drop), Err(ErrorCode::NotSupported));
}

#[test]
fn each_disk_is_behind_one_device() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let first = created(&mut firmware, &mut mock, &block(1)).expect("disk 0");
    let second = created(&mut firmware, &mut mock, &block(2)).expect("disk 1");
    assert_eq!((first.device.get(), second.device.get()), (0, 1));
    assert_eq!((second.first_queue.get(), second.num_queues.get()), (1, 2));
    let third = created(&mut firmware, &mut mock, &block(1));
    assert_eq!(third.map(drop), Err(ErrorCode::NoResources));
    // A network device needs no disk.
    created(&mut firmware, &mut mock, &create(1)).expect("a network device");

    assert_eq!(
        info(&mut firmware, &mut mock, 0).map(|i| i.disk.get()),
        Ok(0)
    );
    mock.calls.clear();
    execute(
        &mut firmware,
        &mut mock,
        &command(Opcode::DeviceDestroy, 0, &[0u8; 0], 0),
    )
    .expect("it goes");
    assert!(
        mock.calls.contains(&Call::DetachDisk(0)),
        "{:?}",
        mock.calls
    );
    mock.calls.clear();
    created(&mut firmware, &mut mock, &block(1)).expect("disk 0 again");
    assert_eq!(mock.calls.last(), Some(&Call::AttachDisk(0, 0)));
}

#[test]
fn features_follow_from_disk_and_queues() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    let usual = MUST_HAVE
        | ORDER_PLATFORM
        | RING
        | features::SIZE_MAX
        | features::SEG_MAX
        | features::BLK_SIZE
        | features::TOPOLOGY
        | features::FLUSH;
    let first = created(&mut firmware, &mut mock, &block(1)).expect("disk 0");
    let writable = features::DISCARD | features::WRITE_ZEROES;
    assert_eq!(first.features.get(), usual | writable);
    // What was not wanted isn't offered, but that a disk is read-only can't be kept from anybody.
    let arguments = DeviceCreate {
        features: (MUST_HAVE | features::MQ | features::DISCARD).into(),
        ..block(2)
    };
    let second = created(&mut firmware, &mut mock, &arguments).expect("disk 1");
    assert_eq!(
        second.features.get(),
        MUST_HAVE | features::MQ | features::RO
    );
}

#[test]
fn features_are_told_to_the_disk_and_forgotten_at_the_reset() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    created(&mut firmware, &mut mock, &block(1)).expect("disk 0");
    let set = |firmware: &mut Firmware, mock: &mut Mock, features: u64| {
        let arguments = DeviceSetFeatures {
            features: features.into(),
        };
        let command = command(Opcode::DeviceSetFeatures, 0, &arguments, 0);
        execute(firmware, mock, &command).map(drop)
    };
    let wanted = MUST_HAVE | features::FLUSH;
    assert_eq!(set(&mut firmware, &mut mock, wanted), Ok(()));
    assert_eq!(mock.calls.last(), Some(&Call::SetDiskFeatures(0, wanted)));
    let refused = set(&mut firmware, &mut mock, wanted | features::MQ);
    assert_eq!(refused, Err(ErrorCode::InvalidArgument));
    mock.calls.clear();
    let reset = command(Opcode::DeviceReset, 0, &[0u8; 0], 0);
    execute(&mut firmware, &mut mock, &reset).expect("a reset");
    // Nothing of a network device, nothing of the IOMMU.
    assert_eq!(
        mock.calls,
        [Call::Stop(0), Call::Clear(0), Call::SetDiskFeatures(0, 0)]
    );
}

#[test]
fn all_queues_are_for_requests() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    created(&mut firmware, &mut mock, &block(3)).expect("disk 0");
    let arguments = AddressSpaceCreate { mode: 1.into() };
    let _: AddressSpaceCreated = ask(
        &mut firmware,
        &mut mock,
        Opcode::AddressSpaceCreate,
        &arguments,
    )
    .expect("a space");
    for queue in 0..3u16 {
        let arguments = QueueEnable {
            queue: queue.into(),
            size: 16.into(),
            vector: 1.into(),
            address_space: 0.into(),
            flags: QUEUE_ALLOW_IDENTITY.into(),
            avail_index: 0.into(),
            used_index: 0.into(),
            ring_address_space: 0.into(),
            descriptor_area: 0x1000.into(),
            driver_area: 0x2000.into(),
            device_area: 0x3000.into(),
        };
        let enable = command(Opcode::QueueEnable, 0, &arguments, 0);
        execute(&mut firmware, &mut mock, &enable).expect("it starts");
        let setup = mock.queues[usize::from(queue)].setup.expect("its set-up");
        assert_eq!(setup.role, QueueRole::Request);
    }
    // A queue of requests is no control queue.
    assert!(!firmware.serve_control_queue(&mut mock, 0, 1));
}

#[test]
fn block_devices_tell_what_they_are_and_network_devices_do_not() {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    created(&mut firmware, &mut mock, &create(1)).expect("a network device");
    created(&mut firmware, &mut mock, &block(1)).expect("disk 0");
    let refused = info(&mut firmware, &mut mock, 0);
    assert_eq!(refused.map(drop), Err(ErrorCode::InvalidArgument));
    let told = info(&mut firmware, &mut mock, 1).expect("what it is");
    assert_eq!(told.capacity.get(), 1000);
    assert_eq!(told.block_size.get(), 1024);
    assert_eq!((told.physical_block_exp, told.min_io_size.get()), (2, 4));
    assert_eq!(told.discard_alignment.get(), 8);
    assert_eq!(told.seg_max.get(), 126);

    // Rings of 16 entries hold header, 14 buffers and status.
    mock.capabilities.max_queue_size = 16;
    let told = info(&mut firmware, &mut mock, 1).expect("what it is");
    assert_eq!(told.seg_max.get(), 14);

    let mac = NetSetMac {
        mac: [2, 0, 0, 0, 0, 9],
    };
    let up = NetSetLink { up: 1.into() };
    for command in [
        command(Opcode::NetSetMac, 1, &mac, 0),
        command(Opcode::NetSetLink, 1, &up, 0),
        command(Opcode::NetTell, 1, &[0u8; 0], 0),
        command(Opcode::NetAnnounce, 1, &[0u8; 0], 0),
    ] {
        let refused = execute(&mut firmware, &mut mock, &command);
        assert_eq!(refused, Err(ErrorCode::InvalidArgument));
    }
    // Nor has it a link that could go down.
    mock.calls.clear();
    firmware.set_carrier(&mut mock, false);
    assert_eq!(mock.calls, [Call::SetLink(0, false)]);
    assert_eq!(
        info(&mut firmware, &mut mock, NO_DEVICE).map(drop),
        Err(ErrorCode::NoSuchDevice)
    );
}
