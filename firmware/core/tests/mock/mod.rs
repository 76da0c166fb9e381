// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A card that remembers what the firmware asked of it, and does no more than it must.

#![allow(dead_code)] // Each test binary uses a part.

use std::collections::BTreeMap;

use mooring_firmware::hal::{
    Capabilities, ControlChain, DiskInfo, Disks, Hal, Iommu, MacTable, PayloadError, PayloadMemory,
    QueuePosition, QueueSetup, QueueStatistics, ReceiveFilter, SpaceState, Switch, VirtqueueEngine,
};
use mooring_firmware::ControlProcessor;
use mooring_hw_regs::wire::{
    AddressSpaceCreate, AddressSpaceCreated, AddressSpaceMode, Command, DeviceCreate,
    DeviceCreated, DeviceSetFeatures, ErrorCode, Extent, ExtentOperation, Opcode, QueueEnable,
    ARGUMENTS_SIZE, NO_DEVICE, RESULT_SIZE, STATUS_OK,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const DEVICES: usize = 4;
pub const QUEUES: usize = 12;
pub const SPACES: usize = 4;

pub type Firmware = ControlProcessor<DEVICES, QUEUES, SPACES>;

/// What the card was asked to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    SetMode(u16, AddressSpaceMode),
    Begin(u16),
    Stage(u16),
    Commit(u16),
    Abort(u16),
    ClearFaults(u16),
    Start(u16),
    Stop(u16),
    Clear(u16),
    AddPort(u16),
    RemovePort(u16),
    SetMac(u16, [u8; 6]),
    SetFilter(u16, ReceiveFilter),
    SetPairs(u16, u16),
    SetMacTable(u16, Box<MacTable>),
    SetVlanFilter(u16, bool),
    SetVlan(u16, u16, bool),
    SetOffloads(u16, u64),
    SetLink(u16, bool),
    AttachDisk(u16, u16),
    DetachDisk(u16),
    SetDiskFeatures(u16, u64),
}

impl Call {
    /// Whether it concerns the IOMMU.
    pub fn is_iommu(&self) -> bool {
        matches!(
            self,
            Self::SetMode(..)
                | Self::Begin(_)
                | Self::Stage(_)
                | Self::Commit(_)
                | Self::Abort(_)
                | Self::ClearFaults(_)
        )
    }
}

#[derive(Clone, Default)]
pub struct MockSpace {
    pub mode: Option<AddressSpaceMode>,
    pub extents: Vec<Extent>,
    staged: Option<Vec<Extent>>,
}

#[derive(Clone, Copy, Default)]
pub struct MockQueue {
    pub setup: Option<QueueSetup>,
    pub running: bool,
}

pub struct Mock {
    pub capabilities: Capabilities,
    pub calls: Vec<Call>,
    pub spaces: [MockSpace; SPACES],
    pub queues: [MockQueue; QUEUES],
    pub payload: Vec<u8>,
    pub control: Vec<Vec<u8>>,
    pub acks: Vec<u8>,
    pub ports: BTreeMap<u16, [u8; 6]>,
}

impl Default for Mock {
    fn default() -> Self {
        Self {
            capabilities: Capabilities {
                queues: QUEUES as u16,
                devices: DEVICES as u16,
                address_spaces: SPACES as u16,
                min_queue_size: 2,
                max_queue_size: 256,
                iova_bits: 48,
                bus_bits: 40,
                vectors: 8,
                max_batch: 40,
                identity: true,
                packed_ring: true,
                disks: 2,
                mac_base: [2, 0, 0, 0xff, 0xff, 0xff],
                link_speed: 25_000,
            },
            calls: Vec::new(),
            spaces: Default::default(),
            queues: Default::default(),
            payload: vec![0; 4096],
            control: Vec::new(),
            acks: Vec::new(),
            ports: BTreeMap::new(),
        }
    }
}

impl Hal for Mock {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

impl PayloadMemory for Mock {
    fn read_payload(&mut self, bus: u64, data: &mut [u8]) -> Result<(), PayloadError> {
        let from = self.payload.get(bus as usize..).ok_or(PayloadError)?;
        data.copy_from_slice(from.get(..data.len()).ok_or(PayloadError)?);
        Ok(())
    }

    fn write_payload(&mut self, bus: u64, data: &[u8]) -> Result<(), PayloadError> {
        let to = self.payload.get_mut(bus as usize..).ok_or(PayloadError)?;
        to.get_mut(..data.len())
            .ok_or(PayloadError)?
            .copy_from_slice(data);
        Ok(())
    }
}

impl Iommu for Mock {
    fn set_mode(&mut self, space: u16, mode: AddressSpaceMode) {
        self.calls.push(Call::SetMode(space, mode));
        self.spaces[usize::from(space)] = MockSpace {
            mode: Some(mode),
            ..MockSpace::default()
        };
    }

    fn begin(&mut self, space: u16) {
        self.calls.push(Call::Begin(space));
        let space = &mut self.spaces[usize::from(space)];
        space.staged = Some(space.extents.clone());
    }

    fn stage(
        &mut self,
        space: u16,
        operation: ExtentOperation,
        extent: &Extent,
    ) -> Result<(), ErrorCode> {
        self.calls.push(Call::Stage(space));
        let space = &mut self.spaces[usize::from(space)];
        let staged = space.staged.as_mut().expect("an update has begun");
        let held = staged.iter().position(|held| held.iova == extent.iova);
        match (operation, held) {
            (ExtentOperation::Add, Some(_)) => return Err(ErrorCode::Overlap),
            (ExtentOperation::Add, None) => staged.push(*extent),
            (ExtentOperation::Remove, Some(place)) => drop(staged.remove(place)),
            (ExtentOperation::Remove, None) => return Err(ErrorCode::NotMapped),
        }
        Ok(())
    }

    fn commit(&mut self, space: u16) {
        self.calls.push(Call::Commit(space));
        let space = &mut self.spaces[usize::from(space)];
        space.extents = space.staged.take().expect("an update has begun");
        space.mode = Some(AddressSpaceMode::Translated);
    }

    fn abort(&mut self, space: u16) {
        self.calls.push(Call::Abort(space));
        self.spaces[usize::from(space)].staged = None;
    }

    fn space_state(&self, space: u16) -> SpaceState {
        let extents = &self.spaces[usize::from(space)].extents;
        SpaceState {
            extents: extents.len() as u32,
            ..SpaceState::default()
        }
    }

    fn clear_faults(&mut self, space: u16) {
        self.calls.push(Call::ClearFaults(space));
    }

    fn read_extents(&self, space: u16, start: u32, extents: &mut [Extent]) -> usize {
        let held = self.spaces[usize::from(space)]
            .extents
            .iter()
            .skip(start as usize);
        held.zip(extents).map(|(held, slot)| *slot = *held).count()
    }
}

impl VirtqueueEngine for Mock {
    fn start(&mut self, queue: u16, setup: &QueueSetup) {
        self.calls.push(Call::Start(queue));
        let queue = &mut self.queues[usize::from(queue)];
        assert!(!queue.running, "the firmware starts a queue that runs");
        *queue = MockQueue {
            setup: Some(*setup),
            running: true,
        };
    }

    fn stop(&mut self, queue: u16) {
        self.calls.push(Call::Stop(queue));
        self.queues[usize::from(queue)].running = false;
    }

    fn clear(&mut self, queue: u16) {
        self.calls.push(Call::Clear(queue));
        let queue = &mut self.queues[usize::from(queue)];
        assert!(!queue.running, "the firmware clears a queue that runs");
        queue.setup = None;
    }

    fn position(&self, queue: u16) -> QueuePosition {
        let queue = &self.queues[usize::from(queue)];
        let (avail_index, used_index) = queue
            .setup
            .map_or((0, 0), |setup| (setup.avail_index, setup.used_index));
        QueuePosition {
            avail_index,
            used_index,
            running: queue.running,
        }
    }

    fn statistics(&self, queue: u16) -> QueueStatistics {
        QueueStatistics {
            rx_frames: 1,
            tx_frames: 2,
            rx_bytes: 3,
            tx_bytes: 4,
            rx_dropped: 5,
            doorbells: 6,
            interrupts: 7,
            dma_reads: 8,
            dma_writes: 10,
            queue_errors: 9,
            // Tells queues apart.
            faults: 100 + u64::from(queue),
            requests: 20,
            request_bytes: 40,
        }
    }

    fn clear_statistics(&mut self, _queue: u16) {}

    fn take_control(&mut self, _queue: u16) -> Option<ControlChain> {
        self.control.first().map(|chain| ControlChain {
            readable: chain.len() as u64,
        })
    }

    fn read_control(&mut self, _queue: u16, offset: u64, data: &mut [u8]) -> bool {
        let chain = self.control.first().expect("a chain is taken");
        let part = usize::try_from(offset)
            .ok()
            .and_then(|offset| chain.get(offset..));
        match part.and_then(|part| part.get(..data.len())) {
            Some(part) => {
                data.copy_from_slice(part);
                true
            }
            None => false,
        }
    }

    fn complete_control(&mut self, _queue: u16, ack: u8) {
        self.control.remove(0);
        self.acks.push(ack);
    }
}

impl Switch for Mock {
    fn add_port(&mut self, device: u16, _first_queue: u16, mac: [u8; 6], _mtu: u16) {
        self.calls.push(Call::AddPort(device));
        assert!(self.ports.insert(device, mac).is_none());
    }

    fn remove_port(&mut self, device: u16) {
        self.calls.push(Call::RemovePort(device));
        assert!(self.ports.remove(&device).is_some());
    }

    fn set_mac(&mut self, device: u16, mac: [u8; 6]) {
        self.calls.push(Call::SetMac(device, mac));
        self.ports.insert(device, mac);
    }

    fn set_filter(&mut self, device: u16, filter: ReceiveFilter) {
        self.calls.push(Call::SetFilter(device, filter));
    }

    fn set_pairs(&mut self, device: u16, pairs: u16) {
        self.calls.push(Call::SetPairs(device, pairs));
    }

    fn set_mac_table(&mut self, device: u16, table: &MacTable) {
        self.calls.push(Call::SetMacTable(device, Box::new(*table)));
    }

    fn set_vlan_filter(&mut self, device: u16, on: bool) {
        self.calls.push(Call::SetVlanFilter(device, on));
    }

    fn set_vlan(&mut self, device: u16, vlan: u16, member: bool) {
        self.calls.push(Call::SetVlan(device, vlan, member));
    }

    fn set_offloads(&mut self, device: u16, features: u64) {
        self.calls.push(Call::SetOffloads(device, features));
    }

    fn set_link(&mut self, device: u16, up: bool) {
        self.calls.push(Call::SetLink(device, up));
    }
}

impl Disks for Mock {
    fn disk(&self, disk: u16) -> DiskInfo {
        assert!(disk < self.capabilities.disks);
        DiskInfo {
            sectors: 1000 + u64::from(disk),
            block_size: 1024,
            physical_block_size: 4096,
            read_only: disk == 1,
        }
    }

    fn attach_disk(&mut self, device: u16, disk: u16) {
        self.calls.push(Call::AttachDisk(device, disk));
    }

    fn detach_disk(&mut self, device: u16) {
        self.calls.push(Call::DetachDisk(device));
    }

    fn set_disk_features(&mut self, device: u16, features: u64) {
        self.calls.push(Call::SetDiskFeatures(device, features));
    }
}

/// A command whose payload lies at 0.
pub fn command(
    opcode: Opcode,
    device: u16,
    arguments: &(impl IntoBytes + Immutable),
    payload_length: usize,
) -> Command {
    let mut bytes = [0; ARGUMENTS_SIZE];
    arguments
        .write_to_prefix(&mut bytes)
        .expect("arguments fit");
    Command {
        opcode: (opcode as u16).into(),
        tag: 0x1234.into(),
        device: device.into(),
        reserved: 0.into(),
        payload: 0.into(),
        payload_length: (payload_length as u32).into(),
        reserved2: 0.into(),
        arguments: bytes,
    }
}

/// Executes a command.
pub fn execute(
    firmware: &mut Firmware,
    mock: &mut Mock,
    command: &Command,
) -> Result<[u8; RESULT_SIZE], ErrorCode> {
    let completion = firmware.execute(mock, command);
    assert_eq!(completion.tag, command.tag);
    match completion.status.get() {
        STATUS_OK => Ok(completion.result),
        status => {
            assert_eq!(completion.result, [0; RESULT_SIZE]);
            Err(ErrorCode::from_status(status).expect("a code of the table"))
        }
    }
}

/// Executes a command without a device, and takes its result apart.
pub fn ask<T: FromBytes + KnownLayout + Immutable>(
    firmware: &mut Firmware,
    mock: &mut Mock,
    opcode: Opcode,
    arguments: &(impl IntoBytes + Immutable),
) -> Result<T, ErrorCode> {
    let bytes = execute(firmware, mock, &command(opcode, NO_DEVICE, arguments, 0))?;
    Ok(T::read_from_prefix(&bytes).expect("results fit").0)
}

/// Arguments for a network device with so many queue pairs and all else left to the card.
pub fn create(pairs: u16) -> DeviceCreate {
    DeviceCreate {
        virtio_id: 1.into(),
        queue_pairs: pairs.into(),
        mtu: 0.into(),
        mac: [0; 6],
        reserved: 0.into(),
        features: 0.into(),
        reserved2: [0.into(); 2],
    }
}

/// Creates a device.
pub fn created(
    firmware: &mut Firmware,
    mock: &mut Mock,
    arguments: &DeviceCreate,
) -> Result<DeviceCreated, ErrorCode> {
    ask(firmware, mock, Opcode::DeviceCreate, arguments)
}

/// Creates an address space.
pub fn space(
    firmware: &mut Firmware,
    mock: &mut Mock,
    mode: AddressSpaceMode,
) -> AddressSpaceCreated {
    let arguments = AddressSpaceCreate {
        mode: (mode as u16).into(),
    };
    ask(firmware, mock, Opcode::AddressSpaceCreate, &arguments).expect("a space")
}

/// What starts a queue whose rings and buffers lie in one address space.
pub fn enable(queue: u16, space: u16, flags: u16) -> QueueEnable {
    QueueEnable {
        queue: queue.into(),
        size: 16.into(),
        vector: 1.into(),
        address_space: space.into(),
        flags: flags.into(),
        avail_index: 5.into(),
        used_index: 5.into(),
        ring_address_space: space.into(),
        descriptor_area: 0x1000.into(),
        driver_area: 0x2000.into(),
        device_area: 0x3000.into(),
    }
}

/// A page's extent to add.
pub fn page(number: u64) -> Extent {
    Extent {
        iova: (number * 4096).into(),
        bus: 0.into(),
        length: 4096.into(),
        permission: 3.into(),
        operation: (ExtentOperation::Add as u32).into(),
    }
}

/// Has driver and device agree on features.
pub fn agree(firmware: &mut Firmware, mock: &mut Mock, device: u16, features: u64) {
    let features = DeviceSetFeatures {
        features: features.into(),
    };
    let command = command(Opcode::DeviceSetFeatures, device, &features, 0);
    execute(firmware, mock, &command).expect("features");
}
