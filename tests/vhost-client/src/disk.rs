// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A block driver of a few lines.

use crate::device::{errno, Device, STATUS_DRIVER_OK, STATUS_NEEDS_RESET};
use crate::events;
use crate::memory::Memory;
use crate::nic::Setup;
use crate::queue::Queue;
use crate::ring::Buffer;
use anyhow::{bail, ensure, Context, Result};
use std::time::{Duration, Instant};
use vhost::VhostBackend;

pub const FEATURE_RO: u64 = 1 << 5;
pub const FEATURE_FLUSH: u64 = 1 << 9;
pub const FEATURE_MQ: u64 = 1 << 12;
pub const FEATURE_DISCARD: u64 = 1 << 13;
pub const FEATURE_WRITE_ZEROES: u64 = 1 << 14;

/// What this driver agrees to if the device offers it.
const KNOWN: u64 = FEATURE_RO | FEATURE_FLUSH | FEATURE_MQ | FEATURE_DISCARD | FEATURE_WRITE_ZEROES;

/// Types of requests.
pub const IN: u32 = 0;
pub const OUT: u32 = 1;
pub const FLUSH: u32 = 4;
pub const GET_ID: u32 = 8;
pub const DISCARD: u32 = 11;
pub const WRITE_ZEROES: u32 = 13;

/// What becomes of them.
pub const OK: u8 = 0;
pub const IO_ERROR: u8 = 1;
pub const UNSUPPORTED: u8 = 2;
/// What a request has that was not answered.
pub const NO_STATUS: u8 = 0xff;

pub const SECTOR: usize = 512;

/// Where data and status lie in the buffer of a request's head; the header is at its begin.
const DATA: u64 = 512;
/// Most bytes of a request's data.
pub const MAX_DATA: usize = 1024;
const HEADER: usize = 16;

/// A request that the device has.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    at: u64,
    length: usize,
}

/// A driver with one or more queues.
pub struct Disk<'a> {
    pub memory: &'a Memory,
    pub queues: Vec<Queue>,
    limit: Duration,
    /// Interrupts seen while requests were waited for.
    pub interrupts: u64,
}

impl<'a> Disk<'a> {
    /// Starts the device with so many queues.
    pub fn start(
        device: &Device,
        memory: &'a Memory,
        setup: &Setup,
        queues: u16,
        limit: Duration,
    ) -> Result<Self> {
        let offered = device
            .vdpa
            .get_features()
            .map_err(errno)
            .context("VHOST_GET_FEATURES")?;
        device.negotiate_with(offered & KNOWN | setup.format.features())?;
        let queues = (0..usize::from(queues))
            .map(|index| Queue::new(device, memory, setup, index))
            .collect::<Result<Vec<_>>>()?;
        for index in 0..queues.len() {
            device.enable(index, true)?;
        }
        let status = device.driver_ok()?;
        ensure!(
            status & STATUS_DRIVER_OK != 0 && status & STATUS_NEEDS_RESET == 0,
            "the device did not start: its status is {status:#x}"
        );
        Ok(Self {
            memory,
            queues,
            limit,
            interrupts: 0,
        })
    }

    /// Makes a request available, without a kick. `data` is what is written, or as long as what is read.
    pub fn add(&mut self, queue: usize, header: (u32, u64), data: &[u8]) -> Result<Sent> {
        self.add_at(queue, header, data, None)
    }

    /// The same, with data in a buffer of its own at `place`, which need not be mapped.
    pub fn add_at(
        &mut self,
        queue: usize,
        (request_type, sector): (u32, u64),
        data: &[u8],
        place: Option<u64>,
    ) -> Result<Sent> {
        ensure!(data.len() <= MAX_DATA, "{} bytes are too many", data.len());
        let queue = self.queues.get_mut(queue).context("no such queue")?;
        let head = queue.ring.reserve().context("no free descriptor")?;
        let at = queue.buffer(head);
        let mut header = request_type.to_le_bytes().to_vec();
        header.extend([0; 4]);
        header.extend(sector.to_le_bytes());
        self.memory.write(at, &header);
        self.memory.write(at + DATA, data);
        self.memory
            .write(at + DATA + data.len() as u64, &[NO_STATUS]);
        let status_at = at + DATA + data.len() as u64;
        let part = |iova: u64, length: usize, writable: bool| Buffer {
            iova,
            length: length as u32,
            writable,
        };
        let reads = matches!(request_type, IN | GET_ID);
        let mut chain = vec![part(at, HEADER, false)];
        match place {
            // Data that are read and their status are one buffer, as the specification allows.
            None if reads => chain.push(part(at + DATA, data.len() + 1, true)),
            _ if data.is_empty() => chain.push(part(status_at, 1, true)),
            _ => {
                chain.push(part(place.unwrap_or(at + DATA), data.len(), reads));
                chain.push(part(status_at, 1, true));
            }
        }
        queue.ring.add(self.memory, head, &chain)?;
        Ok(Sent {
            at,
            length: data.len(),
        })
    }

    pub fn kick(&self, queue: usize) -> Result<()> {
        let queue = self.queues.get(queue).context("no such queue")?;
        queue.kick(self.memory)
    }

    /// The status and the data of a request.
    pub fn answer(&self, sent: &Sent) -> (u8, Vec<u8>) {
        let (mut status, mut data) = ([0], vec![0; sent.length]);
        self.memory
            .read(sent.at + DATA + sent.length as u64, &mut status);
        self.memory.read(sent.at + DATA, &mut data);
        (status[0], data)
    }

    /// Waits until a queue has given back `count` requests.
    pub fn wait(&mut self, queue: usize, count: usize) -> Result<()> {
        let queue = self.queues.get_mut(queue).context("no such queue")?;
        let end = Instant::now() + self.limit;
        let mut back = 0;
        while back < count {
            if queue.ring.take_used(self.memory)?.is_some() {
                back += 1;
                continue;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{back} of {count} requests came back in {:?}", self.limit);
            }
            let counts = events::wait(&[&queue.call], left)?;
            self.interrupts += counts.iter().sum::<u64>();
        }
        Ok(())
    }

    /// Carries out a request. Returns its status, and its data.
    pub fn request(
        &mut self,
        queue: usize,
        header: (u32, u64),
        data: &[u8],
    ) -> Result<(u8, Vec<u8>)> {
        let sent = self.add(queue, header, data)?;
        self.kick(queue)?;
        self.wait(queue, 1)?;
        Ok(self.answer(&sent))
    }
}

/// What the request of this number writes: no two are alike, nor two runs.
pub fn content(number: u64) -> Vec<u8> {
    let mut state = ((u64::from(std::process::id()) << 32) | number) * 2 + 1;
    let words = (0..MAX_DATA / 8).flat_map(|_| {
        // Knuth's generator.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_le_bytes()
    });
    words.collect()
}

/// A range of a request to discard or to zero.
pub fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    let mut bytes = sector.to_le_bytes().to_vec();
    bytes.extend(sectors.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes
}
