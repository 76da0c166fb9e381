// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Network devices: features and MAC addresses; the control queue is in [`ctrl`].

pub(crate) mod ctrl;

/// The maximum transmission unit of a device whose creator names none.
pub const DEFAULT_MTU: u16 = 1500;

/// The smallest maximum transmission unit, IPv4's.
pub const MIN_MTU: u16 = 68;

/// "Choose one" as a MAC address.
pub(crate) const NO_MAC: [u8; 6] = [0; 6];

/// Whether an address is that of a group, broadcast included.
pub(crate) fn is_multicast(mac: &[u8; 6]) -> bool {
    mac[0] & 1 != 0
}

/// Whether a device can have an address.
pub(crate) fn is_assignable(mac: &[u8; 6]) -> bool {
    !is_multicast(mac) && *mac != NO_MAC
}

/// The address `offset` after `base`. Only the lower half counts, so that the vendor's half stays.
pub(crate) fn mac_plus(base: &[u8; 6], offset: u32) -> [u8; 6] {
    let [a, b, c, d, e, f] = *base;
    let low = u32::from_be_bytes([0, d, e, f]).wrapping_add(offset);
    let [_, d, e, f] = low.to_be_bytes();
    [a, b, c, d, e, f]
}

/// Virtio feature bits, as far as the firmware knows them.
pub mod features {
    /// `VIRTIO_NET_F_MTU`.
    pub const MTU: u64 = 1 << 3;
    /// `VIRTIO_NET_F_MAC`.
    pub const MAC: u64 = 1 << 5;
    /// `VIRTIO_NET_F_STATUS`.
    pub const STATUS: u64 = 1 << 16;
    /// `VIRTIO_NET_F_CTRL_VQ`.
    pub const CTRL_VQ: u64 = 1 << 17;
    /// `VIRTIO_NET_F_CTRL_RX`.
    pub const CTRL_RX: u64 = 1 << 18;
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

    /// Features that only make sense with a control queue.
    const NEED_CTRL_VQ: u64 = CTRL_RX | MQ | CTRL_MAC_ADDR;

    /// What a device offers whose creator wants at most `wanted`, or all if that is 0.
    ///
    /// `ring` is what all devices of the card offer about their rings.
    pub(crate) fn offered(wanted: u64, pairs: u16, control: bool, ring: u64) -> u64 {
        let mut offered = VERSION_1 | ACCESS_PLATFORM | ORDER_PLATFORM | MAC | MTU | STATUS;
        offered |= ring;
        if control {
            offered |= CTRL_VQ | CTRL_RX | CTRL_MAC_ADDR;
        }
        if pairs > 1 {
            offered |= MQ;
        }
        if wanted != 0 {
            offered &= wanted;
        }
        if consistent(offered) {
            offered
        } else {
            offered & !NEED_CTRL_VQ
        }
    }

    /// Whether every feature comes with those that it depends on.
    pub(crate) fn consistent(features: u64) -> bool {
        features & NEED_CTRL_VQ == 0 || features & CTRL_VQ != 0
    }
}
