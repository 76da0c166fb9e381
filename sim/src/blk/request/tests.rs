// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::*;

const ALL: u64 = features::FLUSH | features::DISCARD | features::WRITE_ZEROES;

fn limits(features: u64, read_only: bool) -> Limits {
    Limits {
        info: DiskInfo {
            sectors: 100_000,
            block_size: 512,
            physical_block_size: 512,
            read_only,
        },
        features,
    }
}

fn header(request_type: u32, sector: u64) -> [u8; HEADER_SIZE] {
    let mut header = [0xff; HEADER_SIZE];
    header[..4].copy_from_slice(&request_type.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    header
}

fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    let mut bytes = sector.to_le_bytes().to_vec();
    bytes.extend(sectors.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes
}

const IO_ERROR: Operation = Operation::Refuse(Status::IoError);
const UNSUPPORTED: Operation = Operation::Refuse(Status::Unsupported);

#[test]
fn reads_and_writes_lie_on_the_disk() {
    let limits = limits(ALL, false);
    let read = |sector, writable| limits.parse(&header(TYPE_IN, sector), 0, writable);
    assert_eq!(read(3, 1024), Operation::Read { offset: 1536 });
    assert_eq!(
        read(99_999, 512),
        Operation::Read {
            offset: 99_999 * 512
        }
    );
    assert_eq!(read(99_999, 1024), IO_ERROR);
    assert_eq!(
        read(100_000, 0),
        Operation::Read {
            offset: 100_000 * 512
        }
    );
    assert_eq!(read(u64::MAX, 512), IO_ERROR);
    assert_eq!(read(1 << 60, 512), IO_ERROR);
    assert_eq!(read(0, 511), IO_ERROR);
    assert_eq!(read(0, 16 << 20), Operation::Read { offset: 0 });
    assert_eq!(read(0, (16 << 20) + 512), IO_ERROR);
    // Data in both directions make no sense.
    assert_eq!(limits.parse(&header(TYPE_IN, 0), 512, 512), IO_ERROR);
    assert_eq!(limits.parse(&header(TYPE_OUT, 0), 512, 512), IO_ERROR);
    assert_eq!(
        limits.parse(&header(TYPE_OUT, 2), 512, 0),
        Operation::Write {
            offset: 1024,
            stable: false
        }
    );
}

#[test]
fn nothing_writes_to_a_disk_that_is_read_only() {
    let limits = limits(ALL, true);
    for request_type in [TYPE_OUT, TYPE_DISCARD, TYPE_WRITE_ZEROES] {
        let readable = if request_type == TYPE_OUT { 512 } else { 16 };
        assert_eq!(
            limits.parse(&header(request_type, 0), readable, 0),
            IO_ERROR
        );
    }
    assert_eq!(
        limits.parse(&header(TYPE_IN, 0), 0, 512),
        Operation::Read { offset: 0 }
    );
}

#[test]
fn features_decide_what_there_is() {
    let without = limits(0, false);
    for request_type in [
        TYPE_FLUSH,
        TYPE_DISCARD,
        TYPE_WRITE_ZEROES,
        2,
        5,
        14,
        u32::MAX,
    ] {
        assert_eq!(without.parse(&header(request_type, 0), 16, 0), UNSUPPORTED);
    }
    // Who can't flush wants what is written to stay.
    assert_eq!(
        without.parse(&header(TYPE_OUT, 0), 512, 0),
        Operation::Write {
            offset: 0,
            stable: true
        }
    );
    let with = limits(ALL, false);
    assert_eq!(with.parse(&header(TYPE_FLUSH, 0), 0, 0), Operation::Flush);
    assert_eq!(with.parse(&header(TYPE_FLUSH, 0), 0, 1), IO_ERROR);
}

#[test]
fn ranges_are_checked_before_any_is_touched() {
    let limits = limits(ALL, false);
    let discard = |data: &[u8]| {
        let operation = limits.parse(&header(TYPE_DISCARD, 0), data.len() as u64, 0);
        limits.complete(operation, data)
    };
    let good = [range(0, 8, 0), range(99_992, 8, 0)].concat();
    let Operation::Discard(ranges) = discard(&good) else {
        panic!("it is refused");
    };
    assert_eq!(
        ranges[1],
        Range {
            offset: 99_992 * 512,
            length: 4096,
            free: false
        }
    );
    let beyond = [range(0, 8, 0), range(99_993, 8, 0)].concat();
    assert_eq!(discard(&beyond), IO_ERROR);
    assert_eq!(discard(&range(u64::MAX, 1, 0)), IO_ERROR);
    assert_eq!(discard(&range(0, MAX_DISCARD_SECTORS + 1, 0)), IO_ERROR);
    assert_eq!(discard(&range(0, 8, RANGE_UNMAP)), UNSUPPORTED);
    assert_eq!(discard(&[]), IO_ERROR);
    assert_eq!(discard(&[0; 15]), IO_ERROR);
    assert_eq!(discard(&range(0, 1, 0).repeat(17)), IO_ERROR);

    let zero = |data: &[u8]| {
        let operation = limits.parse(&header(TYPE_WRITE_ZEROES, 0), data.len() as u64, 0);
        limits.complete(operation, data)
    };
    let Operation::Zero { ranges, stable } = zero(&range(1, 8, RANGE_UNMAP)) else {
        panic!("it is refused");
    };
    assert_eq!((ranges[0].free, stable), (true, false));
    assert_eq!(zero(&range(0, 8, 2)), UNSUPPORTED);
    assert_eq!(zero(&range(0, MAX_WRITE_ZEROES_SECTORS + 1, 0)), IO_ERROR);
}

#[test]
fn name_needs_its_room() {
    let limits = limits(0, false);
    let ask = |readable, writable| limits.parse(&header(TYPE_GET_ID, 0), readable, writable);
    assert_eq!(ask(0, 20), Operation::Name);
    assert_eq!(ask(0, 19), IO_ERROR);
    assert_eq!(ask(1, 20), IO_ERROR);
    let mut data = [1; 24];
    name(3, &mut data);
    assert_eq!(&data, b"mooring-disk-3\0\0\0\0\0\0\0\0\0\0");
}

#[test]
fn load_is_memory_and_what_takes_the_disk_long() {
    let load = |operation: Operation, length: usize| {
        let request = Request {
            chain: Chain::default(),
            operation,
            data: vec![0; length],
            status: Status::IoError,
        };
        request.load()
    };
    let ranges = |count: u64, length| {
        let range = |at| Range {
            offset: at * length,
            length,
            free: false,
        };
        (0..count).map(range).collect::<Vec<_>>()
    };
    let zero = |count, length| Operation::Zero {
        ranges: ranges(count, length),
        stable: false,
    };
    let write = |stable| Operation::Write { offset: 0, stable };
    // Whatever it is, and what it holds.
    let (least, slow) = (4096, 64 << 10);
    assert_eq!(load(IO_ERROR, 0), least);
    assert_eq!(load(Operation::Name, 20), least + 20);
    assert_eq!(load(Operation::Read { offset: 0 }, 512), least + 512);
    assert_eq!(load(write(false), 1 << 20), least + (1 << 20));
    // What waits for the disk itself.
    assert_eq!(load(write(true), 512), least + slow + 512);
    assert_eq!(load(Operation::Flush, 0), least + slow);
    assert_eq!(
        load(Operation::Discard(ranges(16, 1 << 30)), 256),
        least + 16 * slow + 256
    );
    // Zeros may have to be written, each of them.
    assert_eq!(load(zero(1, 8 << 20), 16), least + slow + (8 << 20) + 16);
    assert_eq!(load(zero(2, u64::MAX), 32), usize::MAX);
}
