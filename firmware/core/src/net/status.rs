// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the host is told of a network device unasked: its link, whether its driver shall announce it, its MAC address.
//!
//! The host answers reads of the configuration space from what it was told, so an event of this kind must not get lost. It
//! therefore isn't queued: a device has a mark for what is to be told, and the event is made, with what is true then,
//! once there is room for it.

use mooring_hw_regs::wire::{
    ErrorCode, Event, EventKind, NetSetLink, NET_STATUS_ANNOUNCE, NET_STATUS_LINK_UP,
    NO_ADDRESS_SPACE, NO_QUEUE,
};

use crate::cp::{done, Outcome};
use crate::device::Devices;
use crate::hal::Hal;
use crate::net::features;
use crate::ControlProcessor;

/// The link of a device, and what the host has not been told yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    /// Whether the host wants the link to be up.
    pub enabled: bool,
    /// Whether the driver shall announce where the device is.
    pub announce: bool,
    /// Whether link and announcement are to be told.
    tell_status: bool,
    /// Whether the MAC address is to be told.
    tell_mac: bool,
}

impl Status {
    /// That of a new device.
    pub const fn new() -> Self {
        Self {
            enabled: true,
            announce: false,
            tell_status: false,
            tell_mac: false,
        }
    }
}

impl<const D: usize, const Q: usize> Devices<D, Q> {
    /// Has the host told the device's status.
    pub fn tell_status(&mut self, device: u16) {
        if let Ok(object) = self.get_mut(device) {
            object.status.tell_status = true;
            self.something_to_tell = true;
        }
    }

    /// Has the host told the device's MAC address.
    pub fn tell_mac(&mut self, device: u16) {
        if let Ok(object) = self.get_mut(device) {
            object.status.tell_mac = true;
            self.something_to_tell = true;
        }
    }

    /// Does what a link that may have changed causes.
    fn link_changed<H: Hal>(&mut self, hal: &mut H, device: u16, was_up: bool) {
        let carrier = self.carrier;
        let Ok(object) = self.get_mut(device) else {
            return;
        };
        let up = object.status.enabled && carrier;
        if up == was_up {
            return;
        }
        // A driver needs no request to make itself known on a link that came up, and Linux, which takes an announcement
        // before the link's state, would send it into a link that is still down for it.
        object.status.announce &= up;
        hal.set_link(device, up);
        self.tell_status(device);
    }

    /// `Opcode::NetSetLink`.
    pub fn set_link<H: Hal>(
        &mut self,
        hal: &mut H,
        device: u16,
        arguments: &NetSetLink,
    ) -> Outcome {
        let carrier = self.carrier;
        let object = self.net_mut(device)?;
        let was_up = object.status.enabled && carrier;
        object.status.enabled = match arguments.up.get() {
            0 => false,
            1 => true,
            _ => return Err(ErrorCode::InvalidArgument),
        };
        self.link_changed(hal, device, was_up);
        done()
    }

    /// `Opcode::NetTell`.
    pub fn tell(&mut self, device: u16) -> Outcome {
        self.net_mut(device)?;
        self.tell_status(device);
        self.tell_mac(device);
        done()
    }

    /// `Opcode::NetAnnounce`.
    pub fn announce(&mut self, device: u16) -> Outcome {
        let carrier = self.carrier;
        let object = self.net_mut(device)?;
        let agreed = object.features & features::GUEST_ANNOUNCE != 0;
        if agreed && carrier && object.status.enabled {
            object.status.announce = true;
            self.tell_status(device);
        }
        done()
    }

    /// The uplink got or lost its carrier, and with it every link.
    fn set_carrier<H: Hal>(&mut self, hal: &mut H, up: bool) {
        let before = core::mem::replace(&mut self.carrier, up);
        // CAST: a card has 1024 devices at most.
        for device in 0..D as u16 {
            let Ok(object) = self.net_mut(device) else {
                continue;
            };
            let was_up = object.status.enabled && before;
            self.link_changed(hal, device, was_up);
        }
    }

    /// The next event to tell.
    fn take_event<H: Hal>(&mut self, hal: &H) -> Option<Event> {
        if !self.something_to_tell {
            return None;
        }
        let carrier = self.carrier;
        for device in 0..D as u16 {
            let Ok(object) = self.get_mut(device) else {
                continue;
            };
            let event = Event {
                kind: 0.into(),
                device: device.into(),
                queue: NO_QUEUE.into(),
                address_space: NO_ADDRESS_SPACE.into(),
                iova: 0.into(),
                length: 0.into(),
                detail: 0.into(),
                lost: 0.into(),
                sequence: 0.into(),
            };
            if core::mem::take(&mut object.status.tell_mac) {
                let [a, b, c, d, e, f] = object.mac;
                return Some(Event {
                    kind: (EventKind::MacChanged as u16).into(),
                    iova: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]).into(),
                    ..event
                });
            }
            if core::mem::take(&mut object.status.tell_status) {
                let up = object.status.enabled && carrier;
                let bit = |set: bool, bit: u32| if set { bit } else { 0 };
                return Some(Event {
                    kind: (EventKind::NetStatusChanged as u16).into(),
                    length: hal.capabilities().link_speed.into(),
                    detail: (bit(up, NET_STATUS_LINK_UP)
                        | bit(object.status.announce, NET_STATUS_ANNOUNCE))
                    .into(),
                    ..event
                });
            }
        }
        self.something_to_tell = false;
        None
    }
}

impl<const D: usize, const Q: usize, const S: usize> ControlProcessor<D, Q, S> {
    /// The uplink got or lost its carrier. A control processor takes it to have one until told otherwise.
    ///
    /// Without a carrier the link of every device is down, between two devices of the card, too.
    pub fn set_carrier<H: Hal>(&mut self, hal: &mut H, up: bool) {
        self.devices.set_carrier(hal, up);
    }

    /// The next event about a device's status or MAC address, if there is one. To be asked only when there is room for it,
    /// and before a command completes, so that who has the completion can find out what it changed. The sequence number
    /// is left to the ring's owner.
    pub fn take_event<H: Hal>(&mut self, hal: &H) -> Option<Event> {
        self.devices.take_event(hal)
    }
}
