// SPDX-License-Identifier: GPL-2.0-only

//! What makes a virtio-blk device out of a device of the card: features, and the configuration space ([`config`]).
//!
//! All else about a device (queues, address spaces, start and reset) is the same for each type, and in
//! [`virtio_device`](crate::virtio_device).

mod config;

pub(crate) use config::{
    BlockConfig,
    LARGEST_REQUEST, //
};

use crate::vdpa::virtio::*;

/// Features that this driver can offer. Each device offers those of them that the card has.
pub(crate) const FEATURES: u64 = (1 << VIRTIO_F_VERSION_1)
    | (1 << VIRTIO_F_ACCESS_PLATFORM)
    | (1 << VIRTIO_F_ORDER_PLATFORM)
    | (1 << VIRTIO_RING_F_INDIRECT_DESC)
    | (1 << VIRTIO_RING_F_EVENT_IDX)
    | (1 << VIRTIO_F_RING_PACKED)
    | (1 << VIRTIO_F_IN_ORDER)
    | (1 << VIRTIO_F_NOTIFICATION_DATA)
    | (1 << VIRTIO_BLK_F_SIZE_MAX)
    | (1 << VIRTIO_BLK_F_SEG_MAX)
    | (1 << VIRTIO_BLK_F_RO)
    | (1 << VIRTIO_BLK_F_BLK_SIZE)
    | (1 << VIRTIO_BLK_F_FLUSH)
    | (1 << VIRTIO_BLK_F_TOPOLOGY)
    | (1 << VIRTIO_BLK_F_MQ)
    | (1 << VIRTIO_BLK_F_DISCARD)
    | (1 << VIRTIO_BLK_F_WRITE_ZEROES);

/// Most queues of a device whose creator can't say how many.
const MAX_QUEUES: u32 = 16;

/// Entries of a ring that virtio-vdpa gets where all buffers are copied: more would wait for room.
pub(crate) const BOUNCED_RING: u16 = 256;

/// Queues of a device on a card with `num_queues`, if it may have several: one for each processor, but no more than half of
/// the card's. There is no attribute of `vdpa dev add` that says it; that of queue pairs is for network devices only.
pub(crate) fn default_queues(num_queues: u16) -> u16 {
    let wanted = kernel::cpu::nr_cpu_ids().min(MAX_QUEUES);

    // CAST: at most `MAX_QUEUES`.
    (wanted as u16).min(num_queues / 2).max(1)
}
