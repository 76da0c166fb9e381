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
fn a_step_ends() {
    scenarios::a_step_ends();
}

#[test]
fn without_identity() {
    let config = CardConfig {
        iommu: IommuKind::Explicit,
        ..CardConfig::default()
    };
    scenarios::without_identity(InProcess::new(config).expect("a card"));
}

/// Scenarios for a card without an IOMMU.
mod without_iommu {
    use super::*;

    fn card() -> InProcess {
        let config = CardConfig {
            iommu: IommuKind::None,
            ..CardConfig::default()
        };
        InProcess::new(config).expect("a card")
    }

    #[test]
    fn runs() {
        scenarios::without_iommu(card());
    }

    #[test]
    fn has_no_rings() {
        scenarios::without_iommu_no_rings(card());
    }

    #[test]
    fn bus_errors() {
        scenarios::without_iommu_bus_errors(card());
    }

    #[test]
    fn mailbox_goes_on_without_bus_master() {
        scenarios::without_iommu_bus_master_off(card());
    }

    #[test]
    fn mailbox_is_reset_with_the_card() {
        scenarios::without_iommu_card_reset(card());
    }
}
