// SPDX-License-Identifier: GPL-2.0-only

//! A network device from `vdpa dev add` to `vdpa dev del`: what it holds on the card and of the host's
//! memory, and its locks in the contexts that the operations come in.

use kernel::prelude::*;

#[kunit_tests(mooring_net_device)]
mod tests {
    use crate::{
        card::Card,
        kunit::{
            bus::Vdev,
            cp::{
                self,
                Answer, //
            },
            fixture::TestCard,
            memory::{
                Maps,
                Pages, //
            },
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
        mgmt::{
            Management,
            Manager,
            Type, //
        },
        msix::EVENT_VECTOR,
        vdpa::virtio::*,
        wire::{
            self,
            AddressSpaceMode,
            ErrorCode,
            EventKind,
            Opcode, //
        },
    };
    use kernel::{
        error::to_result,
        prelude::*,
        sync::{
            atomic::{
                Atomic,
                Relaxed, //
            },
            Arc, //
        },
    };

    const NAME: &CStr = c"kunit-net";

    const FEATURES: u64 = (1 << VIRTIO_F_VERSION_1) | (1 << VIRTIO_F_ACCESS_PLATFORM);

    /// All that a driver sets before it starts a device, and that it starts it.
    const STARTED: u32 = VIRTIO_CONFIG_S_ACKNOWLEDGE
        | VIRTIO_CONFIG_S_DRIVER
        | VIRTIO_CONFIG_S_FEATURES_OK
        | VIRTIO_CONFIG_S_DRIVER_OK;

    /// Calls an operation of the table with the device and these arguments.
    macro_rules! call {
        ($vdev:expr, $op:ident $(, $argument:expr)* $(,)?) => {{
            let function = $vdev.ops().$op.ok_or(ENOSYS)?;
            // SAFETY: The device is registered, and the arguments are what the operation wants.
            unsafe { function($vdev.as_raw() $(, $argument)*) }
        }};
    }

    fn manage<'a>(parent: &'a Parent, card: &TestCard) -> Result<Pin<KBox<Management<'a>>>> {
        KBox::pin_init(
            Manager::register(parent.dev(), card.card().clone()),
            GFP_KERNEL,
        )
    }

    /// # Safety
    ///
    /// `private` must point to an `Atomic<u32>`.
    unsafe extern "C" fn count(private: *mut c_void) -> kernel::bindings::irqreturn_t {
        // SAFETY: By the safety requirements.
        unsafe { &*private.cast::<Atomic<u32>>() }.fetch_add(1, Relaxed);
        kernel::bindings::irqreturn::IRQ_HANDLED
    }

    /// Sets the callbacks of queue 0 and of the configuration, which count in `calls`.
    fn set_callbacks(vdev: &Vdev, calls: &Arc<Atomic<u32>>) -> Result {
        let private = core::ptr::from_ref(&**calls).cast_mut().cast();

        // SAFETY: The device is registered, and the tests keep `calls` for longer.
        unsafe {
            vdev.set_callback(Some(0), Some(count), private)?;
            vdev.set_callback(None, Some(count), private)
        }
    }

    /// Sets up queue 0 and starts the device.
    fn start(vdev: &Vdev) -> Result {
        call!(vdev, set_vq_num, 0, 64);
        to_result(call!(vdev, set_vq_address, 0, 0x0, 0x800, 0xc00))?;
        call!(vdev, set_vq_ready, 0, true);
        // SAFETY: The device is registered.
        unsafe {
            vdev.set_features(FEATURES)?;
            vdev.set_status(STARTED);
        }
        Ok(())
    }

    fn status(vdev: &Vdev) -> Result<u32> {
        Ok(call!(vdev, get_status).into())
    }

    #[test]
    fn deleting_leaves_nothing() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let management = manage(&parent, &card)?;
        let pages = Pages::single(1)?;

        for _ in 0..2 {
            parent.vdpa_add(NAME)?;
            check!(card.cp(|cp| cp.num_devices() == 1));
            check!(card.cp(|cp| cp.modes().eq([AddressSpaceMode::Identity; 3])));
            let vdev = Vdev::find(&parent, NAME)?;
            let maps = Maps::of_pages(&pages, &[(0, 0), (7, 1)])?;
            trace::start();
            to_result(call!(vdev, set_map, 0, maps.as_raw()))?;
            drop(vdev);
            check!(pages.refs(0) == 2 && pages.refs(1) == 2);

            trace::take();
            vdpa_del(NAME)?;
            let trace = trace::take();
            // No queue may run through an address space that goes.
            check!(trace.steps().starts_with(&[
                Step::Command(Opcode::DeviceDestroy),
                Step::Command(Opcode::AddressSpaceDestroy),
                Step::Unmap,
                Step::Put,
            ]));
            check!(trace.is_balanced());
            check!(pages.refs(0) == 1 && pages.refs(1) == 1);
            check!(card.cp(|cp| cp.num_devices() == 0 && cp.modes().next().is_none()));
        }

        let shared: Arc<Card> = card.card().clone();
        drop((management, card));
        check!(Arc::into_unique_or_drop(shared).is_some());
        Ok(())
    }

    /// The card may say anything of what it can offer, but has to say something.
    #[test]
    fn only_known_features_are_shown() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;

        // It claims every bit.
        for device_type in [Type::Net, Type::Block] {
            let known = device_type.features();
            check!(Manager::possible_features(card.card(), device_type) == Ok(known));
        }
        for code in [ErrorCode::UnknownOpcode, ErrorCode::NotSupported] {
            card.cp(|cp| cp.answer(Opcode::DeviceTypeQuery, Answer::Refused(code)));
            check!(manage(&parent, &card).err() == Some(ENODEV));
            check!(parent.vdpa_add(NAME).is_err());
        }
        let _management = manage(&parent, &card)?;
        parent.vdpa_add(NAME)?;
        Ok(())
    }

    /// A name that is taken is noticed only when the device has been made on the card.
    #[test]
    fn refused_name_leaves_nothing() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;

        parent.vdpa_add(NAME)?;
        check!(parent.vdpa_add(NAME) == Err(EEXIST));
        check!(card.cp(|cp| cp.num_devices() == 1 && cp.modes().count() == 3));
        vdpa_del(NAME)?;
        check!(card.cp(|cp| cp.num_devices() == 0 && cp.modes().count() == 0));
        Ok(())
    }

    /// A card that refuses an address space gets its device object back.
    #[test]
    fn refused_space_leaves_nothing() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;

        let answer = Answer::Refused(crate::wire::ErrorCode::NoResources);
        card.cp(|cp| cp.answer(Opcode::AddressSpaceCreate, answer));
        check!(parent.vdpa_add(NAME) == Err(ENOSPC));
        check!(card.cp(|cp| cp.num_devices() == 0));
        check!(parent.child(NAME).is_none());
        parent.vdpa_add(NAME)?;
        Ok(())
    }

    /// A card that has spaces left, but not enough, gets back those that it gave.
    #[test]
    fn last_spaces_are_given_back() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;

        parent.vdpa_add(NAME)?;
        parent.vdpa_add(c"kunit-net-2")?;
        check!(parent.vdpa_add(c"kunit-net-3") == Err(ENOSPC));
        check!(card.cp(|cp| cp.num_devices() == 2 && cp.modes().count() == 6));
        vdpa_del(NAME)?;
        parent.vdpa_add(c"kunit-net-3")?;
        check!(card.cp(|cp| cp.num_devices() == 2 && cp.modes().count() == 6));
        Ok(())
    }

    /// The contract: a reset leaves every translation as it is, and the pages where they are.
    #[test]
    fn reset_keeps_the_map() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let pages = Pages::single(1)?;

        parent.vdpa_add(NAME)?;
        let vdev = Vdev::find(&parent, NAME)?;
        let maps = Maps::of_pages(&pages, &[(0, 0), (1, 1)])?;
        to_result(call!(vdev, set_map, 0, maps.as_raw()))?;
        trace::start();
        // SAFETY: The device is registered.
        unsafe { vdev.reset() }?;
        check!(trace::take().steps() == [Step::Command(Opcode::DeviceReset)]);
        check!(card.cp(|cp| cp.modes().next() == Some(AddressSpaceMode::Translated)));
        check!(pages.refs(0) == 2 && pages.refs(1) == 2);

        to_result(call!(vdev, reset_map, 0))?;
        check!(pages.refs(0) == 1 && pages.refs(1) == 1);
        Ok(())
    }

    /// Nobody but the kernel runs a queue through memory that its owner has not mapped.
    #[test]
    fn starts_when_mapped() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let pages = Pages::single(0)?;

        parent.vdpa_add(NAME)?;
        let vdev = Vdev::find(&parent, NAME)?;
        start(&vdev)?;
        check!(status(&vdev)? & VIRTIO_CONFIG_S_DRIVER_OK == 0);
        check!(status(&vdev)? & VIRTIO_CONFIG_S_FAILED != 0);

        // SAFETY: The device is registered.
        unsafe { vdev.reset() }?;
        let maps = Maps::of_pages(&pages, &[(0, 0)])?;
        to_result(call!(vdev, set_map, 0, maps.as_raw()))?;
        start(&vdev)?;
        check!(status(&vdev)? == STARTED);
        Ok(())
    }

    /// A device that is suspended runs nothing, whatever is done to its queues, and goes on as they are set up then.
    #[test]
    fn suspended_queues_stand_still() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let pages = Pages::single(0)?;
        let state = crate::kunit::bus::bindings::vdpa_vq_state::default();

        parent.vdpa_add(NAME)?;
        let vdev = Vdev::find(&parent, NAME)?;
        let maps = Maps::of_pages(&pages, &[(0, 0)])?;
        to_result(call!(vdev, set_map, 0, maps.as_raw()))?;
        check!(to_result(call!(vdev, suspend)) == Err(EINVAL));
        check!(to_result(call!(vdev, resume)) == Err(EINVAL));
        start(&vdev)?;
        check!(to_result(call!(vdev, set_vq_state, 0, &state)) == Err(EBUSY));

        trace::start();
        to_result(call!(vdev, suspend))?;
        to_result(call!(vdev, suspend))?;
        check!(trace::take().steps() == [Step::Command(Opcode::QueueDisable)]);
        to_result(call!(vdev, set_vq_state, 0, &state))?;
        call!(vdev, set_vq_ready, 0, false);
        call!(vdev, set_vq_ready, 0, true);
        check!(trace::take().steps().is_empty());
        check!(status(&vdev)? == STARTED);

        // A refusal leaves it suspended, and its owner may try again.
        card.cp(|cp| cp.answer(Opcode::QueueEnable, Answer::Refused(ErrorCode::Busy)));
        check!(to_result(call!(vdev, resume)) == Err(EBUSY));
        check!(status(&vdev)? == STARTED);
        trace::start();
        to_result(call!(vdev, resume))?;
        to_result(call!(vdev, resume))?;
        check!(trace::take().steps() == [Step::Command(Opcode::QueueEnable)]);

        // A reset ends it as well.
        to_result(call!(vdev, suspend))?;
        // SAFETY: The device is registered.
        unsafe { vdev.reset() }?;
        start(&vdev)?;
        check!(status(&vdev)? == STARTED);
        check!(to_result(call!(vdev, set_vq_state, 0, &state)) == Err(EBUSY));
        Ok(())
    }

    /// Anybody may have netlink ask for these, and the card isn't to be bothered with it.
    #[test]
    fn unprivileged_requests_ask_no_card() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let mut config = [0u8; 64];

        parent.vdpa_add(NAME)?;
        let vdev = Vdev::find(&parent, NAME)?;
        trace::start();
        call!(vdev, get_device_id);
        call!(vdev, get_vendor_id);
        call!(vdev, get_vq_num_max);
        call!(vdev, get_vq_num_min);
        call!(vdev, get_status);
        call!(vdev, get_device_features);
        call!(vdev, get_driver_features);
        call!(vdev, get_config, 0, config.as_mut_ptr().cast(), 64);
        check!(trace::take().steps().is_empty());
        Ok(())
    }

    /// A queue's doorbell is its own, and gets what virtio says: with `NOTIFICATION_DATA` all that the driver has given.
    #[test]
    fn doorbells_get_what_the_driver_gave() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;

        parent.vdpa_add(NAME)?;
        parent.vdpa_add(c"kunit-net-2")?;
        let first = Vdev::find(&parent, NAME)?;
        let second = Vdev::find(&parent, c"kunit-net-2")?;
        call!(first, kick_vq, 1);
        check!(card.rung().last() == (1, 1));
        call!(second, kick_vq, 1);
        check!(card.rung().last() == (cp::QUEUES_PER_DEVICE + 1, 1));
        // The index in a split ring; in a packed one, a position with its wrap counter.
        for next in [0u32, 1, 0x7fff, 0x8000, 0xfffe, 0xffff] {
            let data = next << 16 | 1;
            call!(first, kick_vq_with_data, data);
            check!(card.rung().last() == (1, data));
            call!(second, kick_vq_with_data, next << 16);
            check!(card.rung().last() == (cp::QUEUES_PER_DEVICE, next << 16));
        }
        check!(card.rung().count() == 14);
        // There is no such queue.
        call!(first, kick_vq, 2);
        call!(first, kick_vq_with_data, 2);
        check!(card.rung().count() == 14);
        Ok(())
    }

    /// The limits of the card are those of each queue: what is outside of them makes the start fail.
    #[test]
    fn queues_have_the_sizes_of_the_card() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let pages = Pages::single(0)?;
        let maps = Maps::of_pages(&pages, &[(0, 0)])?;

        parent.vdpa_add(NAME)?;
        let vdev = Vdev::find(&parent, NAME)?;
        to_result(call!(vdev, set_map, 0, maps.as_raw()))?;
        let least = call!(vdev, get_vq_num_min);
        let most = call!(vdev, get_vq_num_max);
        check!(
            (least, most)
                == (
                    card.card().info.min_queue_size,
                    card.card().info.max_queue_size
                )
        );
        for (size, fits) in [
            (least, true),
            (most, true),
            (least / 2, false),
            (least + 1, false),
            (most * 2, false),
        ] {
            call!(vdev, set_vq_num, 0, size.into());
            to_result(call!(vdev, set_vq_address, 0, 0x0, 0x800, 0xc00))?;
            call!(vdev, set_vq_ready, 0, true);
            // SAFETY: The device is registered.
            unsafe {
                vdev.set_features(FEATURES)?;
                vdev.set_status(STARTED);
            }
            check!((status(&vdev)? == STARTED) == fits);
            // SAFETY: As above.
            unsafe { vdev.reset() }?;
        }
        Ok(())
    }

    /// vhost takes any number that isn't negative for an interrupt that it may hand to a guest.
    #[test]
    fn shared_interrupts_are_nobodys() -> Result {
        let parent = Parent::new()?;
        // It has one vector.
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let pages = Pages::single(0)?;
        let maps = Maps::of_pages(&pages, &[(0, 0)])?;

        parent.vdpa_add(NAME)?;
        let vdev = Vdev::find(&parent, NAME)?;
        to_result(call!(vdev, set_map, 0, maps.as_raw()))?;
        check!(to_result(call!(vdev, get_vq_irq, 0)) == Err(ENODEV));
        start(&vdev)?;
        check!(status(&vdev)? == STARTED);
        check!(to_result(call!(vdev, get_vq_irq, 0)) == Err(EOPNOTSUPP));
        check!(to_result(call!(vdev, get_vq_irq, 2)).is_err());
        Ok(())
    }

    /// Whoever reads the configuration space in several pieces learns by its generation that it has changed meanwhile; and
    /// what changes nothing makes nobody read again.
    #[test]
    fn changes_have_generations() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let calls = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let announcing = 1 << VIRTIO_NET_F_CTRL_VQ | 1 << VIRTIO_NET_F_GUEST_ANNOUNCE;
        let config = |vdev: &Vdev| -> Result<[u8; 24]> {
            let mut config = [0u8; 24];
            call!(vdev, get_config, 0, config.as_mut_ptr().cast(), 24);
            Ok(config)
        };
        let status_event = |status: u32, speed: u32| wire::Event {
            detail: status.into(),
            length: speed.into(),
            ..cp::event(EventKind::NetStatusChanged, 0)
        };
        let mac_event = |mac: u64| wire::Event {
            iova: mac.into(),
            ..cp::event(EventKind::MacChanged, 0)
        };

        card.cp(|cp| cp.offer(announcing));
        parent.vdpa_add(NAME)?;
        let vdev = Vdev::find(&parent, NAME)?;
        set_callbacks(&vdev, &calls)?;
        // SAFETY: The device is registered.
        unsafe {
            vdev.set_features(FEATURES | announcing)?;
            vdev.set_status(STARTED);
        }
        check!(status(&vdev)? == STARTED);
        const UP: u32 = VIRTIO_NET_S_LINK_UP;
        const ANNOUNCE: u32 = VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE;
        card.post(status_event(UP, 1000));
        card.card().handle_events();
        calls.store(0, Relaxed);

        for (what, event, changes) in [
            ("link down", status_event(0, 1000), true),
            ("link up", status_event(UP, 1000), true),
            ("speed", status_event(UP, 2000), true),
            ("announcement", status_event(ANNOUNCE, 2000), true),
            ("announced", status_event(UP, 2000), true),
            ("address", mac_event(0x0604_0302_0002), true),
            ("the same status", status_event(UP, 2000), false),
            ("the same address", mac_event(0x0604_0302_0002), false),
            ("the address of a group", mac_event(0x0604_0302_0001), false),
        ] {
            let before = (config(&vdev)?, call!(vdev, get_generation));
            calls.store(0, Relaxed);
            card.post(event);
            card.card().handle_events();
            let after = (config(&vdev)?, call!(vdev, get_generation));
            if (before.0 != after.0, before.1 != after.1) != (changes, changes) {
                pr_err!("kunit-net: {}: {:?}, then {:?}\n", what, before, after);
            }
            check!((before.0 != after.0) == changes);
            check!((before.1 != after.1) == changes);
            check!(calls.load(Relaxed) == u32::from(changes));
        }

        // A reset takes the request for an announcement back, which is a change as well.
        card.post(status_event(ANNOUNCE, 2000));
        card.card().handle_events();
        let before = call!(vdev, get_generation);
        // SAFETY: The device is registered.
        unsafe { vdev.reset() }?;
        check!(link(&vdev)? == UP && call!(vdev, get_generation) != before);
        Ok(())
    }

    /// A queue has a space for its buffers and one for its rings, which its owner chooses and has to map both.
    /// lockdep sees the two locked in either order of the groups, and once if they are the same.
    #[test]
    fn rings_have_their_own_space() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let pages = Pages::single(0)?;
        let reports = sys::reports();

        parent.vdpa_add(NAME)?;
        let vdev = Vdev::find(&parent, NAME)?;
        check!(call!(vdev, get_vq_group, 0) == 0 && call!(vdev, get_vq_desc_group, 0) == 1);
        let maps = Maps::of_pages(&pages, &[(0, 0)])?;
        to_result(call!(vdev, set_map, 0, maps.as_raw()))?;
        // The address spaces of the buffers and of the rings, and whether both are mapped.
        for (asid, ring_asid, mapped) in [(0, 0, true), (0, 2, false), (2, 0, false), (1, 2, false)]
        {
            to_result(call!(vdev, set_group_asid, 0, asid))?;
            to_result(call!(vdev, set_group_asid, 1, ring_asid))?;
            start(&vdev)?;
            check!((status(&vdev)? == STARTED) == mapped);
            // SAFETY: The device is registered.
            unsafe { vdev.reset() }?;
        }

        to_result(call!(vdev, set_map, 2, maps.as_raw()))?;
        for (asid, ring_asid) in [(0, 2), (2, 0), (2, 2)] {
            to_result(call!(vdev, set_group_asid, 0, asid))?;
            to_result(call!(vdev, set_group_asid, 1, ring_asid))?;
            start(&vdev)?;
            check!(status(&vdev)? == STARTED);
            // The card has handed out its spaces in order.
            check!(
                card.cp(|cp| cp.enabled_in()) == Some([asid, ring_asid].map(|asid| asid as u16))
            );
            check!(to_result(call!(vdev, set_group_asid, 0, 0)) == Err(EBUSY));
            // SAFETY: The device is registered.
            unsafe { vdev.reset() }?;
        }
        // The reset has put the groups back.
        start(&vdev)?;
        check!(card.cp(|cp| cp.enabled_in()) == Some([0, 0]));
        check!(sys::reports() == reports);
        Ok(())
    }

    /// A card that fails in an operation of one device tells all of them, without a lock in the way, and
    /// each its owner.
    #[test]
    fn failure_reaches_all_owners() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let pages = Pages::single(0)?;
        let reports = sys::reports();
        let names = [NAME, c"kunit-net-2"];
        let calls = [
            Arc::new(Atomic::new(0), GFP_KERNEL)?,
            Arc::new(Atomic::new(0), GFP_KERNEL)?,
        ];

        for (name, calls) in names.iter().zip(&calls) {
            parent.vdpa_add(name)?;
            let vdev = Vdev::find(&parent, name)?;
            set_callbacks(&vdev, calls)?;
            // SAFETY: The device is registered.
            unsafe { vdev.set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE) };
        }
        card.cp(|cp| cp.answer(Opcode::AddressSpaceUpdate, Answer::WrongTag));
        let maps = Maps::of_pages(&pages, &[(0, 0)])?;
        let vdev = Vdev::find(&parent, NAME)?;
        check!(to_result(call!(vdev, set_map, 0, maps.as_raw())) == Err(EIO));
        check!(pages.refs(0) == 1);

        for (name, calls) in names.iter().zip(&calls) {
            let vdev = Vdev::find(&parent, name)?;
            check!(calls.load(Relaxed) == 1);
            check!(status(&vdev)? & VIRTIO_CONFIG_S_NEEDS_RESET != 0);
            // SAFETY: The device is registered.
            check!(unsafe { vdev.reset() } == Err(EIO));
        }
        check!(sys::reports() == reports);
        Ok(())
    }

    /// Interrupts, kicks and events come while operations run: lockdep has to see all the locks in all
    /// their contexts, and a sleep where there must be none.
    #[test]
    fn locks_fit_their_contexts() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let pages = Pages::single(0)?;
        let calls = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let reports = sys::reports();

        parent.vdpa_add(NAME)?;
        let vdev = Vdev::find(&parent, NAME)?;
        set_callbacks(&vdev, &calls)?;
        let maps = Maps::of_pages(&pages, &[(0, 0)])?;
        to_result(call!(vdev, set_map, 0, maps.as_raw()))?;
        start(&vdev)?;

        // A queue's interrupt, and a kick from one.
        let kick = vdev.ops().kick_vq.ok_or(ENOSYS)?;
        let address = vdev.as_raw().expose_provenance();
        sys::in_hardirq(|| {
            card.card().interrupts.deliver(EVENT_VECTOR);
            // SAFETY: The device is registered.
            unsafe { kick(core::ptr::with_exposed_provenance_mut(address), 0) };
        })?;
        check!(calls.load(Relaxed) == 1);
        check!(card.rung().count() == 1 && card.rung().last() == (0, 0));

        // Events in the interrupt's thread, and in a reset, which has to take those of the past.
        card.post(cp::event(EventKind::NetStatusChanged, 0));
        card.post(cp::event(EventKind::NetStatusChanged, 3));
        card.card().handle_events();
        check!(calls.load(Relaxed) == 2);
        card.post(cp::event(EventKind::QueueStopped, 0));
        card.card().handle_events();
        check!(calls.load(Relaxed) == 3);
        check!(status(&vdev)? & VIRTIO_CONFIG_S_NEEDS_RESET != 0);
        card.post(cp::event(EventKind::QueueStopped, 0));
        // SAFETY: The device is registered.
        unsafe { vdev.reset() }?;
        // Its interrupt's thread comes late.
        card.card().handle_events();
        // SAFETY: As above.
        unsafe { vdev.set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE) };
        check!(status(&vdev)? == VIRTIO_CONFIG_S_ACKNOWLEDGE);
        to_result(call!(vdev, reset_map, 0))?;

        vdpa_del(NAME)?;
        sys::in_hardirq(|| card.card().interrupts.deliver(EVENT_VECTOR))?;
        check!(calls.load(Relaxed) == 3);
        check!(sys::reports() == reports);
        Ok(())
    }

    /// Two devices that run, each with its callbacks, which count.
    fn two_that_run(parent: &Parent, calls: &[(&'static CStr, Arc<Atomic<u32>>); 2]) -> Result {
        let pages = Pages::single(0)?;
        let maps = Maps::of_pages(&pages, &[(0, 0)])?;

        for (name, calls) in calls {
            parent.vdpa_add(name)?;
            let vdev = Vdev::find(parent, name)?;
            set_callbacks(&vdev, calls)?;
            to_result(call!(vdev, set_map, 0, maps.as_raw()))?;
            start(&vdev)?;
            check!(status(&vdev)? == STARTED);
        }
        Ok(())
    }

    /// A queue that the IOMMU has stopped needs a reset, even if the event that says it has stopped gets lost.
    #[test]
    fn fault_needs_a_reset() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let devices = [
            (NAME, Arc::new(Atomic::new(0), GFP_KERNEL)?),
            (c"kunit-net-2", Arc::new(Atomic::new(0), GFP_KERNEL)?),
        ];
        let reports = sys::reports();

        two_that_run(&parent, &devices)?;
        card.post(cp::event(EventKind::IommuFault, 1));
        card.card().handle_events();
        let [(first, first_calls), (second, second_calls)] = &devices;
        check!(status(&Vdev::find(&parent, first)?)? == STARTED);
        check!(first_calls.load(Relaxed) == 0);
        check!(status(&Vdev::find(&parent, second)?)? == STARTED | VIRTIO_CONFIG_S_NEEDS_RESET);
        check!(second_calls.load(Relaxed) == 1);
        check!(sys::reports() == reports);
        Ok(())
    }

    /// Events are lost, of whichever device: the card is asked which queues run and how the links are, and the owner of a queue
    /// that doesn't run, or of a link that has changed, learns of it, even if another device's reset was the one that noticed.
    #[test]
    fn lost_events_are_made_up_for() -> Result {
        let parent = Parent::new()?;
        let reports = sys::reports();

        for noticed_by_reset in [false, true] {
            let card = TestCard::new(&parent)?;
            let _management = manage(&parent, &card)?;
            let devices = [
                (NAME, Arc::new(Atomic::new(0), GFP_KERNEL)?),
                (c"kunit-net-2", Arc::new(Atomic::new(0), GFP_KERNEL)?),
            ];
            let [(first, _), (second, calls)] = &devices;

            two_that_run(&parent, &devices)?;
            // A loss that has stopped no queue is no reason for a reset.
            card.post(lost(2));
            card.card().handle_events();
            check!(status(&Vdev::find(&parent, first)?)? == STARTED);
            check!(status(&Vdev::find(&parent, second)?)? == STARTED);
            check!(calls.load(Relaxed) == 0);

            card.cp(|cp| cp.stop(1, 0));
            card.post(lost(3));
            if noticed_by_reset {
                // SAFETY: The device is registered.
                unsafe { Vdev::find(&parent, first)?.reset() }?;
            }
            card.card().handle_events();
            check!(card.card().lost_events() == 5);
            let expected = STARTED | VIRTIO_CONFIG_S_NEEDS_RESET;
            check!(status(&Vdev::find(&parent, second)?)? == expected);
            check!(calls.load(Relaxed) == 1);
            let expected = if noticed_by_reset { 0 } else { STARTED };
            check!(status(&Vdev::find(&parent, first)?)? == expected);

            // Nobody has told of the links, either.
            card.cp(|cp| cp.links_down());
            check!(link(&Vdev::find(&parent, first)?)? == VIRTIO_NET_S_LINK_UP);
            card.post(lost(1));
            card.card().handle_events();
            check!(link(&Vdev::find(&parent, first)?)? == 0);
            check!(link(&Vdev::find(&parent, second)?)? == 0);
            check!(calls.load(Relaxed) == 2);

            // It is asked once for each loss.
            trace::start();
            card.card().handle_events();
            check!(trace::take().steps().is_empty());
        }
        check!(sys::reports() == reports);
        Ok(())
    }

    /// The status field of a device's configuration space.
    fn link(vdev: &Vdev) -> Result<u32> {
        let mut status = [0u8; 2];

        call!(vdev, get_config, 6, status.as_mut_ptr().cast(), 2);
        Ok(u16::from_le_bytes(status).into())
    }

    fn lost(count: u32) -> wire::Event {
        wire::Event {
            lost: count.into(),
            ..cp::event(EventKind::EventsLost, wire::NO_DEVICE)
        }
    }
}
