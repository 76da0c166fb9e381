// SPDX-License-Identifier: GPL-2.0-only

//! The on-chip IOMMU: one address space, and what the driver knows of it.
//!
//! # What `.set_map` does
//!
//! 1. Ranges that are mapped already, with the same memory and permission, are kept as they are. Every
//!    other one gets a reference to its pages and a DMA mapping.
//! 2. All ranges together become a list of maximal extents ([`shadow`]), of which the difference to what
//!    the card holds is staged in batches and committed as one. Extents in both lists never stop
//!    translating, and queues never stop.
//! 3. After the card has acknowledged the commit, ranges that are gone lose their DMA mapping and then
//!    their page references. vhost has unpinned such pages earlier, so until here it is this driver's
//!    reference that keeps the card from reaching pages which belong to somebody else by now.
//!
//! `.dma_map` and `.dma_unmap` do the same for a single range, and take as long however many others there are. A
//! card has either these two or `.set_map`; `docs/address-translation.md` says which and why.
//!
//! # When it fails
//!
//! vhost ignores what `.set_map` returns at the end of a batch and after an unmap, so:
//!
//! - If the new map only adds to the old one, the old map goes on serving as it was. The caller says so in the log.
//! - If anything was to be removed, what should have gone must not stay reachable: the card is asked to do that alone,
//!   without what was to be added, and goes on serving the rest ([`fallback`]). If it refuses that, too, the whole
//!   address space is blocked. The caller raises `NEEDS_RESET` in both cases. What was to stay is kept, and is back when
//!   the device starts again or the next range comes: the owner was promised that its map persists across resets.
//! - If the card doesn't answer, it is dead and cut off from memory; see `card`.
//!
//! `.reset` isn't in this file. It has nothing to do with address spaces.

pub(crate) mod compare;
mod fallback;
mod list;
mod range;
mod row;
pub(crate) mod shadow;
mod sorted;

use crate::{
    card::Card,
    cmdq::{
        commands,
        CommandError, //
    },
    dma::bounce::Piece,
    info::Translation,
    vdpa::{
        Iotlb,
        IovaRange,
        Map, //
    },
    wire::AddressSpaceMode,
};
use fallback::Failure;
use kernel::{
    device::{
        self,
        Bound, //
    },
    prelude::*,
    sync::Arc, //
};
use list::NoMemory;
use range::Range;
use row::Row;
use shadow::{
    Batch,
    Extent,
    Permission,
    Plan,
    PlanError,
    Shadow, //
};
use sorted::{
    Keyed,
    Sorted, //
};

/// Why a map operation failed, and what is in force now.
#[derive(Debug)]
pub(crate) struct MapError {
    /// For the caller of the operation.
    pub(crate) error: Error,
    /// What the device can reach.
    pub(crate) in_force: InForce,
}

/// What an address space translates after a change failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InForce {
    /// What it did before.
    OldMap,
    /// What it did before without what was to be removed, or even less; nothing was added. Only a reset tells the
    /// owner.
    Rest,
    /// Nothing: it is blocked, or the card is dead.
    Nothing,
}

impl From<PlanError> for CommandError {
    fn from(error: PlanError) -> Self {
        Self::NotIssued(match error {
            PlanError::NoMemory => ENOMEM,
            PlanError::Overlap => EEXIST,
            PlanError::Invalid => EINVAL,
        })
    }
}

/// An address space of the card, owned by one device.
///
/// # Invariants
///
/// As long as the card is alive, it holds exactly what `shadow` says. `mapped_by` is whose memory that is: a process's is
/// what `ranges` merge to; for the kernel's there are no `ranges`. It is [`None`] unless the address space translates, with one
/// exception: after a failure it may be blocked while `ranges` and `mapped_by` say what a process is to have back
/// ([`AddressSpace::restore()`]).
pub(crate) struct AddressSpace {
    number: u16,
    shadow: Shadow,
    ranges: Sorted<Arc<Range>>,
    mapped_by: Option<Owner>,
}

/// Whose memory an address space translates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A process, through vhost-vdpa.
    Process,
    /// The kernel, through virtio-vdpa on a card without a 1:1 mode.
    Kernel,
}

impl AddressSpace {
    /// The mode of an address space that nobody has mapped.
    fn default_mode(card: &Card) -> AddressSpaceMode {
        match card.info.translation {
            Translation::OnChipIdentity => AddressSpaceMode::Identity,
            Translation::OnChip | Translation::Platform => AddressSpaceMode::Blocked,
        }
    }

    /// Takes an address space from the card's pool, in its default mode.
    ///
    /// # Errors
    ///
    /// See [`CommandError`]; [`NoResources`](crate::wire::ErrorCode::NoResources) if all are taken.
    pub(crate) fn create(card: &Card) -> Result<Self, CommandError> {
        let mode = Self::default_mode(card);
        let created = commands::address_space_create(card, mode)?;

        // INVARIANT: It is new, and translates nothing by extents.
        Ok(Self {
            number: created.address_space.get(),
            shadow: Shadow::new(mode, created.generation.get()),
            ranges: Sorted::new(),
            mapped_by: None,
        })
    }

    /// The card's number of the address space.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Whether it translates, and to memory of `owner`, so that a queue of this owner may run through it.
    pub(crate) fn is_mapped_by(&self, owner: Owner) -> bool {
        self.is_mapped() && self.mapped_by == Some(owner)
    }

    fn is_mapped(&self) -> bool {
        self.shadow.mode() == AddressSpaceMode::Translated
    }

    /// Generation that the card should report.
    pub(crate) fn generation(&self) -> u64 {
        self.shadow.generation()
    }

    /// Extents that the card should hold, sorted by address.
    pub(crate) fn extents(&self) -> &Sorted<Extent> {
        self.shadow.extents()
    }

    /// Mode that the card should report.
    pub(crate) fn mode(&self) -> AddressSpaceMode {
        self.shadow.mode()
    }

    /// Digest that the card should report.
    pub(crate) fn digest(&self) -> u64 {
        self.shadow.digest()
    }

    /// Makes the address space translate what `iotlb` says, and nothing else. See the module's
    /// description. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a range that the card can't have, `ENOMEM` if there is no memory for the driver's
    /// side, `ENOSPC` if there is none on the card, `EIO` if the card is dead.
    pub(crate) fn set_map(
        &mut self,
        card: &Card,
        dev: &device::Device<Bound>,
        iotlb: &Iotlb,
    ) -> Result<(), MapError> {
        self.try_set_map(card, dev, iotlb).map_err(|error| {
            // A range that vhost could not describe counts as one that isn't wanted.
            let wanted = iotlb.iter().filter_map(Result::ok);
            let removes = shadow::lacks(self.ranges.iter(), wanted, |range, map| range.is(map));
            self.failed(card, error, removes, |ranges| {
                let mut wanted = iotlb.iter().filter_map(Result::ok).peekable();
                keep(ranges, |range| {
                    while wanted.next_if(|map| map.start() < range.key()).is_some() {}
                    wanted.peek().is_some_and(|map| range.is(map))
                })
            })
        })
    }

    fn try_set_map(
        &mut self,
        card: &Card,
        dev: &device::Device<Bound>,
        iotlb: &Iotlb,
    ) -> Result<(), CommandError> {
        if self.is_mapped() && self.holds(iotlb) {
            return Ok(());
        }
        let ranges = self.collect(card, dev, iotlb)?;
        let plan = self
            .shadow
            .plan_all(ranges.iter().map(|range| range.extent()))?;

        self.apply(card, plan)?;
        self.mapped_by = Some(Owner::Process);
        // The old ranges that aren't in the new list go here, after the card has let go of them.
        self.ranges = ranges;
        Ok(())
    }

    /// Whether what is mapped is what `iotlb` says.
    fn holds(&self, iotlb: &Iotlb) -> bool {
        let mut pairs = self.ranges.iter().zip(iotlb.iter());

        self.ranges.len() == iotlb.len()
            && pairs.all(|(range, map)| map.is_ok_and(|map| range.is(&map)))
    }

    /// Makes the list of ranges that `iotlb` asks for, of those that are held and of new ones.
    fn collect(
        &self,
        card: &Card,
        dev: &device::Device<Bound>,
        iotlb: &Iotlb,
    ) -> Result<Sorted<Arc<Range>>, CommandError> {
        let mut ranges = Sorted::new();
        let mut held = self.ranges.iter().peekable();
        // New ranges wait here until one comes that doesn't go on with the row.
        let mut run: KVVec<Map> = KVVec::new();
        let mut row = Row::new();
        let map_run = |ranges: &mut Sorted<_>, run: &mut KVVec<Map>| {
            let mapped = Range::map_run(dev, run, &card.info);
            for range in mapped.map_err(CommandError::NotIssued)? {
                ranges.push(range)?;
            }
            run.clear();
            Ok::<_, CommandError>(())
        };

        for map in iotlb.iter() {
            let map = map.map_err(CommandError::NotIssued)?;
            while held.next_if(|range| range.key() < map.start()).is_some() {}
            let held = held.next_if(|range| range.is(&map));

            let follows =
                held.is_none() && row.take(map.start(), map.last(), map.permission().ok());
            if !follows {
                map_run(&mut ranges, &mut run)?;
            }
            match held {
                Some(range) => ranges.push(Arc::clone(range))?,
                None => run.push(map, GFP_KERNEL)?,
            }
        }
        map_run(&mut ranges, &mut run)?;
        Ok(ranges)
    }

    /// Makes the address space translate `map`, too. May sleep.
    ///
    /// # Errors
    ///
    /// `EEXIST` if there is a translation in the way; else as [`Self::set_map()`]. The old map serves on
    /// unless the error says otherwise.
    pub(crate) fn dma_map(
        &mut self,
        card: &Card,
        dev: &device::Device<Bound>,
        map: &Map,
    ) -> Result<(), MapError> {
        self.try_dma_map(card, dev, map)
            .map_err(|error| self.failed(card, error, false, |ranges| keep(ranges, |_| true)))
    }

    fn try_dma_map(
        &mut self,
        card: &Card,
        dev: &device::Device<Bound>,
        map: &Map,
    ) -> Result<(), CommandError> {
        if self.mapped_by == Some(Owner::Kernel) {
            return Err(CommandError::NotIssued(EBUSY));
        }
        let place = self.ranges.find(map.start());
        let before = self.ranges.before(place);
        let after = self.ranges.get(place);
        if before.is_some_and(|range| range.last() >= map.start())
            || after.is_some_and(|range| range.key() <= map.last())
        {
            return Err(CommandError::NotIssued(EEXIST));
        }

        self.try_restore(card)?;
        self.ranges.reserve(1)?;
        let range = Range::map(dev, map, &card.info).map_err(CommandError::NotIssued)?;
        let plan = self.shadow.plan_add(range.extent())?;
        self.apply(card, plan)?;
        self.mapped_by = Some(Owner::Process);
        // There is room for it.
        self.ranges.insert(range);
        Ok(())
    }

    /// Makes the address space translate nothing in `removed` any more. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if only a part of a range that was mapped is to go; else as [`Self::set_map()`]. Nothing of `removed`
    /// is translated after any error either.
    pub(crate) fn dma_unmap(&mut self, card: &Card, removed: IovaRange) -> Result<(), MapError> {
        self.try_dma_unmap(card, removed).map_err(|error| {
            self.failed(card, error, true, |ranges| {
                keep(ranges, |range| {
                    range.last() < removed.first() || range.key() > removed.last()
                })
            })
        })
    }

    fn try_dma_unmap(&mut self, card: &Card, removed: IovaRange) -> Result<(), CommandError> {
        let place = self.ranges.find(removed.first());
        let before = self.ranges.before(place);
        let mut count = 0;
        let mut last = removed.last();
        for range in self.ranges.iter_from(place) {
            if range.key() > removed.last() {
                break;
            }
            last = range.last();
            count += 1;
        }
        if before.is_some_and(|range| range.last() >= removed.first()) || last > removed.last() {
            return Err(CommandError::NotIssued(EINVAL));
        }
        // After a failure the address space holds nothing, and vhost goes on removing all the same.
        let Some(first) = self.ranges.get(place).filter(|_| count != 0) else {
            return Ok(());
        };

        // With the last range its owner is gone, too: on to the default, by one command as well.
        if count == self.ranges.len() {
            return self.set_mode(card, Self::default_mode(card));
        }

        // A space that was blocked translates nothing of them anyway.
        if self.is_mapped() {
            let plan = self.shadow.plan_remove(first.key(), last)?;
            self.apply(card, plan)?;
        }
        // The card has let go of them.
        for _ in 0..count {
            drop(self.ranges.remove(self.ranges.find(removed.first())));
        }
        Ok(())
    }

    /// Makes the address space translate the kernel's own memory in `pieces`, sorted by address, and nothing else;
    /// with none, puts it back to its default mode. The memory must stay until it was left out of a later call, or
    /// that call failed. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` if a process has mapped the address space, `EINVAL` for a piece that the card can't have; else as
    /// [`Self::set_map()`]. After an error what was translated still is if it is all in `pieces` and the card can be trusted;
    /// else the address space is blocked, unless it never was the kernel's.
    pub(crate) fn set_kernel_map(&mut self, card: &Card, pieces: &[Piece]) -> Result<(), MapError> {
        self.try_set_kernel_map(card, pieces).map_err(|error| {
            let wanted = pieces.iter().map(to_extent);
            let removes = self.mapped_by == Some(Owner::Kernel)
                && !fallback::covers(wanted, self.shadow.extents().iter().copied());
            self.failed(card, error, removes, |_| Ok(Sorted::new()))
        })
    }

    fn try_set_kernel_map(&mut self, card: &Card, pieces: &[Piece]) -> Result<(), CommandError> {
        if self.mapped_by == Some(Owner::Process) {
            return Err(CommandError::NotIssued(EBUSY));
        }
        if pieces.is_empty() {
            // It may have been blocked after a failure, and there is nothing to tell then.
            return match self.shadow.mode() == Self::default_mode(card) {
                true => Ok(()),
                false => self.set_mode(card, Self::default_mode(card)),
            };
        }

        let extents = pieces.iter().map(to_extent);
        if !extents
            .clone()
            .all(|extent| extent.is_valid(card.info.iova_bits, card.info.bus_bits))
        {
            return Err(CommandError::NotIssued(EINVAL));
        }
        let plan = self.shadow.plan_all(extents)?;
        self.apply(card, plan)?;
        self.mapped_by = Some(Owner::Kernel);
        Ok(())
    }

    /// Has the card make a planned change.
    fn apply(&mut self, card: &Card, plan: Plan) -> Result<(), CommandError> {
        let number = self.number;
        let mut batch = Batch::new(card.info.batch)?;

        self.shadow
            .apply(plan, &mut batch, |flags, generation, changes| {
                commands::address_space_update(card, number, flags, generation, changes)
                    .map(|updated| updated.generation.get())
            })
    }

    /// Sees to it that nothing which was to be removed, or of which nobody knows, stays reachable after a change
    /// failed. `kept` chooses which of the ranges were to stay.
    fn failed(
        &mut self,
        card: &Card,
        error: CommandError,
        removes: bool,
        kept: impl FnOnce(&Sorted<Arc<Range>>) -> Result<Sorted<Arc<Range>>, NoMemory>,
    ) -> MapError {
        let failure = failure_of(card, &error);
        let in_force = if fallback::may_serve_on(failure, removes) {
            match self.is_waiting() {
                true => InForce::Nothing,
                false => InForce::OldMap,
            }
        } else {
            let kept = kept(&self.ranges).unwrap_or_else(|_| Sorted::new());
            let withdrawn = match failure {
                Failure::Unchanged => self.withdraw(card, kept),
                // A dead card is blocked, too: by being cut off.
                Failure::Unknown => Err(kept),
            };
            match withdrawn {
                Ok(()) => InForce::Rest,
                Err(kept) => {
                    self.block(card, kept);
                    InForce::Nothing
                }
            }
        };

        MapError {
            error: error.into(),
            in_force,
        }
    }

    /// Has the card keep no more than `kept` of what it translates, and gives the rest back. If it doesn't, all is as it
    /// was, and `kept` comes back.
    fn withdraw(
        &mut self,
        card: &Card,
        kept: Sorted<Arc<Range>>,
    ) -> Result<(), Sorted<Arc<Range>>> {
        // To translate nothing is what blocking is for.
        if !self.is_mapped() || kept.len() == 0 {
            return Err(kept);
        }
        let number = self.number;
        let Ok(mut batch) = Batch::new(card.info.batch) else {
            return Err(kept);
        };
        let result = fallback::withdraw(
            &mut self.shadow,
            &kept,
            |range| range.extent(),
            &mut batch,
            |flags, generation, changes| {
                commands::address_space_update(card, number, flags, generation, changes)
                    .map(|updated| updated.generation.get())
            },
            |error| failure_of(card, error),
        );

        match result {
            // The card has let go of the other ranges.
            Ok(narrow) => self.ranges = narrow.unwrap_or(kept),
            Err(_) => return Err(kept),
        }
        Ok(())
    }

    /// Whether a process's map waits to be put back after the address space was blocked.
    fn is_waiting(&self) -> bool {
        !self.is_mapped() && self.ranges.len() != 0
    }

    /// Makes the address space translate again what was kept of a process's map when it was blocked after a failure. Does
    /// nothing if it was not. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Self::set_map()`]; it stays blocked.
    pub(crate) fn restore(&mut self, card: &Card) -> Result<(), MapError> {
        self.try_restore(card)
            .map_err(|error| self.failed(card, error, false, |ranges| keep(ranges, |_| true)))
    }

    fn try_restore(&mut self, card: &Card) -> Result<(), CommandError> {
        if !self.is_waiting() {
            return Ok(());
        }
        let extents = self.ranges.iter().map(|range| range.extent());
        let plan = self.shadow.plan_all(extents)?;
        self.apply(card, plan)
    }

    /// Puts the address space back to its default mode, and nothing else. May sleep.
    ///
    /// # Errors
    ///
    /// The card refused; the address space is blocked then, or the card is dead.
    pub(crate) fn reset_map(&mut self, card: &Card) -> Result<(), MapError> {
        self.set_mode(card, Self::default_mode(card))
            .map_err(|error| self.failed(card, error, true, |_| Ok(Sorted::new())))
    }

    /// Makes every access fault. If not even that succeeds the card is given up. `kept` is what a process is to have back.
    fn block(&mut self, card: &Card, kept: Sorted<Arc<Range>>) {
        let owner = (kept.len() != 0).then_some(Owner::Process);

        if let Err(error) = self.set_mode(card, AddressSpaceMode::Blocked) {
            if error != CommandError::Dead {
                card.fail("it can not block an address space");
            }
            // A card that is cut off reaches nothing, so the memory may go back.
            self.shadow.lost();
            self.ranges = Sorted::new();
            self.mapped_by = None;
        } else {
            // INVARIANT: Blocked, and these wait.
            self.ranges = kept;
            self.mapped_by = owner;
        }
    }

    fn set_mode(&mut self, card: &Card, mode: AddressSpaceMode) -> Result<(), CommandError> {
        let updated = commands::address_space_set_mode(card, self.number, mode)?;

        // INVARIANT: The card has dropped all extents and is in this mode.
        self.shadow.set_mode(mode, updated.generation.get());
        self.ranges = Sorted::new();
        self.mapped_by = None;
        Ok(())
    }

    /// Gives the address space back to the card's pool, and the memory to its owners. No queue may run
    /// through it any more.
    pub(crate) fn destroy(self, card: &Card) {
        match commands::address_space_destroy(card, self.number) {
            Ok(()) | Err(CommandError::Dead) => (),
            // Memory must not go back while the card might reach it.
            Err(_) => card.fail("it can not destroy an address space"),
        }
    }
}

/// What the card has to translate for a piece of the kernel's memory.
fn to_extent(piece: &Piece) -> Extent {
    Extent {
        iova: piece.iova,
        bus: piece.bus,
        length: piece.len,
        permission: Permission::ReadWrite,
    }
}

/// How a command that failed leaves the card.
fn failure_of(card: &Card, error: &CommandError) -> Failure {
    match card.is_dead() || error.contradicts_the_driver() {
        true => Failure::Unknown,
        false => Failure::Unchanged,
    }
}

/// Those of `ranges` which `stays` chooses. It is asked in order.
fn keep(
    ranges: &Sorted<Arc<Range>>,
    mut stays: impl FnMut(&Arc<Range>) -> bool,
) -> Result<Sorted<Arc<Range>>, NoMemory> {
    let mut kept = Sorted::new();

    for range in ranges.iter().filter(|range| stays(range)) {
        kept.push(Arc::clone(range))?;
    }
    Ok(kept)
}
