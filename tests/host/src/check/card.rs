// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A card that stages and commits as `firmware/core/src/iommu.rs` does, and fails when it is told to.

use crate::wire::{
    self, AddressSpaceMode, ErrorCode, Extent, ExtentOperation, IOMMU_PAGE_SIZE, UPDATE_BEGIN,
    UPDATE_COMMIT,
};
use std::collections::BTreeMap;

/// Extents by their address, all with operation [`ExtentOperation::Add`].
pub type Table = BTreeMap<u64, Extent>;

/// How a command fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandFault {
    /// The card refuses it.
    Refused(ErrorCode),
    /// The driver can't even issue it.
    NotIssued,
    /// There is no answer, and the card has carried it out, or not. It is given up.
    NoAnswer { carried_out: bool },
}

/// Why a command failed, as the driver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The card has refused it.
    Refused(ErrorCode),
    /// The card has never heard of it.
    NotIssued,
    /// The card is cut off from memory.
    Dead,
}

/// What an update command said.
#[derive(Clone, Debug)]
pub struct Update {
    pub flags: u16,
    pub changes: Vec<Extent>,
}

/// The card, with one address space.
pub struct Card {
    pub mode: AddressSpaceMode,
    pub generation: u64,
    pub live: Table,
    staged: Option<Table>,
    /// Extents that there is memory for, those held and those staged each.
    pub limit: usize,
    pub max_batch: u16,
    /// Whether it can't reach memory any more.
    pub dead: bool,
    /// How a command is to fail, counted from the next one.
    pub fault: Option<(u32, CommandFault)>,
    /// Updates that have come since this was last cleared.
    pub updates: Vec<Update>,
    /// Commands of all kinds since then.
    pub commands: u32,
    /// References to pages of memory, by bus page.
    pins: BTreeMap<u64, u32>,
}

impl Card {
    pub fn new(limit: usize, max_batch: u16) -> Self {
        Self {
            mode: AddressSpaceMode::Identity,
            generation: 7,
            live: Table::new(),
            staged: None,
            limit,
            max_batch,
            dead: false,
            fault: None,
            updates: Vec::new(),
            commands: 0,
            pins: BTreeMap::new(),
        }
    }

    /// Takes a reference to each of these pages of memory.
    pub fn pin(&mut self, pages: impl Iterator<Item = u64>) {
        pages.for_each(|page| *self.pins.entry(page).or_default() += 1);
    }

    /// Gives references back. With its last one a page may be somebody else's: the card must not reach it any more.
    pub fn unpin(&mut self, pages: impl Iterator<Item = u64>) {
        for page in pages {
            let count = self.pins.get_mut(&page).expect("a page that is held");
            *count -= 1;
            if *count != 0 {
                continue;
            }
            self.pins.remove(&page);
            let bus = page * IOMMU_PAGE_SIZE;
            let reaches = |extent: &Extent| {
                let first = extent.bus.get();
                (first..first + extent.length.get()).contains(&bus)
            };
            assert!(
                self.dead || std::thread::panicking() || !self.live.values().any(reaches),
                "page {page} went back while the card translates to it"
            );
        }
    }

    /// The pages of memory that are held.
    pub fn pinned(&self) -> impl Iterator<Item = u64> + '_ {
        self.pins.keys().copied()
    }

    /// Runs a command, or fails it if its turn has come.
    fn execute(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<(), ErrorCode>,
    ) -> Result<u64, CommandError> {
        if self.dead {
            return Err(CommandError::Dead);
        }
        let fault = match self.fault.take() {
            Some((0, fault)) => Some(fault),
            Some((left, fault)) => {
                self.fault = Some((left - 1, fault));
                None
            }
            None => None,
        };
        self.commands += 1;
        match fault {
            Some(CommandFault::NotIssued) => return Err(CommandError::NotIssued),
            Some(CommandFault::Refused(code)) => {
                self.staged = None;
                return Err(CommandError::Refused(code));
            }
            Some(CommandFault::NoAnswer { carried_out }) => {
                if carried_out {
                    let _ = run(self);
                }
                self.dead = true;
                return Err(CommandError::Dead);
            }
            None => (),
        }
        match run(self) {
            Ok(()) => Ok(self.generation),
            Err(code) => {
                self.staged = None;
                Err(CommandError::Refused(code))
            }
        }
    }

    /// `Opcode::AddressSpaceSetMode`
    pub fn set_mode(&mut self, mode: AddressSpaceMode) -> Result<u64, CommandError> {
        self.execute(|card| {
            card.live.clear();
            card.staged = None;
            card.mode = mode;
            card.generation += 1;
            Ok(())
        })
    }

    /// `Opcode::AddressSpaceUpdate`
    pub fn update(
        &mut self,
        flags: u16,
        generation: u64,
        changes: &[Extent],
    ) -> Result<u64, CommandError> {
        self.updates.push(Update {
            flags,
            changes: changes.to_vec(),
        });
        self.execute(|card| card.stage(flags, generation, changes))
    }

    fn stage(&mut self, flags: u16, generation: u64, changes: &[Extent]) -> Result<(), ErrorCode> {
        if changes.len() > usize::from(self.max_batch)
            || flags & !(UPDATE_BEGIN | UPDATE_COMMIT) != 0
        {
            return Err(ErrorCode::InvalidArgument);
        }
        if generation != self.generation {
            return Err(ErrorCode::StaleGeneration);
        }
        if flags & UPDATE_BEGIN != 0 {
            self.staged = Some(self.live.clone());
        }
        let staged = self.staged.as_mut().ok_or(ErrorCode::InvalidArgument)?;
        for change in changes {
            stage(staged, change, self.limit)?;
        }
        if flags & UPDATE_COMMIT != 0 {
            self.live = self.staged.take().unwrap_or_default();
            self.mode = AddressSpaceMode::Translated;
            self.generation += 1;
        }
        Ok(())
    }

    /// The digest that the card reports.
    pub fn digest(&self) -> u64 {
        self.live
            .values()
            .fold(0, |sum, extent| sum.wrapping_add(extent.digest()))
    }
}

/// The last address of an extent, if there is one.
fn last(extent: &Extent) -> Option<u64> {
    let rest = extent.length.get().checked_sub(1)?;
    extent.bus.get().checked_add(rest)?;
    extent.iova.get().checked_add(rest)
}

fn stage(table: &mut Table, change: &Extent, limit: usize) -> Result<(), ErrorCode> {
    let (iova, permission) = (change.iova.get(), change.permission.get());
    let last_address = last(change).ok_or(ErrorCode::InvalidArgument)?;
    if (iova | change.bus.get() | change.length.get()) % IOMMU_PAGE_SIZE != 0
        || permission == 0
        || permission & !(wire::PERMISSION_READ | wire::PERMISSION_WRITE) != 0
    {
        return Err(ErrorCode::InvalidArgument);
    }
    let mut extent = *change;
    extent.operation = (ExtentOperation::Add as u32).into();
    match ExtentOperation::from_number(change.operation.get()) {
        Some(ExtentOperation::Remove) if table.get(&iova) == Some(&extent) => {
            table.remove(&iova);
        }
        Some(ExtentOperation::Remove) => return Err(ErrorCode::NotMapped),
        Some(ExtentOperation::Add) => {
            let below = table.range(..=last_address).next_back();
            if below.is_some_and(|(_, other)| last(other) >= Some(iova)) {
                return Err(ErrorCode::Overlap);
            }
            if table.len() >= limit {
                return Err(ErrorCode::NoSpace);
            }
            table.insert(iova, extent);
        }
        None => return Err(ErrorCode::InvalidArgument),
    }
    Ok(())
}
