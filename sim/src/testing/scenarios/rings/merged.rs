// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Frames in several buffers: the driver sees them as a whole, and no ring makes one endless.

use mooring_firmware::hal::RingFormat;
use mooring_hw_regs::wire::{ExtentOperation, QueueErrorReason, PERMISSION_READ, PERMISSION_WRITE};

use super::{packet, Pair, FORMATS, HEADER, REGION, SLOT};
use crate::testing::driver::extent;
use crate::testing::scenarios::bad_input::expect_stop;
use crate::testing::scenarios::mapped_space;
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

/// A frame whose second buffer can't be written isn't seen at all; those before it are.
pub fn no_part_of_a_frame<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    for format in FORMATS {
        let mut pair = Pair::merging(&mut driver, format, 8);
        let device = pair.device.device.get();
        let before = pair.rx.position();
        let part = |iova| Buffer {
            iova,
            length: 60,
            writable: true,
        };
        for iova in [pair.rx_buffers, 1 << 40] {
            pair.rx.add(&[part(iova)], false).expect("room");
        }
        send(&mut driver, &mut pair, 100);
        // The fault itself comes first.
        driver.expect_event();
        let name = format!("{format:?}");
        expect_stop(&mut driver, &name, device, 0, QueueErrorReason::Access);
        assert_eq!(pair.rx.take_used(), None, "{name}");
        let state = driver.query_queue(device, 0).expect("query");
        assert_eq!(state.used_index.get(), before, "{name}");
        driver.destroy_device(device).expect("destroy");
    }
}

/// Nor is one whose buffers are filled when a later part of the ring can't be written.
pub fn no_part_of_a_frame_in_a_packed_ring<A: CardAccess>(access: A) {
    const PAGE: u64 = 4096;
    let mut driver = TestDriver::new(access);
    for event_index in [false, true] {
        let format = RingFormat {
            packed: true,
            indirect: false,
            event_index,
        };
        // The ring lies in two pages. The card can read both, and write the first one only.
        let ring = driver.allocate(4 * PAGE, 0x80_0000);
        let region = driver.allocate(REGION, 0x10_0000);
        let space = mapped_space(&mut driver, &region);
        let mut pair =
            Pair::with_features(&mut driver, format, 8, 0, (region, space), super::MRG_RXBUF);
        let device = pair.device.device.get();
        driver.disable_queue(device, 0).expect("stop");
        let map = |page: u64, permission| {
            let (iova, bus) = (ring.iova + page * PAGE, ring.bus + page * PAGE);
            extent(ExtentOperation::Add, iova, bus, PAGE, permission)
        };
        let both = PERMISSION_READ | PERMISSION_WRITE;
        let maps = [map(0, both), map(1, PERMISSION_READ), map(2, both)];
        driver.change(space, &maps).expect("an update");
        let mut within = ring.clone();
        // Two descriptors lie in the first page, the others in the second.
        within.allocate(PAGE - 32, 1);
        let mut rx = DriverRing::new(driver.memory.clone(), &mut within, 8, format, 0);
        let before = rx.position();
        let mut enable = rx.enable(0, space, None, 0);
        enable.device_area = (ring.iova + 2 * PAGE).into();
        driver.enable_queue(device, &enable).expect("start");
        for number in 0..3 {
            let part = Buffer {
                iova: pair.rx_buffers + SLOT * number,
                length: 40,
                writable: true,
            };
            rx.add(&[part], false).expect("room");
        }
        send(&mut driver, &mut pair, 100);
        // The fault itself comes first.
        driver.expect_event();
        let name = format!("{format:?}");
        expect_stop(&mut driver, &name, device, 0, QueueErrorReason::Access);
        assert_eq!(rx.take_used(), None, "{name}");
        let state = driver.query_queue(device, 0).expect("query");
        assert_eq!(state.used_index.get(), before, "{name}");
        driver.destroy_device(device).expect("destroy");
    }
}
