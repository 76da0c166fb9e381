// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Test bodies for every backend.
//!
//! Each takes a backend with a card that is freshly reset, of the default sizes and with a loopback as its uplink
//! unless it says otherwise.

mod bad_input;
mod control;
mod faults;
mod frames;
mod groups;
mod link;
mod objects;
mod offloads;
mod platform;
mod reset;
mod rings;
mod scale;
mod spaces;

pub use bad_input::*;
pub use control::*;
pub use faults::*;
pub use frames::*;
pub use groups::*;
pub use link::*;
pub use objects::*;
pub use offloads::*;
pub use platform::*;
pub use reset::*;
pub use rings::*;
pub use scale::*;
pub use spaces::*;

use mooring_hw_regs::wire::{
    AddressSpaceMode, DeviceCreated, ExtentOperation, PERMISSION_READ, PERMISSION_WRITE,
};

use super::driver::extent;
use super::{CardAccess, NetPair, Region, TestDriver};

const BOTH: u32 = PERMISSION_READ | PERMISSION_WRITE;
const BROADCAST: [u8; 6] = [0xff; 6];

/// A translated space that maps a region.
fn mapped_space<A: CardAccess>(driver: &mut TestDriver<A>, region: &Region) -> u16 {
    let space = driver
        .create_space(AddressSpaceMode::Blocked)
        .expect("a space")
        .address_space
        .get();
    let extents = [extent(
        ExtentOperation::Add,
        region.iova,
        region.bus,
        region.length,
        BOTH,
    )];
    driver.change(space, &extents).expect("an update");
    space
}

/// A running device with one queue pair, and its space. Its memory lies at I/O virtual address `iova`. Driver and device
/// agree on all that the device offers.
pub fn running_pair<A: CardAccess>(driver: &mut TestDriver<A>, iova: u64) -> (NetPair, u16) {
    running_pair_with(driver, iova, u64::MAX)
}

/// The same, but they agree on `features` at most.
fn running_pair_with<A: CardAccess>(
    driver: &mut TestDriver<A>,
    iova: u64,
    features: u64,
) -> (NetPair, u16) {
    let device: DeviceCreated = driver.create_device(1, 0).expect("a device");
    let region = driver.allocate(NetPair::REGION, iova);
    let space = mapped_space(driver, &region);
    let pair = NetPair::new(driver, device, region);
    driver.agree_to(&device, features).expect("features");
    pair.enable(driver, space, false).expect("queues");
    (pair, space)
}

/// Sends a broadcast and expects it back from the loopback.
pub fn expect_echo<A: CardAccess>(driver: &mut TestDriver<A>, pair: &mut NetPair, content: u8) {
    let frame = pair.frame(BROADCAST, content, 60 + usize::from(content));
    assert!(pair.send(driver, &frame), "the frame isn't taken");
    assert_eq!(pair.receive(driver), frame);
}

/// Makes a test of every scenario that a default card whose uplink is a loop can pass. `$card` makes such a card, so
/// that all backends run the same list.
#[macro_export]
macro_rules! test_scenarios {
    ($card:expr) => {
        $crate::test_scenarios!(
            @each $card;
            identity,
            commands,
            devices,
            transactions,
            modes,
            full_table,
            last_pages,
            loopback,
            no_buffers,
            scattered,
            two_devices,
            control_queue,
            no_room_for_an_answer,
            link,
            changes_wait_for_room,
            long_frames_pass,
            long_frames_are_cut,
            checksums_are_completed,
            bad_headers,
            merged_buffers,
            device_reset_keeps_the_map,
            stop_and_go_on,
            card_reset,
            faults,
            two_spaces,
            two_modes,
            many_devices,
            start_without_map,
            unmap_while_running,
            bus_master_off,
            bad_rings,
            bad_set_up,
            bad_queues,
            lost_events,
            bad_tables,
            bad_packed_set_up,
            long_tables,
            a_table_behind_a_buffer,
            work_before_an_error,
            taken_and_not_given_back,
            memory_ends_with_the_ring,
            unsuitable_buffers,
            endless_frames,
            no_part_of_a_frame,
            no_part_of_a_frame_in_a_packed_ring,
        );
    };
    (@each $card:expr; $($scenario:ident),* $(,)?) => {$(
        #[test]
        fn $scenario() {
            $crate::testing::scenarios::$scenario($card);
        }
    )*};
}
