// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The on-chip IOMMU: address spaces, the memory for their extents, and the IOTLB in front.
//!
//! On a card that has none, every access goes out as it is; that is the one without address spaces.
//!
//! An access is judged as a whole: it is carried out if extents cover and permit all of it, adjacent or not on the bus,
//! and otherwise not a byte of it is. What the firmware changes is in force when the call returns, because the model
//! carries out an access in one go.

mod iotlb;
mod space;
#[cfg(test)]
mod tests;

use mooring_firmware::hal::{Fault, SpaceState};
use mooring_hw_regs::wire::{AddressSpaceMode, ErrorCode, Extent, ExtentOperation};

use iotlb::Iotlb;
use space::Space;

/// A part of an access that is contiguous on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its first bus address.
    pub bus: u64,
    /// Its bytes, at least 1.
    pub length: usize,
}

/// The IOMMU of a card.
pub(crate) struct Iommu {
    spaces: Box<[Space]>,
    /// The last I/O virtual address that the card handles.
    last: u64,
    iotlb: Iotlb,
    /// Extents that the card's memory holds.
    capacity: u64,
    /// Extents that all spaces together have room reserved for.
    reserved: u64,
    /// Accesses refused.
    faults: u32,
    /// Extents that are still to be added before one is lost.
    until_forgotten: Option<u64>,
}

impl Iommu {
    /// An IOMMU whose address spaces are all blocked; without address spaces, none.
    pub fn new(address_spaces: u16, capacity: u32) -> Self {
        Self {
            last: u64::MAX,
            spaces: (0..address_spaces).map(|_| Space::default()).collect(),
            iotlb: Iotlb::default(),
            capacity: capacity.into(),
            reserved: 0,
            faults: 0,
            until_forgotten: None,
        }
    }

    /// The same, whose I/O virtual addresses have `bits` bits, 1 to 64. It refuses those above, in 1:1 address spaces as
    /// well; hardware may rather cut them off, and access something else.
    pub fn with_iova_bits(self, bits: u8) -> Self {
        Self {
            last: u64::MAX >> (64 - bits),
            ..self
        }
    }

    /// The same, which loses the `nth` extent that is added and says that it holds it.
    pub fn forgetting(self, nth: Option<u64>) -> Self {
        Self {
            until_forgotten: nth,
            ..self
        }
    }

    /// Whether the extent that is being added is the one to lose.
    fn forgets(&mut self) -> bool {
        self.until_forgotten = self.until_forgotten.and_then(|count| count.checked_sub(1));
        self.until_forgotten == Some(0)
    }

    /// Accesses refused since the card's reset.
    pub fn faults(&self) -> u32 {
        self.faults
    }

    /// Translates an access of `length` bytes that needs `permission`. Replaces the content of `pieces` with where it
    /// goes on the bus.
    pub fn translate(
        &mut self,
        space: u16,
        iova: u64,
        length: usize,
        permission: u32,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), Fault> {
        pieces.clear();
        if length == 0 {
            return Ok(());
        }
        if self
            .cover(space, iova, length, permission, pieces)
            .is_some()
        {
            return Ok(());
        }
        pieces.clear();
        self.faults = self.faults.wrapping_add(1);
        if let Some(space) = self.spaces.get_mut(usize::from(space)) {
            space.count_fault();
        }
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        Err(Fault {
            address_space: space,
            iova,
            length,
            permission,
        })
    }

    /// Walks over the extents that cover an access. `None`: something isn't covered or permitted.
    fn cover(
        &mut self,
        number: u16,
        iova: u64,
        length: usize,
        permission: u32,
        pieces: &mut Vec<Piece>,
    ) -> Option<()> {
        if self.spaces.is_empty() {
            pieces.push(Piece { bus: iova, length });
            return Some(());
        }
        let space = self.spaces.get(usize::from(number))?;
        let last = iova.checked_add(length as u64 - 1)?;
        if last > self.last {
            return None;
        }
        match space.mode() {
            AddressSpaceMode::Blocked => return None,
            AddressSpaceMode::Identity => {
                pieces.push(Piece { bus: iova, length });
                return Some(());
            }
            AddressSpaceMode::Translated => {}
        }
        let mut at = iova;
        loop {
            let run = match self.iotlb.look_up(number, at) {
                Some(run) => run,
                None => {
                    let run = space.run(at)?;
                    self.iotlb.insert(number, at, run);
                    run
                }
            };
            if permission & !run.permission != 0 {
                return None;
            }
            let end = run.last.min(last);
            let bus = run.bus + (at - run.first);
            let length = usize::try_from(end - at).ok()?.checked_add(1)?;
            match pieces.last_mut() {
                // Extents that are adjacent on the bus, too, make one bus access.
                Some(piece) if piece.bus.checked_add(piece.length as u64) == Some(bus) => {
                    piece.length += length
                }
                _ => pieces.push(Piece { bus, length }),
            }
            if end == last {
                return Some(());
            }
            // `end` is below `last`, so this doesn't overflow.
            at = end + 1;
        }
    }

    fn with_space<R: Default>(&mut self, number: u16, change: impl FnOnce(&mut Space) -> R) -> R {
        let Some(space) = self.spaces.get_mut(usize::from(number)) else {
            return R::default();
        };
        let before = space.reserved();
        let result = change(space);
        self.reserved = self.reserved - before + space.reserved();
        result
    }
}

/// What the firmware asks of the IOMMU.
impl mooring_firmware::hal::Iommu for Iommu {
    fn set_mode(&mut self, space: u16, mode: AddressSpaceMode) {
        self.with_space(space, |space| space.set_mode(mode));
        self.iotlb.invalidate(space);
    }

    fn begin(&mut self, space: u16) {
        self.with_space(space, Space::begin);
    }

    fn stage(
        &mut self,
        number: u16,
        operation: ExtentOperation,
        extent: &Extent,
    ) -> Result<(), ErrorCode> {
        let forgets = operation == ExtentOperation::Add && self.forgets();
        let free = self.capacity.saturating_sub(self.reserved);
        let Some(space) = self.spaces.get_mut(usize::from(number)) else {
            return Err(ErrorCode::NoSuchAddressSpace);
        };
        let before = space.reserved();
        let result = match operation {
            ExtentOperation::Add if space.reserved_with_one_more() > before + free => {
                Err(ErrorCode::NoSpace)
            }
            ExtentOperation::Add if forgets => Ok(()),
            ExtentOperation::Add => space.stage_add(extent),
            ExtentOperation::Remove => space.stage_remove(extent),
        };
        self.reserved = self.reserved - before + space.reserved();
        result
    }

    fn commit(&mut self, space: u16) {
        self.with_space(space, Space::commit);
        self.iotlb.invalidate(space);
    }

    fn abort(&mut self, space: u16) {
        self.with_space(space, Space::abort);
    }

    fn space_state(&self, space: u16) -> SpaceState {
        self.spaces
            .get(usize::from(space))
            .map(Space::state)
            .unwrap_or_default()
    }

    fn clear_faults(&mut self, space: u16) {
        self.with_space(space, Space::clear_faults);
    }

    fn read_extents(&self, space: u16, start: u32, extents: &mut [Extent]) -> usize {
        let Some(space) = self.spaces.get(usize::from(space)) else {
            return 0;
        };
        let held = space
            .extents()
            .skip(usize::try_from(start).unwrap_or(usize::MAX));
        held.zip(extents).map(|(held, slot)| *slot = held).count()
    }
}
