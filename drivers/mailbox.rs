// SPDX-License-Identifier: GPL-2.0-only

//! The mailbox: how the driver talks to a card without an IOMMU of its own.
//!
//! While vhost-vdpa has a device of such a card open, the platform's IOMMU translates all DMA of the function
//! through the map of that device's owner (`vhost_vdpa_alloc_domain()` in drivers/vhost/vdpa.c), a process. A ring of
//! the driver's in host memory would be out of the card's reach then, or the owner could have put something of its own
//! at the ring's address: it could forge completions and events. So commands and events lie in the card's registers,
//! and the card has no DMA but that of virtqueues.
//!
//! Here are the windows as bytes; `cmdq::mailbox` and `eventq::mailbox` know what is in them.

use crate::{
    msix::EVENT_VECTOR,
    pci::Registers,
    regs, //
};
use kernel::{
    io::Io,
    prelude::*, //
};

/// Bytes of a register.
pub(crate) const WORD: usize = size_of::<u32>();

/// Where a window lies, and how long it is.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    offset: usize,
    size: usize,
}

/// The command that the driver gives.
pub(crate) const COMMAND: Window = Window {
    offset: regs::MAILBOX_COMMAND_OFFSET,
    size: regs::MAILBOX_COMMAND_SIZE,
};

/// The newest completion.
pub(crate) const COMPLETION: Window = Window {
    offset: regs::MAILBOX_COMPLETION_OFFSET,
    size: regs::MAILBOX_COMPLETION_SIZE,
};

/// The oldest event.
pub(crate) const EVENT: Window = Window {
    offset: regs::MAILBOX_EVENT_OFFSET,
    size: regs::MAILBOX_EVENT_SIZE,
};

/// What a command carries beside its arguments.
pub(crate) const PAYLOAD: Window = Window {
    offset: regs::MAILBOX_PAYLOAD_OFFSET,
    size: regs::MAILBOX_PAYLOAD_SIZE,
};

impl Window {
    /// Bytes of the window.
    pub(crate) const fn size(self) -> usize {
        self.size
    }

    /// Offset in the BAR of the word at byte `at`.
    pub(crate) fn place(self, at: usize) -> Result<usize> {
        match at % WORD == 0 && at < self.size {
            true => Ok(self.offset + at),
            false => Err(EINVAL),
        }
    }

    /// Writes `data` to the window's start. The last word is filled up with zeros.
    ///
    /// # Errors
    ///
    /// `EINVAL`, before anything is written, if the window is shorter; `ENODEV` if the function has been unbound.
    pub(crate) fn write(self, registers: &Registers, data: &[u8]) -> Result {
        if data.len() > self.size {
            return Err(EINVAL);
        }
        for (index, bytes) in data.chunks(WORD).enumerate() {
            let mut word = [0; WORD];
            for (to, from) in word.iter_mut().zip(bytes) {
                *to = *from;
            }
            let place = self.place(index * WORD)?;
            registers.with(|io| io.try_write32(u32::from_le_bytes(word), place))??;
        }
        Ok(())
    }

    /// Reads from the window's start to `data`. Who reads a card that goes away meanwhile gets all ones, and has to
    /// look afterwards whether it is still there.
    ///
    /// # Errors
    ///
    /// As for [`Self::write()`].
    pub(crate) fn read(self, registers: &Registers, data: &mut [u8]) -> Result {
        if data.len() > self.size {
            return Err(EINVAL);
        }
        for (index, bytes) in data.chunks_mut(WORD).enumerate() {
            let place = self.place(index * WORD)?;
            let word = registers.with(|io| io.try_read32(place))??;
            for (to, from) in bytes.iter_mut().zip(word.to_le_bytes()) {
                *to = from;
            }
        }
        Ok(())
    }

    /// Reads the window's last word, the sequence number of the message in it, which is all that waiting takes.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the function has been unbound.
    pub(crate) fn sequence(self, registers: &Registers) -> Result<u32> {
        let place = self.place(self.size - WORD)?;
        registers.with(|io| io.try_read32(place))?
    }
}

/// Switches the mailbox on, with nothing in it.
///
/// # Errors
///
/// `ENODEV` if the function has been unbound.
pub(crate) fn enable(registers: &Registers) -> Result {
    registers.with(|io| {
        io.write_reg(regs::MAILBOX_CONTROL::from(0));
        io.write_reg(
            regs::MAILBOX_CONTROL::from(0)
                .with_enable(true)
                .with_vector(EVENT_VECTOR),
        );
    })
}
