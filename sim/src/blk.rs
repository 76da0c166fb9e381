// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Disks, and the block devices that they are behind.
//!
//! The engines take a request from its ring ([`request`]), with the data to write; an [executor] carries it out; the engines
//! write data and status into the request's buffers and give them back. What touches host memory is done in the
//! card's steps. What waits for a disk is done elsewhere, so that a slow disk doesn't hold up frames; what is in the host's
//! page cache is read at once.

pub(crate) mod buffers;
pub(crate) mod executor;
pub mod file;
pub(crate) mod request;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use mooring_firmware::hal::DiskInfo;
use mooring_hw_regs::wire::SECTOR_SIZE;

pub use file::{DiskOptions, FileDisk};

use buffers::Buffers;
use executor::Executor;
use request::{Job, Limits, Request};

/// Bytes of requests to a disk that are under way; no more are taken before some are finished. The last one may exceed it.
const LOAD: usize = 16 << 20;

/// The same of one queue, so that none is kept waiting by what the others have: a device has 16 queues at most. And a queue
/// that is to stop waits for what is under way, for which the host has some patience, and no more.
const QUEUE_LOAD: usize = LOAD / 16;

/// Where a disk's content is. Offsets and lengths are in bytes, and lie within its size.
pub trait Disk: Send + Sync {
    /// Bytes, a multiple of a block.
    fn size(&self) -> u64;

    /// Bytes of a block, a power of two from a sector to 4096.
    fn block_size(&self) -> u32;

    /// Bytes of which accesses are best a multiple: a power of two, a block or more.
    fn physical_block_size(&self) -> u32 {
        self.block_size()
    }

    /// Whether nothing but reading is possible.
    fn is_read_only(&self) -> bool;

    /// Reads `data.len()` bytes.
    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;

    /// Does the same if that takes no longer than to copy it. Returns whether it did; if not, `data` may hold part of it.
    fn read_at_once(&self, _offset: u64, _data: &mut [u8]) -> bool {
        false
    }

    /// Writes `data`.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Returns when all that was written is on stable storage.
    fn flush(&self) -> io::Result<()>;

    /// Forgets what is there; it may read as anything afterwards.
    fn discard(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Makes it read as zero, and frees the space if `free` and it can.
    fn zero(&self, offset: u64, length: u64, free: bool) -> io::Result<()>;
}

/// A block device.
#[derive(Clone, Copy)]
struct Device {
    disk: u16,
    /// Features that were agreed on.
    features: u64,
}

/// A queue of the card, as far as its requests go.
#[derive(Clone, Copy, Default)]
struct QueueRequests {
    /// Counts its starts and stops: requests that were taken before the last one get no answer.
    run: u64,
    /// Requests that are under way and get one.
    under_way: u32,
    /// What they count for.
    load: usize,
    /// No more are taken until it is stopped.
    held: bool,
}

/// A disk with what is under way.
struct Drive {
    disk: Arc<dyn Disk>,
    /// Bytes of requests under way, 0 if there are none.
    load: usize,
    /// Queues that wait for that to become less.
    stalled: Vec<u16>,
}

/// A request that has been carried out.
pub(crate) struct Finished {
    pub queue: u16,
    /// To be answered, unless its queue has stopped since.
    pub request: Option<Request>,
    /// Queues that may go on.
    pub go_on: Vec<u16>,
}

/// The card's disks.
pub(crate) struct Disks {
    drives: Vec<Drive>,
    /// By the number of the device.
    devices: Box<[Option<Device>]>,
    /// By the number of the queue.
    queues: Box<[QueueRequests]>,
    executor: Executor,
    /// For the data of requests.
    pub buffers: Buffers,
    /// Requests that were carried out without the executor.
    done: VecDeque<Job>,
}

impl Disks {
    /// No disks, for a card of `devices` devices and `queues` queues. Requests are carried out when they are submitted.
    pub fn new(devices: u16, queues: u16) -> Self {
        Self {
            drives: Vec::new(),
            devices: vec![None; usize::from(devices)].into_boxed_slice(),
            queues: vec![QueueRequests::default(); usize::from(queues)].into_boxed_slice(),
            executor: Executor::inline(),
            buffers: Buffers::default(),
            done: VecDeque::new(),
        }
    }

    /// Adds a disk.
    pub fn insert(&mut self, disk: Arc<dyn Disk>) {
        self.drives.push(Drive {
            disk,
            load: 0,
            stalled: Vec::new(),
        });
    }

    /// Has a thread for each disk carry requests out from now on, which calls `wake` after each.
    ///
    /// # Errors
    ///
    /// If the system has no thread left.
    pub fn run_on_threads(&mut self, wake: Arc<dyn Fn() + Send + Sync>) -> io::Result<()> {
        self.executor = Executor::threads(self.drives.len(), wake)?;
        Ok(())
    }

    /// How many there are.
    pub fn count(&self) -> u16 {
        u16::try_from(self.drives.len()).unwrap_or(u16::MAX)
    }

    /// What a disk is.
    pub fn info(&self, disk: u16) -> DiskInfo {
        self.drives
            .get(usize::from(disk))
            .map_or(NO_DISK, |drive| DiskInfo {
                sectors: drive.disk.size() / SECTOR_SIZE,
                block_size: drive.disk.block_size(),
                physical_block_size: drive.disk.physical_block_size(),
                read_only: drive.disk.is_read_only(),
            })
    }

    pub fn attach(&mut self, device: u16, disk: u16) {
        if let Some(slot) = self.devices.get_mut(usize::from(device)) {
            *slot = Some(Device { disk, features: 0 });
        }
    }

    pub fn detach(&mut self, device: u16) {
        if let Some(slot) = self.devices.get_mut(usize::from(device)) {
            *slot = None;
        }
    }

    pub fn set_features(&mut self, device: u16, features: u64) {
        if let Some(Some(device)) = self.devices.get_mut(usize::from(device)) {
            device.features = features;
        }
    }

    /// What requests of a device may ask for, if its disk has room for another one now. If not, `queue` is remembered.
    pub fn room(&mut self, device: u16, queue: u16) -> Option<Limits> {
        let Device { disk, features } = (*self.devices.get(usize::from(device))?)?;
        let info = self.info(disk);
        let requests = self.queues.get(usize::from(queue))?;
        let busy = requests.held || requests.load >= QUEUE_LOAD;
        let drive = self.drives.get_mut(usize::from(disk))?;
        if busy || drive.load >= LOAD {
            if !drive.stalled.contains(&queue) {
                drive.stalled.push(queue);
            }
            return None;
        }
        Some(Limits { info, features })
    }

    /// Has a request of a device's queue carried out.
    pub fn submit(&mut self, device: u16, queue: u16, request: Request) {
        let Some(Some(owner)) = self.devices.get(usize::from(device)) else {
            return;
        };
        let Some(drive) = self.drives.get_mut(usize::from(owner.disk)) else {
            return;
        };
        let Some(requests) = self.queues.get_mut(usize::from(queue)) else {
            return;
        };
        let idle = drive.load == 0;
        requests.under_way += 1;
        let load = request.load();
        requests.load += load;
        drive.load += load;
        let mut job = Job {
            queue,
            run: requests.run,
            disk_number: owner.disk,
            disk: drive.disk.clone(),
            load,
            request,
        };
        // What another thread need not wait for is not worth waking it. But nothing overtakes what was taken before.
        if idle && job.run_at_once() {
            self.done.push_back(job);
        } else {
            self.executor.submit(job);
        }
    }

    /// A request that has been carried out, if there is one.
    pub fn finished(&mut self) -> Option<Finished> {
        let job = self.done.pop_front().or_else(|| self.executor.finished())?;
        let drive = self.drives.get_mut(usize::from(job.disk_number));
        let go_on = drive.map(|drive| {
            drive.load = drive.load.saturating_sub(job.load);
            std::mem::take(&mut drive.stalled)
        });
        let requests = self.queues.get_mut(usize::from(job.queue));
        let requests = requests.filter(|requests| requests.run == job.run);
        let request = requests.map(|requests| {
            requests.under_way = requests.under_way.saturating_sub(1);
            requests.load = requests.load.saturating_sub(job.load);
            job.request
        });
        Some(Finished {
            queue: job.queue,
            request,
            go_on: go_on.unwrap_or_default(),
        })
    }

    /// Whether requests of a queue are under way that get an answer.
    pub fn is_busy(&self, queue: u16) -> bool {
        self.queues
            .get(usize::from(queue))
            .is_some_and(|requests| requests.under_way > 0)
    }

    /// Takes no more requests of a queue until it stops, so that those under way come to an end.
    pub fn hold(&mut self, queue: u16) {
        if let Some(requests) = self.queues.get_mut(usize::from(queue)) {
            requests.held = true;
        }
    }

    /// Takes requests of a queue again that was held and has not stopped.
    pub fn release(&mut self, queue: u16) {
        if let Some(requests) = self.queues.get_mut(usize::from(queue)) {
            requests.held = false;
        }
    }

    /// The queue starts or stops. What was taken from it before gets no answer, although the disk may carry it out yet: before
    /// anything that is taken later, because a disk keeps the order.
    pub fn forget(&mut self, queue: u16) {
        if let Some(requests) = self.queues.get_mut(usize::from(queue)) {
            *requests = QueueRequests {
                run: requests.run.wrapping_add(1),
                ..QueueRequests::default()
            };
        }
    }

    /// The disks as they are after the card's reset: behind no device. What is under way stays a load, or who resets the card
    /// again and again could heap up as much as they like.
    pub fn reset(&mut self) {
        // CAST: a card has 4096 queues at most.
        (0..self.queues.len() as u16).for_each(|queue| self.forget(queue));
        self.devices.fill(None);
        self.drives
            .iter_mut()
            .for_each(|drive| drive.stalled.clear());
    }
}

/// What a disk is that doesn't exist: without room for anything.
const NO_DISK: DiskInfo = DiskInfo {
    sectors: 0,
    block_size: 512,
    physical_block_size: 512,
    read_only: true,
};
