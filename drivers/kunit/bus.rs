// SPDX-License-Identifier: GPL-2.0-only

//! A vDPA device as the core and the bus drivers see it: by its table of C functions.

use super::sys::{
    self,
    Parent, //
};
use kernel::{
    device,
    error::to_result,
    prelude::*,
    sync::aref::ARef, //
};

/// The abstraction keeps its bindings to itself. The tests stand on the C side of it, with their own: the
/// same file once more, so that its types are others, of the same layout.
#[path = "../vdpa/bindings.rs"]
pub(super) mod bindings;

use bindings::{
    vdpa_callback,
    vdpa_config_ops,
    vdpa_device, //
};

/// A function of a bus driver that a device calls.
pub(super) type Callback = unsafe extern "C" fn(*mut c_void) -> kernel::bindings::irqreturn_t;

/// A reference to a device that was added.
///
/// # Invariants
///
/// It is the device of a `vdpa_device`.
pub(super) struct Vdev(ARef<device::Device>);

impl Vdev {
    /// Finds the device of this name.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none.
    pub(super) fn find(parent: &Parent, name: &CStr) -> Result<Self> {
        // INVARIANT: The parents of these tests have no other children.
        Ok(Self(parent.child(name).ok_or(ENODEV)?))
    }

    /// The C structure.
    pub(super) fn as_raw(&self) -> *mut vdpa_device {
        // `dev` is the first member; `device::Device` is a transparent wrapper of the C structure.
        kernel::const_assert!(core::mem::offset_of!(vdpa_device, dev) == 0);
        core::ptr::from_ref(&*self.0).cast_mut().cast()
    }

    /// The table of functions. It is there as long as the reference, deleted or not.
    pub(super) fn ops(&self) -> &vdpa_config_ops {
        // SAFETY: By the type invariant the structure is valid, and its table does not change.
        unsafe { &*(*self.as_raw()).config }
    }

    /// References to the device, this one included.
    pub(super) fn refs(&self) -> u32 {
        sys::device_refs(&self.0)
    }

    /// `vdpa_reset()`
    ///
    /// # Safety
    ///
    /// The device must not have been deleted. This goes for all functions here that are unsafe.
    pub(super) unsafe fn reset(&self) -> Result {
        // SAFETY: By the safety requirements.
        to_result(unsafe { sys::mooring_kunit_vdpa_reset(self.as_raw()) })
    }

    /// `vdpa_set_features()`
    ///
    /// # Safety
    ///
    /// See [`Self::reset()`].
    pub(super) unsafe fn set_features(&self, features: u64) -> Result {
        // SAFETY: By the safety requirements.
        to_result(unsafe { sys::mooring_kunit_vdpa_set_features(self.as_raw(), features) })
    }

    /// `vdpa_set_status()`
    ///
    /// # Safety
    ///
    /// See [`Self::reset()`].
    pub(super) unsafe fn set_status(&self, status: u32) {
        // CAST: The status bits are those of a byte.
        // SAFETY: By the safety requirements.
        unsafe { sys::mooring_kunit_vdpa_set_status(self.as_raw(), status as u8) }
    }

    /// Sets the callback of virtqueue `idx`, or the configuration's for [`None`], as vhost does it: the
    /// structure is on the stack, `trigger` was never initialised, and all of it is overwritten afterwards.
    ///
    /// # Safety
    ///
    /// See [`Self::reset()`]. `function` may be called with `private` until it is replaced or the device is
    /// reset or deleted.
    pub(super) unsafe fn set_callback(
        &self,
        idx: Option<u16>,
        function: Option<Callback>,
        private: *mut c_void,
    ) -> Result {
        let mut callback = core::mem::MaybeUninit::<vdpa_callback>::uninit();
        let raw = callback.as_mut_ptr();

        // SAFETY: Both members are inside the structure.
        unsafe {
            (&raw mut (*raw).callback).write(function);
            (&raw mut (*raw).private).write(private);
        }
        // SAFETY: By the safety requirements; the functions are called with what they want.
        unsafe {
            match idx {
                Some(idx) => (self.ops().set_vq_cb.ok_or(ENOSYS)?)(self.as_raw(), idx, raw),
                None => (self.ops().set_config_cb.ok_or(ENOSYS)?)(self.as_raw(), raw),
            }
        }
        // SAFETY: It is ours. Whoever has kept the pointer now calls an address that there isn't.
        unsafe {
            raw.cast::<u8>()
                .write_bytes(0x5a, size_of::<vdpa_callback>())
        };
        Ok(())
    }
}
