// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A cable from the port to itself.

use crate::Uplink;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// Frames on the cable. More are dropped, so that a guest can't make the model grow.
const CAPACITY: usize = 256;

/// What goes out comes back in, in order.
pub struct Loopback {
    frames: VecDeque<Vec<u8>>,
    /// Readable while there are frames, so that they are fetched even if the card has nothing else to do.
    ready: EventFd,
}

impl Loopback {
    /// An empty cable.
    ///
    /// # Errors
    ///
    /// If the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let ready = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self {
            frames: VecDeque::with_capacity(CAPACITY),
            ready,
        })
    }
}

impl Uplink for Loopback {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        if self.frames.len() >= CAPACITY {
            return Ok(());
        }
        self.frames.push_back(frame.to_vec());
        if self.frames.len() == 1 {
            self.ready.write(1)?;
        }
        Ok(())
    }

    fn receive(&mut self, frame: &mut Vec<u8>) -> io::Result<bool> {
        let Some(first) = self.frames.pop_front() else {
            return Ok(false);
        };
        *frame = first;
        if self.frames.is_empty() {
            self.ready.read()?;
        }
        Ok(true)
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.ready.as_raw_fd())
    }
}

impl AsFd for Loopback {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(uplink: &Loopback) -> bool {
        // Looking takes the count, so it is put back.
        let count = uplink.ready.read().unwrap_or(0);
        if count > 0 {
            uplink.ready.write(count).unwrap();
        }
        count > 0
    }

    #[test]
    fn frames_come_back_in_order() {
        let mut uplink = Loopback::new().unwrap();
        let mut frame = Vec::new();
        assert!(!ready(&uplink) && !uplink.receive(&mut frame).unwrap());
        uplink.send(b"one").unwrap();
        uplink.send(b"two").unwrap();
        assert!(ready(&uplink) && uplink.receive(&mut frame).unwrap());
        assert_eq!(frame, b"one");
        assert!(ready(&uplink) && uplink.receive(&mut frame).unwrap());
        assert_eq!(frame, b"two");
        assert!(!ready(&uplink) && !uplink.receive(&mut frame).unwrap());
    }

    #[test]
    fn a_full_cable_drops() {
        let mut uplink = Loopback::new().unwrap();
        for number in 0..CAPACITY + 5 {
            uplink.send(&number.to_le_bytes()).unwrap();
        }
        let mut frame = Vec::new();
        for number in 0..CAPACITY {
            assert!(uplink.receive(&mut frame).unwrap());
            assert_eq!(frame, number.to_le_bytes());
        }
        assert!(!uplink.receive(&mut frame).unwrap());
    }
}
