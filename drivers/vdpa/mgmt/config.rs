// SPDX-License-Identifier: GPL-2.0-only

//! What users may say about a device that they add or change.

use crate::vdpa::bindings;
use kernel::{
    impl_flags,
    prelude::*, //
};

impl_flags!(
    /// Attributes that users may set when they add a device.
    #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
    pub struct ConfigAttrs(u64);

    /// One attribute that users may set when they add a device.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum ConfigAttr {
        /// [`DeviceConfig::features`]
        Features = 1 << bindings::vdpa_attr_VDPA_ATTR_DEV_FEATURES,
        /// [`DeviceConfig::mac`]
        Mac = 1 << bindings::vdpa_attr_VDPA_ATTR_DEV_NET_CFG_MACADDR,
        /// [`DeviceConfig::mtu`]
        Mtu = 1 << bindings::vdpa_attr_VDPA_ATTR_DEV_NET_CFG_MTU,
        /// [`DeviceConfig::max_vq_pairs`]
        MaxVqPairs = 1 << bindings::vdpa_attr_VDPA_ATTR_DEV_NET_CFG_MAX_VQP,
    }
);

/// What the user asks of a device: `struct vdpa_dev_set_config`.
///
/// Only attributes that the management device has declared arrive here. Values are not checked,
/// except that `max_vq_pairs` is not 0, and that `features`, if given, contains the feature of each
/// network attribute that is given as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Features that the device shall offer.
    pub features: Option<u64>,
    /// MAC address.
    pub mac: Option<[u8; 6]>,
    /// MTU.
    pub mtu: Option<u16>,
    /// Number of virtqueue pairs for data.
    pub max_vq_pairs: Option<u16>,
}

impl From<&bindings::vdpa_dev_set_config> for DeviceConfig {
    fn from(raw: &bindings::vdpa_dev_set_config) -> Self {
        let has = |attr| ConfigAttrs(raw.mask).contains(attr);

        Self {
            features: has(ConfigAttr::Features).then_some(raw.device_features),
            mac: has(ConfigAttr::Mac).then_some(raw.net.mac),
            mtu: has(ConfigAttr::Mtu).then_some(raw.net.mtu),
            max_vq_pairs: has(ConfigAttr::MaxVqPairs).then_some(raw.net.max_vq_pairs),
        }
    }
}
