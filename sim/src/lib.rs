// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The card as software.
//!
//! One module per hardware block, named as in `hw-regs/rdl/mooring.rdl`. The blocks are pure: what they know of the
//! outside are the traits [`HostMemory`], [`Interrupts`], [`Uplink`] and [`FrameObserver`]. [`Card`] puts them together.

#![deny(unsafe_code)]

pub mod blk;
pub mod card;
mod cmdq;
pub mod config;
mod cp;
mod eventq;
mod info;
mod iommu;
mod limit;
mod mailbox;
pub mod memory;
pub mod net;
mod registers;
pub mod switch;
#[cfg(feature = "testing")]
pub mod testing;
pub mod vq;

// What is around the pure card: the vfio-user server, host memory, the uplink, and the program.
pub mod cli;
pub mod guest_memory;
pub mod logging;
pub mod msix;
pub mod pcap;
pub mod pci;
pub mod server;
pub mod socket;
pub mod uplink;
pub mod vfio;
pub mod worker;

pub use blk::Disk;
pub use card::{Card, Interrupts};
pub use config::{CardConfig, ConfigError, IommuKind};
pub use memory::{BusError, HostMemory};
pub use net::Uplink;
pub use switch::{Direction, FrameObserver, Port};
pub use vq::Doorbells;
