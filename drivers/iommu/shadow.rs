// SPDX-License-Identifier: GPL-2.0-only

//! What an address space of the card holds, as the driver believes, and how it gets from one map to the next.
//!
//! Pure logic without I/O: `super::list` is the only way to allocate, and the caller sends what [`Shadow::apply()`]
//! hands out. The kernel module and the host tests compile this same file; `crate::wire` is the shared message
//! crate on both sides.
//!
//! # Invariants of every list of extents in this driver
//!
//! 1. Extents are sorted by `iova` and do not overlap.
//! 2. Start, length and bus address are multiples of [`wire::IOMMU_PAGE_SIZE`], and the length isn't 0.
//! 3. Neither `iova + length - 1` nor `bus + length - 1` wraps.
//! 4. No two neighbours could be merged: extents are maximal. Two lists that translate alike are therefore equal,
//!    which is what makes differences minimal and the digest canonical.
//!
//! # Invariants of a change
//!
//! 1. Every change is one transaction: the first of its batches begins an update, and the last one commits it.
//!    Before the commit the card translates as it did before, and after it as planned; never anything in between.
//! 2. Removals come before additions, so that what is added never overlaps what is held.
//! 3. An extent that is held and wanted with the same values is in no batch. So it translates throughout.
//! 4. [`Shadow`] changes only after the card has acknowledged the commit. If it refuses any batch, or hears of
//!    none, the old map is in force, and the shadow says so.
//! 5. What was to be removed and might not have been must not stay reachable: see
//!    [`may_serve_on()`](super::fallback::may_serve_on).
//! 6. No change of the shadow itself can fail: memory for it is taken while planning.

use super::{
    list::{
        self,
        List,
        NoMemory, //
    },
    sorted::{
        Iter,
        Keyed,
        Sorted, //
    },
};
use crate::{
    info::last_address,
    wire::{
        self,
        AddressSpaceMode,
        ExtentOperation, //
    },
};

/// What the device may do with an extent's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Device reads only.
    Read,
    /// Device writes only.
    Write,
    /// Both.
    ReadWrite,
}

impl Permission {
    /// The permission as the bits that registers, messages and vhost share.
    pub(crate) const fn bits(self) -> u32 {
        match self {
            Self::Read => wire::PERMISSION_READ,
            Self::Write => wire::PERMISSION_WRITE,
            Self::ReadWrite => wire::PERMISSION_READ | wire::PERMISSION_WRITE,
        }
    }
}

/// A range of I/O virtual addresses that translates to one range of bus addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First I/O virtual address.
    pub(crate) iova: u64,
    /// First bus address.
    pub(crate) bus: u64,
    /// Length in bytes.
    pub(crate) length: u64,
    /// What the device may do.
    pub(crate) permission: Permission,
}

impl Keyed for Extent {
    fn key(&self) -> u64 {
        self.iova
    }
}

impl Extent {
    /// Whether the extent by itself keeps invariants 2 and 3 and lies within `iova_bits` and `bus_bits`
    /// bits of address.
    pub(crate) fn is_valid(&self, iova_bits: u8, bus_bits: u8) -> bool {
        let aligned = (self.iova | self.bus | self.length) % wire::IOMMU_PAGE_SIZE == 0;

        aligned && fits(self.iova, self.length, iova_bits) && fits(self.bus, self.length, bus_bits)
    }

    /// The last I/O virtual address. By invariants 2 and 3 it exists.
    pub(crate) fn last(&self) -> u64 {
        self.iova.wrapping_add(self.length).wrapping_sub(1)
    }

    /// The extent as it goes over the wire, to be added or removed.
    pub(crate) fn to_wire(self, operation: ExtentOperation) -> wire::Extent {
        wire::Extent {
            iova: self.iova.into(),
            bus: self.bus.into(),
            length: self.length.into(),
            permission: self.permission.bits().into(),
            operation: (operation as u32).into(),
        }
    }

    /// The extent's share of its address space's digest, see [`wire::Extent::digest`].
    pub(crate) fn digest(self) -> u64 {
        self.to_wire(ExtentOperation::Add).digest()
    }

    /// Both as one extent if `next` continues `self` in both address ranges with the same permission.
    pub(super) fn merge(self, next: Extent) -> Option<Extent> {
        let continues = self.iova.checked_add(self.length) == Some(next.iova)
            && self.bus.checked_add(self.length) == Some(next.bus)
            && self.permission == next.permission;

        if !continues {
            return None;
        }
        let length = self.length.checked_add(next.length)?;
        Some(Extent { length, ..self })
    }

    /// What of the extent lies below `iova`, if anything.
    fn below(self, iova: u64) -> Option<Extent> {
        let length = self.length.min(iova.saturating_sub(self.iova));
        (length != 0).then_some(Extent { length, ..self })
    }

    /// What of the extent lies above `last`, if anything.
    pub(super) fn above(self, last: u64) -> Option<Extent> {
        let length = self.length.min(self.last().saturating_sub(last));
        if length == 0 {
            return None;
        }
        // Behind all of the extent there may be no address any more, but there is one here.
        let skipped = self.length - length;
        Some(Extent {
            iova: self.iova + skipped,
            bus: self.bus + skipped,
            length,
            ..self
        })
    }
}

/// Whether `length` bytes from `start` exist and lie within addresses of `bits` bits.
fn fits(start: u64, length: u64, bits: u8) -> bool {
    match length
        .checked_sub(1)
        .and_then(|rest| start.checked_add(rest))
    {
        Some(last) => last <= last_address(bits),
        None => false,
    }
}

/// Room for the changes of one command.
///
/// # Invariants
///
/// `changes` has room for `size`, which isn't 0.
pub(crate) struct Batch {
    changes: List<wire::Extent>,
    size: usize,
}

impl Batch {
    /// Makes room for `size` changes, or for one. May sleep.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub(crate) fn new(size: u16) -> Result<Self, NoMemory> {
        let size = usize::from(size).max(1);
        Ok(Self {
            changes: list::with_capacity(size)?,
            size,
        })
    }

    /// Takes the next changes, as many as there is room for.
    fn fill(&mut self, changes: &mut impl Iterator<Item = wire::Extent>) -> &[wire::Extent] {
        self.changes.clear();
        for change in changes.take(self.size) {
            let end = self.changes.len();
            list::insert(&mut self.changes, end, change);
        }
        &self.changes
    }
}

/// Why a change could not be planned. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlanError {
    /// There is no memory.
    NoMemory,
    /// Addresses are to be translated twice.
    Overlap,
    /// The range is none, or not one of pages, or only a part of one.
    Invalid,
    /// The address space has another owner.
    Busy,
}

impl From<NoMemory> for PlanError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

/// A change, ready to be applied to the [`Shadow`] that it was planned for, which must not have changed since.
pub(crate) struct Plan(Change);

enum Change {
    /// These extents replace all others.
    All(Sorted<Extent>),
    /// `removed` extents from the one at `key` on give way to `added`.
    Some {
        key: u64,
        removed: usize,
        added: [Option<Extent>; 2],
    },
}

/// What the driver believes of an address space on the card.
///
/// # Invariants
///
/// `extents` keeps the invariants of lists of extents, and is empty unless `mode` is translated.
pub(crate) struct Shadow {
    mode: AddressSpaceMode,
    generation: u64,
    extents: Sorted<Extent>,
}

impl Shadow {
    /// An address space that was just made, in this mode.
    pub(crate) fn new(mode: AddressSpaceMode, generation: u64) -> Self {
        Self {
            mode,
            generation,
            extents: Sorted::new(),
        }
    }

    /// The mode in force.
    pub(crate) fn mode(&self) -> AddressSpaceMode {
        self.mode
    }

    /// The generation in force.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The extents in force.
    pub(crate) fn extents(&self) -> &Sorted<Extent> {
        &self.extents
    }

    /// The digest that the card should report.
    pub(crate) fn digest(&self) -> u64 {
        self.extents
            .iter()
            .fold(0, |sum: u64, extent| sum.wrapping_add(extent.digest()))
    }

    /// Plans to translate `extents`, and nothing else. They come sorted, and each keeps invariants 2 and 3; they
    /// need not be maximal. Takes a step for every extent.
    ///
    /// # Errors
    ///
    /// [`PlanError::NoMemory`]; [`PlanError::Overlap`] if they overlap or are not sorted.
    pub(crate) fn plan_all(
        &self,
        extents: impl Iterator<Item = Extent>,
    ) -> Result<Plan, PlanError> {
        let mut wanted = Sorted::new();
        let mut pending: Option<Extent> = None;

        for extent in extents {
            pending = match pending {
                Some(before) if before.last() >= extent.iova => return Err(PlanError::Overlap),
                Some(before) => match before.merge(extent) {
                    Some(merged) => Some(merged),
                    None => {
                        wanted.push(before)?;
                        Some(extent)
                    }
                },
                None => Some(extent),
            };
        }
        if let Some(extent) = pending {
            wanted.push(extent)?;
        }
        Ok(Plan(Change::All(wanted)))
    }

    /// Plans to translate `extent` as well, which keeps invariants 2 and 3. Takes `O(log n)` steps.
    ///
    /// # Errors
    ///
    /// [`PlanError::NoMemory`]; [`PlanError::Overlap`] if some of it is translated already.
    pub(crate) fn plan_add(&mut self, extent: Extent) -> Result<Plan, PlanError> {
        let place = self.extents.find(extent.iova);
        let (before, after) = (self.extents.before(place), self.extents.get(place));
        let (mut key, mut removed, mut merged) = (extent.iova, 0, extent);

        if before.is_some_and(|before| before.last() >= extent.iova)
            || after.is_some_and(|after| after.iova <= extent.last())
        {
            return Err(PlanError::Overlap);
        }
        if let Some(both) = before.and_then(|before| before.merge(merged)) {
            (key, merged) = (both.iova, both);
            removed += 1;
        }
        if let Some(both) = after.and_then(|after| merged.merge(*after)) {
            merged = both;
            removed += 1;
        }
        self.extents.reserve(1)?;
        Ok(Plan(Change::Some {
            key,
            removed,
            added: [Some(merged), None],
        }))
    }

    /// Plans to translate nothing from `first` to `last` any more. What is held on both sides of that stays.
    /// Takes `O(log n)` steps, and one for every extent that is to change.
    ///
    /// # Errors
    ///
    /// [`PlanError::NoMemory`]; [`PlanError::Invalid`] if it isn't a range of whole pages.
    pub(crate) fn plan_remove(&mut self, first: u64, last: u64) -> Result<Plan, PlanError> {
        if first > last || (first | last.wrapping_add(1)) % wire::IOMMU_PAGE_SIZE != 0 {
            return Err(PlanError::Invalid);
        }
        let place = self.extents.find(first);
        let before = self
            .extents
            .before(place)
            .filter(|before| before.last() >= first);
        let key = before.map_or(first, |before| before.iova);
        let (mut removed, mut added) = (0, [None; 2]);

        for extent in self.extents.iter_from(self.extents.find(key)) {
            if extent.iova > last {
                break;
            }
            removed += 1;
            // Only the first one can begin before the range, and only the last one end behind it.
            if let Some(rest) = extent.below(first) {
                added[0] = Some(rest);
            }
            if let Some(rest) = extent.above(last) {
                added[1] = Some(rest);
            }
        }
        self.extents.reserve(2)?;
        Ok(Plan(Change::Some {
            key,
            removed,
            added,
        }))
    }

    /// Has the card make a planned change, and notes it. Sends nothing if nothing would change.
    ///
    /// `send` gets the flags of an update command, the generation that it is for, and its changes, of which there
    /// are no more than `batch` takes. It returns the generation in force after it.
    ///
    /// # Errors
    ///
    /// What `send` fails with. Nothing was noted then, and nothing was sent after it.
    pub(crate) fn apply<E>(
        &mut self,
        plan: Plan,
        batch: &mut Batch,
        send: impl FnMut(u16, u64, &[wire::Extent]) -> Result<u64, E>,
    ) -> Result<(), E> {
        let committed = match &plan.0 {
            Change::All(wanted) => {
                let removed = Difference::new(&self.extents, wanted).map(remove);
                let added = Difference::new(wanted, &self.extents).map(add);
                // An empty map is one, too: it translates nothing.
                let always = self.mode != AddressSpaceMode::Translated;
                self.transact(removed.chain(added), always, batch, send)?
            }
            Change::Some {
                key,
                removed,
                added,
            } => {
                let place = self.extents.find(*key);
                let removed = self.extents.iter_from(place).take(*removed);
                let added = added.iter().flatten();
                let changes = removed.map(remove).chain(added.map(add));
                self.transact(changes, false, batch, send)?
            }
        };

        if let Some(generation) = committed {
            self.generation = generation;
            self.mode = AddressSpaceMode::Translated;
        }
        // INVARIANT: The card has acknowledged exactly this, or it was so before.
        match plan.0 {
            Change::All(wanted) => self.extents = wanted,
            Change::Some {
                key,
                removed,
                added,
            } => {
                for _ in 0..removed {
                    self.extents.remove(self.extents.find(key));
                }
                for extent in added.into_iter().flatten() {
                    // There is room, as planning has seen to.
                    self.extents.insert(extent);
                }
            }
        }
        Ok(())
    }

    /// Sends changes in batches, as one transaction. Returns the generation then in force, or [`None`] if there
    /// was nothing to send, and it wasn't to be sent `always`.
    fn transact<E>(
        &self,
        changes: impl Iterator<Item = wire::Extent>,
        always: bool,
        batch: &mut Batch,
        mut send: impl FnMut(u16, u64, &[wire::Extent]) -> Result<u64, E>,
    ) -> Result<Option<u64>, E> {
        let mut changes = changes.peekable();
        let mut flags = wire::UPDATE_BEGIN;

        if changes.peek().is_none() && !always {
            return Ok(None);
        }
        loop {
            let batch = batch.fill(&mut changes);
            let last = changes.peek().is_none();
            if last {
                flags |= wire::UPDATE_COMMIT;
            }
            let generation = send(flags, self.generation, batch)?;
            if last {
                return Ok(Some(generation));
            }
            flags = 0;
        }
    }

    /// Notes that the card has dropped all extents, and is in this mode.
    pub(crate) fn set_mode(&mut self, mode: AddressSpaceMode, generation: u64) {
        *self = Self::new(mode, generation);
    }

    /// Notes that the card is cut off from memory, so that nothing is translated whatever it holds.
    pub(crate) fn lost(&mut self) {
        *self = Self::new(AddressSpaceMode::Blocked, self.generation);
    }
}

fn add(extent: &Extent) -> wire::Extent {
    extent.to_wire(ExtentOperation::Add)
}

fn remove(extent: &Extent) -> wire::Extent {
    extent.to_wire(ExtentOperation::Remove)
}

/// Yields the extents of `left` that `right` doesn't hold with exactly the same values, in order.
///
/// Takes a step for every extent of both lists together, however they differ.
struct Difference<'a> {
    left: Iter<'a, Extent>,
    right: core::iter::Peekable<Iter<'a, Extent>>,
}

impl<'a> Difference<'a> {
    fn new(left: &'a Sorted<Extent>, right: &'a Sorted<Extent>) -> Self {
        Self {
            left: left.iter(),
            right: right.iter().peekable(),
        }
    }
}

impl<'a> Iterator for Difference<'a> {
    type Item = &'a Extent;

    fn next(&mut self) -> Option<&'a Extent> {
        let right = &mut self.right;

        self.left.find(|candidate| {
            while right.next_if(|other| other.iova < candidate.iova).is_some() {}
            right.peek() != Some(candidate)
        })
    }
}

/// Whether `held` has something that `wanted` doesn't have. Both are sorted by key; `same` compares two elements
/// of the same key.
pub(crate) fn lacks<T: Keyed, U: Keyed>(
    held: impl Iterator<Item = T>,
    wanted: impl Iterator<Item = U>,
    same: impl Fn(&T, &U) -> bool,
) -> bool {
    let mut wanted = wanted.peekable();

    let mut held = held;

    held.any(|held| {
        while wanted.next_if(|wanted| wanted.key() < held.key()).is_some() {}
        !wanted
            .peek()
            .is_some_and(|wanted| wanted.key() == held.key() && same(&held, wanted))
    })
}
