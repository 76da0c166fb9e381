// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The L2 switch: which frame goes to which port.

use std::collections::HashMap;

/// A port of the switch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Port {
    /// The way out of the card.
    Uplink,
    /// The device object of this number.
    Device(u16),
}

/// Which way a frame passes a port, as seen by the switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The switch got the frame from the port.
    FromPort,
    /// The switch hands the frame to the port.
    ToPort,
}

/// Sees every frame that passes a port, a packet capture for example.
pub trait FrameObserver: Send {
    /// `frame` passes `port`.
    fn frame(&mut self, port: Port, direction: Direction, frame: &[u8]);
}

/// Addresses that the switch learns at most.
const TABLE_SIZE: usize = 1024;

/// Where a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    /// Nowhere.
    Drop,
    /// To one port.
    One(Port),
    /// To all ports but the one that it came from.
    Flood,
}

/// An address that was seen as the source of a frame, and the port that the frame came from.
type Learned = ([u8; 6], Port);

/// The switch's knowledge of who is where.
///
/// The addresses of the card's own devices are fixed: they are never learned elsewhere, because whatever the uplink is
/// plugged into may return frames (a loopback does), and a device must not lose its address to its own echo.
/// Everything else is learned from source addresses, in a table of fixed size where a new address replaces the one that
/// is in its place.
pub(crate) struct Switch {
    fixed: HashMap<[u8; 6], u16>,
    learned: Box<[Option<Learned>]>,
}

impl Default for Switch {
    fn default() -> Self {
        Self {
            fixed: HashMap::new(),
            learned: vec![None; TABLE_SIZE].into_boxed_slice(),
        }
    }
}

impl Switch {
    /// Gives an address to a device.
    pub fn add(&mut self, device: u16, mac: [u8; 6]) {
        self.fixed.insert(mac, device);
        self.forget(|(learned, _)| *learned == mac);
    }

    /// Takes an address from a device.
    pub fn remove(&mut self, device: u16, mac: &[u8; 6]) {
        if self.fixed.get(mac) == Some(&device) {
            self.fixed.remove(mac);
        }
        self.forget(|(_, port)| *port == Port::Device(device));
    }

    fn forget(&mut self, which: impl Fn(&Learned) -> bool) {
        for entry in &mut self.learned {
            if entry.as_ref().is_some_and(&which) {
                *entry = None;
            }
        }
    }

    /// Learns from a frame that came from `source`, and says where it goes.
    pub fn route(&mut self, source: Port, frame: &[u8]) -> Route {
        let Some((destination, rest)) = frame.split_first_chunk::<6>() else {
            return Route::Drop;
        };
        let Some(origin) = rest.first_chunk::<6>() else {
            return Route::Drop;
        };
        self.learn(source, *origin);
        if destination[0] & 1 != 0 {
            return Route::Flood;
        }
        match self.look_up(destination) {
            Some(port) if port == source => Route::Drop,
            Some(port) => Route::One(port),
            None => Route::Flood,
        }
    }

    fn learn(&mut self, source: Port, mac: [u8; 6]) {
        if mac[0] & 1 != 0 || self.fixed.contains_key(&mac) {
            return;
        }
        if let Some(entry) = self.learned.get_mut(place(&mac)) {
            *entry = Some((mac, source));
        }
    }

    fn look_up(&self, mac: &[u8; 6]) -> Option<Port> {
        if let Some(device) = self.fixed.get(mac) {
            return Some(Port::Device(*device));
        }
        match self.learned.get(place(mac)) {
            Some(Some((learned, port))) if learned == mac => Some(*port),
            _ => None,
        }
    }
}

/// The place of an address in the table.
fn place(mac: &[u8; 6]) -> usize {
    let [a, b, c, d, e, f] = *mac;
    let hash = u64::from_be_bytes([0, 0, a, b, c, d, e, f]).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 40) as usize % TABLE_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const STRANGER: [u8; 6] = [2, 0, 0, 0, 9, 9];

    fn frame(destination: [u8; 6], source: [u8; 6]) -> Vec<u8> {
        [&destination[..], &source[..], &[0; 48]].concat()
    }

    fn switch() -> Switch {
        let mut switch = Switch::default();
        switch.add(1, A);
        switch.add(2, B);
        switch
    }

    #[test]
    fn devices_reach_each_other_directly() {
        let mut switch = switch();
        assert_eq!(
            switch.route(Port::Device(1), &frame(B, A)),
            Route::One(Port::Device(2))
        );
        assert_eq!(
            switch.route(Port::Device(1), &frame([0xff; 6], A)),
            Route::Flood
        );
        assert_eq!(
            switch.route(Port::Device(1), &frame(STRANGER, A)),
            Route::Flood
        );
        assert_eq!(switch.route(Port::Device(1), &frame(A, A)), Route::Drop);
    }

    #[test]
    fn strangers_are_learned_and_their_frames_not_reflected() {
        let mut switch = switch();
        assert_eq!(
            switch.route(Port::Uplink, &frame(A, STRANGER)),
            Route::One(Port::Device(1))
        );
        assert_eq!(
            switch.route(Port::Device(1), &frame(STRANGER, A)),
            Route::One(Port::Uplink)
        );
        assert_eq!(
            switch.route(Port::Uplink, &frame(STRANGER, STRANGER)),
            Route::Drop
        );
    }

    #[test]
    fn a_looped_frame_comes_back_and_moves_no_address() {
        let mut switch = switch();
        assert_eq!(
            switch.route(Port::Uplink, &frame([0xff; 6], A)),
            Route::Flood
        );
        assert_eq!(
            switch.route(Port::Device(2), &frame(A, B)),
            Route::One(Port::Device(1))
        );
        // Nor does it leave a trace that outlives the device.
        switch.remove(1, &A);
        assert_eq!(switch.route(Port::Device(2), &frame(A, B)), Route::Flood);
    }

    #[test]
    fn a_device_that_goes_takes_what_was_learned_at_it() {
        let mut switch = switch();
        switch.route(Port::Device(1), &frame(B, STRANGER));
        assert_eq!(
            switch.route(Port::Device(2), &frame(STRANGER, B)),
            Route::One(Port::Device(1))
        );
        switch.remove(1, &A);
        assert_eq!(
            switch.route(Port::Device(2), &frame(STRANGER, B)),
            Route::Flood
        );
        assert_eq!(switch.route(Port::Device(2), &frame(A, B)), Route::Flood);
    }

    #[test]
    fn frames_too_short_for_addresses_go_nowhere() {
        assert_eq!(switch().route(Port::Uplink, &[0xff; 11]), Route::Drop);
    }
}
