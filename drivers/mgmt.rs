// SPDX-License-Identifier: GPL-2.0-only

//! The management device: `vdpa dev add`, `vdpa dev del`, `vdpa dev set`.

use crate::{
    card::Card,
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
};
use kernel::{
    device::{
        self,
        Bound, //
    },
    prelude::*,
    sync::Arc, //
};

/// MTU limits in bytes (virtio 1.3, section 5.1.4.1).
const MTU: core::ops::RangeInclusive<u16> = 68..=u16::MAX;

/// Features that this driver can offer. Each device offers those of them that the card has.
///
/// The card lets a guest change its MAC address through the control queue (`VIRTIO_NET_F_CTRL_MAC_ADDR`), but
/// doesn't tell the driver, whose configuration space would go on showing the old one.
pub(crate) const FEATURES: u64 = (1 << VIRTIO_F_VERSION_1)
    | (1 << VIRTIO_F_ACCESS_PLATFORM)
    | (1 << VIRTIO_F_ORDER_PLATFORM)
    | (1 << VIRTIO_NET_F_MTU)
    | (1 << VIRTIO_NET_F_MAC)
    | (1 << VIRTIO_NET_F_STATUS)
    | (1 << VIRTIO_NET_F_CTRL_VQ)
    | (1 << VIRTIO_NET_F_CTRL_RX)
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

/// The management device of a card.
pub(crate) struct Manager {
    card: Arc<Card>,
}

/// The registered management device.
pub(crate) type Management<'bound> = crate::vdpa::ManagementDevice<'bound, Manager>;

impl Manager {
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
        // The core takes any name, and sysfs then warns or renames.
        if matches!(name.to_bytes(), b"" | b"." | b"..") || name.to_bytes().contains(&b'/') {
            return Err(EINVAL);
        }
        let queue_pairs = config.max_vq_pairs.unwrap_or(1);
        // A device with several pairs has a control queue, too.
        let max_pairs = (self.card.info.num_queues - 1) / 2;

        if queue_pairs == 0
            || (queue_pairs > 1 && queue_pairs > max_pairs)
            || config.mtu.is_some_and(|mtu| !MTU.contains(&mtu))
            || config.mac.is_some_and(|mac| !is_valid_mac(mac))
        {
            return Err(EINVAL);
        }
        if config
            .features
            .is_some_and(|features| features & !FEATURES != 0 || features & REQUIRED != REQUIRED)
        {
            return Err(EINVAL);
        }

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
        let params = DeviceParams {
            callbacks: device.callbacks().clone(),
            ngroups: device.num_groups(),
            nas: device.num_spaces(),
            maps: explicit::maps(&device.share())?,
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
        match config.mac {
            Some(mac) if is_valid_mac(mac) => Ok(dev.device().set_mac(mac)?),
            Some(_) => Err(EINVAL),
            None => Err(EOPNOTSUPP),
        }
    }
}
