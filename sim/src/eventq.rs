// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The event queue: what the card tells without being asked.

use mooring_hw_regs::regs::{
    EventqBaseHi, EventqBaseLo, EventqConsumer, EventqControl, EventqSize, EventqStatus,
};
use mooring_hw_regs::wire::{next_sequence, Event, NO_VECTOR};
use zerocopy::IntoBytes;

use crate::cmdq::{post, slot};
use crate::memory::Bus;
use crate::registers::RegisterFile;

/// Offsets of the registers that may change only while the queue is off.
const SET_UP: [usize; 3] = [
    EventqBaseLo::OFFSET,
    EventqBaseHi::OFFSET,
    EventqSize::OFFSET,
];

/// The event queue of a card.
#[derive(Default)]
pub(crate) struct Eventq {
    enabled: bool,
    base: u64,
    size: u16,
    vector: u16,
    /// The index of the event that the card writes next, free running.
    producer: u16,
    /// The index of the event that the driver takes next, free running.
    consumer: u16,
    sequence: u32,
    /// Events dropped since the last one that fitted.
    lost: u32,
}

/// Whether an offset of the BAR is that of one of the queue's registers.
pub(crate) fn is_register(offset: usize) -> bool {
    (EventqBaseLo::OFFSET..=EventqConsumer::OFFSET).contains(&offset)
}

impl Eventq {
    /// Whether a write to a register is to be ignored.
    pub fn ignores(&self, offset: usize) -> bool {
        self.enabled && SET_UP.contains(&offset)
    }

    /// Does what a write to a register causes.
    pub fn written(&mut self, offset: usize, registers: &mut RegisterFile, vectors: u16) {
        match offset {
            EventqControl::OFFSET => self.control(registers, vectors),
            EventqConsumer::OFFSET if self.enabled => {
                let consumer = EventqConsumer(registers.get(offset)).index();
                // It moves forwards, and not past what the card has written.
                if consumer.wrapping_sub(self.consumer) <= self.producer.wrapping_sub(self.consumer)
                {
                    self.consumer = consumer;
                } else {
                    log::warn!(
                        "eventq: consumer {consumer} is out of range, producer is {}",
                        self.producer
                    );
                    registers.set(offset, self.consumer.into());
                }
            }
            _ => {}
        }
    }

    fn control(&mut self, registers: &mut RegisterFile, vectors: u16) {
        let control = EventqControl(registers.get(EventqControl::OFFSET));
        let status = EventqStatus(registers.get(EventqStatus::OFFSET));
        if !control.enable() {
            self.enabled = false;
            registers.set(EventqStatus::OFFSET, 0);
            return;
        }
        if self.enabled || status.error() {
            return;
        }
        let log2 = EventqSize(registers.get(EventqSize::OFFSET)).log2();
        *self = Self {
            enabled: true,
            base: registers.address(EventqBaseLo::OFFSET, EventqBaseHi::OFFSET),
            size: 1 << log2,
            vector: control.vector(),
            sequence: 1,
            ..Self::default()
        };
        registers.set(EventqConsumer::OFFSET, 0);
        registers.set(EventqStatus::OFFSET, EventqStatus(0).with_enabled(true).0);
        if !(1..=12).contains(&log2) || !(self.vector == NO_VECTOR || self.vector < vectors) {
            log::warn!(
                "eventq: set-up is invalid: size 2^{log2}, vector {}",
                self.vector
            );
            self.fail(registers);
        }
    }

    /// Stops the queue until it is switched off and on.
    fn fail(&mut self, registers: &mut RegisterFile) {
        self.enabled = false;
        registers.set(EventqStatus::OFFSET, EventqStatus(0).with_error(true).0);
    }

    /// Whether events were lost of which the driver can be told now.
    pub fn has_loss_to_tell(&self) -> bool {
        self.lost != 0 && self.has_room()
    }

    /// Whether the next event is posted and not dropped.
    pub fn has_room(&self) -> bool {
        self.enabled && self.producer.wrapping_sub(self.consumer) < self.size
    }

    /// Whether there is room for events that can wait: the other half is for those that can't.
    pub fn has_room_to_spare(&self) -> bool {
        self.enabled && self.producer.wrapping_sub(self.consumer) < self.size.div_ceil(2)
    }

    /// Posts an event. Returns the vector to raise, if it did and there is one.
    pub fn post(&mut self, bus: &Bus, registers: &mut RegisterFile, event: &Event) -> Option<u16> {
        if !self.enabled {
            return None;
        }
        if !self.has_room() {
            self.lost = self.lost.saturating_add(1);
            return None;
        }
        let event = Event {
            lost: self.lost.into(),
            ..*event
        };
        let posted = slot(self.base, self.producer, self.size, size_of::<Event>())
            .and_then(|address| post(bus, address, event.as_bytes(), self.sequence));
        if let Err(error) = posted {
            log::warn!("eventq: writing an event: {error}");
            self.fail(registers);
            return None;
        }
        self.lost = 0;
        self.producer = self.producer.wrapping_add(1);
        self.sequence = next_sequence(self.sequence);
        Some(self.vector).filter(|vector| *vector != NO_VECTOR)
    }
}
