// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Virtio feature bits, as far as the firmware knows them, and which of them need others (virtio 1.3, section 5.1.3.1).

use crate::hal::Capabilities;
use crate::ring;

/// `VIRTIO_NET_F_CSUM`: the device completes checksums of frames that it takes.
pub const CSUM: u64 = 1 << 0;
/// `VIRTIO_NET_F_GUEST_CSUM`: the driver takes frames with incomplete checksums.
pub const GUEST_CSUM: u64 = 1 << 1;
/// `VIRTIO_NET_F_CTRL_GUEST_OFFLOADS`.
pub const CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
/// `VIRTIO_NET_F_MTU`.
pub const MTU: u64 = 1 << 3;
/// `VIRTIO_NET_F_MAC`.
pub const MAC: u64 = 1 << 5;
/// `VIRTIO_NET_F_GUEST_TSO4`.
pub const GUEST_TSO4: u64 = 1 << 7;
/// `VIRTIO_NET_F_GUEST_TSO6`.
pub const GUEST_TSO6: u64 = 1 << 8;
/// `VIRTIO_NET_F_GUEST_ECN`.
pub const GUEST_ECN: u64 = 1 << 9;
/// `VIRTIO_NET_F_HOST_TSO4`.
pub const HOST_TSO4: u64 = 1 << 11;
/// `VIRTIO_NET_F_HOST_TSO6`.
pub const HOST_TSO6: u64 = 1 << 12;
/// `VIRTIO_NET_F_HOST_ECN`.
pub const HOST_ECN: u64 = 1 << 13;
/// `VIRTIO_NET_F_MRG_RXBUF`.
pub const MRG_RXBUF: u64 = 1 << 15;
/// `VIRTIO_NET_F_STATUS`.
pub const STATUS: u64 = 1 << 16;
/// `VIRTIO_NET_F_CTRL_VQ`.
pub const CTRL_VQ: u64 = 1 << 17;
/// `VIRTIO_NET_F_CTRL_RX`.
pub const CTRL_RX: u64 = 1 << 18;
/// `VIRTIO_NET_F_CTRL_VLAN`.
pub const CTRL_VLAN: u64 = 1 << 19;
/// `VIRTIO_NET_F_CTRL_RX_EXTRA`.
pub const CTRL_RX_EXTRA: u64 = 1 << 20;
/// `VIRTIO_NET_F_GUEST_ANNOUNCE`.
pub const GUEST_ANNOUNCE: u64 = 1 << 21;
/// `VIRTIO_NET_F_MQ`.
pub const MQ: u64 = 1 << 22;
/// `VIRTIO_NET_F_CTRL_MAC_ADDR`.
pub const CTRL_MAC_ADDR: u64 = 1 << 23;
/// `VIRTIO_F_VERSION_1`.
pub const VERSION_1: u64 = 1 << 32;
/// `VIRTIO_F_ACCESS_PLATFORM`.
pub const ACCESS_PLATFORM: u64 = 1 << 33;
/// `VIRTIO_F_ORDER_PLATFORM`.
pub const ORDER_PLATFORM: u64 = 1 << 36;
/// `VIRTIO_NET_F_SPEED_DUPLEX`.
pub const SPEED_DUPLEX: u64 = 1 << 63;

/// What a driver can switch with `VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET`.
pub const GUEST_OFFLOADS: u64 = GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN;

/// What every device offers.
const ALWAYS: u64 = VERSION_1
    | ACCESS_PLATFORM
    | ORDER_PLATFORM
    | MAC
    | MTU
    | STATUS
    | CSUM
    | GUEST_CSUM
    | HOST_TSO4
    | HOST_TSO6
    | HOST_ECN
    | GUEST_TSO4
    | GUEST_TSO6
    | GUEST_ECN
    | MRG_RXBUF
    | SPEED_DUPLEX;

/// What a device with a control queue offers beside.
const WITH_CONTROL: u64 = CTRL_VQ
    | CTRL_RX
    | CTRL_RX_EXTRA
    | CTRL_VLAN
    | CTRL_MAC_ADDR
    | CTRL_GUEST_OFFLOADS
    | GUEST_ANNOUNCE;

/// Features that need another one: each of the first needs at least one of the second.
const NEEDS: [(u64, u64); 5] = [
    (
        CTRL_RX
            | CTRL_VLAN
            | CTRL_RX_EXTRA
            | GUEST_ANNOUNCE
            | MQ
            | CTRL_MAC_ADDR
            | CTRL_GUEST_OFFLOADS,
        CTRL_VQ,
    ),
    (HOST_TSO4 | HOST_TSO6, CSUM),
    (HOST_ECN, HOST_TSO4 | HOST_TSO6),
    (GUEST_TSO4 | GUEST_TSO6, GUEST_CSUM),
    (GUEST_ECN, GUEST_TSO4 | GUEST_TSO6),
];

/// What a device offers whose creator wants at most `wanted`, or all if that is 0. `ring` is what all devices of the card offer
/// about their rings.
///
/// Whose address the creator has chosen (`mac_chosen`) may change it only if the creator wants that by name, too: addresses are
/// what keeps the tenants of a network apart.
pub(crate) fn offered(wanted: u64, pairs: u16, control: bool, mac_chosen: bool, ring: u64) -> u64 {
    let mut offered = ALWAYS | ring;
    if control {
        offered |= WITH_CONTROL;
    }
    if pairs > 1 {
        offered |= MQ;
    }
    if wanted != 0 {
        offered &= wanted;
    } else if mac_chosen {
        offered &= !CTRL_MAC_ADDR;
    }
    effective(offered)
}

/// All that some network device of this card could offer.
pub(crate) fn possible(capabilities: &Capabilities) -> u64 {
    // A control queue, and a second pair, if there are queues for that.
    let control = capabilities.queues >= 3;
    let pairs = capabilities.queues.saturating_sub(1) / 2;
    offered(0, pairs, control, false, ring::offered(capabilities))
}

/// Those of some features that come with what they depend on; the others have no effect. Drivers agree on each by itself (a
/// virtual machine monitor that keeps checksums from its guest may leave it segmentation, which is nothing without).
pub(crate) fn effective(features: u64) -> u64 {
    // What lacks what it needs goes, and with it what needs that in turn: the longest row of needs is three.
    (0..NEEDS.len()).fold(features, |features, _| {
        NEEDS.iter().fold(features, |features, (needy, one_of)| {
            match features & one_of {
                0 => features & !needy,
                _ => features,
            }
        })
    })
}
