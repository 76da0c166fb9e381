// SPDX-License-Identifier: GPL-2.0-only

//! The configuration space of a virtio-net device (`struct virtio_net_config`; virtio 1.3, section
//! 5.1.4), which the driver answers from what it knows, without asking the card.

use super::{
    is_valid_mac,
    VirtioDevice, //
};
use crate::{
    vdpa::virtio::{
        VIRTIO_NET_F_CTRL_VQ,
        VIRTIO_NET_F_GUEST_ANNOUNCE,
        VIRTIO_NET_S_ANNOUNCE,
        VIRTIO_NET_S_LINK_UP, //
    },
    wire, //
};
use kernel::prelude::*;
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

/// Duplex mode of the card's links.
const DUPLEX_FULL: u8 = 1;

/// Size of the configuration space in bytes.
pub(super) const SIZE: usize = size_of::<NetConfig>();

/// What the card changes in the configuration space. The driver shows what the card has told last.
pub(super) struct Changing {
    mac: [u8; 6],
    /// The status field.
    status: u32,
    /// Mbit/s.
    speed: u32,
    /// Whether the owner may be asked to announce itself. Linux's driver takes the request for granted, and is a `BUG()` if
    /// there is no control queue to answer it through: that is not for the card to decide.
    may_announce: bool,
    /// Changes so far. It counts under the same lock as they are made under, or a reader that gets one half of a field before
    /// a change and one after it would see the same number twice.
    generation: u32,
}

impl Changing {
    /// What is shown until the card has told more.
    pub(super) fn new(mac: [u8; 6]) -> Self {
        Self {
            mac,
            status: VIRTIO_NET_S_LINK_UP,
            speed: SPEED_UNKNOWN,
            may_announce: false,
            generation: 0,
        }
    }
}

impl VirtioDevice {
    /// Reads the configuration space. `data` is zeroed; bytes outside the space stay so.
    pub(super) fn read_config(&self, offset: usize, data: &mut [u8]) {
        match &self.block {
            Some(block) => copy(block.as_bytes(), offset, data),
            None => copy(self.net_config().as_bytes(), offset, data),
        }
    }

    fn net_config(&self) -> NetConfig {
        let changing = self.changing.lock();

        NetConfig {
            mac: changing.mac,
            // CAST: status bits.
            status: (changing.status as u16).into(),
            max_virtqueue_pairs: (self.num_queues / 2).into(),
            mtu: self.mtu.into(),
            speed: changing.speed.into(),
            duplex: DUPLEX_FULL,
            rss_max_key_size: 0,
            rss_max_indirection_table_length: 0.into(),
            supported_hash_types: 0.into(),
        }
    }

    /// A number that is another one after every change of the configuration space.
    pub(super) fn config_generation(&self) -> u32 {
        self.changing.lock().generation
    }

    /// Whether the link is up.
    pub(crate) fn is_link_up(&self) -> bool {
        self.changing.lock().status & VIRTIO_NET_S_LINK_UP != 0
    }

    /// Whether the owner of a device that runs has agreed to announce itself.
    pub(super) fn may_announce(&self) -> bool {
        self.changing.lock().may_announce
    }

    /// Notes what the owner has agreed on, or with 0 that there is none any more. Before the card can tell anything about it.
    pub(super) fn agreed(&self, features: u64) {
        const ANSWERED: u64 = 1 << VIRTIO_NET_F_GUEST_ANNOUNCE | 1 << VIRTIO_NET_F_CTRL_VQ;
        let mut changing = self.changing.lock();

        changing.may_announce = features & ANSWERED == ANSWERED;
        if !changing.may_announce && changing.status & VIRTIO_NET_S_ANNOUNCE != 0 {
            changing.status &= !VIRTIO_NET_S_ANNOUNCE;
            changing.generation = changing.generation.wrapping_add(1);
        }
    }

    /// Takes the status that the card has told, and tells the owner if it is news.
    pub(super) fn status_changed(&self, event: &wire::Event) {
        let speed = match event.length.get() {
            0 => SPEED_UNKNOWN,
            speed => speed,
        };
        {
            let mut changing = self.changing.lock();
            let shown = match changing.may_announce {
                true => VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE,
                false => VIRTIO_NET_S_LINK_UP,
            };
            let status = event.detail.get() & shown;
            if (changing.status, changing.speed) == (status, speed) {
                return;
            }
            changing.status = status;
            changing.speed = speed;
            changing.generation = changing.generation.wrapping_add(1);
        }
        self.callbacks.call_config();
    }

    /// Takes the MAC address that the card has told, and tells the owner if it is news, even if it has set the address itself:
    /// the event doesn't say who did.
    pub(super) fn mac_changed(&self, event: &wire::Event) {
        let mac = event.mac();
        {
            let mut changing = self.changing.lock();
            // Whatever else the card may say, nobody is to have a group's address.
            if changing.mac == mac || !is_valid_mac(mac) {
                return;
            }
            changing.mac = mac;
            changing.generation = changing.generation.wrapping_add(1);
        }
        self.callbacks.call_config();
    }
}

/// Copies what there is from `offset` on.
fn copy(config: &[u8], offset: usize, data: &mut [u8]) {
    for (to, from) in data.iter_mut().zip(config.iter().skip(offset)) {
        *to = *from;
    }
}
