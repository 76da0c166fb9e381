// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The contract between the driver, the firmware and the card.
//!
//! - [`regs`]: the registers and doorbells, generated from `rdl/mooring.rdl`. Words that RTL parses.
//! - [`wire`]: commands, completions, events and error codes. Messages that only CPUs parse.
//!
//! The kernel module compiles `src/wire/` from the same files, and takes its registers from
//! `generated/mooring_kernel_regs.rs`, which comes out of the same SystemRDL source.

#![no_std]

#[path = "../generated/mooring_regs.rs"]
pub mod regs;
pub mod wire;
