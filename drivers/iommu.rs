// SPDX-License-Identifier: GPL-2.0-only

//! The on-chip IOMMU: one address space, and what the driver knows of it.
//!
//! # What `.set_map` does
//!
//! 1. Ranges that are mapped already, with the same memory and permission, are kept as they are. Every
//!    other one gets a reference to its pages and a DMA mapping.
//! 2. All ranges together become a list of maximal extents ([`extent`]), of which the difference to what
//!    the card holds is staged in batches and committed as one. Extents in both lists never stop
//!    translating, and queues never stop.
//! 3. After the card has acknowledged the commit, ranges that are gone lose their DMA mapping and then
//!    their page references. vhost has unpinned such pages earlier, so until here it is this driver's
//!    reference that keeps the card from reaching pages which belong to somebody else by now.
//!
//! `.dma_map` and `.dma_unmap` do the same for a single range, which a card without a 1:1 mode has instead:
//! vhost then removes every range when it closes, where `.set_map` would leave the last map in place.
//!
//! # When it fails
//!
//! vhost ignores what `.set_map` returns at the end of a batch and after an unmap, so:
//!
//! - If the new map only adds to the old one, the old map goes on serving as it was.
//! - If anything was to be removed, the whole address space is blocked, since what should have gone must
//!   not stay reachable. The caller raises `NEEDS_RESET`.
//! - If the card doesn't answer, it is dead and cut off from memory; see `card`.
//!
//! `.reset` isn't in this file. It has nothing to do with address spaces.

pub(crate) mod extent;
mod range;

use crate::{
    card::Card,
    cmdq::{
        commands,
        CommandError, //
    },
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
use extent::{
    Extent,
    Merged, //
};
use kernel::{
    device::{
        self,
        Bound, //
    },
    prelude::*,
    sync::Arc, //
};
use range::Range;

/// Why a map operation failed, and what is in force now.
#[derive(Debug)]
pub(crate) struct MapError {
    /// For the caller of the operation.
    pub(crate) error: Error,
    /// Whether the address space is blocked now, or the card dead. Otherwise the old map serves.
    pub(crate) closed: bool,
}

/// An address space of the card, owned by one device.
///
/// # Invariants
///
/// As long as the card is alive, it holds exactly `extents`, in `mode`, at `generation`. `extents` keeps
/// the invariants in [`extent`], is empty unless `mode` is translated, and is what `ranges` merge to.
pub(crate) struct AddressSpace {
    number: u16,
    mode: AddressSpaceMode,
    generation: u64,
    // Thousands of entries are usual, too much for memory that is contiguous in any case.
    ranges: KVVec<Arc<Range>>,
    extents: KVVec<Extent>,
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
    /// See [`CommandError`]; [`wire::ErrorCode::NoResources`] if all are taken.
    pub(crate) fn create(card: &Card) -> Result<Self, CommandError> {
        let mode = Self::default_mode(card);
        let created = commands::address_space_create(card, mode)?;

        Ok(Self {
            number: created.address_space.get(),
            mode,
            generation: created.generation.get(),
            ranges: KVVec::new(),
            extents: KVVec::new(),
        })
    }

    /// The card's number of the address space.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Whether its owner has mapped it, so that a queue whose owner is not trusted may run through it.
    pub(crate) fn is_mapped(&self) -> bool {
        self.mode == AddressSpaceMode::Translated
    }

    /// Digest that the card should report.
    pub(crate) fn digest(&self) -> u64 {
        extent::digest(&self.extents)
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
        let result = self.try_set_map(card, dev, iotlb);

        result.map_err(|error| {
            // A dead card is blocked, too: by being cut off.
            let closed = card.is_dead() || error.contradicts_the_driver() || self.removes(iotlb);
            if closed {
                self.block(card);
            }
            MapError {
                error: error.into(),
                closed,
            }
        })
    }

    fn try_set_map(
        &mut self,
        card: &Card,
        dev: &device::Device<Bound>,
        iotlb: &Iotlb,
    ) -> Result<(), CommandError> {
        let mut ranges = KVVec::new();
        let mut held = self.ranges.iter().peekable();

        for map in iotlb.iter() {
            let map = map.map_err(CommandError::NotIssued)?;
            while held.next_if(|range| range.iova() < map.start()).is_some() {}
            let range = match held.peek() {
                Some(range) if range.is(&map) => Arc::clone(range),
                _ => Range::map(dev, &map, &card.info).map_err(CommandError::NotIssued)?,
            };
            ranges.push(range, GFP_KERNEL)?;
        }
        self.install(card, ranges)
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
        let result = self.try_dma_map(card, dev, map);

        result.map_err(|error| {
            let closed = card.is_dead() || error.contradicts_the_driver();
            if closed {
                self.block(card);
            }
            MapError {
                error: error.into(),
                closed,
            }
        })
    }

    fn try_dma_map(
        &mut self,
        card: &Card,
        dev: &device::Device<Bound>,
        map: &Map,
    ) -> Result<(), CommandError> {
        if self.ranges.iter().any(|range| range.overlaps(map.range())) {
            return Err(CommandError::NotIssued(EEXIST));
        }
        let range = Range::map(dev, map, &card.info).map_err(CommandError::NotIssued)?;
        let place = self
            .ranges
            .iter()
            .take_while(|range| range.iova() < map.start())
            .count();
        let mut ranges = KVVec::with_capacity(self.ranges.len() + 1, GFP_KERNEL)?;

        for range in self.ranges.iter().take(place) {
            ranges.push(Arc::clone(range), GFP_KERNEL)?;
        }
        ranges.push(range, GFP_KERNEL)?;
        for range in self.ranges.iter().skip(place) {
            ranges.push(Arc::clone(range), GFP_KERNEL)?;
        }
        self.install(card, ranges)
    }

    /// Makes the address space translate nothing in `removed` any more. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if only a part of a range that was mapped is to go; else as [`Self::set_map()`]. The address
    /// space is blocked after every error.
    pub(crate) fn dma_unmap(&mut self, card: &Card, removed: IovaRange) -> Result<(), MapError> {
        let result = self.try_dma_unmap(card, removed);

        result.map_err(|error| {
            self.block(card);
            MapError {
                error: error.into(),
                closed: true,
            }
        })
    }

    fn try_dma_unmap(&mut self, card: &Card, removed: IovaRange) -> Result<(), CommandError> {
        let mut ranges = KVVec::with_capacity(self.ranges.len(), GFP_KERNEL)?;

        for range in self.ranges.iter() {
            if !range.overlaps(removed) {
                ranges.push(Arc::clone(range), GFP_KERNEL)?;
            } else if !range.is_within(removed) {
                return Err(CommandError::NotIssued(EINVAL));
            }
        }
        // After a failure the address space holds nothing, and vhost goes on removing all the same.
        if ranges.len() == self.ranges.len() {
            return Ok(());
        }
        self.install(card, ranges)
    }

    /// Makes the address space translate `ranges`, and nothing else.
    fn install(&mut self, card: &Card, ranges: KVVec<Arc<Range>>) -> Result<(), CommandError> {
        let mut extents = KVVec::new();
        for extent in Merged::new(ranges.iter().map(|range| range.extent())) {
            extents.push(extent, GFP_KERNEL)?;
        }

        let updated = self.program(card, &extents)?;
        // INVARIANT: The card has committed exactly these extents.
        self.mode = AddressSpaceMode::Translated;
        self.generation = updated;
        self.extents = extents;
        // The old ranges that aren't in the new list go here, after the card has let go of them.
        self.ranges = ranges;
        Ok(())
    }

    /// Whether there is something mapped that `iotlb` doesn't have.
    ///
    /// A range that vhost could not describe counts as one that it doesn't have.
    fn removes(&self, iotlb: &Iotlb) -> bool {
        let mut maps = iotlb.iter().filter_map(Result::ok).peekable();

        !self.ranges.iter().all(|range| {
            while maps.next_if(|map| map.start() < range.iova()).is_some() {}
            maps.peek().is_some_and(|map| range.is(map))
        })
    }

    /// Stages and commits the difference between what the card holds and `wanted`. Returns the
    /// generation then in force. Issues no command if nothing differs.
    fn program(&self, card: &Card, wanted: &[Extent]) -> Result<u64, CommandError> {
        let mut changes = extent::changes(&self.extents, wanted).peekable();
        if changes.peek().is_none() && self.is_mapped() {
            return Ok(self.generation);
        }

        let size = usize::from(card.info.batch);
        let mut batch = KVec::with_capacity(size, GFP_KERNEL)?;
        let mut flags = wire::UPDATE_BEGIN;
        loop {
            batch.clear();
            for change in changes.by_ref().take(size) {
                batch.push(change, GFP_KERNEL)?;
            }
            let last = changes.peek().is_none();
            if last {
                flags |= wire::UPDATE_COMMIT;
            }
            let updated =
                commands::address_space_update(card, self.number, flags, self.generation, &batch)?;
            if last {
                return Ok(updated.generation.get());
            }
            flags = 0;
        }
    }

    /// Puts the address space back to its default mode, and nothing else. May sleep.
    ///
    /// # Errors
    ///
    /// The card refused; the address space is blocked then, or the card is dead.
    pub(crate) fn reset_map(&mut self, card: &Card) -> Result<(), MapError> {
        self.set_mode(card, Self::default_mode(card))
            .map_err(|error| {
                self.block(card);
                MapError {
                    error: error.into(),
                    closed: true,
                }
            })
    }

    /// Makes every access fault. If not even that succeeds the card is given up.
    fn block(&mut self, card: &Card) {
        if let Err(error) = self.set_mode(card, AddressSpaceMode::Blocked) {
            if error != CommandError::Dead {
                card.fail("it can not block an address space");
            }
            // A card that is cut off reaches nothing, so the memory may go back.
            self.forget(AddressSpaceMode::Blocked);
        }
    }

    fn set_mode(&mut self, card: &Card, mode: AddressSpaceMode) -> Result<(), CommandError> {
        let updated = commands::address_space_set_mode(card, self.number, mode)?;

        // INVARIANT: The card has dropped all extents and is in this mode.
        self.generation = updated.generation.get();
        self.forget(mode);
        Ok(())
    }

    /// Notes that nothing is translated by extents any more, and gives the memory back.
    fn forget(&mut self, mode: AddressSpaceMode) {
        self.mode = mode;
        self.extents = KVVec::new();
        self.ranges = KVVec::new();
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
