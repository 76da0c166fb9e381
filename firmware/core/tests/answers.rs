// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Answers that a driver reads from a payload.

mod mock;

use mock::{command, create, created, execute, space, Firmware, Mock};
use mooring_hw_regs::wire::{
    AddressSpaceInfo, AddressSpaceMode, AddressSpaceSelect, DeviceStatistics, ErrorCode, Opcode,
    QueueSelect, QueueStatistics, NO_DEVICE,
};
use zerocopy::FromBytes;

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
    // Frames of one direction, or requests: the others count nothing, but the sum is what is told.
    assert_eq!((last.packets.get(), last.bytes.get()), (23, 47));
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
        [23, 0, 0, 0, 0, 0, 0, 0, 47, 0, 0xaa, 0xaa]
    );
}
