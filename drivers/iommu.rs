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
//! `.dma_map` and `.dma_unmap` do the same for a single range, and take as long however many others there are, unless
//! something waits after a failure, which `.dma_map` then brings back in the same transaction. A card has either these two or
//! `.set_map`; `docs/address-translation.md` says which and why.
//!
//! # When it fails
//!
//! vhost ignores what `.set_map` returns at the end of a batch and after an unmap, so:
//!
//! - If the new map only adds to the old one, the old map goes on serving as it was. The caller says so in the log.
//! - If anything was to be removed, what should have gone must not stay reachable: the card is asked to do that alone,
//!   without what was to be added, and goes on serving the rest ([`fallback`]). If it refuses that, too, the whole
//!   address space is blocked. The caller raises `NEEDS_RESET` in both cases. Of what was to stay, all that is not
//!   translated any more waits, with its memory ([`space`]): the owner was promised that its map persists across resets.
//!   It is back when the device starts again, which it doesn't without, or with the next range or map that the card has
//!   room for. What the owner unmaps meanwhile doesn't come back.
//! - If the card doesn't answer, it is dead and cut off from memory, and nothing waits; see `card`.
//!
//! `.reset` isn't in this file. It has nothing to do with address spaces.

pub(crate) mod compare;
mod fallback;
mod list;
mod range;
mod row;
pub(crate) mod shadow;
mod sorted;
mod space;

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
    wire::{
        self,
        AddressSpaceMode, //
    },
};
use fallback::Failure;
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    device::{
        self,
        Bound, //
    },
    prelude::*,
    sync::Arc, //
};
use range::Range;
use row::Row;
use shadow::{
    Extent,
    Permission,
    PlanError, //
};
use sorted::{
    Keyed,
    Sorted, //
};
use space::{
    Commands,
    Ranged,
    Space, //
};
pub(crate) use space::{
    InForce,
    Owner, //
};

/// Why a map operation failed, and what is in force now.
#[derive(Debug)]
pub(crate) struct MapError {
    /// For the caller of the operation.
    pub(crate) error: Error,
    /// What the device can reach.
    pub(crate) in_force: InForce,
}

impl From<PlanError> for CommandError {
    fn from(error: PlanError) -> Self {
        Self::NotIssued(match error {
            PlanError::NoMemory => ENOMEM,
            PlanError::Overlap => EEXIST,
            PlanError::Invalid => EINVAL,
            PlanError::Busy => EBUSY,
        })
    }
}

/// An address space of the card, owned by one device.
pub(crate) struct AddressSpace {
    number: u16,
    space: Space<Arc<Range>>,
}

/// A card, to be asked for something about one address space.
struct Asked<'a> {
    card: &'a Card,
    number: u16,
}

impl Commands for Asked<'_> {
    type Error = CommandError;

    fn batch(&self) -> u16 {
        self.card.info.batch
    }

    fn update(
        &mut self,
        flags: u16,
        generation: u64,
        changes: &[wire::Extent],
    ) -> Result<u64, CommandError> {
        commands::address_space_update(self.card, self.number, flags, generation, changes)
            .map(|updated| updated.generation.get())
    }

    fn set_mode(&mut self, mode: AddressSpaceMode) -> Result<u64, CommandError> {
        commands::address_space_set_mode(self.card, self.number, mode)
            .map(|updated| updated.generation.get())
    }

    fn failure(&self, error: &CommandError) -> Failure {
        match self.card.is_dead() || error.contradicts_the_driver() {
            true => Failure::Unknown,
            false => Failure::Unchanged,
        }
    }

    fn give_up(&mut self) {
        // Does nothing to a card that is dead.
        self.card.fail("it can not block an address space");
    }
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

        Ok(Self {
            number: created.address_space.get(),
            space: Space::new(mode, created.generation.get()),
        })
    }

    /// The card's number of the address space.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Whether it translates, and to memory of `owner`, so that a queue of this owner may run through it.
    pub(crate) fn is_mapped_by(&self, owner: Owner) -> bool {
        self.space.is_translated() && self.space.mapped_by() == Some(owner)
    }

    /// Generation that the card should report.
    pub(crate) fn generation(&self) -> u64 {
        self.space.shadow().generation()
    }

    /// Extents that the card should hold, sorted by address.
    pub(crate) fn extents(&self) -> &Sorted<Extent> {
        self.space.shadow().extents()
    }

    /// Mode that the card should report.
    pub(crate) fn mode(&self) -> AddressSpaceMode {
        self.space.shadow().mode()
    }

    /// Digest that the card should report.
    pub(crate) fn digest(&self) -> u64 {
        self.space.shadow().digest()
    }

    /// The card, to be asked for something about this address space.
    fn ask<'a>(&self, card: &'a Card) -> Asked<'a> {
        Asked {
            card,
            number: self.number,
        }
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
            let removes = shadow::lacks(self.space.ranges().iter(), wanted, |range, map| {
                range.is(map)
            });
            self.failed(card, error, removes, || {
                let mut wanted = iotlb.iter().filter_map(Result::ok).peekable();
                move |range: &Arc<Range>| {
                    while wanted.next_if(|map| map.start() < range.key()).is_some() {}
                    wanted.peek().is_some_and(|map| range.is(map))
                }
            })
        })
    }

    fn try_set_map(
        &mut self,
        card: &Card,
        dev: &device::Device<Bound>,
        iotlb: &Iotlb,
    ) -> Result<(), CommandError> {
        if self.space.is_complete() && self.holds(iotlb) {
            return Ok(());
        }
        let ranges = self.collect(card, dev, iotlb)?;

        self.space.replace(&mut self.ask(card), ranges)
    }

    /// Whether what is mapped is what `iotlb` says.
    fn holds(&self, iotlb: &Iotlb) -> bool {
        let ranges = self.space.ranges();
        let mut pairs = ranges.iter().zip(iotlb.iter());

        ranges.len() == iotlb.len() && pairs.all(|(range, map)| map.is_ok_and(|map| range.is(&map)))
    }

    /// Makes the list of ranges that `iotlb` asks for, of those that are held and of new ones.
    fn collect(
        &self,
        card: &Card,
        dev: &device::Device<Bound>,
        iotlb: &Iotlb,
    ) -> Result<Sorted<Arc<Range>>, CommandError> {
        let mut ranges = Sorted::new();
        let mut held = self.space.ranges().iter().peekable();
        // New ranges wait here until one comes that doesn't go on with the row.
        let mut run: KVVec<Map> = KVVec::new();
        let mut row = Row::new();
        let map_run = |ranges: &mut Sorted<_>, run: &mut KVVec<Map>| {
            // Most often a row is one range, or none, which needs no lists.
            match &**run {
                [] => (),
                [map] => {
                    let range = Range::map(dev, map, &card.info);
                    ranges.push(range.map_err(CommandError::NotIssued)?)?;
                }
                maps => {
                    let mapped = Range::map_run(dev, maps, &card.info);
                    for range in mapped.map_err(CommandError::NotIssued)? {
                        ranges.push(range)?;
                    }
                }
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
                None => run.push(map, GFP_KERNEL_ACCOUNT)?,
            }
        }
        map_run(&mut ranges, &mut run)?;
        Ok(ranges)
    }

    /// Makes the address space translate `map`, too. May sleep.
    ///
    /// # Errors
    ///
    /// `EEXIST` if there is a range in the way, even one that waits after a failure; else as [`Self::set_map()`]. The old map serves on
    /// unless the error says otherwise.
    pub(crate) fn dma_map(
        &mut self,
        card: &Card,
        dev: &device::Device<Bound>,
        map: &Map,
    ) -> Result<(), MapError> {
        self.try_dma_map(card, dev, map)
            .map_err(|error| self.failed(card, error, false, || |_: &_| true))
    }

    fn try_dma_map(
        &mut self,
        card: &Card,
        dev: &device::Device<Bound>,
        map: &Map,
    ) -> Result<(), CommandError> {
        // Before anything is mapped.
        self.space.check_free(map.start(), map.last())?;
        let range = Range::map(dev, map, &card.info).map_err(CommandError::NotIssued)?;

        self.space.add(&mut self.ask(card), range)
    }

    /// Makes the address space translate nothing in `removed` any more. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if only a part of a range that was mapped is to go; else as [`Self::set_map()`]. Nothing of `removed`
    /// is translated after any error either.
    pub(crate) fn dma_unmap(&mut self, card: &Card, removed: IovaRange) -> Result<(), MapError> {
        let (first, last) = (removed.first(), removed.last());

        self.space
            .remove(&mut self.ask(card), first, last)
            .map_err(|error| {
                self.failed(card, error, true, || {
                    |range: &Arc<Range>| range.extent().last() < first || range.key() > last
                })
            })
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
            let removes = self.space.mapped_by() == Some(Owner::Kernel)
                && !fallback::covers(wanted, self.extents().iter().copied());
            self.failed(card, error, removes, || |_: &_| false)
        })
    }

    fn try_set_kernel_map(&mut self, card: &Card, pieces: &[Piece]) -> Result<(), CommandError> {
        if self.space.mapped_by() == Some(Owner::Process) {
            return Err(PlanError::Busy.into());
        }
        if pieces.is_empty() {
            // It may have been blocked after a failure, and there is nothing to tell then.
            return match self.mode() == Self::default_mode(card) {
                true => Ok(()),
                false => self.space.reset(&mut self.ask(card)),
            };
        }

        let extents = pieces.iter().map(to_extent);
        if !extents
            .clone()
            .all(|extent| extent.is_valid(card.info.iova_bits, card.info.bus_bits))
        {
            return Err(CommandError::NotIssued(EINVAL));
        }
        self.space.set_kernel(&mut self.ask(card), extents)
    }

    /// Sees to it that nothing which was to be removed stays reachable after a change failed; see [`Space::failed()`].
    fn failed<P: FnMut(&Arc<Range>) -> bool>(
        &mut self,
        card: &Card,
        error: CommandError,
        removes: bool,
        stays: impl Fn() -> P,
    ) -> MapError {
        let in_force = self
            .space
            .failed(&mut self.ask(card), &error, removes, stays);

        MapError {
            error: error.into(),
            in_force,
        }
    }

    /// Undoes what a failure has left behind, before a queue starts: what a process is to have is translated again. If
    /// nothing is mapped and the queue may run untranslated (`allow_identity`), the address space is put back to its default
    /// mode. Sends nothing if there is nothing to undo. May sleep.
    ///
    /// # Errors
    ///
    /// As [`Self::set_map()`]: what waits goes on waiting, and no queue may start.
    pub(crate) fn restore(&mut self, card: &Card, allow_identity: bool) -> Result<(), MapError> {
        let mut asked = self.ask(card);
        let result = self.space.restore(&mut asked);

        result
            .and_then(|()| match allow_identity {
                true => self.space.restore_default(&mut asked),
                false => Ok(()),
            })
            .map_err(|error| self.failed(card, error, false, || |_: &_| true))
    }

    /// Puts the address space back to its default mode, and nothing else. May sleep.
    ///
    /// # Errors
    ///
    /// The card refused; the address space is blocked then, or the card is dead.
    pub(crate) fn reset_map(&mut self, card: &Card) -> Result<(), MapError> {
        self.space
            .reset(&mut self.ask(card))
            .map_err(|error| self.failed(card, error, true, || |_: &_| false))
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
