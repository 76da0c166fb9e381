// SPDX-License-Identifier: GPL-2.0-only

//! Callbacks of the bus driver: called from interrupts, and never again once they were removed.

use kernel::prelude::*;

#[kunit_tests(mooring_vdpa_callbacks)]
mod tests {
    use crate::{
        kunit::{
            bus::{
                bindings::vdpa_device,
                Vdev, //
            },
            device::{
                manage,
                Management,
                Notes,
                Plan,
                NVQS, //
            },
            sys::{
                self,
                Parent, //
            },
        },
        vdpa::Callbacks, //
    };
    use kernel::{
        new_spinlock,
        prelude::*,
        sync::{
            atomic::{
                Acquire,
                Atomic,
                Relaxed,
                Release, //
            },
            Arc,
            Completion, //
        },
        time::{
            delay::udelay,
            Delta, //
        },
        workqueue, //
    };

    const NAME: &CStr = c"kunit-callbacks";

    /// The bus driver's memory that callbacks get.
    struct Signals {
        begun: Atomic<u32>,
        ended: Atomic<u32>,
        /// Whether a call takes a long time: until some time after [`Self::resetting`] is true.
        slow: Atomic<bool>,
        /// Whether the device is about to be reset.
        resetting: Atomic<bool>,
        /// Address of the device to kick before returning, or 0.
        kicks: Atomic<usize>,
    }

    impl Signals {
        fn new() -> Result<Arc<Self>> {
            Ok(Arc::new(
                Self {
                    begun: Atomic::new(0),
                    ended: Atomic::new(0),
                    slow: Atomic::new(false),
                    resetting: Atomic::new(false),
                    kicks: Atomic::new(0),
                },
                GFP_KERNEL,
            )?)
        }

        fn as_private(&self) -> *mut c_void {
            core::ptr::from_ref(self).cast_mut().cast()
        }
    }

    /// # Safety
    ///
    /// `private` must point to [`Signals`].
    unsafe extern "C" fn signal(private: *mut c_void) -> kernel::bindings::irqreturn_t {
        // SAFETY: By the safety requirements.
        let signals = unsafe { &*private.cast::<Signals>() };

        signals.begun.fetch_add(1, Relaxed);
        if signals.slow.load(Relaxed) {
            let mut left = 20;
            // Interrupts are off, so not for longer than 5 s, whatever becomes of the test.
            for _ in 0..5000 {
                if left == 0 {
                    break;
                }
                if signals.resetting.load(Relaxed) {
                    left -= 1;
                }
                udelay(Delta::from_millis(1));
            }
        }
        let vdev: *mut vdpa_device =
            core::ptr::with_exposed_provenance_mut(signals.kicks.load(Relaxed));
        if !vdev.is_null() {
            // SAFETY: The test has put the address of a registered device there.
            unsafe {
                if let Some(kick) = (*(*vdev).config).kick_vq {
                    kick(vdev, 0);
                }
            }
        }
        signals.ended.fetch_add(1, Release);
        kernel::bindings::irqreturn::IRQ_HANDLED
    }

    /// A registered device, and its callbacks as the driver has them.
    struct Registered<'a> {
        vdev: Vdev,
        callbacks: Arc<Callbacks>,
        notes: Arc<Notes>,
        management: Management<'a>,
    }

    impl<'a> Registered<'a> {
        fn new(parent: &'a Parent) -> Result<Self> {
            let notes = Notes::new()?;
            let management = manage(parent, &notes, Plan::Register, &[])?;
            parent.vdpa_add(NAME)?;

            Ok(Self {
                vdev: Vdev::find(parent, NAME)?,
                callbacks: notes.take_callbacks()?,
                notes,
                management,
            })
        }

        fn set(&self, idx: Option<u16>, signals: &Arc<Signals>) -> Result {
            // SAFETY: The device is registered. The tests keep `signals` until after the last call.
            unsafe {
                self.vdev
                    .set_callback(idx, Some(signal), signals.as_private())
            }
        }

        fn reset(&self) -> Result {
            // SAFETY: The device is registered.
            unsafe { self.vdev.reset() }
        }
    }

    /// The C structure was copied: the caller has overwritten it when the callback is called.
    #[test]
    fn each_reaches_its_own() -> Result {
        let parent = Parent::new()?;
        let (first, second, config) = (Signals::new()?, Signals::new()?, Signals::new()?);
        let dev = Registered::new(&parent)?;

        check!(!dev.callbacks.call_vq(0) && !dev.callbacks.call_config());
        dev.set(Some(0), &first)?;
        dev.set(Some(NVQS - 1), &second)?;
        dev.set(None, &config)?;
        check!(dev.notes.were(&[
            ("set_vq_cb", [0, 1, 0]),
            ("set_vq_cb", [u64::from(NVQS) - 1, 1, 0]),
            ("set_config_cb", [1, 0, 0]),
        ]));
        check!(dev.callbacks.has_vq(0) && !dev.callbacks.has_vq(1));

        check!(dev.callbacks.call_vq(0));
        check!(!dev.callbacks.call_vq(1));
        check!(dev.callbacks.call_vq(NVQS - 1) && dev.callbacks.call_vq(NVQS - 1));
        check!(dev.callbacks.call_config());
        check!(!dev.callbacks.call_vq(NVQS) && !dev.callbacks.call_vq(u16::MAX));
        check!(first.ended.load(Relaxed) == 1);
        check!(second.ended.load(Relaxed) == 2);
        check!(config.ended.load(Relaxed) == 1);
        Ok(())
    }

    /// virtio-vdpa removes a callback with a structure that has none in it.
    #[test]
    fn none_removes() -> Result {
        let parent = Parent::new()?;
        let signals = Signals::new()?;
        let dev = Registered::new(&parent)?;

        dev.set(Some(0), &signals)?;
        // SAFETY: The device is registered, and there is no function to be called.
        unsafe {
            dev.vdev
                .set_callback(Some(0), None, core::ptr::null_mut())?
        };
        check!(!dev.callbacks.call_vq(0));
        check!(signals.begun.load(Relaxed) == 0);
        check!(dev
            .notes
            .were(&[("set_vq_cb", [0, 1, 0]), ("set_vq_cb", [0, 0, 0])]));
        Ok(())
    }

    /// Whether the driver's reset works or not, the bus driver frees what its callbacks point to.
    #[test]
    fn reset_removes_all() -> Result {
        let parent = Parent::new()?;
        let signals = Signals::new()?;
        let dev = Registered::new(&parent)?;

        for errno in [0, EIO.to_errno()] {
            for idx in 0..NVQS {
                dev.set(Some(idx), &signals)?;
            }
            dev.set(None, &signals)?;
            dev.notes.errno.store(errno, Relaxed);
            check!(dev.reset().is_err() == (errno != 0));
            check!((0..NVQS).all(|idx| !dev.callbacks.call_vq(idx)));
            check!(!dev.callbacks.call_config());
        }
        check!(signals.begun.load(Relaxed) == 0);
        Ok(())
    }

    /// A driver may go on holding the table when the device is gone, as an interrupt handler does.
    #[test]
    fn deleting_removes_all() -> Result {
        let parent = Parent::new()?;
        let signals = Signals::new()?;
        let dev = Registered::new(&parent)?;

        dev.set(Some(1), &signals)?;
        dev.set(None, &signals)?;
        let Registered {
            vdev,
            callbacks,
            management,
            ..
        } = dev;
        drop((vdev, management));
        check!(!callbacks.call_vq(1) && !callbacks.call_config());
        check!(signals.begun.load(Relaxed) == 0);
        check!(Arc::into_unique_or_drop(callbacks).is_some());
        Ok(())
    }

    /// A callback that runs while the device is being reset has returned before the reset has.
    #[test]
    fn reset_waits_for_a_call() -> Result {
        let parent = Parent::new()?;
        let signals = Signals::new()?;
        let dev = Registered::new(&parent)?;
        let no_preemption = Arc::pin_init(new_spinlock!(()), GFP_KERNEL)?;

        signals.slow.store(true, Relaxed);
        for idx in [Some(0), None] {
            let finished = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
            let before = signals.begun.load(Relaxed);

            signals.resetting.store(false, Relaxed);
            dev.set(idx, &signals)?;
            let caller = {
                let (callbacks, finished) = (dev.callbacks.clone(), finished.clone());
                move || {
                    match idx {
                        Some(idx) => callbacks.call_vq(idx),
                        None => callbacks.call_config(),
                    };
                    finished.complete_all();
                }
            };
            workqueue::system_unbound().try_spawn(GFP_KERNEL, caller)?;
            {
                // Neither to sleep nor to be preempted: the call would keep this processor, with interrupts
                // off, and the test would go on only after it.
                let _guard = no_preemption.lock();
                for _ in 0..50_000 {
                    if signals.begun.load(Relaxed) != before {
                        break;
                    }
                    udelay(Delta::from_micros(100));
                }
            }
            let running = signals.begun.load(Relaxed) - signals.ended.load(Acquire);
            signals.resetting.store(true, Relaxed);
            let result = dev.reset();
            let ended = signals.ended.load(Acquire);
            // Nothing may be dropped before the caller is done with it.
            finished.wait_for_completion();
            result?;
            check!(running == 1);
            check!(ended == before + 1);
        }
        check!(!dev.callbacks.call_vq(0) && !dev.callbacks.call_config());
        Ok(())
    }

    /// Interrupts call, processes set and reset: lockdep has to see a lock that is fit for both.
    #[test]
    fn interrupts_may_call() -> Result {
        let parent = Parent::new()?;
        let signals = Signals::new()?;
        let dev = Registered::new(&parent)?;
        let reports = sys::reports();
        let called: Atomic<bool> = Atomic::new(false);

        for idx in [Some(0), None] {
            dev.set(idx, &signals)?;
            sys::in_hardirq(|| {
                let found = match idx {
                    Some(idx) => dev.callbacks.call_vq(idx) && dev.callbacks.has_vq(idx),
                    None => dev.callbacks.call_config(),
                };
                called.store(found, Relaxed);
            })?;
            check!(called.load(Relaxed));
            dev.reset()?;
        }
        check!(signals.ended.load(Relaxed) == 2);
        check!(sys::reports() == reports);
        Ok(())
    }

    /// A process may use one eventfd for a call and a kick.
    #[test]
    fn a_callback_may_kick() -> Result {
        let parent = Parent::new()?;
        let signals = Signals::new()?;
        let dev = Registered::new(&parent)?;
        let reports = sys::reports();

        signals
            .kicks
            .store(dev.vdev.as_raw().expose_provenance(), Relaxed);
        dev.set(Some(0), &signals)?;
        check!(dev.callbacks.call_vq(0));
        sys::in_hardirq(|| {
            dev.callbacks.call_vq(0);
        })?;
        check!(dev.notes.were(&[
            ("set_vq_cb", [0, 1, 0]),
            ("kick_vq", [0, 0, 0]),
            ("kick_vq", [0, 0, 0]),
        ]));
        check!(sys::reports() == reports);
        Ok(())
    }
}
