// SPDX-License-Identifier: GPL-2.0-only

//! An address space, extent by extent: what the card holds beside what the driver believes.
//!
//! The first line tells of both as a whole, the last one how many extents both hold, and how many only one of
//! them. In between is a line for each, by rising I/O virtual address:
//!
//! ```text
//! IOVA BUS-ADDRESS LENGTH PERMISSION both|card-only|driver-only
//! ```
//!
//! A reader holds a page of the card's extents, however many there are, and no lock between two lines. A map
//! that changes meanwhile ends the list with a line that begins with `incomplete:`, since a list of which one part
//! is older than the other would show differences that never were.

use super::io;
use crate::{
    cmdq::{
        commands,
        CommandError, //
    },
    iommu::{
        compare::{
            self,
            Holder, //
        },
        AddressSpace, //
    },
    virtio_device::VirtioDevice,
    wire, //
};
use kernel::{
    fmt,
    prelude::*,
    sync::Arc, //
};
use zerocopy::FromZeros;

/// The list of one address space.
pub(super) struct Dump {
    device: Arc<VirtioDevice>,
    asid: u32,
}

impl Dump {
    /// The list of the address space that vDPA calls `asid`.
    pub(super) fn new(device: Arc<VirtioDevice>, asid: u32) -> Self {
        Self { device, asid }
    }
}

impl io::Lines for Dump {
    fn open(&self) -> Result<KBox<dyn io::Reader>> {
        Ok(KBox::new(
            Reader::new(self.device.clone(), self.asid)?,
            GFP_KERNEL,
        )?)
    }
}

/// Why a list ends before its end.
#[derive(Clone, Copy)]
enum Incomplete {
    /// The device has given its address space back.
    Gone,
    /// The map isn't that of the first line any more.
    Changed,
    /// The card's extents overlap or are not in order.
    Disorder,
    /// The card could not be asked.
    Command(CommandError),
}

/// Numbers of the first line.
struct Head {
    number: u16,
    card: wire::AddressSpaceInfo,
    driver_mode: wire::AddressSpaceMode,
    driver_generation: u64,
    driver_extents: usize,
    driver_digest: u64,
}

enum Line {
    Head(Head),
    Extent(Holder, wire::Extent),
    Sum,
    Incomplete(Incomplete),
}

/// What comes after the line at hand.
#[derive(PartialEq, Eq)]
enum Next {
    Head,
    Extent,
    Nothing,
}

/// Somebody who reads the list.
pub(crate) struct Reader {
    device: Arc<VirtioDevice>,
    asid: u32,
    line: Line,
    next: Next,
    /// Generations that the first line has told.
    card_generation: u64,
    driver_generation: u64,
    /// Extents of the card that were told, and those at hand of which `at` is the next.
    chunk: KVec<wire::Extent>,
    filled: usize,
    at: usize,
    /// Extents that the card has, and those of them that were read.
    card_extents: u32,
    card_read: u32,
    /// Where the next extent of the card and of the driver begins at the lowest; [`None`] at the end of all
    /// addresses.
    card_from: Option<u64>,
    driver_from: Option<u64>,
    /// Extents that were told, by [`Holder`].
    both: u64,
    card_only: u64,
    driver_only: u64,
}

impl Reader {
    /// A reader before the first line.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub(crate) fn new(device: Arc<VirtioDevice>, asid: u32) -> Result<Self> {
        let mut chunk = KVec::new();
        // An update's worth: there is a payload buffer for it.
        chunk.resize(
            device.card().info.batch.into(),
            wire::Extent::new_zeroed(),
            GFP_KERNEL,
        )?;

        Ok(Self {
            device,
            asid,
            line: Line::Sum,
            next: Next::Head,
            card_generation: 0,
            driver_generation: 0,
            chunk,
            filled: 0,
            at: 0,
            card_extents: 0,
            card_read: 0,
            card_from: Some(0),
            driver_from: Some(0),
            both: 0,
            card_only: 0,
            driver_only: 0,
        })
    }

    /// Reads the first line.
    fn head(&mut self, space: &AddressSpace) -> Result<Line, Incomplete> {
        let card = commands::address_space_query(self.device.card(), space.number())
            .map_err(Incomplete::Command)?;

        self.card_generation = card.generation.get();
        self.driver_generation = space.generation();
        self.card_extents = card.extents.get();
        Ok(Line::Head(Head {
            number: space.number(),
            card,
            driver_mode: space.mode(),
            driver_generation: space.generation(),
            driver_extents: space.extents().len(),
            driver_digest: space.digest(),
        }))
    }

    /// Reads one of the lines after the first.
    fn extent(&mut self, space: &AddressSpace) -> Result<Line, Incomplete> {
        if space.generation() != self.driver_generation {
            return Err(Incomplete::Changed);
        }
        if self.at == self.filled && self.card_read < self.card_extents {
            self.fill(space)?;
        }
        let card = self.chunk.get(..self.filled).and_then(|c| c.get(self.at));
        let extents = space.extents();
        let driver = self
            .driver_from
            .and_then(|from| extents.get(extents.find(from)));
        let Some((holder, extent)) = compare::next(card, driver) else {
            return Ok(Line::Sum);
        };

        let end = extent.iova.get().checked_add(extent.length.get());
        if holder != Holder::DriverOnly {
            // Each step goes up, so that there is an end to what a card may tell.
            if self.card_from.is_none_or(|from| extent.iova.get() < from)
                || extent.length.get() == 0
            {
                return Err(Incomplete::Disorder);
            }
            self.card_from = end;
            self.at += 1;
        }
        if holder != Holder::CardOnly {
            self.driver_from = end;
        }
        *match holder {
            Holder::Both => &mut self.both,
            Holder::CardOnly => &mut self.card_only,
            Holder::DriverOnly => &mut self.driver_only,
        } += 1;
        Ok(Line::Extent(holder, extent))
    }

    /// Reads more of the card's extents.
    fn fill(&mut self, space: &AddressSpace) -> Result<(), Incomplete> {
        let (generation, count) = commands::address_space_read(
            self.device.card(),
            space.number(),
            self.card_read,
            &mut self.chunk,
        )
        .map_err(Incomplete::Command)?;

        // A card that has fewer than it said has changed its map, too.
        if generation != self.card_generation || count == 0 {
            return Err(Incomplete::Changed);
        }
        self.at = 0;
        self.filled = count;
        // CAST: no more than the chunk has.
        self.card_read = self.card_read.saturating_add(count as u32);
        Ok(())
    }

    fn read_line(&mut self) -> Result<Line, Incomplete> {
        let device = self.device.clone();
        let space = device.space(self.asid).map_err(|_| Incomplete::Gone)?;
        let space = space.lock();
        let space = space.as_ref().ok_or(Incomplete::Gone)?;

        match self.next {
            Next::Head => self.head(space),
            _ => self.extent(space),
        }
    }
}

impl io::Reader for Reader {
    fn advance(&mut self) -> bool {
        if self.next == Next::Nothing {
            return false;
        }
        self.line = self.read_line().unwrap_or_else(Line::Incomplete);
        self.next = match self.line {
            Line::Head(_) | Line::Extent(..) => Next::Extent,
            Line::Sum | Line::Incomplete(_) => Next::Nothing,
        };
        true
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.line {
            Line::Head(head) => writeln!(
                f,
                "asid={} card={} mode={} driver_mode={} generation={} driver_generation={} extents={} \
                 driver_extents={} digest={:#018x} expected_digest={:#018x}",
                self.asid,
                head.number,
                super::mode_text(head.card.mode()),
                super::mode_text(Some(head.driver_mode)),
                head.card.generation.get(),
                head.driver_generation,
                head.card.extents.get(),
                head.driver_extents,
                head.card.digest.get(),
                head.driver_digest,
            ),
            Line::Extent(holder, extent) => writeln!(
                f,
                "{:#018x} {:#018x} {:#x} {} {}",
                extent.iova.get(),
                extent.bus.get(),
                extent.length.get(),
                match extent.permission.get() {
                    wire::PERMISSION_READ => "r",
                    wire::PERMISSION_WRITE => "w",
                    3 => "rw",
                    _ => "?",
                },
                match holder {
                    Holder::Both => "both",
                    Holder::CardOnly => "card-only",
                    Holder::DriverOnly => "driver-only",
                },
            ),
            Line::Sum => writeln!(
                f,
                "both={} card_only={} driver_only={}",
                self.both, self.card_only, self.driver_only
            ),
            Line::Incomplete(reason) => match reason {
                Incomplete::Gone => writeln!(f, "incomplete: the device is gone"),
                Incomplete::Changed => {
                    writeln!(f, "incomplete: the map has changed meanwhile; read again")
                }
                Incomplete::Disorder => {
                    writeln!(f, "incomplete: the card's extents are empty, overlap or are not in order")
                }
                Incomplete::Command(error) => writeln!(f, "incomplete: error={error:?}"),
            },
        }
    }
}
