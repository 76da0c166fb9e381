// SPDX-License-Identifier: GPL-2.0-only

//! What `vdpa dev add` may ask for, as far as that needs no card to see, and why a device is not added.

use super::{
    Type,
    REQUIRED, //
};
use crate::{
    vdpa::{
        virtio::VIRTIO_BLK_F_RO,
        DeviceConfig, //
    }, //
    virtio_device::is_valid_mac,
};
use kernel::{
    fmt,
    prelude::*, //
};

/// MTU limits in bytes (virtio 1.3, section 5.1.4.1).
const MTU: core::ops::RangeInclusive<u16> = 68..=u16::MAX;

/// Why a device is not added as it was asked for.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    /// The name is none.
    Name,
    /// So many queue pairs aren't possible.
    QueuePairs { most: u16 },
    /// The MTU isn't possible.
    Mtu,
    /// The address isn't one that a device can have.
    Mac,
    /// Features that this driver doesn't know.
    UnknownFeature(u64),
    /// Features without which there is no device.
    MissingFeature(u64),
    /// Features that the card doesn't offer with the rest of the request.
    FeatureNotHere(u64),
    /// The disk that the device would get can't be written, which a driver has to be told.
    ReadOnly,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(f, "a name has at least a character, and no slash, and isn't . or .."),
            Self::QueuePairs { most } => write!(f, "max_vqp has to be 1 to {most} on this card"),
            Self::Mtu => write!(f, "mtu has to be {} to {}", MTU.start(), MTU.end()),
            Self::Mac => write!(f, "mac has to be the address of one station, and not 0"),
            Self::UnknownFeature(features) => write!(
                f,
                "no device of this driver offers device_features {features:#x}, see `vdpa mgmtdev show`"
            ),
            Self::MissingFeature(features) => {
                write!(f, "device_features {features:#x} can't be left out")
            }
            Self::FeatureNotHere(features) => write!(
                f,
                "the card doesn't offer device_features {features:#x} with the other features and max_vqp that were asked for"
            ),
            Self::ReadOnly => write!(
                f,
                "its disk is read-only: device_features has to have {:#x}, VIRTIO_BLK_F_RO",
                1u64 << VIRTIO_BLK_F_RO
            ),
        }
    }
}

/// Checks a request for a device of this type on a card of `num_queues` queues.
pub(super) fn check(
    name: &CStr,
    config: &DeviceConfig,
    device_type: Type,
    num_queues: u16,
) -> Result<(), Refusal> {
    let queue_pairs = config.max_vq_pairs.unwrap_or(1);
    // A device with several pairs has a control queue, too.
    let max_pairs = (num_queues - 1) / 2;
    let known = device_type.features();
    let features = config.features.unwrap_or(REQUIRED);

    // The core takes any name, and sysfs then warns or renames.
    if matches!(name.to_bytes(), b"" | b"." | b"..") || name.to_bytes().contains(&b'/') {
        return Err(Refusal::Name);
    }
    if queue_pairs == 0 || (queue_pairs > 1 && queue_pairs > max_pairs) {
        return Err(Refusal::QueuePairs {
            most: max_pairs.max(1),
        });
    }
    if config.mtu.is_some_and(|mtu| !MTU.contains(&mtu)) {
        return Err(Refusal::Mtu);
    }
    if config.mac.is_some_and(|mac| !is_valid_mac(mac)) {
        return Err(Refusal::Mac);
    }
    if features & !known != 0 {
        return Err(Refusal::UnknownFeature(features & !known));
    }
    if features & REQUIRED != REQUIRED {
        return Err(Refusal::MissingFeature(REQUIRED & !features));
    }
    Ok(())
}
