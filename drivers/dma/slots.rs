// SPDX-License-Identifier: GPL-2.0-only

//! Which parts of a bounce pool are lent to whom.
//!
//! Pure logic without I/O and without allocation. The kernel module and the host tests compile this same
//! file.
//!
//! A pool is a row of slots of equal size. A buffer gets a run of neighbouring slots, so that its addresses
//! are contiguous for the device; addresses inside of the run lead back to the buffer.
//!
//! # Invariant
//!
//! Every slot is free or belongs to exactly one run, whose first slot holds the run's [`Loan`]; all slots of the run name
//! that slot.
//!
//! # Capacity
//!
//! As long as all runs are of one slot, as many can be had as there are slots, in whatever order they come and go. Longer
//! runs can fail earlier, because the slots that are free may not be neighbours.
//!
//! # Time
//!
//! Taking a run looks at each slot once at most, and at none if there are too few; the rest takes time in
//! proportion to the run. Runs that are given back and taken again in batches are found at once.

use core::ops::DerefMut;

/// Whose buffer a run of slots stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loan {
    /// Physical address of the buffer's first byte.
    pub(crate) phys: u64,
    /// Bytes, 1 or more.
    pub(crate) len: usize,
}

/// What is known of one slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// First slot of the run that the slot belongs to, or [`FREE`].
    first: usize,
    /// Slots of the run. In its first slot only.
    count: usize,
    /// In the run's first slot only.
    loan: Loan,
}

/// No slot has this number.
const FREE: usize = usize::MAX;

impl Slot {
    /// A slot that belongs to nobody.
    pub(crate) const FREE: Self = Self {
        first: FREE,
        count: 0,
        loan: Loan { phys: 0, len: 0 },
    };
}

/// The slots of a pool. `S` is a vector of [`Slot::FREE`] to begin with.
#[derive(Debug)]
pub(crate) struct Slots<S> {
    slots: S,
    /// Where to look next: runs come back in about the order in which they were taken.
    next: usize,
    /// Slots in use.
    used: usize,
}

impl<S: DerefMut<Target = [Slot]>> Slots<S> {
    /// Makes the administration of `slots`, all of which are free.
    pub(crate) fn new(mut slots: S) -> Self {
        slots.fill(Slot::FREE);
        Self {
            slots,
            next: 0,
            used: 0,
        }
    }

    /// Slots that belong to somebody.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Takes `count` neighbouring slots for `loan` and returns the first, or [`None`] if there aren't any.
    pub(crate) fn take(&mut self, count: usize, loan: Loan) -> Option<usize> {
        let len = self.slots.len();

        if count == 0 || count > len.checked_sub(self.used)? {
            return None;
        }
        let first = self
            .find_free(count, self.next, len)
            // Runs that begin before `next` may reach beyond it.
            .or_else(|| self.find_free(count, 0, len.min(self.next.saturating_add(count - 1))))?;

        for slot in self.slots.get_mut(first..first + count)? {
            *slot = Slot {
                first,
                ..Slot::FREE
            };
        }
        let head = self.slots.get_mut(first)?;
        head.count = count;
        head.loan = loan;
        self.used += count;
        self.next = (first + count) % len;
        Some(first)
    }

    /// The first slot of the first `count` free neighbours from `begin` to before `end`.
    fn find_free(&self, count: usize, begin: usize, end: usize) -> Option<usize> {
        let mut run = 0;

        for (number, slot) in self.slots.get(begin..end)?.iter().enumerate() {
            run = match slot.first {
                FREE => run + 1,
                _ => 0,
            };
            if run == count {
                return Some(begin + number + 1 - count);
            }
        }
        None
    }

    /// The run that `slot` belongs to: its first slot, and for whom it stands.
    pub(crate) fn find(&self, slot: usize) -> Option<(usize, Loan)> {
        let first = match self.slots.get(slot)?.first {
            FREE => return None,
            first => first,
        };

        Some((first, self.slots.get(first)?.loan))
    }

    /// Gives back the run that begins with `first`. Returns for whom it stood, or [`None`], with nothing
    /// changed, if no run begins there.
    pub(crate) fn release(&mut self, first: usize) -> Option<Loan> {
        let head = *self.slots.get(first)?;
        if head.first != first {
            return None;
        }

        self.slots
            .get_mut(first..first + head.count)?
            .fill(Slot::FREE);
        self.used = self.used.saturating_sub(head.count);
        // In a full pool the only free slots are those that just came back. The first of a batch is where the next one begins.
        if self.slots.get(self.next)?.first != FREE {
            self.next = first;
        }
        Some(head.loan)
    }
}
