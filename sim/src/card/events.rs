// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The events' way to the host, through whichever of event ring and mailbox the card has.

use mooring_firmware::event::events_lost;
use mooring_hw_regs::wire::{Event, QueueErrorReason};

use super::Card;

impl Card {
    /// Tells the host of queues that stopped on errors.
    pub(super) fn tell_failures(&mut self) {
        let mut told = None;
        for failure in self.blocks.engine.take_failures() {
            if self.limit.allows() {
                match (failure.reason, failure.fault) {
                    (_, Some(fault)) => {
                        log::warn!("vq {}: stops: the IOMMU refused {fault:x?}", failure.queue)
                    }
                    (QueueErrorReason::Bus, None) => log::warn!(
                        "vq {}: stops: the bus failed an access at {:#x}",
                        failure.queue,
                        failure.bus_address
                    ),
                    (reason, None) => log::warn!("vq {}: stops: {reason:?} error", failure.queue),
                }
            }
            for event in self.firmware.failure_events(&failure).into_iter().flatten() {
                told = self.post(&event).or(told);
            }
        }
        if let Some(vector) = told {
            self.raise(vector);
        }
    }

    /// Tells the host of events that found no room, once there is some.
    pub(super) fn tell_losses(&mut self) {
        let due = match &self.blocks.mailbox {
            Some(mailbox) => mailbox.has_loss_to_tell(),
            None => self.eventq.has_loss_to_tell(),
        };
        if !due {
            return;
        }
        if let Some(vector) = self.post(&events_lost()) {
            self.raise(vector);
        }
    }

    /// Tells the host of what has changed, as long as there is room to spare: what finds none waits, unlike faults.
    pub(super) fn tell_changes(&mut self) {
        let mut told = None;
        loop {
            let room = match &self.blocks.mailbox {
                Some(mailbox) => mailbox.has_room_to_spare(),
                None => self.eventq.has_room_to_spare(),
            };
            if !room {
                break;
            }
            let Some(event) = self.firmware.take_event(&self.blocks) else {
                break;
            };
            told = self.post(&event).or(told);
        }
        if let Some(vector) = told {
            self.raise(vector);
        }
    }

    /// Posts an event. Returns the vector to raise, if there is one.
    fn post(&mut self, event: &Event) -> Option<u16> {
        match &mut self.blocks.mailbox {
            Some(mailbox) => mailbox.post(event),
            None => self
                .eventq
                .post(&self.blocks.bus, &mut self.registers, event),
        }
    }
}
