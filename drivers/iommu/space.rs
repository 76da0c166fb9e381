// SPDX-License-Identifier: GPL-2.0-only

//! An address space: what its owner is to have, what the card translates of it, and what becomes of both when a change
//! fails.
//!
//! A failure can leave the card with less than the owner was promised. The ranges that are missing then stay in the list,
//! with their memory, and *wait*: every later change that names all ranges tries to have them back, and so does
//! [`Space::restore()`], without which the device doesn't start again. A range that its owner unmaps meanwhile leaves the
//! list like any other. So there is one list only, and nothing that isn't in it can come back.
//!
//! Pure logic without I/O; `super::list` is the only way to allocate, and [`Commands`] the only way to the card. The
//! kernel module and the host tests compile this same file.

use super::{
    fallback::{
        may_serve_on,
        withdraw,
        Failure, //
    },
    shadow::{
        Batch,
        Extent,
        Plan,
        PlanError,
        Shadow, //
    },
    sorted::{
        Keyed,
        Sorted, //
    },
};
use crate::wire::{
    self,
    AddressSpaceMode, //
};

/// Whose memory an address space translates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A process, through vhost-vdpa.
    Process,
    /// The kernel, through virtio-vdpa on a card without a 1:1 mode.
    Kernel,
}

/// What an address space translates after a change failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InForce {
    /// What it did before.
    OldMap,
    /// No more than was to stay, and perhaps less: the rest of that waits. Only a reset tells the owner.
    Rest,
    /// Nothing: it is blocked, or the card is dead. What was to stay waits.
    Nothing,
}

/// A range of memory in an address space. Dropping it gives the memory back.
pub(crate) trait Ranged: Keyed {
    /// What the card has to translate for it. The key is its first I/O virtual address, and it never changes.
    fn extent(&self) -> Extent;
}

/// What the card is asked to do with one address space.
pub(crate) trait Commands {
    /// Why a command failed, or wasn't even issued.
    type Error: From<PlanError>;

    /// Changes that an update command takes at most.
    fn batch(&self) -> u16;

    /// Sends an update command; see [`Shadow::apply()`].
    fn update(
        &mut self,
        flags: u16,
        generation: u64,
        changes: &[wire::Extent],
    ) -> Result<u64, Self::Error>;

    /// Has the card drop all extents and go to this mode. Returns the generation then in force.
    fn set_mode(&mut self, mode: AddressSpaceMode) -> Result<u64, Self::Error>;

    /// How a command that failed leaves the card.
    fn failure(&self, error: &Self::Error) -> Failure;

    /// Cuts the card off from memory, because it can't even block the address space.
    fn give_up(&mut self);
}

/// An address space.
///
/// # Invariants
///
/// 1. As long as the card is alive, it holds exactly what `shadow` says.
/// 2. What `shadow` translates for a process is what some of `ranges` merge to. These are all of them unless
///    `is_waiting`, which is only ever so if there are any.
/// 3. `mapped_by` is whose memory it is. For the kernel's there are no `ranges`. It is [`None`] unless the address space
///    translates or `ranges` wait.
pub(crate) struct Space<T> {
    shadow: Shadow,
    ranges: Sorted<T>,
    is_waiting: bool,
    mapped_by: Option<Owner>,
    default_mode: AddressSpaceMode,
}

/// Has the card make a planned change, and notes it.
///
/// # Errors
///
/// What a command fails with. Nothing has changed then.
pub(super) fn apply<C: Commands>(
    shadow: &mut Shadow,
    card: &mut C,
    plan: Plan,
    batch: &mut Batch,
) -> Result<(), C::Error> {
    shadow.apply(plan, batch, |flags, generation, changes| {
        card.update(flags, generation, changes)
    })
}

impl<T: Ranged> Space<T> {
    /// An address space that was just made, in the mode of one that nobody has mapped.
    pub(crate) fn new(default_mode: AddressSpaceMode, generation: u64) -> Self {
        // INVARIANT: It is new, and translates nothing by extents.
        Self {
            shadow: Shadow::new(default_mode, generation),
            ranges: Sorted::new(),
            is_waiting: false,
            mapped_by: None,
            default_mode,
        }
    }

    /// What the card should hold.
    pub(crate) fn shadow(&self) -> &Shadow {
        &self.shadow
    }

    /// What a process is to have, sorted by address: that which waits as well.
    pub(crate) fn ranges(&self) -> &Sorted<T> {
        &self.ranges
    }

    /// Whose memory this is, or is to be again.
    pub(crate) fn mapped_by(&self) -> Option<Owner> {
        self.mapped_by
    }

    /// Whether it translates, by extents.
    pub(crate) fn is_translated(&self) -> bool {
        self.shadow.mode() == AddressSpaceMode::Translated
    }

    /// Whether all that a process is to have is translated.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_translated() && !self.is_waiting
    }

    /// Makes it translate `ranges`, and nothing else. Ranges that are gone are dropped after the card has let go of
    /// them. Old ones that stay are to be the same.
    ///
    /// # Errors
    ///
    /// What a command or a plan fails with. Nothing has changed then; see [`Self::failed()`].
    pub(crate) fn replace<C: Commands>(
        &mut self,
        card: &mut C,
        ranges: Sorted<T>,
    ) -> Result<(), C::Error> {
        let plan = self.shadow.plan_all(ranges.iter().map(T::extent))?;

        self.apply(card, plan)?;
        self.ranges = ranges;
        self.is_waiting = false;
        self.mapped_by = Some(Owner::Process);
        Ok(())
    }

    /// Whether a range from `first` to `last` can be added.
    ///
    /// # Errors
    ///
    /// [`PlanError::Overlap`] if a range is in the way, even one that waits; [`PlanError::Busy`] if the kernel's memory
    /// is mapped.
    pub(crate) fn check_free(&self, first: u64, last: u64) -> Result<(), PlanError> {
        let place = self.ranges.find(first);
        let before = self.ranges.before(place);
        let after = self.ranges.get(place);

        if self.mapped_by == Some(Owner::Kernel) {
            return Err(PlanError::Busy);
        }
        if before.is_some_and(|range| range.extent().last() >= first)
            || after.is_some_and(|range| range.key() <= last)
        {
            return Err(PlanError::Overlap);
        }
        Ok(())
    }

    /// Makes it translate `range`, too, and with it all that waits. Takes `O(log n)` steps, or `O(n)` if something waits.
    ///
    /// # Errors
    ///
    /// As [`Self::check_free()`] and [`Self::replace()`].
    pub(crate) fn add<C: Commands>(&mut self, card: &mut C, range: T) -> Result<(), C::Error> {
        let extent = range.extent();

        self.check_free(extent.iova, extent.last())?;
        self.ranges.reserve(1).map_err(PlanError::from)?;
        let plan = match self.is_waiting {
            false => self.shadow.plan_add(extent)?,
            // One transaction: the new range may be what closes a hole that there is no room for.
            true => {
                let below = self.ranges.iter().map(T::extent);
                let above = self.ranges.iter_from(self.ranges.find(extent.iova));
                let all = below
                    .take_while(|below| below.iova < extent.iova)
                    .chain([extent])
                    .chain(above.map(T::extent));
                self.shadow.plan_all(all)?
            }
        };
        self.apply(card, plan)?;
        // There is room for it.
        self.ranges.insert(range);
        self.is_waiting = false;
        self.mapped_by = Some(Owner::Process);
        Ok(())
    }

    /// Makes it translate nothing from `first` to `last` any more, and forgets what waits there. With the last range
    /// it goes back to its default mode. Takes `O(log n)` steps, and one for every range that goes.
    ///
    /// # Errors
    ///
    /// [`PlanError::Invalid`] if only a part of a range is to go; else as [`Self::replace()`].
    pub(crate) fn remove<C: Commands>(
        &mut self,
        card: &mut C,
        first: u64,
        last: u64,
    ) -> Result<(), C::Error> {
        let place = self.ranges.find(first);
        let before = self.ranges.before(place);
        let going = || {
            let ranges = self.ranges.iter_from(place);
            ranges.take_while(|range| range.key() <= last)
        };
        let count = going().count();
        let end = going().last().map(|range| range.extent().last());

        if before.is_some_and(|range| range.extent().last() >= first)
            || end.is_some_and(|end| end > last)
        {
            return Err(PlanError::Invalid.into());
        }
        let (Some(begin), Some(end)) = (self.ranges.get(place).map(T::key), end) else {
            return Ok(());
        };
        // With the last range its owner is gone, too: on to the default, by one command as well.
        if count == self.ranges.len() {
            return self.set_mode(card, self.default_mode);
        }

        // One that is blocked translates nothing of them anyway.
        if self.is_translated() {
            let plan = self.shadow.plan_remove(begin, end)?;
            self.apply(card, plan)?;
        }
        // The card has let go of them.
        for _ in 0..count {
            drop(self.ranges.remove(self.ranges.find(begin)));
        }
        Ok(())
    }

    /// Makes it translate the kernel's memory in `extents`, and nothing else. They come sorted, and are valid by themselves.
    ///
    /// # Errors
    ///
    /// [`PlanError::Busy`] if a process has mapped it; else as [`Self::replace()`].
    pub(crate) fn set_kernel<C: Commands>(
        &mut self,
        card: &mut C,
        extents: impl Iterator<Item = Extent>,
    ) -> Result<(), C::Error> {
        if self.mapped_by == Some(Owner::Process) {
            return Err(PlanError::Busy.into());
        }
        let plan = self.shadow.plan_all(extents)?;

        self.apply(card, plan)?;
        self.mapped_by = Some(Owner::Kernel);
        Ok(())
    }

    /// Makes it translate again what waits. Sends nothing if nothing does.
    ///
    /// # Errors
    ///
    /// As [`Self::replace()`]: all of that goes on waiting.
    pub(crate) fn restore<C: Commands>(&mut self, card: &mut C) -> Result<(), C::Error> {
        if !self.is_waiting {
            return Ok(());
        }
        let plan = self.shadow.plan_all(self.ranges.iter().map(T::extent))?;

        self.apply(card, plan)?;
        self.is_waiting = false;
        Ok(())
    }

    /// Puts it back to its default mode if a failure has left it in another, and nothing is mapped. Sends nothing otherwise.
    ///
    /// # Errors
    ///
    /// What the command fails with.
    pub(crate) fn restore_default<C: Commands>(&mut self, card: &mut C) -> Result<(), C::Error> {
        if self.mapped_by.is_some() || self.shadow.mode() == self.default_mode {
            return Ok(());
        }
        self.reset(card)
    }

    /// Puts it back to its default mode, and drops all ranges.
    ///
    /// # Errors
    ///
    /// What the command fails with. Nothing has changed then; see [`Self::failed()`].
    pub(crate) fn reset<C: Commands>(&mut self, card: &mut C) -> Result<(), C::Error> {
        self.set_mode(card, self.default_mode)
    }

    /// Sees to it that nothing which was to be removed, or of which nobody knows, stays reachable after a change failed
    /// with `error`. `removes` says whether the change was to remove anything. `stays` makes a function that chooses which ranges
    /// were to stay; it is asked once for each, in order. Those stay in the list, whatever happens, unless the card is dead.
    pub(crate) fn failed<C: Commands, P: FnMut(&T) -> bool>(
        &mut self,
        card: &mut C,
        error: &C::Error,
        removes: bool,
        stays: impl Fn() -> P,
    ) -> InForce {
        let failure = card.failure(error);

        if may_serve_on(failure, removes) {
            return match self.is_waiting && !self.is_translated() {
                true => InForce::Nothing,
                false => InForce::OldMap,
            };
        }
        // A dead card is blocked, too: by being cut off.
        if failure == Failure::Unchanged && self.withdraw(card, &stays) {
            return InForce::Rest;
        }
        self.block(card, stays());
        InForce::Nothing
    }

    /// Has the card keep no more than what stays, and drops the other ranges. If it doesn't, all is as it was. Returns
    /// whether it did.
    fn withdraw<C: Commands, P: FnMut(&T) -> bool>(
        &mut self,
        card: &mut C,
        stays: &impl Fn() -> P,
    ) -> bool {
        // To translate nothing is what blocking is for.
        if !self.is_translated() || !self.ranges.iter().any(stays()) {
            return false;
        }
        let kept = || {
            let mut stays = stays();
            let ranges = self.ranges.iter();
            ranges.filter(move |range| stays(range)).map(T::extent)
        };

        let Ok(is_all) = withdraw(&mut self.shadow, kept, card) else {
            return false;
        };
        // The card has let go of the other ranges.
        self.ranges.retain(stays());
        self.is_waiting = !is_all;
        true
    }

    /// Makes every access fault, and drops what doesn't stay. If not even that succeeds the card is given up.
    fn block<C: Commands>(&mut self, card: &mut C, stays: impl FnMut(&T) -> bool) {
        match card.set_mode(AddressSpaceMode::Blocked) {
            // INVARIANT: Blocked, and these wait.
            Ok(generation) => {
                self.shadow.set_mode(AddressSpaceMode::Blocked, generation);
                self.ranges.retain(stays);
            }
            Err(_) => {
                card.give_up();
                // A card that is cut off reaches nothing, so the memory may go back.
                self.shadow.lost();
                self.ranges = Sorted::new();
            }
        }
        self.is_waiting = self.ranges.len() != 0;
        self.mapped_by = self.is_waiting.then_some(Owner::Process);
    }

    /// Has the card make a planned change.
    fn apply<C: Commands>(&mut self, card: &mut C, plan: Plan) -> Result<(), C::Error> {
        let mut batch = Batch::new(card.batch()).map_err(PlanError::from)?;

        apply(&mut self.shadow, card, plan, &mut batch)
    }

    fn set_mode<C: Commands>(
        &mut self,
        card: &mut C,
        mode: AddressSpaceMode,
    ) -> Result<(), C::Error> {
        let generation = card.set_mode(mode)?;

        // INVARIANT: The card has dropped all extents and is in this mode.
        self.shadow.set_mode(mode, generation);
        self.ranges = Sorted::new();
        self.is_waiting = false;
        self.mapped_by = None;
        Ok(())
    }
}
