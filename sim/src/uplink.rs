// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the card's uplink port is plugged into.
//!
//! No uplink ever waits: a frame that can't go out now is dropped, as on a wire whose other end is busy.

mod loopback;
mod none;
mod tap;
mod unix;

pub use loopback::Loopback;
pub use none::Unplugged;
pub use tap::Tap;
pub use unix::UnixStreamUplink;

use crate::Uplink;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::str::FromStr;

/// Bytes of the largest frame: an Ethernet header with a VLAN tag, and the largest MTU.
pub const MAX_FRAME: usize = 18 + 65535;

/// What to plug in, as the command line names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UplinkKind {
    /// `none`: nothing. Frames that go out are lost.
    #[default]
    None,
    /// `loopback`: what goes out comes back in.
    Loopback,
    /// `tap:NAME`: a network interface of the host.
    Tap(String),
    /// `unix:PATH`: a stream socket, to QEMU, passt or another model.
    Unix(PathBuf),
}

/// An uplink that is plugged in.
pub struct Opened {
    /// For the card.
    pub port: Box<dyn Uplink>,
    /// For the thread that runs the card: readable when the port has to be looked at.
    pub ready: Option<OwnedFd>,
}

impl UplinkKind {
    /// Plugs it in.
    ///
    /// # Errors
    ///
    /// What the operating system says about the interface or socket.
    pub fn open(&self) -> io::Result<Opened> {
        match self {
            Self::None => Ok(Opened {
                port: Box::new(Unplugged),
                ready: None,
            }),
            Self::Loopback => Opened::new(Loopback::new()?),
            Self::Tap(name) => Opened::new(Tap::open(name)?),
            Self::Unix(path) => Opened::new(UnixStreamUplink::open(path)?),
        }
    }
}

impl Opened {
    fn new(uplink: impl Uplink + AsFd + 'static) -> io::Result<Self> {
        let ready = Some(uplink.as_fd().try_clone_to_owned()?);
        Ok(Self {
            port: Box::new(uplink),
            ready,
        })
    }
}

impl fmt::Display for UplinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Loopback => f.write_str("loopback"),
            Self::Tap(name) => write!(f, "tap:{name}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for UplinkKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "loopback" => Ok(Self::Loopback),
            Some(("tap", name)) if !name.is_empty() => Ok(Self::Tap(name.into())),
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => Err("must be tap:NAME, unix:PATH, loopback or none".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["none", "loopback", "tap:mooring0", "unix:/a:b"] {
            assert_eq!(good.parse::<UplinkKind>().unwrap().to_string(), good);
        }
        assert_eq!("none".parse(), Ok(UplinkKind::None));
        assert_eq!("loopback".parse(), Ok(UplinkKind::Loopback));
        assert_eq!(
            "tap:mooring0".parse(),
            Ok(UplinkKind::Tap("mooring0".into()))
        );
        assert_eq!("unix:/a:b".parse(), Ok(UplinkKind::Unix("/a:b".into())));
        for bad in ["", "tap", "tap:", "unix:", "none:x", "vhost:0"] {
            assert!(bad.parse::<UplinkKind>().is_err(), "{bad}");
        }
    }
}
