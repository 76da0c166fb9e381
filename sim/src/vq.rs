// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The virtqueue engines.

mod doorbell;

pub use doorbell::Doorbells;
