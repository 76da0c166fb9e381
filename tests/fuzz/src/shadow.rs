// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Map operations with failures, from the fuzzer's bytes; see `mooring_host_tests::check`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mooring_host_tests::check::{check, decode};

fuzz_target!(|bytes: &[u8]| check(&decode(bytes)));
