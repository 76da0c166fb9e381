// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The share of a bounce pool against what virtio_net asks for.

use crate::share::Share;
use crate::slots::{Loan, Slot, Slots};
use proptest::prelude::*;

const PAGE: usize = 4096;

/// Queue pairs of the largest device.
const MAX_PAIRS: u16 = 2047;

/// Lengths of the descriptors of one receive buffer, from `add_recvbuf_small()` and `add_recvbuf_big()` in
/// `drivers/net/virtio_net.c`.
fn receive_buffer(mtu: u16) -> Vec<usize> {
    match mtu {
        ..=1500 => vec![12 + 14 + 4 + 1500],
        // The header, the rest of its page, and pages.
        _ => {
            let more = std::iter::repeat_n(PAGE, usize::from(mtu).div_ceil(PAGE));
            [12, PAGE - 16].into_iter().chain(more).collect()
        }
    }
}

/// Fills all receive rings as virtio_net does. Returns whether every buffer found room.
fn fill(share: &Share, pairs: u16, mtu: u16) -> bool {
    let buffer = receive_buffer(mtu);
    let mut slots = Slots::new(vec![Slot::FREE; share.receive]);

    (0..pairs).all(|_| {
        (0..usize::from(share.ring_size) / buffer.len()).all(|_| {
            buffer.iter().all(|&len| {
                let places = len.div_ceil(share.receive_len);
                slots.take(places, Loan { phys: 0, len }).is_some()
            })
        })
    })
}

proptest! {
    #[test]
    fn every_receive_ring_can_be_filled(pairs in 1u16..40, mtu in 68u16..=u16::MAX, min in 0u32..6, more in 0u32..11) {
        let (min, max) = (1u16 << min, 1u16 << (min + more).min(15));
        let share = Share::new(pairs, mtu, min, max, PAGE);

        prop_assert!(share.ring_size.is_power_of_two() && (min..=max).contains(&share.ring_size));
        prop_assert!(fill(&share, pairs, mtu));
        prop_assert!(share.receive * share.receive_len <= 8 << 20 || share.ring_size <= min.max(64));
        prop_assert!(share.transmit <= 8 << 20);
    }
}

#[test]
fn a_device_gets_as_much_as_it_can_use() {
    // Pairs, MTU, entries of the card's largest ring; entries and bytes to receive.
    let expected = [
        (1, 1500, 1024, 1024, 2 << 20),
        (1, 1501, 1024, 1024, 4 << 20),
        (1, 9000, 1024, 1024, 4 << 20),
        (1, 1500, 16, 16, 32 << 10),
        (1, 9000, 32768, 1024, 4 << 20),
        (4, 1500, 1024, 1024, 8 << 20),
        (5, 1500, 1024, 512, 5 << 20),
        (3, 9000, 1024, 512, 6 << 20),
        (MAX_PAIRS, 9000, 1024, 64, (511 << 20) | (3 << 18)),
    ];
    for (pairs, mtu, max, ring_size, bytes) in expected {
        let share = Share::new(pairs, mtu, 2, max, PAGE);
        assert_eq!(
            (share.ring_size, share.receive * share.receive_len),
            (ring_size, bytes),
            "{pairs} pairs, MTU {mtu}, {max} entries"
        );
        assert_eq!(share.transmit, bytes.min(8 << 20));
    }
}

/// The largest device's pool has addresses: see `MAX_POOL` in `drivers/dma/bounce.rs`.
#[test]
fn the_largest_device_has_room() {
    let share = Share::new(MAX_PAIRS, u16::MAX, 1, 32768, PAGE);
    assert!(share.receive * share.receive_len + share.transmit <= 1 << 30);
}
