// SPDX-License-Identifier: GPL-2.0-only

//! The management device: `vdpa dev add`, `vdpa dev del`, `vdpa dev set`.

use crate::{
    card::Card,
    cmdq::CommandError,
    info::Translation,
    net::{
        explicit,
        is_valid_mac,
        operations::{
            NetVdpa,
            REQUIRED, //
        },
        NetDevice,
        Parameters, //
    },
    vdpa::{
        virtio::*,
        AddRequest,
        ConfigAttr,
        Device,
        DeviceConfig,
        DeviceParams,
        ManagementInfo,
        ManagementOperations,
        OptionalOp,
        UnregisteredDevice, //
    },
    wire::ErrorCode, //
};
use kernel::{
    device::{
        self,
        Bound, //
    },
    fmt,
    prelude::*,
    sync::Arc, //
};

/// MTU limits in bytes (virtio 1.3, section 5.1.4.1).
const MTU: core::ops::RangeInclusive<u16> = 68..=u16::MAX;

/// Features that this driver can offer. Each device offers those of them that the card has.
pub(crate) const FEATURES: u64 = (1 << VIRTIO_F_VERSION_1)
    | (1 << VIRTIO_F_ACCESS_PLATFORM)
    | (1 << VIRTIO_F_ORDER_PLATFORM)
    | (1 << VIRTIO_RING_F_INDIRECT_DESC)
    | (1 << VIRTIO_RING_F_EVENT_IDX)
    | (1 << VIRTIO_F_RING_PACKED)
    | (1 << VIRTIO_F_IN_ORDER)
    | (1 << VIRTIO_F_NOTIFICATION_DATA)
    | (1 << VIRTIO_NET_F_MTU)
    | (1 << VIRTIO_NET_F_MAC)
    | (1 << VIRTIO_NET_F_STATUS)
    | (1 << VIRTIO_NET_F_CTRL_VQ)
    | (1 << VIRTIO_NET_F_CTRL_RX)
    | (1 << VIRTIO_NET_F_CTRL_RX_EXTRA)
    | (1 << VIRTIO_NET_F_CTRL_VLAN)
    | (1 << VIRTIO_NET_F_CTRL_MAC_ADDR)
    | (1 << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)
    | (1 << VIRTIO_NET_F_GUEST_ANNOUNCE)
    | (1 << VIRTIO_NET_F_CSUM)
    | (1 << VIRTIO_NET_F_GUEST_CSUM)
    | (1 << VIRTIO_NET_F_GUEST_ECN)
    | (1 << VIRTIO_NET_F_GUEST_TSO4)
    | (1 << VIRTIO_NET_F_GUEST_TSO6)
    | (1 << VIRTIO_NET_F_HOST_ECN)
    | (1 << VIRTIO_NET_F_HOST_TSO4)
    | (1 << VIRTIO_NET_F_HOST_TSO6)
    | (1 << VIRTIO_NET_F_MRG_RXBUF)
    | (1 << VIRTIO_NET_F_SPEED_DUPLEX)
    | (1 << VIRTIO_NET_F_MQ);

/// The operations that a device doesn't have. See `docs/architecture.md` for why.
fn absent_operations(translation: Translation) -> &'static [OptionalOp] {
    match translation {
        Translation::OnChipIdentity => &[OptionalOp::DmaMap],
        // vhost removes every range at close if there is no `.set_map`, and the default translates nothing.
        Translation::OnChip => &[OptionalOp::SetMap, OptionalOp::ResetMap],
        // The core maps into a domain of the platform's IOMMU. There is one address space and one group, so nothing to ask or
        // to set of either. The core would take the domain's range of addresses if it were told none, but what the card can put
        // on the bus may be less.
        Translation::Platform => &[
            OptionalOp::SetMap,
            OptionalOp::ResetMap,
            OptionalOp::DmaMap,
            OptionalOp::SetGroupAsid,
            OptionalOp::GetVqGroup,
            OptionalOp::GetVqDescGroup,
        ],
    }
}

/// Why a device is not added as it was asked for.
#[derive(Clone, Copy)]
enum Refusal {
    Name,
    QueuePairs { most: u16 },
    Mtu,
    Mac,
    UnknownFeature(u64),
    MissingFeature(u64),
    FeatureNotHere(u64),
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
        }
    }
}

/// Checks what needs no card to see.
fn check_request(name: &CStr, config: &DeviceConfig, max_pairs: u16) -> Result<(), Refusal> {
    let queue_pairs = config.max_vq_pairs.unwrap_or(1);
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
    if features & !FEATURES != 0 {
        return Err(Refusal::UnknownFeature(features & !FEATURES));
    }
    if features & REQUIRED != REQUIRED {
        return Err(Refusal::MissingFeature(REQUIRED & !features));
    }
    Ok(())
}

/// The management device of a card.
pub(crate) struct Manager {
    card: Arc<Card>,
}

/// The registered management device.
pub(crate) type Management<'bound> = crate::vdpa::ManagementDevice<'bound, Manager>;

impl Manager {
    /// Says in the log why a device is not added: the core has no way to hand words to whoever asked for it
    /// (`vdpa_mgmtdev_ops.dev_add` has no `extack`).
    fn refuse(&self, name: &CStr, refusal: Refusal) -> Error {
        dev_warn!(
            self.card.dev(),
            "device {:?} not added: {}\n",
            name,
            refusal
        );
        EINVAL
    }

    /// Registers the management device of `card`.
    pub(crate) fn register<'bound>(
        parent: &'bound device::Device<Bound>,
        card: Arc<Card>,
    ) -> impl PinInit<Management<'bound>, Error> + 'bound {
        let max_queues = card.info.num_queues.into();

        crate::pci::register_management(
            parent,
            ManagementInfo {
                device_ids: &[VIRTIO_ID_NET],
                supported_features: FEATURES,
                max_supported_vqs: max_queues,
                config_attrs: ConfigAttr::Mac
                    | ConfigAttr::Mtu
                    | ConfigAttr::MaxVqPairs
                    | ConfigAttr::Features,
            },
            Manager { card },
        )
    }
}

#[vtable]
impl ManagementOperations for Manager {
    type Device = NetVdpa;

    fn dev_add(
        &self,
        request: &AddRequest<'_, Self>,
        name: &CStr,
        config: &DeviceConfig,
    ) -> Result {
        let queue_pairs = config.max_vq_pairs.unwrap_or(1);
        // A device with several pairs has a control queue, too.
        let max_pairs = (self.card.info.num_queues - 1) / 2;

        check_request(name, config, max_pairs).map_err(|refusal| self.refuse(name, refusal))?;

        // vhost-vdpa puts the whole function into the domain of the process that has one of its devices open. A second
        // device would run through the map of the first one's owner.
        if self.card.info.translation == Translation::Platform && self.card.has_devices() {
            dev_warn!(
                self.card.dev(),
                "no second device: the card has no IOMMU, and the platform's can't tell two devices of a function apart\n"
            );
            return Err(EBUSY);
        }

        let device = NetDevice::create(
            &self.card,
            &Parameters {
                queue_pairs,
                mac: config.mac,
                mtu: config.mtu,
                features: config.features,
            },
        )?;
        // A feature can depend on others, or on the number of queues. Dropping the device takes it from the card.
        let lacking = config.features.unwrap_or(0) & !device.offered();
        if lacking != 0 {
            return Err(self.refuse(name, Refusal::FeatureNotHere(lacking)));
        }
        let params = DeviceParams {
            callbacks: device.callbacks().clone(),
            ngroups: device.num_groups(),
            nas: device.num_spaces(),
            maps: explicit::maps(&device.share())?,
            use_va: false,
            without: absent_operations(self.card.info.translation),
        };
        let device = UnregisteredDevice::new(request, name, params, NetVdpa::new(device))?;

        let device = device.register()?;
        let notifier = device.change_notifier();
        device.device().faults().set_notifier(Some(notifier));
        device.make_files(name);
        Ok(())
    }

    fn dev_set_attr(&self, dev: &Device<NetVdpa>, config: &DeviceConfig) -> Result {
        // The core has checked it already, and lets nothing else through.
        let mac = config.mac.ok_or(EOPNOTSUPP)?;
        if !is_valid_mac(mac) {
            return Err(EINVAL);
        }
        dev.device().set_mac(mac).map_err(|error| {
            if error == CommandError::Refused(ErrorCode::InvalidArgument) {
                dev_warn!(
                    dev.as_ref(),
                    "mac not set: another device of the card has this address\n"
                );
            }
            error.into()
        })
    }
}
