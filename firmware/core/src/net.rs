// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Network devices: MAC addresses; features are in [`features`], the control queue is in [`ctrl`], and what the host is told
//! of a device in [`status`].

pub(crate) mod ctrl;
pub mod features;
pub(crate) mod status;

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
