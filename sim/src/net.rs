// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The network side of the devices: virtio-net headers, and which queue a frame goes to.

pub(crate) mod checksum;
mod filter;
pub(crate) mod offload;
mod segment;

use filter::Filter;
use mooring_firmware::net::features;
pub(crate) use offload::Offload;

/// What the uplink port is plugged into.
pub trait Uplink: Send {
    /// Sends a frame. A frame that can't be sent now is dropped.
    fn send(&mut self, frame: &[u8]) -> std::io::Result<()>;

    /// Replaces the content of `frame` with the next frame, or returns `false` if there is none now.
    fn receive(&mut self, frame: &mut Vec<u8>) -> std::io::Result<bool>;

    /// What to wait on for the next frame, if one can.
    fn fd(&self) -> Option<std::os::fd::RawFd>;
}

/// Bytes of a virtio-net header, as it is with `VIRTIO_F_VERSION_1`.
pub(crate) const HEADER_SIZE: usize = 12;

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET_HEADER: usize = 14;

/// Bytes of the longest frame: Ethernet header, VLAN tag, the largest MTU.
pub(crate) const MAX_FRAME: usize = ETHERNET_HEADER + 4 + 65535;

/// The header of a received packet: no offloads, one buffer.
const RECEIVE_HEADER: [u8; HEADER_SIZE] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// Where the number of buffers is in a packet's header.
const NUM_BUFFERS: usize = 10;

/// Writes the header of a packet for a driver that takes it as it is.
pub(crate) fn set_receive_header(packet: &mut [u8], offload: &Offload) {
    if let Some(header) = packet.first_chunk_mut() {
        *header = offload.receive_header();
    }
}

/// Says in a packet's header how many buffers it takes.
pub(crate) fn set_num_buffers(packet: &mut [u8], count: u16) {
    if let Some(place) = packet
        .get_mut(NUM_BUFFERS..)
        .and_then(<[u8]>::first_chunk_mut)
    {
        *place = count.to_le_bytes();
    }
}

/// The frame in a packet.
pub(crate) fn frame(packet: &[u8]) -> &[u8] {
    packet.get(HEADER_SIZE..).unwrap_or_default()
}

/// A device as the network sees it.
#[derive(Clone, Debug)]
pub(crate) struct NetDevice {
    first_queue: u16,
    pub mac: [u8; 6],
    mtu: u16,
    pub pairs: u16,
    pub filter: Filter,
    /// Whether its link is up.
    pub link: bool,
    /// Virtio feature bits that are agreed on and switched on.
    pub features: u64,
}

impl NetDevice {
    pub fn new(first_queue: u16, mac: [u8; 6], mtu: u16) -> Self {
        Self {
            first_queue,
            mac,
            mtu,
            pairs: 1,
            filter: Filter::default(),
            link: true,
            features: 0,
        }
    }

    /// Whether a frame, or what becomes of it on the wire, is as long as the device's frames may be.
    pub fn fits(&self, frame: &[u8], offload: &Offload) -> bool {
        (ETHERNET_HEADER..=ETHERNET_HEADER + 4 + usize::from(self.mtu))
            .contains(&offload.wire_length(frame.len()))
    }

    /// Whether a received frame may take several buffers.
    pub fn merges_buffers(&self) -> bool {
        self.features & features::MRG_RXBUF != 0
    }

    /// Whether the device takes a frame that reached its port.
    pub fn accepts(&self, frame: &[u8]) -> bool {
        self.link && self.filter.accepts(&self.mac, frame)
    }

    /// The receive queues for a frame: that of its flow first, then that of the first pair, for when the other doesn't
    /// run.
    pub fn receive_queues(&self, frame: &[u8]) -> [u16; 2] {
        let pair = match self.pairs {
            0 | 1 => 0,
            pairs => (flow_hash(frame) % u32::from(pairs)) as u16,
        };
        [self.first_queue + 2 * pair, self.first_queue]
    }
}

/// A hash that is the same for all frames of a flow: addresses and ports of IPv4 and IPv6, MAC addresses of the rest.
fn flow_hash(frame: &[u8]) -> u32 {
    // FNV-1a: nobody is harmed by collisions but those who make them.
    let fnv = |bytes: &[u8]| {
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        })
    };
    let part = |from: usize, length: usize| frame.get(from..from + length);
    let hash = match part(12, 2) {
        // IPv4 without options, not a fragment, with a protocol that has ports: addresses and ports are adjacent.
        Some([0x08, 0x00]) => {
            let plain = part(14, 1) == Some(&[0x45])
                && matches!(part(20, 2), Some([a, b]) if a & 0x3f == 0 && *b == 0);
            let ports = matches!(part(23, 1), Some([6 | 17]));
            part(26, if plain && ports { 12 } else { 8 }).map(fnv)
        }
        Some([0x86, 0xdd]) => {
            let ports = matches!(part(20, 1), Some([6 | 17]));
            part(22, if ports { 36 } else { 32 }).map(fnv)
        }
        _ => None,
    };
    let hash = hash.or_else(|| part(0, 12).map(fnv)).unwrap_or(0);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_keep_their_queue_and_spread() {
        let mut device = NetDevice::new(10, [2, 0, 0, 0, 0, 1], 1500);
        device.pairs = 4;
        let udp = |port: u16| {
            let mut frame = vec![0; 60];
            frame[12..14].copy_from_slice(&[8, 0]);
            frame[14] = 0x45;
            frame[23] = 17;
            frame[34..36].copy_from_slice(&port.to_be_bytes());
            frame
        };
        let queues: Vec<u16> = (0..64)
            .map(|port| device.receive_queues(&udp(port))[0])
            .collect();
        assert!(queues.iter().all(|queue| [10, 12, 14, 16].contains(queue)));
        assert!(
            [10, 12, 14, 16].iter().all(|queue| queues.contains(queue)),
            "{queues:?}"
        );
        let mut longer = udp(7);
        longer.resize(1000, 1);
        assert_eq!(
            device.receive_queues(&longer),
            device.receive_queues(&udp(7))
        );
    }
}
