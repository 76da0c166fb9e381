// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The bus as the card sees it: host memory behind bus addresses.

use std::sync::atomic::{fence, Ordering};
use std::sync::Arc;

/// An access that the bus didn't carry out: nothing answers at the address, or the card may not be a bus master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusError {
    /// The bus address at which the access failed.
    pub address: u64,
}

impl std::fmt::Display for BusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "bus access failed at {:#x}", self.address)
    }
}

impl std::error::Error for BusError {}

/// Host memory. All addresses are bus addresses.
///
/// Other processors write to the same memory at any time, so an implementation copies bytes and never hands out
/// references. An aligned access of 2, 4 or 8 bytes must not tear.
pub trait HostMemory: Send + Sync {
    /// Reads `data.len()` bytes from `bus` on.
    fn read(&self, bus: u64, data: &mut [u8]) -> Result<(), BusError>;

    /// Writes `data` from `bus` on.
    fn write(&self, bus: u64, data: &[u8]) -> Result<(), BusError>;

    /// Reads a little-endian word; what the card reads after it is at least as new.
    fn load_u16(&self, bus: u64) -> Result<u16, BusError> {
        let mut bytes = [0; 2];
        self.read(bus, &mut bytes)?;
        fence(Ordering::Acquire);
        Ok(u16::from_le_bytes(bytes))
    }

    /// Writes a little-endian word; who reads it also finds all that the card wrote before.
    fn store_u16(&self, bus: u64, value: u16) -> Result<(), BusError> {
        fence(Ordering::Release);
        self.write(bus, &value.to_le_bytes())
    }

    /// As [`load_u16`](Self::load_u16), for 32 bits.
    fn load_u32(&self, bus: u64) -> Result<u32, BusError> {
        let mut bytes = [0; 4];
        self.read(bus, &mut bytes)?;
        fence(Ordering::Acquire);
        Ok(u32::from_le_bytes(bytes))
    }

    /// As [`store_u16`](Self::store_u16), for 32 bits.
    fn store_u32(&self, bus: u64, value: u32) -> Result<(), BusError> {
        fence(Ordering::Release);
        self.write(bus, &value.to_le_bytes())
    }
}

/// The card's way to the bus: host memory, if the card may be a bus master and its addresses are wide enough.
pub(crate) struct Bus {
    memory: Arc<dyn HostMemory>,
    master: bool,
    /// The highest address that the card can put on the bus.
    last: u64,
}

impl Bus {
    /// A way with addresses of `bits` bits. The card may be a bus master at first.
    pub fn new(memory: Arc<dyn HostMemory>, bits: u8) -> Self {
        let last = u64::MAX
            .checked_shr(64u32.saturating_sub(u32::from(bits)))
            .unwrap_or(0);
        Self {
            memory,
            master: true,
            last,
        }
    }

    /// Whether the card may be a bus master.
    pub fn is_master(&self) -> bool {
        self.master
    }

    /// Allows or forbids the card to be a bus master.
    pub fn set_master(&mut self, on: bool) {
        self.master = on;
    }

    pub fn read(&self, bus: u64, data: &mut [u8]) -> Result<(), BusError> {
        self.check(bus, data.len())?;
        self.memory.read(bus, data)
    }

    pub fn write(&self, bus: u64, data: &[u8]) -> Result<(), BusError> {
        self.check(bus, data.len())?;
        self.memory.write(bus, data)
    }

    pub fn load_u16(&self, bus: u64) -> Result<u16, BusError> {
        self.check(bus, 2)?;
        self.memory.load_u16(bus)
    }

    pub fn load_u32(&self, bus: u64) -> Result<u32, BusError> {
        self.check(bus, 4)?;
        self.memory.load_u32(bus)
    }

    pub fn store_u16(&self, bus: u64, value: u16) -> Result<(), BusError> {
        self.check(bus, 2)?;
        self.memory.store_u16(bus, value)
    }

    pub fn store_u32(&self, bus: u64, value: u32) -> Result<(), BusError> {
        self.check(bus, 4)?;
        self.memory.store_u32(bus, value)
    }

    fn check(&self, bus: u64, length: usize) -> Result<(), BusError> {
        let last = bus.checked_add((length as u64).saturating_sub(1));
        if self.master && last.is_some_and(|last| last <= self.last) {
            Ok(())
        } else {
            Err(BusError { address: bus })
        }
    }
}
