// SPDX-License-Identifier: GPL-2.0-only

//! Which bus addresses a card can be given if its address spaces can be 1:1: pure, and shared with the host tests.
//!
//! In a 1:1 address space an I/O virtual address is a bus address, and the card has `iova_bits` for it. Where that is less
//! than the `bus_bits` that a translated access can have, a bus address above would be cut off: the card would access somebody
//! else's memory. Linux has one mask for what is mapped and one for what is allocated, and both hold for the whole function:
//! 1:1 needs the narrow value in both, because virtio allocates its rings and maps its buffers through this function.
//!
//! The narrow mask costs nothing as long as all addresses that the platform has to give out fit. Else, on a machine without
//! an IOMMU that has more memory than that, memory which processes want to map could not be given to the card, although the card could
//! reach it. So there the card counts as one that has no 1:1 address spaces, and all that it can reach stays within reach.

/// How a card is used whose address spaces can be 1:1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addressing {
    /// Whether its address spaces are made 1:1.
    pub(crate) identity: bool,
    /// Bits of the bus addresses that it is given.
    pub(crate) bus_bits: u8,
}

/// The highest address of `bits` bits, 1 to 64; more are taken for 64.
pub(crate) const fn last_address(bits: u8) -> u64 {
    match bits {
        0..64 => (1 << bits) - 1,
        _ => u64::MAX,
    }
}

/// How to use a card that has these numbers of bits on a platform that may give out bus addresses up to `required`.
pub(crate) const fn addressing(iova_bits: u8, bus_bits: u8, required: u64) -> Addressing {
    if iova_bits >= bus_bits {
        return Addressing {
            identity: true,
            bus_bits,
        };
    }
    let identity = required <= last_address(iova_bits);

    Addressing {
        identity,
        bus_bits: match identity {
            true => iova_bits,
            false => bus_bits,
        },
    }
}
