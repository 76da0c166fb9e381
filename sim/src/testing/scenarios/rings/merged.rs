// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Frames in several buffers: the driver sees them as a whole, and no ring makes one endless.

use mooring_hw_regs::wire::QueueErrorReason;

use super::{packet, Pair, FORMATS, HEADER, SLOT};
use crate::testing::scenarios::bad_input::expect_stop;
use crate::testing::{Buffer, CardAccess, DriverRing, TestDriver};

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// Buffers of one frame that a card accepts at most, if its ring isn't longer.
const LIMIT: u16 = 1024;

/// Sends the first bytes of a packet, all of which the card must take.
fn send<A: CardAccess>(driver: &mut TestDriver<A>, pair: &mut Pair, length: u32) {
    let mut data = packet(250);
    data.resize(SLOT as usize, 7);
    pair.tx.write(pair.tx_buffers, &data);
    let sent = Buffer {
        iova: pair.tx_buffers,
        length,
        writable: false,
    };
    pair.tx.add(&[sent], false).expect("room");
    pair.ring(driver, 1);
    let mut used = |_: &mut A| pair.tx.take_used().is_some();
    assert!(driver.access.wait_until(&mut used), "the frame isn't taken");
    driver.access.settle();
}

/// The same chain again and again, most of whose buffers are empty: a frame may take as many buffers as a table may have,
/// and where it takes more the ring is broken.
pub fn endless_frames<A: CardAccess>(access: A) {
    const SIZE: u16 = DriverRing::ENTRIES;
    let mut driver = TestDriver::new(access);
    for format in FORMATS.into_iter().filter(|format| !format.packed) {
        let mut pair = Pair::merging(&mut driver, format, SIZE);
        let device = pair.device.device.get();
        let first = pair.rx.descriptor(0);
        for number in 0..SIZE {
            let (flags, length) = match SIZE - 1 - number {
                0 => (WRITE, HEADER as u32),
                _ => (WRITE | NEXT, 0),
            };
            let at = first + 16 * u64::from(number);
            pair.rx
                .write_descriptor(at, pair.rx_buffers, length, flags, number + 1);
        }
        pair.rx.publish_head_often(0, SIZE);
        let name = format!("{format:?}");
        let longest = u32::from(LIMIT / SIZE) * HEADER as u32;
        send(&mut driver, &mut pair, longest);
        let statistics = driver.queue_statistics(device, 0).expect("statistics");
        assert_eq!(statistics.packets.get(), 1, "{name}");
        let before = statistics.dma_reads.get();
        send(&mut driver, &mut pair, longest + 200);
        expect_stop(&mut driver, &name, device, 0, QueueErrorReason::Ring);
        let statistics = driver.queue_statistics(device, 0).expect("statistics");
        assert_eq!(statistics.packets.get(), 1, "{name}");
        let reads = statistics.dma_reads.get() - before;
        // Each descriptor, those of the chain that is too much, and a few for the available ring.
        assert!(
            reads <= u64::from(LIMIT + SIZE) + 16,
            "{name}: {reads} reads"
        );
        driver.destroy_device(device).expect("destroy");
    }
}
