// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How the rings of a device's queues are laid out and used: features that every type of device can have.

use crate::hal::{Capabilities, RingFormat};

/// Feature bits of the ring (virtio 1.3, section 6), as far as the firmware knows them.
pub mod features {
    /// `VIRTIO_F_INDIRECT_DESC`: descriptors may refer to tables of descriptors.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// `VIRTIO_F_EVENT_IDX`: both sides say at which index they want to be notified next.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// `VIRTIO_F_RING_PACKED`: rings are packed, not split.
    pub const RING_PACKED: u64 = 1 << 34;
    /// `VIRTIO_F_IN_ORDER`: the card uses buffers in the order in which they were made available. It does so in any
    /// case.
    pub const IN_ORDER: u64 = 1 << 35;
    /// `VIRTIO_F_NOTIFICATION_DATA`: doorbells carry the driver's index, which the card has no need of.
    pub const NOTIFICATION_DATA: u64 = 1 << 38;

    /// All of them.
    pub const ALL: u64 = INDIRECT_DESC | EVENT_IDX | RING_PACKED | IN_ORDER | NOTIFICATION_DATA;
}

/// The ring features that a card offers for each of its devices.
///
/// `VIRTIO_F_RING_RESET` is not among them: vDPA has no operation for it.
pub(crate) fn offered(capabilities: &Capabilities) -> u64 {
    if capabilities.packed_ring {
        features::ALL
    } else {
        features::ALL & !features::RING_PACKED
    }
}

/// The format that driver and device have agreed on.
pub(crate) fn format(agreed: u64) -> RingFormat {
    RingFormat {
        packed: agreed & features::RING_PACKED != 0,
        indirect: agreed & features::INDIRECT_DESC != 0,
        event_index: agreed & features::EVENT_IDX != 0,
    }
}

/// Bit of a position in a packed ring that is the wrap counter; the others are the descriptor's index.
const WRAP: u16 = 1 << 15;

/// Whether a packed ring of `size` entries, at most 32768, can stand here: both indices lie in the ring, and between
/// what the card has taken and what it has given back there are no more descriptors than the ring has.
pub(crate) fn packed_positions_fit(avail: u16, used: u16, size: u16) -> bool {
    let size = u32::from(size);
    // Where it is on a way of two rounds, one with each value of the wrap counter.
    let place = |position: u16| {
        let index = u32::from(position & !WRAP);
        let round = if position & WRAP == 0 { size } else { 0 };
        (index < size).then_some(round + index)
    };
    match (place(avail), place(used)) {
        (Some(avail), Some(used)) => (avail + 2 * size - used) % (2 * size) <= size,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_positions() {
        let fits = |avail, used| packed_positions_fit(avail, used, 8);
        assert!(fits(WRAP, WRAP) && fits(0, 0) && fits(WRAP | 7, WRAP | 7));
        // Taken and not given back: up to a whole ring, across either wrap.
        assert!(fits(WRAP | 3, WRAP) && fits(3, WRAP | 4) && fits(WRAP | 3, 4));
        assert!(fits(0, WRAP) && fits(WRAP | 2, 2));
        assert!(!fits(1, WRAP) && !fits(WRAP | 3, 2));
        // Given back and never taken.
        assert!(!fits(WRAP, WRAP | 1) && !fits(WRAP | 7, 0));
        // Behind the end.
        assert!(!fits(WRAP | 8, WRAP | 8) && !fits(8, 8) && !fits(0x7fff, 0x7fff));
        assert!(packed_positions_fit(0x7fff, 0xffff, 32768));
    }
}
