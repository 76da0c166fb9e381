// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Commands in any order, sensible or not: what must hold after each of them.

mod mock;

use std::collections::BTreeSet;

use mock::{command, create, execute, Call, Firmware, Mock, QUEUES, SPACES};
use mooring_hw_regs::wire::{
    AddressSpaceCreate, AddressSpaceCreated, AddressSpaceInfo, AddressSpaceMode,
    AddressSpaceSelect, AddressSpaceSetMode, AddressSpaceUpdate, Command, DeviceCreated,
    DeviceSetFeatures, ErrorCode, Extent, Opcode, QueueEnable, QueueSelect, NO_DEVICE,
    QUEUE_ALLOW_IDENTITY,
};
use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

/// A command, or something that the card does by itself.
#[derive(Clone, Debug)]
enum Step {
    Command(Command, Vec<Extent>),
    /// A queue fails.
    Fail(usize),
}

fn payload_command(opcode: Opcode, arguments: &AddressSpaceUpdate, extents: Vec<Extent>) -> Step {
    Step::Command(
        command(opcode, NO_DEVICE, arguments, extents.as_bytes().len()),
        extents,
    )
}

fn step() -> impl Strategy<Value = Step> {
    let device = 0..5u16;
    let space = 0..5u16;
    let plain = |command: Command| Step::Command(command, Vec::new());
    prop_oneof![
        2 => (1..3u16).prop_map(move |pairs| plain(command(Opcode::DeviceCreate, NO_DEVICE, &create(pairs), 0))),
        1 => device.clone().prop_map(move |device| plain(command(Opcode::DeviceDestroy, device, &[0u8; 0], 0))),
        2 => device.clone().prop_map(move |device| plain(command(Opcode::DeviceReset, device, &[0u8; 0], 0))),
        1 => (device.clone(), any::<bool>()).prop_map(move |(device, version_1)| {
            let features = DeviceSetFeatures { features: (u64::from(version_1) << 32).into() };
            plain(command(Opcode::DeviceSetFeatures, device, &features, 0))
        }),
        6 => (device.clone(), 0..6u16, space.clone(), space.clone(), 0..2u16).prop_map(move |(device, queue, space, rings, flags)| {
            plain(command(Opcode::QueueEnable, device, &QueueEnable {
                queue: queue.into(),
                size: 16.into(),
                vector: 1.into(),
                address_space: space.into(),
                flags: flags.into(),
                avail_index: 0.into(),
                used_index: 0.into(),
                ring_address_space: rings.into(),
                descriptor_area: 0.into(),
                driver_area: 0.into(),
                device_area: 0.into(),
            }, 0))
        }),
        2 => (device, 0..6u16).prop_map(move |(device, queue)| {
            plain(command(Opcode::QueueDisable, device, &QueueSelect { queue: queue.into() }, 0))
        }),
        3 => (0..4u16).prop_map(move |mode| {
            plain(command(Opcode::AddressSpaceCreate, NO_DEVICE, &AddressSpaceCreate { mode: mode.into() }, 0))
        }),
        1 => space.clone().prop_map(move |space| {
            let arguments = AddressSpaceSelect { address_space: space.into() };
            plain(command(Opcode::AddressSpaceDestroy, NO_DEVICE, &arguments, 0))
        }),
        2 => (space.clone(), 0..4u16).prop_map(move |(space, mode)| {
            let arguments = AddressSpaceSetMode { address_space: space.into(), mode: mode.into() };
            plain(command(Opcode::AddressSpaceSetMode, NO_DEVICE, &arguments, 0))
        }),
        4 => (space, 0..4u16, 1..6u64, prop::collection::vec((0..8u64, 1..3u32), 0..3)).prop_map(
            move |(space, flags, generation, changes)| {
                let extents: Vec<Extent> = changes.into_iter().map(|(page, operation)| Extent {
                    iova: (page * 4096).into(),
                    bus: 0.into(),
                    length: 4096.into(),
                    permission: 3.into(),
                    operation: operation.into(),
                }).collect();
                payload_command(Opcode::AddressSpaceUpdate, &AddressSpaceUpdate {
                    address_space: space.into(),
                    flags: flags.into(),
                    count: (extents.len() as u32).into(),
                    generation: generation.into(),
                }, extents)
            }
        ),
        1 => (0..QUEUES).prop_map(Step::Fail),
    ]
}

/// What a driver can find out of an address space.
fn info(firmware: &mut Firmware, mock: &mut Mock, space: u16) -> Option<AddressSpaceInfo> {
    let select = AddressSpaceSelect {
        address_space: space.into(),
    };
    let query = command(
        Opcode::AddressSpaceQuery,
        NO_DEVICE,
        &select,
        size_of::<AddressSpaceInfo>(),
    );
    execute(firmware, mock, &query).ok()?;
    Some(
        AddressSpaceInfo::read_from_prefix(&mock.payload)
            .expect("info")
            .0,
    )
}

fn infos(firmware: &mut Firmware, mock: &mut Mock) -> Vec<Option<AddressSpaceInfo>> {
    (0..SPACES as u16)
        .map(|space| info(firmware, mock, space))
        .collect()
}

/// All that a driver sees, as bytes to compare.
fn visible(firmware: &mut Firmware, mock: &mut Mock) -> Vec<u8> {
    let infos = infos(firmware, mock);
    let mut bytes: Vec<u8> = infos
        .iter()
        .flat_map(|info| info.iter().flat_map(|info| info.as_bytes().to_vec()))
        .collect();
    bytes.extend(mock.queues.iter().map(|queue| u8::from(queue.running)));
    bytes.extend(mock.ports.values().flatten());
    bytes
}

proptest! {
    #[test]
    fn invariants(steps in prop::collection::vec(step(), 1..120)) {
        let (mut firmware, mut mock) = (Firmware::new(), Mock::default());
        // What the driver knows of its devices: number, first queue, queues.
        let mut devices: BTreeSet<(u16, u16, u16)> = BTreeSet::new();
        let mut generations = [0; SPACES];
        let mut allow_identity = [false; QUEUES];
        for step in steps {
            let (command, extents) = match step {
                Step::Fail(queue) => {
                    mock.queues[queue].running = false;
                    continue;
                }
                Step::Command(command, extents) => (command, extents),
            };
            let opcode = Opcode::from_number(command.opcode.get()).expect("an opcode");
            let device = command.device.get();
            let before = infos(&mut firmware, &mut mock);
            let before_all = visible(&mut firmware, &mut mock);
            mock.payload[..extents.as_bytes().len()].copy_from_slice(extents.as_bytes());
            mock.calls.clear();
            let outcome = execute(&mut firmware, &mut mock, &command);
            let calls = std::mem::take(&mut mock.calls);
            let after = infos(&mut firmware, &mut mock);

            if let Err(code) = outcome {
                // A refused command changed nothing, and asked for nothing to be changed in force.
                prop_assert_ne!(code, ErrorCode::Internal);
                prop_assert_eq!(&before_all, &visible(&mut firmware, &mut mock));
                let staging = |call: &Call| matches!(call, Call::Begin(_) | Call::Stage(_) | Call::Abort(_));
                prop_assert!(calls.iter().all(staging), "{:?}: {:?}", opcode, calls);
                continue;
            }
            match opcode {
                Opcode::DeviceCreate => {
                    let created = DeviceCreated::read_from_prefix(&outcome.unwrap()).expect("a result").0;
                    let range = created.first_queue.get()..created.first_queue.get() + created.num_queues.get();
                    prop_assert!(usize::from(range.end) <= QUEUES);
                    for (number, first, count) in &devices {
                        prop_assert_ne!(*number, created.device.get());
                        prop_assert!(range.end <= *first || range.start >= first + count, "queues are shared");
                    }
                    devices.insert((created.device.get(), range.start, created.num_queues.get()));
                }
                Opcode::DeviceDestroy | Opcode::DeviceReset => {
                    prop_assert!(!calls.iter().any(Call::is_iommu), "{:?}", calls);
                    let (_, first, count) = *devices.iter().find(|known| known.0 == device).expect("a known device");
                    for queue in first..first + count {
                        prop_assert!(!mock.queues[usize::from(queue)].running);
                        prop_assert!(mock.queues[usize::from(queue)].setup.is_none());
                    }
                    // No translation changed, and none was counted.
                    for (before, after) in before.iter().zip(&after) {
                        let facts = |info: &AddressSpaceInfo| {
                            (info.mode, info.extents, info.generation, info.digest, info.commands, info.card_commands)
                        };
                        prop_assert_eq!(before.as_ref().map(facts), after.as_ref().map(facts));
                    }
                    if opcode == Opcode::DeviceDestroy {
                        devices.retain(|known| known.0 != device);
                    }
                }
                Opcode::QueueEnable => {
                    let (enable, _) = QueueEnable::read_from_prefix(&command.arguments).expect("arguments");
                    let (_, first, _) = *devices.iter().find(|known| known.0 == device).expect("a known device");
                    let queue = usize::from(first + enable.queue.get());
                    prop_assert!(mock.queues[queue].running);
                    allow_identity[queue] = enable.flags.get() & QUEUE_ALLOW_IDENTITY != 0;
                    for space in [enable.address_space, enable.ring_address_space] {
                        let space = after[usize::from(space.get())].expect("a space");
                        prop_assert!(allow_identity[queue] || space.mode() == Some(AddressSpaceMode::Translated));
                    }
                }
                Opcode::AddressSpaceCreate => {
                    let created = AddressSpaceCreated::read_from_prefix(&outcome.unwrap()).expect("a result").0;
                    let space = usize::from(created.address_space.get());
                    prop_assert!(before[space].is_none());
                    prop_assert!(created.generation.get() > generations[space], "generations go on");
                }
                _ => {}
            }
            for (space, info) in after.iter().enumerate() {
                let Some(info) = info else { continue };
                prop_assert!(info.generation.get() >= generations[space], "a generation never shrinks");
                generations[space] = info.generation.get();
                prop_assert_eq!(info.mode(), mock.spaces[space].mode);
                prop_assert_eq!(info.extents.get() as usize, mock.spaces[space].extents.len());
                let through = |queue: &&mock::MockQueue| {
                    queue.running && queue.setup.is_some_and(|setup| {
                        [setup.address_space, setup.ring_address_space].map(usize::from).contains(&space)
                    })
                };
                prop_assert_eq!(usize::from(info.running_queues.get()), mock.queues.iter().filter(through).count());
            }
            // The rule that the card exists for: no queue runs through a 1:1 space without leave, nor through none.
            for (queue, allowed) in mock.queues.iter().zip(allow_identity) {
                if !queue.running {
                    continue;
                }
                let setup = queue.setup.expect("set-up");
                for space in [setup.address_space, setup.ring_address_space] {
                    let info = after[usize::from(space)].expect("a running queue's space exists");
                    prop_assert!(allowed || info.mode() != Some(AddressSpaceMode::Identity));
                }
            }
        }
    }
}
