// SPDX-License-Identifier: GPL-2.0-only

//! A block device from `vdpa dev add` on: its configuration space, the features it is made with, its queues and groups, and
//! what becomes of it if its disk doesn't answer. What it has in common with a network device is in
//! [`net_device`](super::net_device).

use kernel::prelude::*;

#[kunit_tests(mooring_block_device)]
mod tests {
    use crate::{
        kunit::{
            bus::Vdev,
            cp::{
                Answer,
                Disk,
                CAPACITY, //
            },
            fixture::TestCard,
            memory::{
                Maps,
                Pages, //
            },
            sys::{
                vdpa_del,
                Parent, //
            },
            trace, //
        },
        mgmt::{
            Management,
            Manager, //
        },
        vdpa::virtio::*,
        wire::{
            AddressSpaceMode,
            ErrorCode,
            Opcode, //
        },
    };
    use kernel::{
        error::to_result,
        prelude::*, //
    };

    const NAME: &CStr = c"kunit-block";
    const OTHER: &CStr = c"kunit-block-2";

    const REQUIRED: u64 = (1 << VIRTIO_F_VERSION_1) | (1 << VIRTIO_F_ACCESS_PLATFORM);

    /// Of `struct virtio_blk_config`, as much as a device without secure erase and zones has; and all of it.
    const CONFIG_SIZE: usize = 60;
    const WHOLE_CONFIG: usize = 96;

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
            Manager::register_block(parent.dev(), card.card().clone()),
            GFP_KERNEL,
        )
    }

    fn status(vdev: &Vdev) -> Result<u32> {
        Ok(call!(vdev, get_status).into())
    }

    /// Queues, groups and address spaces, as the core and vhost know them.
    fn counts(vdev: &Vdev) -> (i32, u32, u32) {
        // SAFETY: The reference keeps the structure, and these members don't change.
        unsafe {
            let raw = &*vdev.as_raw();
            // CAST: They are few.
            (raw.nvqs as i32, raw.ngroups, raw.nas)
        }
    }

    /// Maps a page, sets up queue 0 with `entries`, and starts the device.
    fn start(vdev: &Vdev, pages: &Pages, entries: u32) -> Result {
        let maps = Maps::of_pages(pages, &[(0, 0)])?;
        to_result(call!(vdev, set_map, 0, maps.as_raw()))?;
        call!(vdev, set_vq_num, 0, entries);
        to_result(call!(vdev, set_vq_address, 0, 0x0, 0x800, 0xc00))?;
        call!(vdev, set_vq_ready, 0, true);
        // SAFETY: The device is registered.
        unsafe {
            vdev.set_features(REQUIRED)?;
            vdev.set_status(STARTED);
        }
        Ok(())
    }

    #[test]
    fn configuration_space_is_what_the_card_told() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let mut config = [0xaau8; WHOLE_CONFIG];

        parent.vdpa_add_block(NAME, 0)?;
        let vdev = Vdev::find(&parent, NAME)?;
        check!(call!(vdev, get_device_id) == VIRTIO_ID_BLOCK);
        check!(call!(vdev, get_config_size) == CONFIG_SIZE);
        // As the core asks for `vdpa dev config show`: for all that the structure may have.
        call!(
            vdev,
            get_config,
            0,
            config.as_mut_ptr().cast(),
            WHOLE_CONFIG as u32
        );
        check!(config.starts_with(&CAPACITY.to_le_bytes()));
        check!(config.get(20..24) == Some(&4096u32.to_le_bytes()));
        let (queues, _, _) = counts(&vdev);
        check!(config.get(34..36) == Some(&(queues as u16).to_le_bytes()));
        check!(config.iter().skip(CONFIG_SIZE).all(|byte| *byte == 0));
        // Nothing in it can be written.
        let mut capacity = [0u8; 8];
        call!(vdev, set_config, 0, capacity.as_ptr().cast(), 8);
        call!(vdev, get_config, 0, capacity.as_mut_ptr().cast(), 8);
        check!(capacity == CAPACITY.to_le_bytes());
        Ok(())
    }

    #[test]
    fn features_are_provisioned_or_refused() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let flush = 1 << VIRTIO_BLK_F_FLUSH;

        // Nothing of a network device's, nor what the card lacks, nor without what each device must have.
        for refused in [
            REQUIRED | 1 << VIRTIO_NET_F_MTU,
            REQUIRED | 1 << VIRTIO_BLK_F_DISCARD,
            1 << VIRTIO_F_VERSION_1,
        ] {
            check!(parent.vdpa_add_block(NAME, refused) == Err(EINVAL));
            check!(card.cp(|cp| cp.num_devices() == 0 && cp.modes().next().is_none()));
        }
        parent.vdpa_add_block(NAME, REQUIRED | flush)?;
        let vdev = Vdev::find(&parent, NAME)?;
        check!(call!(vdev, get_device_features) == REQUIRED | flush);
        drop(vdev);
        vdpa_del(NAME)?;

        // That a disk is read-only nobody may do without.
        card.cp(|cp| cp.set_disk(Disk::ReadOnly));
        let read_only = 1 << VIRTIO_BLK_F_RO;
        check!(parent.vdpa_add_block(NAME, REQUIRED) == Err(EINVAL));
        check!(card.cp(|cp| cp.num_devices() == 0));
        parent.vdpa_add_block(NAME, REQUIRED | read_only)?;
        parent.vdpa_add_block(OTHER, 0)?;
        for name in [NAME, OTHER] {
            let vdev = Vdev::find(&parent, name)?;
            check!(call!(vdev, get_device_features) & read_only != 0);
        }
        Ok(())
    }

    #[test]
    fn device_without_a_good_disk_is_not_made() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;

        for (opcode, code, errno) in [
            (Opcode::DeviceCreate, ErrorCode::NoResources, ENOSPC),
            (Opcode::BlockQuery, ErrorCode::NotSupported, EOPNOTSUPP),
        ] {
            card.cp(|cp| cp.answer(opcode, Answer::Refused(code)));
            check!(parent.vdpa_add_block(NAME, 0) == Err(errno));
            check!(card.cp(|cp| cp.num_devices() == 0 && cp.modes().next().is_none()));
            check!(!card.card().is_dead());
        }
        // Drivers divide by such limits.
        card.cp(|cp| cp.set_disk(Disk::Bad));
        check!(parent.vdpa_add_block(NAME, 0) == Err(EIO));
        check!(parent.child(NAME).is_none());
        check!(card.card().is_dead());
        Ok(())
    }

    /// vhost-vdpa takes the number of a group for that of a queue, too: one that no queue has is of no use.
    #[test]
    fn groups_are_no_more_than_queues() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let several = kernel::cpu::nr_cpu_ids().min(16) as i32;

        parent.vdpa_add_block(NAME, 0)?;
        let vdev = Vdev::find(&parent, NAME)?;
        let groups = several.min(2) as u32;
        check!(counts(&vdev) == (several, groups, groups));
        check!(call!(vdev, get_vq_group, 0) == 0);
        check!(call!(vdev, get_vq_desc_group, 0) == groups - 1);
        drop(vdev);
        vdpa_del(NAME)?;

        parent.vdpa_add_block(NAME, REQUIRED)?;
        let vdev = Vdev::find(&parent, NAME)?;
        check!(counts(&vdev) == (1, 1, 1));
        check!(card.cp(|cp| cp.modes().eq([AddressSpaceMode::Identity])));
        check!(call!(vdev, get_vq_group, 0) == 0);
        check!(call!(vdev, get_vq_desc_group, 0) == 0);
        to_result(call!(vdev, set_group_asid, 0, 0))?;
        check!(to_result(call!(vdev, set_group_asid, 1, 0)) == Err(EINVAL));
        check!(to_result(call!(vdev, set_group_asid, 0, 1)) == Err(EINVAL));
        start(&vdev, &Pages::single(0)?, 64)?;
        check!(status(&vdev)? == STARTED);
        check!(card
            .cp(|cp| cp.enabled_in())
            .is_some_and(|[buffers, rings]| buffers == rings));
        Ok(())
    }

    #[test]
    fn rings_have_sizes_that_the_card_can_have() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let pages = Pages::single(0)?;

        parent.vdpa_add_block(NAME, 0)?;
        let vdev = Vdev::find(&parent, NAME)?;
        check!(call!(vdev, get_vq_num_max) == 256);
        check!(call!(vdev, get_vq_num_min) == 2);
        check!(call!(vdev, get_vq_size, 0) == 256);
        for (entries, starts) in [(1, false), (3, false), (512, false), (2, true)] {
            start(&vdev, &pages, entries)?;
            check!((status(&vdev)? == STARTED) == starts);
            // SAFETY: The device is registered.
            unsafe { vdev.reset() }?;
        }
        Ok(())
    }

    /// Anybody may have netlink ask for these, and the card isn't to be bothered with it.
    #[test]
    fn unprivileged_requests_ask_no_card() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let mut config = [0u8; WHOLE_CONFIG];

        parent.vdpa_add_block(NAME, 0)?;
        let vdev = Vdev::find(&parent, NAME)?;
        trace::start();
        call!(vdev, get_device_id);
        call!(vdev, get_vendor_id);
        call!(vdev, get_vq_num_max);
        call!(vdev, get_vq_num_min);
        call!(vdev, get_status);
        call!(vdev, get_device_features);
        call!(vdev, get_driver_features);
        call!(
            vdev,
            get_config,
            0,
            config.as_mut_ptr().cast(),
            WHOLE_CONFIG as u32
        );
        check!(trace::take().steps().is_empty());
        Ok(())
    }

    /// A disk that hangs costs its device a reset, and nobody else anything.
    #[test]
    fn queue_that_owes_answers_needs_a_reset() -> Result {
        let parent = Parent::new()?;
        let card = TestCard::new(&parent)?;
        let _management = manage(&parent, &card)?;
        let pages = Pages::single(0)?;

        parent.vdpa_add_block(NAME, REQUIRED)?;
        parent.vdpa_add_block(OTHER, REQUIRED)?;
        let (vdev, other) = (Vdev::find(&parent, NAME)?, Vdev::find(&parent, OTHER)?);
        start(&other, &pages, 64)?;
        for suspends in [true, false] {
            start(&vdev, &pages, 64)?;
            check!(status(&vdev)? == STARTED);
            card.cp(|cp| cp.owe(true));
            match suspends {
                true => check!(to_result(call!(vdev, suspend)) == Err(EIO)),
                false => call!(vdev, set_vq_ready, 0, false),
            }
            card.cp(|cp| cp.owe(false));
            check!(status(&vdev)? == STARTED | VIRTIO_CONFIG_S_NEEDS_RESET);
            check!(status(&other)? == STARTED && !card.card().is_dead());
            // SAFETY: The device is registered.
            unsafe { vdev.reset() }?;
            check!(status(&vdev)? == 0);
        }
        // Nobody who has got everything back.
        start(&vdev, &pages, 64)?;
        call!(vdev, set_vq_ready, 0, false);
        check!(status(&vdev)? == STARTED);
        Ok(())
    }
}
