// SPDX-License-Identifier: GPL-2.0-only

//! The memory of a bounce pool: pieces that are contiguous on the bus, one after the other for the device, and copying
//! between them and buffers of the kernel.

use super::{
    Piece,
    POOL_BASE, //
};
use kernel::{
    device::{
        self,
        Bound, //
    },
    dma::Coherent,
    page::PAGE_SHIFT,
    prelude::*, //
};

unsafe extern "C" {
    // In helpers.c.
    fn mooring_helper_copy_from_phys(to: *mut c_void, from: u64, len: usize);
    fn mooring_helper_copy_to_phys(to: u64, from: *const c_void, len: usize);
}

/// Sizes of the pieces that a pool is made of, as base 2 logarithms: the first that can be had.
const CHUNKS: [usize; 3] = [18, 15, PAGE_SHIFT];

/// The memory of a pool.
///
/// # Invariants
///
/// Each of `chunks` has `1 << shift` bytes, a multiple of the page size.
pub(super) struct Memory {
    /// Thousands, if only pages can be had: then the list must not need contiguous memory either.
    chunks: KVVec<Coherent<[u8]>>,
    shift: usize,
}

impl Memory {
    /// Allocates `size` bytes at least, zeroed.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub(super) fn new(dev: &device::Device<Bound>, size: usize) -> Result<Self> {
        let mut result = Err(ENOMEM);

        for shift in CHUNKS {
            let count = (size >> shift) + usize::from(size & ((1 << shift) - 1) != 0);
            result = Self::of_chunks(dev, count, shift);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn of_chunks(dev: &device::Device<Bound>, count: usize, shift: usize) -> Result<Self> {
        let mut chunks = KVVec::with_capacity(count, GFP_KERNEL)?;

        for _ in 0..count {
            chunks.push(
                Coherent::zeroed_slice(dev, 1 << shift, GFP_KERNEL | __GFP_NOWARN)?,
                GFP_KERNEL,
            )?;
        }
        // INVARIANT: All have this size, which is one of `CHUNKS`.
        Ok(Self { chunks, shift })
    }

    /// What the device has to translate.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        let len = 1 << self.shift;

        self.chunks
            .iter()
            .enumerate()
            .map(move |(number, chunk)| Piece {
                iova: POOL_BASE + number as u64 * len,
                bus: chunk.dma_address(),
                len,
            })
    }

    /// Calls `access` with a pointer to each contiguous part of the `len` bytes from `offset`, how far that
    /// part is from `offset`, and its size. Parts outside of the memory are left out.
    fn for_each_part(
        &self,
        offset: usize,
        len: usize,
        mut access: impl FnMut(*mut c_void, usize, usize),
    ) {
        let mut done = 0;

        while done < len {
            let at = offset + done;
            let size = 1 << self.shift;
            let within = at & (size - 1);
            let part = (size - within).min(len - done);
            if let Some(chunk) = self.chunks.get(at >> self.shift) {
                access(
                    chunk.as_mut_ptr().cast::<u8>().wrapping_add(within).cast(),
                    done,
                    part,
                );
            }
            done += part;
        }
    }

    /// Copies a buffer to the pool.
    ///
    /// # Safety
    ///
    /// The buffer must exist: `len` bytes of memory at `phys`.
    pub(super) unsafe fn copy_in(&self, offset: usize, phys: u64, len: usize) {
        self.for_each_part(offset, len, |pool, done, part| {
            // SAFETY: The part lies within a chunk, and within the buffer by the safety requirements. The
            // device may access the chunk meanwhile, which is why this is not a reference, and the copying is
            // C's: what is there then is for the device to know.
            unsafe { mooring_helper_copy_from_phys(pool, phys + done as u64, part) }
        });
    }

    /// Copies from the pool to a buffer.
    ///
    /// # Safety
    ///
    /// As for [`Self::copy_in()`], and nobody else may use the buffer.
    pub(super) unsafe fn copy_out(&self, offset: usize, phys: u64, len: usize) {
        self.for_each_part(offset, len, |pool, done, part| {
            // SAFETY: As in `copy_in()`.
            unsafe { mooring_helper_copy_to_phys(phys + done as u64, pool, part) }
        });
    }

    /// Zeroes a part of the pool.
    pub(super) fn zero(&self, offset: usize, len: usize) {
        self.for_each_part(offset, len, |pool, _, part| {
            // SAFETY: The part lies within a chunk, to which there are no references; see `copy_in()` for the device.
            unsafe { core::ptr::write_bytes(pool.cast::<u8>(), 0, part) }
        });
    }
}
