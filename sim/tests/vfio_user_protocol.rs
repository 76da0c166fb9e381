// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Clients that don't keep to the protocol: each is answered or let go, and the next one is served.

mod vfio_user_support;

use std::io::Write;
use std::os::fd::AsRawFd;
use vfio_user_support::raw::{Header, RawClient};
use vfio_user_support::Sim;

const CONFIG: u32 = 7;
const BAR0: u32 = 0;
const SCRATCH: u64 = 0x10;
const MAGIC: [u8; 4] = *b"MOOR";

/// A client of a card whose BARs answer.
fn enabled(sim: &Sim) -> RawClient {
    let mut client = RawClient::negotiated(&sim.socket());
    client.write(CONFIG, 0x04, &[0x02, 0x00]);
    client
}

#[test]
fn accesses_of_any_place_and_size_are_answered() {
    let mut sim = Sim::start(&[]);
    let mut client = enabled(&sim);
    assert_eq!(client.read(BAR0, 0, 4).unwrap(), MAGIC);
    for region in 0..9 {
        for offset in [
            0,
            1,
            3,
            4092,
            4093,
            4095,
            4096,
            1 << 20,
            1 << 40,
            u64::MAX - 3,
            u64::MAX,
        ] {
            for count in [0u32, 1, 2, 3, 5, 8, 64, 4097] {
                assert_eq!(
                    client.read(region, offset, count).unwrap().len(),
                    count as usize
                );
                if region != CONFIG {
                    client.write(region, offset, &vec![0xa5; count as usize]);
                    client.post(region, offset, &vec![0xa5; count as usize]);
                }
            }
        }
    }
    assert_eq!(
        client.read(BAR0, 4096, 4).unwrap(),
        [0xff; 4],
        "behind the end nobody answers"
    );
    assert_eq!(
        client.read(1, 0, 4).unwrap(),
        [0xff; 4],
        "the upper half of a 64-bit BAR is no region"
    );
    for offset in 0..5000 {
        client.post(CONFIG, offset, &[0xff]);
    }
    assert!(client.is_served() && sim.is_running());
}

#[test]
fn regions_that_don_t_exist_and_endless_reads_are_refused() {
    let sim = Sim::start(&[]);
    let mut client = enabled(&sim);
    assert_eq!(client.read(9, 0, 4), None);
    assert_eq!(client.read(u32::MAX, 0, 4), None);
    assert_eq!(client.read(BAR0, 0, u32::MAX), None);
    assert_eq!(client.read(CONFIG, 0, (1 << 20) + 1), None);
    assert!(client.is_served());
}

#[test]
fn registers_ignore_what_is_no_aligned_word() {
    let sim = Sim::start(&[]);
    let mut client = enabled(&sim);
    client.write(BAR0, SCRATCH, &[1, 2, 3, 4]);
    client.write(BAR0, SCRATCH, &[9]);
    client.write(BAR0, SCRATCH + 1, &[9; 4]);
    client.write(BAR0, SCRATCH - 4, &[9; 8]);
    assert_eq!(client.read(BAR0, SCRATCH, 4).unwrap(), [1, 2, 3, 4]);
    assert_eq!(client.read(BAR0, SCRATCH, 8).unwrap(), [0xff; 8]);
}

#[test]
fn without_memory_decoding_the_bars_are_silent() {
    let sim = Sim::start(&[]);
    let mut client = enabled(&sim);
    client.write(BAR0, SCRATCH, &[1, 2, 3, 4]);
    client.write(CONFIG, 0x04, &[0, 0]);
    assert_eq!(client.read(BAR0, 0, 4).unwrap(), [0xff; 4]);
    client.write(BAR0, SCRATCH, &[9; 4]);
    client.write(CONFIG, 0x04, &[2, 0]);
    assert_eq!(client.read(BAR0, SCRATCH, 4).unwrap(), [1, 2, 3, 4]);
}

#[test]
fn maps_that_make_no_sense_are_answered() {
    let sim = Sim::start(&[]);
    let mut client = RawClient::negotiated(&sim.socket());
    let file = tempfile::tempfile().unwrap();
    file.set_len(0x10000).unwrap();
    let fd = file.as_raw_fd();
    let pipe = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(!client.map(0x10000, 0x10000, 0, 3, &[fd]).is_error());
    for (address, size, offset, flags) in [
        (0x10000, 0x10000, 0, 3),
        (0x18000, 0x1000, 0, 3),
        (0x40000, 0, 0, 3),
        (u64::MAX, 0x1000, 0, 3),
        (0x40000, u64::MAX, 0, 3),
        (0x40000, 0x1000, 0x10000, 3),
        (0x40000, 0x1000, u64::MAX, 3),
    ] {
        assert!(
            client.map(address, size, offset, flags, &[fd]).is_error(),
            "{address:#x} {size:#x} {offset:#x}"
        );
    }
    assert!(client
        .map(0x40000, 0x1000, 0, 3, &[pipe.0.as_raw_fd()])
        .is_error());
    assert!(client.map(0x40000, 0x1000, 0, 3, &[fd, fd]).is_error());
    assert!(
        !client.map(0x50000, 0x1000, 0, 3, &[]).is_error(),
        "memory that can't be shared"
    );
    assert!(!client.map(0x60000, 0x1000, 1, u32::MAX, &[fd]).is_error());

    for (address, size, flags) in [
        (0x9_0000, 0x1000, 0),
        (0, 0, 0),
        (u64::MAX, u64::MAX, 0),
        (0x10800, 0x100, 0),
        (0, u64::MAX, 0),
        (0, 0, 4),
    ] {
        assert!(!client.unmap(address, size, flags).is_error());
    }
    assert!(
        !client.map(0x10000, 0x10000, 0, 3, &[fd]).is_error(),
        "the place is free again"
    );
    assert!(client.is_served());
}

#[test]
fn interrupts_that_make_no_sense_are_answered() {
    let sim = Sim::start(&["--vectors", "4"]);
    let mut client = RawClient::negotiated(&sim.socket());
    let event = nix::sys::eventfd::EventFd::new().unwrap();
    let fd = event.as_raw_fd();
    for (index, flags, start, count, fds) in [
        (2, 0x24, 4, 1, &[fd][..]),
        (2, 0x24, u32::MAX, u32::MAX, &[fd]),
        (2, 0x24, 0, 2, &[fd]),
        (2, 0x24, 0, 1, &[fd, fd]),
        (2, 0x21, 0, 5, &[]),
        (2, 0x22, 0, 1, &[]),
        (2, 0x0c, 0, 1, &[fd]),
        (2, 0, 0, 0, &[]),
        (2, u32::MAX, 0, 1, &[fd]),
        (1, 0x24, 0, 1, &[fd]),
        (0, 0x24, 0, 1, &[fd]),
        (5, 0x24, 0, 1, &[fd]),
        (u32::MAX, 0x24, 0, 1, &[fd]),
    ] {
        assert!(
            client.set_irqs(index, flags, start, count, fds).is_error(),
            "{index} {flags:#x} {start} {count}"
        );
    }
    assert!(!client.set_irqs(2, 0x24, 3, 1, &[fd]).is_error());
    assert!(!client.set_irqs(2, 0x24, 0, 4, &[]).is_error());
    assert!(!client.set_irqs(2, 0x21, 0, 0, &[]).is_error());
    assert!(client.is_served());
}

#[test]
fn unknown_commands_are_refused() {
    let sim = Sim::start(&[]);
    let mut client = RawClient::negotiated(&sim.socket());
    for command in [0, 6, 11, 12, 14, 15, 0x7fff, 0xffff] {
        assert!(client.request(command, &[], &[]).0.is_error());
    }
    assert!(client.is_served());
}

#[test]
fn a_client_that_breaks_off_anywhere_makes_room_for_the_next() {
    let mut sim = Sim::start(&[]);
    let read = |size| {
        Header {
            id: 1,
            command: 9,
            size,
            flags: 0,
            error: 0,
        }
        .bytes()
    };
    let version = |size| {
        Header {
            id: 1,
            command: 1,
            size,
            flags: 0,
            error: 0,
        }
        .bytes()
    };
    let beginnings = [
        Vec::new(),
        vec![1],
        read(32)[..7].to_vec(),
        read(32),
        [read(32), vec![0; 9]].concat(),
        // Versions that the crate doesn't survive: too short, without an end, not JSON.
        version(0),
        version(19),
        [version(24), vec![0, 0, 1, 0, b'{', b'}', b'x', b'x']].concat(),
        [version(22), vec![0, 0, 1, 0, b'x', 0]].concat(),
        vec![0xff; 64],
    ];
    for beginning in beginnings {
        let mut client = RawClient::connect(&sim.socket());
        client.stream.write_all(&beginning).unwrap();
        drop(client);
        assert!(
            RawClient::negotiated(&sim.socket()).is_served(),
            "after {beginning:02x?}"
        );
        assert!(sim.is_running());
    }
}

#[test]
fn the_next_client_finds_a_card_as_new() {
    let sim = Sim::start(&[]);
    let mut first = enabled(&sim);
    first.write(BAR0, SCRATCH, &[1, 2, 3, 4]);
    first.write(CONFIG, 0x3c, &[7]);
    // A second one waits meanwhile.
    let mut second = RawClient::connect(&sim.socket());
    second.send(1, 0, &second.version(), &[]);
    drop(first);
    assert!(!second.receive().0.is_error());
    assert_eq!(second.read(CONFIG, 0x04, 2).unwrap(), [0, 0]);
    assert_eq!(second.read(CONFIG, 0x3c, 1).unwrap(), [0]);
    second.write(CONFIG, 0x04, &[2, 0]);
    assert_eq!(second.read(BAR0, SCRATCH, 4).unwrap(), [0; 4]);
}

#[test]
fn posted_writes_are_never_answered() {
    let sim = Sim::start(&[]);
    let mut client = enabled(&sim);
    for page in 0..1000 {
        client.post(2, page * 4096, &[0; 4]);
        client.post(8, page, &[0; 4]);
        client.post(CONFIG, 1 << 20, &[0; 4]);
    }
    // Any stray answer would be taken for this one's.
    assert!(client.is_served());
}
