// SPDX-License-Identifier: GPL-2.0-only

//! The callbacks that a bus driver installs with `set_vq_cb` and `set_config_cb`.
//!
//! A callback is a C function and an argument whose memory belongs to the bus driver. vhost-vdpa
//! frees it soon after `reset` has returned, without a grace period, and virtio-vdpa does likewise.
//! A parent that calls one afterwards writes to freed memory. So the abstraction keeps the
//! callbacks itself, in a table with a lock per entry, and lends drivers nothing but the right to
//! call an entry. The entry is emptied before `reset` returns, whatever the driver did, and taking
//! its lock waits for a call that is under way. This is also how `drivers/vdpa/vdpa_user` does it.
//!
//! `struct vdpa_callback` lives on the caller's stack, hence it is copied. Its `trigger` member may
//! be uninitialised there, hence it is never read.

use super::bindings;
use kernel::{
    bindings::irqreturn_t,
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    },
};

/// A callback of the bus driver.
///
/// # Invariants
///
/// `function` may be called with `private` from any context until the entry that holds this is
/// emptied.
pub(super) struct Target {
    function: unsafe extern "C" fn(*mut c_void) -> irqreturn_t,
    private: *mut c_void,
}

// SAFETY: The vDPA contract has parents call `function` from whatever thread or interrupt the
// device's signal arrives in; `private` is only passed through.
unsafe impl Send for Target {}

impl Target {
    /// Copies a callback out of the caller's `struct vdpa_callback`; [`None`] if it has no
    /// function.
    ///
    /// # Safety
    ///
    /// `cb` must be null or point to a `vdpa_callback` whose `callback` and `private` members are
    /// initialised, and that may be called from any context until it is replaced or the device's
    /// `reset` operation returns.
    pub(super) unsafe fn from_raw(cb: *const bindings::vdpa_callback) -> Option<Self> {
        if cb.is_null() {
            return None;
        }

        // SAFETY: By the safety requirements, `cb` is valid and these two members are initialised.
        // No reference to the whole structure is made, because `trigger` may not be.
        let (function, private) = unsafe {
            (
                (&raw const (*cb).callback).read(),
                (&raw const (*cb).private).read(),
            )
        };

        // INVARIANT: By the safety requirements.
        function.map(|function| Self { function, private })
    }
}

/// The place for one callback.
#[pin_data]
struct Entry {
    #[pin]
    target: SpinLockIrq<Option<Target>>,
}

impl Entry {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            target <- new_spinlock_irq!(None, "vdpa::Callbacks"),
        })
    }

    /// Calls the callback, if there is one.
    fn call(&self) -> bool {
        let guard = self.target.lock();
        let Some(target) = &*guard else {
            return false;
        };

        // SAFETY: The entry is not empty, and stays so while its lock is held, hence the type
        // invariant of `Target` allows the call.
        let _ = unsafe { (target.function)(target.private) };

        true
    }

    /// Replaces the callback, once a call that is under way has returned.
    fn set(&self, target: Option<Target>) {
        *self.target.lock() = target;
    }

    fn is_set(&self) -> bool {
        self.target.lock().is_some()
    }
}

/// The callbacks of one vDPA device: one for each virtqueue and one for configuration changes.
///
/// A driver creates the table, gives it to [`UnregisteredDevice::new()`], and keeps a reference
/// wherever its interrupts arrive. Entries are filled and emptied by the abstraction only.
///
/// [`UnregisteredDevice::new()`]: super::UnregisteredDevice::new
#[pin_data]
pub struct Callbacks {
    vqs: Pin<KBox<[Entry]>>,
    #[pin]
    config: Entry,
}

impl Callbacks {
    /// Creates the table of a device with `nvqs` virtqueues.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub fn new(nvqs: u16) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                vqs: KBox::pin_slice(|_| Entry::new(), usize::from(nvqs), GFP_KERNEL)?,
                config <- Entry::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the number of virtqueues that the table was made for.
    #[inline]
    pub fn nvqs(&self) -> u16 {
        // CAST: `new()` made the table from a `u16`.
        self.vqs.len() as u16
    }

    /// Tells the driver of virtqueue `idx` that the device has used buffers.
    ///
    /// Returns whether there was a callback to call.
    ///
    /// # Context
    ///
    /// Any, including hard interrupts, except for [`Operations::kick_vq()`] and
    /// [`Operations::kick_vq_with_data()`]; and not with a lock held that these take. The callback
    /// does not sleep, but it may kick a virtqueue, of this device or another, before it returns:
    /// userspace can use one eventfd for both.
    ///
    /// [`Operations::kick_vq()`]: super::Operations::kick_vq
    /// [`Operations::kick_vq_with_data()`]: super::Operations::kick_vq_with_data
    pub fn call_vq(&self, idx: u16) -> bool {
        self.vqs.get(usize::from(idx)).is_some_and(Entry::call)
    }

    /// Tells the bus driver that the device's configuration or status has changed.
    ///
    /// Return value and context are as for [`Self::call_vq()`].
    pub fn call_config(&self) -> bool {
        self.config.call()
    }

    /// Returns whether virtqueue `idx` has a callback, that is, whether its driver wants
    /// interrupts.
    pub fn has_vq(&self, idx: u16) -> bool {
        self.vqs.get(usize::from(idx)).is_some_and(Entry::is_set)
    }

    /// Sets or removes the callback of virtqueue `idx`, once a call that is under way has returned.
    pub(super) fn set_vq(&self, idx: u16, target: Option<Target>) {
        if let Some(entry) = self.vqs.get(usize::from(idx)) {
            entry.set(target);
        }
    }

    /// Sets or removes the callback for configuration changes, once a call that is under way has
    /// returned.
    pub(super) fn set_config(&self, target: Option<Target>) {
        self.config.set(target);
    }

    /// Removes all callbacks. None that was set before runs any more on return.
    pub(super) fn clear(&self) {
        for entry in self.vqs.iter() {
            entry.set(None);
        }
        self.config.set(None);
    }
}
