// SPDX-License-Identifier: GPL-2.0-only

//! Telling userspace that something about a vDPA device has changed.

use kernel::{
    bindings as kbindings,
    device,
    error::to_result,
    prelude::*,
    str::CString,
    sync::aref::ARef, //
};

/// A way to tell userspace about a device. It keeps the memory of the `struct device`, and nothing of the
/// driver's data, so it may be kept beyond the operation that made it.
///
/// # Invariants
///
/// It refers to the device of a `vdpa_device`, which `__vdpa_alloc_device()` has initialised.
#[derive(Clone)]
pub struct ChangeNotifier(ARef<device::Device>);

impl ChangeNotifier {
    /// Makes one for a device.
    ///
    /// # Safety
    ///
    /// `dev` must be the device of a `vdpa_device` that `__vdpa_alloc_device()` has made.
    pub(super) unsafe fn new(dev: &device::Device) -> Self {
        // INVARIANT: By the safety requirements.
        Self(dev.into())
    }

    /// Sends a uevent `change` about the device, with these further variables, each of the form `KEY=value`.
    ///
    /// May sleep. One that is sent while the device is being deleted may come after the event of that.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory, or if the variables don't fit a uevent, which holds 2 KiB.
    pub fn notify(&self, variables: &[CString]) -> Result {
        let mut pointers = KVec::with_capacity(variables.len() + 1, GFP_KERNEL)?;
        for variable in variables {
            pointers.push(variable.as_char_ptr().cast_mut(), GFP_KERNEL)?;
        }
        pointers.push(core::ptr::null_mut(), GFP_KERNEL)?;

        // `device::Device` is a transparent wrapper of the C structure.
        let dev = core::ptr::from_ref(&*self.0)
            .cast_mut()
            .cast::<kbindings::device>();
        // SAFETY: `dev` is valid, by the reference that we hold, and initialised, by the type invariant. The array ends with a null
        // pointer; the strings end with a zero byte, live until the call returns, and are only read by it.
        to_result(unsafe {
            kbindings::kobject_uevent_env(
                &raw mut (*dev).kobj,
                kbindings::kobject_action_KOBJ_CHANGE,
                pointers.as_mut_ptr(),
            )
        })
    }
}
