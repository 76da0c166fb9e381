// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Interrupt vectors: eventfds that the vfio-user client listens to, the MSI-X table and the pending bits.
//!
//! The client owns the real table, so the address and data that a driver writes have no meaning here: an interrupt
//! is a write to an eventfd. A vector that is raised while it can't be delivered becomes pending, and is delivered
//! once it can be; switching the capability off drops what is pending.

use crate::pci::{positions, Delivery};
use crate::Interrupts;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of an entry of the MSI-X table.
const ENTRY_SIZE: usize = 16;
/// The byte of an entry that holds the mask bit.
const ENTRY_CONTROL: usize = 12;

/// The vectors of the function. Clones share them.
#[derive(Clone)]
pub struct Vectors {
    state: Arc<Mutex<State>>,
}

struct State {
    delivery: Delivery,
    vectors: Vec<Vector>,
    table: Vec<u8>,
}

#[derive(Default)]
struct Vector {
    event: Option<File>,
    pending: bool,
}

/// A `SET_IRQS` message that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorError {
    /// The vectors it names don't all exist.
    OutOfRange,
    /// It has neither no eventfd nor one for each vector.
    Count,
}

impl Vectors {
    /// `count` vectors, with nobody listening.
    pub fn new(count: u16) -> Self {
        let count = usize::from(count);
        let mut vectors = Vec::new();
        vectors.resize_with(count, Vector::default);
        let state = State {
            delivery: Delivery::Off,
            vectors,
            table: empty_table(count),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the capability in configuration space.
    pub fn set_delivery(&self, delivery: Delivery) {
        let mut state = self.state();
        state.delivery = delivery;
        match delivery {
            Delivery::Off => state
                .vectors
                .iter_mut()
                .for_each(|vector| vector.pending = false),
            Delivery::Masked => {}
            Delivery::On => state.vectors.iter_mut().for_each(Vector::deliver_pending),
        }
    }

    /// Connects `count` vectors from `start` on with one eventfd each, or disconnects them if there are none.
    ///
    /// # Errors
    ///
    /// If the vectors don't exist or the number of eventfds doesn't fit. Nothing changes then.
    pub fn connect(&self, start: u32, count: u32, events: Vec<File>) -> Result<(), VectorError> {
        let mut state = self.state();
        let on = state.delivery == Delivery::On;
        let vectors = state.range(start, count)?;
        if events.is_empty() {
            vectors.iter_mut().for_each(|vector| vector.event = None);
            return Ok(());
        }
        if events.len() != vectors.len() {
            return Err(VectorError::Count);
        }
        for (vector, event) in vectors.iter_mut().zip(events) {
            vector.event = Some(event);
            if on {
                vector.deliver_pending();
            }
        }
        Ok(())
    }

    /// Disconnects all vectors.
    pub fn disconnect_all(&self) {
        self.state()
            .vectors
            .iter_mut()
            .for_each(|vector| *vector = Vector::default());
    }

    /// Raises vectors on the client's demand, which it uses to test its own wiring.
    ///
    /// # Errors
    ///
    /// If the vectors don't exist.
    pub fn trigger(&self, start: u32, count: u32) -> Result<(), VectorError> {
        self.state()
            .range(start, count)?
            .iter_mut()
            .for_each(Vector::deliver);
        Ok(())
    }

    /// Reads the MSI-X table; bytes behind its end read as 0.
    pub fn read_table(&self, at: u64, data: &mut [u8]) {
        let state = self.state();
        for (i, byte) in positions(at).zip(data) {
            *byte = state.table.get(i).copied().unwrap_or(0);
        }
    }

    /// Writes the MSI-X table.
    pub fn write_table(&self, at: u64, data: &[u8]) {
        let mut state = self.state();
        for (i, byte) in positions(at).zip(data) {
            let Some(place) = state.table.get_mut(i) else {
                return;
            };
            *place = match i % ENTRY_SIZE {
                0 => byte & !3,
                ENTRY_CONTROL => byte & 1,
                13..=15 => 0,
                _ => *byte,
            };
        }
    }

    /// Reads the pending bits; bytes behind their end read as 0.
    pub fn read_pending(&self, at: u64, data: &mut [u8]) {
        let state = self.state();
        for (i, byte) in positions(at).zip(data) {
            let bits = state
                .vectors
                .iter()
                .skip(i.saturating_mul(8))
                .take(8)
                .enumerate();
            *byte = bits.fold(0, |sum, (bit, vector)| {
                sum | (u8::from(vector.pending) << bit)
            });
        }
    }

    /// Puts the table and the pending bits back to power-on values. The client's eventfds stay: they are its wiring,
    /// not the card's state, and it does not send them again after a function-level reset.
    pub fn reset(&self) {
        let mut state = self.state();
        state.delivery = Delivery::Off;
        state.table = empty_table(state.vectors.len());
        state
            .vectors
            .iter_mut()
            .for_each(|vector| vector.pending = false);
    }
}

impl Interrupts for Vectors {
    fn raise(&self, number: u16) {
        let mut state = self.state();
        let delivery = state.delivery;
        let Some(vector) = state.vectors.get_mut(usize::from(number)) else {
            return;
        };
        match delivery {
            Delivery::Off => log::debug!("vector {number} raised while interrupts are off"),
            Delivery::Masked => vector.pending = true,
            Delivery::On => vector.deliver(),
        }
    }
}

impl State {
    fn range(&mut self, start: u32, count: u32) -> Result<&mut [Vector], VectorError> {
        let start = start as usize;
        let end = start
            .checked_add(count as usize)
            .ok_or(VectorError::OutOfRange)?;
        self.vectors
            .get_mut(start..end)
            .ok_or(VectorError::OutOfRange)
    }
}

impl Vector {
    fn deliver(&mut self) {
        // A full counter fails as well; the client has then been told more often than it looked.
        let told = self
            .event
            .as_mut()
            .map(|event| event.write_all(&1u64.to_ne_bytes()));
        self.pending = told.is_none();
    }

    fn deliver_pending(&mut self) {
        if self.pending {
            self.deliver();
        }
    }
}

/// Every entry starts out masked.
fn empty_table(vectors: usize) -> Vec<u8> {
    let mut table = vec![0; vectors * ENTRY_SIZE];
    table
        .iter_mut()
        .skip(ENTRY_CONTROL)
        .step_by(ENTRY_SIZE)
        .for_each(|control| *control = 1);
    table
}

#[cfg(test)]
mod tests;
