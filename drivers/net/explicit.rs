// SPDX-License-Identifier: GPL-2.0-only

//! virtio-vdpa on a card without 1:1 address spaces: the kernel's memory is mapped explicitly.
//!
//! Data queues and control queue each have an address space for their rings and a bounce pool; see
//! [`bounce`](crate::dma::bounce). It is the one with the number of the queues' group: to which address space
//! `.set_group_asid` and `.reset` assign groups is for processes.

use super::{
    NetDevice,
    GROUP_CONTROL,
    GROUP_DATA, //
};
use crate::{
    card::Card,
    dma::bounce::{
        self,
        Bounce,
        Piece,
        Target, //
    },
    info::Translation,
    iommu::InForce,
    vdpa::MapOperations, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Slots for the control queue: drivers send one command at a time.
const CONTROL_SLOTS: usize = 64;

/// Bytes in a frame beside those of the MTU: virtio's header, Ethernet's, and a VLAN tag.
const HEADERS: usize = 12 + 14 + 4;

/// An address space of a device, as the place for the kernel's memory.
struct Space {
    device: Arc<NetDevice>,
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
            if let Some(count) = device.complaints.count().filter(|_| !reported) {
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

/// Who maps the memory of virtio-vdpa, for each group of `device` that has queues' buffers. Empty if the DMA API does that.
///
/// # Errors
///
/// `ENOMEM` if there is no memory.
pub(crate) fn maps(device: &Arc<NetDevice>) -> Result<KVec<Arc<dyn MapOperations>>> {
    let mut maps = KVec::new();

    if !needs_maps(&device.card) {
        return Ok(maps);
    }
    for asid in [GROUP_DATA, GROUP_CONTROL] {
        let slots = match asid {
            GROUP_CONTROL => CONTROL_SLOTS,
            // As many frames as there are descriptors, if they are no longer than the MTU.
            _ => {
                let each = bounce::slots(usize::from(device.mtu) + HEADERS);
                usize::from(device.num_queues) * usize::from(device.card.info.max_queue_size) * each
            }
        };
        let space = KBox::new(
            Space {
                device: device.clone(),
                asid,
            },
            GFP_KERNEL,
        )?;
        let bounce: Arc<dyn MapOperations> = Bounce::new(space, slots)?;
        maps.push(bounce, GFP_KERNEL)?;
    }
    Ok(maps)
}
