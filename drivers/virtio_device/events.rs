// SPDX-License-Identifier: GPL-2.0-only

//! What the card tells about a device unasked, and what is asked when some of that was lost.

use super::VirtioDevice;
use crate::{
    cmdq::{
        commands,
        CommandError, //
    },
    mgmt::Type,
    wire::{
        self,
        EventKind, //
    },
};
use kernel::{
    fmt,
    prelude::*,
    sync::atomic::Relaxed, //
};

impl VirtioDevice {
    /// Takes what the card tells about this device. Runs in the event interrupt's thread.
    pub(crate) fn handle_event(&self, kind: EventKind, event: &wire::Event) {
        match kind {
            // A card that says so of a block device is wrong.
            EventKind::NetStatusChanged | EventKind::MacChanged
                if self.device_type() != Type::Net => {}
            EventKind::NetStatusChanged => self.status_changed(event),
            EventKind::MacChanged => self.mac_changed(event),
            EventKind::IommuFault => {
                self.faults
                    .report(self.card.dev(), self.number, event.into());
                // The queue has stopped. The event that says so may find no room.
                self.need_reset();
            }
            EventKind::QueueStopped => {
                if let Some(count) = self.complaints.count() {
                    dev_err!(
                        self.card.dev(),
                        "device {} queue {} stopped: {}; it needs a reset ({})\n",
                        self.number,
                        event.queue.get(),
                        Stop(event),
                        count
                    );
                }
                self.need_reset();
            }
            // It is about no device.
            EventKind::EventsLost => (),
        }
    }

    /// Asks the card for what lost events may have told. May sleep; takes the locks of an operation.
    pub(crate) fn make_up_for_lost_events(&self) {
        self.check_queues();
        match self.ask_status() {
            // Every device has been told that the card is dead; and one that is being deleted shows nothing any more.
            Ok(())
            | Err(CommandError::Dead | CommandError::Refused(wire::ErrorCode::NoSuchDevice)) => (),
            Err(error) => {
                if let Some(count) = self.complaints.count() {
                    dev_err!(
                        self.card.dev(),
                        "device {} may show an old link status or MAC address: {:?} ({})\n",
                        self.number,
                        error,
                        count
                    );
                }
            }
        }
    }

    /// Asks the card which of the queues that were started have stopped, and raises `NEEDS_RESET` if one has: what
    /// the card had to tell about it may be lost.
    fn check_queues(&self) {
        // No reset and no start comes in between, so that what the card says is about what is running now.
        let state = self.state.lock();

        for (idx, _) in (0..self.num_queues)
            .zip(state.queues.iter())
            .filter(|(_, vq)| vq.running())
        {
            if self.needs_reset.load(Relaxed) {
                return;
            }
            match commands::queue_query(&self.card, self.number, idx) {
                Ok(position) if position.running.get() != 0 => (),
                Ok(_) => {
                    if let Some(count) = self.complaints.count() {
                        dev_err!(
                            self.card.dev(),
                            "device {} queue {} has stopped, and the event about it was lost; it needs a reset ({})\n",
                            self.number,
                            idx,
                            count
                        );
                    }
                    self.need_reset();
                }
                // Every device has been told.
                Err(CommandError::Dead) => return,
                // Whether it runs isn't known, so that its owner had better not rely on it.
                Err(_) => self.need_reset(),
            }
        }
    }
}

/// Why a queue stopped, in words.
struct Stop<'a>(&'a wire::Event);

impl fmt::Display for Stop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = wire::QueueErrorReason::from_number(self.0.detail.get());
        let text = reason.map_or("for a reason that does not exist", |reason| reason.text());

        match reason {
            Some(wire::QueueErrorReason::Bus) => write!(f, "{} at {:#x}", text, self.0.iova.get()),
            _ => f.write_str(text),
        }
    }
}
