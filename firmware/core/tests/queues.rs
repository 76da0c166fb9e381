// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Queues: their roles, and the address spaces that they may run through.

mod mock;

use mock::{command, create, created, enable, execute, space, Firmware, Mock};
use mooring_firmware::hal::QueueRole;
use mooring_hw_regs::wire::{
    AddressSpaceMode, AddressSpaceSelect, AddressSpaceSetMode, ErrorCode, Opcode, QueueEnable,
    NO_DEVICE, QUEUE_ALLOW_IDENTITY,
};

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
