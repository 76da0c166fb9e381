// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A block driver of a few lines, and a disk in memory that tells what was done to it.

#![allow(dead_code, reason = "each test program uses a part")]

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use mooring_firmware::hal::RingFormat;
use mooring_firmware::ring;
use mooring_hw_regs::regs::InfoNumAddressSpaces;
use mooring_hw_regs::wire::{
    AddressSpaceMode, DeviceCreate, DeviceCreated, Event, EventKind, Extent, ExtentOperation,
    Opcode, QueueErrorReason, QueueStatistics, NO_ADDRESS_SPACE, NO_DEVICE, PERMISSION_READ,
    PERMISSION_WRITE, QUEUE_ALLOW_IDENTITY, VIRTIO_ID_BLOCK,
};
use mooring_sim::testing::{Buffer, CardAccess, DriverRing, InProcess, Region, TestDriver};
use mooring_sim::{CardConfig, Disk};
use zerocopy::FromBytes;

pub const IN: u32 = 0;
pub const OUT: u32 = 1;
pub const FLUSH: u32 = 4;
pub const GET_ID: u32 = 8;
pub const DISCARD: u32 = 11;
pub const WRITE_ZEROES: u32 = 13;

pub const OK: u8 = 0;
pub const IO_ERROR: u8 = 1;
pub const UNSUPPORTED: u8 = 2;

/// What a driver sees that wrote 0x77 there and got nothing.
pub const NO_STATUS: u8 = 0x77;

pub const SECTORS: u64 = 256;

const IOVA: u64 = 0x1000_0000;
const REGION: u64 = 4 << 20;
const ENTRIES: u16 = 64;

#[derive(Default)]
struct State {
    content: Vec<u8>,
    flushes: u32,
    discards: u32,
    failing: bool,
    /// How many more operations there are until somebody opens the disk; any number if nobody has closed it.
    left: Option<u32>,
    /// Whether what is read is at hand.
    cached: bool,
}

/// A disk in memory. What is discarded reads as 0xdd.
pub struct MemoryDisk {
    sectors: u64,
    state: Mutex<State>,
    opened: Condvar,
    pub read_only: bool,
}

impl MemoryDisk {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::with(false))
    }

    pub fn with(read_only: bool) -> Self {
        Self::sized(SECTORS, read_only)
    }

    pub fn sized(sectors: u64, read_only: bool) -> Self {
        let content = vec![0; (sectors * 512) as usize];
        let state = State {
            content,
            ..State::default()
        };
        Self {
            sectors,
            state: Mutex::new(state),
            opened: Condvar::new(),
            read_only,
        }
    }

    pub fn content(&self) -> Vec<u8> {
        self.state.lock().unwrap().content.clone()
    }

    pub fn flushes(&self) -> u32 {
        self.state.lock().unwrap().flushes
    }

    pub fn discards(&self) -> u32 {
        self.state.lock().unwrap().discards
    }

    /// Lets all that follows fail.
    pub fn fail(&self, failing: bool) {
        self.state.lock().unwrap().failing = failing;
    }

    /// Lets all that follows wait until it is opened.
    pub fn close(&self) {
        self.state.lock().unwrap().left = Some(0);
    }

    /// Opens it for so many operations.
    pub fn open_for(&self, operations: u32) {
        self.state.lock().unwrap().left = Some(operations);
        self.opened.notify_all();
    }

    /// Lets all be read at once, even while it is closed.
    pub fn cache(&self) {
        self.state.lock().unwrap().cached = true;
    }

    pub fn open(&self) {
        self.state.lock().unwrap().left = None;
        self.opened.notify_all();
    }

    fn with_state<R>(&self, access: impl FnOnce(&mut State) -> R) -> io::Result<R> {
        let state = self.state.lock().unwrap();
        let closed = |state: &mut State| state.left == Some(0);
        let mut state = self.opened.wait_while(state, closed).unwrap();
        state.left = state.left.map(|left| left - 1);
        match state.failing {
            true => Err(io::Error::other("a test wants it so")),
            false => Ok(access(&mut state)),
        }
    }

    fn range(offset: u64, length: usize) -> std::ops::Range<usize> {
        offset as usize..offset as usize + length
    }
}

impl Disk for MemoryDisk {
    fn size(&self) -> u64 {
        self.sectors * 512
    }

    fn block_size(&self) -> u32 {
        512
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let range = Self::range(offset, data.len());
        self.with_state(|state| data.copy_from_slice(&state.content[range]))
    }

    fn read_at_once(&self, offset: u64, data: &mut [u8]) -> bool {
        let state = self.state.lock().unwrap();
        if state.cached {
            data.copy_from_slice(&state.content[Self::range(offset, data.len())]);
        }
        state.cached
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let range = Self::range(offset, data.len());
        self.with_state(|state| state.content[range].copy_from_slice(data))
    }

    fn flush(&self) -> io::Result<()> {
        self.with_state(|state| state.flushes += 1)
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        let range = Self::range(offset, length as usize);
        self.with_state(|state| {
            state.discards += 1;
            state.content[range].fill(0xdd);
        })
    }

    fn zero(&self, offset: u64, length: u64, _free: bool) -> io::Result<()> {
        let range = Self::range(offset, length as usize);
        self.with_state(|state| state.content[range].fill(0))
    }
}

/// A request that was made available.
pub struct Sent {
    pub queue: usize,
    pub head: u16,
    data: u64,
    length: usize,
    status: u64,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u8,
    /// Of the data that a device may write.
    pub data: Vec<u8>,
    /// Bytes that the device says it wrote.
    pub written: u32,
}

/// A running block device.
pub struct Rig {
    pub driver: TestDriver<InProcess>,
    pub device: DeviceCreated,
    pub space: u16,
    /// Flags of the queues.
    flags: u16,
    pub queues: Vec<DriverRing>,
    pub region: Region,
    /// Whether chains are tables of indirect descriptors.
    pub tables: bool,
    /// What there was of the region before the queues took of it.
    rings: Region,
    without: u64,
    /// Where the next request's buffers lie.
    next: u64,
    first: u64,
}

pub fn create(queues: u16) -> DeviceCreate {
    DeviceCreate {
        virtio_id: VIRTIO_ID_BLOCK.into(),
        queue_pairs: queues.into(),
        mtu: 0.into(),
        mac: [0; 6],
        reserved: 0.into(),
        features: 0.into(),
        reserved2: [0.into(); 2],
    }
}

/// A card with one disk.
pub fn card(disk: Arc<dyn Disk>) -> InProcess {
    card_of(CardConfig::default(), disk)
}

fn card_of(config: CardConfig, disk: Arc<dyn Disk>) -> InProcess {
    let mut access = InProcess::new(config).expect("a card");
    access.card().insert_disks([disk]);
    access
}

/// A card whose disk works on a thread of its own.
pub fn threaded(config: CardConfig, disk: &Arc<MemoryDisk>) -> InProcess {
    let mut access = card_of(config, disk.clone());
    let started = access.card().run_disks_on_threads(Arc::new(|| {}));
    started.expect("a thread");
    access
}

impl Rig {
    /// A device with so many queues that has agreed to all features but those of `without`.
    pub fn new(access: InProcess, queues: u16, without: u64) -> Self {
        let mut driver = TestDriver::new(access);
        let created = driver.command(Opcode::DeviceCreate, NO_DEVICE, &create(queues), &[]);
        let created = created.expect("a device");
        let device = DeviceCreated::read_from_prefix(&created).expect("fits").0;
        let mut region = driver.allocate(REGION, IOVA);
        let (space, flags) = if driver.read(InfoNumAddressSpaces::OFFSET) == 0 {
            region = Region::new(region.bus, region.bus, region.length);
            (NO_ADDRESS_SPACE, QUEUE_ALLOW_IDENTITY)
        } else {
            (Self::space(&mut driver, &region), 0)
        };
        let mut rig = Self {
            driver,
            space,
            flags,
            queues: Vec::new(),
            tables: device.features.get() & !without & ring::features::INDIRECT_DESC != 0,
            device,
            rings: region.clone(),
            next: 0,
            first: 0,
            region,
            without,
        };
        rig.restart();
        rig.first = rig.region.allocate(0, 4096);
        rig.next = rig.first;
        rig
    }

    /// An address space that maps the region.
    fn space(driver: &mut TestDriver<InProcess>, region: &Region) -> u16 {
        let space = driver
            .create_space(AddressSpaceMode::Blocked)
            .expect("a space")
            .address_space
            .get();
        let extent = Extent {
            iova: region.iova.into(),
            bus: region.bus.into(),
            length: region.length.into(),
            permission: (PERMISSION_READ | PERMISSION_WRITE).into(),
            operation: (ExtentOperation::Add as u32).into(),
        };
        driver.change(space, &[extent]).expect("a map");
        space
    }

    /// Has the first queue stop on a request that has no room for an answer.
    pub fn stop_by_a_request_without_room(&mut self) {
        let at = self.region.allocate(64, 16);
        self.queues[0].add(
            &[Buffer {
                iova: at,
                length: 16,
                writable: false,
            }],
            false,
        );
        self.ring(0);
        self.expect_stop(QueueErrorReason::Buffer);
    }

    /// Starts all queues of a device that doesn't run, with rings that begin anew, where the old ones were.
    pub fn restart(&mut self) {
        let agreed = self.device.features.get() & !self.without;
        let has = |feature: u64| agreed & feature != 0;
        let format = RingFormat {
            packed: has(ring::features::RING_PACKED),
            indirect: has(ring::features::INDIRECT_DESC),
            event_index: has(ring::features::EVENT_IDX),
        };
        let mut region = self.rings.clone();
        self.queues = (0..self.device.num_queues.get())
            .map(|_| {
                let memory = self.driver.memory.clone();
                DriverRing::new(memory, &mut region, ENTRIES, format, 0)
            })
            .collect();
        if self.next == 0 {
            self.region = region;
        }
        self.start();
    }

    /// Agrees on features and starts all queues.
    pub fn start(&mut self) {
        let number = self.device.device.get();
        let features = self.device.features.get() & !self.without;
        self.driver
            .set_features(number, features)
            .expect("features");
        for (index, queue) in self.queues.iter().enumerate() {
            let vector = Some(1 + index as u16);
            let enable = queue.enable(index as u16, self.space, vector, self.flags);
            self.driver.enable_queue(number, &enable).expect("start");
        }
    }

    fn place(&mut self, length: u64) -> u64 {
        if self.next + length > self.region.iova + REGION {
            self.next = self.first;
        }
        let place = self.next;
        self.next += length.next_multiple_of(16);
        place
    }

    /// Writes memory of the device, by I/O virtual address.
    pub fn write(&self, iova: u64, data: &[u8]) {
        let bus = self.region.bus(iova);
        self.driver.memory.write(bus, data).expect("memory");
    }

    pub fn read(&self, iova: u64, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        let bus = self.region.bus(iova);
        self.driver.memory.read(bus, &mut data).expect("memory");
        data
    }

    /// Makes a request available, without a doorbell. Data are cut into `pieces` buffers; if there are none, header, data
    /// and status share as few buffers as they can.
    pub fn send(
        &mut self,
        queue: usize,
        header: (u32, u64),
        out: &[u8],
        room: usize,
        pieces: usize,
    ) -> Sent {
        let mut head = header.0.to_le_bytes().to_vec();
        head.extend([0; 4]);
        head.extend(header.1.to_le_bytes());
        let readable = [&head[..], out].concat();
        let (read_at, write_at) = (
            self.place(readable.len() as u64),
            self.place(room as u64 + 1),
        );
        self.write(read_at, &readable);
        self.write(write_at, &vec![0x55; room]);
        self.write(write_at + room as u64, &[NO_STATUS]);
        let mut buffers = Vec::new();
        let mut cut = |at: u64, length: usize, edge: usize, writable: bool| {
            let mut edges: Vec<usize> = vec![0, length];
            if pieces > 0 {
                edges.push(edge);
                let data = if writable { (0, edge) } else { (edge, length) };
                let step = (data.1 - data.0).div_ceil(pieces).max(1);
                edges.extend((data.0..data.1).step_by(step));
            }
            edges.sort_unstable();
            edges.dedup();
            for pair in edges.windows(2) {
                buffers.push(Buffer {
                    iova: at + pair[0] as u64,
                    length: (pair[1] - pair[0]) as u32,
                    writable,
                });
            }
        };
        cut(read_at, readable.len(), head.len(), false);
        cut(write_at, room + 1, room, true);
        let head = self.queues[queue].add(&buffers, self.tables).expect("room");
        Sent {
            queue,
            head,
            data: write_at,
            length: room,
            status: write_at + room as u64,
        }
    }

    pub fn queue_statistics(&mut self, queue: u16) -> QueueStatistics {
        let number = self.device.device.get();
        let counted = self.driver.queue_statistics(number, queue);
        counted.expect("statistics")
    }

    pub fn ring(&mut self, queue: usize) {
        self.driver
            .ring(self.device.first_queue.get() + queue as u16);
    }

    /// What is in the buffers of a request that came back.
    pub fn answer(&self, sent: &Sent, written: u32) -> Answer {
        Answer {
            status: self.read(sent.status, 1)[0],
            data: self.read(sent.data, sent.length),
            written,
        }
    }

    /// Waits until a request, the only one of its queue, comes back.
    pub fn wait(&mut self, sent: &Sent) -> Answer {
        let queue = &mut self.queues[sent.queue];
        let mut used = None;
        let came = self.driver.access.wait_until(|_| {
            used = queue.take_used();
            used.is_some()
        });
        assert!(came, "the request doesn't come back");
        let (head, written) = used.expect("it came");
        assert_eq!(head, sent.head);
        self.answer(sent, written)
    }

    /// Carries out a request.
    pub fn request(&mut self, header: (u32, u64), out: &[u8], room: usize) -> Answer {
        let sent = self.send(0, header, out, room, 1);
        self.ring(0);
        self.wait(&sent)
    }

    /// The next event must say that a queue stopped for this reason.
    pub fn expect_stop(&mut self, reason: QueueErrorReason) {
        let event = self.event(EventKind::QueueStopped);
        assert_eq!(event.detail.get(), reason as u32);
    }

    pub fn event(&mut self, kind: EventKind) -> Event {
        let event = self.driver.expect_event();
        assert_eq!(EventKind::from_number(event.kind.get()), Some(kind));
        event
    }
}
