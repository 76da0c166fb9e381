// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A small driver: command queue and event queue, or mailbox, and commands with Rust types.

use std::sync::Arc;

use mooring_firmware::ring::features;
use mooring_hw_regs::regs::{
    CmdqCompletionBaseHi, CmdqCompletionBaseLo, CmdqControl, CmdqSize, CmdqSubmissionBaseHi,
    CmdqSubmissionBaseLo, CmdqTail, CpState, CpStatus, EventqBaseHi, EventqBaseLo, EventqConsumer,
    EventqControl, EventqSize, InfoCapabilities, InfoMagic, MailboxControl, MailboxDoorbell,
    MailboxEventAcknowledge, DOORBELL_STRIDE, MAILBOX_COMMAND_OFFSET, MAILBOX_COMPLETION_OFFSET,
    MAILBOX_EVENT_OFFSET, MAILBOX_PAYLOAD_OFFSET, MAILBOX_PAYLOAD_SIZE,
};
use mooring_hw_regs::wire::{
    AddressSpaceCreate, AddressSpaceCreated, AddressSpaceInfo, AddressSpaceMode, AddressSpaceRead,
    AddressSpaceSelect, AddressSpaceSetMode, AddressSpaceUpdate, AddressSpaceUpdated, Command,
    Completion, DeviceCreate, DeviceCreated, DeviceSetFeatures, DeviceStatistics, ErrorCode, Event,
    Extent, ExtentOperation, NetSetLink, Opcode, QueueEnable, QueueSelect, QueueState,
    QueueStatistics, ARGUMENTS_SIZE, MAGIC, NO_DEVICE, RESULT_SIZE, STATUS_OK, UPDATE_BEGIN,
    UPDATE_COMMIT,
};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::{CardAccess, Region};
use crate::HostMemory;

/// What a command answers.
pub type Answer<T> = Result<T, ErrorCode>;

const RING_LOG2: u8 = 3;
const RING_ENTRIES: u16 = 1 << RING_LOG2;
const PAGE: u64 = 4096;
const PAYLOAD_SIZE: u64 = 4 * PAGE;

/// A driver of one card, on any backend.
pub struct TestDriver<A> {
    /// The card.
    pub access: A,
    /// The memory that both see.
    pub memory: Arc<dyn HostMemory>,
    /// Whether the card has a mailbox in place of command and event queue.
    mailbox: bool,
    submission: u64,
    completion: u64,
    events: u64,
    payload: u64,
    free: u64,
    end: u64,
    tail: u16,
    sequence: u32,
    event_index: u16,
    event_sequence: u32,
}

impl<A: CardAccess> TestDriver<A> {
    /// Takes a card that is freshly reset and sets it up.
    pub fn new(access: A) -> Self {
        let range = access.memory_range();
        let memory = access.memory();
        let mut driver = Self {
            access,
            memory,
            mailbox: false,
            submission: range.start,
            completion: range.start + PAGE,
            events: range.start + 2 * PAGE,
            payload: range.start + 3 * PAGE,
            free: range.start + 3 * PAGE + PAYLOAD_SIZE,
            end: range.end,
            tail: 0,
            sequence: 1,
            event_index: 0,
            event_sequence: 1,
        };
        driver.set_up();
        driver
    }

    /// Sets up the queues of a card that is freshly reset.
    pub fn set_up(&mut self) {
        self.access.set_bus_master(true);
        assert_eq!(self.access.read32(0, InfoMagic::OFFSET as u64), MAGIC);
        let ready = self.access.wait_until(|access| {
            CpStatus(access.read32(0, CpStatus::OFFSET as u64)).0 == CpState::Ready as u32
        });
        assert!(ready, "the control processor doesn't become ready");
        for page in [self.submission, self.completion, self.events] {
            self.memory
                .write(page, &[0; PAGE as usize])
                .expect("ring memory");
        }
        (
            self.tail,
            self.sequence,
            self.event_index,
            self.event_sequence,
        ) = (0, 1, 0, 1);
        let capabilities = InfoCapabilities(self.read(InfoCapabilities::OFFSET));
        self.mailbox = !capabilities.iommu();
        if self.mailbox {
            self.write(MailboxControl::OFFSET, 0);
            self.write(
                MailboxControl::OFFSET,
                MailboxControl(0).with_enable(true).0,
            );
            return;
        }
        let (submission, completion, events) = (self.submission, self.completion, self.events);
        // CAST: the halves of addresses.
        for (offset, value) in [
            (CmdqSubmissionBaseLo::OFFSET, submission as u32),
            (CmdqSubmissionBaseHi::OFFSET, (submission >> 32) as u32),
            (CmdqCompletionBaseLo::OFFSET, completion as u32),
            (CmdqCompletionBaseHi::OFFSET, (completion >> 32) as u32),
            (CmdqSize::OFFSET, RING_LOG2.into()),
            (CmdqControl::OFFSET, CmdqControl(0).with_enable(true).0),
            (EventqBaseLo::OFFSET, events as u32),
            (EventqBaseHi::OFFSET, (events >> 32) as u32),
            (EventqSize::OFFSET, RING_LOG2.into()),
            (EventqControl::OFFSET, EventqControl(0).with_enable(true).0),
        ] {
            self.write(offset, value);
        }
    }

    /// Reads a register of BAR 0.
    pub fn read(&mut self, offset: usize) -> u32 {
        self.access.read32(0, offset as u64)
    }

    /// Writes a register of BAR 0.
    pub fn write(&mut self, offset: usize, value: u32) {
        self.access.write32(0, offset as u64, value);
    }

    /// Rings the doorbell of a queue, by its card-wide number. What is written is nothing that the card goes by: it names
    /// another queue in the lower half, and an index that no ring has in the upper one.
    pub fn ring(&mut self, queue: u16) {
        let value = 0xffff_0000 | u32::from(!queue);
        self.access
            .write32(2, u64::from(queue) * DOORBELL_STRIDE as u64, value);
    }

    /// Allocates zeroed pages that the card can reach, and wants them at an I/O virtual address.
    pub fn allocate(&mut self, length: u64, iova: u64) -> Region {
        let bus = self.free;
        self.free += length.next_multiple_of(PAGE);
        assert!(
            self.free <= self.end,
            "the backend's memory is too small for the test"
        );
        self.memory
            .write(bus, &vec![0; length as usize])
            .expect("region memory");
        Region::new(bus, iova, length)
    }

    /// Writes a window of the mailbox.
    pub fn write_window(&mut self, offset: usize, bytes: &[u8]) {
        for (at, word) in bytes.chunks(4).enumerate() {
            let mut value = [0; 4];
            value[..word.len()].copy_from_slice(word);
            self.write(offset + 4 * at, u32::from_le_bytes(value));
        }
    }

    /// Reads a window of the mailbox.
    pub fn read_window<T: FromBytes + IntoBytes>(&mut self, offset: usize) -> T {
        let mut value = T::new_zeroed();
        for (at, word) in value.as_mut_bytes().chunks_mut(4).enumerate() {
            let bytes = self.read(offset + 4 * at).to_le_bytes();
            word.copy_from_slice(&bytes[..word.len()]);
        }
        value
    }

    /// Submits a command without waiting.
    pub fn submit(&mut self, command: &Command) {
        if self.mailbox {
            self.write_window(MAILBOX_COMMAND_OFFSET, command.as_bytes());
            self.write(MailboxDoorbell::OFFSET, self.sequence);
            return;
        }
        let slot = u64::from(self.tail % RING_ENTRIES) * size_of::<Command>() as u64;
        self.memory
            .write(self.submission + slot, command.as_bytes())
            .expect("submission ring");
        self.tail = self.tail.wrapping_add(1);
        self.write(CmdqTail::OFFSET, self.tail.into());
    }

    /// Waits for the next completion. `None`: it doesn't come.
    pub fn wait_completion(&mut self) -> Option<Completion> {
        if self.mailbox {
            let last = MAILBOX_COMPLETION_OFFSET + size_of::<Completion>() - 4;
            let expected = self.sequence;
            let there = self
                .access
                .wait_until(|access| access.read32(0, last as u64) == expected);
            self.sequence += u32::from(there);
            return there.then(|| self.read_window(MAILBOX_COMPLETION_OFFSET));
        }
        let index = (self.sequence - 1) % u32::from(RING_ENTRIES);
        let address = self.completion + u64::from(index) * size_of::<Completion>() as u64;
        let sequence_address = address + size_of::<Completion>() as u64 - 4;
        let (memory, expected) = (self.memory.clone(), self.sequence);
        let there = self
            .access
            .wait_until(|_| memory.load_u32(sequence_address) == Ok(expected));
        if !there {
            return None;
        }
        self.sequence += 1;
        let mut completion = Completion::new_zeroed();
        self.memory
            .read(address, completion.as_mut_bytes())
            .expect("completion ring");
        Some(completion)
    }

    /// Executes a command.
    pub fn execute(&mut self, command: &Command) -> Answer<[u8; RESULT_SIZE]> {
        self.submit(command);
        let completion = self
            .wait_completion()
            .expect("the card doesn't complete a command");
        assert_eq!(completion.tag, command.tag);
        match completion.status.get() {
            STATUS_OK => Ok(completion.result),
            status => {
                assert_eq!(
                    completion.result, [0; RESULT_SIZE],
                    "a refused command has no result"
                );
                Err(ErrorCode::from_status(status).expect("a known error code"))
            }
        }
    }

    /// Executes a command with arguments and room for a payload, which is filled with `payload` first.
    pub fn command(
        &mut self,
        opcode: Opcode,
        device: u16,
        arguments: &(impl IntoBytes + Immutable),
        payload: &[u8],
    ) -> Answer<[u8; RESULT_SIZE]> {
        if self.mailbox {
            assert!(payload.len() <= MAILBOX_PAYLOAD_SIZE);
            self.write_window(MAILBOX_PAYLOAD_OFFSET, payload);
        } else {
            assert!(payload.len() as u64 <= PAYLOAD_SIZE);
            self.memory
                .write(self.payload, payload)
                .expect("payload memory");
        }
        let mut bytes = [0; ARGUMENTS_SIZE];
        arguments
            .write_to_prefix(&mut bytes)
            .expect("arguments fit");
        self.execute(&Command {
            opcode: (opcode as u16).into(),
            tag: (self.tail ^ 0x5a5a).into(),
            device: device.into(),
            reserved: 0.into(),
            payload: if self.mailbox { 0 } else { self.payload }.into(),
            payload_length: (payload.len() as u32).into(),
            reserved2: 0.into(),
            arguments: bytes,
        })
    }

    fn payload<T: FromBytes + IntoBytes + KnownLayout>(&mut self) -> T {
        if self.mailbox {
            return self.read_window(MAILBOX_PAYLOAD_OFFSET);
        }
        let mut value = T::new_zeroed();
        self.memory
            .read(self.payload, value.as_mut_bytes())
            .expect("payload memory");
        value
    }

    /// The next event, if there is one.
    pub fn event(&mut self) -> Option<Event> {
        self.access.settle();
        if self.mailbox {
            let event: Event = self.read_window(MAILBOX_EVENT_OFFSET);
            if event.sequence.get() != self.event_sequence {
                return None;
            }
            self.write(MailboxEventAcknowledge::OFFSET, self.event_sequence);
            self.event_sequence += 1;
            return Some(event);
        }
        let index = u64::from(self.event_index % RING_ENTRIES);
        let mut event = Event::new_zeroed();
        self.memory
            .read(
                self.events + index * size_of::<Event>() as u64,
                event.as_mut_bytes(),
            )
            .expect("event ring");
        if event.sequence.get() != self.event_sequence {
            return None;
        }
        self.event_sequence += 1;
        self.event_index = self.event_index.wrapping_add(1);
        self.write(EventqConsumer::OFFSET, self.event_index.into());
        Some(event)
    }

    /// The next event, which must come.
    pub fn expect_event(&mut self) -> Event {
        let deadline = std::time::Instant::now() + super::access::PATIENCE;
        loop {
            if let Some(event) = self.event() {
                return event;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "the card posts no event"
            );
        }
    }

    /// Creates a network device.
    pub fn create_device(&mut self, pairs: u16, features: u64) -> Answer<DeviceCreated> {
        let arguments = DeviceCreate {
            virtio_id: 1.into(),
            queue_pairs: pairs.into(),
            mtu: 0.into(),
            mac: [0; 6],
            reserved: 0.into(),
            features: features.into(),
            reserved2: [0.into(); 2],
        };
        self.command(Opcode::DeviceCreate, NO_DEVICE, &arguments, &[])
            .map(result)
    }

    /// Destroys a device.
    pub fn destroy_device(&mut self, device: u16) -> Answer<()> {
        self.command(Opcode::DeviceDestroy, device, &[0u8; 0], &[])
            .map(drop)
    }

    /// Resets a device.
    pub fn reset_device(&mut self, device: u16) -> Answer<()> {
        self.command(Opcode::DeviceReset, device, &[0u8; 0], &[])
            .map(drop)
    }

    /// Sets the features that were agreed on.
    pub fn set_features(&mut self, device: u16, features: u64) -> Answer<()> {
        self.command(
            Opcode::DeviceSetFeatures,
            device,
            &DeviceSetFeatures {
                features: features.into(),
            },
            &[],
        )
        .map(drop)
    }

    /// Agrees on all that a device offers, but split rings without extras, which [`TestQueue`](super::TestQueue) has.
    pub fn agree(&mut self, device: &DeviceCreated) -> Answer<()> {
        self.agree_to(device, u64::MAX)
    }

    /// Agrees to those of these features that the device offers, with the same exception.
    pub fn agree_to(&mut self, device: &DeviceCreated, features: u64) -> Answer<()> {
        let chosen = device.features.get() & features & !features::ALL;
        self.set_features(device.device.get(), chosen)
    }

    /// Reads a device's counters.
    pub fn statistics(&mut self, device: u16) -> Answer<DeviceStatistics> {
        let room = [0; size_of::<DeviceStatistics>()];
        self.command(Opcode::DeviceStatistics, device, &[0u8; 0], &room)?;
        Ok(self.payload())
    }

    /// Starts a queue.
    pub fn enable_queue(&mut self, device: u16, arguments: &QueueEnable) -> Answer<()> {
        self.command(Opcode::QueueEnable, device, arguments, &[])
            .map(drop)
    }

    /// Stops a queue.
    pub fn disable_queue(&mut self, device: u16, queue: u16) -> Answer<QueueState> {
        self.command(
            Opcode::QueueDisable,
            device,
            &QueueSelect {
                queue: queue.into(),
            },
            &[],
        )
        .map(result)
    }

    /// Reads where a queue stands.
    pub fn query_queue(&mut self, device: u16, queue: u16) -> Answer<QueueState> {
        self.command(
            Opcode::QueueQuery,
            device,
            &QueueSelect {
                queue: queue.into(),
            },
            &[],
        )
        .map(result)
    }

    /// Reads a queue's counters.
    pub fn queue_statistics(&mut self, device: u16, queue: u16) -> Answer<QueueStatistics> {
        let arguments = QueueSelect {
            queue: queue.into(),
        };
        let room = QueueStatistics::new_zeroed();
        self.command(Opcode::QueueStatistics, device, &arguments, room.as_bytes())?;
        Ok(self.payload())
    }

    /// Takes the link of a device down or lets it come up.
    pub fn set_link(&mut self, device: u16, up: bool) -> Answer<()> {
        let arguments = NetSetLink {
            up: u16::from(up).into(),
        };
        self.command(Opcode::NetSetLink, device, &arguments, &[])
            .map(drop)
    }

    /// Has the card tell a device's status and MAC address.
    pub fn tell(&mut self, device: u16) -> Answer<()> {
        self.command(Opcode::NetTell, device, &[0u8; 0], &[])
            .map(drop)
    }

    /// Takes an address space.
    pub fn create_space(&mut self, mode: AddressSpaceMode) -> Answer<AddressSpaceCreated> {
        let arguments = AddressSpaceCreate {
            mode: (mode as u16).into(),
        };
        self.command(Opcode::AddressSpaceCreate, NO_DEVICE, &arguments, &[])
            .map(result)
    }

    /// Gives an address space back.
    pub fn destroy_space(&mut self, space: u16) -> Answer<()> {
        let arguments = AddressSpaceSelect {
            address_space: space.into(),
        };
        self.command(Opcode::AddressSpaceDestroy, NO_DEVICE, &arguments, &[])
            .map(drop)
    }

    /// Sets an address space's mode.
    pub fn set_mode(&mut self, space: u16, mode: AddressSpaceMode) -> Answer<AddressSpaceUpdated> {
        let arguments = AddressSpaceSetMode {
            address_space: space.into(),
            mode: (mode as u16).into(),
        };
        self.command(Opcode::AddressSpaceSetMode, NO_DEVICE, &arguments, &[])
            .map(result)
    }

    /// Reads an address space's state.
    pub fn query_space(&mut self, space: u16) -> Answer<AddressSpaceInfo> {
        let arguments = AddressSpaceSelect {
            address_space: space.into(),
        };
        let room = [0; size_of::<AddressSpaceInfo>()];
        self.command(Opcode::AddressSpaceQuery, NO_DEVICE, &arguments, &room)?;
        Ok(self.payload())
    }

    /// One update command.
    pub fn update(
        &mut self,
        space: u16,
        flags: u16,
        generation: u64,
        extents: &[Extent],
    ) -> Answer<AddressSpaceUpdated> {
        let arguments = AddressSpaceUpdate {
            address_space: space.into(),
            flags: flags.into(),
            count: (extents.len() as u32).into(),
            generation: generation.into(),
        };
        self.command(
            Opcode::AddressSpaceUpdate,
            NO_DEVICE,
            &arguments,
            extents.as_bytes(),
        )
        .map(result)
    }

    /// A whole update in one command, against the generation in force.
    pub fn change(&mut self, space: u16, extents: &[Extent]) -> Answer<AddressSpaceUpdated> {
        let generation = self.query_space(space)?.generation.get();
        self.update(space, UPDATE_BEGIN | UPDATE_COMMIT, generation, extents)
    }

    /// Reads up to 8 extents of an address space.
    pub fn read_space(&mut self, space: u16, start: u32) -> Answer<Vec<Extent>> {
        let arguments = AddressSpaceRead {
            address_space: space.into(),
            reserved: 0.into(),
            start: start.into(),
        };
        let room = [Extent::new_zeroed(); 8];
        let result: AddressSpaceUpdated = self
            .command(
                Opcode::AddressSpaceRead,
                NO_DEVICE,
                &arguments,
                room.as_bytes(),
            )
            .map(result)?;
        let extents: [Extent; 8] = self.payload();
        Ok(extents
            .into_iter()
            .take(result.extents.get() as usize)
            .collect())
    }
}

/// The command's result as the type that its opcode has.
fn result<T: FromBytes + KnownLayout + Immutable>(bytes: [u8; RESULT_SIZE]) -> T {
    T::read_from_prefix(&bytes).expect("results fit").0
}

/// An extent to add or remove.
pub fn extent(
    operation: ExtentOperation,
    iova: u64,
    bus: u64,
    length: u64,
    permission: u32,
) -> Extent {
    Extent {
        iova: iova.into(),
        bus: bus.into(),
        length: length.into(),
        permission: permission.into(),
        operation: (operation as u32).into(),
    }
}
