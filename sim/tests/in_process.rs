// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The scenarios against the model, called directly.

use mooring_sim::testing::{scenarios, InProcess};
use mooring_sim::{CardConfig, IommuKind};

mooring_sim::test_scenarios!(InProcess::new(CardConfig::default()).expect("a card"));

#[test]
fn capacity() {
    let config = CardConfig {
        extents: 8,
        max_batch: 4,
        ..CardConfig::default()
    };
    scenarios::capacity(InProcess::new(config).expect("a card"));
}

#[test]
fn without_identity() {
    let config = CardConfig {
        iommu: IommuKind::Explicit,
        ..CardConfig::default()
    };
    scenarios::without_identity(InProcess::new(config).expect("a card"));
}
