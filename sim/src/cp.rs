// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The control processor: the firmware's core, linked natively, and the blocks that it drives.

use std::sync::Arc;
use std::time::Instant;

use mooring_firmware::hal::{
    self, Capabilities, ControlChain, MacTable, PayloadError, QueuePosition, QueueSetup,
    ReceiveFilter,
};
use mooring_firmware::ControlProcessor;
use mooring_hw_regs::regs::{CpError, CpFirmwareVersion, CpHeartbeat, CpState, CpStatus};
use mooring_hw_regs::wire::{AddressSpaceMode, ErrorCode, Extent, ExtentOperation};

use crate::blk::Disks;
use crate::iommu::{Iommu, Piece};
use crate::mailbox::Mailbox;
use crate::memory::Bus;
use crate::net::NetDevice;
use crate::registers::RegisterFile;
use crate::switch::Switch;
use crate::vq::{Dma, Engine};
use crate::{CardConfig, Doorbells, IommuKind};

/// The firmware with tables for the largest card that the registers can describe.
pub(crate) type Firmware = ControlProcessor<1024, 4096, 4096>;

/// Heartbeats in a second.
const HEARTBEAT: u128 = 10;

/// The registers of the control processor.
pub(crate) struct CpRegisters {
    boot: Instant,
}

impl CpRegisters {
    /// The control processor boots.
    pub fn boot(registers: &mut RegisterFile) -> Self {
        let (major, minor, patch) = mooring_firmware::VERSION;
        let version = CpFirmwareVersion(0)
            .with_major(major)
            .with_minor(minor)
            .with_patch(patch);
        registers.set(CpFirmwareVersion::OFFSET, version.0);
        let cp = Self {
            boot: Instant::now(),
        };
        cp.set_state(registers, CpState::Booting);
        cp
    }

    pub fn set_state(&self, registers: &mut RegisterFile, state: CpState) {
        // CAST: the enumeration's numbers are those of the field, four bits wide.
        registers.set(CpStatus::OFFSET, state as u32);
    }

    /// Stops the control processor for good.
    pub fn fail(&self, registers: &mut RegisterFile, error: u32) {
        registers.set(CpError::OFFSET, error);
        self.set_state(registers, CpState::Failed);
    }

    pub fn state(&self, registers: &RegisterFile) -> u32 {
        registers.get(CpStatus::OFFSET)
    }

    /// Lets the heart beat before the host looks. It follows the clock, so that an idle model may sleep.
    pub fn refresh(&self, registers: &mut RegisterFile) {
        let beats = self.boot.elapsed().as_millis() * HEARTBEAT / 1000;
        registers.set(CpHeartbeat::OFFSET, beats as u32);
    }
}

/// The blocks that the firmware drives.
pub(crate) struct Blocks {
    pub capabilities: Capabilities,
    pub bus: Bus,
    /// What a card without an IOMMU has in place of command and event queue.
    pub mailbox: Option<Mailbox>,
    pub iommu: Iommu,
    pub engine: Engine,
    pub switch: Switch,
    /// The devices as the network sees them, by number.
    pub net: Box<[Option<NetDevice>]>,
    pub disks: Disks,
    pieces: Vec<Piece>,
}

impl Blocks {
    pub fn new(config: &CardConfig, bus: Bus, doorbells: Arc<Doorbells>) -> Self {
        Self {
            capabilities: Capabilities {
                queues: config.queues,
                devices: config.devices,
                address_spaces: config.address_spaces(),
                min_queue_size: config.min_queue_size,
                max_queue_size: config.max_queue_size,
                iova_bits: config.iova_bits(),
                bus_bits: config.bus_bits,
                vectors: config.vectors,
                max_batch: config.max_batch,
                identity: config.iommu == IommuKind::Identity,
                packed_ring: config.packed_ring,
                disks: 0,
                mac_base: config.mac_base,
                link_speed: config.link_speed,
            },
            bus,
            mailbox: (config.iommu == IommuKind::None).then(Mailbox::default),
            iommu: Iommu::new(config.address_spaces(), config.extents())
                .with_iova_bits(config.iova_bits())
                .forgetting(config.forget_extent),
            engine: Engine::new(config.queues, doorbells),
            switch: Switch::default(),
            net: vec![None; usize::from(config.devices)].into_boxed_slice(),
            disks: Disks::new(config.devices, config.queues),
            pieces: Vec::new(),
        }
    }

    /// Puts disks into the card, in place of those that it has.
    pub fn set_disks(&mut self, disks: Disks) {
        self.capabilities.disks = disks.count();
        self.disks = disks;
    }

    /// Takes up to `budget` requests of a queue and has them carried out. Returns whether there may be more that can be
    /// taken now.
    pub fn take_requests(&mut self, queue: u16, budget: usize) -> bool {
        let Some(device) = self.engine.device(queue) else {
            return false;
        };
        for _ in 0..budget {
            let Some(limits) = self.disks.room(device, queue) else {
                return false;
            };
            let mut dma = Dma {
                iommu: &mut self.iommu,
                bus: &self.bus,
                pieces: &mut self.pieces,
            };
            let buffers = &mut self.disks.buffers;
            let Some(request) = self.engine.take_request(&mut dma, queue, &limits, buffers) else {
                return false;
            };
            self.disks.submit(device, queue, request);
        }
        true
    }

    /// Answers up to `budget` requests that were carried out. Returns whether there may be more.
    pub fn finish_requests(&mut self, budget: usize) -> bool {
        for _ in 0..budget {
            let Some(finished) = self.disks.finished() else {
                return false;
            };
            let (engine, mut dma) = self.engine();
            if let Some(request) = finished.request {
                engine.finish_request(&mut dma, finished.queue, &request);
                self.disks.buffers.keep(request.data);
            }
            for queue in finished.go_on {
                self.engine.ring_again(queue);
            }
        }
        true
    }

    /// The engines, and their way to host memory.
    pub fn engine(&mut self) -> (&mut Engine, Dma<'_>) {
        let dma = Dma {
            iommu: &mut self.iommu,
            bus: &self.bus,
            pieces: &mut self.pieces,
        };
        (&mut self.engine, dma)
    }

    fn net_mut(&mut self, device: u16) -> Option<&mut NetDevice> {
        self.net.get_mut(usize::from(device))?.as_mut()
    }
}

impl hal::Hal for Blocks {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

impl hal::PayloadMemory for Blocks {
    fn read_payload(&mut self, address: u64, data: &mut [u8]) -> Result<(), PayloadError> {
        match &mut self.mailbox {
            None => self.bus.read(address, data).map_err(|_| PayloadError),
            Some(mailbox) => {
                let payload = mailbox.payload(address, data.len()).ok_or(PayloadError)?;
                data.copy_from_slice(payload);
                Ok(())
            }
        }
    }

    fn write_payload(&mut self, address: u64, data: &[u8]) -> Result<(), PayloadError> {
        match &mut self.mailbox {
            None => self.bus.write(address, data).map_err(|_| PayloadError),
            Some(mailbox) => {
                let payload = mailbox.payload(address, data.len()).ok_or(PayloadError)?;
                payload.copy_from_slice(data);
                Ok(())
            }
        }
    }
}

impl hal::Iommu for Blocks {
    fn set_mode(&mut self, space: u16, mode: AddressSpaceMode) {
        self.iommu.set_mode(space, mode);
    }

    fn begin(&mut self, space: u16) {
        self.iommu.begin(space);
    }

    fn stage(
        &mut self,
        space: u16,
        operation: ExtentOperation,
        extent: &Extent,
    ) -> Result<(), ErrorCode> {
        self.iommu.stage(space, operation, extent)
    }

    fn commit(&mut self, space: u16) {
        self.iommu.commit(space);
    }

    fn abort(&mut self, space: u16) {
        self.iommu.abort(space);
    }

    fn space_state(&self, space: u16) -> hal::SpaceState {
        self.iommu.space_state(space)
    }

    fn clear_faults(&mut self, space: u16) {
        self.iommu.clear_faults(space);
    }

    fn read_extents(&self, space: u16, start: u32, extents: &mut [Extent]) -> usize {
        self.iommu.read_extents(space, start, extents)
    }
}

impl hal::VirtqueueEngine for Blocks {
    fn start(&mut self, queue: u16, setup: &QueueSetup) {
        log::debug!("vq {queue}: starts: {setup:x?}");
        self.disks.forget(queue);
        self.engine.start(queue, setup);
    }

    fn stop(&mut self, queue: u16) {
        self.disks.forget(queue);
        let (engine, mut dma) = self.engine();
        engine.stop(&mut dma, queue);
    }

    fn clear(&mut self, queue: u16) {
        self.engine.clear(queue);
    }

    fn position(&self, queue: u16) -> QueuePosition {
        self.engine.position(queue)
    }

    fn statistics(&self, queue: u16) -> hal::QueueStatistics {
        self.engine.statistics(queue)
    }

    fn clear_statistics(&mut self, queue: u16) {
        self.engine.clear_statistics(queue);
    }

    fn take_control(&mut self, queue: u16) -> Option<ControlChain> {
        let (engine, mut dma) = self.engine();
        engine.take_control(&mut dma, queue)
    }

    fn read_control(&mut self, queue: u16, offset: u64, data: &mut [u8]) -> bool {
        let (engine, mut dma) = self.engine();
        engine.read_control(&mut dma, queue, offset, data)
    }

    fn complete_control(&mut self, queue: u16, ack: u8) {
        let (engine, mut dma) = self.engine();
        engine.complete_control(&mut dma, queue, ack);
    }
}

impl hal::Switch for Blocks {
    fn add_port(&mut self, device: u16, first_queue: u16, mac: [u8; 6], mtu: u16) {
        if let Some(slot) = self.net.get_mut(usize::from(device)) {
            *slot = Some(NetDevice::new(first_queue, mac, mtu));
            self.switch.add(device, mac);
        }
    }

    fn remove_port(&mut self, device: u16) {
        if let Some(old) = self.net.get_mut(usize::from(device)).and_then(Option::take) {
            self.switch.remove(device, &old.mac);
        }
    }

    fn set_mac(&mut self, device: u16, mac: [u8; 6]) {
        let Some(net) = self.net_mut(device) else {
            return;
        };
        let old = std::mem::replace(&mut net.mac, mac);
        if old != mac {
            self.switch.remove(device, &old);
            self.switch.add(device, mac);
        }
    }

    fn set_filter(&mut self, device: u16, filter: ReceiveFilter) {
        if let Some(net) = self.net_mut(device) {
            net.filter.modes = filter;
        }
    }

    fn set_mac_table(&mut self, device: u16, table: &MacTable) {
        if let Some(net) = self.net_mut(device) {
            net.filter.set_table(table);
        }
    }

    fn set_vlan_filter(&mut self, device: u16, on: bool) {
        if let Some(net) = self.net_mut(device) {
            net.filter.vlans.reset(on);
        }
    }

    fn set_vlan(&mut self, device: u16, vlan: u16, member: bool) {
        if let Some(net) = self.net_mut(device) {
            net.filter.vlans.set(vlan, member);
        }
    }

    fn set_offloads(&mut self, device: u16, features: u64) {
        if let Some(net) = self.net_mut(device) {
            net.features = features;
        }
    }

    fn set_link(&mut self, device: u16, up: bool) {
        if let Some(net) = self.net_mut(device) {
            net.link = up;
        }
    }

    fn set_pairs(&mut self, device: u16, pairs: u16) {
        if let Some(net) = self.net_mut(device) {
            net.pairs = pairs;
        }
    }
}

impl hal::Disks for Blocks {
    fn disk(&self, disk: u16) -> hal::DiskInfo {
        self.disks.info(disk)
    }

    fn attach_disk(&mut self, device: u16, disk: u16) {
        self.disks.attach(device, disk);
    }

    fn detach_disk(&mut self, device: u16) {
        self.disks.detach(device);
    }

    fn set_disk_features(&mut self, device: u16, features: u64) {
        self.disks.set_features(device, features);
    }
}
