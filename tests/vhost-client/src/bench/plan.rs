// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Which ranges a measurement maps: pages that no driver can merge, so that a range is an extent.

use crate::iotlb::{Message, READ_WRITE};

pub const PAGE: u64 = 0x1000;

/// Pages of this process, each mapped alone with a gap of one page behind it, and a spare page to exchange one with.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// I/O virtual address of the first range.
    iova: u64,
    /// Address in this process of the first page.
    address: u64,
    ranges: u64,
}

impl Plan {
    /// Bytes of memory that a plan of so many ranges needs, at [`Plan::new`]'s `address`.
    pub fn memory(ranges: u64) -> u64 {
        (ranges + 1) * PAGE
    }

    pub fn new(iova: u64, address: u64, ranges: u64) -> Self {
        Self {
            iova,
            address,
            ranges,
        }
    }

    pub fn ranges(&self) -> u64 {
        self.ranges
    }

    fn iova(&self, number: u64) -> u64 {
        self.iova + number * 2 * PAGE
    }

    fn range_on_page(&self, range: u64, page: u64) -> Message {
        let address = self.address + page * PAGE;
        Message::update(0, self.iova(range), PAGE, address, READ_WRITE)
    }

    /// Maps a range to its own page.
    pub fn map(&self, range: u64) -> Message {
        self.range_on_page(range, range)
    }

    /// Maps a range to the spare page.
    pub fn map_to_spare(&self, range: u64) -> Message {
        self.range_on_page(range, self.ranges)
    }

    pub fn unmap(&self, range: u64) -> Message {
        Message::invalidate(0, self.iova(range), PAGE)
    }

    /// Unmaps all ranges by one message.
    pub fn unmap_all(&self) -> Message {
        Message::invalidate(0, self.iova, self.ranges * 2 * PAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: u64 = 0x7000_0000;

    #[test]
    fn ranges_are_apart_and_their_pages_within_the_memory() {
        let plan = Plan::new(0x10_0000, ADDRESS, 5);
        let messages: Vec<Message> = (0..5)
            .map(|range| plan.map(range))
            .chain([plan.map_to_spare(2)])
            .collect();
        for pair in messages[..5].windows(2) {
            assert!(pair[1].iova > pair[0].iova + pair[0].size);
        }
        let mut pages: Vec<u64> = messages.iter().map(|message| message.address).collect();
        pages.sort_unstable();
        pages.dedup();
        assert_eq!(pages.len(), 6);
        assert_eq!(pages[0], ADDRESS);
        assert_eq!(pages[5] + PAGE, ADDRESS + Plan::memory(5));
    }

    #[test]
    fn unmapping_hits_what_was_mapped() {
        let plan = Plan::new(0x10_0000, ADDRESS, 5);
        let (map, unmap) = (plan.map(3), plan.unmap(3));
        assert_eq!((map.iova, map.size), (unmap.iova, unmap.size));
        assert_eq!(plan.map_to_spare(3).iova, map.iova);
        let all = plan.unmap_all();
        let last = plan.map(4);
        assert!(all.iova <= plan.map(0).iova);
        assert!(all.iova + all.size >= last.iova + last.size);
    }
}
