// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The engines of all queues of a card.

use std::sync::Arc;

use mooring_firmware::hal::{
    ControlChain, QueueFailure, QueuePosition, QueueRole, QueueSetup, QueueStatistics,
};

use super::chain::Chain;
use super::descriptor;
use super::dma::{Dma, QueueDma, QueueError};
use super::ring::Ring;
use super::Doorbells;
use crate::blk::buffers::Buffers;
use crate::blk::request::{self, Limits, Operation, Request, Status};
use crate::net::{self, HEADER_SIZE, MAX_FRAME};

/// Chains that are given back before the driver gets to see them. More would save little, and keep the driver of a short
/// ring from offering them again.
const PUBLISHED_TOGETHER: u16 = 16;

/// Chains of a receive queue that are kept for the next frame: more than the longest one takes in
/// buffers of 1500 bytes. What a driver with smaller ones makes the card allocate is freed again.
const CHAINS_KEPT: usize = 64;

/// One queue.
#[derive(Default)]
struct Queue {
    /// Its set-up, from its start until it is cleared.
    setup: Option<QueueSetup>,
    ring: Option<Ring>,
    running: bool,
    /// Chains were given back since the last interrupt was considered.
    signal: bool,
    statistics: QueueStatistics,
    /// Doorbell writes before the statistics were cleared.
    earlier_doorbells: u64,
}

/// What became of a frame for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// It is in a buffer.
    Delivered,
    /// It found none, or one that is too small; it is counted.
    Dropped,
    /// The queue doesn't run.
    Stopped,
}

/// The virtqueue engines of a card.
pub(crate) struct Engine {
    queues: Box<[Queue]>,
    doorbells: Arc<Doorbells>,
    /// Queues whose `signal` is set.
    signals: Vec<u16>,
    /// Queues that stopped on an error, for the firmware to tell.
    failures: Vec<QueueFailure>,
    chains: Chains,
    /// The queue whose control chain the firmware has taken.
    control_queue: Option<u16>,
}

/// The chains at hand, kept so that walking a ring allocates nothing.
#[derive(Default)]
struct Chains {
    /// Of a transmit queue.
    data: Chain,
    /// Of a receive queue: those that one frame takes.
    receive: Vec<Chain>,
    /// Of a control queue; the firmware works on it in several steps.
    control: Chain,
}

impl Engine {
    pub fn new(queues: u16, doorbells: Arc<Doorbells>) -> Self {
        Self {
            queues: (0..queues).map(|_| Queue::default()).collect(),
            doorbells,
            signals: Vec::new(),
            failures: Vec::new(),
            chains: Chains::default(),
            control_queue: None,
        }
    }

    /// What a queue that runs is for.
    pub fn role(&self, queue: u16) -> Option<QueueRole> {
        let queue = self
            .queues
            .get(usize::from(queue))
            .filter(|queue| queue.running)?;
        queue.setup.map(|setup| setup.role)
    }

    /// The device that a queue that runs belongs to.
    pub fn device(&self, queue: u16) -> Option<u16> {
        let queue = self
            .queues
            .get(usize::from(queue))
            .filter(|queue| queue.running)?;
        queue.setup.map(|setup| setup.device)
    }

    /// Queues that failed since the last call.
    pub fn take_failures(&mut self) -> Vec<QueueFailure> {
        std::mem::take(&mut self.failures)
    }

    /// Takes the next packet of a transmit queue: replaces the content of `packet` with its virtio header and frame.
    /// Returns whether there was one.
    pub fn transmit(&mut self, dma: &mut Dma<'_>, queue: u16, packet: &mut Vec<u8>) -> bool {
        let taken = self.attempt(dma, queue, |_, ring, dma, chains| {
            next_packet(ring, dma, &mut chains.data, packet)
        });
        let taken = taken.unwrap_or(false);
        if taken {
            self.signal(queue);
            if let Some(slot) = self.queues.get_mut(usize::from(queue)) {
                slot.statistics.tx_frames += 1;
                slot.statistics.tx_bytes += packet.len().saturating_sub(HEADER_SIZE) as u64;
            }
        }
        taken
    }

    /// Puts a packet, header included, into the next buffer of a receive queue, or if `merge` into as many as it takes, which
    /// its header then says.
    pub fn receive(
        &mut self,
        dma: &mut Dma<'_>,
        queue: u16,
        packet: &mut [u8],
        merge: bool,
    ) -> Received {
        let delivered = self.attempt(dma, queue, |setup, ring, dma, chains| {
            let limit = descriptor::limit(setup.size);
            let filled = fill_buffers(ring, dma, &mut chains.receive, packet, merge, limit);
            chains.receive.truncate(CHAINS_KEPT);
            filled
        });
        let Some(delivered) = delivered else {
            return Received::Stopped;
        };
        let Some(slot) = self.queues.get_mut(usize::from(queue)) else {
            return Received::Stopped;
        };
        if !delivered {
            slot.statistics.rx_dropped += 1;
            return Received::Dropped;
        }
        slot.statistics.rx_frames += 1;
        slot.statistics.rx_bytes += packet.len().saturating_sub(HEADER_SIZE) as u64;
        self.signal(queue);
        Received::Delivered
    }

    /// Has a queue looked at again that was passed over.
    pub fn ring_again(&self, queue: u16) {
        self.doorbells.mark(queue);
    }

    /// Takes the next request of a block device's queue, with the data to write.
    pub fn take_request(
        &mut self,
        dma: &mut Dma<'_>,
        queue: u16,
        limits: &Limits,
        buffers: &mut Buffers,
    ) -> Option<Request> {
        self.attempt(dma, queue, |_, ring, dma, chains| {
            next_request(ring, dma, &mut chains.data, limits, buffers)
        })?
    }

    /// Answers a request and gives its chain back.
    pub fn finish_request(&mut self, dma: &mut Dma<'_>, queue: u16, request: &Request) {
        let answered = self.attempt(dma, queue, |_, ring, dma, _| {
            let written = answer(dma, request)?;
            ring.give_back(dma, &request.chain, written)?;
            publish_many(ring, dma)
        });
        if answered.is_none() {
            return;
        }
        self.signal(queue);
        if let Some(slot) = self.queues.get_mut(usize::from(queue)) {
            slot.statistics.requests += 1;
            slot.statistics.request_bytes += request.transferred();
        }
    }

    /// Shows drivers the chains that their queues gave back, and raises an interrupt for each such queue unless its driver
    /// wants none. Doing so once for many chains is what makes a burst cheap.
    pub fn raise_interrupts(&mut self, dma: &mut Dma<'_>, mut raise: impl FnMut(u16)) {
        while let Some(queue) = self.signals.pop() {
            if let Some(vector) = self.interrupt(dma, queue) {
                raise(vector);
            }
        }
    }

    /// Publishes what a queue gave back. Returns the vector to raise for it, if its driver wants it.
    fn interrupt(&mut self, dma: &mut Dma<'_>, queue: u16) -> Option<u16> {
        self.queues.get_mut(usize::from(queue))?.signal = false;
        let vector = self.attempt(dma, queue, |setup, ring, dma, _| {
            ring.publish(dma)?;
            match setup.vector {
                Some(vector) => Ok(ring.wants_interrupt(dma)?.then_some(vector)),
                None => Ok(None),
            }
        })??;
        self.queues
            .get_mut(usize::from(queue))?
            .statistics
            .interrupts += 1;
        Some(vector)
    }

    fn signal(&mut self, queue: u16) {
        if let Some(slot) = self.queues.get_mut(usize::from(queue)) {
            if !slot.signal {
                slot.signal = true;
                self.signals.push(queue);
            }
        }
    }

    fn fail(&mut self, queue: u16, error: QueueError) {
        if let Some(slot) = self.queues.get_mut(usize::from(queue)) {
            slot.running = false;
            slot.statistics.queue_errors += 1;
            slot.statistics.faults += u64::from(error.fault.is_some());
            self.failures.push(QueueFailure {
                queue,
                reason: error.reason,
                fault: error.fault,
                bus_address: error.bus_address,
            });
        }
    }

    pub fn start(&mut self, queue: u16, setup: &QueueSetup) {
        let Some(slot) = self.queues.get_mut(usize::from(queue)) else {
            return;
        };
        slot.ring = Some(Ring::new(setup));
        slot.setup = Some(*setup);
        slot.running = true;
        slot.signal = false;
        // Buffers may have been there before the start, and their doorbell was ignored.
        self.doorbells.mark(queue);
    }

    pub fn stop(&mut self, dma: &mut Dma<'_>, queue: u16) {
        // Each step of the card ends with this, so that nothing is left to do here; but a chain that a queue has given
        // back must not get lost however the card comes to be stopped.
        self.attempt(dma, queue, |_, ring, dma, _| ring.publish(dma));
        if let Some(slot) = self.queues.get_mut(usize::from(queue)) {
            slot.running = false;
            slot.signal = false;
        }
        self.signals.retain(|signal| *signal != queue);
        if self.control_queue == Some(queue) {
            self.control_queue = None;
        }
    }

    pub fn clear(&mut self, queue: u16) {
        if let Some(slot) = self.queues.get_mut(usize::from(queue)) {
            slot.ring = None;
            slot.setup = None;
        }
    }

    pub fn position(&self, queue: u16) -> QueuePosition {
        let Some(slot) = self.queues.get(usize::from(queue)) else {
            return QueuePosition::default();
        };
        let (avail_index, used_index) = slot.ring.as_ref().map_or((0, 0), Ring::position);
        QueuePosition {
            avail_index,
            used_index,
            running: slot.running,
        }
    }

    pub fn statistics(&self, queue: u16) -> QueueStatistics {
        let Some(slot) = self.queues.get(usize::from(queue)) else {
            return QueueStatistics::default();
        };
        let doorbells = self
            .doorbells
            .rings(queue)
            .wrapping_sub(slot.earlier_doorbells);
        QueueStatistics {
            doorbells,
            ..slot.statistics
        }
    }

    pub fn clear_statistics(&mut self, queue: u16) {
        if let Some(slot) = self.queues.get_mut(usize::from(queue)) {
            slot.statistics = QueueStatistics::default();
            slot.earlier_doorbells = self.doorbells.rings(queue);
        }
    }

    pub fn take_control(&mut self, dma: &mut Dma<'_>, queue: u16) -> Option<ControlChain> {
        let readable = self.attempt(dma, queue, |_, ring, dma, chains| {
            let chain = &mut chains.control;
            if !ring.peek(dma, chain)? {
                return Ok(None);
            }
            // The answer is a byte; without room for it there is no way to give one.
            if chain.writable() == 0 {
                return Err(QueueError::BUFFER);
            }
            ring.take(chain);
            Ok(Some(chain.readable()))
        })??;
        self.control_queue = Some(queue);
        Some(ControlChain { readable })
    }

    pub fn read_control(
        &mut self,
        dma: &mut Dma<'_>,
        queue: u16,
        offset: u64,
        data: &mut [u8],
    ) -> bool {
        let end = offset.checked_add(data.len() as u64);
        let there = end.is_some_and(|end| end <= self.chains.control.readable());
        if self.control_queue != Some(queue) || !there {
            return false;
        }
        let read = self.attempt(dma, queue, |_, _, dma, chains| {
            chains.control.read(dma, offset, data)
        });
        read.is_some()
    }

    pub fn complete_control(&mut self, dma: &mut Dma<'_>, queue: u16, ack: u8) {
        if self.control_queue.take() != Some(queue) {
            return;
        }
        let answered = self.attempt(dma, queue, |_, ring, dma, chains| {
            chains.control.write(dma, &[ack])?;
            ring.give_back(dma, &chains.control, 1)
        });
        if answered.is_some() {
            self.signal(queue);
        }
    }

    /// Works on the ring of a queue. `None`: the queue doesn't run, or the work failed and stopped it.
    fn attempt<R>(
        &mut self,
        dma: &mut Dma<'_>,
        queue: u16,
        work: impl FnOnce(
            &QueueSetup,
            &mut Ring,
            &mut QueueDma<'_>,
            &mut Chains,
        ) -> Result<R, QueueError>,
    ) -> Option<R> {
        let slot = self.queues.get_mut(usize::from(queue))?;
        let (true, Some(setup), Some(ring)) = (slot.running, &slot.setup, &mut slot.ring) else {
            return None;
        };
        let mut dma = dma.queue(setup, &mut slot.statistics);
        match work(setup, ring, &mut dma, &mut self.chains) {
            Ok(value) => Some(value),
            Err(error) => {
                // What was given back before has nothing to do with it. If this fails as well, the error is the same.
                let _ = ring.publish(&mut dma);
                self.fail(queue, error);
                None
            }
        }
    }
}

/// Takes the next packet of a transmit ring.
fn next_packet(
    ring: &mut Ring,
    dma: &mut QueueDma<'_>,
    chain: &mut Chain,
    packet: &mut Vec<u8>,
) -> Result<bool, QueueError> {
    if !ring.peek(dma, chain)? {
        return Ok(false);
    }
    let length = usize::try_from(chain.readable()).unwrap_or(usize::MAX);
    if chain.writable() != 0 || !(HEADER_SIZE..=HEADER_SIZE + MAX_FRAME).contains(&length) {
        return Err(QueueError::BUFFER);
    }
    packet.resize(length, 0);
    chain.read(dma, 0, packet)?;
    ring.take(chain);
    ring.give_back(dma, chain, 0)?;
    publish_many(ring, dma)?;
    Ok(true)
}

/// Puts a packet into the next buffer of a receive ring, or if `merge` into as many as it takes. Returns `false` if there is
/// none or they are too small, as a driver may post buffers for smaller frames than others send; such buffers stay for the
/// next frame. A frame whose chains have more than `limit` buffers is an error: they may be empty and their chains the same one
/// again and again, so that nothing else bounds the work.
fn fill_buffers(
    ring: &mut Ring,
    dma: &mut QueueDma<'_>,
    chains: &mut Vec<Chain>,
    packet: &mut [u8],
    merge: bool,
    limit: usize,
) -> Result<bool, QueueError> {
    let before = ring.clone();
    let mut buffers = 0;
    let mut used = 0;
    let mut room = 0;
    while room < packet.len() as u64 {
        if used == chains.len() {
            chains.push(Chain::default());
        }
        let Some(chain) = chains.get_mut(used).filter(|_| used == 0 || merge) else {
            *ring = before;
            return Ok(false);
        };
        if !ring.peek(dma, chain)? {
            *ring = before;
            return Ok(false);
        }
        // The header is in the first one, and each of the others has room for something: so there is an end.
        let least = if used == 0 { HEADER_SIZE as u64 } else { 1 };
        if chain.readable() != 0 || chain.writable() < least {
            return Err(QueueError::BUFFER);
        }
        buffers += chain.len();
        if buffers > limit {
            return Err(QueueError::RING);
        }
        ring.take(chain);
        room += chain.writable();
        used += 1;
    }
    let chains = chains.get(..used).unwrap_or_default();
    // CAST: a ring has no more than 32768 chains.
    net::set_num_buffers(packet, used as u16);

    // Header and frame go in one write a buffer. None is given back before all are written: after an error the driver sees no
    // part of the frame.
    let mut rest: &[u8] = packet;
    for chain in chains {
        let (part, later) = rest.split_at(part_length(chain, rest.len()));
        chain.write(dma, part)?;
        rest = later;
    }
    let mut left = packet.len();
    for chain in chains {
        let length = part_length(chain, left);
        ring.give_back(dma, chain, u32::try_from(length).unwrap_or(u32::MAX))?;
        left -= length;
    }
    // Not before the last one was given back: the driver sees the frame as a whole.
    publish_many(ring, dma)?;
    Ok(true)
}

/// Bytes of a frame that go into a chain, if so many are left.
fn part_length(chain: &Chain, left: usize) -> usize {
    usize::try_from(chain.writable())
        .unwrap_or(usize::MAX)
        .min(left)
}

/// Publishes chains that were given back if they are many; [`Engine::raise_interrupts`] does so with the rest.
fn publish_many(ring: &mut Ring, dma: &mut QueueDma<'_>) -> Result<(), QueueError> {
    if ring.pending() >= PUBLISHED_TOGETHER {
        ring.publish(dma)?;
    }
    Ok(())
}

/// Takes the next request of a ring.
fn next_request(
    ring: &mut Ring,
    dma: &mut QueueDma<'_>,
    chain: &mut Chain,
    limits: &Limits,
    buffers: &mut Buffers,
) -> Result<Option<Request>, QueueError> {
    if !ring.peek(dma, chain)? {
        return Ok(None);
    }
    // The last byte is for the status; without room for it there is no way to answer.
    let Some(writable) = chain.writable().checked_sub(1) else {
        return Err(QueueError::BUFFER);
    };
    let mut data = Vec::new();
    let operation = match chain.readable().checked_sub(request::HEADER_SIZE as u64) {
        None => Operation::Refuse(Status::IoError),
        Some(readable) => {
            let mut header = [0; request::HEADER_SIZE];
            chain.read(dma, 0, &mut header)?;
            match limits.parse(&header, readable, writable) {
                refuse @ Operation::Refuse(_) => refuse,
                // One of the two is 0, and the other one bounded.
                operation => {
                    data = buffers.take(usize::try_from(readable.max(writable)).unwrap_or(0));
                    if readable != 0 {
                        chain.read(dma, request::HEADER_SIZE as u64, &mut data)?;
                    }
                    limits.complete(operation, &data)
                }
            }
        }
    };
    ring.take(chain);
    Ok(Some(Request {
        chain: std::mem::take(chain),
        operation,
        data,
        status: Status::IoError,
    }))
}

/// Writes what a request asked for, and its status. Returns the bytes that were written from the begin of the writable
/// part on.
fn answer(dma: &mut QueueDma<'_>, request: &Request) -> Result<u32, QueueError> {
    let room = request.chain.writable().saturating_sub(1);
    let has_data = room != 0 && request.status == Status::Ok;
    if has_data {
        request.chain.write(dma, &request.data)?;
    }
    // CAST: the enumeration's numbers are bytes.
    request.chain.write_at(dma, room, &[request.status as u8])?;
    Ok(match room {
        0 => 1,
        _ if has_data => u32::try_from(room + 1).unwrap_or(u32::MAX),
        // The status was written, but nothing before it.
        _ => 0,
    })
}
