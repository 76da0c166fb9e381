// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The engines of all queues of a card.

use std::sync::Arc;

use mooring_firmware::hal::{
    ControlChain, QueueFailure, QueuePosition, QueueRole, QueueSetup, QueueStatistics,
};

use super::chain::Chain;
use super::descriptor;
use super::dma::{Dma, QueueDma, QueueError};
use super::packets::{fill_buffers, next_packet};
use super::requests::{answer, next_request};
use super::ring::Ring;
use super::Doorbells;
use crate::blk::buffers::Buffers;
use crate::blk::request::{Limits, Request};
use crate::net::HEADER_SIZE;

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
            ring.publish_many(dma)
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
