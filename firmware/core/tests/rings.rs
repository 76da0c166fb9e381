// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the firmware makes of features of the ring.

mod mock;

use mock::{ask, command, create, execute, Firmware, Mock};
use mooring_firmware::hal::RingFormat;
use mooring_firmware::ring::features;
use mooring_hw_regs::wire::{
    DeviceCreated, DeviceSetFeatures, ErrorCode, Opcode, QueueEnable, QueueSelect,
    NO_ADDRESS_SPACE, NO_VECTOR, QUEUE_ALLOW_IDENTITY,
};

/// A card without an IOMMU, so that a queue starts without address spaces, and a device on it.
fn device() -> (Firmware, Mock, DeviceCreated) {
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    mock.capabilities.address_spaces = 0;
    let created = ask(&mut firmware, &mut mock, Opcode::DeviceCreate, &create(1));
    (firmware, mock, created.expect("a device"))
}

fn enable(position: u16) -> QueueEnable {
    QueueEnable {
        queue: 1.into(),
        size: 16.into(),
        vector: NO_VECTOR.into(),
        address_space: NO_ADDRESS_SPACE.into(),
        flags: QUEUE_ALLOW_IDENTITY.into(),
        avail_index: position.into(),
        used_index: position.into(),
        ring_address_space: NO_ADDRESS_SPACE.into(),
        descriptor_area: 0x1000.into(),
        driver_area: 0x2004.into(),
        device_area: 0x3004.into(),
    }
}

/// Agrees on features, starts a queue there, and stops it.
fn start(features: u64, enable: &QueueEnable) -> Result<RingFormat, ErrorCode> {
    let (mut firmware, mut mock, created) = device();
    let device = created.device.get();
    let features = DeviceSetFeatures {
        features: features.into(),
    };
    for command in [
        command(Opcode::DeviceSetFeatures, device, &features, 0),
        command(Opcode::QueueEnable, device, enable, 0),
    ] {
        execute(&mut firmware, &mut mock, &command)?;
    }
    let select = QueueSelect { queue: 1.into() };
    let stop = command(Opcode::QueueDisable, device, &select, 0);
    let state = execute(&mut firmware, &mut mock, &stop)?;
    let [a0, a1, u0, u1, ..] = state;
    assert_eq!(u16::from_le_bytes([a0, a1]), enable.avail_index.get());
    assert_eq!(u16::from_le_bytes([u0, u1]), enable.used_index.get());
    Ok(mock.queues[1].setup.expect("a set-up").format)
}

#[test]
fn the_format_is_what_was_agreed_on() {
    let plain = RingFormat::default();
    let cases = [
        (0, 700, plain),
        (
            features::EVENT_IDX,
            0xffff,
            RingFormat {
                event_index: true,
                ..plain
            },
        ),
        (
            features::INDIRECT_DESC,
            700,
            RingFormat {
                indirect: true,
                ..plain
            },
        ),
        (
            features::RING_PACKED,
            0x800f,
            RingFormat {
                packed: true,
                ..plain
            },
        ),
        (features::IN_ORDER | features::NOTIFICATION_DATA, 0, plain),
    ];
    for (features, position, format) in cases {
        assert_eq!(
            start(features, &enable(position)),
            Ok(format),
            "{features:#x}"
        );
    }
}

#[test]
fn a_packed_ring_begins_inside_of_itself() {
    let wrong = Err(ErrorCode::InvalidArgument);
    for position in [16, 0x8010, 0x7fff, 0xffff] {
        assert_eq!(start(features::RING_PACKED, &enable(position)), wrong);
    }
    // A split ring's areas would be in place here.
    for (driver, device) in [(0x2002, 0x3004), (0x2004, 0x3002)] {
        let enable = QueueEnable {
            driver_area: driver.into(),
            device_area: device.into(),
            ..enable(0x8000)
        };
        assert_eq!(start(features::RING_PACKED, &enable), wrong);
    }
    // No more than an event suppression structure has to lie below the highest address.
    let (_, mock, _) = device();
    let end = QueueEnable {
        driver_area: ((1u64 << mock.capabilities.iova_bits) - 4).into(),
        ..enable(0x8000)
    };
    assert!(start(features::RING_PACKED, &end).is_ok());
    let split = QueueEnable {
        avail_index: 0.into(),
        used_index: 0.into(),
        ..end
    };
    assert_eq!(start(0, &split), wrong);
}

#[test]
fn a_split_ring_lies_below_the_highest_address_to_its_last_byte() {
    let (_, mock, _) = device();
    let end = 1u64 << mock.capabilities.iova_bits;
    let driver = |room: u64| QueueEnable {
        driver_area: (end - room).into(),
        ..enable(0)
    };
    let device = |room: u64| QueueEnable {
        device_area: (end - room).into(),
        ..enable(0)
    };
    // Flags, index and event index beside 16 entries.
    let wrong = Err(ErrorCode::InvalidArgument);
    assert!(start(0, &driver(6 + 2 * 16)).is_ok());
    assert_eq!(start(0, &driver(4 + 2 * 16)), wrong);
    assert!(start(0, &device(8 + 8 * 16)).is_ok());
    assert_eq!(start(0, &device(4 + 8 * 16)), wrong);
}

#[test]
fn a_card_without_packed_rings_does_not_offer_them() {
    let (_, _, created) = device();
    assert_ne!(created.features.get() & features::RING_PACKED, 0);
    let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
    mock.capabilities.packed_ring = false;
    let created: DeviceCreated =
        ask(&mut firmware, &mut mock, Opcode::DeviceCreate, &create(1)).expect("a device");
    assert_eq!(created.features.get() & features::RING_PACKED, 0);
    assert_ne!(created.features.get() & features::EVENT_IDX, 0);
}
