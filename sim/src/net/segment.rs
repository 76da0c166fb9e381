// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Cutting a TCP frame that is too long for the wire into segments that are not.

use std::ops::Range;

use super::checksum;

/// Bytes of the two addresses, and of a tag.
const ADDRESSES: usize = 12;
const TAG: usize = 4;

const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
const TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const TYPE_VLAN: [u8; 2] = [0x81, 0x00];
const TYPE_SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];

const PROTOCOL_TCP: u8 = 6;
const HOP_OPTIONS: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;

const IPV4_HEADER: usize = 20;
const IPV4_LENGTH: usize = 2;
const IPV4_ID: usize = 4;
const IPV4_CHECKSUM: usize = 10;
const IPV6_HEADER: usize = 40;
const IPV6_LENGTH: usize = 4;
const IPV6_NEXT: usize = 6;
/// Bytes of an extension header at least, and of what its length counts. A routing header says where its segments left are.
const EXTENSION: usize = 8;
const SEGMENTS_LEFT: usize = 3;

const TCP_HEADER: usize = 20;
const TCP_SEQUENCE: usize = 4;
const TCP_DATA_OFFSET: usize = 12;
const TCP_FLAGS: usize = 13;
/// Where TCP's checksum is in its header.
pub(crate) const TCP_CHECKSUM: usize = 16;

const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

/// Where the headers of a TCP frame are: Ethernet's with its tags, IP's, TCP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Headers {
    version: u8,
    ip: usize,
    tcp: usize,
    payload: usize,
}

/// A segment: which part of the payload it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    number: u16,
    payload: Range<usize>,
    first: bool,
    last: bool,
}

/// Two bytes at a place, as they are.
fn pair(frame: &[u8], at: usize) -> Option<[u8; 2]> {
    frame.get(at..)?.first_chunk().copied()
}

/// Where the header that follows IPv6's at `ip` and its extension headers begins. `None`: it isn't TCP's, or the addresses of
/// IPv6's header aren't those that TCP's checksum has, as a route with segments left ends elsewhere.
fn after_ipv6(frame: &[u8], ip: usize) -> Option<usize> {
    let mut next = *frame.get(ip + IPV6_NEXT)?;
    let mut at = ip + IPV6_HEADER;
    // There is an end: each one is further in the frame.
    while next != PROTOCOL_TCP {
        let [following, length] = pair(frame, at)?;
        match next {
            HOP_OPTIONS | DESTINATION_OPTIONS => {}
            ROUTING if frame.get(at + SEGMENTS_LEFT) == Some(&0) => {}
            _ => return None,
        }
        next = following;
        at += EXTENSION * (1 + usize::from(length));
    }
    Some(at)
}

impl Headers {
    /// Finds the headers of a frame whose TCP header is at `tcp`. `None`: there is no such header, or no way leads to it.
    pub fn parse(frame: &[u8], tcp: usize) -> Option<Self> {
        let mut ip = ADDRESSES + 2;
        // Two tags at most, as in 802.1ad.
        for _ in 0..2 {
            if matches!(pair(frame, ip - 2)?, TYPE_VLAN | TYPE_SERVICE_VLAN) {
                ip += TAG;
            }
        }
        let (version, end) = match pair(frame, ip - 2)? {
            TYPE_IPV4 => {
                let first = *frame.get(ip)?;
                let length = usize::from(first & 0xf) * 4;
                let tcp_inside = frame.get(ip + 9) == Some(&PROTOCOL_TCP);
                if first >> 4 != 4 || length < IPV4_HEADER || !tcp_inside {
                    return None;
                }
                (4, ip + length)
            }
            TYPE_IPV6 if frame.get(ip)? >> 4 == 6 => (6, after_ipv6(frame, ip)?),
            _ => return None,
        };
        let length = usize::from(frame.get(tcp.checked_add(TCP_DATA_OFFSET)?)? >> 4) * 4;
        let payload = tcp + length;
        if tcp != end || length < TCP_HEADER || payload > frame.len() {
            return None;
        }
        Some(Self {
            version,
            ip,
            tcp,
            payload,
        })
    }

    /// Version of IP.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Bytes of all headers.
    pub fn length(&self) -> usize {
        self.payload
    }

    /// The segments of `size` bytes that a frame is cut into; one without a payload is a segment, too.
    pub fn parts(&self, frame: &[u8], size: usize) -> impl Iterator<Item = Part> {
        let (start, end) = (self.payload, frame.len());
        let count = (end - start).div_ceil(size.max(1)).max(1);
        (0..count).map(move |number| {
            let from = start + number * size;
            Part {
                // CAST: the identification counts modulo 2^16.
                number: number as u16,
                payload: from..from.saturating_add(size).min(end),
                first: number == 0,
                last: number + 1 == count,
            }
        })
    }

    /// Appends a segment to `out`: the headers made right for it, and its part of the payload.
    pub fn write(&self, frame: &[u8], part: &Part, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(frame.get(..self.payload).unwrap_or_default());
        out.extend_from_slice(frame.get(part.payload.clone()).unwrap_or_default());
        if let Some(segment) = out.get_mut(begin..) {
            // `parse` has found all the fields, so that there is always something to fix.
            let _ = self.fix(segment, part);
        }
    }

    fn fix(&self, segment: &mut [u8], part: &Part) -> Option<()> {
        let offset = part.payload.start.checked_sub(self.payload)?;
        let (headers, tcp) = segment.split_at_mut_checked(self.tcp)?;
        let ip = headers.get_mut(self.ip..)?;
        let tcp_length = tcp.len();

        let put = |header: &mut [u8], at: usize, value: u16| {
            let field = header.get_mut(at..)?.first_chunk_mut()?;
            *field = value.to_be_bytes();
            Some(())
        };
        // CAST: of lengths, frames have no more than 16 bits, and the identification counts modulo 2^16.
        let addresses = if self.version == 4 {
            put(ip, IPV4_LENGTH, (ip.len() + tcp_length) as u16)?;
            let id = u16::from_be_bytes(pair(ip, IPV4_ID)?);
            put(ip, IPV4_ID, id.wrapping_add(part.number))?;
            put(ip, IPV4_CHECKSUM, 0)?;
            put(ip, IPV4_CHECKSUM, checksum::finish(checksum::sum(ip)))?;
            ip.get(12..20)?
        } else {
            put(
                ip,
                IPV6_LENGTH,
                (ip.len() - IPV6_HEADER + tcp_length) as u16,
            )?;
            ip.get(8..40)?
        };
        let pseudo_header = checksum::sum(addresses) + u64::from(PROTOCOL_TCP) + tcp_length as u64;

        let sequence = tcp.get_mut(TCP_SEQUENCE..)?.first_chunk_mut::<4>()?;
        *sequence = u32::from_be_bytes(*sequence)
            .wrapping_add(offset as u32)
            .to_be_bytes();
        let flags = tcp.get_mut(TCP_FLAGS)?;
        if !part.last {
            *flags &= !(TCP_FIN | TCP_PSH);
        }
        if !part.first {
            *flags &= !TCP_CWR;
        }
        put(tcp, TCP_CHECKSUM, 0)?;
        let sum = pseudo_header + checksum::sum(tcp);
        put(tcp, TCP_CHECKSUM, checksum::finish(sum))
    }
}
