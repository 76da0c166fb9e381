// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The PCI face: configuration space, BARs and capabilities, as data.
//!
//! [`ConfigSpace`] holds a value, a mask of writable bits and a mask of write-1-to-clear bits for every byte, so
//! that any access of any width is answered by the same three lines. [`Function`] lays the card out in it, and says
//! what a write changed.

mod layout;

pub use layout::{Bar, InterruptKind, Layout, CONFIG_SIZE};

use layout::offset;

/// Configuration space as three tables.
#[derive(Clone)]
pub struct ConfigSpace {
    value: Vec<u8>,
    writable: Vec<u8>,
    clear: Vec<u8>,
}

impl ConfigSpace {
    /// A space of `size` bytes, all of them 0 and read-only.
    pub fn new(size: usize) -> Self {
        Self {
            value: vec![0; size],
            writable: vec![0; size],
            clear: vec![0; size],
        }
    }

    /// Sets the value and the writable bits of the bytes from `at` on.
    pub fn define<const N: usize>(&mut self, at: usize, value: [u8; N], writable: [u8; N]) {
        self.value[at..at + N].copy_from_slice(&value);
        self.writable[at..at + N].copy_from_slice(&writable);
    }

    /// Sets the bits that a written 1 clears.
    pub fn define_clear<const N: usize>(&mut self, at: usize, clear: [u8; N]) {
        self.clear[at..at + N].copy_from_slice(&clear);
    }

    /// Reads; bytes behind the end are all ones, as on a bus where nobody answers.
    pub fn read(&self, at: u64, data: &mut [u8]) {
        for (i, byte) in positions(at).zip(data) {
            *byte = self.value.get(i).copied().unwrap_or(0xff);
        }
    }

    /// Writes what is writable; the rest, and what lies behind the end, is ignored.
    pub fn write(&mut self, at: u64, data: &[u8]) {
        for (i, byte) in positions(at).zip(data) {
            if i >= self.value.len() {
                return;
            }
            let kept = self.value[i] & !self.writable[i] & !(byte & self.clear[i]);
            self.value[i] = kept | byte & self.writable[i];
        }
    }

    /// The 16 bits at `at`.
    fn word(&self, at: usize) -> u16 {
        let mut bytes = [0; 2];
        self.read(at as u64, &mut bytes);
        u16::from_le_bytes(bytes)
    }
}

/// Positions in a table from `at` on. Those that no table can have stay there instead of wrapping around.
pub(crate) fn positions(at: u64) -> impl Iterator<Item = usize> {
    let first = usize::try_from(at).unwrap_or(usize::MAX);
    (0..).map(move |i| first.saturating_add(i))
}

/// Whether interrupts reach the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The driver has not enabled the capability.
    Off,
    /// Enabled, but held back by the function's mask.
    Masked,
    /// Enabled.
    On,
}

/// The card's PCI function.
pub struct Function {
    layout: Layout,
    config: ConfigSpace,
}

impl Function {
    /// The function after power-on.
    pub fn new(layout: Layout) -> Self {
        let config = layout.config_space();
        Self { layout, config }
    }

    /// Puts configuration space back to power-on values.
    pub fn reset(&mut self) {
        self.config = self.layout.config_space();
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Reads configuration space.
    pub fn read_config(&self, at: u64, data: &mut [u8]) {
        self.config.read(at, data);
    }

    /// Writes configuration space. Returns whether the write asks for a function-level reset, which is then up to the
    /// caller.
    pub fn write_config(&mut self, at: u64, data: &[u8]) -> bool {
        self.config.write(at, data);
        let strobe = (offset::DEVICE_CONTROL + 1) as u64;
        let written = strobe
            .checked_sub(at)
            .and_then(|i| data.get(usize::try_from(i).ok()?));
        written.is_some_and(|byte| byte & layout::FUNCTION_RESET != 0)
    }

    /// Whether the BARs answer: memory decoding is on, and the function isn't asleep.
    pub fn decodes_memory(&self) -> bool {
        self.config.word(offset::COMMAND) & layout::COMMAND_MEMORY != 0 && self.awake()
    }

    /// Whether the function may access host memory.
    pub fn is_bus_master(&self) -> bool {
        self.config.word(offset::COMMAND) & layout::COMMAND_MASTER != 0 && self.awake()
    }

    /// Whether, and how, interrupts go out.
    pub fn delivery(&self) -> Delivery {
        let control = self.config.word(offset::INTERRUPTS + 2);
        match self.layout.interrupts {
            InterruptKind::Msix if control & layout::MSIX_ENABLE == 0 => Delivery::Off,
            InterruptKind::Msix if control & layout::MSIX_MASK != 0 => Delivery::Masked,
            InterruptKind::Msi if control & layout::MSI_ENABLE == 0 => Delivery::Off,
            _ => Delivery::On,
        }
    }

    fn awake(&self) -> bool {
        self.config.word(offset::POWER + 4) & layout::POWER_STATE == 0
    }
}

#[cfg(test)]
mod tests;
