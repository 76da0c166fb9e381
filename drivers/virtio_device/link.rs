// SPDX-License-Identifier: GPL-2.0-only

//! What the host does to the link and the address of a network device. The owner learns of it by the card's events, see
//! [`events`](super::events).

use super::VirtioDevice;
use crate::{
    cmdq::{
        commands,
        CommandError, //
    },
    mgmt::Type,
    vdpa::virtio::VIRTIO_NET_F_GUEST_ANNOUNCE, //
};
use kernel::prelude::*;

impl VirtioDevice {
    /// Changes the MAC address, on the card and, by what it then tells, in the configuration space.
    pub(crate) fn set_mac(&self, mac: [u8; 6]) -> Result<(), CommandError> {
        commands::net_set_mac(&self.card, self.number, mac)?;
        self.card.take_events();
        Ok(())
    }

    /// Takes the link down, or lets it come up if the card's uplink has a carrier. The owner learns of it.
    pub(crate) fn set_link(&self, up: bool) -> Result<(), CommandError> {
        commands::net_set_link(&self.card, self.number, up)?;
        self.card.take_events();
        Ok(())
    }

    /// Has the card tell how the link is, and the MAC address. A device of another type has neither.
    pub(super) fn ask_status(&self) -> Result<(), CommandError> {
        if self.device_type() != Type::Net {
            return Ok(());
        }
        commands::net_tell(&self.card, self.number)?;
        // The card has posted the answer before it completed the command, unless there was no room; then it comes later.
        self.card.take_events();
        Ok(())
    }

    /// Has the owner asked to announce where the device is, as whoever has changed the network may want.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the owner has not agreed to do that, or does not run the device; `ENETDOWN` if the link is down; else
    /// what the command fails with.
    pub(crate) fn request_announcement(&self) -> Result {
        if !self.may_announce() {
            return Err(EOPNOTSUPP);
        }
        if !self.is_link_up() {
            return Err(ENETDOWN);
        }
        commands::net_announce(&self.card, self.number)?;
        self.card.take_events();
        Ok(())
    }

    /// Has the owner asked to announce where the device is, if it has agreed to do that: what is at the other end of the wire may
    /// have learned that it is elsewhere, while it stood still.
    ///
    /// Callable with the virtio state locked, to which `features` belong.
    pub(super) fn announce(&self, features: u64) {
        if self.device_type() != Type::Net || features & (1 << VIRTIO_NET_F_GUEST_ANNOUNCE) == 0 {
            return;
        }
        match commands::net_announce(&self.card, self.number) {
            Ok(()) => self.card.take_events(),
            // Every device has been told.
            Err(CommandError::Dead) => (),
            // The device works; its peers find it as soon as it sends anything.
            Err(error) => {
                if let Some(count) = self.complaints.count() {
                    dev_warn!(
                        self.card.dev(),
                        "device {} is not announced: {:?} ({})\n",
                        self.number,
                        error,
                        count
                    );
                }
            }
        }
    }
}
