// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Device objects and which of the card's queues they own.

use mooring_hw_regs::wire::{
    DeviceCreate, DeviceCreated, DeviceSetFeatures, DeviceStatistics, DeviceTypeInfo,
    DeviceTypeQuery, ErrorCode, NetSetMac, NO_DEVICE, VIRTIO_ID_BLOCK, VIRTIO_ID_NET,
};

use crate::block;
use crate::cp::{done, result, Outcome};
use crate::hal::{Capabilities, Hal, MacTable, QueueRole, ReceiveFilter};
use crate::net::status::Status;
use crate::net::{self, features};
use crate::ring;

/// `Opcode::DeviceTypeQuery`.
pub(crate) fn type_info<H: Hal>(hal: &H, arguments: &DeviceTypeQuery) -> Outcome {
    let capabilities = hal.capabilities();
    let features = match arguments.virtio_id.get() {
        VIRTIO_ID_NET => features::possible(&capabilities),
        VIRTIO_ID_BLOCK if capabilities.disks == 0 => return Err(ErrorCode::NotSupported),
        VIRTIO_ID_BLOCK => block::features::possible(hal, &capabilities),
        _ => return Err(ErrorCode::InvalidArgument),
    };
    result(&DeviceTypeInfo {
        features: features.into(),
    })
}

/// Which type of device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A network device.
    Net,
    /// A block device, with this disk.
    Block(u16),
}

/// A device object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device {
    /// Which type it is. What follows the features is of no use in a block device.
    pub kind: Kind,
    /// Card-wide number of its first queue.
    pub first_queue: u16,
    /// Its queues: two a pair, then the control queue if it has one; of a block device, queues for requests.
    pub num_queues: u16,
    /// Queue pairs; 0 of a block device.
    pub pairs: u16,
    /// Features that it offers.
    pub offered: u64,
    /// Features that were agreed on.
    pub features: u64,
    /// The MAC address that it has after a reset.
    pub permanent_mac: [u8; 6],
    /// The MAC address that it has now.
    pub mac: [u8; 6],
    /// What its driver wants to receive.
    pub filter: ReceiveFilter,
    /// Its link, and what the host has not been told of it.
    pub status: Status,
}

impl Device {
    /// Card-wide number of the queue with an index in the device.
    pub fn queue(&self, index: u16) -> Result<u16, ErrorCode> {
        if index < self.num_queues {
            Ok(self.first_queue + index)
        } else {
            Err(ErrorCode::NoSuchQueue)
        }
    }

    /// Card-wide numbers of all its queues.
    pub fn queues(&self) -> core::ops::Range<u16> {
        self.first_queue..self.first_queue + self.num_queues
    }

    /// What the queue with an index in the device is for.
    pub fn role(&self, index: u16) -> QueueRole {
        if self.kind != Kind::Net {
            QueueRole::Request
        } else if index / 2 >= self.pairs {
            QueueRole::Control
        } else if index % 2 == 0 {
            QueueRole::Receive
        } else {
            QueueRole::Transmit
        }
    }
}

/// What the firmware keeps of one of the card's queues. Whether it runs only the engine knows, which may stop it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    /// The device that owns it, or [`NO_DEVICE`].
    pub device: u16,
    /// The address spaces that it was started with: for its buffers and for its rings. May be the same.
    pub address_spaces: [u16; 2],
    /// Whether it was started with leave to run through 1:1 spaces.
    pub allow_identity: bool,
}

const FREE: Queue = Queue {
    device: NO_DEVICE,
    address_spaces: [0; 2],
    allow_identity: false,
};

/// The tables of devices and queues.
pub(crate) struct Devices<const D: usize, const Q: usize> {
    devices: [Option<Device>; D],
    queues: [Queue; Q],
    /// Whether the uplink has a carrier.
    pub carrier: bool,
    /// Whether there may be a device of which the host is to be told something.
    pub something_to_tell: bool,
}

impl<const D: usize, const Q: usize> Devices<D, Q> {
    pub const fn new() -> Self {
        Self {
            devices: [None; D],
            queues: [FREE; Q],
            carrier: true,
            something_to_tell: false,
        }
    }

    pub fn get(&self, device: u16) -> Result<&Device, ErrorCode> {
        let slot = self.devices.get(usize::from(device));
        slot.and_then(Option::as_ref).ok_or(ErrorCode::NoSuchDevice)
    }

    pub fn get_mut(&mut self, device: u16) -> Result<&mut Device, ErrorCode> {
        let slot = self.devices.get_mut(usize::from(device));
        slot.and_then(Option::as_mut).ok_or(ErrorCode::NoSuchDevice)
    }

    /// A network device; a device of another type is an invalid argument.
    pub fn net_mut(&mut self, device: u16) -> Result<&mut Device, ErrorCode> {
        let object = self.get_mut(device)?;
        match object.kind {
            Kind::Net => Ok(object),
            Kind::Block(_) => Err(ErrorCode::InvalidArgument),
        }
    }

    /// The record of a queue, by its card-wide number.
    pub fn queue_mut(&mut self, queue: u16) -> Result<&mut Queue, ErrorCode> {
        self.queues
            .get_mut(usize::from(queue))
            .ok_or(ErrorCode::Internal)
    }

    /// The device that owns a queue, and the queue's index in it.
    pub fn owner(&self, queue: u16) -> Option<(u16, u16)> {
        let device = self.queues.get(usize::from(queue))?.device;
        let index = queue.checked_sub(self.get(device).ok()?.first_queue)?;
        Some((device, index))
    }

    /// The queues that run through an address space, be it for buffers, for rings or for both.
    pub fn running<'a, H: Hal>(
        &'a self,
        hal: &'a H,
        space: u16,
    ) -> impl Iterator<Item = &'a Queue> + 'a {
        self.queues
            .iter()
            .zip(0u16..)
            .filter(move |(queue, number)| {
                queue.device != NO_DEVICE
                    && queue.address_spaces.contains(&space)
                    && hal.position(*number).running
            })
            .map(|(queue, _)| queue)
    }

    /// `Opcode::DeviceCreate`.
    pub fn create<H: Hal>(&mut self, hal: &mut H, arguments: &DeviceCreate) -> Outcome {
        match arguments.virtio_id.get() {
            VIRTIO_ID_NET => self.create_net(hal, arguments),
            VIRTIO_ID_BLOCK => self.create_block(hal, arguments),
            _ => Err(ErrorCode::InvalidArgument),
        }
    }

    fn create_net<H: Hal>(&mut self, hal: &mut H, arguments: &DeviceCreate) -> Outcome {
        let capabilities = hal.capabilities();
        let pairs = arguments.queue_pairs.get();
        let wanted = arguments.features.get();
        let mtu = match arguments.mtu.get() {
            0 => net::DEFAULT_MTU,
            mtu => mtu,
        };
        let must_have = features::VERSION_1 | features::ACCESS_PLATFORM;
        if pairs == 0
            || mtu < net::MIN_MTU
            || (wanted != 0 && wanted & must_have != must_have)
            || net::is_multicast(&arguments.mac)
        {
            return Err(ErrorCode::InvalidArgument);
        }
        let control = match wanted {
            0 => pairs > 1,
            wanted => wanted & features::CTRL_VQ != 0,
        };
        let num_queues = pairs
            .checked_mul(2)
            .and_then(|data| data.checked_add(u16::from(control)))
            .ok_or(ErrorCode::NoResources)?;
        let mac = match arguments.mac {
            net::NO_MAC => self.choose_mac(&capabilities)?,
            mac if self.mac_taken(&mac, NO_DEVICE) => return Err(ErrorCode::InvalidArgument),
            mac => mac,
        };

        let device = self
            .free_device(&capabilities)
            .ok_or(ErrorCode::NoResources)?;
        let first_queue = self
            .free_queues(&capabilities, num_queues)
            .ok_or(ErrorCode::NoResources)?;
        let mac_chosen = arguments.mac != net::NO_MAC;
        let ring = ring::offered(&capabilities);
        let offered = features::offered(wanted, pairs, control, mac_chosen, ring);
        let object = Device {
            kind: Kind::Net,
            first_queue,
            num_queues,
            pairs,
            offered,
            features: 0,
            permanent_mac: mac,
            mac,
            filter: ReceiveFilter::default(),
            status: Status::new(),
        };
        self.insert(hal, device, object)?;
        hal.add_port(device, first_queue, mac, mtu);
        hal.set_link(device, self.carrier);
        result(&DeviceCreated {
            device: device.into(),
            first_queue: first_queue.into(),
            num_queues: num_queues.into(),
            reserved: 0.into(),
            features: offered.into(),
            mac,
            mtu: mtu.into(),
        })
    }

    /// Fills a free slot, and gives the device its queues.
    pub(crate) fn insert<H: Hal>(
        &mut self,
        hal: &mut H,
        device: u16,
        object: Device,
    ) -> Result<(), ErrorCode> {
        *self
            .devices
            .get_mut(usize::from(device))
            .ok_or(ErrorCode::Internal)? = Some(object);
        for queue in object.queues() {
            *self.queue_mut(queue)? = Queue { device, ..FREE };
            hal.clear(queue);
            hal.clear_statistics(queue);
        }
        Ok(())
    }

    /// All device objects.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().flatten()
    }

    /// `Opcode::DeviceDestroy`.
    pub fn destroy<H: Hal>(&mut self, hal: &mut H, device: u16) -> Outcome {
        self.reset(hal, device)?;
        match self.get(device)?.kind {
            Kind::Net => hal.remove_port(device),
            Kind::Block(_) => hal.detach_disk(device),
        }
        for queue in self.get(device)?.queues() {
            *self.queue_mut(queue)? = FREE;
        }
        *self
            .devices
            .get_mut(usize::from(device))
            .ok_or(ErrorCode::Internal)? = None;
        done()
    }

    /// `Opcode::DeviceReset`. The address spaces are none of its business.
    pub fn reset<H: Hal>(&mut self, hal: &mut H, device: u16) -> Outcome {
        let object = self.get_mut(device)?;
        for queue in object.queues() {
            hal.stop(queue);
            hal.clear(queue);
        }
        object.features = 0;
        if object.kind != Kind::Net {
            hal.set_disk_features(device, 0);
            return done();
        }
        let mac_changed = object.mac != object.permanent_mac;
        object.mac = object.permanent_mac;
        object.filter = ReceiveFilter::default();
        let announced = core::mem::take(&mut object.status.announce);
        hal.set_mac(device, object.mac);
        hal.set_filter(device, object.filter);
        hal.set_mac_table(device, &MacTable::EMPTY);
        hal.set_vlan_filter(device, false);
        hal.set_offloads(device, 0);
        hal.set_pairs(device, 1);
        if mac_changed {
            self.tell_mac(device);
        }
        if announced {
            self.tell_status(device);
        }
        done()
    }

    /// `Opcode::DeviceSetFeatures`.
    pub fn set_features<H: Hal>(
        &mut self,
        hal: &mut H,
        device: u16,
        arguments: &DeviceSetFeatures,
    ) -> Outcome {
        let object = self.get_mut(device)?;
        let agreed = arguments.features.get();
        if agreed & !object.offered != 0 {
            return Err(ErrorCode::InvalidArgument);
        }
        if object.queues().any(|queue| hal.position(queue).running) {
            return Err(ErrorCode::Busy);
        }
        match object.kind {
            Kind::Net => {
                object.features = features::effective(agreed);
                let features = object.features;
                hal.set_vlan_filter(device, features & features::CTRL_VLAN != 0);
                hal.set_offloads(device, features);
            }
            Kind::Block(_) => {
                object.features = agreed;
                hal.set_disk_features(device, agreed);
            }
        }
        done()
    }

    /// `Opcode::DeviceStatistics`.
    pub fn statistics<H: Hal>(&self, hal: &H, device: u16) -> Result<DeviceStatistics, ErrorCode> {
        let mut sum = crate::hal::QueueStatistics::default();
        for queue in self.get(device)?.queues() {
            let one = hal.statistics(queue);
            sum.rx_frames += one.rx_frames;
            sum.rx_bytes += one.rx_bytes;
            sum.rx_dropped += one.rx_dropped;
            sum.tx_frames += one.tx_frames;
            sum.tx_bytes += one.tx_bytes;
            sum.doorbells += one.doorbells;
            sum.interrupts += one.interrupts;
            sum.dma_reads += one.dma_reads;
            sum.dma_writes += one.dma_writes;
            sum.queue_errors += one.queue_errors;
            sum.requests += one.requests;
            sum.request_bytes += one.request_bytes;
        }
        Ok(DeviceStatistics {
            rx_frames: sum.rx_frames.into(),
            rx_bytes: sum.rx_bytes.into(),
            rx_dropped: sum.rx_dropped.into(),
            tx_frames: sum.tx_frames.into(),
            tx_bytes: sum.tx_bytes.into(),
            doorbells: sum.doorbells.into(),
            interrupts: sum.interrupts.into(),
            dma_reads: sum.dma_reads.into(),
            dma_writes: sum.dma_writes.into(),
            queue_errors: sum.queue_errors.into(),
            requests: sum.requests.into(),
            request_bytes: sum.request_bytes.into(),
        })
    }

    /// `Opcode::NetSetMac`.
    pub fn set_mac<H: Hal>(&mut self, hal: &mut H, device: u16, arguments: &NetSetMac) -> Outcome {
        let taken = self.mac_taken(&arguments.mac, device);
        let object = self.net_mut(device)?;
        if taken || !net::is_assignable(&arguments.mac) {
            return Err(ErrorCode::InvalidArgument);
        }
        object.permanent_mac = arguments.mac;
        object.mac = arguments.mac;
        hal.set_mac(device, arguments.mac);
        self.tell_mac(device);
        done()
    }

    /// Whether a device other than `except` has a MAC address, now or after its reset.
    pub fn mac_taken(&self, mac: &[u8; 6], except: u16) -> bool {
        self.devices
            .iter()
            .zip(0u16..)
            .filter(|(_, number)| *number != except)
            .filter_map(|(device, _)| device.as_ref())
            .any(|device| device.mac == *mac || device.permanent_mac == *mac)
    }

    /// The first address from the card's base on that no device has.
    fn choose_mac(&self, capabilities: &Capabilities) -> Result<[u8; 6], ErrorCode> {
        // Each device holds two addresses at most, so one of this many candidates is free.
        (0..=2 * D as u32)
            .map(|offset| net::mac_plus(&capabilities.mac_base, offset))
            .find(|mac| !self.mac_taken(mac, NO_DEVICE))
            .ok_or(ErrorCode::NoResources)
    }

    pub(crate) fn free_device(&self, capabilities: &Capabilities) -> Option<u16> {
        let limit = usize::from(capabilities.devices);
        let mut slots = self.devices.iter().take(limit).zip(0u16..);
        slots
            .find(|(slot, _)| slot.is_none())
            .map(|(_, number)| number)
    }

    /// The first of `count` free queues in a row.
    pub(crate) fn free_queues(&self, capabilities: &Capabilities, count: u16) -> Option<u16> {
        let limit = usize::from(capabilities.queues);
        let mut row = 0;
        for (queue, number) in self.queues.iter().take(limit).zip(0u16..) {
            row = if queue.device == NO_DEVICE {
                row + 1
            } else {
                0
            };
            if row == count {
                return Some(number + 1 - count);
            }
        }
        None
    }
}
