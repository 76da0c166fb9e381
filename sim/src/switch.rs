// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The L2 switch: which frame goes to which port.

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
