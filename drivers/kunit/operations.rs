// SPDX-License-Identifier: GPL-2.0-only

//! The operations, called by the C table as the core and the bus drivers do: what reaches the driver, and
//! what is refused before.

use kernel::prelude::*;

#[kunit_tests(mooring_vdpa_operations)]
mod tests {
    use crate::{
        kunit::{
            bus::{
                bindings,
                Vdev, //
            },
            device::{
                manage,
                Management,
                Notes,
                Plan,
                CONFIG_MARK,
                CONFIG_SIZE,
                NAS,
                NGROUPS,
                NVQS, //
            },
            memory::{
                Maps,
                READ_WRITE, //
            },
            sys::{
                self,
                Parent, //
            },
        },
        vdpa::virtio::*,
    };
    use kernel::{
        cpumask::{
            Cpumask,
            CpumaskVar, //
        },
        error::to_result,
        prelude::*,
        sync::{
            atomic::Relaxed,
            Arc, //
        },
    };

    const NAME: &CStr = c"kunit-operations";

    /// Calls an operation of the table with the device and these arguments.
    macro_rules! call {
        ($device:expr, $op:ident $(, $argument:expr)* $(,)?) => {{
            let function = $device.vdev.ops().$op.ok_or(ENOSYS)?;
            // SAFETY: The device is registered, and the arguments are what the operation wants.
            unsafe { function($device.vdev.as_raw() $(, $argument)*) }
        }};
    }

    /// A registered device. The reference goes before the device does.
    struct Registered<'a> {
        vdev: Vdev,
        notes: Arc<Notes>,
        _management: Management<'a>,
    }

    impl<'a> Registered<'a> {
        fn new(parent: &'a Parent) -> Result<Self> {
            let notes = Notes::new()?;
            let management = manage(parent, &notes, Plan::Register, &[])?;
            parent.vdpa_add(NAME)?;

            Ok(Self {
                vdev: Vdev::find(parent, NAME)?,
                notes,
                _management: management,
            })
        }
    }

    #[test]
    fn device_status_reaches_the_driver() -> Result {
        let parent = Parent::new()?;
        let dev = Registered::new(&parent)?;

        // SAFETY: The device is registered.
        unsafe { dev.vdev.set_status(VIRTIO_CONFIG_S_DRIVER) };
        check!(u32::from(call!(dev, get_status)) == VIRTIO_CONFIG_S_DRIVER);
        check!(dev.notes.were(&[]));
        // SAFETY: The device is registered.
        unsafe { dev.vdev.reset() }?;
        check!(dev.notes.were(&[("reset", [0; 3])]));
        check!(call!(dev, get_status) == 0);
        to_result(call!(dev, suspend))?;
        to_result(call!(dev, resume))?;
        to_result(call!(dev, compat_reset, 1))?;
        check!(dev.notes.were(&[
            ("suspend", [0; 3]),
            ("resume", [0; 3]),
            ("compat_reset", [1, 0, 0]),
        ]));

        check!(call!(dev, get_device_features) == 0x1234_5678_9abc);
        // SAFETY: The device is registered.
        unsafe { dev.vdev.set_features(1 << VIRTIO_F_VERSION_1) }?;
        check!(call!(dev, get_driver_features) == 1 << VIRTIO_F_VERSION_1);
        check!(call!(dev, get_vendor_id) == 0x1b36);
        check!(call!(dev, get_generation) == 5);
        check!(call!(dev, get_vq_align) == 4096);
        check!(call!(dev, get_vq_num_max) == 256);
        let range = call!(dev, get_iova_range);
        check!(range.first == 0 && range.last == u64::MAX);
        Ok(())
    }

    #[test]
    fn errors_reach_the_caller() -> Result {
        let parent = Parent::new()?;
        let dev = Registered::new(&parent)?;
        let maps = Maps::new()?;
        let mut state = bindings::vdpa_vq_state::default();

        dev.notes.errno.store(EBUSY.to_errno(), Relaxed);
        // SAFETY: The device is registered.
        check!(unsafe { dev.vdev.reset() } == Err(EBUSY));
        check!(to_result(call!(dev, set_vq_address, 0, 0, 0, 0)) == Err(EBUSY));
        check!(to_result(call!(dev, set_vq_state, 0, &state)) == Err(EBUSY));
        check!(to_result(call!(dev, get_vq_state, 0, &mut state)) == Err(EBUSY));
        check!(to_result(call!(dev, get_vq_irq, 0)) == Err(EBUSY));
        check!(to_result(call!(dev, suspend)) == Err(EBUSY));
        check!(to_result(call!(dev, resume)) == Err(EBUSY));
        check!(to_result(call!(dev, compat_reset, 0)) == Err(EBUSY));
        check!(to_result(call!(dev, set_vq_affinity, 0, core::ptr::null())) == Err(EBUSY));
        check!(call!(dev, get_vq_affinity, 0).is_null());
        check!(to_result(call!(dev, set_map, 0, maps.as_raw())) == Err(EBUSY));
        check!(to_result(call!(dev, reset_map, 0)) == Err(EBUSY));
        check!(to_result(call!(dev, set_group_asid, 0, 0)) == Err(EBUSY));
        Ok(())
    }

    #[test]
    fn virtqueues_reach_the_driver() -> Result {
        let parent = Parent::new()?;
        let dev = Registered::new(&parent)?;

        to_result(call!(dev, set_vq_address, 2, 0x1000, 0x2000, 0x3000))?;
        call!(dev, set_vq_num, 2, 256);
        call!(dev, set_vq_ready, 2, true);
        check!(call!(dev, get_vq_ready, 2));
        check!(dev.notes.were(&[
            ("set_vq_address", [2, 0x1000, 0x3000]),
            ("set_vq_num", [2, 256, 0]),
            ("set_vq_ready", [2, 1, 0]),
            ("get_vq_ready", [2, 0, 0]),
        ]));

        call!(dev, kick_vq, 1);
        call!(dev, kick_vq_with_data, 0x8005_0001);
        check!(dev.notes.were(&[
            ("kick_vq", [1, 0, 0]),
            ("kick_vq_with_data", [1, 0x8005, 0]),
        ]));

        check!(call!(dev, get_vq_irq, 0) == 9);
        check!(call!(dev, get_vq_size, 0) == 128);
        check!(call!(dev, get_vq_group, 0) == 1);
        check!(call!(dev, get_vq_notification, 0).size == 0x1000);
        Ok(())
    }

    /// A netlink message that is being made.
    struct Message(*mut kernel::bindings::sk_buff);

    impl Message {
        /// An empty one with room for at least `size` bytes.
        fn new(size: u32) -> Result<Self> {
            // SAFETY: This asks for nothing but memory.
            let message = unsafe {
                kernel::bindings::__alloc_skb(
                    size,
                    kernel::bindings::GFP_KERNEL,
                    0,
                    kernel::bindings::NUMA_NO_NODE,
                )
            };
            match message.is_null() {
                true => Err(ENOMEM),
                false => Ok(Self(message)),
            }
        }

        /// What was put into it.
        fn bytes(&self) -> &[u8] {
            // SAFETY: The message is valid, and its data are `len` bytes in one piece.
            unsafe {
                let (data, len) = ((*self.0).data, (*self.0).len);
                core::slice::from_raw_parts(data.cast_const(), len as usize)
            }
        }
    }

    impl Drop for Message {
        fn drop(&mut self) {
            // SAFETY: Nobody else refers to the message.
            unsafe { kernel::bindings::consume_skb(self.0) };
        }
    }

    /// The text of an extack.
    fn text(extack: &kernel::bindings::netlink_ext_ack) -> &CStr {
        match extack._msg.is_null() {
            true => c"",
            // SAFETY: What it points to is a string in the structure.
            false => unsafe { CStr::from_char_ptr(extack._msg) },
        }
    }

    #[test]
    fn statistics_and_words_reach_the_user() -> Result {
        let parent = Parent::new()?;
        let dev = Registered::new(&parent)?;
        let message = Message::new(256)?;
        let mut extack = kernel::bindings::netlink_ext_ack::default();

        to_result(call!(dev, get_vendor_vq_stats, 2, message.0, &mut extack))?;
        check!(dev.notes.were(&[("get_vendor_vq_stats", [2, 0, 0])]));
        check!(text(&extack).to_bytes() == b"queue 2 was asked for");
        // The words are where they stay when the module goes.
        check!(extack._msg == extack._msg_buf.as_ptr());
        let bytes = message.bytes();
        check!(bytes.windows(5).any(|window| window == b"seen\0"));
        let value = 0x0123_4567_89ab_cdefu64.to_ne_bytes();
        check!(bytes.windows(8).any(|window| window == value));

        // Nobody has to be told.
        to_result(call!(
            dev,
            get_vendor_vq_stats,
            0,
            message.0,
            core::ptr::null_mut()
        ))?;
        check!(dev.notes.were(&[("get_vendor_vq_stats", [0, 0, 0])]));
        for idx in [NVQS, u16::MAX] {
            let result = call!(dev, get_vendor_vq_stats, idx, message.0, &mut extack);
            check!(to_result(result) == Err(EINVAL));
            check!(text(&extack)
                .to_bytes()
                .ends_with(b"the device has 3 queues"));
        }
        dev.notes.errno.store(EBUSY.to_errno(), Relaxed);
        let result = call!(dev, get_vendor_vq_stats, 1, message.0, &mut extack);
        check!(to_result(result) == Err(EBUSY));
        check!(text(&extack).to_bytes() == b"queue 1 was asked for");
        Ok(())
    }

    /// The driver of these tests doesn't look whether there was room.
    #[test]
    fn statistics_are_whole_or_none() -> Result {
        let parent = Parent::new()?;
        let dev = Registered::new(&parent)?;
        let message = Message::new(4096)?;
        let mut extack = kernel::bindings::netlink_ext_ack::default();

        for _ in 0..1000 {
            let result = call!(dev, get_vendor_vq_stats, 0, message.0, &mut extack);
            if let Err(error) = to_result(result) {
                check!(error == EMSGSIZE);
                return Ok(());
            }
        }
        // There can't have been room for all of that.
        Err(EOVERFLOW)
    }

    #[test]
    fn affinity_passes_both_ways() -> Result {
        let parent = Parent::new()?;
        let dev = Registered::new(&parent)?;
        let mask = CpumaskVar::new_zero(GFP_KERNEL)?;

        to_result(call!(dev, set_vq_affinity, 1, mask.as_raw()))?;
        to_result(call!(dev, set_vq_affinity, 2, core::ptr::null()))?;
        check!(dev.notes.were(&[
            ("set_vq_affinity", [1, 0, 0]),
            ("set_vq_affinity", [2, u64::MAX, 0]),
        ]));
        let first = call!(dev, get_vq_affinity, 0);
        let second = call!(dev, get_vq_affinity, 1);
        check!(!first.is_null() && !second.is_null() && first != second);
        // SAFETY: Both are valid as long as the device is registered.
        check!(unsafe { Cpumask::from_raw(first).full() && Cpumask::from_raw(second).full() });
        check!(call!(dev, get_vq_affinity, 0) == first);
        Ok(())
    }

    #[test]
    fn process_reaches_the_driver() -> Result {
        let parent = Parent::new()?;
        let dev = Registered::new(&parent)?;
        // SAFETY: The thread that runs this borrows somebody's address space, and keeps it meanwhile.
        let mm = unsafe { (*kernel::bindings::get_current()).active_mm };

        to_result(call!(dev, bind_mm, mm))?;
        call!(dev, unbind_mm);
        check!(dev
            .notes
            .were(&[("bind_mm", [0; 3]), ("unbind_mm", [0; 3])]));
        dev.notes.errno.store(EBUSY.to_errno(), Relaxed);
        check!(to_result(call!(dev, bind_mm, mm)) == Err(EBUSY));
        Ok(())
    }

    #[test]
    fn state_follows_the_kind_of_ring() -> Result {
        let parent = Parent::new()?;
        let dev = Registered::new(&parent)?;
        let mut state = bindings::vdpa_vq_state::default();

        // SAFETY: Both members of the union start at its address, and it is ours.
        unsafe {
            let split = (&raw mut state).cast::<bindings::vdpa_vq_state_split>();
            (*split).avail_index = 0x1234;
        }
        to_result(call!(dev, set_vq_state, 1, &state))?;
        check!(dev.notes.were(&[("set_vq_state", [1, 0x1234, 0])]));
        to_result(call!(dev, get_vq_state, 1, &mut state))?;
        // SAFETY: As above.
        let index =
            unsafe { (*(&raw const state).cast::<bindings::vdpa_vq_state_split>()).avail_index };
        check!(index == 77);

        // SAFETY: The device is registered.
        unsafe { dev.vdev.set_features(1 << VIRTIO_F_RING_PACKED) }?;
        check!(dev.notes.were(&[("get_vq_state", [1, 0, 0])]));
        state = bindings::vdpa_vq_state::default();
        // SAFETY: As above.
        unsafe {
            let packed = &mut *(&raw mut state).cast::<bindings::vdpa_vq_state_packed>();
            packed.set_last_avail_idx(0x7ff0);
            packed.set_last_avail_counter(1);
            packed.set_last_used_idx(3);
        }
        to_result(call!(dev, set_vq_state, 1, &state))?;
        check!(dev.notes.were(&[("set_vq_state", [1, 0xfff0, 3])]));
        // The driver answers with the state of a split ring, which nobody must take for the other.
        check!(to_result(call!(dev, get_vq_state, 1, &mut state)) == Err(EINVAL));
        Ok(())
    }

    /// virtio's number of the feature, which the driver does not offer.
    const VIRTIO_F_RING_PACKED: u32 = bindings::VIRTIO_F_RING_PACKED;

    #[test]
    fn indices_out_of_range_do_not_reach_the_driver() -> Result {
        let parent = Parent::new()?;
        let dev = Registered::new(&parent)?;
        let maps = Maps::new()?;
        let mut state = bindings::vdpa_vq_state::default();
        // SAFETY: The function is never called, since there is no such virtqueue.
        let set_callback = |idx| unsafe {
            dev.vdev
                .set_callback(Some(idx), Some(never), core::ptr::null_mut())
        };

        for idx in [NVQS, u16::MAX] {
            check!(to_result(call!(dev, set_vq_address, idx, 0, 0, 0)) == Err(EINVAL));
            call!(dev, set_vq_num, idx, 256);
            call!(dev, kick_vq, idx);
            call!(dev, kick_vq_with_data, idx.into());
            set_callback(idx)?;
            call!(dev, set_vq_ready, idx, true);
            check!(!call!(dev, get_vq_ready, idx));
            check!(to_result(call!(dev, set_vq_state, idx, &state)) == Err(EINVAL));
            check!(to_result(call!(dev, get_vq_state, idx, &mut state)) == Err(EINVAL));
            check!(call!(dev, get_vq_notification, idx).size == 0);
            check!(call!(dev, get_vq_irq, idx) < 0);
            check!(to_result(call!(dev, set_vq_affinity, idx, core::ptr::null())) == Err(EINVAL));
            check!(call!(dev, get_vq_affinity, idx).is_null());
            check!(call!(dev, get_vq_size, idx) == 0);
            check!(call!(dev, get_vq_group, idx) == 0);
        }
        for asid in [NAS, u32::MAX] {
            check!(to_result(call!(dev, set_map, asid, maps.as_raw())) == Err(EINVAL));
            check!(to_result(call!(dev, reset_map, asid)) == Err(EINVAL));
            check!(to_result(call!(dev, set_group_asid, 0, asid)) == Err(EINVAL));
            let null = core::ptr::null_mut();
            check!(to_result(call!(dev, dma_map, asid, 0, 1, 0, 1, null)) == Err(EINVAL));
            check!(to_result(call!(dev, dma_unmap, asid, 0, 1)) == Err(EINVAL));
        }
        check!(to_result(call!(dev, set_group_asid, NGROUPS, 0)) == Err(EINVAL));
        check!(dev.notes.were(&[]));
        Ok(())
    }

    /// # Safety
    ///
    /// None; it does nothing.
    unsafe extern "C" fn never(_private: *mut c_void) -> kernel::bindings::irqreturn_t {
        kernel::bindings::irqreturn::IRQ_HANDLED
    }

    #[test]
    fn maps_reach_the_driver() -> Result {
        let parent = Parent::new()?;
        let dev = Registered::new(&parent)?;
        let maps = Maps::of(&[(0, 0xfff, 0x1000, READ_WRITE)])?;
        let null = core::ptr::null_mut();

        to_result(call!(dev, set_map, 1, maps.as_raw()))?;
        to_result(call!(dev, reset_map, 1))?;
        to_result(call!(dev, set_group_asid, 1, 0))?;
        check!(dev.notes.were(&[
            ("set_map", [1, 1, 0]),
            ("reset_map", [1, 0, 0]),
            ("set_group_asid", [1, 0, 0]),
        ]));

        // The last byte of the address range is one that there is; what goes beyond wraps.
        let last = u64::MAX - 0xfff;
        to_result(call!(dev, dma_map, 0, last, 0x1000, 0, READ_WRITE, null))?;
        to_result(call!(dev, dma_unmap, 0, last, 0x1000))?;
        check!(dev.notes.were(&[
            ("dma_map", [0, last, u64::MAX]),
            ("dma_unmap", [0, last, u64::MAX]),
        ]));
        check!(to_result(call!(dev, dma_map, 0, last, 0x1001, 0, 3, null)) == Err(EINVAL));
        check!(to_result(call!(dev, dma_map, 0, 0, 0x1000, last + 1, 3, null)) == Err(EINVAL));
        check!(to_result(call!(dev, dma_map, 0, 0, 0, 0, 3, null)) == Err(EINVAL));
        check!(to_result(call!(dev, dma_unmap, 0, last, 0x1001)) == Err(EINVAL));
        check!(to_result(call!(dev, dma_unmap, 0, 0, 0)) == Err(EINVAL));
        check!(dev.notes.were(&[]));
        Ok(())
    }

    /// Netlink reads more than there is, and nothing has bounded the offset.
    #[test]
    fn config_accesses_are_bounded() -> Result {
        let parent = Parent::new()?;
        let dev = Registered::new(&parent)?;
        let size = CONFIG_SIZE as u32;
        let mut buf = [0xffu8; 2 * CONFIG_SIZE];

        call!(dev, get_config, 0, buf.as_mut_ptr().cast(), 2 * size);
        let (inside, outside) = buf.split_at(CONFIG_SIZE);
        check!((0u8..)
            .zip(inside)
            .all(|(offset, byte)| *byte == offset | CONFIG_MARK));
        check!(outside.iter().all(|byte| *byte == 0));
        call!(dev, get_config, size - 1, buf.as_mut_ptr().cast(), 4);
        check!(dev.notes.were(&[
            ("get_config", [0, CONFIG_SIZE as u64, 0]),
            ("get_config", [CONFIG_SIZE as u64 - 1, 1, 0]),
        ]));

        buf = [0xff; 2 * CONFIG_SIZE];
        for offset in [size, u32::MAX] {
            call!(dev, get_config, offset, buf.as_mut_ptr().cast(), 4);
            call!(dev, set_config, offset, buf.as_ptr().cast(), 1);
        }
        check!(buf.iter().take(4).all(|byte| *byte == 0));
        call!(dev, set_config, size - 1, buf.as_ptr().cast(), 2);
        call!(dev, get_config, 0, buf.as_mut_ptr().cast(), 0);
        call!(dev, set_config, 0, buf.as_ptr().cast(), 0);
        check!(dev.notes.were(&[]));
        call!(dev, set_config, size - 1, buf.as_ptr().cast(), 1);
        check!(dev
            .notes
            .were(&[("set_config", [CONFIG_SIZE as u64 - 1, 1, 0])]));
        Ok(())
    }

    /// vhost kicks from a wait queue's callback, with interrupts off.
    #[test]
    fn kicks_come_in_interrupts() -> Result {
        let parent = Parent::new()?;
        let dev = Registered::new(&parent)?;
        let reports = sys::reports();
        let vdev = dev.vdev.as_raw().addr();
        let kick = dev.vdev.ops().kick_vq.ok_or(ENOSYS)?;

        sys::in_hardirq(|| {
            let vdev = core::ptr::with_exposed_provenance_mut(vdev);
            // SAFETY: The device is registered.
            unsafe { kick(vdev, 2) }
        })?;
        check!(dev.notes.were(&[("kick_vq", [2, 0, 0])]));
        check!(sys::reports() == reports);
        Ok(())
    }
}
