// SPDX-License-Identifier: GPL-2.0-only

//! Coherent memory that driver and card share, as rings of messages and as a payload buffer.
//!
//! Both sides access the memory at the same time, so there are no references into it: every access
//! copies, in aligned 32-bit volatile words. What is read may be anything at all, the card is not
//! trusted; message types accept every bit pattern ([`FromBytes`]).

use core::marker::PhantomData;
use kernel::{
    device,
    dma::{
        Coherent,
        DmaAddress, //
    },
    prelude::*,
    sync::barrier::{
        dma_mb,
        Read, //
    },
};
use zerocopy::{
    FromZeros,
    Immutable, //
};

/// Bytes in a word.
const WORD: usize = size_of::<u32>();

/// A zeroed piece of coherent memory.
pub(crate) struct Buffer(Coherent<[u32]>);

impl Buffer {
    /// Allocates at least `size` bytes, which start on a page boundary on the bus.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory, `EINVAL` if `size` is 0.
    pub(crate) fn new(dev: &device::Device<device::Bound>, size: usize) -> Result<Self> {
        // A whole number of pages, because the registers take page-aligned addresses only and a smaller
        // allocation could share its page with another driver's data.
        let size = size
            .checked_next_multiple_of(kernel::page::PAGE_SIZE)
            .ok_or(EINVAL)?;

        Ok(Self(Coherent::zeroed_slice(dev, size / WORD, GFP_KERNEL)?))
    }

    /// Where the card finds the memory.
    pub(crate) fn bus(&self) -> DmaAddress {
        self.0.dma_address()
    }

    /// Returns a pointer to the word at byte `offset`, if it is one of this buffer's.
    fn word(&self, offset: usize) -> Result<*mut u32> {
        let index = offset / WORD;

        if offset % WORD != 0 || index >= self.0.len() {
            return Err(EINVAL);
        }
        Ok(self.0.as_mut_ptr().cast::<u32>().wrapping_add(index))
    }

    /// Copies `data` to byte `offset`; both are whole words.
    ///
    /// # Errors
    ///
    /// `EINVAL`, possibly after writing a part, if they aren't or don't lie within the buffer.
    pub(crate) fn write(&self, offset: usize, data: &[u8]) -> Result {
        let words = data.chunks_exact(WORD);

        if !words.remainder().is_empty() {
            return Err(EINVAL);
        }
        for (index, bytes) in words.enumerate() {
            let word = self.word(offset + index * WORD)?;
            let value = u32::from_ne_bytes(bytes.try_into().map_err(|_| EINVAL)?);

            // SAFETY: `word()` returned a pointer to an aligned word inside the live allocation. There are
            // no references into it, and the card's accesses are no data race because this one is volatile.
            unsafe { word.write_volatile(value) };
        }
        Ok(())
    }

    /// Copies from byte `offset` to `data`; both are whole words.
    ///
    /// # Errors
    ///
    /// As for [`Self::write()`].
    pub(crate) fn read(&self, offset: usize, data: &mut [u8]) -> Result {
        if data.len() % WORD != 0 {
            return Err(EINVAL);
        }
        for (index, bytes) in data.chunks_exact_mut(WORD).enumerate() {
            let word = self.word(offset + index * WORD)?;

            // SAFETY: As in `write()`.
            let value = unsafe { word.read_volatile() };
            bytes.copy_from_slice(&value.to_ne_bytes());
        }
        Ok(())
    }
}

/// A ring of `T`, a power of two of entries. Indices are free running.
///
/// # Invariants
///
/// `memory` holds `mask + 1` entries, which is a power of two.
pub(crate) struct Ring<T> {
    memory: Buffer,
    mask: u16,
    _entries: PhantomData<T>,
}

impl<T: FromBytes + IntoBytes + Immutable> Ring<T> {
    /// Allocates a zeroed ring of `1 << log2` entries.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory, `EINVAL` if `log2` is above 15.
    pub(crate) fn new(dev: &device::Device<device::Bound>, log2: u8) -> Result<Self> {
        let entries = 1u16.checked_shl(log2.into()).ok_or(EINVAL)?;

        // INVARIANT: The buffer has room for `entries` entries, a power of two.
        Ok(Self {
            memory: Buffer::new(dev, usize::from(entries) * size_of::<T>())?,
            mask: entries - 1,
            _entries: PhantomData,
        })
    }

    /// Where the card finds the ring.
    pub(crate) fn bus(&self) -> DmaAddress {
        self.memory.bus()
    }

    fn offset(&self, index: u16) -> usize {
        usize::from(index & self.mask) * size_of::<T>()
    }

    /// Writes the entry at `index`. The card may not own it.
    ///
    /// The entry is visible to the card before anything that the driver writes to a register
    /// afterwards, because register writes are ordered after writes to memory.
    pub(crate) fn write(&self, index: u16, entry: &T) -> Result {
        self.memory.write(self.offset(index), entry.as_bytes())
    }

    /// Reads the entry at `index` if its last word, the sequence number, is `sequence`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `T` isn't a whole number of words; never otherwise.
    pub(crate) fn read_if(&self, index: u16, sequence: u32) -> Result<Option<T>>
    where
        T: Copy,
    {
        let offset = self.offset(index);
        let mut last = [0; WORD];

        self.memory
            .read(offset + size_of::<T>() - WORD, &mut last)?;
        if u32::from_le_bytes(last) != sequence {
            return Ok(None);
        }
        // The rest of the entry may be read only after the sequence number, which the card wrote last.
        dma_mb(Read);

        let mut entry = <T as FromZeros>::new_zeroed();
        let bytes = entry.as_mut_bytes();
        self.memory.read(offset, bytes)?;
        Ok(Some(entry))
    }
}
