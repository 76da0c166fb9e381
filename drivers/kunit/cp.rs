// SPDX-License-Identifier: GPL-2.0-only

//! A control processor that answers each command at once: as much of one as the driver needs to go on,
//! and whatever wrong answer a test wants.
//!
//! It translates nothing, and has no queues. Commands come through the rings or through the [`mailbox`], whichever the driver
//! has switched on. What a card really does is what `sim/` is for.

mod mailbox;

use super::{
    sys,
    trace::{
        self,
        Step, //
    },
};
use crate::{
    pci::RegisterBar,
    regs,
    vdpa::virtio::*,
    wire::{
        self,
        AddressSpaceMode,
        Command,
        Completion,
        ErrorCode,
        Event,
        Opcode, //
    },
};
use kernel::{
    io::Io,
    prelude::*, //
};
use mailbox::CardMailbox;
use zerocopy::{
    FromZeros,
    Immutable,
    KnownLayout, //
};

/// Queues of each device. Its number tells which they are.
pub(super) const QUEUES_PER_DEVICE: u16 = 8;

/// Devices that there can be.
pub(super) const DEVICES: u16 = 4;

/// Address spaces that there can be.
pub(super) const SPACES: u16 = 8;

/// How a command is answered instead of being carried out.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// It is refused.
    Refused(ErrorCode),
    /// With a tag that is not the command's.
    WrongTag,
    /// Not at all: the card has gone.
    Gone,
    /// As it should be, and then the card has gone. Through the mailbox only, as are the following.
    GoneAfterwards,
    /// Not at all, and the card is still there.
    None,
    /// As it should be, and the answer changes when the driver has noticed it.
    Fickle,
}

/// An address space, of which the control processor keeps the state and no extents.
#[derive(Clone, Copy)]
struct Space {
    mode: AddressSpaceMode,
    generation: u64,
}

/// The control processor.
pub(crate) struct ControlProcessor {
    enabled: bool,
    gone: bool,
    head: u16,
    sequence: u32,
    event_index: u16,
    event_sequence: u32,
    devices: [bool; DEVICES as usize],
    spaces: [Option<Space>; SPACES as usize],
    answers: [Option<(Opcode, Answer)>; 4],
    watched: Option<usize>,
    watched_refs: i32,
    enabled_in: Option<[u16; 2]>,
    mailbox: CardMailbox,
    /// A device's queue that has stopped.
    stopped: Option<(u16, u16)>,
    /// Whether the devices' links are up.
    link_up: bool,
    /// The disk of every block device.
    disk: Disk,
    /// Whether queues that stop have not returned all that they have taken.
    owes: bool,
    /// Features that devices offer beside those that they always do.
    offered: u64,
}

/// A disk.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Disk {
    /// It can be written.
    Good,
    /// It can't.
    ReadOnly,
    /// Its limits make no sense.
    Bad,
}

/// Sectors of each disk.
pub(super) const CAPACITY: u64 = 0x1_2345_6789;

/// The first bytes of `arguments` as a `T`.
fn arguments<T: FromBytes + KnownLayout + Immutable>(command: &Command) -> Result<T, ErrorCode> {
    T::read_from_prefix(&command.arguments)
        .map(|(value, _)| value)
        .map_err(|_| ErrorCode::InvalidArgument)
}

/// What a command is answered with, followed by zeros.
type Reply = [u8; wire::RESULT_SIZE];

fn reply<T: IntoBytes + Immutable>(value: T) -> Reply {
    let mut reply = [0; wire::RESULT_SIZE];

    for (to, from) in reply.iter_mut().zip(value.as_bytes()) {
        *to = *from;
    }
    reply
}

/// The entry `index` of the ring of `1 << log2` entries that begins at a bus address.
fn entry<T>(low: u32, high: u32, log2: u32, index: u16) -> *mut T {
    let bus = u64::from(low) | u64::from(high) << 32;
    let index = usize::from(index) & ((1 << log2) - 1);

    sys::bus_to_virt(bus).cast::<T>().wrapping_add(index)
}

impl ControlProcessor {
    /// One that was just reset.
    pub(crate) fn new() -> Self {
        Self {
            enabled: false,
            gone: false,
            head: 0,
            sequence: wire::FIRST_SEQUENCE,
            event_index: 0,
            event_sequence: wire::FIRST_SEQUENCE,
            devices: [false; DEVICES as usize],
            spaces: [None; SPACES as usize],
            answers: [None; 4],
            watched: None,
            watched_refs: 0,
            enabled_in: None,
            mailbox: CardMailbox::new(),
            stopped: None,
            link_up: true,
            disk: Disk::Good,
            owes: false,
            offered: 0,
        }
    }

    /// Whether the card's registers read as all ones.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether the driver has switched the command queue on.
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Has the next command `opcode` answered so.
    pub(super) fn answer(&mut self, opcode: Opcode, answer: Answer) {
        if let Some(place) = self.answers.iter_mut().find(|place| place.is_none()) {
            *place = Some((opcode, answer));
        }
    }

    /// Looks, at every command from now on, how many references there are to the folio of a page. It has
    /// to be memory.
    pub(super) fn watch(&mut self, pfn: usize) {
        self.watched = Some(pfn);
    }

    /// How many there were when the last command was answered.
    pub(super) fn watched_refs(&self) -> i32 {
        self.watched_refs
    }

    /// The address spaces, of the buffers and of the rings, that a queue was last enabled in.
    pub(super) fn enabled_in(&self) -> Option<[u16; 2]> {
        self.enabled_in
    }

    /// Stops a queue of a device. All others run.
    pub(super) fn stop(&mut self, device: u16, queue: u16) {
        self.stopped = Some((device, queue));
    }

    /// Takes the links of all devices down, and tells only who asks.
    pub(super) fn links_down(&mut self) {
        self.link_up = false;
    }

    /// Has block devices be made with such disks from now on.
    pub(super) fn set_disk(&mut self, disk: Disk) {
        self.disk = disk;
    }

    /// Has queues stop without returning all that they have taken, or no longer.
    pub(super) fn owe(&mut self, owes: bool) {
        self.owes = owes;
    }

    /// Has devices offer these features, too, from the next one on.
    pub(super) fn offer(&mut self, features: u64) {
        self.offered = features;
    }

    /// Devices that exist.
    pub(super) fn num_devices(&self) -> usize {
        self.devices.iter().filter(|exists| **exists).count()
    }

    /// Modes of the address spaces that exist.
    pub(super) fn modes(&self) -> impl Iterator<Item = AddressSpaceMode> + '_ {
        self.spaces.iter().flatten().map(|space| space.mode)
    }

    /// Sees to what the driver has written.
    pub(crate) fn run(&mut self, io: RegisterBar<'_>) {
        let enable = io.read(regs::CMDQ_CONTROL).enable();

        if !self.gone {
            if let Some(command) = self.mailbox.run(io) {
                self.answer_through_mailbox(io, &command);
            }
        }
        if !self.mailbox.is_enabled() && (!enable || !self.enabled) {
            self.head = 0;
            self.sequence = wire::FIRST_SEQUENCE;
        }
        self.enabled = enable;
        while enable && !self.gone && self.head != io.read(regs::CMDQ_TAIL).index() {
            self.step(io);
        }
    }

    /// Answers one command.
    fn step(&mut self, io: RegisterBar<'_>) {
        let log2 = io.read(regs::CMDQ_SIZE).log2().get();
        let submission = entry::<Command>(
            io.read(regs::CMDQ_SUBMISSION_BASE_LO).into_raw(),
            io.read(regs::CMDQ_SUBMISSION_BASE_HI).into_raw(),
            log2,
            self.head,
        );
        let completion = entry::<Completion>(
            io.read(regs::CMDQ_COMPLETION_BASE_LO).into_raw(),
            io.read(regs::CMDQ_COMPLETION_BASE_HI).into_raw(),
            log2,
            self.head,
        );
        // SAFETY: The queue is on, so that the driver has given the card this ring, and the entry belongs to
        // the card.
        let command = unsafe { submission.read_volatile() };
        let opcode = Opcode::from_number(command.opcode.get());
        let answer = self.take_answer(opcode);

        if let Some(pfn) = self.watched {
            // SAFETY: Whoever watches it knows that it is memory.
            self.watched_refs = unsafe { sys::page_refs(pfn) };
        }
        let mut tag = command.tag.get();
        let result = match (opcode, answer) {
            (_, Some(Answer::Gone)) => {
                self.gone = true;
                return;
            }
            (_, Some(Answer::Refused(code))) => Err(code),
            (Some(opcode), answer) => {
                tag ^= u16::from(answer.is_some());
                self.tell(io, opcode, &command);
                self.execute(opcode, &command)
            }
            (None, _) => Err(ErrorCode::UnknownOpcode),
        };
        if let Some(opcode) = opcode {
            trace::note(Step::Command(opcode));
        }

        let answer = Completion {
            tag: tag.into(),
            status: match result {
                Ok(_) => wire::STATUS_OK,
                Err(code) => code as u16,
            }
            .into(),
            result: result.unwrap_or_default(),
            sequence: self.sequence.into(),
        };
        // SAFETY: As above.
        unsafe { completion.write_volatile(answer) };
        self.head = self.head.wrapping_add(1);
        self.sequence = wire::next_sequence(self.sequence);
    }

    /// How a command is to be answered, if not as it should be.
    fn take_answer(&mut self, opcode: Option<Opcode>) -> Option<Answer> {
        let place = self
            .answers
            .iter_mut()
            .find(|place| matches!(place, Some((wanted, _)) if Some(*wanted) == opcode))?;

        place.take().map(|(_, answer)| answer)
    }

    /// Answers the command that came through the mailbox.
    fn answer_through_mailbox(&mut self, io: RegisterBar<'_>, command: &Command) {
        let sequence = self.sequence;
        let opcode = Opcode::from_number(command.opcode.get());
        let answer = self.take_answer(opcode);

        self.sequence = wire::next_sequence(sequence);
        match answer {
            Some(Answer::None) => return,
            Some(Answer::Gone) => {
                self.gone = true;
                return;
            }
            Some(Answer::GoneAfterwards) => self.gone = true,
            Some(Answer::Fickle) => self.mailbox.fickle = true,
            _ => (),
        }
        let result = match (opcode, answer) {
            (_, Some(Answer::Refused(code))) => Err(code),
            (Some(opcode), _) => {
                self.tell(io, opcode, command);
                self.execute(opcode, command)
            }
            (None, _) => Err(ErrorCode::UnknownOpcode),
        };
        if let Some(opcode) = opcode {
            trace::note(Step::Command(opcode));
        }
        let wrong = u16::from(matches!(answer, Some(Answer::WrongTag)));
        self.mailbox.complete(
            io,
            Completion {
                tag: (command.tag.get() ^ wrong).into(),
                status: match result {
                    Ok(_) => wire::STATUS_OK,
                    Err(code) => code as u16,
                }
                .into(),
                result: result.unwrap_or_default(),
                sequence: sequence.into(),
            },
        );
    }

    /// Posts the status that a command asks for, before it is answered.
    fn tell(&mut self, io: RegisterBar<'_>, opcode: Opcode, command: &Command) {
        if opcode != Opcode::NetTell {
            return;
        }
        let detail = match self.link_up {
            true => wire::NET_STATUS_LINK_UP,
            false => 0,
        };
        let event = event(wire::EventKind::NetStatusChanged, command.device.get());

        self.post(
            io,
            Event {
                detail: detail.into(),
                ..event
            },
        );
    }

    fn execute(&mut self, opcode: Opcode, command: &Command) -> Result<Reply, ErrorCode> {
        match opcode {
            Opcode::DeviceCreate => self.create_device(arguments(command)?),
            Opcode::DeviceDestroy => {
                *self
                    .devices
                    .get_mut(usize::from(command.device.get()))
                    .ok_or(ErrorCode::NoSuchDevice)? = false;
                Ok(Reply::default())
            }
            Opcode::QueueEnable => {
                let arguments: wire::QueueEnable = arguments(command)?;
                let spaces = [arguments.address_space, arguments.ring_address_space];

                self.enabled_in = Some(spaces.map(|space| space.get()));
                Ok(Reply::default())
            }
            Opcode::QueueDisable => Ok(reply(wire::QueueState {
                avail_index: u16::from(self.owes).into(),
                ..wire::QueueState::new_zeroed()
            })),
            Opcode::BlockQuery => {
                let payload = sys::bus_to_virt(command.payload.get());
                let info = self.block_info();

                // SAFETY: The driver has given the card this payload, with room for the answer.
                unsafe { payload.cast::<wire::BlockInfo>().write(info) };
                Ok(Reply::default())
            }
            Opcode::QueueQuery => {
                let arguments: wire::QueueSelect = arguments(command)?;
                let queue = (command.device.get(), arguments.queue.get());

                Ok(reply(wire::QueueState {
                    running: u16::from(self.stopped != Some(queue)).into(),
                    ..wire::QueueState::new_zeroed()
                }))
            }
            Opcode::AddressSpaceCreate => self.create_space(arguments(command)?),
            Opcode::AddressSpaceDestroy => {
                let arguments: wire::AddressSpaceSelect = arguments(command)?;

                self.space(arguments.address_space.get())?;
                if let Some(space) = self
                    .spaces
                    .get_mut(usize::from(arguments.address_space.get()))
                {
                    *space = None;
                }
                Ok(Reply::default())
            }
            Opcode::AddressSpaceSetMode => {
                let arguments: wire::AddressSpaceSetMode = arguments(command)?;
                let mode = AddressSpaceMode::from_number(arguments.mode.get())
                    .ok_or(ErrorCode::InvalidArgument)?;

                self.update(arguments.address_space.get(), mode)
            }
            Opcode::AddressSpaceUpdate => {
                let arguments: wire::AddressSpaceUpdate = arguments(command)?;
                let number = arguments.address_space.get();
                let space = self.space(number)?;

                if arguments.generation.get() != space.generation {
                    return Err(ErrorCode::StaleGeneration);
                }
                if arguments.flags.get() & wire::UPDATE_COMMIT == 0 {
                    return Ok(Reply::default());
                }
                self.update(number, AddressSpaceMode::Translated)
            }
            Opcode::DeviceTypeQuery => Ok(reply(wire::DeviceTypeInfo {
                features: u64::MAX.into(),
            })),
            Opcode::AddressSpaceQuery => {
                let arguments: wire::AddressSpaceSelect = arguments(command)?;
                let space = *self.space(arguments.address_space.get())?;
                let info = wire::AddressSpaceInfo {
                    mode: (space.mode as u16).into(),
                    generation: space.generation.into(),
                    ..wire::AddressSpaceInfo::new_zeroed()
                };
                let payload = sys::bus_to_virt(command.payload.get());

                // SAFETY: The driver has given the card this payload, with room for the answer.
                unsafe { payload.cast::<wire::AddressSpaceInfo>().write(info) };
                Ok(Reply::default())
            }
            _ => Ok(Reply::default()),
        }
    }

    fn create_device(&mut self, arguments: wire::DeviceCreate) -> Result<Reply, ErrorCode> {
        let free = self
            .devices
            .iter_mut()
            .zip(0u16..)
            .find(|(used, _)| !**used);
        let (used, number) = free.ok_or(ErrorCode::NoResources)?;
        if arguments.virtio_id.get() == VIRTIO_ID_BLOCK {
            *used = true;
            return Ok(reply(self.block_device(number, &arguments)));
        }
        let pairs = arguments.queue_pairs.get();
        let control = pairs > 1 || self.offered & (1 << VIRTIO_NET_F_CTRL_VQ) != 0;
        let mut features = 1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_F_ACCESS_PLATFORM
            | 1 << VIRTIO_NET_F_MAC
            | 1 << VIRTIO_NET_F_MTU
            | self.offered;

        if pairs > 1 {
            features |= 1 << VIRTIO_NET_F_CTRL_VQ | 1 << VIRTIO_NET_F_MQ;
        }
        *used = true;
        Ok(reply(wire::DeviceCreated {
            device: number.into(),
            first_queue: (number * QUEUES_PER_DEVICE).into(),
            num_queues: (pairs * 2 + u16::from(control)).into(),
            reserved: 0.into(),
            features: features.into(),
            mac: match arguments.mac {
                // CAST: There are few devices.
                [0, 0, 0, 0, 0, 0] => [0x52, 0x54, 0, 0, 0, number as u8],
                mac => mac,
            },
            mtu: match arguments.mtu.get() {
                0 => 1500,
                mtu => mtu,
            }
            .into(),
        }))
    }

    fn block_device(&self, number: u16, arguments: &wire::DeviceCreate) -> wire::DeviceCreated {
        let all = 1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_F_ACCESS_PLATFORM
            | 1 << VIRTIO_BLK_F_MQ
            | 1 << VIRTIO_BLK_F_FLUSH;
        let offered = match arguments.features.get() {
            0 => all,
            wanted => all & wanted,
        };
        let read_only = u64::from(self.disk == Disk::ReadOnly) << VIRTIO_BLK_F_RO;

        wire::DeviceCreated {
            device: number.into(),
            first_queue: (number * QUEUES_PER_DEVICE).into(),
            num_queues: arguments.queue_pairs,
            features: (offered | read_only).into(),
            ..wire::DeviceCreated::new_zeroed()
        }
    }

    fn block_info(&self) -> wire::BlockInfo {
        wire::BlockInfo {
            capacity: CAPACITY.into(),
            size_max: u32::from(self.disk != Disk::Bad)
                .wrapping_mul(0x1_0000)
                .into(),
            seg_max: 126.into(),
            block_size: 4096.into(),
            max_discard_sectors: 1.into(),
            max_discard_seg: 1.into(),
            discard_alignment: 8.into(),
            max_write_zeroes_sectors: 1.into(),
            max_write_zeroes_seg: 1.into(),
            ..wire::BlockInfo::new_zeroed()
        }
    }

    fn create_space(&mut self, arguments: wire::AddressSpaceCreate) -> Result<Reply, ErrorCode> {
        let mode = AddressSpaceMode::from_number(arguments.mode.get())
            .ok_or(ErrorCode::InvalidArgument)?;
        let mut places = self.spaces.iter_mut().zip(0u16..);
        let (place, number) = places
            .find(|(place, _)| place.is_none())
            .ok_or(ErrorCode::NoResources)?;

        *place = Some(Space {
            mode,
            generation: 1,
        });
        Ok(reply(wire::AddressSpaceCreated {
            address_space: number.into(),
            reserved: [0.into(); 3],
            generation: 1.into(),
        }))
    }

    fn space(&mut self, number: u16) -> Result<&mut Space, ErrorCode> {
        self.spaces
            .get_mut(usize::from(number))
            .and_then(Option::as_mut)
            .ok_or(ErrorCode::NoSuchAddressSpace)
    }

    fn update(&mut self, number: u16, mode: AddressSpaceMode) -> Result<Reply, ErrorCode> {
        let space = self.space(number)?;

        space.mode = mode;
        space.generation += 1;
        Ok(reply(wire::AddressSpaceUpdated {
            generation: space.generation.into(),
            extents: 0.into(),
            reserved: 0.into(),
        }))
    }

    /// Posts an event, if the driver has given the card a ring for it.
    pub(crate) fn post(&mut self, io: RegisterBar<'_>, event: Event) {
        if self.mailbox.is_enabled() {
            self.mailbox.post(io, event);
            return;
        }
        if !io.read(regs::EVENTQ_CONTROL).enable() {
            return;
        }
        let place = entry::<Event>(
            io.read(regs::EVENTQ_BASE_LO).into_raw(),
            io.read(regs::EVENTQ_BASE_HI).into_raw(),
            io.read(regs::EVENTQ_SIZE).log2().get(),
            self.event_index,
        );
        let event = Event {
            sequence: self.event_sequence.into(),
            ..event
        };

        // SAFETY: The queue is on, so that the driver has given the card this ring, and the entry belongs to
        // the card: the tests post fewer events than there are entries.
        unsafe { place.write_volatile(event) };
        self.event_index = self.event_index.wrapping_add(1);
        self.event_sequence = wire::next_sequence(self.event_sequence);
    }
}

/// An event of this kind about a device.
pub(super) fn event(kind: wire::EventKind, device: u16) -> Event {
    Event {
        kind: (kind as u16).into(),
        device: device.into(),
        ..Event::new_zeroed()
    }
}
