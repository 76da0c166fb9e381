// SPDX-License-Identifier: GPL-2.0-only

//! A typed function for every opcode. What each does, and what it leaves alone, is documented with
//! [`wire::Opcode`].
//!
//! All may sleep, for the command timeout at most, and fail with [`CommandError::Dead`] at once when
//! the card was declared dead.

use super::{
    transport::Payload,
    CommandError, //
};
use crate::{
    card::Card,
    wire::{
        self,
        Opcode, //
    },
};
use kernel::prelude::*;
use zerocopy::{
    Immutable,
    KnownLayout, //
};

/// The first bytes of a completion's result as a `T`.
fn reply<T: FromBytes + KnownLayout + Immutable>(
    completion: &wire::Completion,
) -> Result<T, CommandError> {
    // It can't fail for a `T` that is no larger than a result, which `wire`'s tests see to.
    T::read_from_prefix(&completion.result)
        .map(|(value, _)| value)
        .map_err(|_| CommandError::NotIssued(EINVAL))
}

/// A command whose answer the card writes into the payload, as a `T`.
fn read<T: FromBytes + IntoBytes>(
    card: &Card,
    opcode: Opcode,
    device: u16,
    arguments: &[u8],
) -> Result<T, CommandError> {
    let mut answer = T::new_zeroed();

    card.execute(
        opcode,
        device,
        arguments,
        Payload::FromCard(answer.as_mut_bytes()),
    )?;
    Ok(answer)
}

/// Does nothing: shows that the command queue works.
pub(crate) fn nop(card: &Card) -> Result<(), CommandError> {
    card.execute(Opcode::Nop, wire::NO_DEVICE, &[], Payload::None)?;
    Ok(())
}

/// Makes a device object.
pub(crate) fn device_create(
    card: &Card,
    arguments: &wire::DeviceCreate,
) -> Result<wire::DeviceCreated, CommandError> {
    reply(&card.execute(
        Opcode::DeviceCreate,
        wire::NO_DEVICE,
        arguments.as_bytes(),
        Payload::None,
    )?)
}

/// Reads what devices of a type can offer.
pub(crate) fn device_type_query(
    card: &Card,
    virtio_id: u32,
) -> Result<wire::DeviceTypeInfo, CommandError> {
    let arguments = wire::DeviceTypeQuery {
        virtio_id: virtio_id.into(),
    };
    reply(&card.execute(
        Opcode::DeviceTypeQuery,
        wire::NO_DEVICE,
        arguments.as_bytes(),
        Payload::None,
    )?)
}

/// Resets a device object and frees it with its queues.
pub(crate) fn device_destroy(card: &Card, device: u16) -> Result<(), CommandError> {
    card.execute(Opcode::DeviceDestroy, device, &[], Payload::None)?;
    Ok(())
}

/// Resets a device's virtio state. When it returns, no DMA and no interrupt of the device's queues is
/// under way on the card. Address spaces stay as they are.
pub(crate) fn device_reset(card: &Card, device: u16) -> Result<(), CommandError> {
    card.execute(Opcode::DeviceReset, device, &[], Payload::None)?;
    Ok(())
}

/// Tells a device which features were agreed on.
pub(crate) fn device_set_features(
    card: &Card,
    device: u16,
    features: u64,
) -> Result<(), CommandError> {
    let arguments = wire::DeviceSetFeatures {
        features: features.into(),
    };
    card.execute(
        Opcode::DeviceSetFeatures,
        device,
        arguments.as_bytes(),
        Payload::None,
    )?;
    Ok(())
}

/// Reads a device's counters.
pub(crate) fn device_statistics(
    card: &Card,
    device: u16,
) -> Result<wire::DeviceStatistics, CommandError> {
    read(card, Opcode::DeviceStatistics, device, &[])
}

/// Reads what a block device is.
pub(crate) fn block_query(card: &Card, device: u16) -> Result<wire::BlockInfo, CommandError> {
    read(card, Opcode::BlockQuery, device, &[])
}

/// Starts a queue.
pub(crate) fn queue_enable(
    card: &Card,
    device: u16,
    arguments: &wire::QueueEnable,
) -> Result<(), CommandError> {
    card.execute(
        Opcode::QueueEnable,
        device,
        arguments.as_bytes(),
        Payload::None,
    )?;
    Ok(())
}

/// Stops a queue and returns where it stands.
pub(crate) fn queue_disable(
    card: &Card,
    device: u16,
    queue: u16,
) -> Result<wire::QueueState, CommandError> {
    queue_select(card, Opcode::QueueDisable, device, queue)
}

/// Returns where a queue stands.
pub(crate) fn queue_query(
    card: &Card,
    device: u16,
    queue: u16,
) -> Result<wire::QueueState, CommandError> {
    queue_select(card, Opcode::QueueQuery, device, queue)
}

/// Reads a queue's counters.
pub(crate) fn queue_statistics(
    card: &Card,
    device: u16,
    queue: u16,
) -> Result<wire::QueueStatistics, CommandError> {
    let arguments = wire::QueueSelect {
        queue: queue.into(),
    };

    read(card, Opcode::QueueStatistics, device, arguments.as_bytes())
}

fn queue_select(
    card: &Card,
    opcode: Opcode,
    device: u16,
    queue: u16,
) -> Result<wire::QueueState, CommandError> {
    let arguments = wire::QueueSelect {
        queue: queue.into(),
    };
    reply(&card.execute(opcode, device, arguments.as_bytes(), Payload::None)?)
}

/// Sets the MAC address of a network device.
pub(crate) fn net_set_mac(card: &Card, device: u16, mac: [u8; 6]) -> Result<(), CommandError> {
    let arguments = wire::NetSetMac { mac };

    card.execute(
        Opcode::NetSetMac,
        device,
        arguments.as_bytes(),
        Payload::None,
    )?;
    Ok(())
}

/// Takes the link of a network device down, or lets it come up.
pub(crate) fn net_set_link(card: &Card, device: u16, up: bool) -> Result<(), CommandError> {
    let arguments = wire::NetSetLink {
        up: u16::from(up).into(),
    };

    card.execute(
        Opcode::NetSetLink,
        device,
        arguments.as_bytes(),
        Payload::None,
    )?;
    Ok(())
}

/// Has the card post events with the status and the MAC address of a network device, before it completes the command if
/// there is room.
pub(crate) fn net_tell(card: &Card, device: u16) -> Result<(), CommandError> {
    card.execute(Opcode::NetTell, device, &[], Payload::None)?;
    Ok(())
}

/// Has the owner of a network device asked to announce where it is, if its driver does that.
pub(crate) fn net_announce(card: &Card, device: u16) -> Result<(), CommandError> {
    card.execute(Opcode::NetAnnounce, device, &[], Payload::None)?;
    Ok(())
}

/// Takes an address space from the card's pool.
pub(crate) fn address_space_create(
    card: &Card,
    mode: wire::AddressSpaceMode,
) -> Result<wire::AddressSpaceCreated, CommandError> {
    let arguments = wire::AddressSpaceCreate {
        mode: (mode as u16).into(),
    };
    reply(&card.execute(
        Opcode::AddressSpaceCreate,
        wire::NO_DEVICE,
        arguments.as_bytes(),
        Payload::None,
    )?)
}

/// Gives an address space back, with all its extents.
pub(crate) fn address_space_destroy(card: &Card, address_space: u16) -> Result<(), CommandError> {
    let arguments = wire::AddressSpaceSelect {
        address_space: address_space.into(),
    };
    card.execute(
        Opcode::AddressSpaceDestroy,
        wire::NO_DEVICE,
        arguments.as_bytes(),
        Payload::None,
    )?;
    Ok(())
}

/// Drops all extents of an address space and sets its mode.
pub(crate) fn address_space_set_mode(
    card: &Card,
    address_space: u16,
    mode: wire::AddressSpaceMode,
) -> Result<wire::AddressSpaceUpdated, CommandError> {
    let arguments = wire::AddressSpaceSetMode {
        address_space: address_space.into(),
        mode: (mode as u16).into(),
    };
    reply(&card.execute(
        Opcode::AddressSpaceSetMode,
        wire::NO_DEVICE,
        arguments.as_bytes(),
        Payload::None,
    )?)
}

/// Stages changes of an address space, and commits them if `flags` say so.
pub(crate) fn address_space_update(
    card: &Card,
    address_space: u16,
    flags: u16,
    generation: u64,
    changes: &[wire::Extent],
) -> Result<wire::AddressSpaceUpdated, CommandError> {
    let count = u32::try_from(changes.len()).map_err(|_| CommandError::NotIssued(EINVAL))?;
    let arguments = wire::AddressSpaceUpdate {
        address_space: address_space.into(),
        flags: flags.into(),
        count: count.into(),
        generation: generation.into(),
    };
    let payload = match changes {
        [] => Payload::None,
        _ => Payload::ToCard(changes.as_bytes()),
    };
    reply(&card.execute(
        Opcode::AddressSpaceUpdate,
        wire::NO_DEVICE,
        arguments.as_bytes(),
        payload,
    )?)
}

/// Reads an address space's state, as the card has it. Not an IOMMU command.
pub(crate) fn address_space_query(
    card: &Card,
    address_space: u16,
) -> Result<wire::AddressSpaceInfo, CommandError> {
    let arguments = wire::AddressSpaceSelect {
        address_space: address_space.into(),
    };

    read(
        card,
        Opcode::AddressSpaceQuery,
        wire::NO_DEVICE,
        arguments.as_bytes(),
    )
}

/// Reads extents of an address space, as the card holds them, by rising I/O virtual address, without the first
/// `start` ones. Returns the generation in force and how many were written to `extents`. Not an IOMMU command.
pub(crate) fn address_space_read(
    card: &Card,
    address_space: u16,
    start: u32,
    extents: &mut [wire::Extent],
) -> Result<(u64, usize), CommandError> {
    let arguments = wire::AddressSpaceRead {
        address_space: address_space.into(),
        reserved: 0.into(),
        start: start.into(),
    };
    let room = extents.len();
    let result: wire::AddressSpaceUpdated = reply(&card.execute(
        Opcode::AddressSpaceRead,
        wire::NO_DEVICE,
        arguments.as_bytes(),
        Payload::FromCard(extents.as_mut_bytes()),
    )?)?;
    let count = usize::try_from(result.extents.get()).unwrap_or(usize::MAX);

    // More than it was given room for can only be a wrong number.
    Ok((result.generation.get(), count.min(room)))
}
