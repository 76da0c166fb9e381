// SPDX-License-Identifier: GPL-2.0-only

//! The configuration space of a virtio-net device (`struct virtio_net_config`; virtio 1.3, section
//! 5.1.4), which the driver answers from what it knows, without asking the card.

use super::NetDevice;
use crate::vdpa::virtio::VIRTIO_NET_S_LINK_UP;
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};
use zerocopy::little_endian::{
    U16,
    U32, //
};
use zerocopy_derive::{
    Immutable,
    KnownLayout, //
};

/// The configuration space, up to the last field that a device without RSS has.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct NetConfig {
    mac: [u8; 6],
    status: U16,
    max_virtqueue_pairs: U16,
    mtu: U16,
    speed: U32,
    duplex: u8,
    rss_max_key_size: u8,
    rss_max_indirection_table_length: U16,
    supported_hash_types: U32,
}

/// Speed of a link whose speed is not known (virtio 1.3, section 5.1.4).
const SPEED_UNKNOWN: u32 = 0xffff_ffff;

/// Duplex mode of a link where it is not known.
const DUPLEX_UNKNOWN: u8 = 0xff;

/// Size of the configuration space in bytes.
pub(super) const SIZE: usize = size_of::<NetConfig>();

impl NetDevice {
    /// Reads the configuration space. `data` is zeroed; bytes outside the space stay so.
    pub(super) fn read_config(&self, offset: usize, data: &mut [u8]) {
        let status = match self.link_up.load(Relaxed) {
            true => VIRTIO_NET_S_LINK_UP,
            false => 0,
        };
        let config = NetConfig {
            mac: *self.mac.lock(),
            // CAST: a status bit.
            status: (status as u16).into(),
            max_virtqueue_pairs: (self.num_queues / 2).into(),
            mtu: self.mtu.into(),
            speed: SPEED_UNKNOWN.into(),
            duplex: DUPLEX_UNKNOWN,
            rss_max_key_size: 0,
            rss_max_indirection_table_length: 0.into(),
            supported_hash_types: 0.into(),
        };

        for (to, from) in data.iter_mut().zip(config.as_bytes().iter().skip(offset)) {
            *to = *from;
        }
    }
}
