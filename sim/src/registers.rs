// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! BAR 0 as data: reset values and access masks from the register description.

use mooring_hw_regs::regs::{Register, REGISTERS, REGISTERS_SIZE};

/// The registers of BAR 0. What a write causes is the business of the blocks.
pub(crate) struct RegisterFile {
    words: Box<[u32]>,
}

impl RegisterFile {
    /// All registers with their reset values.
    pub fn new() -> Self {
        let mut file = Self {
            words: vec![0; REGISTERS_SIZE / 4].into_boxed_slice(),
        };
        for register in &REGISTERS {
            file.set(register.offset, register.reset);
        }
        file
    }

    /// A register's word, by its offset.
    pub fn get(&self, offset: usize) -> u32 {
        self.words.get(offset / 4).copied().unwrap_or(0)
    }

    /// Sets a register's word, whatever the host may write.
    pub fn set(&mut self, offset: usize, word: u32) {
        if let Some(slot) = self.words.get_mut(offset / 4) {
            *slot = word;
        }
    }

    /// The 64-bit address whose halves two registers hold.
    pub fn address(&self, low: usize, high: usize) -> u64 {
        u64::from(self.get(low)) | (u64::from(self.get(high)) << 32)
    }

    /// What the host reads: 0 where there is no register.
    pub fn host_read(&self, offset: usize) -> u32 {
        find(offset).map_or(0, |register| register.visible(self.get(offset)))
    }

    /// The host writes a register. Returns the bits that act when they are written as 1.
    pub fn host_write(&mut self, offset: usize, word: u32) -> u32 {
        let Some(register) = find(offset) else {
            return 0;
        };
        self.set(offset, register.written(self.get(offset), word));
        word & register.strobe_mask
    }
}

fn find(offset: usize) -> Option<&'static Register> {
    let place = REGISTERS
        .binary_search_by_key(&offset, |register| register.offset)
        .ok()?;
    REGISTERS.get(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mooring_hw_regs::regs::{CmdqSubmissionBaseLo, CpControl, InfoMagic, InfoScratch};

    #[test]
    fn the_table_is_in_the_order_that_the_search_needs() {
        assert!(REGISTERS.is_sorted_by_key(|register| register.offset));
    }

    #[test]
    fn masks_hold() {
        let mut file = RegisterFile::new();
        assert_eq!(
            file.host_read(InfoMagic::OFFSET),
            u32::from_le_bytes(*b"MOOR")
        );
        assert_eq!(file.host_write(InfoMagic::OFFSET, 7), 0);
        assert_eq!(
            file.host_read(InfoMagic::OFFSET),
            u32::from_le_bytes(*b"MOOR")
        );
        file.host_write(InfoScratch::OFFSET, 7);
        assert_eq!(file.host_read(InfoScratch::OFFSET), 7);
        file.host_write(CmdqSubmissionBaseLo::OFFSET, 0x1234_5678);
        assert_eq!(file.host_read(CmdqSubmissionBaseLo::OFFSET), 0x1234_5000);
        assert_eq!(file.host_write(CpControl::OFFSET, u32::MAX), 1);
        assert_eq!(file.host_read(CpControl::OFFSET), 0);
        assert_eq!(file.host_read(0xffc), 0);
    }
}
