// SPDX-License-Identifier: GPL-2.0-only

//! When a vDPA device's data and callbacks are dropped, and that it happens once.

use kernel::prelude::*;

#[kunit_tests(mooring_vdpa_lifetime)]
mod tests {
    use crate::{
        kunit::{
            bus::Vdev,
            device::{
                manage,
                Notes,
                Plan, //
            },
            sys::{
                vdpa_del,
                Parent, //
            },
        },
        vdpa::OptionalOp, //
    };
    use kernel::{
        page::PAGE_SIZE,
        prelude::*,
        sync::{
            atomic::Relaxed,
            Arc, //
        },
    };

    const NAME: &CStr = c"kunit-lifetime";

    /// Far more than the size of a device.
    const FAR: usize = PAGE_SIZE;

    /// The data is gone when `dev_del` returns, and with it all references to callbacks.
    #[test]
    fn deleting_drops_once() -> Result {
        let parent = Parent::new()?;
        let notes = Notes::new()?;
        let management = manage(&parent, &notes, Plan::Register, &[])?;

        parent.vdpa_add(NAME)?;
        let callbacks = notes.take_callbacks()?;
        check!(notes.drops.load(Relaxed) == 0);
        vdpa_del(NAME)?;
        check!(notes.drops.load(Relaxed) == 1);
        check!(Arc::into_unique_or_drop(callbacks).is_some());
        check!(vdpa_del(NAME) == Err(ENODEV));

        drop(management);
        check!(notes.drops.load(Relaxed) == 1);
        check!(Arc::into_unique_or_drop(notes).is_some());
        Ok(())
    }

    /// What the driver's data refers to in `Device` is there while it is dropped.
    #[test]
    fn data_goes_before_callbacks() -> Result {
        let parent = Parent::new()?;
        let notes = Notes::new()?;
        let _management = manage(&parent, &notes, Plan::Register, &[])?;

        parent.vdpa_add(NAME)?;
        drop(notes.take_callbacks()?);
        vdpa_del(NAME)?;
        check!(notes.drops.load(Relaxed) == 1);
        check!(notes.late_drops.load(Relaxed) == 0);
        Ok(())
    }

    /// Dropping the management device deletes all devices.
    #[test]
    fn management_deletes_devices() -> Result {
        let parent = Parent::new()?;
        let notes = Notes::new()?;
        let management = manage(&parent, &notes, Plan::Register, &[])?;

        parent.vdpa_add(c"kunit-lifetime-1")?;
        parent.vdpa_add(c"kunit-lifetime-2")?;
        check!(notes.drops.load(Relaxed) == 0);
        drop(management);
        check!(notes.drops.load(Relaxed) == 2);
        check!(parent.child(c"kunit-lifetime-1").is_none());
        check!(vdpa_del(c"kunit-lifetime-2") == Err(ENODEV));
        Ok(())
    }

    /// A reference that somebody else holds keeps the memory and not the data. The core looks into the
    /// table when that reference goes, so the table has to be part of the device.
    #[test]
    fn a_reference_keeps_memory_only() -> Result {
        let parent = Parent::new()?;
        let notes = Notes::new()?;
        let management = manage(&parent, &notes, Plan::Register, &[])?;

        parent.vdpa_add(NAME)?;
        let vdev = Vdev::find(&parent, NAME)?;
        vdpa_del(NAME)?;
        check!(notes.drops.load(Relaxed) == 1);
        drop(management);

        check!(vdev.refs() == 1);
        let offset = core::ptr::from_ref(vdev.ops())
            .addr()
            .wrapping_sub(vdev.as_raw().addr());
        check!(offset < FAR);
        check!(vdev.ops().free.is_none());
        drop(vdev);
        check!(notes.drops.load(Relaxed) == 1);
        Ok(())
    }

    /// A device that is never registered drops its data.
    #[test]
    fn unregistered_drops_once() -> Result {
        let parent = Parent::new()?;
        let notes = Notes::new()?;
        let _management = manage(&parent, &notes, Plan::Drop, &[])?;

        parent.vdpa_add(NAME)?;
        check!(notes.drops.load(Relaxed) == 1);
        check!(notes.late_drops.load(Relaxed) == 0);
        check!(Arc::into_unique_or_drop(notes.take_callbacks()?).is_some());
        check!(parent.child(NAME).is_none());
        Ok(())
    }

    /// A name that is taken is refused, and the first device goes on as if nothing had been.
    #[test]
    fn second_of_a_name_is_refused() -> Result {
        let parent = Parent::new()?;
        let notes = Notes::new()?;
        let management = manage(&parent, &notes, Plan::Register, &[])?;

        parent.vdpa_add(NAME)?;
        let first = notes.take_callbacks()?;
        check!(parent.vdpa_add(NAME) == Err(EEXIST));
        check!(notes.drops.load(Relaxed) == 1);
        check!(Arc::into_unique_or_drop(notes.take_callbacks()?).is_some());
        check!(parent.child(NAME).is_some());

        drop(management);
        check!(notes.drops.load(Relaxed) == 2);
        check!(Arc::into_unique_or_drop(first).is_some());
        Ok(())
    }

    /// If the data can't be made, nothing of it is dropped, and all else is given back.
    #[test]
    fn failing_data_leaks_nothing() -> Result {
        let parent = Parent::new()?;
        let refs = parent.refs();
        let notes = Notes::new()?;
        let management = manage(&parent, &notes, Plan::FailData, &[])?;

        check!(parent.vdpa_add(NAME) == Err(EUCLEAN));
        check!(notes.drops.load(Relaxed) == 0);
        check!(Arc::into_unique_or_drop(notes.take_callbacks()?).is_some());
        check!(parent.child(NAME).is_none());

        drop(management);
        check!(parent.refs() == refs);
        check!(Arc::into_unique_or_drop(notes).is_some());
        Ok(())
    }

    /// vhost-vdpa would make a table without entries for a device without groups.
    #[test]
    fn no_groups_is_refused() -> Result {
        let parent = Parent::new()?;
        let notes = Notes::new()?;
        let _management = manage(&parent, &notes, Plan::NoGroups, &[])?;

        check!(parent.vdpa_add(NAME) == Err(EINVAL));
        // What was to become the device's data.
        check!(notes.drops.load(Relaxed) == 1);
        check!(Arc::into_unique_or_drop(notes.take_callbacks()?).is_some());
        Ok(())
    }

    /// The driver core keeps the parent as long as there are children, and no longer.
    #[test]
    fn parent_is_given_back() -> Result {
        let parent = Parent::new()?;
        let refs = parent.refs();
        let notes = Notes::new()?;
        let management = manage(&parent, &notes, Plan::Register, &[])?;

        parent.vdpa_add(NAME)?;
        check!(parent.refs() > refs);
        drop(management);
        check!(parent.refs() == refs);
        Ok(())
    }

    /// Operations that a device lacks are absent for the core, and only those.
    #[test]
    fn without_removes_operations() -> Result {
        const WITHOUT: &[OptionalOp] = &[
            OptionalOp::DmaMap,
            OptionalOp::Suspend,
            OptionalOp::GetVqNotification,
        ];
        let parent = Parent::new()?;
        let notes = Notes::new()?;
        let _management = manage(&parent, &notes, Plan::Register, WITHOUT)?;

        parent.vdpa_add(NAME)?;
        let vdev = Vdev::find(&parent, NAME)?;
        let ops = vdev.ops();
        check!(ops.dma_map.is_none() && ops.dma_unmap.is_none());
        check!(ops.suspend.is_none());
        check!(ops.get_vq_notification.is_none());
        check!(ops.set_map.is_some() && ops.reset_map.is_some() && ops.set_group_asid.is_some());
        check!(ops.get_vq_irq.is_some() && ops.kick_vq_with_data.is_some());
        // The driver doesn't implement these.
        check!(ops.get_vq_desc_group.is_none() && ops.get_backend_features.is_none());
        Ok(())
    }
}
