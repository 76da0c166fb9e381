// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Rings in every format: chains of any shape, notifications at an index, tables, and what no driver should put there.

use std::sync::{Arc, Mutex};

use mooring_firmware::hal::RingFormat;
use mooring_firmware::net::features::{ACCESS_PLATFORM, VERSION_1};
use mooring_hw_regs::wire::{
    DeviceCreated, ErrorCode, ExtentOperation, QueueEnable, QueueErrorReason,
};

use super::bad_input::expect_stop;
use super::{mapped_space, BOTH, BROADCAST};
use crate::testing::driver::extent;
use crate::testing::{Buffer, CardAccess, DriverRing, InProcess, Region, TestDriver};

const HEADER: usize = 12;
/// Bytes of a buffer for a frame.
const SLOT: u64 = 2048;
/// Bytes of all buffers for one direction.
const BUFFERS: u64 = SLOT * DriverRing::ENTRIES as u64;
/// Bytes of a pair, in whole pages.
const REGION: u64 = (2 * (DriverRing::LENGTH + BUFFERS)).next_multiple_of(4096);

/// Every format.
pub const FORMATS: [RingFormat; 8] = {
    let mut formats = [RingFormat {
        packed: false,
        indirect: false,
        event_index: false,
    }; 8];
    let mut number = 0;
    while number < formats.len() {
        formats[number] = RingFormat {
            packed: number & 1 != 0,
            indirect: number & 2 != 0,
            event_index: number & 4 != 0,
        };
        number += 1;
    }
    formats
};

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// A device with one pair of rings in a format.
struct Pair {
    device: DeviceCreated,
    space: u16,
    format: RingFormat,
    rx: DriverRing,
    tx: DriverRing,
    /// The buffer of each chain, by its name.
    rx_buffers: u64,
    tx_buffers: u64,
}

impl Pair {
    fn new<A: CardAccess>(
        driver: &mut TestDriver<A>,
        format: RingFormat,
        size: u16,
        first: u16,
    ) -> Self {
        let region = driver.allocate(REGION, 0x10_0000);
        let space = mapped_space(driver, &region);
        Self::in_region(driver, format, size, first, region, space)
    }

    /// The same, in a region that a space maps.
    fn in_region<A: CardAccess>(
        driver: &mut TestDriver<A>,
        format: RingFormat,
        size: u16,
        first: u16,
        mut region: Region,
        space: u16,
    ) -> Self {
        let device = driver.create_device(1, 0).expect("a device");
        let features = VERSION_1 | ACCESS_PLATFORM | DriverRing::features(format);
        driver
            .set_features(device.device.get(), features)
            .expect("the features are offered");
        let ring = |region: &mut Region| {
            DriverRing::new(driver.memory.clone(), region, size, format, first)
        };
        let (rx, tx) = (ring(&mut region), ring(&mut region));
        let pair = Self {
            device,
            space,
            format,
            rx,
            tx,
            rx_buffers: region.allocate(BUFFERS, 8),
            tx_buffers: region.allocate(BUFFERS, 8),
        };
        pair.start(driver);
        pair
    }

    fn vector(&self, queue: u16) -> u16 {
        1 + self.device.first_queue.get() + queue
    }

    fn start<A: CardAccess>(&self, driver: &mut TestDriver<A>) {
        for (queue, ring) in [(0, &self.rx), (1, &self.tx)] {
            let enable = ring.enable(queue, self.space, Some(self.vector(queue)), 0);
            driver
                .enable_queue(self.device.device.get(), &enable)
                .expect("start");
        }
        driver.access.settle();
    }

    /// Stops both queues, which must stand where their drivers do, and starts them there again. What was said about
    /// doorbells before doesn't count.
    fn restart<A: CardAccess>(&self, driver: &mut TestDriver<A>) {
        for (queue, ring) in [(0, &self.rx), (1, &self.tx)] {
            let state = driver
                .disable_queue(self.device.device.get(), queue)
                .expect("stop");
            let position = (state.avail_index.get(), state.used_index.get());
            assert_eq!(position, (ring.position(), ring.position()), "{queue}");
        }
        self.tx.refuse_doorbells();
        self.start(driver);
    }

    fn ring<A: CardAccess>(&self, driver: &mut TestDriver<A>, queue: u16) {
        driver.ring(self.device.first_queue.get() + queue);
    }
}

/// A buffer cut into pieces of any length, none included.
fn cut(numbers: &mut Numbers, iova: u64, length: usize, writable: bool) -> Vec<Buffer> {
    let count = 1 + numbers.below(6);
    let mut cuts: Vec<usize> = (1..count).map(|_| numbers.below(length + 1)).collect();
    cuts.sort_unstable();
    cuts.push(length);
    let mut begin = 0;
    let mut piece = |end: usize| {
        let piece = Buffer {
            iova: iova + begin as u64,
            length: (end - begin) as u32,
            writable,
        };
        begin = end;
        piece
    };
    cuts.into_iter().map(&mut piece).collect()
}

/// Frames go through rings of a format, in chains of any shape, and come back as they were. Doorbells are rung only if
/// the card wants them, and interrupts come exactly if they are wanted. Now and then the queues stop and go on.
///
/// The rings have 2 to the power of `log2` entries, at most 64; split ones begin at `first`. What happens is the same for
/// the same `seed`. The backend must come to rest in `settle`.
pub fn random_chains<A: CardAccess>(
    access: A,
    format: RingFormat,
    log2: u32,
    first: u16,
    seed: u64,
) {
    let mut driver = TestDriver::new(access);
    let mut pair = Pair::new(&mut driver, format, 1 << log2, first);
    let mut numbers = Numbers(seed);
    let mut buffers = std::collections::BTreeMap::new();
    // Chains that the card has to fill, and whether an interrupt may be owed from before.
    let mut offered = 0;
    let mut fresh = true;
    // The card has given receive buffers back.
    let mut received_any = false;
    // How far from here the receive ring's interrupt was last asked for; it may have passed.
    let mut asked = 0;
    for round in 0..40 {
        let what = format!(
            "{format:?}, {} entries, seed {seed}, round {round}",
            1 << log2
        );
        for _ in 0..numbers.below(usize::from(pair.rx.size) + 1) {
            let name = numbers.below(usize::from(pair.rx.size)) as u16;
            if buffers.values().any(|taken| *taken == name) {
                continue;
            }
            let iova = pair.rx_buffers + SLOT * u64::from(name);
            let list = cut(&mut numbers, iova, SLOT as usize, true);
            let as_table = format.indirect && numbers.chance(2);
            if let Some(chain) = pair.rx.add(&list, as_table) {
                buffers.insert(chain, name);
                offered += 1;
            }
        }
        if pair.rx.wants_doorbell() {
            // The card looks for buffers by itself, and says so where it can.
            let can_say = format.packed || !format.event_index;
            assert!(
                !(received_any && can_say),
                "{what}: was to be rung for a buffer"
            );
            pair.ring(&mut driver, 0);
        }

        let later = numbers.below(3) as u16 % pair.rx.size;
        let mut interrupts = true;
        // A driver of a packed ring may say all, none, or at an index.
        let at_index = format.event_index && !(format.packed && numbers.chance(2));
        // What was asked for before stays, if nothing else is.
        let stays = round > 0 && at_index && !format.packed && numbers.chance(3);
        if at_index && !stays {
            pair.rx.ask_interrupt(later);
            asked = i32::from(later);
        } else if !at_index {
            interrupts = !numbers.chance(3);
            pair.rx.set_interrupts(interrupts);
        }
        driver.access.take_interrupt(pair.vector(0));

        let mut sent = Vec::new();
        let mut rung = false;
        for batch in 0..2 {
            for _ in 0..numbers.below(6) {
                let mut packet = vec![0; HEADER];
                packet.extend(BROADCAST);
                let length = 14 + numbers.below(1500) - 6;
                packet.extend((0..length).map(|_| numbers.below(256) as u8));
                // The place in the memory for sending doesn't depend on the chain's name, which isn't known yet.
                let slot = sent.len() as u64;
                let iova = pair.tx_buffers + SLOT * slot;
                let list = cut(&mut numbers, iova, packet.len(), false);
                let as_table = format.indirect && numbers.chance(2);
                if pair.tx.add(&list, as_table).is_some() {
                    pair.tx.write(iova, &packet);
                    sent.push(packet.split_off(HEADER));
                }
            }
            let wants = pair.tx.wants_doorbell();
            assert!(
                !(wants && rung && format.event_index),
                "{what}: batch {batch} was to be rung for again"
            );
            rung |= wants;
        }
        if rung {
            pair.ring(&mut driver, 1);
        }
        driver.access.settle();

        let used = std::iter::from_fn(|| pair.tx.take_used()).count();
        assert_eq!(used, sent.len(), "{what}: frames taken");
        let before = pair.rx.position();
        let mut received = Vec::new();
        while let Some((chain, written)) = pair.rx.take_used() {
            let name = buffers.remove(&chain).expect("a buffer");
            let mut packet = vec![0; written as usize];
            pair.rx
                .read(pair.rx_buffers + SLOT * u64::from(name), &mut packet);
            received.push(packet.split_off(HEADER));
        }
        let expected = sent.len().min(offered);
        assert!(received == sent[..expected], "{what}: frames are changed");
        offered -= expected;

        let passed = passed(&pair, before);
        let wanted = interrupts
            && if at_index {
                (0..i32::from(passed)).contains(&asked)
            } else {
                passed > 0
            };
        let raised = driver.access.take_interrupt(pair.vector(0));
        assert!(
            raised == wanted || (fresh && interrupts && raised && passed > 0),
            "{what}: interrupt {raised}, wanted {wanted}, {passed} passed, at {asked}"
        );
        asked -= i32::from(passed);
        fresh &= passed == 0;
        received_any |= passed > 0;

        if numbers.chance(6) {
            pair.restart(&mut driver);
            fresh = true;
        }
    }
    let statistics = driver
        .statistics(pair.device.device.get())
        .expect("statistics");
    assert_eq!(statistics.queue_errors.get(), 0);
}

/// How far the receive ring has gone since a position.
fn passed(pair: &Pair, before: u16) -> u16 {
    let now = pair.rx.position();
    if !pair.format.packed {
        return now.wrapping_sub(before);
    }
    let place = |position: u16| {
        let round = if position & 0x8000 != 0 {
            0
        } else {
            pair.rx.size
        };
        (position & 0x7fff) + round
    };
    (place(now) + 2 * pair.rx.size - place(before)) % (2 * pair.rx.size)
}

/// Rings of each format, long and short, across their ends.
pub fn all_formats<A: CardAccess>(mut access: impl FnMut() -> A) {
    for (seed, format) in (1..).zip(FORMATS) {
        random_chains(access(), format, 1, 0xfffe, seed);
        random_chains(access(), format, 6, 0xffc0, seed + 100);
    }
}

/// A burst of frames costs few accesses: for each frame its buffer and its descriptor, twice in a packed ring, and little
/// else.
pub fn few_accesses<A: CardAccess>(access: A) {
    const FRAMES: u64 = 32;
    let mut driver = TestDriver::new(access);
    for format in FORMATS {
        let mut pair = Pair::new(&mut driver, format, DriverRing::ENTRIES, 0);
        let device = pair.device.device.get();
        driver.disable_queue(device, 0).expect("stop");
        let accesses = |driver: &mut TestDriver<A>| {
            driver.access.settle();
            let statistics = driver.statistics(device).expect("statistics");
            (statistics.dma_reads.get(), statistics.dma_writes.get())
        };
        let before = accesses(&mut driver);
        for number in 0..FRAMES {
            let buffer = Buffer {
                iova: pair.tx_buffers + SLOT * number,
                length: 100,
                writable: false,
            };
            pair.tx.add(&[buffer], false).expect("room");
        }
        pair.ring(&mut driver, 1);
        let mut used = |_: &mut A| pair.tx.take_used().is_some();
        for _ in 0..FRAMES {
            assert!(driver.access.wait_until(&mut used), "a frame isn't taken");
        }
        let after = accesses(&mut driver);
        let (reads, writes) = (after.0 - before.0, after.1 - before.1);
        // Each buffer is read; each used descriptor of a packed ring is written, and the used ring in parts.
        assert!(
            reads >= FRAMES && (writes >= FRAMES) == format.packed,
            "{format:?}: {reads} reads, {writes} writes"
        );
        let spent = reads + writes;
        // Once a burst, or once in eight or sixteen frames: indices, flags, heads, used elements, event suppression.
        let shared = if format.packed { 20 } else { 12 };
        assert!(
            (2 * FRAMES..=2 * FRAMES + shared).contains(&spent),
            "{format:?}: {spent} accesses for {FRAMES} frames"
        );
    }
}

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

/// A packet whose bytes differ.
fn packet(length: u8) -> Vec<u8> {
    [&[0; HEADER][..], &BROADCAST, &Vec::from_iter(0..length)].concat()
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
