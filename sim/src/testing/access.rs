// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a test needs of a backend.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::HostMemory;

/// How long a scenario waits for something that should happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Access to a card, to the memory that it shares with the host, and to its interrupts.
pub trait CardAccess {
    /// Reads a register.
    fn read32(&mut self, bar: u8, offset: u64) -> u32;

    /// Writes a register or doorbell.
    fn write32(&mut self, bar: u8, offset: u64, value: u32);

    /// The host's own view of the memory that the card can reach, by bus address.
    fn memory(&self) -> Arc<dyn HostMemory>;

    /// Bus addresses that the test may use, aligned to pages, 4 MiB and more.
    fn memory_range(&self) -> Range<u64>;

    /// Whether a vector was raised since the last call for it. Doesn't wait.
    fn take_interrupt(&mut self, vector: u16) -> bool;

    /// Lets the card work: returns when it has nothing more to do, or after a short while.
    fn settle(&mut self);

    /// Sets the bus-master bit of the function's command register.
    fn set_bus_master(&mut self, on: bool);

    /// Does a function-level reset.
    fn function_reset(&mut self);

    /// Waits until `condition` holds. Returns whether it came to that.
    fn wait_until(&mut self, mut condition: impl FnMut(&mut Self) -> bool) -> bool
    where
        Self: Sized,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if condition(self) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            self.settle();
        }
    }

    /// Waits until a vector is raised. Returns whether it came to that.
    fn wait_interrupt(&mut self, vector: u16) -> bool
    where
        Self: Sized,
    {
        self.wait_until(|access| access.take_interrupt(vector))
    }
}

/// A piece of host memory that is contiguous on the bus and in an address space, and an allocator in it.
#[derive(Clone, Debug)]
pub struct Region {
    /// First bus address.
    pub bus: u64,
    /// First I/O virtual address.
    pub iova: u64,
    /// Bytes.
    pub length: u64,
    used: u64,
}

impl Region {
    /// A region of which nothing is allocated.
    pub fn new(bus: u64, iova: u64, length: u64) -> Self {
        Self {
            bus,
            iova,
            length,
            used: 0,
        }
    }

    /// Allocates and returns an I/O virtual address.
    pub fn allocate(&mut self, length: u64, alignment: u64) -> u64 {
        let start = self.used.next_multiple_of(alignment);
        self.used = start + length;
        assert!(
            self.used <= self.length,
            "the region is too small for the test"
        );
        self.iova + start
    }

    /// The bus address of an I/O virtual address in the region.
    pub fn bus(&self, iova: u64) -> u64 {
        self.bus + (iova - self.iova)
    }
}
