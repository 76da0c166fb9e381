// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Doorbells: which queues have new buffers.

use std::sync::atomic::{AtomicU64, Ordering};

/// A bit per queue that a doorbell write sets and the card clears, and a count of the writes.
///
/// Doorbells have no lock, so that who rings one waits for nobody who works on the card. Whoever rings from outside of
/// [`Card::write`](crate::Card::write) calls [`Card::step`](crate::Card::step) afterwards, or wakes the thread that does.
#[derive(Debug)]
pub struct Doorbells {
    pending: Box<[AtomicU64]>,
    rings: Box<[AtomicU64]>,
}

impl Doorbells {
    /// Doorbells for `queues` queues, none of them rung.
    pub(crate) fn new(queues: u16) -> Self {
        let atomics = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            pending: atomics(usize::from(queues).div_ceil(64)),
            rings: atomics(usize::from(queues)),
        }
    }

    /// Rings the doorbell of a queue, by its card-wide number. A queue that the card doesn't have is ignored.
    pub fn ring(&self, queue: u16) {
        let Some(rings) = self.rings.get(usize::from(queue)) else {
            return;
        };
        rings.fetch_add(1, Ordering::Relaxed);
        self.mark(queue);
    }

    /// Sets the bit of a queue without counting a doorbell write.
    pub(crate) fn mark(&self, queue: u16) {
        if let Some(word) = self.pending.get(usize::from(queue / 64)) {
            // Pairs with `take`: what the driver wrote before it rang is visible to the engine. Sequentially consistent,
            // so that a thread that announces its sleep and then looks misses no bit whose setter then looks for it.
            word.fetch_or(1 << (queue % 64), Ordering::SeqCst);
        }
    }

    /// Takes the bits of 64 queues, `word` × 64 and up.
    pub(crate) fn take(&self, word: usize) -> u64 {
        match self.pending.get(word) {
            // A plain load first, so that an idle card doesn't fight for the cache line.
            Some(word) if word.load(Ordering::SeqCst) != 0 => word.swap(0, Ordering::SeqCst),
            _ => 0,
        }
    }

    /// Words that [`take`](Self::take) knows.
    pub(crate) fn words(&self) -> usize {
        self.pending.len()
    }

    /// Whether any queue's bit is set.
    pub(crate) fn any(&self) -> bool {
        self.pending
            .iter()
            .any(|word| word.load(Ordering::SeqCst) != 0)
    }

    /// Doorbell writes to a queue so far.
    pub(crate) fn rings(&self, queue: u16) -> u64 {
        self.rings
            .get(usize::from(queue))
            .map_or(0, |rings| rings.load(Ordering::Relaxed))
    }
}
