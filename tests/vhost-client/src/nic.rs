// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A network driver of a few lines: one receive and one transmit queue.

use crate::device::{Device, STATUS_DRIVER_OK, STATUS_FAILED, STATUS_NEEDS_RESET};
use crate::events;
use crate::format::Format;
use crate::memory::Memory;
use crate::queue::{Queue, BUFFER_SIZE};
use crate::ring::Buffer;
use crate::traffic::{Frames, Traffic, HEADER_SIZE};
use anyhow::{ensure, Context, Result};
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::EventFd;

pub const RECEIVE: usize = 0;
pub const TRANSMIT: usize = 1;

/// Bytes that the driver's rings and buffers take, in an area that begins at [`Setup::iova`].
pub const AREA_SIZE: u64 = 0x20_0000;
/// The part of it at the beginning that the rings take; the buffers come behind.
pub const RINGS_SIZE: u64 = crate::queue::BUFFERS;
/// Frames under way at most; fewer than the receive buffers, so that none is dropped.
const WINDOW: u32 = 32;

/// Bytes that a frame has beside the MTU.
const ETHERNET_HEADER: usize = 14;

/// How a driver uses the device, where several ways are legal.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Where rings and buffers begin.
    pub iova: u64,
    pub entries: u16,
    pub format: Format,
    /// Where both rings begin: the index of a split ring, the position of a packed one.
    pub first: u16,
    /// Ring the doorbell page instead of the event descriptor.
    pub doorbell: bool,
    /// Enable the queues before they are set up, as QEMU 11 does with its data queues.
    pub early_enable: bool,
    /// Enable the queues after DRIVER_OK, as QEMU does with a control queue.
    pub late_enable: bool,
    /// Offer receive buffers at the start.
    pub fill: bool,
}

impl Setup {
    pub fn new(iova: u64, entries: u16) -> Self {
        Self {
            iova,
            entries,
            format: Format::default(),
            first: 0,
            doorbell: false,
            early_enable: false,
            late_enable: false,
            fill: true,
        }
    }
}

/// A driver at work on a device.
pub struct Nic<'a> {
    pub device: &'a Device,
    pub memory: &'a Memory,
    pub receive: Queue,
    pub transmit: Queue,
    pub config_call: EventFd,
    pub limit: Duration,
    setup: Setup,
    /// The frames of the newest run.
    frames: Frames,
}

fn enable(device: &Device) -> Result<()> {
    [RECEIVE, TRANSMIT]
        .into_iter()
        .try_for_each(|queue| device.enable(queue, true))
}

impl<'a> Nic<'a> {
    /// Does everything but DRIVER_OK, and enables the queues unless that is to happen late.
    pub fn prepare(
        device: &'a Device,
        memory: &'a Memory,
        setup: Setup,
        limit: Duration,
    ) -> Result<Self> {
        device.negotiate_with(setup.format.features())?;
        if setup.early_enable {
            enable(device)?;
        }
        let receive = Queue::new(device, memory, &setup, RECEIVE)?;
        let transmit = Queue::new(device, memory, &setup, TRANSMIT)?;
        let config_call = events::event()?;
        device.set_config_call(&config_call)?;
        let frames = Frames {
            mac: device.mac()?,
            largest: device.mtu()? + ETHERNET_HEADER,
            // Runs must differ between processes as well, because late frames may still be under way.
            run: std::process::id() << 12,
        };
        let mut nic = Self {
            device,
            memory,
            receive,
            transmit,
            config_call,
            limit,
            setup,
            frames,
        };
        if setup.fill {
            nic.offer_receive_buffers()?;
        }
        if !setup.early_enable && !setup.late_enable {
            enable(device)?;
        }
        Ok(nic)
    }

    /// Goes on with rings and buffers as they are on `device`, which was reset and has mapped the same memory. `positions`
    /// is where each queue stood, as [`Device::position`] tells it.
    pub fn move_to(&mut self, device: &'a Device, positions: [u32; 2]) -> Result<u8> {
        device.negotiate_with(self.setup.format.features())?;
        self.receive.attach(device, positions[RECEIVE])?;
        self.transmit.attach(device, positions[TRANSMIT])?;
        device.set_config_call(&self.config_call)?;
        self.device = device;
        if !self.setup.late_enable {
            enable(device)?;
        }
        self.try_start()
    }

    /// Where the device stands in both rings, as memory shows it and [`Device::position`] tells it.
    pub fn positions(&self) -> [u32; 2] {
        [&self.receive, &self.transmit].map(|queue| queue.ring.position(self.memory))
    }

    /// Sets DRIVER_OK, without an opinion on what comes of it. Returns the status.
    pub fn try_start(&self) -> Result<u8> {
        self.device.driver_ok()?;
        if self.setup.late_enable {
            enable(self.device)?;
        }
        self.receive.kick(self.memory)?;
        self.device.status()
    }

    /// Prepares and starts; anything but a running device is an error.
    pub fn start(
        device: &'a Device,
        memory: &'a Memory,
        setup: Setup,
        limit: Duration,
    ) -> Result<Self> {
        let nic = Self::prepare(device, memory, setup, limit)?;
        let status = nic.try_start()?;
        ensure!(
            status & STATUS_DRIVER_OK != 0 && status & (STATUS_FAILED | STATUS_NEEDS_RESET) == 0,
            "the device did not start: its status is {status:#x}"
        );
        Ok(nic)
    }

    fn offer_receive_buffers(&mut self) -> Result<()> {
        while let Some(head) = self.receive.ring.reserve() {
            self.offer(head)?;
        }
        Ok(())
    }

    fn offer(&mut self, head: u16) -> Result<()> {
        let iova = self.receive.buffer(head);
        let buffer = Buffer {
            iova,
            length: BUFFER_SIZE as u32,
            writable: true,
        };
        self.receive.ring.add(self.memory, head, &[buffer])
    }

    /// Puts a frame into the transmit ring, without a kick. False if the ring is full.
    pub fn queue_frame(&mut self, frame: &[u8]) -> Result<bool> {
        if self.transmit.ring.free_descriptors() < 2 {
            return Ok(false);
        }
        let head = self.transmit.ring.reserve().context("no free descriptor")?;
        let iova = self.transmit.buffer(head);
        self.memory.write(iova, &[0; HEADER_SIZE]);
        self.memory.write(iova + HEADER_SIZE as u64, frame);
        let header = HEADER_SIZE as u32;
        let length = frame.len() as u32;
        // Both layouts are legal; drivers use both.
        let chain = if head % 2 == 0 {
            vec![Buffer {
                iova,
                length: header + length,
                writable: false,
            }]
        } else {
            let body = iova + u64::from(header);
            vec![
                Buffer {
                    iova,
                    length: header,
                    writable: false,
                },
                Buffer {
                    iova: body,
                    length,
                    writable: false,
                },
            ]
        };
        self.transmit.ring.add(self.memory, head, &chain)?;
        Ok(true)
    }

    /// From now on, no frame is larger.
    pub fn limit_frames(&mut self, size: usize) {
        self.frames.largest = self.frames.largest.min(size);
    }

    /// The frames of a new run.
    pub fn new_run(&mut self) -> Frames {
        self.frames.run += 1;
        self.frames
    }

    /// Sends frames and takes them back from the device, which must be in a loop.
    pub fn loopback(&mut self, count: u32) -> Result<Traffic> {
        self.loopback_of(count, WINDOW)
    }

    /// The same with at most so many frames under way.
    pub fn loopback_of(&mut self, count: u32, window: u32) -> Result<Traffic> {
        let frames = self.new_run();
        let mut traffic = Traffic::default();
        // What others sent meanwhile must not take the room of our frames.
        while self.collect(&frames, &mut traffic)? {}
        let window = u32::from(self.receive.ring.entries() / 2).min(window);
        while traffic.problem.is_none() && traffic.received < count {
            let begin = traffic.sent;
            while traffic.sent < count && traffic.sent - traffic.received < window {
                if !self.queue_frame(&frames.make(traffic.sent))? {
                    break;
                }
                traffic.sent += 1;
            }
            if traffic.sent != begin {
                self.transmit.kick(self.memory)?;
            }
            if !self.collect(&frames, &mut traffic)? {
                self.wait_for_device(&mut traffic)?;
            }
        }
        // The last frames may be back before the device has returned their transmit buffers.
        while traffic.problem.is_none() && self.transmit.ring.outstanding() > 0 {
            if !self.collect(&frames, &mut traffic)? {
                self.wait_for_device(&mut traffic)?;
            }
        }
        // A device that is fast never made us wait; its interrupts have come or come at once.
        while traffic.problem.is_none() && traffic.interrupts_missing() {
            self.wait_for_device(&mut traffic)?;
        }
        Ok(traffic)
    }

    /// Takes everything that the device gave back. False if that was nothing.
    pub fn collect(&mut self, frames: &Frames, traffic: &mut Traffic) -> Result<bool> {
        let mut progress = false;
        while self.transmit.ring.take_used(self.memory)?.is_some() {
            progress = true;
        }
        let mut offered = false;
        while let Some((head, length)) = self.receive.ring.take_used(self.memory)? {
            let length = length as usize;
            if (HEADER_SIZE..=BUFFER_SIZE as usize).contains(&length) {
                let mut bytes = vec![0; length];
                self.memory.read(self.receive.buffer(head), &mut bytes);
                traffic.judge(frames, &bytes[..HEADER_SIZE], &bytes[HEADER_SIZE..]);
            } else {
                traffic.blame(format!(
                    "the device wrote {length} bytes into a receive buffer"
                ));
            }
            let free = self
                .receive
                .ring
                .reserve()
                .context("a chain came back without a descriptor")?;
            self.offer(free)?;
            offered = true;
        }
        if offered {
            self.receive.kick(self.memory)?;
        }
        Ok(progress || offered)
    }

    /// Waits for an interrupt. None in time is a problem, and so is one that should have come and didn't.
    fn wait_for_device(&mut self, traffic: &mut Traffic) -> Result<()> {
        let begin = Instant::now();
        let counts = events::wait(&[&self.receive.call, &self.transmit.call], self.limit)?;
        traffic.receive_interrupts += counts[RECEIVE];
        traffic.transmit_interrupts += counts[TRANSMIT];
        if begin.elapsed() >= self.limit && counts == [0, 0] {
            let lost = [&self.receive, &self.transmit]
                .iter()
                .any(|queue| queue.ring.has_used(self.memory));
            let status = self.device.status()?;
            let hint = if lost {
                ", buffers were used without an interrupt"
            } else {
                ""
            };
            traffic.blame(format!(
                "nothing happened for {:?}, the status is {status:#x}{hint}",
                self.limit
            ));
        }
        Ok(())
    }
}
