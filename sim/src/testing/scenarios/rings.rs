// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Rings in every format: chains of any shape, notifications at an index; in files of their own: tables, errors, and the order
//! of accesses.

mod errors;
mod merged;
mod order;
mod tables;

pub use errors::*;
pub use merged::*;
pub use order::*;
pub use tables::*;

use mooring_firmware::hal::RingFormat;
use mooring_firmware::net::features::{ACCESS_PLATFORM, MRG_RXBUF, VERSION_1};
use mooring_hw_regs::wire::DeviceCreated;

use super::{mapped_space, BROADCAST};
use crate::testing::{Buffer, CardAccess, DriverRing, Region, TestDriver};

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

    /// A pair whose frames may take several buffers.
    fn merging<A: CardAccess>(driver: &mut TestDriver<A>, format: RingFormat, size: u16) -> Self {
        let region = driver.allocate(REGION, 0x10_0000);
        let space = mapped_space(driver, &region);
        Self::with_features(driver, format, size, 0, (region, space), MRG_RXBUF)
    }

    /// The same, in a region that a space maps.
    fn in_region<A: CardAccess>(
        driver: &mut TestDriver<A>,
        format: RingFormat,
        size: u16,
        first: u16,
        region: Region,
        space: u16,
    ) -> Self {
        Self::with_features(driver, format, size, first, (region, space), 0)
    }

    /// The same, with more features.
    fn with_features<A: CardAccess>(
        driver: &mut TestDriver<A>,
        format: RingFormat,
        size: u16,
        first: u16,
        (mut region, space): (Region, u16),
        more: u64,
    ) -> Self {
        let device = driver.create_device(1, 0).expect("a device");
        let features = VERSION_1 | ACCESS_PLATFORM | DriverRing::features(format) | more;
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

/// A packet whose bytes differ.
fn packet(length: u8) -> Vec<u8> {
    [&[0; HEADER][..], &BROADCAST, &Vec::from_iter(0..length)].concat()
}
