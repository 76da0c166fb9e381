// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's memory for a device without 1:1 map: when the device is told of what, and what is copied.

use crate::dma::bounce::{
    Piece,
    Target, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// What a device was told.
pub(super) struct Told {
    /// Times that it was told anything.
    times: usize,
    /// What it translates.
    pieces: KVec<(u64, u64, u64)>,
    /// Whether it refuses from now on.
    refuses: bool,
}

/// An address space that notes what it is told.
#[pin_data]
pub(super) struct Notes {
    #[pin]
    told: Mutex<Told>,
}

impl Notes {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                told <- new_mutex!(Told {
                    times: 0,
                    pieces: KVec::new(),
                    refuses: false,
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Times that it was told anything, and bytes that it translates.
    fn told(&self) -> (usize, u64) {
        let told = self.told.lock();

        (told.times, told.pieces.iter().map(|piece| piece.2).sum())
    }

    /// Where `iova` leads.
    fn bus(&self, iova: u64) -> Option<u64> {
        self.told
            .lock()
            .pieces
            .iter()
            .find(|(first, _, len)| iova.checked_sub(*first).is_some_and(|at| at < *len))
            .map(|(first, bus, _)| bus + (iova - first))
    }
}

/// The notes as a target.
struct Space(Arc<Notes>);

impl Target for Space {
    fn translate(&self, pieces: &[Piece]) -> Result {
        let mut told = self.0.told.lock();
        let mut taken = KVec::new();

        told.times += 1;
        for piece in pieces {
            taken.push((piece.iova, piece.bus, piece.len), GFP_KERNEL)?;
        }
        if told.refuses {
            return Err(ENOSPC);
        }
        told.pieces = taken;
        Ok(())
    }
}

#[kunit_tests(mooring_bounce)]
mod tests {
    use super::{
        Notes,
        Space, //
    };
    use crate::{
        dma::bounce::{
            Bounce,
            Size, //
        },
        kunit::{
            memory::Pages,
            sys::{
                self,
                Parent, //
            },
        },
        vdpa::{
            Buffer,
            MapOperations, //
        },
    };
    use core::ptr::NonNull;
    use kernel::{
        dma::DataDirection,
        page::PAGE_SIZE,
        prelude::*,
        sync::Arc, //
    };

    /// Bytes of the smallest pool.
    const POOL: u64 = 256 << 10;

    /// Bytes in a slot.
    const SLOT: u64 = 2048;

    /// What needs no more than the smallest pool, half of it for receiving.
    const SMALL: Size = Size {
        receive: 64,
        receive_len: 1,
        transmit: 0,
        keep: false,
    };

    fn make_sized(size: Size) -> Result<(Arc<Notes>, Arc<Bounce>)> {
        let notes = Notes::new()?;
        let bounce = Bounce::new(KBox::new(Space(notes.clone()), GFP_KERNEL)?, size)?;

        Ok((notes, bounce))
    }

    fn make() -> Result<(Arc<Notes>, Arc<Bounce>)> {
        make_sized(SMALL)
    }

    fn buffer(pages: &Pages, offset: usize, len: usize) -> Result<Buffer> {
        Ok(Buffer {
            page: NonNull::new(sys::page(pages.pfn())).ok_or(EINVAL)?,
            offset,
            len,
        })
    }

    fn map(bounce: &Bounce, buffer: Buffer, direction: DataDirection) -> Result<u64> {
        // SAFETY: The tests keep their pages until the mapping has ended, and use them in between only.
        unsafe { bounce.map(buffer, direction, true) }
    }

    fn unmap(bounce: &Bounce, addr: u64, direction: DataDirection) {
        // SAFETY: The tests use a mapping in one thread.
        unsafe { bounce.unmap(addr, direction, true) };
    }

    /// The byte at a physical or bus address of the test's device, which are the same.
    fn byte(addr: u64) -> *mut u8 {
        sys::bus_to_virt(addr).cast()
    }

    fn read(addr: u64) -> u8 {
        // SAFETY: The tests read memory that is theirs.
        unsafe { byte(addr).read_volatile() }
    }

    fn fill(addr: u64, value: u8, len: usize) {
        for at in 0..len as u64 {
            // SAFETY: The tests write to memory that is theirs.
            unsafe { byte(addr + at).write_volatile(value) };
        }
    }

    fn all(addr: u64, value: u8, len: usize) -> bool {
        (0..len as u64).all(|at| read(addr + at) == value)
    }

    /// The pool is there from the first ring to the last, and the device is told once for each ring.
    #[test]
    fn pool_comes_and_goes_with_the_rings() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(0)?;
        let (notes, bounce) = make()?;

        check!(map(&bounce, buffer(&pages, 0, 1)?, DataDirection::ToDevice) == Err(ENXIO));
        let (first, first_addr) = bounce.alloc(parent.dev(), 100)?;
        check!(notes.told() == (1, POOL + PAGE_SIZE as u64));
        let (second, second_addr) = bounce.alloc(parent.dev(), 3 * PAGE_SIZE)?;
        check!(notes.told() == (2, POOL + 4 * PAGE_SIZE as u64));
        // The device finds the ring that the driver sees, zeroed.
        fill(notes.bus(second_addr).ok_or(EINVAL)?, 0x5a, 1);
        // SAFETY: It is the test's memory.
        check!(unsafe { second.cast::<u8>().read_volatile() } == 0x5a);

        bounce.free(first, first_addr);
        check!(notes.told() == (3, POOL + 3 * PAGE_SIZE as u64));
        // What isn't a ring, or not any more, is nobody's.
        bounce.free(first, first_addr);
        bounce.free(first, second_addr);
        check!(notes.told().0 == 3);
        // The window that is free is taken again.
        let (third, third_addr) = bounce.alloc(parent.dev(), 1)?;
        check!(third_addr == first_addr && notes.told().0 == 4);
        bounce.free(third, third_addr);
        bounce.free(second, second_addr);
        check!(notes.told() == (6, 0));
        check!(map(&bounce, buffer(&pages, 0, 1)?, DataDirection::ToDevice) == Err(ENXIO));
        Ok(())
    }

    #[test]
    fn data_is_copied_both_ways() -> Result {
        let parent = Parent::new()?;
        // Two pages in a row, and the buffer reaches over the boundary and over that of a slot.
        let pages = Pages::folio(1)?;
        let (notes, bounce) = make()?;
        let (ring, ring_addr) = bounce.alloc(parent.dev(), 1)?;
        let (offset, len) = (PAGE_SIZE - 1000, 3000);
        let begin = pages.phys(0) + offset as u64;

        fill(begin, 0x11, len);
        let addr = map(
            &bounce,
            buffer(&pages, offset, len)?,
            DataDirection::ToDevice,
        )?;
        let bus = notes.bus(addr).ok_or(EINVAL)?;
        check!(all(bus, 0x11, len));
        // What the device writes to a buffer that is only for reading goes nowhere.
        fill(bus, 0x22, len);
        unmap(&bounce, addr, DataDirection::ToDevice);
        check!(all(begin, 0x11, len));

        // For receiving, the device sees neither the buffer nor what was in the slot.
        let mut addr = 0;
        for _ in 0..POOL / SLOT {
            addr = map(
                &bounce,
                buffer(&pages, offset, len)?,
                DataDirection::FromDevice,
            )?;
            check!(all(notes.bus(addr).ok_or(EINVAL)?, 0, len));
            unmap(&bounce, addr, DataDirection::FromDevice);
            check!(all(begin, 0, len));
            fill(begin, 0x11, len);
        }
        unmap(&bounce, addr, DataDirection::FromDevice);
        check!(all(begin, 0x11, len));

        let addr = map(
            &bounce,
            buffer(&pages, offset, len)?,
            DataDirection::FromDevice,
        )?;
        let bus = notes.bus(addr).ok_or(EINVAL)?;
        fill(bus, 0x33, len);
        // A part in the middle, and no more than there is.
        // SAFETY: The mapping exists.
        unsafe { bounce.sync_for_cpu(addr + 100, 50, DataDirection::FromDevice) };
        check!(read(begin + 99) == 0x11 && read(begin + 150) == 0x11);
        check!(all(begin + 100, 0x33, 50));
        // SAFETY: As above.
        unsafe { bounce.sync_for_cpu(addr + len as u64 - 1, 5000, DataDirection::FromDevice) };
        check!(read(begin + len as u64 - 2) == 0x11 && read(begin + len as u64 - 1) == 0x33);
        check!(read(begin + len as u64) == 0);
        unmap(&bounce, addr, DataDirection::FromDevice);
        check!(all(begin, 0x33, len));
        bounce.free(ring, ring_addr);
        Ok(())
    }

    /// virtio-net receives in the interrupt, and a full pool must do no harm.
    #[test]
    fn buffers_are_mapped_in_interrupts_until_the_pool_is_full() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(0)?;
        let (_notes, bounce) = make()?;
        let (ring, ring_addr) = bounce.alloc(parent.dev(), 1)?;
        let buffer = buffer(&pages, 0, PAGE_SIZE / 2)?;
        let half = POOL / SLOT / 2;
        let reports = sys::reports();

        for direction in [DataDirection::FromDevice, DataDirection::ToDevice] {
            let mut count = 0;
            let mut last = Err(EINVAL);
            sys::in_hardirq(|| {
                while map(&bounce, buffer, direction).is_ok() {
                    count += 1;
                }
                last = map(&bounce, buffer, direction);
            })?;
            // One direction leaves room for the other.
            check!(count == half && last == Err(ENOSPC));
        }
        check!(bounce.max_mapping_size() as u64 >= 65536);
        let first = (1u64 << 30) + 7 * SLOT;
        sys::in_hardirq(|| unmap(&bounce, first, DataDirection::FromDevice))?;
        check!(map(&bounce, buffer, DataDirection::ToDevice) == Err(ENOSPC));
        check!(map(&bounce, buffer, DataDirection::FromDevice) == Ok(first));

        // The last ring goes although buffers are mapped: the device loses the pool, they can be unmapped still.
        bounce.free(ring, ring_addr);
        for slot in 0..2 * half {
            unmap(&bounce, (1 << 30) + slot * SLOT, DataDirection::FromDevice);
        }
        let (ring, ring_addr) = bounce.alloc(parent.dev(), 1)?;
        check!(map(&bounce, buffer, DataDirection::FromDevice) == Ok(1 << 30));
        unmap(&bounce, 1 << 30, DataDirection::FromDevice);
        bounce.free(ring, ring_addr);
        check!(sys::reports() == reports);
        Ok(())
    }

    /// virtio-net polls for ever if a receive buffer can't be mapped, so none may be in the way of another.
    #[test]
    fn receive_buffers_always_have_room() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(0)?;
        let (_notes, bounce) = make_sized(Size {
            receive: 8,
            receive_len: PAGE_SIZE,
            ..SMALL
        })?;
        let (ring, ring_addr) = bounce.alloc(parent.dev(), 1)?;
        let (header, page) = (buffer(&pages, 0, 12)?, buffer(&pages, 0, PAGE_SIZE)?);
        let mut addrs = KVec::new();

        while map(&bounce, buffer(&pages, 0, 1)?, DataDirection::ToDevice).is_ok() {}
        for number in 0..8 {
            let buffer = match number % 2 {
                0 => header,
                _ => page,
            };
            addrs.push(map(&bounce, buffer, DataDirection::FromDevice)?, GFP_KERNEL)?;
        }
        check!(map(&bounce, header, DataDirection::FromDevice) == Err(ENOSPC));
        for addr in addrs.iter().step_by(2) {
            unmap(&bounce, *addr, DataDirection::FromDevice);
        }
        for addr in addrs.iter_mut().step_by(2) {
            *addr = map(&bounce, page, DataDirection::FromDevice)?;
        }
        for addr in addrs {
            unmap(&bounce, addr, DataDirection::FromDevice);
        }
        bounce.free(ring, ring_addr);
        Ok(())
    }

    /// The control queue's driver writes an error where the device is to say that all is well.
    #[test]
    fn what_the_device_does_not_write_can_be_kept() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(0)?;
        let (notes, bounce) = make_sized(Size {
            keep: true,
            ..SMALL
        })?;
        let (ring, ring_addr) = bounce.alloc(parent.dev(), 1)?;
        let begin = pages.phys(0);

        fill(begin, 0xff, 2);
        for written in [0xff, 0] {
            let addr = map(&bounce, buffer(&pages, 0, 1)?, DataDirection::FromDevice)?;
            let bus = notes.bus(addr).ok_or(EINVAL)?;
            // The buffer, and nothing of what is beside it.
            check!(read(bus) == 0xff && read(bus + 1) == 0);
            if written != 0xff {
                fill(bus, written, 1);
            }
            unmap(&bounce, addr, DataDirection::FromDevice);
            check!(read(begin) == written && read(begin + 1) == 0xff);
        }
        bounce.free(ring, ring_addr);
        Ok(())
    }

    /// A device can have thousands of queues.
    #[test]
    fn rings_of_a_large_device_have_windows() -> Result {
        let parent = Parent::new()?;
        let (_notes, bounce) = make()?;
        let mut rings = KVec::new();
        let mut last = 0;

        for _ in 0..1100 {
            let ring = bounce.alloc(parent.dev(), 1)?;
            check!(ring.1 > last && ring.1 < 1 << 32);
            last = ring.1;
            rings.push(ring, GFP_KERNEL)?;
        }
        while let Some((ring, addr)) = rings.pop() {
            bounce.free(ring, addr);
        }
        Ok(())
    }

    #[test]
    fn pool_without_enough_addresses_is_refused() -> Result {
        let parent = Parent::new()?;

        for (receive, transmit) in [(1 << 19, 0), (usize::MAX, 0), (0, 2 << 30), (1, usize::MAX)] {
            let (notes, bounce) = make_sized(Size {
                receive,
                transmit,
                ..SMALL
            })?;
            check!(bounce.alloc(parent.dev(), 1).err() == Some(ENOSPC));
            check!(notes.told() == (0, 0));
        }
        Ok(())
    }

    #[test]
    fn refused_ring_leaves_all_as_it_was() -> Result {
        let parent = Parent::new()?;
        let pages = Pages::single(0)?;
        let (notes, bounce) = make()?;

        for len in [0, 2 << 20, usize::MAX] {
            check!(bounce.alloc(parent.dev(), len).err() == Some(EINVAL));
        }
        check!(notes.told() == (0, 0));
        notes.told.lock().refuses = true;
        check!(bounce.alloc(parent.dev(), 1).err() == Some(ENOSPC));
        check!(map(&bounce, buffer(&pages, 0, 1)?, DataDirection::ToDevice) == Err(ENXIO));
        notes.told.lock().refuses = false;
        let (ring, addr) = bounce.alloc(parent.dev(), 1)?;
        notes.told.lock().refuses = true;
        check!(bounce.alloc(parent.dev(), 1).err() == Some(ENOSPC));
        notes.told.lock().refuses = false;
        let (other, other_addr) = bounce.alloc(parent.dev(), 1)?;
        check!(notes.told().1 == POOL + 2 * PAGE_SIZE as u64);
        bounce.free(other, other_addr);
        bounce.free(ring, addr);
        check!(notes.told().1 == 0);
        Ok(())
    }
}
