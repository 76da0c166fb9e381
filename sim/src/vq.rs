// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The virtqueue engines: they move frames between rings in host memory and the switch.
//!
//! The rings are walked by our own code and not by the crate `virtio-queue`, because every single access has to go
//! through the card's IOMMU in one of the queue's address spaces, has to be counted, and has to yield a fault with its exact
//! address, length and direction when it is refused. `virtio-queue` sees memory through one `GuestMemory` that returns
//! host slices, which hides all of that, and it takes a ring for contiguous in host memory, which an IOMMU doesn't
//! promise.

mod chain;
mod descriptor;
mod dma;
mod doorbell;
mod engine;
mod packed;
mod packets;
mod requests;
mod ring;
mod split;

pub use doorbell::Doorbells;

pub(crate) use chain::Chain;
pub(crate) use dma::Dma;
pub(crate) use engine::{Engine, Received};
