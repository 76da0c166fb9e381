// SPDX-License-Identifier: GPL-2.0-only

//! The management devices: `vdpa dev add`, `vdpa dev del`, `vdpa dev set`.
//!
//! There is one for each type of device, because `dev add` names a management device and no type, and because the core has
//! room for one set of features in a management device, while the same bit means something else in another type: bit 5 is
//! `VIRTIO_NET_F_MAC` and `VIRTIO_BLK_F_RO`. That of network devices is the PCI function's own, `pci/ADDRESS`; that of block
//! devices is `faux/mooring_blk.ADDRESS`, a child of the function, and there only if the card has disks.

mod request;

use crate::{
    block,
    card::Card,
    cmdq::{
        commands,
        CommandError, //
    },
    info::Translation,
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
    virtio_device::{
        explicit,
        is_valid_mac,
        operations::{
            RegisteredDevice,
            REQUIRED, //
        },
        Parameters, //
        VirtioDevice,
    },
    wire::ErrorCode, //
};
use kernel::{
    device::{
        self,
        Bound, //
    },
    prelude::*,
    sync::Arc, //
};
use request::Refusal;

/// Features that this driver knows. Each device offers those of them that the card has.
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

/// The type of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// A virtio-net device.
    Net,
    /// A virtio-blk device.
    Block,
}

impl Type {
    /// Its name, for the log.
    fn name(self) -> &'static str {
        match self {
            Self::Net => "network",
            Self::Block => "block",
        }
    }

    /// Virtio's number for it.
    pub(crate) fn virtio_id(self) -> u32 {
        match self {
            Self::Net => VIRTIO_ID_NET,
            Self::Block => VIRTIO_ID_BLOCK,
        }
    }

    /// Features that this driver knows.
    pub(crate) fn features(self) -> u64 {
        match self {
            Self::Net => FEATURES,
            Self::Block => block::FEATURES,
        }
    }

    /// Features that the card offers whether they were asked for or not.
    pub(crate) fn unasked(self) -> u64 {
        match self {
            Self::Net => 0,
            // A warning that nobody may do without.
            Self::Block => 1 << VIRTIO_BLK_F_RO,
        }
    }
}

/// A management device of a card.
pub(crate) struct Manager {
    card: Arc<Card>,
    /// Of the devices that it makes.
    device_type: Type,
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

    /// Features that some device of this type can offer, as the card says, which may say anything: those that this driver
    /// doesn't know are left out.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the card refuses to say it, or fails: the log has the reason, and there is no card for this driver then. Else
    /// what kept the command from being issued.
    pub(crate) fn possible_features(card: &Card, device_type: Type) -> Result<u64> {
        match commands::device_type_query(card, device_type.virtio_id()) {
            Ok(info) => Ok(info.features.get() & device_type.features()),
            Err(CommandError::NotIssued(error)) => Err(error),
            Err(CommandError::Dead) => Err(ENODEV),
            Err(CommandError::Refused(code)) => {
                dev_err!(
                    card.dev(),
                    "card does not say what its {} devices can offer ({}); update its firmware\n",
                    device_type.name(),
                    code.text()
                );
                Err(ENODEV)
            }
        }
    }

    /// Registers the management device of `card` for network devices. Asks the card what they can offer.
    ///
    /// # Errors
    ///
    /// Those of [`Self::possible_features()`], else what the core fails with.
    pub(crate) fn register<'bound>(
        parent: &'bound device::Device<Bound>,
        card: Arc<Card>,
    ) -> impl PinInit<Management<'bound>, Error> + 'bound {
        Self::register_type(parent, card, Type::Net)
    }

    /// The same for block devices, on a card that has disks.
    pub(crate) fn register_block<'bound>(
        parent: &'bound device::Device<Bound>,
        card: Arc<Card>,
    ) -> impl PinInit<Management<'bound>, Error> + 'bound {
        Self::register_type(parent, card, Type::Block)
    }

    fn register_type<'bound>(
        parent: &'bound device::Device<Bound>,
        card: Arc<Card>,
        device_type: Type,
    ) -> impl PinInit<Management<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let supported_features = Self::possible_features(&card, device_type)?;
            let num_queues = card.info.num_queues;
            let max_queues = match device_type {
                Type::Net => num_queues,
                Type::Block => block::default_queues(num_queues),
            };

            Ok(crate::pci::register_management(
                parent,
                ManagementInfo {
                    device_ids: match device_type {
                        Type::Net => &[VIRTIO_ID_NET],
                        Type::Block => &[VIRTIO_ID_BLOCK],
                    },
                    supported_features,
                    max_supported_vqs: max_queues.into(),
                    config_attrs: match device_type {
                        Type::Net => {
                            ConfigAttr::Mac
                                | ConfigAttr::Mtu
                                | ConfigAttr::MaxVqPairs
                                | ConfigAttr::Features
                        }
                        // The others are about networks, and the core refuses them.
                        Type::Block => ConfigAttr::Features.into(),
                    },
                    child: match device_type {
                        Type::Net => None,
                        Type::Block => Some("mooring_blk"),
                    },
                },
                Manager { card, device_type },
            ))
        })
    }
}

#[vtable]
impl ManagementOperations for Manager {
    type Device = RegisteredDevice;

    fn dev_add(
        &self,
        request: &AddRequest<'_, Self>,
        name: &CStr,
        config: &DeviceConfig,
    ) -> Result {
        let info = &self.card.info;
        let queues = match self.device_type {
            Type::Net => config.max_vq_pairs.unwrap_or(1),
            Type::Block => match config.features {
                Some(features) if features & (1 << VIRTIO_BLK_F_MQ) == 0 => 1,
                _ => block::default_queues(info.num_queues),
            },
        };

        request::check(name, config, self.device_type, info.num_queues)
            .map_err(|refusal| self.refuse(name, refusal))?;

        // vhost-vdpa puts the whole function into the domain of the process that has one of its devices open. A second
        // device would run through the map of the first one's owner.
        if self.card.info.translation == Translation::Platform && self.card.has_devices() {
            dev_warn!(
                self.card.dev(),
                "no second device: the card has no IOMMU, and the platform's can't tell two devices of a function apart\n"
            );
            return Err(EBUSY);
        }

        let device = VirtioDevice::create(
            &self.card,
            &Parameters {
                device_type: self.device_type,
                queues,
                mac: config.mac,
                mtu: config.mtu,
                features: config.features,
            },
        )?;
        // A feature can depend on others, or on the number of queues. Dropping the device takes it from the card.
        if let Some(wanted) = config.features {
            let lacking = wanted & !device.offered();
            if lacking != 0 {
                return Err(self.refuse(name, Refusal::FeatureNotHere(lacking)));
            }
            if device.offered() & !wanted != 0 {
                return Err(self.refuse(name, Refusal::ReadOnly));
            }
        }
        let params = DeviceParams {
            callbacks: device.callbacks().clone(),
            ngroups: device.num_groups(),
            nas: device.num_spaces(),
            maps: explicit::maps(&device.share())?,
            use_va: false,
            without: absent_operations(self.card.info.translation),
        };
        let device = UnregisteredDevice::new(request, name, params, RegisteredDevice::new(device))?;

        let device = device.register()?;
        let notifier = device.change_notifier();
        device.device().faults().set_notifier(Some(notifier));
        device.make_files(name);
        Ok(())
    }

    fn dev_set_attr(&self, dev: &Device<RegisteredDevice>, config: &DeviceConfig) -> Result {
        // The core has checked it already, and lets nothing else through; of a block device, nothing at all.
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
