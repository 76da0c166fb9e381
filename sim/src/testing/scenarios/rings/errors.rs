// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Where a queue stands that has stopped on an error, and which buffers stop one.

use mooring_hw_regs::wire::QueueErrorReason;

use super::{packet, Pair, FORMATS, HEADER, SLOT};
use crate::testing::scenarios::bad_input::expect_stop;
use crate::testing::{Buffer, CardAccess, TestDriver};

/// What a queue did before it stopped on an error is seen, and it stands behind that.
pub fn work_before_an_error<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    for format in FORMATS {
        let mut pair = Pair::new(&mut driver, format, 8, 0);
        let device = pair.device.device.get();
        let good = Buffer {
            iova: pair.tx_buffers,
            length: 100,
            writable: false,
        };
        let bad = Buffer {
            iova: 1 << 40,
            ..good
        };
        let first = pair.tx.add(&[good], false).expect("room");
        pair.tx.add(&[bad], false).expect("room");
        pair.ring(&mut driver, 1);
        // The fault itself comes first.
        driver.expect_event();
        let name = format!("{format:?}");
        expect_stop(&mut driver, &name, device, 1, QueueErrorReason::Access);
        assert_eq!(pair.tx.take_used(), Some((first, 0)), "{name}");
        let state = driver.query_queue(device, 1).expect("query");
        let position = (state.avail_index.get(), state.used_index.get());
        assert_eq!(position, (pair.tx.position(), pair.tx.position()), "{name}");
        let statistics = driver.queue_statistics(device, 1).expect("statistics");
        let counted = (statistics.packets.get(), statistics.bytes.get());
        assert_eq!(counted, (1, 100 - HEADER as u64), "{name}");
        let counted = (statistics.errors.get(), statistics.faults.get());
        assert_eq!(counted, (1, 1), "{name}");
        driver.destroy_device(device).expect("destroy");
        // The next one has its queue, and none of its counters.
        let next = driver.create_device(1, 0).expect("a device");
        let device = next.device.get();
        let statistics = driver.queue_statistics(device, 1).expect("statistics");
        let counted = (statistics.packets.get(), statistics.doorbells.get());
        assert_eq!((counted, statistics.errors.get()), ((0, 0), 0), "{name}");
        driver.destroy_device(device).expect("destroy");
    }
}

/// A frame that is in its buffer when the used ring turns out to be unreachable is taken, and not given back.
pub fn taken_and_not_given_back<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    for format in FORMATS {
        let mut pair = Pair::new(&mut driver, format, 8, 5);
        let device = pair.device.device.get();
        driver.disable_queue(device, 0).expect("stop");
        let before = pair.rx.position();
        let mut enable = pair.rx.enable(0, pair.space, None, 0);
        enable.device_area = (1 << 40).into();
        driver.enable_queue(device, &enable).expect("start");
        let received = Buffer {
            iova: pair.rx_buffers,
            length: SLOT as u32,
            writable: true,
        };
        let packet = packet(100);
        let sent = Buffer {
            iova: pair.tx_buffers,
            length: packet.len() as u32,
            writable: false,
        };
        pair.tx.write(sent.iova, &packet);
        pair.rx.add(&[received], false).expect("room");
        pair.tx.add(&[sent], false).expect("room");
        pair.ring(&mut driver, 1);
        // The fault itself comes first.
        driver.expect_event();
        let name = format!("{format:?}");
        expect_stop(&mut driver, &name, device, 0, QueueErrorReason::Access);
        let state = driver.query_queue(device, 0).expect("query");
        let position = (state.avail_index.get(), state.used_index.get());
        assert_eq!(position, (before + 1, before), "{name}");
        driver.destroy_device(device).expect("destroy");
    }
}

/// A buffer that is too small stays for a smaller frame; one that has no room for a header, or is partly for the other
/// direction, stops the queue.
pub fn unsuitable_buffers<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    for format in FORMATS {
        let mut pair = Pair::new(&mut driver, format, 8, 0);
        let device = pair.device.device.get();
        let small = Buffer {
            iova: pair.rx_buffers,
            length: 100,
            writable: true,
        };
        let name = pair.rx.add(&[small], false).expect("room");
        let data = packet(100);
        pair.tx.write(pair.tx_buffers, &data);
        let mut send = |pair: &mut Pair, length: u32| {
            let sent = Buffer {
                iova: pair.tx_buffers,
                length,
                writable: false,
            };
            pair.tx.add(&[sent], false).expect("room");
            pair.ring(&mut driver, 1);
            let mut used = |_: &mut A| pair.tx.take_used().is_some();
            assert!(driver.access.wait_until(&mut used), "the frame isn't taken");
            driver.access.settle();
            let statistics = driver.queue_statistics(device, 0).expect("statistics");
            (pair.rx.take_used(), statistics.dropped.get())
        };
        assert_eq!(send(&mut pair, 101), (None, 1), "{format:?}");
        assert_eq!(send(&mut pair, 100), (Some((name, 100)), 1), "{format:?}");
        let large = Buffer {
            iova: pair.rx_buffers,
            length: SLOT as u32,
            writable: true,
        };
        let readable = Buffer {
            writable: false,
            ..small
        };
        pair.rx.add(&[readable, large], false).expect("room");
        send(&mut pair, 100);
        let name = format!("{format:?}");
        expect_stop(&mut driver, &name, device, 0, QueueErrorReason::Buffer);
        pair.tx.add(&[readable, large], false).expect("room");
        pair.ring(&mut driver, 1);
        expect_stop(&mut driver, &name, device, 1, QueueErrorReason::Buffer);
        driver.destroy_device(device).expect("destroy");

        let mut pair = Pair::new(&mut driver, format, 8, 0);
        let device = pair.device.device.get();
        let tiny = Buffer {
            iova: pair.rx_buffers,
            length: HEADER as u32 - 1,
            writable: true,
        };
        let sent = Buffer {
            iova: pair.tx_buffers,
            length: data.len() as u32,
            writable: false,
        };
        pair.tx.write(sent.iova, &data);
        pair.rx.add(&[tiny], false).expect("room");
        pair.tx.add(&[sent], false).expect("room");
        pair.ring(&mut driver, 1);
        expect_stop(&mut driver, &name, device, 0, QueueErrorReason::Buffer);
        driver.destroy_device(device).expect("destroy");
    }
}
