// SPDX-License-Identifier: GPL-2.0-only

//! How large the rings of a device are for virtio-vdpa if all its buffers go through a bounce pool, and how large the pool.
//!
//! Pure logic without I/O. The kernel module and the host tests compile this same file.
//!
//! # Why receive buffers are never without room
//!
//! virtio_net takes a receive buffer that can't be mapped for a shortage that passes: it polls again at once, for as long as
//! more than half a budget of its ring is empty (`virtnet_receive()` in `drivers/net/virtio_net.c`). A pool
//! that is too small for its rings never gets larger, so a processor would poll for ever. Hence the pool has a place for every
//! descriptor of every receive ring, and where that is too much memory, the rings are shorter.
//!
//! A descriptor for receiving is no longer than [`SMALL_BUFFER`] up to an MTU of 1500 (`add_recvbuf_small()`), and no
//! longer than a page above (`add_recvbuf_big()`). The features that would change that are not offered to virtio-vdpa on
//! such a card (`offered()` in `explicit.rs`): `VIRTIO_NET_F_MRG_RXBUF`, `VIRTIO_NET_F_GUEST_TSO4` and its kin. Nor are
//! indirect descriptors.
//!
//! Sending needs no such promise: virtio_net drops a frame for which there is no room.

/// The largest MTU for which a receive buffer is one descriptor: `ETH_DATA_LEN`.
const SMALL_MTU: u16 = 1500;

/// Bytes that hold such a buffer: virtio's header, Ethernet's, a VLAN tag, and the frame.
pub(crate) const SMALL_BUFFER: usize = 2048;

const _: () = assert!(12 + 14 + 4 + SMALL_MTU as usize <= SMALL_BUFFER);

/// Most entries of a ring. More would not make a device faster whose frames are copied.
const MAX_RING: u16 = 1024;

/// Fewest entries of a ring, where the card has the choice: a frame can take 18, and virtio_net stops sending where fewer than
/// 19 are left.
const MIN_RING: u16 = 64;

/// Bytes of the pool for each direction, which are exceeded only where [`MIN_RING`] or the card wants larger rings.
const BUDGET: usize = 8 << 20;

/// What a device gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Entries of each ring; a power of two.
    pub(crate) ring_size: u16,
    /// Descriptors for receiving that there can be at a time, in all receive rings together.
    pub(crate) receive: usize,
    /// Most bytes of such a descriptor.
    pub(crate) receive_len: usize,
    /// Bytes of the pool for sending.
    pub(crate) transmit: usize,
}

impl Share {
    /// The share of a device with `pairs` queue pairs, an MTU of `mtu` bytes, and rings of `min` to `max` entries,
    /// both powers of two. `page` is a page's size in bytes.
    pub(crate) fn new(pairs: u16, mtu: u16, min: u16, max: u16, page: usize) -> Self {
        let receive_len = match mtu > SMALL_MTU {
            true => page,
            false => SMALL_BUFFER,
        };
        let ring_bytes = |size: u16| {
            receive_len
                .saturating_mul(usize::from(size))
                .saturating_mul(usize::from(pairs))
        };
        let fewest = MIN_RING.max(min).min(max);
        let mut ring_size = MAX_RING.max(min).min(max);

        while ring_size > fewest && ring_bytes(ring_size) > BUDGET {
            ring_size /= 2;
        }
        Self {
            ring_size,
            receive: usize::from(pairs).saturating_mul(usize::from(ring_size)),
            receive_len,
            transmit: ring_bytes(ring_size).min(BUDGET),
        }
    }
}
