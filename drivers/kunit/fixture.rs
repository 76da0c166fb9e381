// SPDX-License-Identifier: GPL-2.0-only

//! A card for tests, the driver's own [`Card`] with a control processor that answers at once, and an address
//! space on it.

use super::{
    cp::{
        self,
        Answer,
        ControlProcessor, //
    },
    memory::{
        Maps,
        Pages, //
    },
    sys::{
        self,
        Parent, //
    },
    trace, //
};
use crate::{
    card::Card,
    info::{
        Info,
        Translation, //
    },
    iommu::{
        AddressSpace,
        InForce,
        MapError, //
    },
    pci::{
        Doorbells,
        Registers,
        Rung, //
    },
    vdpa::IovaRange,
    wire::{
        AddressSpaceMode,
        ErrorCode,
        Event,
        Opcode, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Changes that fit an update command: few, so that several commands are needed.
pub(super) const BATCH: u16 = 2;

/// The limits of a card that translates in this way.
pub(super) fn info(translation: Translation) -> Info {
    Info {
        translation,
        num_queues: cp::DEVICES * cp::QUEUES_PER_DEVICE,
        num_address_spaces: match translation {
            Translation::Platform => 0,
            Translation::OnChipIdentity | Translation::OnChip => cp::SPACES,
        },
        max_queue_size: 256,
        min_queue_size: 2,
        iova_bits: 48,
        bus_bits: 64,
        num_vectors: 1,
        batch: BATCH,
        num_disks: 0,
    }
}

/// A card. It is shut down on drop, as when the function is unbound.
pub(super) struct TestCard {
    card: Arc<Card>,
    registers: Registers,
    rung: Arc<Rung>,
}

impl TestCard {
    /// A card that takes commands, and has its rings in memory of `parent`.
    pub(super) fn new(parent: &Parent) -> Result<Self> {
        Self::of_kind(parent, Translation::OnChipIdentity)
    }

    /// One that translates in this way.
    pub(super) fn of_kind(parent: &Parent, translation: Translation) -> Result<Self> {
        let registers = Registers::new()?;
        let rung = Arc::new(Rung::new(), GFP_KERNEL)?;
        let card = Card::new(
            sys::pci_function(),
            parent.dev(),
            registers.clone(),
            Doorbells::new(rung.clone()),
            info(translation),
        )?;

        let card = Self {
            card,
            registers,
            rung,
        };
        card.card.enable()?;
        Ok(card)
    }

    /// The driver's side.
    pub(super) fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// Asks the control processor for something, or tells it what to do.
    pub(super) fn cp<R>(&self, access: impl FnOnce(&mut ControlProcessor) -> R) -> R {
        self.registers.cp(access)
    }

    /// Has the card post an event.
    pub(super) fn post(&self, event: Event) {
        self.registers.post(event);
    }

    /// What was written to its doorbells.
    pub(super) fn rung(&self) -> &Rung {
        &self.rung
    }
}

impl Drop for TestCard {
    fn drop(&mut self) {
        self.card.shutdown();
    }
}

/// An address space on a card.
pub(super) struct Space<'a> {
    pub(super) space: AddressSpace,
    parent: &'a Parent,
    pub(super) card: TestCard,
}

impl<'a> Space<'a> {
    /// Takes an address space from a new card, and forgets what steps that took.
    pub(super) fn new(parent: &'a Parent) -> Result<Self> {
        let card = TestCard::new(parent)?;
        let space = AddressSpace::create(card.card())?;
        trace::start();

        Ok(Self {
            space,
            parent,
            card,
        })
    }

    /// Makes the address space translate what `maps` says.
    pub(super) fn set_map(&mut self, maps: &Maps) -> Result<(), MapError> {
        self.space
            .set_map(self.card.card(), self.parent.dev(), maps.iotlb())
    }

    /// Maps these pages, which has to work.
    pub(super) fn map(&mut self, pages: &Pages, places: &[(u64, usize)]) -> Result {
        let maps = Maps::of_pages(pages, places)?;
        self.set_map(&maps).map_err(|failure| failure.error)
    }

    /// Maps these pages, which has to fail; returns the error and what is in force now.
    pub(super) fn fail_to_map(
        &mut self,
        pages: &Pages,
        places: &[(u64, usize)],
    ) -> Result<Option<(Error, InForce)>> {
        let maps = Maps::of_pages(pages, places)?;
        let result = self.set_map(&maps);
        Ok(result
            .err()
            .map(|failure| (failure.error, failure.in_force)))
    }

    /// Adds the only range of `maps`.
    pub(super) fn dma_map(&mut self, maps: &Maps) -> Result<(), MapError> {
        let map = maps.iotlb().iter().next().unwrap_or(Err(ENODATA));
        let map = map.map_err(|error| MapError {
            error,
            in_force: InForce::OldMap,
        })?;

        self.space
            .dma_map(self.card.card(), self.parent.dev(), &map)
    }

    /// Removes these I/O virtual addresses, from the first to the last.
    pub(super) fn dma_unmap(&mut self, first: u64, last: u64) -> Result<(), MapError> {
        let range = IovaRange::new(first, last).unwrap_or(IovaRange::ALL);
        self.space.dma_unmap(self.card.card(), range)
    }

    /// Makes the address space translate again what a failure has taken from a process, as when a queue starts.
    pub(super) fn restore(&mut self) -> Result<(), MapError> {
        self.space.restore(self.card.card(), false)
    }

    /// Has the card refuse the next `count` updates for want of room.
    pub(super) fn fill(&self, count: usize) {
        let answer = Answer::Refused(ErrorCode::NoSpace);

        for _ in 0..count {
            self.card
                .cp(|cp| cp.answer(Opcode::AddressSpaceUpdate, answer));
        }
    }

    /// Whether the card's only address space is in this mode.
    pub(super) fn is(&self, mode: AddressSpaceMode) -> bool {
        self.card.cp(|cp| cp.modes().eq([mode]))
    }
}
