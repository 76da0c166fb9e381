// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The scenarios against the model, called directly.

use mooring_sim::testing::{scenarios, InProcess};
use mooring_sim::CardConfig;

macro_rules! run {
    ($($scenario:ident),* $(,)?) => {$(
        #[test]
        fn $scenario() {
            scenarios::$scenario(InProcess::new(CardConfig::default()).expect("a card"));
        }
    )*};
}

run!(
    identity,
    commands,
    devices,
    transactions,
    modes,
    loopback,
    no_buffers,
    scattered,
    two_devices,
    control_queue,
    device_reset_keeps_the_map,
    stop_and_go_on,
    card_reset,
    faults,
    start_without_map,
    unmap_while_running,
    bus_master_off,
    bad_rings,
    bad_set_up,
    bad_queues,
    lost_events,
);

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
        identity: false,
        ..CardConfig::default()
    };
    scenarios::without_identity(InProcess::new(config).expect("a card"));
}
