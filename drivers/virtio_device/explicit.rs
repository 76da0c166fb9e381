// SPDX-License-Identifier: GPL-2.0-only

//! virtio-vdpa on a card without 1:1 address spaces: the kernel's memory is mapped explicitly.
//!
//! Data queues and control queue each have an address space for their rings and a bounce pool; see
//! [`bounce`](crate::dma::bounce). It is the one with the number of the queues' group: to which address space
//! `.set_group_asid` and `.reset` assign groups is for processes.

use super::{
    share::{
        Share,
        SMALL_BUFFER, //
    },
    VirtioDevice,
    GROUP_CONTROL,
    GROUP_DATA,
    GROUP_RINGS, //
};
use crate::{
    block,
    card::Card,
    dma::bounce::{
        Bounce,
        Piece,
        Size,
        Target,
        SLOT, //
    },
    info::Translation,
    iommu::InForce,
    mgmt::Type,
    vdpa::{
        virtio::*,
        BusDriver,
        MapOperations, //
    },
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

/// Commands of the control queue that can be under way; drivers send one at a time.
const CONTROL_COMMANDS: usize = 64;

/// Features that make frames, or buffers for them, longer than the wire's.
const LONG_FRAMES: u64 = (1 << VIRTIO_NET_F_GUEST_ECN)
    | (1 << VIRTIO_NET_F_GUEST_TSO4)
    | (1 << VIRTIO_NET_F_GUEST_TSO6)
    | (1 << VIRTIO_NET_F_HOST_ECN)
    | (1 << VIRTIO_NET_F_HOST_TSO4)
    | (1 << VIRTIO_NET_F_HOST_TSO6)
    | (1 << VIRTIO_NET_F_MRG_RXBUF);

// The pool gives each receive buffer no more than it asks for, which the share has been counted with.
const _: () = assert!(SMALL_BUFFER % SLOT == 0 && PAGE_SIZE % SLOT == 0);

/// An address space of a device, as the place for the kernel's memory.
struct Space {
    device: Arc<VirtioDevice>,
    asid: u32,
}

impl Target for Space {
    fn translate(&self, pieces: &[Piece]) -> Result {
        let device = &self.device;
        let result = {
            let mut space = device.space(self.asid)?.lock();
            let space = (*space).as_mut().ok_or(ENODEV)?;
            space.set_kernel_map(&device.card, pieces)
        };

        result.map_err(|failure| {
            // A dead card has been reported.
            let reported = device.card.is_dead();
            if let Some(count) = device.alarms.count().filter(|_| !reported) {
                dev_err!(
                    device.card.dev(),
                    "device {} address space {}: the kernel's memory could not be mapped: {:?} ({})\n",
                    device.number,
                    self.asid,
                    failure.error,
                    count
                );
            }
            if failure.in_force != InForce::OldMap {
                device.need_reset();
            }
            failure.error
        })
    }
}

/// Whether virtio-vdpa's memory on `card` has to be mapped explicitly.
pub(super) fn needs_maps(card: &Card) -> bool {
    card.info.translation == Translation::OnChip
}

/// What a device gets if virtio-vdpa's memory has to be mapped.
fn share(device: &VirtioDevice) -> Share {
    let info = &device.card.info;

    Share::new(
        device.num_queues / 2,
        device.mtu,
        info.min_queue_size,
        info.max_queue_size,
        PAGE_SIZE,
    )
}

/// Entries that the rings of `device` shall have for `owner`: as many as can be, except where the pool has to have
/// room for all of their buffers.
pub(super) fn ring_size(device: &VirtioDevice, owner: BusDriver) -> u16 {
    match owner {
        BusDriver::VirtioVdpa if needs_maps(&device.card) => match device.device_type() {
            Type::Net => share(device).ring_size,
            Type::Block => {
                let info = &device.card.info;
                block::BOUNCED_RING
                    .max(info.min_queue_size)
                    .min(info.max_queue_size)
            }
        },
        _ => device.card.info.max_queue_size,
    }
}

/// Features that `device` offers to `owner`: all that it has, except that frames longer than the wire's don't go through a
/// bounce pool.
///
/// With them virtio_net posts receive buffers of up to 64 KiB, for which a pool with a place for every descriptor would
/// have to be 30 times as large, see [`share`](super::share); and a frame to send that a pool has no room for is dropped, a
/// long one again and again where the pool is small. Nor are indirect descriptors offered: virtio_net makes a table of them for a
/// receive buffer of several pages, and with one in each entry a receive ring has room for more buffers than the pool.
pub(super) fn offered(device: &VirtioDevice, owner: BusDriver) -> u64 {
    let not_bounced = match device.device_type() {
        Type::Net => LONG_FRAMES,
        // The same bits mean something else here. A request that is too large for the room there is is tried again.
        Type::Block => 0,
    };

    match owner {
        BusDriver::VirtioVdpa if needs_maps(&device.card) => {
            device.offered & !(not_bounced | 1 << VIRTIO_RING_F_INDIRECT_DESC)
        }
        _ => device.offered,
    }
}

/// Who maps the memory of virtio-vdpa, for each group of `device` that has queues' buffers. Empty if the DMA API does that.
///
/// # Errors
///
/// `ENOMEM` if there is no memory.
pub(crate) fn maps(device: &Arc<VirtioDevice>) -> Result<KVec<Arc<dyn MapOperations>>> {
    let mut maps = KVec::new();

    if !needs_maps(&device.card) {
        return Ok(maps);
    }
    if device.device_type() == Type::Block {
        let data = pool(
            device,
            GROUP_DATA,
            Size {
                // A place for each slot, so that a status takes one and a page two. One more place than data take is for
                // the request's own status.
                receive: block::LARGEST_REQUEST / SLOT + 1,
                receive_len: SLOT,
                transmit: block::LARGEST_REQUEST + SLOT,
                keep: false,
            },
        )?;
        // No queue's buffers are in a group but the first.
        for _group in 0..device.num_groups() {
            maps.push(data.clone(), GFP_KERNEL)?;
        }
        return Ok(maps);
    }
    let share = share(device);
    let data = pool(
        device,
        GROUP_DATA,
        Size {
            receive: share.receive,
            receive_len: share.receive_len,
            transmit: share.transmit,
            keep: false,
        },
    )?;
    let control = pool(
        device,
        GROUP_CONTROL,
        Size {
            receive: CONTROL_COMMANDS,
            receive_len: 1,
            transmit: 0,
            // What the driver receives here is the status of its command, which it sets to an error before.
            keep: true,
        },
    )?;

    for group in [GROUP_DATA, GROUP_RINGS, GROUP_CONTROL] {
        let map = match group {
            GROUP_CONTROL => &control,
            // No queue's buffers are in the group of rings: the core has one pool for all of a queue.
            _ => &data,
        };
        maps.push(map.clone(), GFP_KERNEL)?;
    }
    Ok(maps)
}

/// A pool in the address space `asid` of `device`.
fn pool(device: &Arc<VirtioDevice>, asid: u32, size: Size) -> Result<Arc<dyn MapOperations>> {
    let space = KBox::new(
        Space {
            device: device.clone(),
            asid,
        },
        GFP_KERNEL,
    )?;

    let pool: Arc<dyn MapOperations> = Bounce::new(space, size)?;
    Ok(pool)
}
