// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The IOTLB: a small cache of extents, direct-mapped by address space and page.
//!
//! It knows nothing of changes: whoever changes what a space translates invalidates the space.

use mooring_hw_regs::wire::IOMMU_PAGE_SIZE;

use super::space::Run;

/// Entries, a power of two.
const ENTRIES: usize = 64;

/// The cache of one card.
#[derive(Default)]
pub(crate) struct Iotlb {
    entries: Vec<Option<(u16, Run)>>,
    hits: u64,
    misses: u64,
}

impl Iotlb {
    /// The cached run of a space that `iova` lies in.
    pub fn look_up(&mut self, space: u16, iova: u64) -> Option<Run> {
        match self.entries.get(index(space, iova)) {
            Some(Some((owner, run)))
                if *owner == space && (run.first..=run.last).contains(&iova) =>
            {
                self.hits += 1;
                Some(*run)
            }
            _ => {
                self.misses += 1;
                None
            }
        }
    }

    /// Caches the run that `iova` lies in.
    pub fn insert(&mut self, space: u16, iova: u64, run: Run) {
        // Lazily, so that a default value is empty.
        self.entries.resize(ENTRIES, None);
        if let Some(entry) = self.entries.get_mut(index(space, iova)) {
            *entry = Some((space, run));
        }
    }

    /// Forgets all of a space.
    pub fn invalidate(&mut self, space: u16) {
        for entry in &mut self.entries {
            if matches!(entry, Some((owner, _)) if *owner == space) {
                *entry = None;
            }
        }
    }

    /// Look-ups that found an entry, and those that didn't.
    #[cfg(test)]
    pub fn counters(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }
}

fn index(space: u16, iova: u64) -> usize {
    // The card's multiplier: neighbouring pages and spaces go to different entries.
    let key = (iova / IOMMU_PAGE_SIZE) ^ (u64::from(space) << 48);
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % ENTRIES
}
