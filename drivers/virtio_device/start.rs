// SPDX-License-Identifier: GPL-2.0-only

//! Starting and stopping queues: where a device is kept from running through memory that its owner
//! was not given.

use super::{
    explicit,
    VirtioDevice,
    VirtioState, //
};
use crate::{
    cmdq::commands,
    info::Translation,
    iommu::{
        AddressSpace,
        Owner, //
    },
    vdpa::BusDriver,
    vq::{
        Layout,
        Virtqueue, //
    },
    wire, //
};
use kernel::prelude::*;

/// Where a queue's memory lies.
struct Place {
    /// The card's number of the buffers' address space, or that of none.
    address_space: u16,
    /// The same for the rings.
    ring_address_space: u16,
    /// Whether the queue may run untranslated, as far as the card is concerned.
    allow_identity: bool,
}

impl VirtioDevice {
    /// Whether a queue of this owner may run through a 1:1 address space.
    ///
    /// virtio-vdpa is the kernel, which uses addresses that the DMA API gave it, unless the card has no such
    /// address spaces. Everybody else passes on what an unprivileged process says, and has to map memory first.
    fn may_use_identity(&self, owner: BusDriver) -> bool {
        matches!(owner, BusDriver::VirtioVdpa) && !explicit::needs_maps(&self.card)
    }

    /// Which address spaces the buffers and the rings of a queue of this owner are in.
    fn asids_of(&self, state: &VirtioState, owner: BusDriver, idx: u16) -> Result<(u32, u32)> {
        let (group, ring_group) = (self.group(idx), self.ring_group(idx));

        match owner {
            // Where `maps()` in `explicit` has put both.
            BusDriver::VirtioVdpa if explicit::needs_maps(&self.card) => Ok((group, group)),
            _ => Ok((state.asid(group)?, state.asid(ring_group)?)),
        }
    }

    /// Starts queue `idx` on the card.
    ///
    /// # Errors
    ///
    /// What [`AddressSpace::restore()`] fails with; `EPERM` if one of its address spaces was not mapped by its owner, or
    /// nobody looks after what its owner lets the card reach, `EINVAL` if its set-up isn't usable, `EIO` if the card is
    /// dead.
    pub(super) fn start_queue(
        &self,
        state: &mut VirtioState,
        owner: BusDriver,
        idx: u16,
    ) -> Result {
        let (asid, ring_asid) = self.asids_of(state, owner, idx)?;
        let layout = state.layout();
        let vq = state.queues.get_mut(usize::from(idx)).ok_or(EINVAL)?;

        if self.card.info.translation == Translation::Platform {
            let place = self.platform_place(owner, idx)?;
            return self.enable_queue(vq, layout, idx, &place);
        }
        let allow_identity = self.may_use_identity(owner);
        let mapped_by = match owner {
            BusDriver::VirtioVdpa => Owner::Kernel,
            _ => Owner::Process,
        };

        // The locks are held until the card runs the queue, so that the spaces can't change in between. The
        // card checks the same by itself, and refuses to make a space 1:1 while the queue runs through it.
        let (low, high) = (asid.min(ring_asid), asid.max(ring_asid));
        let mut low_space = self.space(low)?.lock();
        let mut high_space = match low == high {
            true => None,
            false => Some(self.space(high)?.lock()),
        };
        // What a failure has taken from a process is back from here on, or the queue doesn't start.
        let guards = [
            Some((low, &mut low_space)),
            high_space.as_mut().map(|space| (high, space)),
        ];
        for (asid, guard) in guards.into_iter().flatten() {
            if let Some(space) = (**guard).as_mut() {
                self.restore(idx, asid, space, allow_identity)?;
            }
        }
        let low_space = low_space.as_ref().ok_or(ENODEV)?;
        let high_space = match &high_space {
            Some(space) => space.as_ref().ok_or(ENODEV)?,
            None => low_space,
        };
        let (space, ring_space) = match asid == low {
            true => (low_space, high_space),
            false => (high_space, low_space),
        };
        if !allow_identity {
            self.check_mapped(idx, asid, space, mapped_by)?;
            self.check_mapped(idx, ring_asid, ring_space, mapped_by)?;
        }

        self.enable_queue(
            vq,
            layout,
            idx,
            &Place {
                address_space: space.number(),
                ring_address_space: ring_space.number(),
                allow_identity,
            },
        )
    }

    /// Where queue `idx` lies if the platform's IOMMU translates, or nobody.
    ///
    /// The two owners whose memory is looked after by somebody else may run: virtio-vdpa, which uses addresses of
    /// the DMA API, and vhost-vdpa, which has put the function into a domain that maps what the process has mapped, nothing
    /// at first, and refuses to open the device where there is no IOMMU. A bus driver that isn't known may have done
    /// neither.
    fn platform_place(&self, owner: BusDriver, idx: u16) -> Result<Place> {
        if !matches!(owner, BusDriver::VirtioVdpa | BusDriver::VhostVdpa) {
            if let Some(count) = self.complaints.count() {
                dev_warn!(
                    self.card.dev(),
                    "device {} queue {} not started: its owner is not known to limit what the card may reach ({})\n",
                    self.number,
                    idx,
                    count
                );
            }
            return Err(EPERM);
        }
        Ok(Place {
            address_space: wire::NO_ADDRESS_SPACE,
            ring_address_space: wire::NO_ADDRESS_SPACE,
            allow_identity: true,
        })
    }

    fn enable_queue(&self, vq: &mut Virtqueue, layout: Layout, idx: u16, place: &Place) -> Result {
        let flags = match place.allow_identity {
            true => wire::QUEUE_ALLOW_IDENTITY,
            false => 0,
        };
        let vector = self.card.interrupts.vector(self.first_queue + idx);
        let (space, ring_space) = (place.address_space, place.ring_address_space);
        let enable = vq.to_wire(layout, idx, vector, space, ring_space, flags)?;
        commands::queue_enable(&self.card, self.number, &enable)?;
        vq.started();
        Ok(())
    }

    /// Undoes what a failed map operation has left behind in an address space that queue `idx` is to run through.
    fn restore(
        &self,
        idx: u16,
        asid: u32,
        space: &mut AddressSpace,
        allow_identity: bool,
    ) -> Result {
        space
            .restore(&self.card, allow_identity)
            .map_err(|failure| {
                // A dead card has been reported.
                let reported = self.card.is_dead();
                if let Some(count) = self.complaints.count().filter(|_| !reported) {
                    dev_err!(
                        self.card.dev(),
                        "device {} queue {} not started: address space {} lacks what a failure has taken from it, and the card does not give it back: {:?}; make room on the card or unmap some of it, then reset the device and start it again ({})\n",
                        self.number,
                        idx,
                        asid,
                        failure.error,
                        count
                    );
                }
                failure.error
            })
    }

    /// Fails with `EPERM` unless the owner of queue `idx` has mapped the address space.
    fn check_mapped(&self, idx: u16, asid: u32, space: &AddressSpace, owner: Owner) -> Result {
        if space.is_mapped_by(owner) {
            return Ok(());
        }
        if let Some(count) = self.complaints.count() {
            dev_warn!(
                self.card.dev(),
                "device {} queue {} not started: its owner has mapped nothing in address space {} ({})\n",
                self.number,
                idx,
                asid,
                count
            );
        }
        Err(EPERM)
    }

    /// Stops queue `idx` on the card and notes where it stands.
    ///
    /// # Errors
    ///
    /// `EIO` if the card is dead; or if the queue has stopped with buffers that the card has taken and will not return, as
    /// where a disk doesn't answer, so that no index tells where to go on.
    pub(super) fn stop_queue(&self, state: &mut VirtioState, idx: u16) -> Result {
        let queue_state = commands::queue_disable(&self.card, self.number, idx)?;
        let layout = state.layout();
        let vq = state.queues.get_mut(usize::from(idx)).ok_or(EINVAL)?;

        vq.stopped(&queue_state, layout);
        match vq.holds_buffers() {
            true => Err(EIO),
            false => Ok(()),
        }
    }

    /// Starts the device: agrees on features and starts every queue that is enabled. After an error none
    /// of them runs, and each stands where it began.
    ///
    /// A device of which a queue goes on where one was stopped has moved, and is announced.
    pub(super) fn start(&self, state: &mut VirtioState, owner: BusDriver) -> Result {
        let result = self.try_start(state, owner);

        if result.is_err() {
            state.queues.iter_mut().for_each(|vq| vq.not_started());
        }
        if result.is_err() && !self.card.is_dead() {
            // If not even that succeeds the card is given up, because a queue may run that must not.
            if commands::device_reset(&self.card, self.number).is_err() {
                self.card.fail("it can not reset a device");
            }
        }
        if result.is_ok() && state.queues.iter().any(Virtqueue::goes_on) {
            self.announce(state.features);
        }
        result
    }

    fn try_start(&self, state: &mut VirtioState, owner: BusDriver) -> Result {
        self.agreed(state.features);
        commands::device_set_features(&self.card, self.number, state.features)?;
        for idx in 0..self.num_queues {
            let ready = state
                .queues
                .get(usize::from(idx))
                .is_some_and(|vq| vq.ready());
            if ready {
                self.start_queue(state, owner, idx)?;
            }
        }
        Ok(())
    }
}
