// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The network side of the devices.

/// What the uplink port is plugged into.
pub trait Uplink: Send {
    /// Sends a frame. A frame that can't be sent now is dropped.
    fn send(&mut self, frame: &[u8]) -> std::io::Result<()>;

    /// Replaces the content of `frame` with the next frame, or returns `false` if there is none now.
    fn receive(&mut self, frame: &mut Vec<u8>) -> std::io::Result<bool>;

    /// What to wait on for the next frame, if one can.
    fn fd(&self) -> Option<std::os::fd::RawFd>;
}
