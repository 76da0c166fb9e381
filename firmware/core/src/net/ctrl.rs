// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The control queue of a network device. Its numbers are those of the virtio specification, section 5.1.6.5.

use crate::device::Devices;
use crate::hal::{Hal, MacList, MacTable, QueueRole};
use crate::net::{features, is_assignable};

const ACK_OK: u8 = 0;
const ACK_ERR: u8 = 1;

const CLASS_RX: u8 = 0;
const RX_PROMISC: u8 = 0;
const RX_ALLMULTI: u8 = 1;
const RX_ALLUNI: u8 = 2;
const RX_NOMULTI: u8 = 3;
const RX_NOUNI: u8 = 4;
const RX_NOBCAST: u8 = 5;

const CLASS_MAC: u8 = 1;
const MAC_TABLE_SET: u8 = 0;
const MAC_ADDR_SET: u8 = 1;

const CLASS_VLAN: u8 = 2;
const VLAN_ADD: u8 = 0;
const VLAN_DEL: u8 = 1;

const CLASS_ANNOUNCE: u8 = 3;
const ANNOUNCE_ACK: u8 = 0;

const CLASS_MQ: u8 = 4;
const MQ_VQ_PAIRS_SET: u8 = 0;

const CLASS_GUEST_OFFLOADS: u8 = 5;
const GUEST_OFFLOADS_SET: u8 = 0;

/// VLANs that there are.
const VLANS: u16 = 4096;

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
        (CLASS_RX, mode) => {
            agreed(match mode {
                RX_PROMISC | RX_ALLMULTI => features::CTRL_RX,
                _ => features::CTRL_RX_EXTRA,
            })?;
            let filter = &mut object.filter;
            let setting = match mode {
                RX_PROMISC => &mut filter.promiscuous,
                RX_ALLMULTI => &mut filter.all_multicast,
                RX_ALLUNI => &mut filter.all_unicast,
                RX_NOMULTI => &mut filter.no_multicast,
                RX_NOUNI => &mut filter.no_unicast,
                RX_NOBCAST => &mut filter.no_broadcast,
                _ => return None,
            };
            *setting = switch(hal, queue)?;
            hal.set_filter(device, object.filter);
        }
        (CLASS_MAC, MAC_TABLE_SET) => {
            agreed(features::CTRL_RX)?;
            let table = mac_table(hal, queue)?;
            hal.set_mac_table(device, &table);
        }
        (CLASS_MAC, MAC_ADDR_SET) => {
            agreed(features::CTRL_MAC_ADDR)?;
            let mac: [u8; 6] = read(hal, queue, DATA)?;
            if !is_assignable(&mac) || devices.mac_taken(&mac, device) {
                return None;
            }
            let object = devices.get_mut(device).ok()?;
            // The host is told of news only, so that a guest can't keep it busy.
            if core::mem::replace(&mut object.mac, mac) != mac {
                hal.set_mac(device, mac);
                devices.tell_mac(device);
            }
        }
        (CLASS_VLAN, command @ (VLAN_ADD | VLAN_DEL)) => {
            agreed(features::CTRL_VLAN)?;
            let vlan = u16::from_le_bytes(read(hal, queue, DATA)?);
            if vlan >= VLANS {
                return None;
            }
            hal.set_vlan(device, vlan, command == VLAN_ADD);
        }
        (CLASS_ANNOUNCE, ANNOUNCE_ACK) => {
            agreed(features::GUEST_ANNOUNCE)?;
            if core::mem::take(&mut object.status.announce) {
                devices.tell_status(device);
            }
        }
        (CLASS_MQ, MQ_VQ_PAIRS_SET) => {
            agreed(features::MQ)?;
            let pairs = u16::from_le_bytes(read(hal, queue, DATA)?);
            if pairs == 0 || pairs > object.pairs {
                return None;
            }
            hal.set_pairs(device, pairs);
        }
        (CLASS_GUEST_OFFLOADS, GUEST_OFFLOADS_SET) => {
            agreed(features::CTRL_GUEST_OFFLOADS)?;
            let wanted = u64::from_le_bytes(read(hal, queue, DATA)?);
            let switchable = object.features & features::GUEST_OFFLOADS;
            let on = object.features & !switchable | wanted;
            if wanted & !switchable != 0 || features::effective(on) != on {
                return None;
            }
            hal.set_offloads(device, on);
        }
        _ => return None,
    }
    Some(())
}

/// Reads the addresses to receive beside the device's own. Where there are more than the table has room for, the device
/// takes all of the kind: the filter is best effort, says the specification, and unwanted frames may get through.
fn mac_table<H: Hal>(hal: &mut H, queue: u16) -> Option<MacTable> {
    let (unicast, behind) = mac_list(hal, queue, DATA)?;
    let (multicast, _) = mac_list(hal, queue, behind)?;
    Some(MacTable { unicast, multicast })
}

/// Reads a number of addresses and the addresses. Returns also where what follows them begins.
fn mac_list<H: Hal>(hal: &mut H, queue: u16, offset: u64) -> Option<(MacList, u64)> {
    let count = u32::from_le_bytes(read(hal, queue, offset)?);
    let first = offset + 4;
    let behind = first + 6 * u64::from(count);
    let mut list = [[0; 6]; MacTable::ENTRIES];
    let used = usize::try_from(count)
        .ok()
        .and_then(|count| list.get_mut(..count));
    let Some(used) = used else {
        // The last entry must be there.
        let _: [u8; 6] = read(hal, queue, behind - 6)?;
        return Some((MacList::ALL, behind));
    };
    for (entry, place) in used.iter_mut().zip(0u64..) {
        *entry = read(hal, queue, first + 6 * place)?;
    }
    let count = Some(used.len());
    Some((MacList { count, list }, behind))
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
