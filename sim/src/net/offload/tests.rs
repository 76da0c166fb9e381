// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Headers, and segments against what a naive receiver makes of them.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;

const ALL: u64 = features::CSUM | features::HOST_TSO4 | features::HOST_TSO6 | features::HOST_ECN;
const TAKES_ALL: u64 =
    features::GUEST_CSUM | features::GUEST_TSO4 | features::GUEST_TSO6 | features::GUEST_ECN;

const FIN_PSH_CWR: u8 = 0x89;

/// Options of each hop, a route that was gone to its end, and options of the destination; TCP's header is next.
const EXTENSIONS: [u8; 48] = {
    let mut bytes = [0; 48];
    (bytes[0], bytes[1]) = (43, 0);
    (bytes[8], bytes[9], bytes[10], bytes[11]) = (60, 2, 2, 0);
    (bytes[32], bytes[33]) = (6, 1);
    bytes
};

/// A TCP frame.
struct Tcp {
    frame: Vec<u8>,
    ip: usize,
    tcp: usize,
    payload: usize,
}

/// A frame of so many bytes of payload, with a tag, options in IP's headers and in TCP's if asked for.
fn tcp(version: u8, tagged: bool, options: bool, length: usize) -> Tcp {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if tagged {
        frame.extend([0x81, 0, 0x20, 7]);
    }
    let option_bytes = if options { 8 } else { 0 };
    let tcp_header = 20 + option_bytes;
    let ip;
    if version == 4 {
        frame.extend([8, 0]);
        ip = frame.len();
        let ip_header = 20 + option_bytes;
        frame.extend([0x40 | (ip_header / 4) as u8, 0]);
        frame.extend(((ip_header + tcp_header + length) as u16).to_be_bytes());
        frame.extend([0xff, 0xfe, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(vec![1; option_bytes]);
    } else {
        frame.extend([0x86, 0xdd]);
        ip = frame.len();
        frame.extend([0x60, 0, 0, 0]);
        let extensions: &[u8] = if options { &EXTENSIONS } else { &[] };
        frame.extend(((extensions.len() + tcp_header + length) as u16).to_be_bytes());
        frame.extend([if options { 0 } else { 6 }, 64]);
        frame.extend((0..32).map(|byte| byte * 7));
        frame.extend(extensions);
    }
    let tcp = frame.len();
    frame.extend([0x12, 0x34, 0x56, 0x78, 0xff, 0xff, 0xff, 0, 9, 9, 9, 9]);
    frame.extend([
        ((tcp_header / 4) << 4) as u8,
        0x10 | FIN_PSH_CWR,
        1,
        1,
        0,
        0,
        0,
        0,
    ]);
    frame.extend(vec![1; option_bytes]);
    let payload = frame.len();
    frame.extend((0..length).map(|byte| (byte * 31 + byte / 256) as u8));
    Tcp {
        frame,
        ip,
        tcp,
        payload,
    }
}

impl Tcp {
    fn packet(&self, gso_type: u8, size: u16) -> Vec<u8> {
        let [s0, s1] = size.to_le_bytes();
        let [c0, c1] = (self.tcp as u16).to_le_bytes();
        let header = [FLAG_NEEDS_CSUM, gso_type, 0, 0, s0, s1, c0, c1, 16, 0, 0, 0];
        [&header[..], &self.frame].concat()
    }
}

/// The sum of big-endian words with end-around carry.
fn naive_sum(parts: &[&[u8]]) -> u16 {
    parts
        .concat()
        .chunks(2)
        .map(|word| u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]))
        .fold(0, |sum: u16, word| {
            let (next, carry) = sum.overflowing_add(word);
            next + u16::from(carry)
        })
}

fn pieces(packet: &[u8], offload: &Offload) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    plain(packet, offload, &mut Vec::new(), |piece| {
        assert_eq!(piece[..HEADER_SIZE], RECEIVE_HEADER);
        pieces.push(piece[HEADER_SIZE..].to_vec());
    });
    pieces
}

proptest! {
    /// A receiver that checks everything accepts each segment, and gets the payload that was sent.
    #[test]
    fn segments_are_right(
        v4 in any::<bool>(),
        tagged in any::<bool>(),
        options in any::<bool>(),
        length in 0..9000usize,
        size in MIN_SEGMENT as u16..3000,
        ecn in any::<bool>(),
    ) {
        let version = if v4 { 4 } else { 6 };
        let sent = tcp(version, tagged, options, length);
        let gso_type = if v4 { GSO_TCPV4 } else { GSO_TCPV6 };
        let packet = sent.packet(gso_type | if ecn { GSO_ECN } else { 0 }, size);
        let offload = Offload::from_packet(&packet, ALL).expect("a good header");
        prop_assert!(!offload.is_none());
        let pieces = pieces(&packet, &offload);
        prop_assert_eq!(pieces.len(), length.div_ceil(size.into()).max(1));

        let mut received = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            let last = number + 1 == pieces.len();
            prop_assert!(piece.len() <= offload.wire_length(sent.frame.len()));
            let (ip, tcp) = (&piece[sent.ip..sent.tcp], &piece[sent.tcp..]);
            let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let addresses = if v4 {
                prop_assert_eq!(naive_sum(&[ip]), 0xffff);
                prop_assert_eq!(usize::from(word(ip, 2)), ip.len() + tcp.len());
                prop_assert_eq!(word(ip, 4), 0xfffeu16.wrapping_add(number as u16));
                &ip[12..20]
            } else {
                prop_assert_eq!(usize::from(word(ip, 4)), ip.len() - 40 + tcp.len());
                &ip[8..40]
            };
            let length = (tcp.len() as u32).to_be_bytes();
            prop_assert_eq!(naive_sum(&[addresses, &length, &[0, 0, 0, 6], tcp]), 0xffff);
            let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
            prop_assert_eq!(sequence, 0xffff_ff00u32.wrapping_add(received.len() as u32));
            let flags = 0x10 | if last { 0x09 } else { 0 } | if number == 0 { 0x80 } else { 0 };
            prop_assert_eq!(tcp[13], flags);
            // All else in the headers is as it was sent.
            prop_assert_eq!(&piece[..sent.ip], &sent.frame[..sent.ip]);
            prop_assert_eq!(&tcp[..4], &sent.frame[sent.tcp..sent.tcp + 4]);
            let payload = &piece[sent.payload..];
            prop_assert!(last || payload.len() == usize::from(size));
            received.extend_from_slice(payload);
        }
        prop_assert_eq!(&received, &sent.frame[sent.payload..]);
    }
}

/// Nothing that a driver can write makes the card fail, or makes more frames than the payload has room for.
#[test]
fn any_packet() {
    let packets = (
        prop::collection::vec(any::<u8>(), 0..5000),
        prop::sample::select(vec![0u8, 1, 1, 1, 3]),
        prop::sample::select(vec![0u8, 1, 1, 4, 4, 0x81, 0x84, 5]),
        MIN_SEGMENT as u16 - 2..2000,
        prop_oneof![
            4 => prop::sample::select(vec![34u16, 38, 54, 58]),
            1 => any::<u16>(),
        ],
        prop_oneof![1 => Just(6u8), 1 => any::<u8>()],
        any::<bool>(),
    );
    let cut = Cell::new(0);
    let mut runner = TestRunner::new(Config::with_cases(2000));
    let result = runner.run(
        &packets,
        |(mut packet, flags, kind, size, start, protocol, v4)| {
            // Mostly near the truth, or next to nothing would get far.
            if let Some(place) = packet.first_chunk_mut() {
                let ([s0, s1], [c0, c1]) = (size.to_le_bytes(), start.to_le_bytes());
                *place = [flags, kind, 0, 0, s0, s1, c0, c1, 16, 0, 0, 0, 2];
            }
            let tag: &[u8] = if matches!(start, 38 | 58) {
                &[0x81, 0, 0, 7]
            } else {
                &[]
            };
            let (network, at): (&[u8], _) = if v4 {
                (&[8, 0, 0x45], 9)
            } else {
                (&[0x86, 0xdd, 0x60], 6)
            };
            let network = [tag, network].concat();
            if let Some(place) = packet.get_mut(24..24 + network.len()) {
                place.copy_from_slice(&network);
            }
            if let Some(place) = packet.get_mut(24 + network.len() - 1 + at) {
                *place = protocol;
            }
            if let Ok(offload) = Offload::from_packet(&packet, ALL) {
                cut.set(cut.get() + u32::from(offload.segments.is_some()));
                let pieces = pieces(&packet, &offload);
                prop_assert!(!pieces.is_empty() && pieces.len() <= 1 + packet.len() / MIN_SEGMENT);
                prop_assert!(pieces.iter().all(|piece| piece.len() <= packet.len()));
                let mut passed = packet.clone();
                passed[..HEADER_SIZE].copy_from_slice(&offload.receive_header());
                passed[10] = 0;
                prop_assert_eq!(Offload::from_packet(&passed, ALL), Ok(offload));
            }
            Ok(())
        },
    );
    result.expect("every packet is refused or forwarded");
    assert!(cut.get() > 20, "{} packets were cut", cut.get());
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    let v4 = tcp(4, false, false, 1000);
    let v6 = tcp(6, false, false, 1000);
    let good = |packet: &[u8], features| Offload::from_packet(packet, features).is_ok();
    assert!(good(&v4.packet(GSO_TCPV4, 500), ALL));
    assert!(good(&v6.packet(GSO_TCPV6, 500), ALL));
    // Of the other version, of another kind, too small, or not agreed on.
    assert!(!good(&v6.packet(GSO_TCPV4, 500), ALL));
    assert!(!good(&v4.packet(GSO_TCPV6, 500), ALL));
    for gso_type in [2, 3, 5, 7, GSO_ECN] {
        assert!(!good(&v4.packet(gso_type, 500), ALL), "{gso_type}");
    }
    assert!(!good(&v4.packet(GSO_TCPV4, 47), ALL));
    assert!(!good(
        &v4.packet(GSO_TCPV4, 500),
        ALL & !features::HOST_TSO4
    ));
    assert!(!good(
        &v6.packet(GSO_TCPV6, 500),
        ALL & !features::HOST_TSO6
    ));
    assert!(!good(
        &v4.packet(GSO_TCPV4 | GSO_ECN, 500),
        ALL & !features::HOST_ECN
    ));
    // A checksum outside the frame, or not where TCP has it; segments without checksums.
    let spoil = |at: usize, value: u8| {
        let mut packet = v4.packet(GSO_TCPV4, 500);
        packet[at] = value;
        packet
    };
    assert!(!good(&spoil(7, 0xff), ALL));
    assert!(!good(&spoil(8, 6), ALL));
    assert!(!good(&spoil(6, 38), ALL));
    assert!(!good(&spoil(0, 0), ALL));
    assert!(!good(&[0; HEADER_SIZE - 1], ALL));
    // Not TCP, and a TCP header that ends behind the frame.
    assert!(!good(&spoil(HEADER_SIZE + v4.ip + 9, 17), ALL));
    assert!(!good(&spoil(HEADER_SIZE + v4.tcp + 12, 0x40), ALL));
    // To a group, where no TCP goes.
    assert!(!good(&spoil(HEADER_SIZE, 3), ALL));
    let mut short = v4.packet(GSO_TCPV4, 500);
    short.truncate(HEADER_SIZE + v4.tcp + 19);
    assert!(!good(&short, ALL));
    // Without the feature the header is not looked at.
    let ignored = Offload::from_packet(&v4.packet(77, 0), 0);
    assert_eq!(ignored, Ok(Offload::NONE));
}

#[test]
fn extension_headers_lead_to_tcp() {
    let plain = tcp(6, false, false, 1000);
    let extended = tcp(6, true, true, 1000);
    let good = |sent: &Tcp, at: usize, value: u8| {
        let mut packet = sent.packet(GSO_TCPV6, 500);
        packet[HEADER_SIZE + at] = value;
        Offload::from_packet(&packet, ALL).is_ok()
    };
    let (ip, extensions) = (extended.ip, extended.ip + 40);
    assert!(good(&plain, plain.ip + 6, 6) && good(&extended, ip + 6, 0));
    // Another protocol, a fragment, or nothing more.
    for next in [17, 44, 59] {
        assert!(!good(&plain, plain.ip + 6, next), "{next}");
        assert!(!good(&extended, extensions + 32, next), "{next}");
    }
    // A route with segments left: it ends elsewhere.
    assert!(!good(&extended, extensions + 8 + 3, 1));
    // A header that is longer or shorter than the way to TCP, and one that ends behind the frame.
    for length in [0, 2, 255] {
        assert!(!good(&extended, extensions + 33, length), "{length}");
    }
    // TCP's header is not where the way leads.
    assert!(!good(&extended, ip + 6, 6));
    assert!(!good(&plain, plain.ip + 6, 0));
}

#[test]
fn who_agreed_gets_the_frame_as_it_is() {
    let cases = [
        (tcp(4, false, false, 1000), GSO_NONE, features::GUEST_CSUM),
        (tcp(4, false, false, 1000), GSO_TCPV4, features::GUEST_TSO4),
        (tcp(6, false, false, 1000), GSO_TCPV6, features::GUEST_TSO6),
        (
            tcp(4, false, false, 1000),
            GSO_TCPV4 | GSO_ECN,
            features::GUEST_ECN,
        ),
    ];
    for (sent, gso_type, needed) in cases {
        let packet = sent.packet(gso_type, 500);
        let offload = Offload::from_packet(&packet, ALL).expect("a good header");
        assert!(offload.suits(TAKES_ALL));
        assert!(!offload.suits(TAKES_ALL & !needed), "{gso_type:#x}");
        let header = offload.receive_header();
        assert_eq!(header[..2], packet[..2]);
        assert_eq!(header[6..10], packet[6..10]);
        assert_eq!(header[10..], [1, 0]);
    }
    assert!(Offload::NONE.suits(0));
    assert_eq!(Offload::NONE.receive_header(), RECEIVE_HEADER);
}
