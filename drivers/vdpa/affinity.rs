// SPDX-License-Identifier: GPL-2.0-only

//! The CPUs that virtqueues' interrupts go to, as the core hands them around.

use kernel::{
    bindings as kbindings,
    cpumask::{
        Cpumask,
        CpumaskVar, //
    },
    error::to_result,
    new_mutex,
    prelude::*,
    sync::{
        rcu,
        Mutex, //
    },
};

/// Places for the answers to `get_vq_affinity`: a mask for each virtqueue.
///
/// The operation returns a pointer, of which nobody says how long it is used. So the mask that it points to has to be
/// there as long as the device has a bus driver, and the abstraction keeps it.
pub(super) struct Masks(Option<Pin<KBox<Mutex<KVec<CpumaskVar>>>>>);

impl Masks {
    /// No places, for a device without the operation.
    pub(super) const NONE: Self = Self(None);

    /// Places for `nvqs` virtqueues.
    pub(super) fn new(nvqs: u16) -> Result<Self> {
        let mut masks = KVec::with_capacity(nvqs.into(), GFP_KERNEL)?;

        for _ in 0..nvqs {
            masks.push(CpumaskVar::new_zero(GFP_KERNEL)?, GFP_KERNEL)?;
        }
        let masks = KBox::pin_init(new_mutex!(masks, "vdpa::affinity::Masks"), GFP_KERNEL)?;
        Ok(Self(Some(masks)))
    }

    /// Has `fill` write the mask of virtqueue `idx`, and returns a pointer to it; null if that fails.
    ///
    /// The pointer is valid as long as `self`. Another call for the same virtqueue rewrites what it points to while it is
    /// in use, as it does in other parents; a reader may see some CPUs of the one mask and some of the other.
    pub(super) fn fill(
        &self,
        idx: u16,
        fill: impl FnOnce(&mut Cpumask) -> Result,
    ) -> *const kbindings::cpumask {
        let Some(masks) = &self.0 else {
            return core::ptr::null();
        };
        let mut masks = masks.lock();
        let Some(mask) = masks.get_mut(usize::from(idx)) else {
            return core::ptr::null();
        };

        match fill(mask) {
            Ok(()) => mask.as_raw(),
            Err(_) => core::ptr::null(),
        }
    }
}

/// Has interrupt `irq` go, for [`Operations::set_vq_affinity()`](super::Operations::set_vq_affinity), to the CPUs in `mask`. Doesn't sleep.
///
/// # Errors
///
/// `EINVAL` if none of them is online, or there is no such interrupt, else what its chip fails with.
pub fn set_irq_affinity(irq: u32, mask: &Cpumask) -> Result {
    // SAFETY: The function takes any number, and copies the mask, which is valid.
    to_result(unsafe { kbindings::irq_set_affinity(irq, mask.as_raw()) })
}

/// Writes into `mask` to which CPUs interrupt `irq` may go, for
/// [`Operations::get_vq_affinity()`](super::Operations::get_vq_affinity).
///
/// # Errors
///
/// `EINVAL` if there is no such interrupt.
pub fn irq_affinity(irq: u32, mask: &mut Cpumask) -> Result {
    // What describes an interrupt is freed after a grace period.
    let _guard = rcu::read_lock();
    // SAFETY: The function takes any number.
    let data = unsafe { kbindings::irq_get_irq_data(irq) };

    if data.is_null() {
        return Err(EINVAL);
    }
    // SAFETY: The guard keeps what it points to, of which `common` and its mask are parts that are there from the
    // beginning to the end. The mask may change meanwhile, which `Cpumask` is made for.
    let affinity = unsafe {
        let affinity = &raw const (*(*data).common).affinity;
        CpumaskVar::from_raw(affinity)
    };
    affinity.copy(mask);
    Ok(())
}
