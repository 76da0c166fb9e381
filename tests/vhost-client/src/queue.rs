// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One virtqueue of the device: its ring, its buffers and its events.

use crate::device::{errno, Device};
use crate::events::{self, Doorbell};
use crate::memory::Memory;
use crate::nic::Setup;
use crate::ring::{Ring, MAX_ENTRIES, RING_SIZE};
use anyhow::{Context, Result};
use std::cell::Cell;
use vhost::{VhostBackend, VringConfigData};
use vmm_sys_util::eventfd::EventFd;

/// Bytes of each buffer.
pub const BUFFER_SIZE: u64 = 2048;
/// Where the buffers begin, behind the rings of both queues.
pub const BUFFERS: u64 = 0x1_0000;

/// One queue with its ring and its events.
pub struct Queue {
    pub ring: Ring,
    index: usize,
    buffers: u64,
    kick: EventFd,
    pub call: EventFd,
    doorbell: Option<Doorbell>,
    /// How often the device was told of new buffers.
    pub kicks: Cell<u64>,
}

impl Queue {
    pub fn new(device: &Device, memory: &Memory, setup: &Setup, index: usize) -> Result<Self> {
        let maximum = device.ring_maximum()?;
        let entries = setup.entries.min(maximum).min(MAX_ENTRIES);
        let base = setup.iova + index as u64 * RING_SIZE;
        let buffers = setup.iova + BUFFERS + index as u64 * u64::from(MAX_ENTRIES) * BUFFER_SIZE;
        let ring = Ring::new(memory, base, entries, setup.first, setup.format);
        let doorbell = if setup.doorbell {
            Some(Doorbell::map(&device.file, index as u32).context("mapping a doorbell page")?)
        } else {
            None
        };
        let queue = Self {
            ring,
            index,
            buffers,
            kick: events::event()?,
            call: events::event()?,
            doorbell,
            kicks: Cell::new(0),
        };
        queue.configure(device, maximum, Ring::base_of(setup.format, setup.first))?;
        Ok(queue)
    }

    /// Goes on with ring and buffers as they are on another device, or on the same after a reset, from where a queue
    /// stood as [`Device::position`] tells it.
    /// The events that the queue is kicked by are new; those of the device that it was on are that device's alone.
    pub fn attach(&mut self, device: &Device, position: u32) -> Result<()> {
        let maximum = device.ring_maximum()?;
        self.kick = events::event()?;
        if self.doorbell.is_some() {
            let doorbell = Doorbell::map(&device.file, self.index as u32);
            self.doorbell = Some(doorbell.context("mapping a doorbell page")?);
        }
        self.configure(device, maximum, position)
    }

    fn configure(&self, device: &Device, maximum: u16, base: u32) -> Result<()> {
        let vdpa = &device.vdpa;
        let addresses = VringConfigData {
            queue_max_size: maximum,
            queue_size: self.ring.entries(),
            flags: 0,
            desc_table_addr: self.ring.descriptors(),
            used_ring_addr: self.ring.used(),
            avail_ring_addr: self.ring.available(),
            log_addr: None,
        };
        vdpa.set_vring_num(self.index, self.ring.entries())
            .map_err(errno)
            .context("VHOST_SET_VRING_NUM")?;
        vdpa.set_vring_addr(self.index, &addresses)
            .map_err(errno)
            .context("VHOST_SET_VRING_ADDR")?;
        device
            .set_position(self.index, base)
            .context("VHOST_SET_VRING_BASE")?;
        vdpa.set_vring_call(self.index, &self.call)
            .map_err(errno)
            .context("VHOST_SET_VRING_CALL")?;
        vdpa.set_vring_kick(self.index, &self.kick)
            .map_err(errno)
            .context("VHOST_SET_VRING_KICK")?;
        Ok(())
    }

    /// Tells the device of new buffers, in the way that was chosen.
    pub fn kick(&self, memory: &Memory) -> Result<()> {
        if self.ring.wants_kick(memory) {
            self.kicks.set(self.kicks.get() + 1);
            match &self.doorbell {
                Some(doorbell) => doorbell.ring(),
                None => self.kick.write(1).context("kicking")?,
            }
        }
        Ok(())
    }

    /// The buffer that belongs to the chain with this head.
    pub fn buffer(&self, head: u16) -> u64 {
        self.buffers + u64::from(head) * BUFFER_SIZE
    }
}
