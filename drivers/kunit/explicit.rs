// SPDX-License-Identifier: GPL-2.0-only

//! A network device of a card without 1:1 address spaces: its table of operations, and who may use an address
//! space when, through the C functions that vhost and the virtio core call.

use kernel::prelude::*;

#[kunit_tests(mooring_explicit)]
mod tests {
    use crate::{
        info::Translation,
        kunit::{
            bus::{
                bindings::{
                    virtio_map,
                    virtio_map_ops,
                    VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK,
                    VHOST_BACKEND_F_IOTLB_PERSIST, //
                },
                Vdev, //
            },
            cp::Answer,
            fixture::TestCard,
            memory::Pages,
            sys::{
                self,
                vdpa_del,
                Parent, //
            },
            trace::{
                self,
                Step, //
            },
        },
        mgmt::Manager,
        wire::{
            AddressSpaceMode,
            ErrorCode,
            Opcode, //
        },
    };
    use kernel::{
        bindings,
        error::to_result,
        page::PAGE_SIZE,
        prelude::*, //
    };

    const NAME: &CStr = c"kunit-explicit";
    const PAGE: u64 = PAGE_SIZE as u64;
    const RW: u32 = 3;
    const MAPPING_ERROR: u64 = u64::MAX;
    const UPDATE: Step = Step::Command(Opcode::AddressSpaceUpdate);
    const SET_MODE: Step = Step::Command(Opcode::AddressSpaceSetMode);

    /// Calls an operation of the table with the device and these arguments.
    macro_rules! call {
        ($vdev:expr, $op:ident $(, $argument:expr)* $(,)?) => {{
            let function = $vdev.ops().$op.ok_or(ENOSYS)?;
            // SAFETY: The device is registered, and the arguments are what the operation wants.
            unsafe { function($vdev.as_raw() $(, $argument)*) }
        }};
    }

    /// Calls a mapping operation with these arguments.
    macro_rules! map_call {
        ($maps:expr, $op:ident $(, $argument:expr)* $(,)?) => {{
            let function = $maps.ops()?.$op.ok_or(ENOSYS)?;
            // SAFETY: The device is registered, the token is its own, and the arguments are what the
            // operation wants.
            unsafe { function($maps.token $(, $argument)*) }
        }};
    }

    /// What virtio-vdpa knows of a virtqueue's mapping.
    struct Maps<'a> {
        vdev: &'a Vdev,
        token: virtio_map,
    }

    impl<'a> Maps<'a> {
        fn of_queue(vdev: &'a Vdev, idx: u16) -> Result<Self> {
            let token = call!(vdev, get_vq_map, idx);

            Ok(Self { vdev, token })
        }

        fn ops(&self) -> Result<&'static virtio_map_ops> {
            // SAFETY: The device is registered; the table is null or static.
            unsafe { (*self.vdev.as_raw()).map.as_ref() }.ok_or(ENOSYS)
        }

        /// Allocates a ring of a page.
        fn alloc(&self) -> Result<(*mut c_void, u64)> {
            let mut addr = 0;
            let ring = map_call!(self, alloc, PAGE_SIZE, &raw mut addr, bindings::GFP_KERNEL);

            match ring.is_null() {
                true => Err(ENOMEM),
                false => Ok((ring, addr)),
            }
        }

        fn free(&self, (ring, addr): (*mut c_void, u64)) -> Result {
            map_call!(self, free, PAGE_SIZE, ring, addr, 0);
            Ok(())
        }
    }

    /// Runs `test` with a device with a control queue.
    fn with_device(test: impl FnOnce(&TestCard, &Vdev) -> Result) -> Result {
        let parent = Parent::new()?;
        let card = TestCard::of_kind(&parent, Translation::OnChip)?;
        let _management = KBox::pin_init(
            Manager::register(parent.dev(), card.card().clone()),
            GFP_KERNEL,
        )?;

        parent.vdpa_add(NAME)?;
        let vdev = Vdev::find(&parent, NAME)?;
        trace::start();
        test(&card, &vdev)?;
        drop(vdev);
        vdpa_del(NAME)?;
        check!(trace::take().is_balanced());
        Ok(())
    }

    /// vhost and virtio-vdpa find out by the table what they have to do with.
    #[test]
    fn table_says_what_the_card_is() -> Result {
        with_device(|card, vdev| {
            let ops = vdev.ops();

            check!(ops.dma_map.is_some() && ops.dma_unmap.is_some());
            check!(ops.set_map.is_none() && ops.reset_map.is_none());
            let declared = (1 << VHOST_BACKEND_F_IOTLB_PERSIST)
                | (1 << VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK);
            check!(call!(vdev, get_backend_features) == declared);
            check!(ops.get_vq_map.is_some());
            check!(card.cp(|cp| cp.modes().all(|mode| mode == AddressSpaceMode::Blocked)));
            Ok(())
        })
    }

    /// A process's map goes with its last range, by the command that takes the range away.
    #[test]
    fn last_unmap_blocks() -> Result {
        with_device(|card, vdev| {
            let pages = Pages::single(1)?;
            let map = |page: u64| -> Result {
                to_result(call!(
                    vdev,
                    dma_map,
                    0,
                    page * 2 * PAGE,
                    PAGE,
                    pages.phys(usize::try_from(page)?),
                    RW,
                    core::ptr::null_mut()
                ))
            };

            map(0)?;
            map(1)?;
            check!(card.cp(|cp| cp.modes().next() == Some(AddressSpaceMode::Translated)));
            check!(pages.refs(0) == 2 && pages.refs(1) == 2);
            // SAFETY: The device is registered.
            unsafe { vdev.reset()? };
            check!(pages.refs(0) == 2 && pages.refs(1) == 2);
            trace::take();
            to_result(call!(vdev, dma_unmap, 0, 0, PAGE))?;
            check!(trace::take().steps() == [UPDATE, Step::Unmap, Step::Put]);
            to_result(call!(vdev, dma_unmap, 0, 2 * PAGE, PAGE))?;
            check!(trace::take().steps() == [SET_MODE, Step::Unmap, Step::Put]);
            check!(card.cp(|cp| cp.modes().next() == Some(AddressSpaceMode::Blocked)));
            check!(pages.refs(0) == 1 && pages.refs(1) == 1);
            Ok(())
        })
    }

    /// While the kernel has rings in an address space, no process gets in, and the other way round.
    #[test]
    fn space_has_one_owner() -> Result {
        with_device(|card, vdev| {
            let pages = Pages::single(0)?;
            let maps = Maps::of_queue(vdev, 0)?;
            let map = || {
                let phys = pages.phys(0);
                Ok::<_, Error>(call!(
                    vdev,
                    dma_map,
                    0,
                    0,
                    PAGE,
                    phys,
                    RW,
                    core::ptr::null_mut()
                ))
            };

            let ring = maps.alloc()?;
            check!(card.cp(|cp| cp.modes().next() == Some(AddressSpaceMode::Translated)));
            check!(to_result(map()?) == Err(EBUSY));
            maps.free(ring)?;
            check!(card.cp(|cp| cp.modes().next() == Some(AddressSpaceMode::Blocked)));
            to_result(map()?)?;
            check!(maps.alloc().is_err());
            check!(card.cp(|cp| cp.modes().next() == Some(AddressSpaceMode::Translated)));
            to_result(call!(vdev, dma_unmap, 0, 0, PAGE))?;
            let ring = maps.alloc()?;
            maps.free(ring)
        })
    }

    #[test]
    fn buffers_go_through_the_pool() -> Result {
        with_device(|_card, vdev| {
            let pages = Pages::single(0)?;
            let page = sys::page(pages.pfn());
            let maps = Maps::of_queue(vdev, 1)?;
            let to_device = bindings::dma_data_direction::DMA_TO_DEVICE;

            let early = map_call!(maps, map_page, page, 0, 64, to_device, 0);
            check!(early == MAPPING_ERROR);
            check!(map_call!(maps, mapping_error, early) != 0);
            let mut addr = 0;
            // Whoever can't sleep gets no ring.
            check!(
                map_call!(maps, alloc, PAGE_SIZE, &raw mut addr, bindings::GFP_ATOMIC).is_null()
            );
            let ring = maps.alloc()?;
            let mapped = map_call!(maps, map_page, page, 0, 64, to_device, 0);
            check!(map_call!(maps, mapping_error, mapped) == 0 && mapped != 0);
            check!(map_call!(maps, need_sync, mapped));
            check!(map_call!(maps, max_mapping_size) >= 65536);
            check!(map_call!(maps, map_page, page, 0, 0, to_device, 0) == MAPPING_ERROR);
            map_call!(maps, unmap_page, mapped, 64, to_device, 0);
            maps.free(ring)?;

            // No such queue, hence no address space: nothing can be had.
            let none = Maps::of_queue(vdev, 99)?;
            check!(none.alloc().is_err());
            check!(map_call!(none, map_page, page, 0, 64, to_device, 0) == MAPPING_ERROR);
            check!(map_call!(none, max_mapping_size) == 0);
            Ok(())
        })
    }

    /// A ring that the card has no room for leaves those that it has.
    #[test]
    fn refused_ring_leaves_the_others() -> Result {
        with_device(|card, vdev| {
            let maps = Maps::of_queue(vdev, 0)?;
            let first = maps.alloc()?;

            card.cp(|cp| {
                cp.answer(
                    Opcode::AddressSpaceUpdate,
                    Answer::Refused(ErrorCode::NoSpace),
                )
            });
            trace::take();
            check!(maps.alloc().is_err());
            check!(trace::take().steps() == [UPDATE]);
            check!(card.cp(|cp| cp.modes().next() == Some(AddressSpaceMode::Translated)));
            // The next one works.
            let second = maps.alloc()?;
            maps.free(second)?;
            maps.free(first)
        })
    }

    /// A ring that the card can't give up is out of its reach before the memory goes.
    #[test]
    fn refused_removal_of_a_ring_blocks() -> Result {
        with_device(|card, vdev| {
            let maps = Maps::of_queue(vdev, 0)?;
            let rings = [maps.alloc()?, maps.alloc()?];
            let [first, second] = rings;

            card.cp(|cp| {
                cp.answer(
                    Opcode::AddressSpaceUpdate,
                    Answer::Refused(ErrorCode::NoSpace),
                )
            });
            trace::take();
            maps.free(first)?;
            check!(trace::take().steps() == [UPDATE, SET_MODE]);
            check!(card.cp(|cp| cp.modes().next() == Some(AddressSpaceMode::Blocked)));
            maps.free(second)?;
            check!(card.cp(|cp| cp.modes().next() == Some(AddressSpaceMode::Blocked)));
            Ok(())
        })
    }
}
