// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the host is told unasked.

use mooring_hw_regs::wire::{Event, EventKind, NO_ADDRESS_SPACE, NO_DEVICE, NO_QUEUE};

use crate::hal::QueueFailure;
use crate::ControlProcessor;

/// The event that tells of nothing but that others were lost. Sequence number and count are left to the ring's owner.
pub fn events_lost() -> Event {
    Event {
        kind: (EventKind::EventsLost as u16).into(),
        device: NO_DEVICE.into(),
        queue: NO_QUEUE.into(),
        address_space: NO_ADDRESS_SPACE.into(),
        iova: 0.into(),
        length: 0.into(),
        detail: 0.into(),
        lost: 0.into(),
        sequence: 0.into(),
    }
}

impl<const D: usize, const Q: usize, const S: usize> ControlProcessor<D, Q, S> {
    /// The events that tell of a queue that stopped by itself, in their order. Sequence numbers are left to the ring's
    /// owner.
    pub fn failure_events(&self, failure: &QueueFailure) -> [Option<Event>; 2] {
        let Some((device, queue)) = self.devices.owner(failure.queue) else {
            return [None, None];
        };
        let stopped = Event {
            kind: (EventKind::QueueStopped as u16).into(),
            device: device.into(),
            queue: queue.into(),
            address_space: NO_ADDRESS_SPACE.into(),
            iova: failure.bus_address.into(),
            length: 0.into(),
            detail: (failure.reason as u32).into(),
            lost: 0.into(),
            sequence: 0.into(),
        };
        let fault = failure.fault.map(|fault| Event {
            kind: (EventKind::IommuFault as u16).into(),
            address_space: fault.address_space.into(),
            iova: fault.iova.into(),
            length: fault.length.into(),
            detail: fault.permission.into(),
            ..stopped
        });
        [fault, Some(stopped)]
    }
}
