// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Which frames a device takes of those that reach its port: by address and by VLAN.

use mooring_firmware::hal::{MacTable, ReceiveFilter};

/// Where the type of a frame is, and of a tagged one the tag.
const TYPE: usize = 12;

/// The type of a frame with an 802.1Q tag.
const TYPE_VLAN: [u8; 2] = [0x81, 0x00];

/// The VLANs that a device receives.
#[derive(Clone, Debug, Default)]
pub(crate) struct VlanTable {
    /// A bit for each, or nothing if the device receives all.
    members: Option<Box<[u64; 64]>>,
}

impl VlanTable {
    /// Empties the table, which then lets no VLAN through, or all if it isn't `on`.
    pub fn reset(&mut self, on: bool) {
        self.members = on.then(|| Box::new([0; 64]));
    }

    /// Adds a VLAN or removes it.
    pub fn set(&mut self, vlan: u16, member: bool) {
        let members = self.members.as_mut();
        if let Some(word) = members.and_then(|members| members.get_mut(usize::from(vlan / 64))) {
            let bit = 1 << (vlan % 64);
            *word = if member { *word | bit } else { *word & !bit };
        }
    }

    /// Whether a frame passes. Those without a tag do, and those whose tag names no VLAN.
    fn passes(&self, frame: &[u8]) -> bool {
        let (Some(members), Some(TYPE_VLAN)) = (
            &self.members,
            frame.get(TYPE..).and_then(<[u8]>::first_chunk).copied(),
        ) else {
            return true;
        };
        let Some(tag) = frame.get(TYPE + 2..).and_then(<[u8]>::first_chunk) else {
            return true;
        };
        let vlan = u16::from_be_bytes(*tag) & 0xfff;
        let word = members.get(usize::from(vlan / 64)).copied().unwrap_or(0);
        vlan == 0 || word & (1 << (vlan % 64)) != 0
    }
}

/// What a device takes.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub modes: ReceiveFilter,
    table: Box<MacTable>,
    pub vlans: VlanTable,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            modes: ReceiveFilter::default(),
            table: Box::new(MacTable::EMPTY),
            vlans: VlanTable::default(),
        }
    }
}

impl Filter {
    /// Sets the addresses beside the device's own.
    pub fn set_table(&mut self, table: &MacTable) {
        *self.table = *table;
    }

    /// Whether a device with the address `mac` takes a frame.
    pub fn accepts(&self, mac: &[u8; 6], frame: &[u8]) -> bool {
        let Some(destination) = frame.first_chunk::<6>() else {
            return false;
        };
        let modes = &self.modes;
        if modes.promiscuous {
            return true;
        }
        if !self.vlans.passes(frame) {
            return false;
        }
        if *destination == [0xff; 6] {
            !modes.no_broadcast
        } else if destination[0] & 1 != 0 {
            !modes.no_multicast
                && (modes.all_multicast || self.table.multicast.contains(destination))
        } else {
            !modes.no_unicast
                && (modes.all_unicast
                    || destination == mac
                    || self.table.unicast.contains(destination))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mooring_firmware::hal::MacList;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];
    const GROUP2: [u8; 6] = [1, 0, 0x5e, 0, 0, 2];
    const BROADCAST: [u8; 6] = [0xff; 6];

    /// Which of the five addresses pass.
    fn passing(filter: &Filter) -> Vec<[u8; 6]> {
        [OWN, OTHER, GROUP, GROUP2, BROADCAST]
            .into_iter()
            .filter(|destination| filter.accepts(&OWN, &[&destination[..], &[0; 54]].concat()))
            .collect()
    }

    fn filter(change: impl FnOnce(&mut ReceiveFilter)) -> Filter {
        let mut filter = Filter::default();
        filter.modes.promiscuous = false;
        change(&mut filter.modes);
        filter
    }

    fn list(mac: [u8; 6]) -> MacList {
        let mut list = [[0; 6]; MacTable::ENTRIES];
        list[0] = mac;
        MacList {
            count: Some(1),
            list,
        }
    }

    #[test]
    fn modes() {
        let all = [OWN, OTHER, GROUP, GROUP2, BROADCAST];
        assert_eq!(passing(&Filter::default()), all);
        assert_eq!(passing(&filter(|_| {})), [OWN, BROADCAST]);
        type Change = fn(&mut ReceiveFilter);
        let cases: [(Change, &[[u8; 6]]); 5] = [
            (
                |modes| modes.all_multicast = true,
                &[OWN, GROUP, GROUP2, BROADCAST],
            ),
            (|modes| modes.all_unicast = true, &[OWN, OTHER, BROADCAST]),
            (|modes| modes.no_unicast = true, &[BROADCAST]),
            (|modes| modes.no_broadcast = true, &[OWN]),
            (
                |modes| (modes.no_multicast, modes.all_multicast) = (true, true),
                &[OWN, BROADCAST],
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(passing(&filter(change)), expected);
            // Who is promiscuous takes all the same.
            let both = filter(|modes| {
                change(modes);
                modes.promiscuous = true;
            });
            assert_eq!(passing(&both), all);
        }
    }

    #[test]
    fn table() {
        let mut with = filter(|_| {});
        with.set_table(&MacTable {
            unicast: list(OTHER),
            multicast: list(GROUP),
        });
        assert_eq!(passing(&with), [OWN, OTHER, GROUP, BROADCAST]);
        with.modes.no_multicast = true;
        assert_eq!(passing(&with), [OWN, OTHER, BROADCAST]);
        with.modes.no_multicast = false;
        with.set_table(&MacTable {
            unicast: MacList::EMPTY,
            multicast: MacList::ALL,
        });
        assert_eq!(passing(&with), [OWN, GROUP, GROUP2, BROADCAST]);
        with.set_table(&MacTable {
            unicast: MacList::ALL,
            multicast: MacList::EMPTY,
        });
        assert_eq!(passing(&with), [OWN, OTHER, BROADCAST]);
    }

    #[test]
    fn vlans() {
        let mut filter = filter(|_| {});
        let tagged = |vlan: u16| {
            let [high, low] = (vlan | 0xe000).to_be_bytes();
            [&OWN[..], &OTHER, &[0x81, 0, high, low], &[0; 46]].concat()
        };
        let passing = |filter: &Filter| {
            (0..4096)
                .filter(|vlan| filter.accepts(&OWN, &tagged(*vlan)))
                .collect::<Vec<u16>>()
        };
        assert_eq!(passing(&filter).len(), 4096);
        filter.vlans.reset(true);
        assert_eq!(passing(&filter), [0]);
        for vlan in [1, 63, 64, 4095] {
            filter.vlans.set(vlan, true);
        }
        assert_eq!(passing(&filter), [0, 1, 63, 64, 4095]);
        filter.vlans.set(64, false);
        filter.vlans.set(2, false);
        assert_eq!(passing(&filter), [0, 1, 63, 4095]);
        // What has no tag, or half of one, has no VLAN.
        assert!(filter.accepts(&OWN, &[&OWN[..], &OTHER, &[8, 0], &[0; 46]].concat()));
        assert!(filter.accepts(&OWN, &[&OWN[..], &OTHER, &[0x81, 0, 1]].concat()));
        filter.modes.promiscuous = true;
        assert_eq!(passing(&filter).len(), 4096);
        filter.modes.promiscuous = false;
        filter.vlans.reset(false);
        assert_eq!(passing(&filter).len(), 4096);
    }
}
