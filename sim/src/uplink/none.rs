// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! No uplink.

use crate::Uplink;
use std::io;
use std::os::fd::RawFd;

/// A port that nothing is plugged into.
pub struct Unplugged;

impl Uplink for Unplugged {
    fn send(&mut self, _frame: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn receive(&mut self, _frame: &mut Vec<u8>) -> io::Result<bool> {
        Ok(false)
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_back() {
        let mut uplink = Unplugged;
        uplink.send(b"frame").unwrap();
        assert!(!uplink.receive(&mut Vec::new()).unwrap());
        assert!(uplink.fd().is_none());
    }
}
