// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Commands: what the driver asks.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a command's arguments.
pub const ARGUMENTS_SIZE: usize = 40;

/// An entry of the submission ring, or what is in the mailbox's command window.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Command {
    /// An [`Opcode`].
    pub opcode: U16,
    /// The driver's choice; the completion carries it back.
    pub tag: U16,
    /// The device object that it concerns, or [`NO_DEVICE`](super::NO_DEVICE).
    pub device: U16,
    /// Zero.
    pub reserved: U16,
    /// Bus address of the payload, or 0. Through the mailbox: its offset in the payload window.
    pub payload: U64,
    /// Bytes of the payload: those that the card reads, or at most writes.
    pub payload_length: U32,
    /// Zero.
    pub reserved2: U32,
    /// Arguments; which type they have depends on the opcode. Unused bytes are zero.
    pub arguments: [u8; ARGUMENTS_SIZE],
}

/// What a command does. Numbers are never reused.
///
/// The name in brackets is the type of [`Command::arguments`]; `→` is followed by the type of
/// [`Completion::result`](super::Completion::result), `⇒` by what the card writes into the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Opcode {
    /// Does nothing: shows that the queue works.
    Nop = 0x0001,
    /// Makes a device object ([`DeviceCreate`]) → [`DeviceCreated`](super::DeviceCreated).
    DeviceCreate = 0x0100,
    /// Resets the device object and frees it with its queues.
    DeviceDestroy = 0x0101,
    /// Resets virtio state: stops all queues of the device, waits until none of their DMA and interrupts
    /// is under way, and forgets features and queue set-up. **Touches no address space.** Events about the
    /// device's former state are posted before the command completes.
    DeviceReset = 0x0102,
    /// Sets the feature bits that driver and device agreed on ([`DeviceSetFeatures`]). Refused with
    /// [`ErrorCode::Busy`](super::ErrorCode::Busy) while a queue runs.
    DeviceSetFeatures = 0x0103,
    /// Reads counters ⇒ [`DeviceStatistics`](super::DeviceStatistics).
    DeviceStatistics = 0x0104,
    /// Reads what the card's devices of a type can offer ([`DeviceTypeQuery`]) →
    /// [`DeviceTypeInfo`](super::DeviceTypeInfo). Refused with
    /// [`ErrorCode::NotSupported`](super::ErrorCode::NotSupported) if the card has none of that type.
    DeviceTypeQuery = 0x0105,
    /// Starts a queue ([`QueueEnable`]); refused with [`ErrorCode::Busy`](super::ErrorCode::Busy) if it runs.
    QueueEnable = 0x0110,
    /// Stops a queue ([`QueueSelect`]), waits until none of its DMA and interrupts is under way →
    /// [`QueueState`](super::QueueState). The state of a queue that was never started is zero. A queue that runs gives
    /// back every chain that it has taken before it stops, so the available and the used index are the same: another
    /// device can go on from there with nothing lost or repeated. They differ only after the queue has failed, and where
    /// what it has taken waits for a disk: a card waits no longer than 6 s, then stops the queue all the same, and never
    /// gives back the chains that are missing.
    QueueDisable = 0x0111,
    /// Reads a queue's state ([`QueueSelect`]) → [`QueueState`](super::QueueState).
    QueueQuery = 0x0112,
    /// Reads a queue's counters ([`QueueSelect`]) ⇒ [`QueueStatistics`](super::QueueStatistics).
    QueueStatistics = 0x0113,
    /// Sets the MAC address of a network device, the one that a reset leaves it with ([`NetSetMac`]).
    NetSetMac = 0x0120,
    /// Takes the link of a network device down or lets it come up ([`NetSetLink`]). It is up if this wants it to be and the
    /// uplink has a carrier.
    NetSetLink = 0x0121,
    /// Has the card post a [`NetStatusChanged`](super::EventKind::NetStatusChanged) and a
    /// [`MacChanged`](super::EventKind::MacChanged) of a network device, changed or not.
    NetTell = 0x0122,
    /// Has the driver of a network device announce where the device is, since it may have been elsewhere meanwhile. Does nothing
    /// if the driver has not agreed to that (`VIRTIO_NET_F_GUEST_ANNOUNCE`), or while the link is down.
    NetAnnounce = 0x0123,
    /// Reads what a block device is ⇒ [`BlockInfo`](super::BlockInfo). Refused with
    /// [`ErrorCode::InvalidArgument`](super::ErrorCode::InvalidArgument) on a device of another type.
    BlockQuery = 0x0130,
    /// Takes an address space from the card's pool ([`AddressSpaceCreate`]) →
    /// [`AddressSpaceCreated`](super::AddressSpaceCreated).
    AddressSpaceCreate = 0x0200,
    /// Drops an address space's extents and gives it back ([`AddressSpaceSelect`]). Refused with
    /// [`ErrorCode::Busy`](super::ErrorCode::Busy) while a queue runs through it.
    AddressSpaceDestroy = 0x0201,
    /// Drops staged changes and all extents and sets the mode ([`AddressSpaceSetMode`]) →
    /// [`AddressSpaceUpdated`](super::AddressSpaceUpdated). When it completes, no DMA that the old
    /// translations allowed is under way. Setting [`AddressSpaceMode::Identity`] is refused with
    /// [`ErrorCode::Busy`](super::ErrorCode::Busy) while a queue runs that may not use it.
    AddressSpaceSetMode = 0x0202,
    /// Stages changes of a translated space, and commits them if asked ([`AddressSpaceUpdate`]; the
    /// payload is an array of [`Extent`](super::Extent)) →
    /// [`AddressSpaceUpdated`](super::AddressSpaceUpdated).
    ///
    /// Staged changes take effect in order, as one, at the commit; until then the old translations serve.
    /// When a committing command completes, no DMA that a removed extent allowed is under way. If any
    /// change is refused, all staged changes are dropped, the update is over, and the old translations go on
    /// serving: further commands of it, which may be in the queue already, are refused with
    /// [`ErrorCode::InvalidArgument`](super::ErrorCode::InvalidArgument) until one has [`UPDATE_BEGIN`]. A
    /// commit makes a blocked or identity space translated, starting from no extents.
    AddressSpaceUpdate = 0x0203,
    /// Reads an address space's state ([`AddressSpaceSelect`]) ⇒ [`AddressSpaceInfo`](super::AddressSpaceInfo).
    /// It is not an IOMMU command in the sense of the counters.
    AddressSpaceQuery = 0x0204,
    /// Reads extents in the order of their I/O virtual addresses ([`AddressSpaceRead`]) ⇒ as many
    /// [`Extent`](super::Extent)s as are there and fit; [`AddressSpaceUpdated::extents`](super::AddressSpaceUpdated)
    /// of the result is the number written.
    AddressSpaceRead = 0x0205,
}

impl Opcode {
    /// Every opcode, in the order of its number.
    pub const ALL: [Opcode; 22] = [
        Self::Nop,
        Self::DeviceCreate,
        Self::DeviceDestroy,
        Self::DeviceReset,
        Self::DeviceSetFeatures,
        Self::DeviceStatistics,
        Self::DeviceTypeQuery,
        Self::QueueEnable,
        Self::QueueDisable,
        Self::QueueQuery,
        Self::QueueStatistics,
        Self::NetSetMac,
        Self::NetSetLink,
        Self::NetTell,
        Self::NetAnnounce,
        Self::BlockQuery,
        Self::AddressSpaceCreate,
        Self::AddressSpaceDestroy,
        Self::AddressSpaceSetMode,
        Self::AddressSpaceUpdate,
        Self::AddressSpaceQuery,
        Self::AddressSpaceRead,
    ];

    /// The opcode of this number, if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|opcode| *opcode as u16 == number)
    }

    /// Whether it is about address spaces; a card without an IOMMU refuses those with
    /// [`ErrorCode::NotSupported`](super::ErrorCode::NotSupported).
    pub fn concerns_iommu(self) -> bool {
        self as u16 & 0xff00 == Self::AddressSpaceCreate as u16 & 0xff00
    }
}

/// Arguments of [`Opcode::DeviceCreate`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DeviceCreate {
    /// Virtio device type: [`VIRTIO_ID_NET`](super::VIRTIO_ID_NET) or
    /// [`VIRTIO_ID_BLOCK`](super::VIRTIO_ID_BLOCK). A block device gets the card's first disk that no other
    /// device has. If all are taken it is refused with
    /// [`ErrorCode::NoResources`](super::ErrorCode::NoResources), and with
    /// [`ErrorCode::NotSupported`](super::ErrorCode::NotSupported) if the card has no disks.
    pub virtio_id: U32,
    /// Of a network device: queue pairs, 1 and more. A control queue follows the pairs if the device offers
    /// `VIRTIO_NET_F_CTRL_VQ`: if that is in `features`, or if `features` is 0 and there are several pairs.
    /// Of a block device: request queues, 1 and more, and no other queue follows.
    pub queue_pairs: U16,
    /// Maximum transmission unit in bytes, 68 to 65535, or 0 for the card's default of 1500. 0 for a block
    /// device.
    pub mtu: U16,
    /// Unicast MAC address that no other device of the card has, or all zero to let the card choose one. All
    /// zero for a block device.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved: U16,
    /// Virtio feature bits to offer at most, or 0 for all that the card has. `VIRTIO_F_VERSION_1` and
    /// `VIRTIO_F_ACCESS_PLATFORM` are among them.
    pub features: U64,
    /// Zero.
    pub reserved2: [U64; 2],
}

/// Arguments of [`Opcode::DeviceSetFeatures`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DeviceSetFeatures {
    /// Virtio feature bits, a subset of those offered. One that lacks what it depends on (virtio 1.3, section 5.1.3.1) has no
    /// effect.
    pub features: U64,
}

/// Arguments of [`Opcode::DeviceTypeQuery`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DeviceTypeQuery {
    /// Virtio device type: [`VIRTIO_ID_NET`](super::VIRTIO_ID_NET) or [`VIRTIO_ID_BLOCK`](super::VIRTIO_ID_BLOCK).
    pub virtio_id: U32,
}

/// Flag of [`QueueEnable`]: the queue may run through address spaces that are 1:1. Without it the card
/// starts the queue only if both its spaces are translated, and refuses to make either 1:1 while it runs.
/// On a card without an IOMMU no queue starts without it.
pub const QUEUE_ALLOW_IDENTITY: u16 = 1;

/// Arguments of [`Opcode::QueueEnable`].
///
/// Whether the ring is split or packed, and whether it has indirect descriptors and event indices, follows from
/// the features that [`Opcode::DeviceSetFeatures`] has agreed on.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct QueueEnable {
    /// Index of the queue in its device.
    pub queue: U16,
    /// Entries, a power of two within the card's limits.
    pub size: U16,
    /// MSI-X vector, or [`NO_VECTOR`](super::NO_VECTOR).
    pub vector: U16,
    /// Address space that the buffers lie in, and tables of indirect descriptors;
    /// [`NO_ADDRESS_SPACE`](super::NO_ADDRESS_SPACE) on a card without an IOMMU, whose I/O virtual addresses
    /// are bus addresses.
    pub address_space: U16,
    /// [`QUEUE_ALLOW_IDENTITY`] or 0.
    pub flags: U16,
    /// Where the card begins to take chains. Of a split ring: the index in the available ring, free running.
    /// Of a packed ring: the descriptor's index in bits 0 to 14, below `size`, and the wrap counter in bit 15;
    /// a ring that is new begins at 0 with a wrap counter of 1, 0x8000.
    pub avail_index: U16,
    /// Where the card begins to give chains back, written likewise. Of a packed ring: no more than `size`
    /// descriptors behind `avail_index`.
    pub used_index: U16,
    /// Address space that the three areas lie in; often the same.
    pub ring_address_space: U16,
    /// I/O virtual address of the descriptor table or the packed ring, a multiple of 16.
    pub descriptor_area: U64,
    /// I/O virtual address of the driver area: the available ring, a multiple of 2, or a packed ring's driver
    /// event suppression, a multiple of 4.
    pub driver_area: U64,
    /// I/O virtual address of the device area, a multiple of 4: the used ring, or a packed ring's device event
    /// suppression.
    pub device_area: U64,
}

/// Arguments of [`Opcode::QueueDisable`], [`Opcode::QueueQuery`] and [`Opcode::QueueStatistics`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct QueueSelect {
    /// Index of the queue in its device.
    pub queue: U16,
}

/// Arguments of [`Opcode::NetSetMac`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NetSetMac {
    /// A unicast MAC address that no other device of the card has.
    pub mac: [u8; 6],
}

/// Arguments of [`Opcode::NetSetLink`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NetSetLink {
    /// 1 for a link that may be up, as it is on a new device, 0 for one that is down.
    pub up: U16,
}

/// How an address space answers an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum AddressSpaceMode {
    /// Every access faults.
    Blocked = 0,
    /// Bus address = I/O virtual address, every access allowed.
    Identity = 1,
    /// Extents decide; an access that no extent covers and permits faults.
    Translated = 2,
}

impl AddressSpaceMode {
    /// The mode of this number, if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        match number {
            0 => Some(Self::Blocked),
            1 => Some(Self::Identity),
            2 => Some(Self::Translated),
            _ => None,
        }
    }
}

/// Arguments of [`Opcode::AddressSpaceCreate`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AddressSpaceCreate {
    /// First mode, an [`AddressSpaceMode`].
    pub mode: U16,
}

/// Arguments of [`Opcode::AddressSpaceDestroy`] and [`Opcode::AddressSpaceQuery`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AddressSpaceSelect {
    /// Card-wide number of the address space.
    pub address_space: U16,
}

/// Arguments of [`Opcode::AddressSpaceSetMode`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AddressSpaceSetMode {
    /// Card-wide number of the address space.
    pub address_space: U16,
    /// The mode, an [`AddressSpaceMode`]. `Translated` means: nothing is mapped.
    pub mode: U16,
}

/// Flag of [`AddressSpaceUpdate`]: drops changes that were staged before and begins a new update. The first
/// command of every update has it.
pub const UPDATE_BEGIN: u16 = 1;

/// Flag of [`AddressSpaceUpdate`]: commits the staged changes after adding this command's.
pub const UPDATE_COMMIT: u16 = 2;

/// Arguments of [`Opcode::AddressSpaceUpdate`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AddressSpaceUpdate {
    /// Card-wide number of the address space.
    pub address_space: U16,
    /// [`UPDATE_BEGIN`], [`UPDATE_COMMIT`], both or none.
    pub flags: U16,
    /// Extents in the payload, 0 to the card's `MAX_BATCH`.
    pub count: U32,
    /// The generation that the update was made against; the same in every command of one update.
    pub generation: U64,
}

/// Arguments of [`Opcode::AddressSpaceRead`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AddressSpaceRead {
    /// Card-wide number of the address space.
    pub address_space: U16,
    /// Zero.
    pub reserved: U16,
    /// How many extents to skip.
    pub start: U32,
}
