// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The card: all hardware blocks put together.

use std::sync::Arc;

use crate::{CardConfig, ConfigError, Doorbells, FrameObserver, HostMemory, Uplink};

/// The way to the host's interrupt controller.
pub trait Interrupts: Send {
    /// Raises an MSI-X vector.
    fn raise(&self, vector: u16);
}

/// A whole card behind its BARs.
pub struct Card {
    doorbells: Arc<Doorbells>,
}

impl Card {
    /// A card after power-on.
    ///
    /// # Errors
    ///
    /// The first field of `config` that is out of its range.
    pub fn new(
        config: CardConfig,
        _memory: Arc<dyn HostMemory>,
        _interrupts: Box<dyn Interrupts>,
        _uplink: Box<dyn Uplink>,
        _observer: Option<Box<dyn FrameObserver>>,
    ) -> Result<Card, ConfigError> {
        config.validate()?;
        Ok(Card {
            doorbells: Arc::new(Doorbells::new(config.queues)),
        })
    }

    /// Reads from BAR 0 or 2. Never fails: it answers as hardware would.
    pub fn read(&mut self, _bar: u8, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    /// Writes to BAR 0 or 2. Never fails: what hardware would ignore is ignored. Call [`step`](Self::step) afterwards.
    pub fn write(&mut self, _bar: u8, _offset: u64, _data: &[u8]) {}

    /// The doorbells, to ring them without the card's lock.
    pub fn doorbells(&self) -> Arc<Doorbells> {
        self.doorbells.clone()
    }

    /// Does a bounded amount of work: boot, commands, queues, uplink. Returns whether there is more to do.
    pub fn step(&mut self) -> bool {
        false
    }

    /// Resets the card: a function-level reset, or `cp.CONTROL.reset`. Call [`step`](Self::step) afterwards.
    pub fn reset(&mut self) {}

    /// Allows or forbids the card to be a bus master, as the bit of PCI's command register does. While it is forbidden
    /// every DMA fails and interrupts are withheld.
    pub fn set_bus_master(&mut self, _on: bool) {}
}
