// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Address spaces: their updates and modes.

mod mock;

use mock::{ask, command, execute, page, space, Call, Firmware, Mock};
use mooring_hw_regs::wire::{
    AddressSpaceCreate, AddressSpaceCreated, AddressSpaceMode, AddressSpaceRead,
    AddressSpaceSetMode, AddressSpaceUpdate, AddressSpaceUpdated, ErrorCode, Extent, Opcode,
    NO_DEVICE, UPDATE_BEGIN, UPDATE_COMMIT,
};
use zerocopy::{FromBytes, IntoBytes};

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
