// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A tap interface of the host.

use super::MAX_FRAME;
use crate::Uplink;
use nix::libc;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// A tap interface. It is made if it doesn't exist, which needs CAP_NET_ADMIN, and then goes away with the model;
/// one that the administrator made for this user with `ip tuntap add` needs no privilege and stays.
pub struct Tap {
    file: File,
    buffer: Box<[u8]>,
}

/// Where interfaces come from.
const TUN: &str = "/dev/net/tun";

/// The part of `struct ifreq` that `TUNSETIFF` reads, at the structure's full size.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

impl Tap {
    /// Attaches to the interface `name`.
    ///
    /// # Errors
    ///
    /// If the name is too long, or what the operating system says; `PermissionDenied` without CAP_NET_ADMIN.
    pub fn open(name: &str) -> io::Result<Self> {
        let request = InterfaceRequest::new(name)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(TUN)?;
        attach(&file, request)?;
        Ok(Self {
            file,
            buffer: vec![0; MAX_FRAME].into_boxed_slice(),
        })
    }
}

impl InterfaceRequest {
    fn new(name: &str) -> io::Result<Self> {
        // One byte stays 0 as the end of the name.
        let mut padded = [0; libc::IFNAMSIZ];
        match padded.get_mut(..name.len()) {
            Some(place) if name.len() < libc::IFNAMSIZ => place.copy_from_slice(name.as_bytes()),
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the interface's name is too long",
                ))
            }
        }
        // CAST: both flags lie in the lower 16 bits.
        let flags = (libc::IFF_TAP | libc::IFF_NO_PI) as u16;
        Ok(Self {
            name: padded,
            flags,
            rest: [0; 22],
        })
    }
}

/// `ioctl(TUNSETIFF)`, the one call of the model that no safe interface offers.
#[allow(unsafe_code)]
fn attach(file: &File, mut request: InterfaceRequest) -> io::Result<()> {
    // SAFETY: `TUNSETIFF` reads and writes one `struct ifreq` behind the pointer. `InterfaceRequest` has its size and
    // layout, any bytes are valid for it, and it outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    nix::errno::Errno::result(result)
        .map(drop)
        .map_err(io::Error::from)
}

impl Uplink for Tap {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        match self.file.write(frame) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result.map(drop),
        }
    }

    fn receive(&mut self, frame: &mut Vec<u8>) -> io::Result<bool> {
        match self.file.read(&mut self.buffer) {
            Ok(length) => {
                frame.clear();
                frame.extend_from_slice(self.buffer.get(..length).unwrap_or_default());
                Ok(length > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.file.as_raw_fd())
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_long_name_is_refused() {
        assert!(InterfaceRequest::new("fifteen-letters").is_ok());
        let error = Tap::open("sixteen-letters!").err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    /// Set for the process that has a network of its own.
    const INSIDE: &str = "MOORING_TEST_OWN_NETWORK";

    /// Runs this test again as root of new user and network namespaces, where anybody may make interfaces.
    fn run_with_own_network() {
        let status = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "uplink::tap::tests::frames_go_through_an_interface",
            ])
            .env(INSIDE, "1")
            .status()
            .unwrap();
        assert!(status.success());
    }

    #[test]
    fn frames_go_through_an_interface() {
        if !Path::new(TUN).exists() {
            let error = Tap::open("mtap0").err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            return;
        }
        if std::env::var_os(INSIDE).is_none() {
            return run_with_own_network();
        }
        let mut tap = Tap::open("mtap0").unwrap();
        let mut frame = Vec::new();
        // The interface is down: nothing to read, and frames are refused or dropped without waiting.
        assert!(!tap.receive(&mut frame).unwrap());
        let _ = tap.send(&[0; 60]);

        let up = Command::new("ip")
            .args(["link", "set", "mtap0", "up"])
            .status();
        assert!(up.unwrap().success());
        tap.send(&[0xff; 60]).unwrap();
        // The kernel looks for IPv6 neighbours and routers at once.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !tap.receive(&mut frame).unwrap() {
            assert!(Instant::now() < deadline, "no frame from the interface");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(frame.len() >= 14, "{} bytes are no frame", frame.len());
    }
}
