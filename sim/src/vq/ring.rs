// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The rings that the device walks, of either layout.
//!
//! # What the driver sees when
//!
//! A chain that is given back becomes visible to the driver when it is published, together with all that were given back
//! before. So a frame in several chains is seen as a whole, and many chains cost few accesses.

use mooring_firmware::hal::QueueSetup;

use super::chain::Chain;
use super::dma::{QueueDma, QueueError};
use super::packed::PackedRing;
use super::split::SplitRing;

/// Chains that are given back before the driver gets to see them. More would save little, and keep the driver of a short
/// ring from offering them again.
const PUBLISHED_TOGETHER: u16 = 16;

/// A ring that the device walks.
#[derive(Clone, Debug)]
pub(crate) enum Ring {
    Split(SplitRing),
    Packed(PackedRing),
}

impl Ring {
    /// A ring in the format that driver and device agreed on, from the positions on that the set-up names.
    pub fn new(setup: &QueueSetup) -> Self {
        if setup.format.packed {
            Self::Packed(PackedRing::new(setup))
        } else {
            Self::Split(SplitRing::new(setup))
        }
    }

    /// Reads the next available chain without taking it. Returns whether there is one. If there is none the driver rings
    /// the doorbell for the next one, in a queue that has to hear of it.
    pub fn peek(&mut self, dma: &mut QueueDma<'_>, chain: &mut Chain) -> Result<bool, QueueError> {
        match self {
            Self::Split(ring) => ring.peek(dma, chain),
            Self::Packed(ring) => ring.peek(dma, chain),
        }
    }

    /// Takes the chain that [`peek`](Self::peek) read.
    pub fn take(&mut self, chain: &Chain) {
        match self {
            Self::Split(ring) => ring.take(),
            Self::Packed(ring) => ring.take(chain),
        }
    }

    /// Gives a chain back to the driver, `written` bytes of it written. It is visible after [`publish`](Self::publish). After
    /// an error nothing is that isn't yet, and nothing will be: it may belong to the same frame.
    pub fn give_back(
        &mut self,
        dma: &mut QueueDma<'_>,
        chain: &Chain,
        written: u32,
    ) -> Result<(), QueueError> {
        let result = match self {
            Self::Split(ring) => ring.give_back(dma, chain, written),
            Self::Packed(ring) => ring.give_back(dma, chain, written),
        };
        if result.is_err() {
            self.give_up();
        }
        result
    }

    /// Chains that were given back and are not visible yet.
    pub fn pending(&self) -> u16 {
        match self {
            Self::Split(ring) => ring.pending(),
            Self::Packed(ring) => ring.pending(),
        }
    }

    /// Makes what was given back visible to the driver if it is much. Whoever calls this publishes the rest in the end.
    pub fn publish_many(&mut self, dma: &mut QueueDma<'_>) -> Result<(), QueueError> {
        match self.pending() {
            PUBLISHED_TOGETHER.. => self.publish(dma),
            _ => Ok(()),
        }
    }

    /// Makes what was given back visible to the driver. After an error none of it is, and none will be.
    pub fn publish(&mut self, dma: &mut QueueDma<'_>) -> Result<(), QueueError> {
        if self.pending() == 0 {
            return Ok(());
        }
        let result = match self {
            Self::Split(ring) => ring.publish(dma),
            Self::Packed(ring) => ring.publish(dma),
        };
        if result.is_err() {
            self.give_up();
        }
        result
    }

    /// Forgets what was given back and is not visible.
    fn give_up(&mut self) {
        match self {
            Self::Split(ring) => ring.give_up(),
            Self::Packed(ring) => ring.give_up(),
        }
    }

    /// Whether the driver wants an interrupt for what was published since this was last asked.
    pub fn wants_interrupt(&mut self, dma: &mut QueueDma<'_>) -> Result<bool, QueueError> {
        match self {
            Self::Split(ring) => ring.wants_interrupt(dma),
            Self::Packed(ring) => ring.wants_interrupt(dma),
        }
    }

    /// Where the device takes the next chain, and where the driver will find the next one that is given back; as in
    /// [`QueueState`](mooring_hw_regs::wire::QueueState).
    pub fn position(&self) -> (u16, u16) {
        match self {
            Self::Split(ring) => ring.position(),
            Self::Packed(ring) => ring.position(),
        }
    }
}

/// What was published since an interrupt was last considered, in entries of a used ring or descriptors of a packed one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unsignalled {
    count: u32,
    /// There was an interrupt or a reason not to raise one. Who ran the queue before may have owed one.
    begun: bool,
}

impl Unsignalled {
    /// Something was published.
    pub fn add(&mut self, count: impl Into<u32>) {
        self.count = self.count.saturating_add(count.into());
    }

    /// How much it is, and begins to count anew. `None`: it can't be known.
    pub fn take(&mut self) -> Option<u32> {
        let count = std::mem::take(&mut self.count);
        std::mem::replace(&mut self.begun, true).then_some(count)
    }
}

/// Whether one of the last `count` indices before `new` is `event` (the specification's `vring_need_event()`).
pub(super) fn crossed(event: u16, new: u16, count: u32) -> bool {
    // Where all 65536 indices were passed, there is no more to compare.
    u32::from(new.wrapping_sub(event).wrapping_sub(1)) < count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_crossed_once() {
        assert!(crossed(4, 5, 1) && !crossed(5, 5, 1) && !crossed(3, 5, 1));
        assert!(crossed(3, 5, 2) && !crossed(2, 5, 2));
        assert!(crossed(0xffff, 0, 1) && crossed(0xfffe, 1, 3) && !crossed(0xfffd, 1, 3));
        assert!(!crossed(4, 5, 0) && crossed(5, 5, 65536));
    }

    #[test]
    fn the_first_count_is_unknown() {
        let mut unsignalled = Unsignalled::default();
        unsignalled.add(3u16);
        assert_eq!(unsignalled.take(), None);
        assert_eq!(unsignalled.take(), Some(0));
        unsignalled.add(3u16);
        unsignalled.add(4u32);
        assert_eq!(unsignalled.take(), Some(7));
    }
}
