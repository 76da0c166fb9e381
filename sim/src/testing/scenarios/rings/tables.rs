// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Descriptors and tables of descriptors: what no driver should put there, and what it may.

use mooring_firmware::hal::RingFormat;
use mooring_firmware::net::features::{ACCESS_PLATFORM, VERSION_1};
use mooring_hw_regs::wire::{ErrorCode, ExtentOperation, QueueEnable, QueueErrorReason};

use super::{packet, Pair, HEADER, REGION, SLOT};
use crate::testing::driver::extent;
use crate::testing::scenarios::bad_input::expect_stop;
use crate::testing::scenarios::{mapped_space, BOTH};
use crate::testing::{Buffer, CardAccess, DriverRing, TestDriver};

/// Descriptors and tables that no driver may make stop their queue with the right reason.
pub fn bad_tables<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    const NEXT: u16 = 1;
    const WRITE: u16 = 2;
    const INDIRECT: u16 = 4;
    const AVAIL: u16 = 1 << 7;
    use QueueErrorReason::{Access, Buffer, Ring};
    type Break = fn(&DriverRing, u64, u16);
    /// Puts a descriptor that is available into the first place of the ring.
    fn first(ring: &DriverRing, iova: u64, length: u32, flags: u16) {
        ring.write_descriptor(ring.descriptor(0), iova, length, flags | AVAIL, 0);
    }
    let cases: [(&str, QueueErrorReason, bool, Break); 13] = [
        ("a table of nothing", Ring, true, |ring, table, _| {
            first(ring, table, 0, INDIRECT)
        }),
        ("a part of an entry", Ring, true, |ring, table, _| {
            first(ring, table, 24, INDIRECT)
        }),
        ("a table and a next one", Ring, true, |ring, table, _| {
            first(ring, table, 16, INDIRECT | NEXT)
        }),
        ("a table in a table", Ring, true, |ring, table, _| {
            ring.write_descriptor(table, table, 16, INDIRECT, 0);
            first(ring, table, 16, INDIRECT);
        }),
        ("an endless table", Ring, true, |ring, table, _| {
            // Of a split ring the entry names itself; of a packed one all entries count, and there are too many.
            ring.write_descriptor(table, table, 0, NEXT, 0);
            first(ring, table, 16 * 2000, INDIRECT);
        }),
        ("the longest table", Ring, true, |ring, table, _| {
            ring.write_descriptor(table, table, 0, NEXT, 0);
            first(ring, table, 0xffff_fff0, INDIRECT);
        }),
        ("nowhere", Access, true, |ring, _, _| {
            first(ring, 1 << 40, 16, INDIRECT)
        }),
        ("at the last address", Access, true, |ring, _, _| {
            first(ring, u64::MAX, 32, INDIRECT)
        }),
        (
            "readable behind writable",
            Buffer,
            true,
            |ring, table, split| {
                ring.write_descriptor(table, table, 64, WRITE | (NEXT & split), 1);
                ring.write_descriptor(table + 16, table, 64, 0, 0);
                first(ring, table, 32, INDIRECT);
            },
        ),
        ("no table was agreed on", Ring, false, |ring, table, _| {
            ring.write_descriptor(table, table, 64, 0, 0);
            first(ring, table, 16, INDIRECT);
        }),
        (
            "a next one behind the table",
            Ring,
            true,
            |ring, table, split| {
                ring.write_descriptor(table, table, 64, NEXT, 1);
                // In a packed ring's table it is the length that counts.
                let length = if split != 0 { 16 } else { 24 };
                first(ring, table, length, INDIRECT);
            },
        ),
        ("a table in a list", Ring, true, |ring, table, _| {
            // That is legal in a split ring, but there the list goes on with its own head.
            first(ring, table, 0, NEXT);
            ring.write_descriptor(ring.descriptor(1), table, 16, INDIRECT | AVAIL, 0);
        }),
        ("a ring of next ones", Ring, true, |ring, table, _| {
            for index in 0..ring.size {
                let flags = NEXT | AVAIL;
                ring.write_descriptor(ring.descriptor(index), table, 0, flags, 0);
            }
        }),
    ];
    let region = driver.allocate(REGION, 0x10_0000);
    let space = mapped_space(&mut driver, &region);
    for packed in [false, true] {
        for (name, reason, indirect, spoil) in cases {
            let format = RingFormat {
                packed,
                indirect,
                event_index: true,
            };
            let pair = Pair::in_region(&mut driver, format, 8, 0, region.clone(), space);
            let zeroes = vec![0; region.length as usize];
            pair.tx.write(region.iova, &zeroes);
            spoil(&pair.tx, pair.tx.table(0), if packed { 0 } else { NEXT });
            if !packed {
                pair.tx.publish_split(0);
            }
            pair.ring(&mut driver, 1);
            let device = pair.device.device.get();
            if reason == Access {
                // The fault itself comes first.
                driver.expect_event();
            }
            expect_stop(&mut driver, name, device, 1, reason);
            driver.destroy_device(device).expect("destroy");
        }
    }
}

/// A descriptor of a table in memory that no ring knows.
fn entry(packed: bool, iova: u64, length: u32, flags: u16, next: u16) -> Vec<u8> {
    let (before, last) = if packed { (0, flags) } else { (flags, next) };
    [
        &iova.to_le_bytes()[..],
        &length.to_le_bytes(),
        &before.to_le_bytes(),
        &last.to_le_bytes(),
    ]
    .concat()
}

/// Tables that are longer than what the card reads at once; in a split ring their entries are linked in no order. They lie
/// in the address space of the buffers, which isn't that of the rings, and nothing is mapped behind them.
pub fn long_tables<A: CardAccess>(access: A) {
    const NEXT: u16 = 1;
    const ENTRIES: u16 = 70;
    let mut driver = TestDriver::new(access);
    let mut region = driver.allocate(REGION, 0x10_0000);
    let ring_space = mapped_space(&mut driver, &region);
    let buffers = driver.allocate(16384, 0x80_0000);
    let space = mapped_space(&mut driver, &buffers);
    for packed in [false, true] {
        let format = RingFormat {
            packed,
            indirect: true,
            event_index: false,
        };
        let created = driver.create_device(1, 0).expect("a device");
        let device = created.device.get();
        let features = VERSION_1 | ACCESS_PLATFORM | DriverRing::features(format);
        driver.set_features(device, features).expect("features");
        let mut rings = [0, 1].map(|queue| {
            let ring = DriverRing::new(driver.memory.clone(), &mut region, 8, format, 0);
            let mut enable = ring.enable(queue, space, None, 0);
            enable.ring_address_space = ring_space.into();
            driver.enable_queue(device, &enable).expect("start");
            ring
        });
        let [rx, tx] = &mut rings;

        let received = Buffer {
            iova: buffers.iova + 4096,
            length: SLOT as u32,
            writable: true,
        };
        rx.add(&[received], false).expect("room");
        // Two bytes in each entry but the last one.
        let packet = packet(200);
        let data = buffers.iova + 8192;
        let table = buffers.iova + buffers.length - 16 * u64::from(ENTRIES);
        driver
            .memory
            .write(buffers.bus(data), &packet)
            .expect("memory");
        for place in 0..ENTRIES {
            let more = place + 1 < ENTRIES;
            let begin = 2 * u32::from(place);
            let length = if more { 2 } else { packet.len() as u32 - begin };
            // The head comes first in either case; the others of a split ring's table go backwards.
            let at = |place: u16| match packed {
                true => place,
                false => (ENTRIES - place) % ENTRIES,
            };
            let flags = if more && !packed { NEXT } else { 0 };
            let next = at(place + 1);
            let bytes = entry(packed, data + u64::from(begin), length, flags, next);
            let bus = buffers.bus(table) + 16 * u64::from(at(place));
            driver.memory.write(bus, &bytes).expect("memory");
        }
        tx.add_table(table, ENTRIES.into()).expect("room");
        driver.ring(created.first_queue.get() + 1);
        assert!(
            driver.access.wait_until(|_| tx.take_used().is_some()),
            "{format:?}: the table isn't taken"
        );
        let mut written = None;
        assert!(driver.access.wait_until(|_| {
            written = rx.take_used();
            written.is_some()
        }));
        let mut echo = vec![0; packet.len()];
        driver
            .memory
            .read(buffers.bus(received.iova), &mut echo)
            .expect("memory");
        assert_eq!(written.map(|(_, written)| written), Some(echo.len() as u32));
        assert_eq!(echo[HEADER..], packet[HEADER..], "{format:?}");
        driver.destroy_device(device).expect("destroy");
    }
}

/// A chain of a split ring may end with a table.
pub fn a_table_behind_a_buffer<A: CardAccess>(access: A) {
    const NEXT: u16 = 1;
    const INDIRECT: u16 = 4;
    let mut driver = TestDriver::new(access);
    let format = RingFormat {
        packed: false,
        indirect: true,
        event_index: false,
    };
    let mut pair = Pair::new(&mut driver, format, 8, 0);
    let received = Buffer {
        iova: pair.rx_buffers,
        length: SLOT as u32,
        writable: true,
    };
    pair.rx.add(&[received], false).expect("room");
    let packet = packet(100);
    let (tx, begin, table) = (&pair.tx, pair.tx_buffers, pair.tx.table(0));
    tx.write(begin, &packet);
    let rest = packet.len() as u32 - 20;
    tx.write_descriptor(tx.descriptor(0), begin, 20, NEXT, 5);
    tx.write_descriptor(tx.descriptor(5), table, 16, INDIRECT, 0);
    tx.write_descriptor(table, begin + 20, rest, 0, 0);
    tx.publish_split(0);
    pair.ring(&mut driver, 1);
    let mut used = |_: &mut A| pair.rx.take_used().is_some();
    assert!(driver.access.wait_until(&mut used), "the chain isn't taken");
    let mut echo = vec![0; packet.len()];
    pair.rx.read(pair.rx_buffers, &mut echo);
    assert_eq!(echo[HEADER..], packet[HEADER..]);
}

/// A packed ring works to its last descriptor where nothing is behind it.
pub fn memory_ends_with_the_ring<A: CardAccess>(access: A) {
    const SIZE: u16 = 256;
    const ALIAS: u64 = 0x100_0000;
    let mut driver = TestDriver::new(access);
    let format = RingFormat {
        packed: true,
        indirect: false,
        event_index: true,
    };
    let region = driver.allocate(REGION, 0x10_0000);
    let space = mapped_space(&mut driver, &region);
    let mut pair = Pair::in_region(&mut driver, format, 64, 0, region, space);
    let device = pair.device.device.get();
    driver.disable_queue(device, 1).expect("stop");
    // The descriptors take exactly the first page, which is all that is mapped where the queue looks for them.
    let mut page = driver.allocate(128 << 10, 0x80_0000);
    let rest = page.clone();
    let mut tx = DriverRing::new(driver.memory.clone(), &mut page, SIZE, format, 0);
    let maps = [(rest.iova, rest.bus, rest.length), (ALIAS, rest.bus, 4096)]
        .map(|(iova, bus, length)| extent(ExtentOperation::Add, iova, bus, length, BOTH));
    driver.change(space, &maps).expect("an update");
    let mut enable = tx.enable(1, space, None, 0);
    enable.descriptor_area = ALIAS.into();
    driver.enable_queue(device, &enable).expect("start");
    let sent = Buffer {
        iova: pair.tx_buffers,
        length: 100,
        writable: false,
    };
    for number in 0..=SIZE {
        tx.add(&[sent], false).expect("room");
        pair.ring(&mut driver, 1);
        let mut used = |_: &mut A| tx.take_used().is_some();
        assert!(driver.access.wait_until(&mut used), "frame {number}");
    }
    assert_eq!(pair.rx.take_used(), None);
}

/// Set-ups that a packed ring can't have.
pub fn bad_packed_set_up<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let format = RingFormat {
        packed: true,
        ..RingFormat::default()
    };
    let pair = Pair::new(&mut driver, format, 8, 0);
    let device = pair.device.device.get();
    let state = driver.disable_queue(device, 1).expect("stop");
    assert_eq!(
        (state.avail_index.get(), state.used_index.get()),
        (0x8000, 0x8000)
    );
    let good = pair.tx.enable(1, pair.space, None, 0);
    type Spoil = fn(&mut QueueEnable);
    let cases: [Spoil; 6] = [
        |enable| enable.avail_index = 0x8008.into(),
        |enable| enable.used_index = 8.into(),
        |enable| enable.avail_index = 1.into(),
        |enable| enable.used_index = 0x8001.into(),
        |enable| enable.driver_area = (enable.driver_area.get() + 2).into(),
        |enable| enable.device_area = (enable.device_area.get() + 2).into(),
    ];
    for (number, spoil) in cases.into_iter().enumerate() {
        let mut enable = good;
        spoil(&mut enable);
        let refused = driver.enable_queue(device, &enable);
        assert_eq!(refused, Err(ErrorCode::InvalidArgument), "case {number}");
    }
    driver.enable_queue(device, &good).expect("start");
}
