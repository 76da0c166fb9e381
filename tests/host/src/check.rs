// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Sequences of map operations with failures, carried out three times: by the driver's address space, by a card that stages
//! and commits, and by a naive model that knows single pages. After every step all three have to agree, and memory must
//! not have gone back to its owner while the card translates to it.
//!
//! The property tests make such sequences at random, the fuzzer from bytes ([`decode()`]).

mod card;
mod decode;

pub use card::CommandFault;
pub use decode::decode;

use crate::iommu::{
    fallback::Failure,
    list,
    shadow::{lacks, Extent, Permission, PlanError},
    sorted::{Keyed, Sorted},
    space::{Commands, InForce, Owner, Ranged, Space},
};
use crate::wire::{
    self, AddressSpaceMode, ErrorCode, ExtentOperation, UPDATE_BEGIN, UPDATE_COMMIT,
};
use card::{Card, CommandError, Table};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

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
    /// `.dma_unmap`: the first page, and how many, and the rest of the ranges that they are in.
    Unmap(u64, u64),
    /// The same of these pages only, which fails if they are a part of a range.
    UnmapPart(u64, u64),
    /// `.set_map` of these pieces; what overlaps an earlier one is left out.
    SetMap(Vec<Piece>),
    /// `.set_map` of what is held with a piece more.
    SetMapWith(Piece),
    /// `.set_map` of what is held without the ranges that these pages are in.
    SetMapWithout(u64, u64),
    /// `.reset`, and then a start by the owner; by the kernel with this.
    Restart { allow_identity: bool },
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
    /// Other owners have taken all the room on the card that isn't this one's, until the step ends.
    Full,
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

/// What a process is to have: pages in a row by the first one, each with its target.
type Model = BTreeMap<u64, Vec<(u64, u8)>>;

/// The pages of all ranges.
fn pages_of(ranges: &Model) -> Pages {
    let pages = |(&first, range): (&u64, &Vec<_>)| (first..).zip(range.clone()).collect::<Vec<_>>();
    ranges.iter().flat_map(pages).collect()
}

/// Adds a range, unless one of its pages is there already.
fn with(ranges: &Model, piece: Piece) -> Option<Model> {
    let pages = pages_of(ranges);
    let mut ranges = ranges.clone();
    let fits = piece.pages().all(|(page, _)| !pages.contains_key(&page));
    let first = piece.pages().next()?.0;
    ranges.insert(first, piece.pages().map(|(_, to)| to).collect());
    fits.then_some(ranges)
}

/// The first page that is meant, and the one behind the last.
fn bounds(page: u64, count: u64) -> (u64, u64) {
    let first = page % PAGES;
    (first, (first + count.max(1)).min(PAGES))
}

/// Takes away the ranges that these pages are in.
fn without(ranges: &Model, page: u64, count: u64) -> Model {
    let (first, end) = bounds(page, count);
    let mut ranges = ranges.clone();
    ranges.retain(|start, range| *start >= end || start + range.len() as u64 <= first);
    ranges
}

/// What both have in the same way.
fn common(left: &Model, right: &Model) -> Model {
    let mut both = left.clone();
    both.retain(|first, range| right.get(first) == Some(range));
    both
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

/// A range that is mapped, with a reference to each of its pages.
struct Held {
    range: Vec<(u64, u8)>,
    extent: Extent,
    card: Rc<RefCell<Card>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let pages = (self.extent.bus / PAGE..).take(self.range.len());
        self.card.borrow_mut().unpin(pages);
    }
}

impl Keyed for Rc<Held> {
    fn key(&self) -> u64 {
        self.extent.iova
    }
}

impl Ranged for Rc<Held> {
    fn extent(&self) -> Extent {
        self.extent
    }
}

/// The way to the card.
struct Asked(Rc<RefCell<Card>>);

impl Commands for Asked {
    type Error = Error;

    fn batch(&self) -> u16 {
        self.0.borrow().max_batch
    }

    fn update(
        &mut self,
        flags: u16,
        generation: u64,
        changes: &[wire::Extent],
    ) -> Result<u64, Error> {
        Ok(self.0.borrow_mut().update(flags, generation, changes)?)
    }

    fn set_mode(&mut self, mode: AddressSpaceMode) -> Result<u64, Error> {
        Ok(self.0.borrow_mut().set_mode(mode)?)
    }

    fn failure(&self, error: &Error) -> Failure {
        match self.0.borrow().dead {
            true => Failure::Unknown,
            false => error.failure(),
        }
    }

    fn give_up(&mut self) {
        self.0.borrow_mut().dead = true;
    }
}

/// The driver's address space, card and model.
struct World {
    base: u64,
    space: Space<Rc<Held>>,
    card: Rc<RefCell<Card>>,
    /// What the owner is to have.
    ranges: Model,
    /// What of it is translated.
    pages: Pages,
    mode: AddressSpaceMode,
}

impl Drop for World {
    /// The card goes first, as when the driver gives the address space back.
    fn drop(&mut self) {
        self.card.borrow_mut().dead = true;
    }
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
        if world.card.borrow().dead {
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
            space: Space::new(card.mode, card.generation),
            mode: card.mode,
            card: Rc::new(RefCell::new(card)),
            ranges: Model::new(),
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

    /// Takes references to the pages of a range.
    fn hold(&self, first: u64, range: &[(u64, u8)]) -> Rc<Held> {
        let count = range.len() as u64;
        let extent = self.extent(first, range[0], count);
        let pages = (extent.bus / PAGE..).take(range.len());
        self.card.borrow_mut().pin(pages);
        Rc::new(Held {
            range: range.to_vec(),
            extent,
            card: Rc::clone(&self.card),
        })
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
        let (old, old_pages, old_mode) = (self.ranges.clone(), self.pages.clone(), self.mode);
        let old_table = self.table(&old_pages);
        let old_generation = {
            let mut card = self.card.borrow_mut();
            card.updates.clear();
            card.commands = 0;
            card.fault = None;
            if let Some(Fault::Command(turn, fault)) = fault {
                card.fault = Some((turn, fault));
            }
            card.generation
        };
        let limit = self.card.borrow().limit;
        if matches!(fault, Some(Fault::Full)) {
            self.card.borrow_mut().limit = old_table.len();
        }
        // To have no room is no reason for anything else than to be refused room.
        let fault = fault.filter(|fault| !matches!(fault, Fault::Full));
        list::fail_after(match fault {
            Some(Fault::Allocation(turn)) => Some(turn),
            _ => None,
        });

        let (result, wanted, removes) = self.carry_out(operation);
        list::fail_after(None);
        self.mode = self.card.borrow().mode;
        // What the first attempt was about.
        let tried = match operation {
            Operation::Unmap(..) | Operation::UnmapPart(..) => {
                let stays = pages_of(&wanted);
                let mut pages = old_pages.clone();
                pages.retain(|page, _| stays.contains_key(page));
                pages
            }
            _ => pages_of(&wanted),
        };
        let is_set_map = matches!(
            operation,
            Operation::SetMap(_) | Operation::SetMapWith(_) | Operation::SetMapWithout(..)
        );

        match result {
            Ok(()) => {
                let is_gone = match operation {
                    Operation::ResetMap => true,
                    // The last range takes its owner along.
                    Operation::Unmap(..) | Operation::UnmapPart(..) => {
                        wanted.is_empty() && !old.is_empty()
                    }
                    Operation::Restart { allow_identity } => {
                        *allow_identity && old.is_empty() && old_mode == AddressSpaceMode::Blocked
                    }
                    _ => false,
                };
                let mode = match (is_gone, operation) {
                    (true, _) => AddressSpaceMode::Identity,
                    (_, Operation::Map(_)) => AddressSpaceMode::Translated,
                    (_, Operation::Restart { .. }) if !old.is_empty() => {
                        AddressSpaceMode::Translated
                    }
                    _ if is_set_map => AddressSpaceMode::Translated,
                    _ => old_mode,
                };
                assert_eq!(self.mode, mode, "after {operation:?}");
                self.pages = match mode {
                    AddressSpaceMode::Translated => tried,
                    _ => Pages::new(),
                };
                self.ranges = wanted;
                let table = self.table(&self.pages);
                let needed = mode == AddressSpaceMode::Translated
                    && (old_table != table || old_mode != mode);
                let transactions = self.transactions();
                assert_eq!(transactions.len(), usize::from(needed), "{operation:?}");
                for transaction in transactions {
                    self.check_changes(&transaction, &old_table, &table, true);
                }
                if !needed && !is_gone {
                    assert_eq!(
                        self.card.borrow().commands,
                        0,
                        "{operation:?} needs no command"
                    );
                }
            }
            Err((error, in_force)) => {
                let no_space = Error::Command(CommandError::Refused(ErrorCode::NoSpace));
                let full = self.table(&tried).len() > self.card.borrow().limit;
                let overlaps =
                    matches!(operation, Operation::Map(piece) if with(&old, *piece).is_none());
                let tears = matches!(operation, Operation::UnmapPart(page, count) if {
                    let (first, end) = bounds(*page, *count);
                    let gone = pages_of(&old).len() - pages_of(&wanted).len();
                    gone > pages_of(&old).range(first..end).count()
                });
                assert!(
                    fault.is_some()
                        || overlaps && error == Error::Plan(PlanError::Overlap)
                        || tears && error == Error::Plan(PlanError::Invalid)
                        || full && error == no_space,
                    "{operation:?} failed for no reason: {error:?}"
                );
                // What was to stay is to be had again, whatever happens to a card that lives.
                self.ranges = match removes {
                    true => common(&old, &wanted),
                    false => old.clone(),
                };
                match in_force {
                    InForce::OldMap => {
                        assert!(!removes && error.failure() == Failure::Unchanged);
                        assert_eq!(self.card.borrow().generation, old_generation);
                        let table = self.table(&tried);
                        for transaction in self.transactions() {
                            self.check_changes(&transaction, &old_table, &table, false);
                        }
                        assert_eq!(self.mode, old_mode);
                        // Nothing else than the model's old pages; see `agree()`.
                    }
                    InForce::Rest => {
                        assert!(removes && error.failure() == Failure::Unchanged);
                        self.check_rest(&old_pages, fault);
                        let last = self.transactions().pop();
                        let table = self.table(&self.pages);
                        if let Some(last) = last.filter(|_| table != old_table) {
                            self.check_changes(&last, &old_table, &table, true);
                        }
                    }
                    InForce::Nothing => {
                        let was_blocked = old_mode == AddressSpaceMode::Blocked;
                        assert!(
                            fault.is_some() || self.ranges.is_empty() || was_blocked,
                            "blocked after {operation:?}: {error:?}"
                        );
                        assert!(
                            self.card.borrow().dead || self.mode == AddressSpaceMode::Blocked,
                            "still open after {operation:?}: {error:?}"
                        );
                        self.pages.clear();
                    }
                }
            }
        }
        self.agree();
        self.card.borrow_mut().limit = limit;
    }

    /// Does what the driver does, with the same functions. Returns what came of it, which ranges there should be, and
    /// whether something was to be removed.
    fn carry_out(&mut self, operation: &Operation) -> (Result<(), (Error, InForce)>, Model, bool) {
        let held = self.ranges.clone();
        let mut asked = Asked(Rc::clone(&self.card));
        let (result, wanted, removes) = match operation {
            Operation::Restart { allow_identity } => {
                let result = self.space.restore(&mut asked);
                let result = result.and_then(|()| match allow_identity {
                    true => self.space.restore_default(&mut asked),
                    false => Ok(()),
                });
                (result, held, false)
            }
            Operation::ResetMap => (self.space.reset(&mut asked), Model::new(), true),
            Operation::Map(piece) => {
                let (first, count) = (piece.pages().next(), piece.pages().count() as u64);
                let (first, to) = first.expect("a piece has a page");
                let extent = self.extent(first, to, count);
                let wanted = with(&held, *piece);
                let free = self.space.check_free(extent.iova, extent.last());
                assert_eq!(free.is_ok(), wanted.is_some(), "mapped twice");
                let range = piece.pages().map(|(_, to)| to).collect::<Vec<_>>();
                let range = self.hold(first, &range);
                (
                    self.space.add(&mut asked, range),
                    wanted.unwrap_or(held),
                    false,
                )
            }
            Operation::Unmap(page, count) => {
                let wanted = without(&held, *page, *count);
                let gone = held.iter().filter(|(first, _)| !wanted.contains_key(first));
                let ends = gone.map(|(first, range)| (*first, first + range.len() as u64));
                let (mut first, mut end) = bounds(*page, *count);
                for ends in ends {
                    (first, end) = (first.min(ends.0), end.max(ends.1));
                }
                (self.unmap(&mut asked, first, end), wanted, true)
            }
            Operation::UnmapPart(page, count) => {
                let (first, end) = bounds(*page, *count);
                let wanted = without(&held, *page, *count);
                (self.unmap(&mut asked, first, end), wanted, true)
            }
            Operation::SetMap(pieces) => {
                let wanted = pieces.iter().fold(Model::new(), |ranges, piece| {
                    with(&ranges, *piece).unwrap_or(ranges)
                });
                self.set_map(&mut asked, wanted)
            }
            Operation::SetMapWith(piece) => {
                self.set_map(&mut asked, with(&held, *piece).unwrap_or(held))
            }
            Operation::SetMapWithout(page, count) => {
                self.set_map(&mut asked, without(&held, *page, *count))
            }
        };

        let result = result.map_err(|error| {
            let base = self.base;
            let in_force = self.space.failed(&mut asked, &error, removes, || {
                |held: &Rc<Held>| {
                    !removes || wanted.get(&(held.key() / PAGE - base)) == Some(&held.range)
                }
            });
            (error, in_force)
        });
        (result, wanted, removes)
    }

    fn unmap(&mut self, asked: &mut Asked, first: u64, end: u64) -> Result<(), Error> {
        let first_address = (self.base + first) * PAGE;
        let last_address = first_address + ((end - first) * PAGE - 1);
        self.space.remove(asked, first_address, last_address)
    }

    fn set_map(&mut self, asked: &mut Asked, wanted: Model) -> (Result<(), Error>, Model, bool) {
        let mut ranges = Sorted::new();
        let mut failed = None;
        let mut holds = Vec::new();
        for (&first, range) in &wanted {
            let place = self.space.ranges().find((self.base + first) * PAGE);
            let held = self.space.ranges().get(place);
            let held = held
                .filter(|held| held.key() == (self.base + first) * PAGE && &held.range == range);
            let hold = match held {
                Some(held) => Rc::clone(held),
                None => self.hold(first, range),
            };
            holds.push(Rc::clone(&hold));
            if failed.is_none() {
                failed = ranges.push(hold).err();
            }
        }
        let removes = lacks(self.space.ranges().iter(), holds.iter(), |a, b| {
            a.range == b.range
        });
        drop(holds);
        let result = match failed {
            Some(error) => Err(error.into()),
            None => self.space.replace(asked, ranges),
        };
        (result, wanted, removes)
    }

    /// Takes what is left after a removal that failed for the model's, and checks it: all that was to stay, if there was
    /// room for it, and else the longest run of it in each extent that the card had.
    fn check_rest(&mut self, old: &Pages, fault: Option<Fault>) {
        let kept = pages_of(&self.ranges);
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
            let longest = longest.into_iter().flatten();
            narrow.extend(longest.map(|page| (*page, kept[page])));
        }
        let is_all = match fault {
            None => self.table(&kept).len() <= self.card.borrow().limit,
            // The fault may have been what it had no room for.
            Some(_) => self.card.borrow().live == self.table(&kept),
        };
        self.pages = if is_all { kept } else { narrow };
    }

    /// The updates since the step began, cut where one begins a transaction.
    fn transactions(&self) -> Vec<Vec<card::Update>> {
        let mut transactions: Vec<Vec<card::Update>> = Vec::new();
        for update in &self.card.borrow().updates {
            if update.flags & UPDATE_BEGIN != 0 {
                transactions.push(Vec::new());
            }
            let transaction = transactions.last_mut().expect("one that has begun");
            transaction.push(update.clone());
        }
        transactions
    }

    /// Checks the form of a transaction, and that it is the smallest one.
    fn check_changes(&self, updates: &[card::Update], old: &Table, new: &Table, complete: bool) {
        let max_batch = usize::from(self.card.borrow().max_batch);
        let changes = || updates.iter().flat_map(|update| &update.changes);
        let last = updates.len() - 1;
        for (index, update) in updates.iter().enumerate() {
            assert!(update.changes.len() <= max_batch);
            assert!(update.flags & UPDATE_COMMIT == 0 || index == last);
            assert!(
                index == last || update.changes.len() == max_batch,
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
    }

    /// Checks that driver, card and model say the same.
    fn agree(&self) {
        let (shadow, card) = (self.space.shadow(), self.card.borrow());
        if card.dead {
            assert_eq!((shadow.extents().len(), self.space.ranges().len()), (0, 0));
            return;
        }
        let held: Vec<_> = shadow
            .extents()
            .iter()
            .map(|extent| extent.to_wire(ExtentOperation::Add))
            .collect();
        let table = self.table(&self.pages);
        assert!(
            held.iter().eq(table.values()),
            "{held:?}, and not {table:?}"
        );
        assert_eq!(card.live, table);
        assert_eq!(card.mode, self.mode);
        assert_eq!(shadow.mode(), self.mode);
        assert_eq!(shadow.generation(), card.generation);
        assert_eq!(shadow.digest(), card.digest());

        let all = pages_of(&self.ranges);
        let listed: Vec<_> = (self.space.ranges().iter())
            .map(|held| (held.key() / PAGE - self.base, &held.range))
            .collect();
        assert!(self
            .ranges
            .iter()
            .map(|(first, range)| (*first, range))
            .eq(listed));
        assert!(
            self.pages
                .iter()
                .all(|(page, to)| all.get(page) == Some(to)),
            "what is translated has no owner"
        );
        assert!(!self.space.is_complete() || self.pages == all);
        // Memory is held for what the owner is to have, and for nothing else.
        let targets: std::collections::BTreeSet<u64> =
            all.values().map(|(target, _)| target + 1).collect();
        assert!(
            card.pinned().eq(targets),
            "pages are held for nobody, or not held"
        );
        let owner = (self.mode == AddressSpaceMode::Translated || !all.is_empty())
            .then_some(Owner::Process);
        assert_eq!(self.space.mapped_by(), owner);
    }
}
