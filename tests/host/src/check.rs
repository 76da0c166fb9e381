// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Sequences of map operations with failures, carried out three times: by the driver's shadow, by a card that stages
//! and commits, and by a naive model that knows single pages. After every step all three have to agree.
//!
//! The property tests make such sequences at random, the fuzzer from bytes ([`decode()`]).

mod card;
mod decode;

pub use card::CommandFault;
pub use decode::decode;

use crate::iommu::{
    fallback::{self, may_serve_on, Failure},
    list,
    shadow::{lacks, Batch, Extent, Permission, PlanError, Shadow},
    sorted::{Keyed, Sorted},
};
use crate::wire::{
    self, AddressSpaceMode, ErrorCode, ExtentOperation, UPDATE_BEGIN, UPDATE_COMMIT,
};
use card::{Card, CommandError, Table};
use std::collections::BTreeMap;

const PAGE: u64 = wire::IOMMU_PAGE_SIZE;

/// Pages that a sequence is about.
pub const PAGES: u64 = 48;

/// Pages in a row: the first one, how many, where they are in memory, and a permission.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub page: u64,
    pub count: u64,
    /// Which of few places in memory. Neighbours of the same shift are contiguous there as well.
    pub shift: u64,
    pub permission: u8,
}

/// What is asked of an address space.
#[derive(Clone, Debug)]
pub enum Operation {
    /// `.dma_map`
    Map(Piece),
    /// `.dma_unmap`: the first page, and how many.
    Unmap(u64, u64),
    /// `.set_map` of these pieces; what overlaps an earlier one is left out.
    SetMap(Vec<Piece>),
    /// `.set_map` of what is held with a piece more.
    SetMapWith(Piece),
    /// `.set_map` of what is held without some pages.
    SetMapWithout(u64, u64),
    /// `.reset`
    Reset,
    /// `.reset_map`
    ResetMap,
}

/// What goes wrong meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// A command, counted from 0.
    Command(u32, CommandFault),
    /// An allocation, counted from 0.
    Allocation(u32),
}

/// A sequence.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Page number of the first page.
    pub base: u64,
    /// Extents that the card has memory for.
    pub limit: usize,
    pub max_batch: u16,
    pub steps: Vec<(Operation, Option<Fault>)>,
}

/// Page number of the first page, with which the pages are in the middle or at an end of all addresses.
pub const BASES: [u64; 3] = [0, (1 << 51) - PAGES / 2, (1 << 52) - PAGES];

/// What every page translates to.
type Pages = BTreeMap<u64, (u64, u8)>;

impl Piece {
    /// The single pages.
    fn pages(self) -> impl Iterator<Item = (u64, (u64, u8))> {
        let first = self.page % PAGES;
        let end = (first + self.count.max(1)).min(PAGES);
        let permission = self.permission % 3;
        (first..end).map(move |page| (page, (page + self.shift % 4 * 1000, permission)))
    }
}

/// Adds pages, unless one of them is there already.
fn with(pages: &Pages, piece: Piece) -> Option<Pages> {
    let mut pages = pages.clone();
    let fits = piece.pages().all(|(page, _)| !pages.contains_key(&page));
    pages.extend(piece.pages());
    fits.then_some(pages)
}

fn without(pages: &Pages, page: u64, count: u64) -> Pages {
    let first = page % PAGES;
    let gone = first..(first + count.max(1)).min(PAGES);
    let rest = pages.iter().filter(|(page, _)| !gone.contains(page));
    rest.map(|(page, to)| (*page, *to)).collect()
}

/// What both have, with the same target.
fn common(left: &Pages, right: &Pages) -> Pages {
    let both = left.iter().filter(|(page, to)| right.get(page) == Some(to));
    both.map(|(page, to)| (*page, *to)).collect()
}

/// Why an operation failed.
#[derive(Debug, PartialEq, Eq)]
enum Error {
    Plan(PlanError),
    Command(CommandError),
}

impl Error {
    /// How this leaves the card.
    fn failure(&self) -> Failure {
        match self {
            Self::Command(CommandError::Dead)
            | Self::Command(CommandError::Refused(ErrorCode::StaleGeneration)) => Failure::Unknown,
            _ => Failure::Unchanged,
        }
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<list::NoMemory> for Error {
    fn from(_: list::NoMemory) -> Self {
        Self::Plan(PlanError::NoMemory)
    }
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

/// A page as a range that is mapped.
#[derive(Clone)]
struct Single {
    page: u64,
    to: (u64, u8),
    extent: Extent,
}

impl Keyed for Single {
    fn key(&self) -> u64 {
        self.extent.iova
    }
}

/// Shadow, card and model.
struct World {
    base: u64,
    shadow: Shadow,
    card: Card,
    pages: Pages,
    mode: AddressSpaceMode,
}

/// Carries a sequence out.
///
/// # Panics
///
/// If the driver, the card and the model don't agree, or a change was not as it should be.
pub fn check(sequence: &Sequence) {
    let mut world = World::new(sequence);
    for (operation, fault) in &sequence.steps {
        world.step(operation, *fault);
        if world.card.dead {
            // As when the driver is bound to the card once more.
            world = World::new(sequence);
        }
    }
}

impl World {
    fn new(sequence: &Sequence) -> Self {
        let card = Card::new(sequence.limit.max(1), sequence.max_batch.max(1));
        Self {
            base: sequence.base,
            shadow: Shadow::new(card.mode, card.generation),
            mode: card.mode,
            card,
            pages: Pages::new(),
        }
    }

    fn extent(&self, page: u64, (target, permission): (u64, u8), count: u64) -> Extent {
        Extent {
            iova: (self.base + page) * PAGE,
            bus: (target + 1) * PAGE,
            length: count * PAGE,
            permission: [Permission::Read, Permission::Write, Permission::ReadWrite]
                [usize::from(permission)],
        }
    }

    /// The pages as ranges.
    fn singles(&self, pages: &Pages) -> Vec<Single> {
        let single = |(&page, &to)| Single {
            page,
            to,
            extent: self.extent(page, to, 1),
        };
        pages.iter().map(single).collect()
    }

    /// What the card should hold for these pages: the model's own way to merge, page by page.
    fn table(&self, pages: &Pages) -> Table {
        let mut table = Table::new();
        let mut before: Option<(u64, (u64, u8))> = None;
        let mut first = 0;
        for (&page, &to) in pages {
            let joins = before.is_some_and(|(last, (target, permission))| {
                (page, to.0, to.1) == (last + 1, target + 1, permission)
            });
            if !joins {
                first = page;
            }
            let extent = self.extent(first, pages[&first], page - first + 1);
            table.insert(extent.iova, extent.to_wire(ExtentOperation::Add));
            before = Some((page, to));
        }
        table
    }

    fn step(&mut self, operation: &Operation, fault: Option<Fault>) {
        let old = self.pages.clone();
        let old_table = self.table(&old);
        let (old_mode, old_generation) = (self.mode, self.card.generation);
        self.card.updates.clear();
        self.card.commands = 0;
        self.card.fault = None;
        list::fail_after(None);
        match fault {
            Some(Fault::Command(turn, fault)) => self.card.fault = Some((turn, fault)),
            Some(Fault::Allocation(turn)) => list::fail_after(Some(turn)),
            None => (),
        }

        let (result, wanted, removes) = self.carry_out(operation);
        list::fail_after(None);
        let is_map = !matches!(operation, Operation::Reset | Operation::ResetMap);
        // Whether all of the old map is in the new one, by the model.
        let keeps = old.iter().all(|(page, to)| wanted.get(page) == Some(to));

        match result {
            Ok(()) if !is_map => (),
            Ok(()) => {
                let always = matches!(
                    operation,
                    Operation::SetMap(_) | Operation::SetMapWith(_) | Operation::SetMapWithout(..)
                );
                let sent = self.check_updates(&old_table, &self.table(&wanted), true);
                let needed = old != wanted || (always && old_mode != AddressSpaceMode::Translated);
                assert_eq!(sent, needed, "sent {sent}, needed {needed}: {operation:?}");
                if sent {
                    self.mode = AddressSpaceMode::Translated;
                }
                self.pages = wanted;
            }
            Err(error) => {
                let no_space = Error::Command(CommandError::Refused(ErrorCode::NoSpace));
                let full = self.table(&wanted).len() > self.card.limit;
                let overlaps =
                    matches!(operation, Operation::Map(piece) if with(&old, *piece).is_none());
                assert!(
                    fault.is_some()
                        || overlaps && error == Error::Plan(PlanError::Overlap)
                        || full && error == no_space,
                    "{operation:?} failed for no reason: {error:?}"
                );
                if is_map {
                    self.check_updates(&old_table, &self.table(&wanted), false);
                }
                let stale = Error::Command(CommandError::Refused(ErrorCode::StaleGeneration));
                let blocked = self.mode == AddressSpaceMode::Blocked && self.pages.is_empty();
                assert!(keeps || removes || !is_map);
                if blocked || self.card.dead {
                    assert!(
                        fault.is_some() || common(&old, &wanted).is_empty(),
                        "blocked after {operation:?}: {error:?}"
                    );
                } else if !is_map || error == stale {
                    panic!("still open after {operation:?}: {error:?}");
                } else if removes {
                    self.check_rest(&old, &common(&old, &wanted), fault);
                } else {
                    assert_eq!(self.pages, old, "a failed addition has changed the map");
                    assert_eq!(self.mode, old_mode);
                    assert_eq!(self.card.live, old_table);
                    assert_eq!(self.card.generation, old_generation);
                }
            }
        }
        if matches!(operation, Operation::Reset) {
            assert_eq!(self.card.commands, 0, "a reset has sent commands");
        }
        self.agree();
    }

    /// Does what the driver does, with the same functions. Returns what came of it, what should have, and whether
    /// something was to be removed.
    fn carry_out(&mut self, operation: &Operation) -> (Result<(), Error>, Pages, bool) {
        let held = self.pages.clone();
        let (result, wanted, removes) = match operation {
            Operation::Reset => return (Ok(()), held, false),
            Operation::ResetMap => {
                let result = self.set_mode(AddressSpaceMode::Identity);
                (result.map_err(Error::from), Pages::new(), true)
            }
            Operation::Map(piece) => {
                let (wanted, result) = match with(&held, *piece) {
                    Some(wanted) => (wanted, self.map(*piece)),
                    None => {
                        let result = self.map(*piece);
                        assert!(result.is_err(), "mapped twice");
                        (held.clone(), result)
                    }
                };
                (result, wanted, false)
            }
            Operation::Unmap(page, count) => {
                let wanted = without(&held, *page, *count);
                (self.unmap(*page, *count), wanted, true)
            }
            Operation::SetMap(pieces) => {
                let wanted = pieces.iter().fold(Pages::new(), |pages, piece| {
                    with(&pages, *piece).unwrap_or(pages)
                });
                self.set_map(wanted)
            }
            Operation::SetMapWith(piece) => self.set_map(with(&held, *piece).unwrap_or(held)),
            Operation::SetMapWithout(page, count) => self.set_map(without(&held, *page, *count)),
        };

        if let Err(error) = &result {
            // What the card holds after a removal that failed is not what was asked for.
            let safe = may_serve_on(error.failure(), removes)
                || (error.failure() == Failure::Unchanged && self.withdraw(&wanted));
            if !safe && self.set_mode(AddressSpaceMode::Blocked).is_err() {
                self.card.dead = true;
                self.shadow.lost();
                self.pages.clear();
                self.mode = AddressSpaceMode::Blocked;
            }
        }
        (result, wanted, removes)
    }

    fn map(&mut self, piece: Piece) -> Result<(), Error> {
        let count = piece.pages().count() as u64;
        let (page, to) = piece.pages().next().expect("a piece has a page");
        let mut batch = Batch::new(self.card.max_batch)?;
        let plan = self.shadow.plan_add(self.extent(page, to, count))?;
        let card = &mut self.card;
        Ok(self
            .shadow
            .apply(plan, &mut batch, |flags, generation, changes| {
                card.update(flags, generation, changes)
            })?)
    }

    fn unmap(&mut self, page: u64, count: u64) -> Result<(), Error> {
        let page = page % PAGES;
        let end = (page + count.max(1)).min(PAGES);
        let first = (self.base + page) * PAGE;
        let last = first + ((end - page) * PAGE - 1);
        let mut batch = Batch::new(self.card.max_batch)?;
        let plan = self.shadow.plan_remove(first, last)?;
        let card = &mut self.card;
        Ok(self
            .shadow
            .apply(plan, &mut batch, |flags, generation, changes| {
                card.update(flags, generation, changes)
            })?)
    }

    fn set_map(&mut self, wanted: Pages) -> (Result<(), Error>, Pages, bool) {
        let held = self.singles(&self.pages);
        let removes = lacks(
            held.into_iter(),
            self.singles(&wanted).into_iter(),
            |a, b| a.to == b.to,
        );
        (self.try_set_map(&wanted), wanted, removes)
    }

    fn try_set_map(&mut self, wanted: &Pages) -> Result<(), Error> {
        let mut batch = Batch::new(self.card.max_batch)?;
        let singles = wanted
            .iter()
            .map(|(&page, &to)| self.extent(page, to, 1))
            .collect::<Vec<_>>();
        let plan = self.shadow.plan_all(singles.into_iter())?;
        let card = &mut self.card;
        Ok(self
            .shadow
            .apply(plan, &mut batch, |flags, generation, changes| {
                card.update(flags, generation, changes)
            })?)
    }

    /// Has the card keep what is held and wanted. Returns whether it did.
    fn withdraw(&mut self, wanted: &Pages) -> bool {
        let kept = common(&self.pages, wanted);
        if self.mode != AddressSpaceMode::Translated || kept.is_empty() {
            return false;
        }
        let mut ranges = Sorted::new();
        for range in self.singles(&kept) {
            if ranges.push(range).is_err() {
                return false;
            }
        }
        let Ok(mut batch) = Batch::new(self.card.max_batch) else {
            return false;
        };
        let old = self.table(&self.pages);
        let asked = std::mem::take(&mut self.card.updates);
        let card = &mut self.card;
        let result = fallback::withdraw(
            &mut self.shadow,
            &ranges,
            |range| range.extent,
            &mut batch,
            |flags, generation, changes| Ok::<_, Error>(card.update(flags, generation, changes)?),
            Error::failure,
        );
        let done = match result {
            Ok(narrow) => {
                self.pages = match narrow {
                    Some(narrow) => narrow.iter().map(|range| (range.page, range.to)).collect(),
                    None => kept,
                };
                let begins = |update: &card::Update| update.flags & UPDATE_BEGIN != 0;
                if let Some(last) = self.card.updates.iter().rposition(begins) {
                    self.card.updates.drain(..last);
                }
                self.check_updates(&old, &self.table(&self.pages), true);
                true
            }
            Err(_) => false,
        };
        self.card.updates = asked;
        done
    }

    /// Checks what is left after a removal that failed: all that was to stay, if there was room for it, and else the
    /// longest run of it in each extent that the card had.
    fn check_rest(&self, old: &Pages, kept: &Pages, fault: Option<Fault>) {
        let mut narrow = Pages::new();
        for whole in self.table(old).values() {
            let first = whole.iova.get() / PAGE - self.base;
            let end = first + whole.length.get() / PAGE;
            let mut runs: Vec<Vec<u64>> = vec![Vec::new()];
            for page in first..end {
                match kept.contains_key(&page) {
                    true => runs.last_mut().expect("there is one").push(page),
                    false => runs.push(Vec::new()),
                }
            }
            let most = runs.iter().map(Vec::len).max().unwrap_or(0);
            let longest = runs.iter().find(|run| run.len() == most);
            narrow.extend(
                longest
                    .into_iter()
                    .flatten()
                    .map(|page| (*page, kept[page])),
            );
        }
        let full = self.table(kept).len() > self.card.limit;
        if fault.is_none() {
            assert_eq!(&self.pages, if full { &narrow } else { kept });
        } else {
            assert!(
                self.pages == narrow || self.pages == *kept,
                "{:?} is neither {narrow:?} nor {kept:?}",
                self.pages
            );
        }
    }

    fn set_mode(&mut self, mode: AddressSpaceMode) -> Result<(), CommandError> {
        let generation = self.card.set_mode(mode)?;
        self.shadow.set_mode(mode, generation);
        self.pages.clear();
        self.mode = mode;
        Ok(())
    }

    /// Checks the form of a transaction, and that it is the smallest one. Returns whether there was one.
    fn check_updates(&self, old: &Table, new: &Table, complete: bool) -> bool {
        let updates = &self.card.updates;
        let changes = || updates.iter().flat_map(|update| &update.changes);
        let Some(last) = updates.len().checked_sub(1) else {
            return false;
        };
        for (index, update) in updates.iter().enumerate() {
            assert!(update.changes.len() <= usize::from(self.card.max_batch));
            assert_eq!(update.flags & UPDATE_BEGIN != 0, index == 0);
            assert!(update.flags & UPDATE_COMMIT == 0 || index == last);
            assert!(
                index == last || update.changes.len() == usize::from(self.card.max_batch),
                "a batch that isn't full"
            );
        }
        for change in changes() {
            let same = old.get(&change.iova.get()) == new.get(&change.iova.get());
            assert!(!same, "{change:?} need not change");
        }
        let is_add = |change: &&wire::Extent| change.operation.get() == ExtentOperation::Add as u32;
        assert!(
            changes()
                .skip_while(|change| !is_add(change))
                .all(|change| is_add(&change)),
            "removed after it added"
        );
        if complete {
            assert!(updates[last].flags & UPDATE_COMMIT != 0);
            let differ = |left: &Table, right: &Table| {
                left.iter()
                    .filter(|(iova, extent)| right.get(iova) != Some(extent))
                    .count()
            };
            assert_eq!(changes().filter(is_add).count(), differ(new, old));
            assert_eq!(
                changes().filter(|change| !is_add(change)).count(),
                differ(old, new)
            );
        }
        true
    }

    /// Checks that driver, card and model say the same.
    fn agree(&self) {
        if self.card.dead {
            assert_eq!(self.shadow.extents().len(), 0);
            return;
        }
        let shadow: Vec<_> = self
            .shadow
            .extents()
            .iter()
            .map(|extent| extent.to_wire(ExtentOperation::Add))
            .collect();
        let table = self.table(&self.pages);
        assert!(
            shadow.iter().eq(table.values()),
            "{shadow:?}, and not {table:?}"
        );
        assert_eq!(self.card.live, table);
        assert_eq!(self.card.mode, self.mode);
        assert_eq!(self.shadow.mode(), self.mode);
        assert_eq!(self.shadow.generation(), self.card.generation);
        assert_eq!(self.shadow.digest(), self.card.digest());
    }
}
