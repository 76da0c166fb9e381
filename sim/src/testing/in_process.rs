// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The backend that calls the model directly.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::CardAccess;
use crate::{BusError, Card, CardConfig, ConfigError, HostMemory, Interrupts, Uplink};

/// Host memory in a `Vec`, from a bus address on that is neither 0 nor an I/O virtual address of the tests.
pub struct VecMemory {
    bytes: Mutex<Vec<u8>>,
    base: u64,
    accesses: AtomicU64,
    after_writes: Mutex<Option<Look>>,
}

/// What looks at the memory after a write, whose bus address it gets.
type Look = Box<dyn FnMut(u64) + Send>;

impl VecMemory {
    /// Zeroed memory of `length` bytes from `base` on.
    pub fn new(base: u64, length: usize) -> Self {
        Self {
            bytes: Mutex::new(vec![0; length]),
            base,
            accesses: AtomicU64::new(0),
            after_writes: Mutex::new(None),
        }
    }

    /// Reads and writes so far, those of the test included.
    pub fn accesses(&self) -> u64 {
        self.accesses.load(Ordering::Relaxed)
    }

    /// Calls `look` after each write, except for its own, as if another processor came just then.
    pub fn after_writes(&self, look: impl FnMut(u64) + Send + 'static) {
        let mut slot = self
            .after_writes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Some(Box::new(look));
    }

    fn with<R>(
        &self,
        bus: u64,
        length: usize,
        access: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R, BusError> {
        self.accesses.fetch_add(1, Ordering::Relaxed);
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let start = bus
            .checked_sub(self.base)
            .and_then(|offset| usize::try_from(offset).ok());
        let range = start.and_then(|start| Some(start..start.checked_add(length)?));
        let slice = range
            .and_then(|range| bytes.get_mut(range))
            .ok_or(BusError { address: bus })?;
        Ok(access(slice))
    }
}

impl HostMemory for VecMemory {
    fn read(&self, bus: u64, data: &mut [u8]) -> Result<(), BusError> {
        self.with(bus, data.len(), |slice| data.copy_from_slice(slice))
    }

    fn write(&self, bus: u64, data: &[u8]) -> Result<(), BusError> {
        self.with(bus, data.len(), |slice| slice.copy_from_slice(data))?;
        if let Ok(mut slot) = self.after_writes.try_lock() {
            if let Some(look) = slot.as_mut() {
                look(bus);
            }
        }
        Ok(())
    }
}

/// An uplink whose other end is the test: a loopback, unless it is switched off.
#[derive(Clone, Default)]
pub struct TestUplink {
    /// Frames that the card will receive.
    pub to_card: Arc<Mutex<VecDeque<Vec<u8>>>>,
    /// Frames that the card sent, if they don't come back.
    pub from_card: Option<Arc<Mutex<Vec<Vec<u8>>>>>,
}

impl Uplink for TestUplink {
    fn send(&mut self, frame: &[u8]) -> std::io::Result<()> {
        match &self.from_card {
            Some(sent) => sent
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(frame.to_vec()),
            None => self
                .to_card
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(frame.to_vec()),
        }
        Ok(())
    }

    fn receive(&mut self, frame: &mut Vec<u8>) -> std::io::Result<bool> {
        let next = self
            .to_card
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        Ok(next.map(|next| *frame = next).is_some())
    }

    fn fd(&self) -> Option<std::os::fd::RawFd> {
        None
    }
}

#[derive(Clone, Default)]
struct Raised(Arc<Mutex<Vec<u16>>>);

impl Interrupts for Raised {
    fn raise(&self, vector: u16) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(vector);
    }
}

/// A card in this process.
pub struct InProcess {
    card: Card,
    memory: Arc<VecMemory>,
    raised: Raised,
}

impl InProcess {
    /// Where the memory begins on the bus.
    const BASE: u64 = 0x4_0000_0000;
    /// How long it is.
    const LENGTH: usize = 16 << 20;

    /// A card with a loopback.
    ///
    /// # Errors
    ///
    /// The first field of `config` that is out of its range.
    pub fn new(config: CardConfig) -> Result<Self, ConfigError> {
        Self::with_uplink(config, TestUplink::default())
    }

    /// A card with an uplink.
    ///
    /// # Errors
    ///
    /// The first field of `config` that is out of its range.
    pub fn with_uplink(config: CardConfig, uplink: TestUplink) -> Result<Self, ConfigError> {
        let memory = Arc::new(VecMemory::new(Self::BASE, Self::LENGTH));
        let raised = Raised::default();
        let card = Card::new(
            config,
            memory.clone(),
            Box::new(raised.clone()),
            Box::new(uplink),
            None,
        )?;
        Ok(Self {
            card,
            memory,
            raised,
        })
    }

    /// The card itself.
    pub fn card(&mut self) -> &mut Card {
        &mut self.card
    }

    /// The card without the rest, which goes.
    pub fn into_card(self) -> Card {
        self.card
    }

    /// The memory itself.
    pub fn vec_memory(&self) -> &VecMemory {
        &self.memory
    }
}

impl CardAccess for InProcess {
    fn read32(&mut self, bar: u8, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.card.read(bar, offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn write32(&mut self, bar: u8, offset: u64, value: u32) {
        self.card.write(bar, offset, &value.to_le_bytes());
    }

    fn memory(&self) -> Arc<dyn HostMemory> {
        self.memory.clone()
    }

    fn memory_range(&self) -> Range<u64> {
        Self::BASE..Self::BASE + Self::LENGTH as u64
    }

    fn take_interrupt(&mut self, vector: u16) -> bool {
        let mut raised = self.raised.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = raised.len();
        raised.retain(|raised| *raised != vector);
        raised.len() < before
    }

    fn settle(&mut self) {
        // Bounded, so that a card that never comes to rest fails a test and doesn't hang it.
        for _ in 0..100_000 {
            if !self.card.step() {
                return;
            }
        }
        panic!("the card doesn't come to rest");
    }

    fn set_bus_master(&mut self, on: bool) {
        self.card.set_bus_master(on);
    }

    fn function_reset(&mut self) {
        self.card.reset();
    }
}
