// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Frames that are not fit for the wire: their checksum is incomplete, or they are to be cut into segments. The virtio-net
//! header in front of a frame says so (virtio 1.3, section 5.1.6). A driver that agreed to receive such frames gets them as
//! they are; for everybody else [`plain`] makes frames for the wire of them.

use mooring_firmware::net::features;

use super::segment::{self, Headers};
use super::{checksum, HEADER_SIZE, RECEIVE_HEADER};

const FLAG_NEEDS_CSUM: u8 = 1;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// The shortest segments that are made, Linux's `TCP_MIN_SND_MSS`. It bounds how many frames one becomes.
const MIN_SEGMENT: usize = 48;

/// How a frame is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segments {
    /// Bytes of each but the last, without headers.
    pub size: usize,
    /// Whether the sender has marked the flow for ECN, so that only the first segment may have CWR.
    ecn: bool,
    /// What is in front of the segments' bytes.
    pub headers: Headers,
}

/// What a frame lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offload {
    /// Where what is summed up begins, and how far behind that the checksum is.
    checksum: Option<(usize, usize)>,
    segments: Option<Segments>,
}

/// A virtio-net header that contradicts itself, its frame or what was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Offload {
    /// Nothing: the frame is fit for the wire.
    pub const NONE: Self = Self {
        checksum: None,
        segments: None,
    };

    /// Reads the header of a packet from a driver that agreed on `features`. Without `VIRTIO_NET_F_CSUM` the header says
    /// nothing.
    pub fn from_packet(packet: &[u8], features: u64) -> Result<Self, Malformed> {
        let (header, frame) = packet.split_first_chunk::<HEADER_SIZE>().ok_or(Malformed)?;
        let [flags, gso_type, _, _, s0, s1, c0, c1, o0, o1, _, _] = *header;
        if features & features::CSUM == 0 {
            return Ok(Self::NONE);
        }
        if flags & FLAG_NEEDS_CSUM == 0 {
            // Who segments has to complete the checksums, so the header must say where they are.
            return match gso_type {
                GSO_NONE => Ok(Self::NONE),
                _ => Err(Malformed),
            };
        }
        let start = usize::from(u16::from_le_bytes([c0, c1]));
        let offset = usize::from(u16::from_le_bytes([o0, o1]));
        if start + offset + 2 > frame.len() {
            return Err(Malformed);
        }
        let checksum = Some((start, offset));
        let ecn = gso_type & GSO_ECN != 0;
        let needed = match gso_type & !GSO_ECN {
            GSO_NONE if !ecn => {
                return Ok(Self {
                    checksum,
                    segments: None,
                })
            }
            GSO_TCPV4 => features::HOST_TSO4,
            GSO_TCPV6 => features::HOST_TSO6,
            _ => return Err(Malformed),
        };
        let needed = needed | if ecn { features::HOST_ECN } else { 0 };
        let headers = Headers::parse(frame, start).ok_or(Malformed)?;
        let size = usize::from(u16::from_le_bytes([s0, s1]));
        let version = match gso_type & !GSO_ECN {
            GSO_TCPV4 => 4,
            _ => 6,
        };
        if features & needed != needed
            || offset != segment::TCP_CHECKSUM
            || headers.version() != version
            || is_group(frame)
            || size < MIN_SEGMENT
        {
            return Err(Malformed);
        }
        Ok(Self {
            checksum,
            segments: Some(Segments { size, ecn, headers }),
        })
    }

    /// Whether a frame is fit for the wire.
    pub fn is_none(&self) -> bool {
        self.checksum.is_none()
    }

    /// Whether a driver that agreed on `features` takes such frames as they are.
    pub fn suits(&self, features: u64) -> bool {
        let mut needed = match self.checksum {
            Some(_) => features::GUEST_CSUM,
            None => 0,
        };
        if let Some(segments) = &self.segments {
            needed |= match segments.headers.version() {
                4 => features::GUEST_TSO4,
                _ => features::GUEST_TSO6,
            };
            if segments.ecn {
                needed |= features::GUEST_ECN;
            }
        }
        features & needed == needed
    }

    /// Bytes of the longest frame for the wire that becomes of a frame of `length` bytes.
    pub fn wire_length(&self, length: usize) -> usize {
        match &self.segments {
            Some(segments) => length.min(segments.headers.length() + segments.size),
            None => length,
        }
    }

    /// The header for a driver that takes the frame as it is, in one buffer.
    pub fn receive_header(&self) -> [u8; HEADER_SIZE] {
        let mut header = RECEIVE_HEADER;
        let [flags, gso_type, h0, h1, s0, s1, c0, c1, o0, o1, _, _] = &mut header;
        if let Some((start, offset)) = self.checksum {
            *flags = FLAG_NEEDS_CSUM;
            // CAST: they came from 16 bits.
            [*c0, *c1] = (start as u16).to_le_bytes();
            [*o0, *o1] = (offset as u16).to_le_bytes();
        }
        if let Some(segments) = &self.segments {
            *gso_type = match segments.headers.version() {
                4 => GSO_TCPV4,
                _ => GSO_TCPV6,
            };
            if segments.ecn {
                *gso_type |= GSO_ECN;
            }
            // CAST: the size came from 16 bits, and headers are shorter than their frame's 16 bits of length.
            [*h0, *h1] = (segments.headers.length() as u16).to_le_bytes();
            [*s0, *s1] = (segments.size as u16).to_le_bytes();
        }
        header
    }
}

/// Whether a frame is for a group, where no TCP goes. Each of its segments would go to all ports.
fn is_group(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first & 1 != 0)
}

/// Makes packets whose frames are fit for the wire of a packet, in `scratch`, and hands each over.
pub(crate) fn plain(
    packet: &[u8],
    offload: &Offload,
    scratch: &mut Vec<u8>,
    mut each: impl FnMut(&mut [u8]),
) {
    let frame = super::frame(packet);
    let start = |scratch: &mut Vec<u8>| {
        scratch.clear();
        scratch.extend_from_slice(&RECEIVE_HEADER);
    };
    match (&offload.segments, offload.checksum) {
        (Some(segments), _) => {
            for part in segments.headers.parts(frame, segments.size) {
                start(scratch);
                segments.headers.write(frame, &part, scratch);
                each(scratch);
            }
        }
        (None, checksum) => {
            start(scratch);
            scratch.extend_from_slice(frame);
            if let (Some((start, offset)), Some(frame)) = (checksum, scratch.get_mut(HEADER_SIZE..))
            {
                checksum::complete(frame, start, offset);
            }
            each(scratch);
        }
    }
}

#[cfg(test)]
mod tests;
