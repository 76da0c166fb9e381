// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Rings of every format against the model, with chains of any shape.

use mooring_sim::testing::scenarios::{self, FORMATS};
use mooring_sim::testing::InProcess;
use mooring_sim::CardConfig;
use proptest::prelude::*;

fn card() -> InProcess {
    InProcess::new(CardConfig::default()).expect("a card")
}

#[test]
fn all_formats() {
    scenarios::all_formats(card);
}

#[test]
fn few_accesses() {
    scenarios::few_accesses(card());
}

#[test]
fn a_burst_is_seen_at_once() {
    scenarios::a_burst_is_seen_at_once(card);
}

#[test]
fn a_chain_comes_before_the_doorbell_is_wanted() {
    scenarios::a_chain_comes_before_the_doorbell_is_wanted(card);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_chains(
        format in proptest::sample::select(&FORMATS[..]),
        log2 in 1u32..=6,
        first in any::<u16>(),
        seed in any::<u64>(),
    ) {
        scenarios::random_chains(card(), format, log2, first, seed);
    }
}
