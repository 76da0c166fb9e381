// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The firmware of the card's control processor (CP), without the processor.
//!
//! It executes [`Command`](mooring_hw_regs::wire::Command)s against the traits of [`hal`], which are the card's other
//! blocks: the IOMMU with the memory for extents, the virtqueue engines, the switch. The same code runs on the card's
//! RISC-V core and, linked natively, in the software model. It has no allocator: its tables are as large as its const
//! parameters say, and it uses as much of them as [`hal::Capabilities`] tells.
//!
//! - [`cp`]: from a command to its completion.
//! - [`device`]: device objects and which queues they own.
//! - [`vq`]: queue set-up, and the checks on it.
//! - [`iommu`]: address spaces: who has which, in what mode and generation.
//! - [`net`]: features, MAC addresses, control virtqueue.
//! - [`block`]: block devices: features, limits, which disk is whose.
//! - [`event`]: what the host is told unasked.
//! - [`hal`]: what the firmware needs of the card.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod block;
pub mod cp;
pub mod device;
pub mod event;
pub mod hal;
pub mod iommu;
pub mod net;
pub mod ring;
pub mod vq;

pub use cp::ControlProcessor;

/// Version of this firmware, for the `cp.FIRMWARE_VERSION` register: major, minor, patch.
pub const VERSION: (u16, u8, u8) = (0, 1, 0);
