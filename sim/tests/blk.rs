// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Block devices, driven as a driver would, against a model of a disk that is an array of bytes.

mod blk_support;

use std::sync::Arc;

use blk_support::*;
use mooring_firmware::block::features;
use mooring_firmware::ring::features as ring;
use mooring_hw_regs::wire::{
    EventKind, Opcode, QueueErrorReason, PERMISSION_READ, PERMISSION_WRITE,
};
use mooring_sim::testing::{scenarios, Buffer, CardAccess};
use mooring_sim::CardConfig;
use proptest::prelude::*;

/// One thing that a driver does.
#[derive(Clone, Debug)]
enum Step {
    Read {
        sector: u64,
        sectors: usize,
    },
    Write {
        sector: u64,
        sectors: usize,
        content: u8,
    },
    Zero {
        sector: u64,
        sectors: u32,
    },
    Discard(Vec<(u64, u32)>),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    // Some of it reaches beyond the end.
    let place = || (0..SECTORS + 4, 0usize..12);
    prop_oneof![
        place().prop_map(|(sector, sectors)| Step::Read { sector, sectors }),
        (place(), any::<u8>()).prop_map(|((sector, sectors), content)| Step::Write {
            sector,
            sectors,
            content
        }),
        place().prop_map(|(sector, sectors)| Step::Zero {
            sector,
            sectors: sectors as u32
        }),
        prop::collection::vec((0..SECTORS + 4, 0u32..12), 1..4).prop_map(Step::Discard),
        Just(Step::Flush),
    ]
}

/// A range as it is in a request, without flags.
fn range(sector: u64, sectors: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &[0; 4]].concat()
}

/// The bytes of sectors, if they lie on the disk.
fn bytes(sector: u64, sectors: u64) -> Option<std::ops::Range<usize>> {
    (sector + sectors <= SECTORS)
        .then(|| (sector * 512) as usize..((sector + sectors) * 512) as usize)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done, in however many pieces and on whichever queue, the disk is what an array would be.
    #[test]
    fn disk_is_an_array_of_bytes(
        steps in prop::collection::vec((step(), 0usize..5, 0usize..3), 1..40),
        without in prop::sample::subsequence(vec![ring::RING_PACKED, ring::INDIRECT_DESC, ring::EVENT_IDX], 0..=3),
    ) {
        let disk = MemoryDisk::new();
        let mut rig = Rig::new(card(disk.clone()), 3, without.iter().sum());
        let mut model = disk.content();
        for (step, pieces, queue) in steps {
            let (header, out, room, expected) = match step {
                Step::Read { sector, sectors } => {
                    let expected = bytes(sector, sectors as u64).map(|range| model[range].to_vec());
                    ((IN, sector), Vec::new(), sectors * 512, expected)
                }
                Step::Write { sector, sectors, content } => {
                    // No two sectors are alike.
                    let data: Vec<u8> = (0..sectors * 512).map(|at| content ^ (at / 512) as u8 ^ at as u8).collect();
                    let range = bytes(sector, sectors as u64);
                    let expected = range.map(|range| {
                        model[range].copy_from_slice(&data);
                        Vec::new()
                    });
                    ((OUT, sector), data, 0, expected)
                }
                Step::Zero { sector, sectors } => {
                    let expected = bytes(sector, sectors.into()).map(|range| {
                        model[range].fill(0);
                        Vec::new()
                    });
                    ((WRITE_ZEROES, 0), range(sector, sectors), 0, expected)
                }
                Step::Discard(ranges) => {
                    let all: Option<Vec<_>> = ranges.iter().map(|(sector, sectors)| bytes(*sector, (*sectors).into())).collect();
                    let expected = all.map(|all| {
                        all.into_iter().for_each(|range| model[range].fill(0xdd));
                        Vec::new()
                    });
                    let out = ranges.iter().flat_map(|(sector, sectors)| range(*sector, *sectors)).collect();
                    ((DISCARD, 0), out, 0, expected)
                }
                Step::Flush => ((FLUSH, 0), Vec::new(), 0, Some(Vec::new())),
            };
            let sent = rig.send(queue, header, &out, room, pieces);
            rig.ring(queue);
            let answer = rig.wait(&sent);
            match expected {
                Some(data) => {
                    prop_assert_eq!(answer.status, OK);
                    prop_assert_eq!(answer.written as usize, room + 1);
                    prop_assert_eq!(answer.data, data);
                }
                None => {
                    prop_assert_eq!(answer.status, IO_ERROR);
                    // Nothing but the status was touched.
                    prop_assert!(answer.data.iter().all(|byte| *byte == 0x55));
                    prop_assert_eq!(answer.written, u32::from(room == 0));
                }
            }
            prop_assert_eq!(disk.content(), &model[..]);
        }
        prop_assert!(rig.driver.event().is_none());
    }
}

#[test]
fn driver_learns_of_each_request_by_an_interrupt() {
    let mut rig = Rig::new(card(MemoryDisk::new()), 2, 0);
    for queue in [0, 1] {
        let sent = rig.send(queue, (IN, 0), &[], 512, 1);
        rig.ring(queue);
        assert!(rig.driver.access.wait_interrupt(1 + queue as u16));
        assert_eq!(rig.wait(&sent).status, OK);
    }
}

#[test]
fn disk_has_a_name() {
    let mut rig = Rig::new(card(MemoryDisk::new()), 1, 0);
    let answer = rig.request((GET_ID, 0), &[], 20);
    assert_eq!(answer.status, OK);
    assert_eq!(&answer.data, b"mooring-disk-0\0\0\0\0\0\0");
}

#[test]
fn requests_that_make_no_sense_are_answered() {
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(card(disk.clone()), 1, 0);
    let before = disk.content();
    for (request, status) in [
        (rig.request((99, 0), &[], 0), UNSUPPORTED),
        (rig.request((IN, 0), &[], 511), IO_ERROR),
        (rig.request((OUT, u64::MAX), &[1; 512], 0), IO_ERROR),
        (rig.request((OUT, 0), &[1; 512], 512), IO_ERROR),
        (rig.request((DISCARD, 0), &[0; 17], 0), IO_ERROR),
        (rig.request((GET_ID, 0), &[], 3), IO_ERROR),
    ] {
        assert_eq!(request.status, status);
    }
    // A header that is too short.
    let at = rig.region.allocate(64, 16);
    let head = rig.queues[0].add(
        &[
            Buffer {
                iova: at,
                length: 15,
                writable: false,
            },
            Buffer {
                iova: at + 32,
                length: 1,
                writable: true,
            },
        ],
        false,
    );
    rig.write(at + 32, &[NO_STATUS]);
    rig.ring(0);
    rig.driver.access.settle();
    assert_eq!(rig.queues[0].take_used(), head.map(|head| (head, 1)));
    assert_eq!(rig.read(at + 32, 1), [IO_ERROR]);
    assert_eq!(disk.content(), before);
    // The queue goes on.
    assert_eq!(rig.request((IN, 0), &[], 512).status, OK);
}

#[test]
fn request_without_room_for_an_answer_stops_the_queue() {
    let mut rig = Rig::new(card(MemoryDisk::new()), 2, 0);
    rig.stop_by_a_request_without_room();
    // The other queue goes on.
    let sent = rig.send(1, (IN, 0), &[], 512, 1);
    rig.ring(1);
    assert_eq!(rig.wait(&sent).status, OK);
}

#[test]
fn refused_accesses_stop_the_queue_and_leave_the_disk_alone() {
    for (header, data_writable, permission) in [
        ((OUT, 0), false, PERMISSION_READ),
        ((IN, 0), true, PERMISSION_WRITE),
    ] {
        let disk = MemoryDisk::new();
        let mut rig = Rig::new(card(disk.clone()), 1, 0);
        let at = rig.region.allocate(64, 16);
        let unmapped = 0x7000_0000;
        rig.write(at, &u32::to_le_bytes(header.0));
        rig.queues[0].add(
            &[
                Buffer {
                    iova: at,
                    length: 16,
                    writable: false,
                },
                Buffer {
                    iova: unmapped,
                    length: 512,
                    writable: data_writable,
                },
                Buffer {
                    iova: at + 32,
                    length: 1,
                    writable: true,
                },
            ],
            false,
        );
        rig.ring(0);
        let fault = rig.event(EventKind::IommuFault);
        assert_eq!((fault.iova.get(), fault.length.get()), (unmapped, 512));
        assert_eq!(fault.detail.get(), permission);
        rig.expect_stop(QueueErrorReason::Access);
        assert_eq!(disk.content(), MemoryDisk::new().content());
    }
}

#[test]
fn read_only_disk_is_not_written() {
    let disk = Arc::new(MemoryDisk::with(true));
    let mut rig = Rig::new(card(disk.clone()), 1, 0);
    let offered = rig.device.features.get();
    assert_eq!(offered & (features::RO | features::DISCARD), features::RO);
    assert_eq!(rig.request((OUT, 0), &[1; 512], 0).status, IO_ERROR);
    assert_eq!(
        rig.request((DISCARD, 0), &range(0, 8), 0).status,
        UNSUPPORTED
    );
    assert_eq!(rig.request((IN, 0), &[], 512).status, OK);
    assert_eq!(disk.content(), MemoryDisk::new().content());
}

#[test]
fn written_data_are_stable_when_they_must_be() {
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(card(disk.clone()), 1, 0);
    assert_eq!(rig.request((OUT, 0), &[1; 512], 0).status, OK);
    assert_eq!(disk.flushes(), 0);
    assert_eq!(rig.request((FLUSH, 0), &[], 0).status, OK);
    assert_eq!(disk.flushes(), 1);

    // A driver that knows no FLUSH has to find everything stable.
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(card(disk.clone()), 1, features::FLUSH | features::DISCARD);
    assert_eq!(rig.request((OUT, 0), &[1; 512], 0).status, OK);
    assert_eq!(disk.flushes(), 1);
    assert_eq!(rig.request((WRITE_ZEROES, 0), &range(0, 1), 0).status, OK);
    assert_eq!(disk.flushes(), 2);
    assert_eq!(rig.request((FLUSH, 0), &[], 0).status, UNSUPPORTED);
    assert_eq!(
        rig.request((DISCARD, 0), &range(0, 8), 0).status,
        UNSUPPORTED
    );
    assert_eq!(disk.discards(), 0);
}

#[test]
fn errors_of_the_disk_are_answered() {
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(card(disk.clone()), 1, 0);
    // The next request's data get the memory of these.
    assert_eq!(rig.request((OUT, 1), &[7; 512], 0).status, OK);
    disk.fail(true);
    let answer = rig.request((IN, 0), &[], 512);
    assert_eq!((answer.status, answer.written), (IO_ERROR, 0));
    assert!(
        answer.data.iter().all(|byte| *byte == 0x55),
        "old data get out"
    );
    assert_eq!(rig.request((OUT, 0), &[1; 512], 0).status, IO_ERROR);
    disk.fail(false);
    assert_eq!(rig.request((IN, 0), &[], 512).status, OK);
}

#[test]
fn disk_stays_through_resets_of_device_and_card() {
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(card(disk.clone()), 1, 0);
    assert_eq!(rig.request((OUT, 3), &[9; 512], 0).status, OK);
    let number = rig.device.device.get();
    rig.driver.reset_device(number).expect("a reset");
    rig.start();
    assert_eq!(rig.request((IN, 3), &[], 512).data, [9; 512]);

    let Rig { driver, .. } = rig;
    let mut access = driver.access;
    access.function_reset();
    let mut rig = Rig::new(access, 1, 0);
    assert_eq!(rig.request((IN, 3), &[], 512).data, [9; 512]);
}

#[test]
fn slow_disk_does_not_hold_up_frames() {
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(threaded(CardConfig::default(), &disk), 1, 0);
    disk.close();
    let sent = rig.send(0, (OUT, 0), &[5; 512], 0, 1);
    rig.ring(0);
    let (mut pair, _) = scenarios::running_pair(&mut rig.driver, 0x2000_0000);
    for content in 0..20 {
        scenarios::expect_echo(&mut rig.driver, &mut pair, content);
    }
    assert_eq!(rig.queues[0].take_used(), None, "the disk is closed");
    disk.open();
    assert_eq!(rig.wait(&sent).status, OK);
    assert_eq!(disk.content()[..512], [5; 512]);
}

#[test]
fn read_at_once_does_not_wait_for_the_thread_and_overtakes_no_write() {
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(threaded(CardConfig::default(), &disk), 1, 0);
    disk.cache();
    disk.close();
    assert_eq!(rig.request((IN, 0), &[], 512).data, [0; 512]);
    let write = rig.send(0, (OUT, 0), &[5; 512], 0, 1);
    let read = rig.send(0, (IN, 0), &[], 512, 1);
    rig.ring(0);
    rig.driver.access.settle();
    assert_eq!(rig.queues[0].take_used(), None, "the disk is closed");
    disk.open();
    assert_eq!(rig.wait(&write).status, OK);
    assert_eq!(rig.wait(&read).data, [5; 512]);
}

#[test]
fn requests_are_counted() {
    let mut rig = Rig::new(card(MemoryDisk::new()), 2, 0);
    rig.request((OUT, 0), &[1; 1024], 0);
    rig.request((IN, 0), &[], 512);
    rig.request((FLUSH, 0), &[], 0);
    rig.request((IN, SECTORS), &[], 512);
    let counted = rig.queue_statistics(0);
    assert_eq!((counted.packets.get(), counted.bytes.get()), (4, 1536));
    assert_eq!(rig.queue_statistics(1).packets.get(), 0);
}

#[test]
fn requests_wait_while_the_disk_has_enough_to_do() {
    const LENGTH: u32 = 100 << 10;
    let (queues, each) = (8u16, 25u16);
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(
        threaded(CardConfig::default(), &disk),
        queues,
        ring::RING_PACKED,
    );
    let number = rig.device.device.get();
    disk.close();
    // Together more than the card takes at a time; all read the same to the same place.
    let at = rig.region.iova + (2 << 20);
    rig.write(at, &[0; 16]);
    for queue in 0..usize::from(queues) {
        for _ in 0..each {
            rig.queues[queue].add(
                &[
                    Buffer {
                        iova: at,
                        length: 16,
                        writable: false,
                    },
                    Buffer {
                        iova: at + 4096,
                        length: LENGTH + 1,
                        writable: true,
                    },
                ],
                false,
            );
        }
        rig.ring(queue);
    }
    rig.driver.access.settle();
    let taken: u16 = (0..queues)
        .map(|queue| {
            rig.driver
                .query_queue(number, queue)
                .expect("query")
                .avail_index
                .get()
        })
        .sum();
    assert!((1..queues * each).contains(&taken), "{taken} are taken");
    disk.open();
    for queue in 0..usize::from(queues) {
        for _ in 0..each {
            let ring = &mut rig.queues[queue];
            let mut used = None;
            let came = rig.driver.access.wait_until(|_| {
                used = ring.take_used();
                used.is_some()
            });
            assert!(came, "queue {queue} is forgotten");
            assert_eq!(used.expect("it came").1, LENGTH + 1);
        }
    }
    assert!(rig.driver.event().is_none());
}

/// Makes a request available whose header is in 16 bytes at `at`, and whose data are all in the same `length` bytes.
fn add_large(rig: &mut Rig, at: u64, request_type: u32, (length, count): (u32, usize)) {
    rig.write(at, &request_type.to_le_bytes());
    rig.write(at + 4, &[0; 12]);
    let buffer = |iova, length, writable| Buffer {
        iova,
        length,
        writable,
    };
    let mut buffers = vec![buffer(at, 16, false)];
    buffers.extend(vec![buffer(at + 4096, length, request_type == IN); count]);
    buffers.push(buffer(at + 32, 1, true));
    rig.write(at + 32, &[NO_STATUS]);
    rig.queues[0].add(&buffers, false).expect("room");
    rig.ring(0);
}

#[test]
fn limits_that_were_not_agreed_on_are_none() {
    // More than SIZE_MAX in a buffer, and more than fits SEG_MAX of them; and then more than the card takes.
    const SECTORS_16M: u64 = (16 << 20) / 512;
    for (agreed, without) in [(false, features::SIZE_MAX | features::SEG_MAX), (true, 0)] {
        let disk = Arc::new(MemoryDisk::sized(SECTORS_16M + 1, false));
        let mut rig = Rig::new(card(disk.clone()), 1, without);
        let at = rig.region.iova + (2 << 20);
        let mut expect = |request_type, pieces: (u32, usize), status| {
            add_large(&mut rig, at, request_type, pieces);
            let mut used = None;
            let ring = &mut rig.queues[0];
            rig.driver.access.wait_until(|_| {
                used = ring.take_used();
                used.is_some()
            });
            let answer = (used.is_some(), rig.read(at + 32, 1)[0]);
            assert_eq!(answer, (true, status), "{agreed} {pieces:?}");
        };
        expect(OUT, (1 << 20, 16), OK);
        expect(IN, (1 << 20, 16), OK);
        expect(IN, (512, 60), OK);
        expect(OUT, ((1 << 20) + 32, 16), IO_ERROR);
        assert_eq!(rig.request((IN, SECTORS_16M), &[], 512).status, OK);
        assert!(rig.driver.event().is_none());
    }
}

/// Where queues stand.
fn taken(rig: &mut Rig, queue: u16) -> u16 {
    let state = rig.driver.query_queue(rig.device.device.get(), queue);
    state.expect("query").avail_index.get()
}

#[test]
fn flood_of_a_queue_does_not_starve_another() {
    const FLOOD: u16 = 24;
    let disk = MemoryDisk::new();
    let mut rig = Rig::new(threaded(CardConfig::default(), &disk), 2, ring::RING_PACKED);
    disk.close();
    for _ in 0..FLOOD {
        rig.send(0, (IN, 0), &[], SECTORS as usize * 512, 1);
    }
    rig.ring(0);
    rig.driver.access.settle();
    let before = taken(&mut rig, 0);
    assert!((1..FLOOD / 2).contains(&before), "{before} are taken");
    // It is taken although the first queue has far more to do, and carried out right after what had been taken then. Some
    // more, since the disk may do a few things at a time.
    let sent = rig.send(1, (IN, 0), &[], 512, 1);
    rig.ring(1);
    rig.driver.access.settle();
    assert_eq!(taken(&mut rig, 1), 1);
    disk.open_for(u32::from(before) + 4);
    assert_eq!(rig.wait(&sent).status, OK);
    assert!(taken(&mut rig, 0) < FLOOD, "nothing was left to wait for");
    disk.open();
    let mut answered = 0;
    while answered < FLOOD {
        let ring = &mut rig.queues[0];
        assert!(rig.driver.access.wait_until(|_| ring.take_used().is_some()));
        answered += 1;
    }
}

#[test]
fn few_requests_are_taken_that_take_the_disk_long() {
    // Reads of a sector, as many as there are; flushes; zeros, of which each alone is as much as a queue may have.
    for (header, out, room, most) in [
        ((IN, 0), Vec::new(), 512, 24),
        ((FLUSH, 0), Vec::new(), 0, 16),
        ((WRITE_ZEROES, 0), range(0, 1 << 14), 0, 1),
    ] {
        let disk = Arc::new(MemoryDisk::sized(1 << 14, false));
        let mut rig = Rig::new(
            threaded(CardConfig::default(), &disk),
            1,
            ring::RING_PACKED | ring::INDIRECT_DESC,
        );
        disk.close();
        for _ in 0..24 {
            rig.send(0, header, &out, room, 0);
        }
        rig.ring(0);
        rig.driver.access.settle();
        assert_eq!(taken(&mut rig, 0), most, "{header:?}");
        disk.open();
    }
}

#[test]
fn block_query_needs_a_block_device() {
    let mut rig = Rig::new(card(MemoryDisk::new()), 1, 0);
    let net = rig.driver.create_device(1, 0).expect("a network device");
    let room = [0u8; 48];
    assert!(rig
        .driver
        .command(
            Opcode::BlockQuery,
            rig.device.device.get(),
            &[0u8; 0],
            &room
        )
        .is_ok());
    assert!(rig
        .driver
        .command(Opcode::BlockQuery, net.device.get(), &[0u8; 0], &room)
        .is_err());
}
