// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One address space: its extents, and the changes staged on top of them.

use std::collections::{BTreeMap, BTreeSet};

use mooring_firmware::hal::SpaceState;
use mooring_hw_regs::wire::{AddressSpaceMode, ErrorCode, Extent};

/// A range of I/O virtual addresses that translates to one range of bus addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// First I/O virtual address.
    pub first: u64,
    /// Last I/O virtual address.
    pub last: u64,
    /// First bus address.
    pub bus: u64,
    /// Permission bits.
    pub permission: u32,
}

impl Run {
    /// The extent's run. The firmware has checked that it doesn't wrap and isn't empty.
    fn new(extent: &Extent) -> Self {
        let first = extent.iova.get();
        let last = first.wrapping_add(extent.length.get().wrapping_sub(1));
        Self {
            first,
            last,
            bus: extent.bus.get(),
            permission: extent.permission.get(),
        }
    }

    /// Bytes. No extent is as long as 2^64, because its length is 64 bits wide.
    fn length(&self) -> u64 {
        (self.last - self.first).wrapping_add(1)
    }

    fn extent(&self) -> Extent {
        Extent {
            iova: self.first.into(),
            bus: self.bus.into(),
            length: self.length().into(),
            permission: self.permission.into(),
            operation: 0.into(),
        }
    }
}

/// Changes to the extents in force: the removed ones leave first, then the added ones come.
#[derive(Default)]
struct Staged {
    /// First addresses of extents in force that are to leave.
    removed: BTreeSet<u64>,
    /// Extents that are to come, by first address.
    added: BTreeMap<u64, Run>,
}

/// An address space.
pub(crate) struct Space {
    mode: AddressSpaceMode,
    /// Extents in force, by first address. They don't overlap; there are none unless the space is translated.
    runs: BTreeMap<u64, Run>,
    staged: Staged,
    /// Sums over `runs`, kept up to date with each change.
    mapped_bytes: u64,
    digest: u64,
    faults: u64,
}

impl Default for Space {
    fn default() -> Self {
        Self {
            mode: AddressSpaceMode::Blocked,
            runs: BTreeMap::new(),
            staged: Staged::default(),
            mapped_bytes: 0,
            digest: 0,
            faults: 0,
        }
    }
}

impl Space {
    pub fn mode(&self) -> AddressSpaceMode {
        self.mode
    }

    /// The extent in force that an address lies in.
    pub fn run(&self, iova: u64) -> Option<Run> {
        let (_, run) = self.runs.range(..=iova).next_back()?;
        (iova <= run.last).then_some(*run)
    }

    pub fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        self.runs.values().map(Run::extent)
    }

    pub fn state(&self) -> SpaceState {
        SpaceState {
            extents: u32::try_from(self.runs.len()).unwrap_or(u32::MAX),
            mapped_bytes: self.mapped_bytes,
            digest: self.digest,
            faults: self.faults,
        }
    }

    /// Extents that the card's memory must have room for, whether the staged changes are committed or dropped.
    pub fn reserved(&self) -> u64 {
        self.runs.len().max(self.after_commit()) as u64
    }

    /// The same after one more was staged.
    pub fn reserved_with_one_more(&self) -> u64 {
        self.runs.len().max(self.after_commit() + 1) as u64
    }

    fn after_commit(&self) -> usize {
        self.runs.len() + self.staged.added.len() - self.staged.removed.len()
    }

    pub fn count_fault(&mut self) {
        self.faults += 1;
    }

    pub fn clear_faults(&mut self) {
        self.faults = 0;
    }

    pub fn set_mode(&mut self, mode: AddressSpaceMode) {
        *self = Self {
            mode,
            faults: self.faults,
            ..Self::default()
        };
    }

    pub fn begin(&mut self) {
        self.staged = Staged::default();
    }

    pub fn abort(&mut self) {
        self.staged = Staged::default();
    }

    /// Stages an extent that overlaps none of those that there will be.
    pub fn stage_add(&mut self, extent: &Extent) -> Result<(), ErrorCode> {
        let new = Run::new(extent);
        let stays = |run: &Run| !self.staged.removed.contains(&run.first);
        if overlaps(&self.runs, &new, stays) || overlaps(&self.staged.added, &new, |_| true) {
            return Err(ErrorCode::Overlap);
        }
        self.staged.added.insert(new.first, new);
        Ok(())
    }

    /// Stages the removal of one of the extents that there will be.
    pub fn stage_remove(&mut self, extent: &Extent) -> Result<(), ErrorCode> {
        let old = Run::new(extent);
        if self.staged.added.get(&old.first) == Some(&old) {
            self.staged.added.remove(&old.first);
            return Ok(());
        }
        if self.runs.get(&old.first) == Some(&old) && self.staged.removed.insert(old.first) {
            return Ok(());
        }
        Err(ErrorCode::NotMapped)
    }

    /// Puts the staged changes in force.
    pub fn commit(&mut self) {
        let Staged { removed, added } = std::mem::take(&mut self.staged);
        for first in removed {
            if let Some(run) = self.runs.remove(&first) {
                self.mapped_bytes = self.mapped_bytes.wrapping_sub(run.length());
                self.digest = self.digest.wrapping_sub(run.extent().digest());
            }
        }
        for (first, run) in added {
            self.mapped_bytes = self.mapped_bytes.wrapping_add(run.length());
            self.digest = self.digest.wrapping_add(run.extent().digest());
            self.runs.insert(first, run);
        }
        self.mode = AddressSpaceMode::Translated;
    }
}

/// Whether one of the runs that `counts` lets through has an address in common with `new`.
fn overlaps(runs: &BTreeMap<u64, Run>, new: &Run, counts: impl Fn(&Run) -> bool) -> bool {
    // Runs don't overlap each other, so of those that begin below `new` only the last can reach into it.
    let below = runs
        .range(..new.first)
        .next_back()
        .filter(|(_, run)| run.last >= new.first);
    let within = runs.range(new.first..=new.last);
    below.into_iter().chain(within).any(|(_, run)| counts(run))
}
