// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The control queue of a network device. Its numbers are those of the virtio specification, section 5.1.6.5.

use crate::device::{Device, Devices};
use crate::hal::{Hal, QueueRole};
use crate::net::{features, is_assignable};

const ACK_OK: u8 = 0;
const ACK_ERR: u8 = 1;

const CLASS_RX: u8 = 0;
const RX_PROMISC: u8 = 0;
const RX_ALLMULTI: u8 = 1;

const CLASS_MAC: u8 = 1;
const MAC_TABLE_SET: u8 = 0;
const MAC_ADDR_SET: u8 = 1;

const CLASS_MQ: u8 = 4;
const MQ_VQ_PAIRS_SET: u8 = 0;

/// Where a command's data begin: behind class and command.
const DATA: u64 = 2;

/// Executes up to `budget` commands of a control queue. Returns whether there may be more.
pub(crate) fn serve<H: Hal, const D: usize, const Q: usize>(
    devices: &mut Devices<D, Q>,
    hal: &mut H,
    queue: u16,
    budget: usize,
) -> bool {
    let Some((device, index)) = devices.owner(queue) else {
        return false;
    };
    if !matches!(
        devices.get(device).map(|object| object.role(index)),
        Ok(QueueRole::Control)
    ) {
        return false;
    }
    for _ in 0..budget {
        if hal.take_control(queue).is_none() {
            return false;
        }
        let ack = match execute(devices, hal, device, queue) {
            Some(()) => ACK_OK,
            None => ACK_ERR,
        };
        hal.complete_control(queue, ack);
    }
    true
}

/// Executes the taken command. `None`: it is unknown, not negotiated or wrong, and changed nothing.
fn execute<H: Hal, const D: usize, const Q: usize>(
    devices: &mut Devices<D, Q>,
    hal: &mut H,
    device: u16,
    queue: u16,
) -> Option<()> {
    let [class, command] = read(hal, queue, 0)?;
    let object = devices.get_mut(device).ok()?;
    let agreed = |feature: u64| (object.features & feature != 0).then_some(());
    match (class, command) {
        (CLASS_RX, RX_PROMISC) => {
            agreed(features::CTRL_RX)?;
            object.filter.promiscuous = switch(hal, queue)?;
            hal.set_filter(device, object.filter);
        }
        (CLASS_RX, RX_ALLMULTI) => {
            agreed(features::CTRL_RX)?;
            object.filter.all_multicast = switch(hal, queue)?;
            hal.set_filter(device, object.filter);
        }
        (CLASS_MAC, MAC_TABLE_SET) => {
            agreed(features::CTRL_RX)?;
            table_set(object, hal, queue)?;
            hal.set_filter(device, object.filter);
        }
        (CLASS_MAC, MAC_ADDR_SET) => {
            agreed(features::CTRL_MAC_ADDR)?;
            let mac: [u8; 6] = read(hal, queue, DATA)?;
            if !is_assignable(&mac) || devices.mac_taken(&mac, device) {
                return None;
            }
            devices.get_mut(device).ok()?.mac = mac;
            hal.set_mac(device, mac);
        }
        (CLASS_MQ, MQ_VQ_PAIRS_SET) => {
            agreed(features::MQ)?;
            let pairs = u16::from_le_bytes(read(hal, queue, DATA)?);
            if pairs == 0 || pairs > object.pairs {
                return None;
            }
            hal.set_pairs(device, pairs);
        }
        _ => return None,
    }
    Some(())
}

/// Sets the addresses to receive beside the device's own.
///
/// The filter is best effort, says the specification: unwanted frames may get through. So the addresses needn't be
/// kept; whether there are any is enough to let all of their kind through. Linux's driver puts its unicast addresses
/// there only if it has several, and multicast addresses always.
fn table_set<H: Hal>(object: &mut Device, hal: &mut H, queue: u16) -> Option<()> {
    let unicast = u32::from_le_bytes(read(hal, queue, DATA)?);
    let behind = DATA + 4 + 6 * u64::from(unicast);
    let multicast = u32::from_le_bytes(read(hal, queue, behind)?);
    if multicast != 0 {
        // The last entry must be there.
        let _: [u8; 6] = read(hal, queue, behind + 4 + 6 * (u64::from(multicast) - 1))?;
    }
    object.filter.table_unicast = unicast != 0;
    object.filter.table_multicast = multicast != 0;
    Some(())
}

/// Reads an argument that is on or off.
fn switch<H: Hal>(hal: &mut H, queue: u16) -> Option<bool> {
    match read(hal, queue, DATA)? {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

/// Reads bytes of the taken chain.
fn read<H: Hal, const N: usize>(hal: &mut H, queue: u16, offset: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hal.read_control(queue, offset, &mut bytes).then_some(bytes)
}
