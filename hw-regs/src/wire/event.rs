// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Events: what the card tells without being asked.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An entry of the event ring, or what is in the mailbox's event window.
///
/// The driver returns entries through the `EVENTQ_CONSUMER` register, or acknowledges the one in the
/// window through `MAILBOX_EVENT_ACKNOWLEDGE`. While the ring, or the memory for events that wait for the
/// window, is full, the card drops events and counts them; the next one that fits carries the count in
/// `lost`. If none is due when there is room again, the card posts an [`EventKind::EventsLost`] for it, so that no
/// loss goes untold. [`EventKind::NetStatusChanged`] and [`EventKind::MacChanged`] are not dropped: they wait, and tell
/// what is true when they are posted. Those that a command causes are posted before it completes, if there is room.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Event {
    /// An [`EventKind`].
    pub kind: U16,
    /// The device object that it concerns, or [`NO_DEVICE`](super::NO_DEVICE).
    pub device: U16,
    /// The queue's index in its device, or [`NO_QUEUE`](super::NO_QUEUE).
    pub queue: U16,
    /// The card-wide address space, or [`NO_ADDRESS_SPACE`](super::NO_ADDRESS_SPACE).
    pub address_space: U16,
    /// First I/O virtual address of a refused access; first bus address of an access that the bus failed,
    /// for a queue that stopped on [`QueueErrorReason::Bus`]; the six bytes of a MAC address and two of 0,
    /// for one that changed; else 0.
    pub iova: U64,
    /// Bytes of a refused access; the speed of a network device's link in Mbit/s, for its status; else 0. Links are
    /// full duplex.
    pub length: U32,
    /// [`PERMISSION_READ`](super::PERMISSION_READ) or [`PERMISSION_WRITE`](super::PERMISSION_WRITE) for a
    /// refused access; a [`QueueErrorReason`] for a stopped queue; [`NET_STATUS_LINK_UP`] and
    /// [`NET_STATUS_ANNOUNCE`] for a network device's status.
    pub detail: U32,
    /// Events that were lost before this one because there was no room.
    pub lost: U32,
    /// Number of this event, written last. See the module's description.
    pub sequence: U32,
}

impl Event {
    /// The MAC address that an [`EventKind::MacChanged`] tells.
    pub fn mac(&self) -> [u8; 6] {
        let [a, b, c, d, e, f, _, _] = self.iova.get().to_le_bytes();
        [a, b, c, d, e, f]
    }
}

/// Bit of an [`EventKind::NetStatusChanged`]'s `detail`: the link is up. As in the status field of virtio's configuration
/// space.
pub const NET_STATUS_LINK_UP: u32 = 1;

/// Bit of an [`EventKind::NetStatusChanged`]'s `detail`: the driver shall announce where the device is. As in the status
/// field of virtio's configuration space.
pub const NET_STATUS_ANNOUNCE: u32 = 2;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum EventKind {
    /// The link of `device` went up or down, or its driver shall announce it, or has done so. `detail` is the
    /// status as it is now.
    NetStatusChanged = 1,
    /// The IOMMU refused an access of `queue` of `device` through `address_space`. The queue has stopped,
    /// which a [`EventKind::QueueStopped`] tells next.
    IommuFault = 2,
    /// `queue` of `device` stopped on an error that `detail` names. Other queues go on.
    QueueStopped = 3,
    /// Nothing but that `lost` events were lost. `device`, `queue` and `address_space` name none.
    EventsLost = 4,
    /// The MAC address of `device` is `iova` now, see [`Event::mac()`]: its driver has set it, or the host, or a reset has
    /// brought the host's back.
    MacChanged = 5,
}

impl EventKind {
    /// The kind of this number, if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::NetStatusChanged),
            2 => Some(Self::IommuFault),
            3 => Some(Self::QueueStopped),
            4 => Some(Self::EventsLost),
            5 => Some(Self::MacChanged),
            _ => None,
        }
    }
}

/// Why a queue stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum QueueErrorReason {
    /// The IOMMU refused an access.
    Access = 1,
    /// A descriptor's index is outside the ring, a chain is longer than the ring or loops, or an
    /// available index runs further ahead than the ring is long.
    Ring = 2,
    /// A buffer is too short, or readable where it must be writable, or the other way round.
    Buffer = 3,
    /// The bus failed an access: nothing answers at the address, or the platform's IOMMU doesn't translate
    /// it for this card.
    Bus = 4,
}

impl QueueErrorReason {
    /// The reason of this number, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Access),
            2 => Some(Self::Ring),
            3 => Some(Self::Buffer),
            4 => Some(Self::Bus),
            _ => None,
        }
    }

    /// What happened, in a few words for a log.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Access => "an access was refused",
            Self::Ring => "its ring makes no sense",
            Self::Buffer => "a buffer is of the wrong kind or too short",
            Self::Bus => "the bus failed an access",
        }
    }
}
