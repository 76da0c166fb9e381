// SPDX-License-Identifier: GPL-2.0-only

//! Memory of the kernel for a device that translates only what it was told: rings, and a bounce pool.
//!
//! The virtio core maps buffers in atomic context, and telling the card takes a command, which sleeps. So the
//! card is told once, when the first ring of an address space is allocated: of a pool, through which all
//! buffers are copied from then on. What the device can reach is the rings and the pool, and nothing else of
//! the kernel's memory, whatever it does. The price is a copy of each frame.
//!
//! The card is told that the pool is gone when the last ring is freed. The pool's memory follows, unless
//! somebody has buffers mapped still, against the rules; then it stays until that is over.
//!
//! # Room
//!
//! Receiving and sending have parts of their own in the pool, so that neither takes the other's. In the part for
//! receiving each buffer of up to [`Size::receive_len`] bytes takes one place, and there are [`Size::receive`] of
//! them: that many are always to be had, whatever came and went before. In the part for sending a buffer takes as
//! many slots as it is long.
//!
//! # What the device gets to see
//!
//! The pool begins zeroed, and holds nothing that was not sent to this device or came from it. Slots for
//! receiving are zeroed each time they are taken, so that what reaches the kernel is what the device wrote
//! now, and never another buffer's data. A part of a buffer that the device does not write to reads as zero
//! therefore, where the DMA API would leave what was there.
//!
//! With [`Size::keep`], a slot for receiving begins as what is in the buffer instead, and what the device does not
//! write to stays. That is for buffers whose unwritten bytes mean something, as in the control queue: the driver
//! sets the status of a command to an error before, and 0 would be success.
//!
//! # Addresses
//!
//! The pool begins at [`POOL_BASE`]. Each ring has a window of its own above [`RING_BASE`]. All of it lies
//! below 4 GiB, which every card can translate, and not at 0, where stray addresses lead.

mod memory;

use super::slots::{
    Loan,
    Slot,
    Slots, //
};
use crate::vdpa::{
    Buffer,
    MapOperations, //
};
use core::{
    num::NonZeroUsize,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    device::{
        self,
        Bound, //
    },
    dma::{
        Coherent,
        DataDirection,
        DmaAddress, //
    },
    new_mutex, new_spinlock_irq,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLockIrq, //
    },
};
use memory::Memory;

// `struct page` has members of no size in some configurations, which is fine in C and in Rust.
#[allow(improper_ctypes)]
unsafe extern "C" {
    // In helpers.c.
    fn mooring_helper_page_to_phys(page: *mut bindings::page) -> u64;
}

/// Bytes in a slot: a frame of the usual size fits.
pub(crate) const SLOT: usize = SLOT_SIZE.get();

/// The same, as a divisor.
const SLOT_SIZE: NonZeroUsize = NonZeroUsize::new(2048).unwrap();

/// The largest buffer, above what virtio-net sends with the largest MTU.
const MAX_BUFFER: usize = 128 << 10;

/// Where the pool begins.
const POOL_BASE: u64 = 1 << 30;

/// Most bytes of a pool.
const MAX_POOL: usize = 1 << 30;

/// Where the first ring's window begins.
const RING_BASE: u64 = 1 << 31;

/// Distance from one ring's window to the next. A ring of 16384 entries fits.
const RING_WINDOW: u64 = 512 << 10;

/// Most rings of an address space: as many queues as a card can have.
const MAX_RINGS: u64 = 4096;

const _: () = assert!(POOL_BASE + MAX_POOL as u64 <= RING_BASE);
const _: () = assert!(RING_BASE + MAX_RINGS * RING_WINDOW <= 1 << 32);

/// How much a pool has room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Buffers for receiving that can be mapped at a time.
    pub(crate) receive: usize,
    /// Most bytes of such a buffer. A longer one takes the room of several, if that many neighbours are free.
    pub(crate) receive_len: usize,
    /// Bytes for sending; at least the room for one buffer of the largest size is there.
    pub(crate) transmit: usize,
    /// Whether a buffer for receiving keeps what the device doesn't write to; else that is zeroed.
    pub(crate) keep: bool,
}

impl Size {
    /// Bytes of a place for receiving: slots that hold `receive_len` bytes, at least one.
    fn place(&self) -> NonZeroUsize {
        SLOT_SIZE.saturating_mul(
            NonZeroUsize::new(self.receive_len.div_ceil(SLOT)).unwrap_or(NonZeroUsize::MIN),
        )
    }

    /// Bytes of the part for receiving, and of that for sending.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there are not as many addresses.
    fn parts(&self) -> Result<(usize, usize)> {
        let receive = self.receive.checked_mul(self.place().get()).ok_or(ENOSPC)?;
        let transmit = self
            .transmit
            .max(MAX_BUFFER)
            .checked_next_multiple_of(SLOT)
            .ok_or(ENOSPC)?;

        match receive.checked_add(transmit) {
            Some(..=MAX_POOL) => Ok((receive, transmit)),
            _ => Err(ENOSPC),
        }
    }
}

/// A piece of memory that a device shall reach for reading and writing: whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// First address that the device uses.
    pub(crate) iova: u64,
    /// First bus address.
    pub(crate) bus: u64,
    /// In bytes.
    pub(crate) len: u64,
}

/// An address space of a device, for the kernel's own memory.
pub(crate) trait Target: Send + Sync {
    /// Makes the device translate `pieces`, which are sorted by address, and nothing else. With none, the
    /// address space goes back to its default. May sleep.
    ///
    /// # Errors
    ///
    /// Any. The device then reaches what it reached before, if all of that is in `pieces`, or nothing.
    fn translate(&self, pieces: &[Piece]) -> Result;
}

/// A ring.
struct Ring {
    iova: u64,
    memory: Coherent<[u8]>,
}

/// What changes in process context only.
struct Rings {
    rings: KVVec<Ring>,
    /// What the device was told, by the address.
    pieces: KVVec<Piece>,
}

/// A part of the pool, for one direction.
struct Part {
    /// Where it begins in the pool, in bytes.
    begin: usize,
    /// Bytes of a slot.
    slot: NonZeroUsize,
    slots: Slots<KVVec<Slot>>,
}

impl Part {
    /// Makes a part of `len` bytes, a multiple of `slot`.
    fn new(begin: usize, slot: NonZeroUsize, len: usize) -> Result<Self> {
        let mut slots = KVVec::new();
        slots.resize(len / slot, Slot::FREE, GFP_KERNEL)?;

        Ok(Self {
            begin,
            slot,
            slots: Slots::new(slots),
        })
    }

    /// Takes room for a buffer. Returns where it is in the pool.
    fn take(&mut self, loan: Loan) -> Option<usize> {
        let first = self.slots.take(loan.len.div_ceil(self.slot.get()), loan)?;
        Some(self.begin + first * self.slot.get())
    }

    /// The buffer that `offset` in the pool is in: where it begins in the pool, and what it is.
    fn find(&self, offset: usize) -> Option<(usize, Loan)> {
        let (first, loan) = self
            .slots
            .find(offset.checked_sub(self.begin)? / self.slot)?;
        Some((self.begin + first * self.slot.get(), loan))
    }

    /// Gives back the room of the buffer that begins at `offset` in the pool.
    fn release(&mut self, offset: usize) {
        if let Some(within) = offset.checked_sub(self.begin) {
            self.slots.release(within / self.slot);
        }
    }
}

/// The pool.
struct Pool {
    memory: Arc<Memory>,
    /// The first part.
    receive: Part,
    /// The part behind it.
    transmit: Part,
}

impl Pool {
    /// The part that `offset` is in, or would be in. It does not begin behind `offset`.
    fn part(&self, offset: usize) -> &Part {
        match offset < self.transmit.begin {
            true => &self.receive,
            false => &self.transmit,
        }
    }

    /// The same, to be changed.
    fn part_mut(&mut self, offset: usize) -> &mut Part {
        match offset < self.transmit.begin {
            true => &mut self.receive,
            false => &mut self.transmit,
        }
    }

    fn is_unused(&self) -> bool {
        self.receive.slots.used() == 0 && self.transmit.slots.used() == 0
    }
}

/// The kernel's memory in an address space of a device. See the module's description.
#[pin_data]
pub(crate) struct Bounce {
    target: KBox<dyn Target>,
    size: Size,
    #[pin]
    rings: Mutex<Rings>,
    /// There as long as there are rings. Locked for a moment only, never while anything is copied.
    #[pin]
    pool: SpinLockIrq<Option<Pool>>,
}

impl Bounce {
    /// Prepares for a pool of this size. No memory is allocated before it is needed; a pool that is larger than can be is
    /// refused only then.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub(crate) fn new(target: KBox<dyn Target>, size: Size) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                target,
                size,
                rings <- new_mutex!(
                    Rings {
                        rings: KVVec::new(),
                        pieces: KVVec::new(),
                    },
                    "Bounce::rings"
                ),
                pool <- new_spinlock_irq!(None, "Bounce::pool"),
            }),
            GFP_KERNEL,
        )
    }

    fn new_pool(&self, dev: &device::Device<Bound>) -> Result<Pool> {
        let (receive, transmit) = self.size.parts()?;

        Ok(Pool {
            memory: Arc::new(Memory::new(dev, receive + transmit)?, GFP_KERNEL)?,
            receive: Part::new(0, self.size.place(), receive)?,
            transmit: Part::new(receive, SLOT_SIZE, transmit)?,
        })
    }

    /// Takes the pool's memory away if nobody uses it. The device can't reach it any more.
    fn take_unused_pool(&self) -> Option<Pool> {
        self.pool.lock().take_if(|pool| pool.is_unused())
    }

    /// The buffer that `addr` is in: where it begins in the pool, how far `addr` is from there, and what it is.
    fn find(&self, addr: DmaAddress) -> Option<(Arc<Memory>, usize, usize, Loan)> {
        let offset = usize::try_from(addr.checked_sub(POOL_BASE)?).ok()?;
        let pool = self.pool.lock();
        let pool = (*pool).as_ref()?;
        let (begin, loan) = pool.part(offset).find(offset)?;

        Some((pool.memory.clone(), begin, offset - begin, loan))
    }

    /// Calls `copy` with the place in the pool, the physical address and the size of what is mapped of the
    /// `len` bytes at `addr`.
    fn sync(&self, addr: DmaAddress, len: usize, copy: impl FnOnce(&Memory, usize, u64, usize)) {
        if let Some((memory, begin, within, loan)) = self.find(addr) {
            let len = len.min(loan.len.saturating_sub(within));

            copy(&memory, begin + within, loan.phys + within as u64, len);
        }
    }
}

fn to_device(direction: DataDirection) -> bool {
    matches!(
        direction,
        DataDirection::ToDevice | DataDirection::Bidirectional
    )
}

fn from_device(direction: DataDirection) -> bool {
    matches!(
        direction,
        DataDirection::FromDevice | DataDirection::Bidirectional
    )
}

// SAFETY: Rings are coherent memory, which is kept in `rings` until it is freed. Buffers are accessed by
// their loans, which `map()` makes and `unmap()` ends.
unsafe impl MapOperations for Bounce {
    fn alloc(
        &self,
        dev: &device::Device<Bound>,
        len: usize,
    ) -> Result<(NonNull<c_void>, DmaAddress)> {
        let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(EINVAL)?;
        if len == 0 || len as u64 >= RING_WINDOW {
            return Err(EINVAL);
        }
        let memory: Coherent<[u8]> = Coherent::zeroed_slice(dev, len, GFP_KERNEL | __GFP_NOWARN)?;
        let ptr = NonNull::new(memory.as_mut_ptr().cast()).ok_or(ENOMEM)?;
        let mut guard = self.rings.lock();
        let Rings { rings, pieces } = &mut *guard;

        // The lowest window that is free: `rings` is sorted.
        let number = rings
            .iter()
            .zip(0..)
            .take_while(|(ring, number)| ring.iova == RING_BASE + number * RING_WINDOW)
            .count();
        let iova = RING_BASE + number as u64 * RING_WINDOW;
        if number as u64 >= MAX_RINGS {
            return Err(ENOSPC);
        }

        // A pool that has no rings belongs to buffers which should be gone; it may be in use all the same.
        let mut new_pool = None;
        if rings.is_empty() {
            drop(self.take_unused_pool());
            if self.pool.lock().is_none() {
                new_pool = Some(self.new_pool(dev)?);
            }
        }
        let mut wanted = KVVec::new();
        if let Some(pool) = &new_pool {
            for piece in pool.memory.pieces() {
                wanted.push(piece, GFP_KERNEL)?;
            }
        } else if rings.is_empty() {
            let kept = (*self.pool.lock()).as_ref().map(|pool| pool.memory.clone());
            for piece in kept.iter().flat_map(|memory| memory.pieces()) {
                wanted.push(piece, GFP_KERNEL)?;
            }
        } else {
            wanted.extend_from_slice(pieces, GFP_KERNEL)?;
        }
        let piece = Piece {
            iova,
            bus: memory.dma_address(),
            len: len as u64,
        };
        // The rings' pieces are the last ones, in the order of the rings.
        let place = (wanted.len() - rings.len()) + number;
        wanted.reserve(1, GFP_KERNEL)?;
        wanted
            .insert_within_capacity(place, piece)
            .map_err(|_| EINVAL)?;
        rings.reserve(1, GFP_KERNEL)?;
        rings
            .insert_within_capacity(number, Ring { iova, memory })
            .map_err(|_| EINVAL)?;

        if let Err(error) = self.target.translate(&wanted) {
            // The device does not reach the ring.
            let _ = rings.remove(number);
            return Err(error);
        }
        *pieces = wanted;
        if let Some(pool) = new_pool {
            *self.pool.lock() = Some(pool);
        }
        Ok((ptr, iova))
    }

    fn free(&self, ptr: NonNull<c_void>, addr: DmaAddress) {
        let mut guard = self.rings.lock();
        let Rings { rings, pieces } = &mut *guard;
        let is = |ring: &Ring| ring.iova == addr && ring.memory.as_ptr().cast() == ptr.as_ptr();

        let Some(index) = rings.iter().position(is) else {
            return;
        };
        let Ok(ring) = rings.remove(index) else {
            return;
        };
        match rings.is_empty() {
            true => pieces.clear(),
            false => pieces.retain(|piece| piece.iova != addr),
        }
        // If this fails, the device reaches nothing any more, and the owner is told by `target`.
        let _ = self.target.translate(pieces);
        drop(ring);
        if rings.is_empty() {
            drop(self.take_unused_pool());
        }
    }

    unsafe fn map(
        &self,
        buffer: Buffer,
        direction: DataDirection,
        sync: bool,
    ) -> Result<DmaAddress> {
        if buffer.len > MAX_BUFFER {
            return Err(EINVAL);
        }
        // SAFETY: By the safety requirements, the page exists.
        let page = unsafe { mooring_helper_page_to_phys(buffer.page.as_ptr()) };
        let loan = Loan {
            phys: page + buffer.offset as u64,
            len: buffer.len,
        };
        let receive = direction == DataDirection::FromDevice;

        let (memory, offset) = {
            let mut pool = self.pool.lock();
            let pool = (*pool).as_mut().ok_or(ENXIO)?;
            let part = match receive {
                true => &mut pool.receive,
                false => &mut pool.transmit,
            };
            let offset = part.take(loan).ok_or(ENOSPC)?;
            (pool.memory.clone(), offset)
        };
        match sync && (!receive || self.size.keep) {
            // SAFETY: By the safety requirements, the buffer exists.
            true => unsafe { memory.copy_in(offset, loan.phys, loan.len) },
            false => memory.zero(offset, loan.len),
        }
        Ok(POOL_BASE + offset as u64)
    }

    unsafe fn unmap(&self, addr: DmaAddress, direction: DataDirection, sync: bool) {
        let Some((memory, begin, 0, loan)) = self.find(addr) else {
            return;
        };

        if sync && from_device(direction) {
            // SAFETY: `map()` was promised that the buffer exists until this function returns, and by the
            // safety requirements this isn't a second one on the way.
            unsafe { memory.copy_out(begin, loan.phys, loan.len) };
        }
        // Before the slots are free, so that the pool can't go first and this be the last reference, which
        // must not be dropped in atomic context.
        drop(memory);
        if let Some(pool) = (*self.pool.lock()).as_mut() {
            pool.part_mut(begin).release(begin);
        }
    }

    unsafe fn sync_for_cpu(&self, addr: DmaAddress, len: usize, direction: DataDirection) {
        if from_device(direction) {
            self.sync(addr, len, |memory, at, phys, len| {
                // SAFETY: `map()` was promised that the buffer exists until it is unmapped, which by the safety
                // requirements does not happen meanwhile.
                unsafe { memory.copy_out(at, phys, len) }
            });
        }
    }

    unsafe fn sync_for_device(&self, addr: DmaAddress, len: usize, direction: DataDirection) {
        if to_device(direction) {
            self.sync(addr, len, |memory, at, phys, len| {
                // SAFETY: As above.
                unsafe { memory.copy_in(at, phys, len) }
            });
        }
    }

    fn max_mapping_size(&self) -> usize {
        MAX_BUFFER
    }
}
