// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::open;
use crate::device::{errno, BLOCK_DEVICE, NETWORK_DEVICE};
use crate::output::Report;
use crate::{raw, Common};
use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;
use vhost::vdpa::VhostVdpa;
use vhost::vhost_kern::VhostKernFeatures;
use vhost::VhostBackend;

/// Show what the device offers: features, configuration, queues, groups and address spaces
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
}

/// What a type of device offers that others don't: each has these bits for itself.
const NETWORK_FEATURES: [(u32, &str); 21] = [
    (0, "CSUM"),
    (1, "GUEST_CSUM"),
    (2, "CTRL_GUEST_OFFLOADS"),
    (3, "MTU"),
    (5, "MAC"),
    (7, "GUEST_TSO4"),
    (8, "GUEST_TSO6"),
    (9, "GUEST_ECN"),
    (11, "HOST_TSO4"),
    (12, "HOST_TSO6"),
    (13, "HOST_ECN"),
    (15, "MRG_RXBUF"),
    (16, "STATUS"),
    (17, "CTRL_VQ"),
    (18, "CTRL_RX"),
    (19, "CTRL_VLAN"),
    (20, "CTRL_RX_EXTRA"),
    (21, "GUEST_ANNOUNCE"),
    (22, "MQ"),
    (23, "CTRL_MAC_ADDR"),
    (63, "SPEED_DUPLEX"),
];

const BLOCK_FEATURES: [(u32, &str); 11] = [
    (1, "SIZE_MAX"),
    (2, "SEG_MAX"),
    (5, "RO"),
    (6, "BLK_SIZE"),
    (9, "FLUSH"),
    (10, "TOPOLOGY"),
    (11, "CONFIG_WCE"),
    (12, "MQ"),
    (13, "DISCARD"),
    (14, "WRITE_ZEROES"),
    (16, "SECURE_ERASE"),
];

/// What devices of every type may offer.
const FEATURES: [(u32, &str); 9] = [
    (27, "ANY_LAYOUT"),
    (28, "INDIRECT_DESC"),
    (29, "EVENT_IDX"),
    (32, "VERSION_1"),
    (33, "ACCESS_PLATFORM"),
    (34, "RING_PACKED"),
    (35, "IN_ORDER"),
    (36, "ORDER_PLATFORM"),
    (38, "NOTIFICATION_DATA"),
];

const BACKEND_FEATURES: [(u32, &str); 8] = [
    (1, "IOTLB_MSG_V2"),
    (2, "IOTLB_BATCH"),
    (3, "IOTLB_ASID"),
    (4, "SUSPEND"),
    (5, "RESUME"),
    (6, "ENABLE_AFTER_DRIVER_OK"),
    (7, "DESC_ASID"),
    (8, "IOTLB_PERSIST"),
];

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let device = open(&self.common)?;
        let vdpa = &device.vdpa;
        let device_id = vdpa
            .get_device_id()
            .map_err(errno)
            .context("VHOST_VDPA_GET_DEVICE_ID")?;
        report.value("device_id", device_id);
        report.value("status", device.status()?);
        let features = vdpa
            .get_features()
            .map_err(errno)
            .context("VHOST_GET_FEATURES")?;
        let own: &[_] = match device_id {
            NETWORK_DEVICE => &NETWORK_FEATURES,
            BLOCK_DEVICE => &BLOCK_FEATURES,
            _ => &[],
        };
        report.value("features", names(features, &[own, &FEATURES].concat()));
        let backend = vdpa
            .get_backend_features()
            .map_err(errno)
            .context("VHOST_GET_BACKEND_FEATURES")?;
        report.value("backend_features", names(backend, &BACKEND_FEATURES));
        let queues = vdpa
            .get_vqs_count()
            .map_err(errno)
            .context("VHOST_VDPA_GET_VQS_COUNT")?;
        report.value("queues", queues);
        report.value("queue_entries", device.ring_maximum()?);
        let sizes: Vec<Value> = (0..queues)
            .map(|queue| {
                number_or_error(raw::vring_state(
                    &device.file,
                    raw::VHOST_VDPA_GET_VRING_SIZE(),
                    queue,
                    0,
                ))
            })
            .collect();
        report.value("queue_sizes", sizes);
        report.value(
            "groups",
            vdpa.get_group_num()
                .map_err(errno)
                .context("VHOST_VDPA_GET_GROUP_NUM")?,
        );
        let groups: Vec<Value> = (0..queues)
            .map(|queue| number_or_error(vdpa.get_vring_group(queue).map_err(errno)))
            .collect();
        report.value("queue_groups", groups);
        let groups: Vec<Value> = (0..queues)
            .map(|queue| {
                number_or_error(raw::vring_state(
                    &device.file,
                    raw::VHOST_VDPA_GET_VRING_DESC_GROUP(),
                    queue,
                    0,
                ))
            })
            .collect();
        report.value("queue_descriptor_groups", groups);
        report.value(
            "address_spaces",
            vdpa.get_as_num()
                .map_err(errno)
                .context("VHOST_VDPA_GET_AS_NUM")?,
        );
        let range = vdpa
            .get_iova_range()
            .map_err(errno)
            .context("VHOST_VDPA_GET_IOVA_RANGE")?;
        report.value("iova_first", format!("{:#x}", range.first));
        report.value("iova_last", format!("{:#x}", range.last));
        let size = vdpa
            .get_config_size()
            .map_err(errno)
            .context("VHOST_VDPA_GET_CONFIG_SIZE")?;
        let mut config = vec![0; size as usize];
        vdpa.get_config(0, &mut config)
            .map_err(errno)
            .context("VHOST_VDPA_GET_CONFIG")?;
        report.value("config", hexadecimal(&config));
        report.check(
            "the device is a network device or a block device",
            [NETWORK_DEVICE, BLOCK_DEVICE].contains(&device_id),
            "its virtio type is neither 1 nor 2",
        );
        report.check_same("the status is 0 after opening", device.status()?, 0);
        Ok(())
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

fn names(bits: u64, known: &[(u32, &str)]) -> Vec<Value> {
    (0..64)
        .filter(|bit| bits & (1 << bit) != 0)
        .map(
            |bit| match known.iter().find(|(number, _)| *number == bit) {
                Some((_, name)) => Value::from(*name),
                None => Value::from(format!("bit{bit}")),
            },
        )
        .collect()
}

fn number_or_error(result: std::io::Result<u32>) -> Value {
    match result {
        Ok(number) => number.into(),
        Err(error) => error.to_string().into(),
    }
}
