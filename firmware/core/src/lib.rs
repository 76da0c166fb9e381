// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The firmware of the card's control processor (CP), without the processor.

#![no_std]
#![forbid(unsafe_code)]
