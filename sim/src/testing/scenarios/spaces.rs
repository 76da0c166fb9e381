// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Address spaces: modes, transactions, counters.

use mooring_hw_regs::regs::{InfoMaxBatch, InfoMaxExtents, IommuCommands};
use mooring_hw_regs::wire::{
    AddressSpaceMode, ErrorCode, Extent, ExtentOperation, UPDATE_BEGIN, UPDATE_COMMIT,
};

use super::{expect_echo, mapped_space, running_pair, BOTH};
use crate::testing::driver::extent;
use crate::testing::{CardAccess, NetPair, TestDriver};

const ADD: ExtentOperation = ExtentOperation::Add;
const REMOVE: ExtentOperation = ExtentOperation::Remove;
const MIB: u64 = 1 << 20;

/// Updates are transactions: they take effect as a whole, or not at all, while the old map serves.
pub fn transactions<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut pair, space) = running_pair(&mut driver, MIB);
    let before = driver.query_space(space).expect("query");
    let generation = before.generation.get();
    assert_eq!(before.mode(), Some(AddressSpaceMode::Translated));
    assert_eq!(
        (before.extents.get(), before.mapped_bytes.get()),
        (1, NetPair::REGION)
    );
    assert_eq!(before.running_queues.get(), 2);
    let held = driver.read_space(space, 0).expect("read")[0];
    assert_eq!(before.digest.get(), held.digest());

    // Each of these has a good first change and a bad second one.
    let good = extent(ADD, 64 * MIB, 64 * MIB, MIB, BOTH);
    let both = UPDATE_BEGIN | UPDATE_COMMIT;
    let bad =
        |operation, iova, bus, length, permission| extent(operation, iova, bus, length, permission);
    for (second, code) in [
        (bad(ADD, MIB, 0, 4096, BOTH), ErrorCode::Overlap),
        (bad(ADD, MIB - 4096, 0, 8192, BOTH), ErrorCode::Overlap),
        (bad(ADD, 0, 0, 16 * MIB, BOTH), ErrorCode::Overlap),
        (bad(ADD, 65 * MIB - 4096, 0, 4096, BOTH), ErrorCode::Overlap),
        (
            bad(REMOVE, MIB, held.bus.get(), NetPair::REGION - 4096, BOTH),
            ErrorCode::NotMapped,
        ),
        (
            bad(REMOVE, MIB, held.bus.get(), NetPair::REGION, 1),
            ErrorCode::NotMapped,
        ),
        (
            bad(REMOVE, MIB, held.bus.get() + 4096, NetPair::REGION, BOTH),
            ErrorCode::NotMapped,
        ),
        (bad(REMOVE, 32 * MIB, 0, 4096, BOTH), ErrorCode::NotMapped),
        (bad(ADD, 1, 0, 4096, BOTH), ErrorCode::InvalidArgument),
        (bad(ADD, 0, 1, 4096, BOTH), ErrorCode::InvalidArgument),
        (bad(ADD, 0, 0, 4095, BOTH), ErrorCode::InvalidArgument),
        (bad(ADD, 0, 0, 0, BOTH), ErrorCode::InvalidArgument),
        (bad(ADD, 0, 0, 4096, 0), ErrorCode::InvalidArgument),
        (bad(ADD, 0, 0, 4096, 4), ErrorCode::InvalidArgument),
        (
            bad(ADD, u64::MAX - 4095, 0, 8192, BOTH),
            ErrorCode::InvalidArgument,
        ),
        (
            bad(ADD, 0, u64::MAX - 4095, 8192, BOTH),
            ErrorCode::InvalidArgument,
        ),
        (
            Extent {
                operation: 3.into(),
                ..good
            },
            ErrorCode::InvalidArgument,
        ),
    ] {
        let refused = driver
            .update(space, both, generation, &[good, second])
            .map(drop);
        assert_eq!(refused, Err(code), "{second:?}");
        let after = driver.query_space(space).expect("query");
        assert_eq!(
            (after.digest, after.generation, after.commands),
            (before.digest, before.generation, before.commands)
        );
    }
    assert_eq!(
        driver
            .update(space, both, generation - 1, &[good])
            .map(drop),
        Err(ErrorCode::StaleGeneration)
    );
    assert_eq!(
        driver.update(space, 4, generation, &[good]).map(drop),
        Err(ErrorCode::InvalidArgument)
    );
    expect_echo(&mut driver, &mut pair, 1);

    // A refused update is over: what follows of it doesn't commit a part.
    driver
        .update(space, UPDATE_BEGIN, generation, &[good])
        .expect("staged");
    assert_eq!(
        driver.update(space, 0, generation, &[good]).map(drop),
        Err(ErrorCode::Overlap)
    );
    assert_eq!(
        driver
            .update(space, UPDATE_COMMIT, generation, &[])
            .map(drop),
        Err(ErrorCode::InvalidArgument)
    );
    assert_eq!(
        driver.query_space(space).expect("query").digest,
        before.digest
    );

    // Staged changes don't serve until they are committed; in order, a removal makes room for an addition.
    driver
        .update(space, UPDATE_BEGIN, generation, &[good])
        .expect("staged");
    assert_eq!(
        driver.query_space(space).expect("query").digest,
        before.digest
    );
    let again = extent(ADD, 64 * MIB + 4096, 0, 4096, BOTH);
    let gone = Extent {
        operation: (REMOVE as u32).into(),
        ..good
    };
    let updated = driver
        .update(space, UPDATE_COMMIT, generation, &[gone, again])
        .expect("committed");
    assert_eq!(
        (updated.generation.get(), updated.extents.get()),
        (generation + 1, 2)
    );
    let after = driver.query_space(space).expect("query");
    assert_eq!(
        after.digest.get(),
        before.digest.get().wrapping_add(again.digest())
    );
    assert_eq!(after.mapped_bytes.get(), NetPair::REGION + 4096);
    let read = driver.read_space(space, 0).expect("read");
    assert_eq!(
        read,
        [
            held,
            Extent {
                operation: 0.into(),
                ..again
            }
        ]
    );
    assert_eq!(driver.read_space(space, 1).expect("read").len(), 1);
    assert_eq!(driver.read_space(space, 2).expect("read").len(), 0);
    assert_eq!(driver.read_space(space, u32::MAX).expect("read").len(), 0);
    expect_echo(&mut driver, &mut pair, 2);

    assert_eq!(driver.destroy_space(space), Err(ErrorCode::Busy));
    assert_eq!(
        driver.query_space(space + 1).map(drop),
        Err(ErrorCode::NoSuchAddressSpace)
    );
}

/// The memory for extents is one for all spaces, and what is full refuses without harm. Wants a card that holds 8
/// extents, with batches of 4.
pub fn capacity<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    assert_eq!(
        InfoMaxExtents(driver.read(InfoMaxExtents::OFFSET)).value(),
        8
    );
    assert_eq!(InfoMaxBatch(driver.read(InfoMaxBatch::OFFSET)).value(), 4);
    let pages: Vec<Extent> = (0..16)
        .map(|page| extent(ADD, page * 8192, page * 4096, 4096, BOTH))
        .collect();
    let full = driver
        .create_space(AddressSpaceMode::Translated)
        .expect("a space")
        .address_space
        .get();
    assert_eq!(
        driver.change(full, &pages[..5]).map(drop),
        Err(ErrorCode::InvalidArgument)
    );
    driver.change(full, &pages[..4]).expect("four");
    driver.change(full, &pages[4..7]).expect("seven");
    let other = driver
        .create_space(AddressSpaceMode::Translated)
        .expect("a space")
        .address_space
        .get();
    assert_eq!(
        driver.change(other, &pages[..2]).map(drop),
        Err(ErrorCode::NoSpace)
    );
    assert_eq!(driver.query_space(other).expect("query").extents.get(), 0);
    driver.change(other, &pages[..1]).expect("eight");
    assert_eq!(
        driver.change(full, &pages[8..9]).map(drop),
        Err(ErrorCode::NoSpace)
    );
    // Exchanging one for another fits into full memory.
    let gone = Extent {
        operation: (REMOVE as u32).into(),
        ..pages[0]
    };
    driver.change(full, &[gone, pages[8]]).expect("exchange");
    // What another space may still take back isn't free.
    let generation = driver.query_space(full).expect("query").generation.get();
    let gone = Extent {
        operation: (REMOVE as u32).into(),
        ..pages[1]
    };
    driver
        .update(full, UPDATE_BEGIN, generation, &[gone])
        .expect("staged");
    assert_eq!(
        driver.change(other, &pages[1..2]).map(drop),
        Err(ErrorCode::NoSpace)
    );
    driver
        .update(full, UPDATE_COMMIT, generation, &[])
        .expect("committed");
    driver.change(other, &pages[1..2]).expect("room");
    driver.destroy_space(full).expect("destroy");
    driver
        .change(other, &pages[2..6])
        .expect("the room of the other space");
}

/// Modes do what they say, IOMMU commands are counted, and spaces run out and come back.
pub fn modes<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let (mut pair, space) = running_pair(&mut driver, MIB);
    let device = pair.device.device.get();
    let before = driver.query_space(space).expect("query");
    assert_eq!(before.card_commands.get(), 2);
    assert_eq!(driver.read(IommuCommands::OFFSET), 2);
    assert_eq!(before.commands.get(), 1);
    assert_eq!(
        driver.set_mode(space, AddressSpaceMode::Identity).map(drop),
        Err(ErrorCode::Busy)
    );
    assert_eq!(
        driver.query_space(space).expect("query").commands,
        before.commands
    );
    expect_echo(&mut driver, &mut pair, 1);

    driver.reset_device(device).expect("reset");
    let updated = driver
        .set_mode(space, AddressSpaceMode::Identity)
        .expect("identity");
    assert_eq!(
        (updated.extents.get(), updated.generation.get()),
        (0, before.generation.get() + 1)
    );
    let after = driver.query_space(space).expect("query");
    assert_eq!(
        (
            after.commands.get(),
            after.card_commands.get(),
            after.digest.get()
        ),
        (2, 3, 0)
    );

    // Through a 1:1 space a queue runs only with leave.
    assert_eq!(
        pair.enable(&mut driver, space, false),
        Err(ErrorCode::NotTranslated)
    );
    let region = driver.allocate(NetPair::REGION, 0);
    let one_to_one = crate::testing::Region::new(region.bus, region.bus, region.length);
    let mut pair = NetPair::new(&driver, pair.device, one_to_one.clone());
    pair.enable(&mut driver, space, true).expect("queues");
    expect_echo(&mut driver, &mut pair, 2);
    // A commit makes the space translated under the queues' feet, which have leave for both.
    let map = [extent(
        ADD,
        one_to_one.iova,
        one_to_one.bus,
        one_to_one.length,
        BOTH,
    )];
    driver.change(space, &map).expect("an update");
    assert_eq!(
        driver.query_space(space).expect("query").mode(),
        Some(AddressSpaceMode::Translated)
    );
    expect_echo(&mut driver, &mut pair, 3);

    let mut spaces = vec![];
    let refused = loop {
        match driver.create_space(AddressSpaceMode::Blocked) {
            Ok(created) => spaces.push(created),
            Err(code) => break code,
        }
    };
    assert_eq!(refused, ErrorCode::NoResources);
    let last = spaces.pop().expect("spaces");
    driver
        .destroy_space(last.address_space.get())
        .expect("destroy");
    assert_eq!(
        driver.destroy_space(last.address_space.get()),
        Err(ErrorCode::NoSuchAddressSpace)
    );
    let again = driver
        .create_space(AddressSpaceMode::Blocked)
        .expect("a space");
    assert_eq!(again.address_space, last.address_space);
    assert!(
        again.generation.get() > last.generation.get(),
        "an update of the earlier owner must be stale"
    );
}

/// Identity is refused by a card that has none. Wants such a card.
pub fn without_identity<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    assert_eq!(
        driver.create_space(AddressSpaceMode::Identity).map(drop),
        Err(ErrorCode::NotSupported)
    );
    let region = driver.allocate(4096, 0);
    let space = mapped_space(&mut driver, &region);
    assert_eq!(
        driver.set_mode(space, AddressSpaceMode::Identity).map(drop),
        Err(ErrorCode::NotSupported)
    );
    assert_eq!(driver.query_space(space).expect("query").extents.get(), 1);
    driver
        .set_mode(space, AddressSpaceMode::Blocked)
        .expect("blocked");
    assert_eq!(driver.query_space(space).expect("query").extents.get(), 0);
}
