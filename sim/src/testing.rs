// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The driver's side, for tests: a small driver, and scenarios that run on every backend.
//!
//! A backend is whatever gives access to a card: [`CardAccess`]. [`InProcess`] calls the model directly; a vfio-user
//! client or a card in a slot can stand in its place. The [`scenarios`] are written once for all of them. They panic
//! when a check fails, as tests do.

mod access;
mod driver;
mod driver_ring;
mod in_process;
mod pair;
mod ring;
pub mod scenarios;

pub use access::{CardAccess, Region, PATIENCE};
pub use driver::TestDriver;
pub use driver_ring::DriverRing;
pub use in_process::{InProcess, TestUplink, VecMemory};
pub use pair::NetPair;
pub use ring::{Buffer, TestQueue};
