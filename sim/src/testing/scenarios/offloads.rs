// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Frames that are not fit for the wire: incomplete checksums, segments to be cut, frames in several buffers.

use super::{expect_echo, running_pair, running_pair_with};
use crate::testing::{CardAccess, InProcess, NetPair, TestDriver, TestUplink};
use crate::CardConfig;
use mooring_firmware::net::features;

const HEADER: usize = 12;
/// Ethernet, IPv4, TCP, each without options.
const TCP: usize = 34;
const HEADERS: usize = 54;
const PAYLOAD: usize = 5000;
const SEGMENT: u16 = 1400;

/// What is agreed on at least.
const LEAST: u64 = features::VERSION_1 | features::ACCESS_PLATFORM;

/// A TCP frame over IPv4 whose checksum is that of the pseudo-header only.
fn tcp_frame(from: &NetPair, to: &NetPair, payload: usize) -> Vec<u8> {
    let mut frame = [&to.device.mac[..], &from.device.mac, &[8, 0]].concat();
    let length = (20 + 20 + payload) as u16;
    frame.extend([0x45, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let checksum = !sum(&[&frame[14..34]]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame.extend([
        0, 1, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
    ]);
    frame.extend((0..payload).map(|at| (at % 251) as u8));
    let partial = sum(&[&pseudo_header(&frame)]);
    frame[TCP + 16..TCP + 18].copy_from_slice(&partial.to_be_bytes());
    frame
}

/// What TCP's checksum covers before TCP's header.
fn pseudo_header(frame: &[u8]) -> Vec<u8> {
    let length = (frame.len() - TCP) as u16;
    [&frame[26..34], &[0, 6], &length.to_be_bytes()].concat()
}

/// The sum of 16-bit words with end-around carry.
fn sum(parts: &[&[u8]]) -> u16 {
    parts.concat().chunks(2).fold(0u16, |sum, word| {
        let word = u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]);
        let (next, carry) = sum.overflowing_add(word);
        next + u16::from(carry)
    })
}

/// Whether both checksums of a frame are right.
fn is_right(frame: &[u8]) -> bool {
    sum(&[&frame[14..34]]) == 0xffff && sum(&[&pseudo_header(frame), &frame[TCP..]]) == 0xffff
}

/// The header in front of a frame: its checksum is incomplete, and it is to be cut if `segment` isn't 0.
fn header(segment: u16) -> [u8; HEADER] {
    let [low, high] = segment.to_le_bytes();
    let kind = u8::from(segment != 0);
    [1, kind, 0, 0, low, high, TCP as u8, 0, 16, 0, 0, 0]
}

/// Between two that agreed, a long frame passes as it is, in as many buffers as it takes.
pub fn long_frames_pass<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut a, _) = running_pair(&mut driver, 0);
    let (mut b, _) = running_pair(&mut driver, 0);
    let frame = tcp_frame(&a, &b, PAYLOAD);
    for _ in 0..4 {
        let packet = [&header(SEGMENT)[..], &frame].concat();
        assert!(a.send_packet(&mut driver, &packet));
        let received = b.receive_packet(&mut driver);
        assert_eq!(received[..2], [1, 1], "incomplete, IPv4");
        assert_eq!(received[2..4], (HEADERS as u16).to_le_bytes());
        assert_eq!(received[4..10], packet[4..10]);
        assert_eq!(received[10..12], [3, 0], "buffers");
        assert_eq!(received[HEADER..], frame);
    }
    // Not in more than there are.
    let counters = driver
        .statistics(b.device.device.get())
        .expect("statistics");
    assert_eq!(counters.rx_frames.get(), 4);
    assert_eq!(counters.rx_bytes.get(), 4 * frame.len() as u64);
    expect_echo(&mut driver, &mut a, 1);
}

/// Who didn't agree gets frames for the wire.
pub fn long_frames_are_cut<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut a, _) = running_pair(&mut driver, 0);
    let others = [LEAST, LEAST | features::GUEST_CSUM | features::MRG_RXBUF];
    for agreed in others {
        let (mut b, _) = running_pair_with(&mut driver, 0, agreed);
        let sent = tcp_frame(&a, &b, PAYLOAD);
        assert!(a.send_packet(&mut driver, &[&header(SEGMENT)[..], &sent].concat()));
        let mut payload = Vec::new();
        for number in 0..4 {
            let frame = b.receive(&mut driver);
            assert!(is_right(&frame), "segment {number}");
            let sequence = 7 + payload.len() as u32;
            assert_eq!(frame[TCP + 4..TCP + 8], sequence.to_be_bytes());
            payload.extend_from_slice(&frame[HEADERS..]);
            assert!(frame.len() <= HEADERS + usize::from(SEGMENT));
        }
        assert_eq!(payload, sent[HEADERS..]);
        assert_eq!(b.poll(&mut driver), None);
    }
}

/// An incomplete checksum passes to who agreed, and is completed for everybody else.
pub fn checksums_are_completed<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut a, _) = running_pair(&mut driver, 0);
    let (mut agreed, _) = running_pair_with(&mut driver, 0, LEAST | features::GUEST_CSUM);
    let (mut other, _) = running_pair_with(&mut driver, 0, LEAST);

    let sent = tcp_frame(&a, &agreed, 300);
    assert!(!is_right(&sent));
    let packet = [&header(0)[..], &sent].concat();
    assert!(a.send_packet(&mut driver, &packet));
    let received = agreed.receive_packet(&mut driver);
    assert_eq!(received[..10], packet[..10]);
    assert_eq!(received[HEADER..], sent);

    let sent = tcp_frame(&a, &other, 301);
    assert!(a.send_packet(&mut driver, &[&header(0)[..], &sent].concat()));
    let received = other.receive(&mut driver);
    assert!(is_right(&received));
    assert_eq!(received[..TCP + 16], sent[..TCP + 16]);
    assert_eq!(received[TCP + 18..], sent[TCP + 18..]);

    // Who hasn't agreed to leave checksums to the card has them taken as they are.
    let sent = tcp_frame(&other, &a, 300);
    assert!(other.send_packet(&mut driver, &[&header(0)[..], &sent].concat()));
    assert_eq!(a.receive(&mut driver), sent);
}

/// Headers that make no sense cost their sender the frame, and nobody else anything.
pub fn bad_headers<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut a, _) = running_pair(&mut driver, 0);
    let (mut b, _) = running_pair(&mut driver, 0);
    let frame = tcp_frame(&a, &b, PAYLOAD);
    // A segment longer than the MTU, or next to nothing; IPv6 or UDP; a checksum outside or none; a frame that is too long
    // unless it is cut.
    let spoilt: [fn(&mut [u8; HEADER]); 8] = [
        |header| header[4..6].copy_from_slice(&1465u16.to_le_bytes()),
        |header| header[4..6].copy_from_slice(&1u16.to_le_bytes()),
        |header| header[1] = 4,
        |header| header[1] = 3,
        |header| header[7] = 0xff,
        |header| header[8] = 6,
        |header| header[0] = 0,
        |header| header[1] = 0,
    ];
    for (number, spoil) in spoilt.into_iter().enumerate() {
        let mut header = header(SEGMENT);
        spoil(&mut header);
        let packet = [&header[..], &frame].concat();
        assert!(a.send_packet(&mut driver, &packet), "{number}");
        assert_eq!(b.poll_packet(&mut driver), None, "{number}");
    }
    expect_echo(&mut driver, &mut a, 1);
}

/// A frame waits for no buffers: where they don't hold all of it, it is dropped, and they stay for the next one.
pub fn merged_buffers<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut a, _) = running_pair(&mut driver, 0);
    let (mut b, _) = running_pair(&mut driver, 0);
    let packet = |a: &NetPair, b: &NetPair| {
        let frame = tcp_frame(a, b, PAYLOAD);
        [&header(SEGMENT)[..], &frame].concat()
    };
    // 16 buffers are five frames of three, and one is left.
    for _ in 0..6 {
        let packet = packet(&a, &b);
        assert!(a.send_packet(&mut driver, &packet));
        driver.access.settle();
    }
    let device = b.device.device.get();
    let dropped = (0..1000).any(|_| {
        let counters = driver.statistics(device).expect("statistics");
        (counters.rx_frames.get(), counters.rx_dropped.get()) == (5, 1)
    });
    assert!(dropped);
    let short = a.frame(b.device.mac, 9, 100);
    assert!(a.send(&mut driver, &short));
    for _ in 0..5 {
        let received = b.receive_packet(&mut driver);
        assert_eq!(received[HEADER..], packet(&a, &b)[HEADER..]);
    }
    assert_eq!(b.receive(&mut driver), short);
    assert_eq!(b.poll_packet(&mut driver), None);
}

/// A step forwards so many frames of a queue at most, those that are made of the last one aside: however small the segments
/// are, and however many ports they go to.
pub fn a_step_ends() {
    const PACKETS: usize = 12;
    const SMALL: u16 = 48;
    const PIECES: usize = 40;
    let sent = std::sync::Arc::default();
    let uplink = TestUplink {
        from_card: Some(std::sync::Arc::clone(&sent)),
        ..TestUplink::default()
    };
    let access = InProcess::with_uplink(CardConfig::default(), uplink).expect("a card");
    let mut driver = TestDriver::new(access);
    let (mut a, _) = running_pair(&mut driver, 0);
    // It is promiscuous, and takes no long frames.
    let (b, _) = running_pair_with(&mut driver, 0, LEAST);
    let mut frame = tcp_frame(&a, &b, PIECES * usize::from(SMALL));
    // Nobody has this address: the frames go to the device and to the uplink.
    frame[..6].copy_from_slice(&[2, 9, 9, 9, 9, 9]);
    let packet = [&header(SMALL)[..], &frame].concat();
    for _ in 0..PACKETS {
        a.queue_packet(&packet);
    }
    driver.ring(a.device.first_queue.get() + 1);
    let count = || sent.lock().expect("a list").len();
    let mut before = 0;
    loop {
        let more = driver.access.card().step();
        let now = count() - before;
        // Each piece goes to two: after the first packet the budget is spent.
        assert!(now <= PIECES, "{now} pieces in one step");
        before = count();
        if !more {
            break;
        }
    }
    assert_eq!(before, PACKETS * PIECES);
    let counters = driver
        .statistics(b.device.device.get())
        .expect("statistics");
    let got = counters.rx_frames.get() + counters.rx_dropped.get();
    assert_eq!(got, (PACKETS * PIECES) as u64);
    assert!(sent
        .lock()
        .expect("a list")
        .iter()
        .all(|frame: &Vec<u8>| is_right(frame)));
}
