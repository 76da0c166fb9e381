// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the host learns of the features that devices of a type can offer, before it has made any.

mod mock;

use mock::{ask, create, created, Firmware, Mock};
use mooring_firmware::block;
use mooring_firmware::net::features;
use mooring_firmware::ring;
use mooring_hw_regs::wire::{
    DeviceCreate, DeviceTypeInfo, DeviceTypeQuery, ErrorCode, Opcode, VIRTIO_ID_BLOCK,
    VIRTIO_ID_NET,
};

fn query(mock: &mut Mock, virtio_id: u32) -> Result<u64, ErrorCode> {
    let arguments = DeviceTypeQuery {
        virtio_id: virtio_id.into(),
    };
    let info: DeviceTypeInfo = ask(
        &mut Firmware::new(),
        mock,
        Opcode::DeviceTypeQuery,
        &arguments,
    )?;
    Ok(info.features.get())
}

#[test]
fn it_is_what_the_largest_device_offers() {
    let mut mock = Mock::default();
    let told = query(&mut mock, VIRTIO_ID_NET).expect("network devices");
    let device = created(&mut Firmware::new(), &mut mock, &create(2)).expect("a device");
    assert_eq!(told, device.features.get());
    assert!(told & features::MQ != 0 && told & ring::features::RING_PACKED != 0);

    // One of the disks can be written and the other one can't.
    let told = query(&mut mock, VIRTIO_ID_BLOCK).expect("block devices");
    let mut firmware = Firmware::new();
    let offered = [0, 1].map(|_| {
        let arguments = DeviceCreate {
            virtio_id: VIRTIO_ID_BLOCK.into(),
            ..create(2)
        };
        let device = created(&mut firmware, &mut mock, &arguments).expect("a device");
        device.features.get()
    });
    assert_eq!(told, offered[0] | offered[1]);
    assert!(told & block::features::RO != 0 && told & block::features::DISCARD != 0);
}

#[test]
fn a_smaller_card_offers_less() {
    let mut mock = Mock::default();
    let all = query(&mut mock, VIRTIO_ID_NET).expect("network devices");
    mock.capabilities.packed_ring = false;
    let split = query(&mut mock, VIRTIO_ID_NET);
    assert_eq!(split, Ok(all & !ring::features::RING_PACKED));
    let blocks = query(&mut mock, VIRTIO_ID_BLOCK).expect("block devices");
    assert_eq!(blocks & ring::features::RING_PACKED, 0);

    mock.capabilities.packed_ring = true;
    mock.capabilities.queues = 4;
    assert_eq!(query(&mut mock, VIRTIO_ID_NET), Ok(all & !features::MQ));
    mock.capabilities.queues = 2;
    let pair = query(&mut mock, VIRTIO_ID_NET).expect("network devices");
    let device = created(&mut Firmware::new(), &mut mock, &create(1)).expect("a device");
    assert_eq!(pair, device.features.get());
    assert_eq!(pair & features::CTRL_VQ, 0);
}

#[test]
fn there_may_be_no_such_devices() {
    let mut mock = Mock::default();
    mock.capabilities.disks = 0;
    assert_eq!(
        query(&mut mock, VIRTIO_ID_BLOCK),
        Err(ErrorCode::NotSupported)
    );
    assert!(query(&mut mock, VIRTIO_ID_NET).is_ok());
    for other in [0, 3, u32::MAX] {
        assert_eq!(query(&mut mock, other), Err(ErrorCode::InvalidArgument));
    }
    assert_eq!(mock.calls, []);
}
