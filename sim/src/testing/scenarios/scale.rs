// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Address spaces at their full size: the numbers that the card's capability registers promise.

use mooring_hw_regs::regs::{InfoMaxBatch, InfoMaxExtents};
use mooring_hw_regs::wire::{
    AddressSpaceMode, ErrorCode, Extent, ExtentOperation, UPDATE_BEGIN, UPDATE_COMMIT,
};

use super::{expect_echo, running_pair, BOTH};
use crate::testing::driver::extent;
use crate::testing::{CardAccess, TestDriver};

const EXTENT: u64 = 16 << 20;
const PAGE: u64 = 4096;

/// Extent `index` of the large map. On the bus they lie in another order, so that no two could be one.
fn piece(index: u64, count: u64, operation: ExtentOperation) -> Extent {
    let bus = (index ^ 1) % count;
    extent(operation, index * EXTENT, bus * EXTENT, EXTENT, BOTH)
}

/// Carries out an update in commands of a batch each, the last of which commits.
fn change_all<A: CardAccess>(
    driver: &mut TestDriver<A>,
    space: u16,
    changes: &[Extent],
) -> Result<u32, ErrorCode> {
    let batch = (driver.read(InfoMaxBatch::OFFSET) as usize).min(128);
    let generation = driver.query_space(space)?.generation.get();
    let commands = changes.len().div_ceil(batch);
    let mut extents = 0;
    for (number, chunk) in changes.chunks(batch).enumerate() {
        let begin = if number == 0 { UPDATE_BEGIN } else { 0 };
        let commit = if number + 1 == commands {
            UPDATE_COMMIT
        } else {
            0
        };
        let updated = driver.update(space, begin | commit, generation, chunk)?;
        extents = updated.extents.get();
    }
    Ok(extents)
}

/// A table that is full: with 65536 extents of 16 MiB, 1 TiB of I/O virtual addresses. It is read back, looked up at both
/// ends of extents by a running queue, refuses one more extent and keeps what it has, and is emptied. The card must have
/// no address space in use.
pub fn full_table<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    let capacity = u64::from(driver.read(InfoMaxExtents::OFFSET));
    let space = driver
        .create_space(AddressSpaceMode::Blocked)
        .expect("a space")
        .address_space
        .get();
    let all: Vec<Extent> = (0..capacity)
        .map(|index| piece(index, capacity, ExtentOperation::Add))
        .collect();
    let held = change_all(&mut driver, space, &all).expect("an update");
    assert_eq!(u64::from(held), capacity);
    let info = driver.query_space(space).expect("query");
    let digest = all
        .iter()
        .fold(0u64, |sum, extent| sum.wrapping_add(extent.digest()));
    assert_eq!(info.mapped_bytes.get(), capacity * EXTENT);
    assert_eq!(info.digest.get(), digest);

    // Everywhere in the table, the first and the last extent among them.
    let step = usize::try_from(capacity / 64)
        .expect("a small number")
        .max(1);
    for index in (0..all.len()).step_by(step).chain([all.len() - 1]) {
        let read = driver.read_space(space, index as u32).expect("read");
        let held = Extent {
            operation: 0.into(),
            ..all[index]
        };
        assert_eq!(read.first(), Some(&held), "extent {index}");
    }
    assert!(driver
        .read_space(space, capacity as u32)
        .expect("read")
        .is_empty());

    // One more: refused, and nothing is different.
    let more = extent(ExtentOperation::Add, capacity * EXTENT, 0, PAGE, BOTH);
    assert_eq!(
        driver.change(space, &[more]).map(drop),
        Err(ErrorCode::NoSpace)
    );
    assert_eq!(
        driver.query_space(space).expect("query").digest.get(),
        digest
    );

    let removed: Vec<Extent> = (0..capacity)
        .map(|index| piece(index, capacity, ExtentOperation::Remove))
        .collect();
    assert_eq!(change_all(&mut driver, space, &removed), Ok(0));
    let info = driver.query_space(space).expect("query");
    assert_eq!((info.mapped_bytes.get(), info.digest.get()), (0, 0));
}

/// A queue works in the last pages below 2^64, and beside a table of as many extents as fit.
pub fn last_pages<A: CardAccess>(access: A) {
    let mut driver = TestDriver::new(access);
    // The pair's memory ends where the addresses do.
    let iova = 0u64.wrapping_sub(crate::testing::NetPair::REGION);
    let (mut pair, space) = running_pair(&mut driver, iova);
    expect_echo(&mut driver, &mut pair, 1);
    let others: Vec<Extent> = (0..u64::from(driver.read(InfoMaxExtents::OFFSET)) - 1)
        .map(|index| extent(ExtentOperation::Add, 2 * index * PAGE, 0, PAGE, BOTH))
        .collect();
    change_all(&mut driver, space, &others).expect("an update");
    expect_echo(&mut driver, &mut pair, 2);
}
