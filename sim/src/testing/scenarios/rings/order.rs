// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The order of the card's accesses, as a driver sees it that looks after each of them.

use std::sync::{Arc, Mutex};

use super::{packet, Pair, FORMATS, SLOT};
use crate::testing::{Buffer, CardAccess, InProcess, TestDriver};

/// A driver that looks after each of the card's writes sees the chains of a burst at once, with all that belongs to them.
pub fn a_burst_is_seen_at_once(mut card: impl FnMut() -> InProcess) {
    const FRAMES: u64 = 6;
    for format in FORMATS {
        let mut driver = TestDriver::new(card());
        let mut pair = Pair::new(&mut driver, format, 8, 0xfffd);
        let packet = packet(100);
        for number in 0..FRAMES {
            let received = Buffer {
                iova: pair.rx_buffers + SLOT * number,
                length: SLOT as u32,
                writable: true,
            };
            let sent = Buffer {
                iova: pair.tx_buffers + SLOT * number,
                length: (packet.len() as u64 - number) as u32,
                writable: false,
            };
            pair.tx.write(sent.iova, &packet);
            pair.rx.add(&[received], false).expect("room");
            pair.tx.add(&[sent], false).expect("room");
        }
        let queue = pair.device.first_queue.get() + 1;
        let looks = Arc::new(Mutex::new(vec![]));
        let seen = looks.clone();
        driver.access.vec_memory().after_writes(move |_| {
            for (ring, receives) in [(&mut pair.rx, true), (&mut pair.tx, false)] {
                let lengths: Vec<_> = std::iter::from_fn(|| ring.take_used())
                    .map(|(_, written)| written)
                    .collect();
                if !lengths.is_empty() {
                    seen.lock().expect("a list").push((receives, lengths));
                }
            }
        });
        driver.ring(queue);
        driver.access.settle();
        let mut looks = std::mem::take(&mut *looks.lock().expect("a list"));
        looks.sort_unstable();
        let length = packet.len() as u32;
        let received = Vec::from_iter((0..FRAMES as u32).map(|number| length - number));
        let sent = vec![0; FRAMES as usize];
        assert_eq!(looks, [(false, sent), (true, received)], "{format:?}");
    }
}

/// A chain that comes while the card asks for doorbells, and whose driver saw that none was wanted, isn't overlooked.
pub fn a_chain_comes_before_the_doorbell_is_wanted(mut card: impl FnMut() -> InProcess) {
    for format in FORMATS {
        let mut driver = TestDriver::new(card());
        let pair = Pair::new(&mut driver, format, 8, 0);
        let device = pair.device.device.get();
        driver.disable_queue(device, 1).expect("stop");
        let enable = pair.tx.enable(1, pair.space, None, 0);
        let wish = pair.tx.bus(pair.tx.wish());
        let pair = Arc::new(Mutex::new(pair));
        let (shared, mut came) = (pair.clone(), false);
        driver.access.vec_memory().after_writes(move |bus| {
            if bus == wish && !came {
                came = true;
                let mut pair = shared.lock().expect("a pair");
                let sent = Buffer {
                    iova: pair.tx_buffers,
                    length: 100,
                    writable: false,
                };
                pair.tx.add(&[sent], false).expect("room");
            }
        });
        driver.enable_queue(device, &enable).expect("start");
        driver.access.settle();
        let used = pair.lock().expect("a pair").tx.take_used();
        assert!(used.is_some(), "{format:?}");
    }
}
