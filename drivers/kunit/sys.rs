// SPDX-License-Identifier: GPL-2.0-only

//! The C glue, as safe functions wherever they can be.

use super::bus::bindings::vdpa_device;
use core::ptr::NonNull;
use kernel::{
    bindings,
    device::{
        self,
        Bound, //
    },
    dma::DmaAddress,
    error::{
        from_err_ptr,
        to_result, //
    },
    pci,
    prelude::*,
    str::CString,
    sync::aref::ARef, //
};

// `struct device` has members of no size in some configurations, which is fine in C and in Rust.
#[allow(improper_ctypes)]
unsafe extern "C" {
    // In helpers.c.
    fn mooring_kunit_fail(
        file: *const u8,
        file_len: c_int,
        line: u32,
        text: *const u8,
        text_len: c_int,
    );
    safe fn mooring_kunit_reports() -> c_uint;
    safe fn mooring_kunit_function() -> *mut bindings::pci_dev;
    safe fn mooring_kunit_parent() -> *mut bindings::device;
    fn mooring_kunit_find_child(
        parent: *mut bindings::device,
        name: *const c_char,
    ) -> *mut bindings::device;
    fn mooring_kunit_device_refs(dev: *mut bindings::device) -> c_uint;
    fn mooring_kunit_vdpa_add(
        mgmtdev: *mut bindings::device,
        name: *const c_char,
        features: u64,
    ) -> c_int;
    fn mooring_kunit_vdpa_del(name: *const c_char) -> c_int;
    pub(super) fn mooring_kunit_vdpa_reset(vdev: *mut vdpa_device) -> c_int;
    pub(super) fn mooring_kunit_vdpa_set_status(vdev: *mut vdpa_device, status: u8);
    pub(super) fn mooring_kunit_vdpa_set_features(vdev: *mut vdpa_device, features: u64) -> c_int;
    fn mooring_kunit_in_hardirq(
        function: unsafe extern "C" fn(*mut c_void),
        data: *mut c_void,
    ) -> c_int;
    safe fn mooring_kunit_alloc_folio(order: c_uint) -> c_long;
    safe fn mooring_kunit_alloc_pages(order: c_uint) -> c_long;
    safe fn mooring_kunit_page(pfn: c_ulong) -> *mut bindings::page;
    pub(super) fn mooring_kunit_put_page(pfn: c_ulong);
    fn mooring_kunit_page_refs(pfn: c_ulong) -> c_int;
    safe fn mooring_kunit_zero_page() -> c_ulong;
    safe fn mooring_kunit_bus_to_virt(bus: bindings::dma_addr_t) -> *mut c_void;
}

/// Makes the running test fail; it goes on.
pub(crate) fn fail(file: &str, line: u32, text: &str) {
    // SAFETY: Both strings are valid, and go with their lengths.
    // CAST: They are much shorter than 2 GiB.
    unsafe {
        mooring_kunit_fail(
            file.as_ptr(),
            file.len() as c_int,
            line,
            text.as_ptr(),
            text.len() as c_int,
        )
    };
}

/// What lockdep, KASAN and all the others have found so far, in any code, as a number that changes with the
/// first report of each kind.
pub(super) fn reports() -> u32 {
    mooring_kunit_reports()
}

/// A PCI function that is on no bus.
pub(super) fn pci_function() -> ARef<pci::Device> {
    let function = NonNull::from(
        // SAFETY: The function is initialised, and is there as long as the module. `pci::Device` is a
        // transparent wrapper of the C structure.
        unsafe { &*mooring_kunit_function().cast::<pci::Device>() },
    );

    // SAFETY: As above.
    ARef::from(unsafe { function.as_ref() })
}

/// A device to be the parent of vDPA devices and to do their DMA.
///
/// # Invariants
///
/// It points to a device that is bound to a driver until the test which made it ends, which is after `self`
/// is dropped: tests keep it in a local variable.
pub(super) struct Parent(NonNull<bindings::device>);

impl Parent {
    /// Makes the parent of the running test, which needs one only.
    pub(super) fn new() -> Result<Self> {
        let dev = from_err_ptr(mooring_kunit_parent())?;

        // INVARIANT: KUnit unregisters the device after the test.
        Ok(Self(NonNull::new(dev).ok_or(ENODEV)?))
    }

    /// The device.
    pub(super) fn dev(&self) -> &device::Device<Bound> {
        // SAFETY: By the type invariant. `device::Device` is a transparent wrapper of the C structure.
        unsafe { self.0.cast().as_ref() }
    }

    /// References to the device.
    pub(super) fn refs(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { mooring_kunit_device_refs(self.0.as_ptr()) }
    }

    /// Returns a reference to the child of this name.
    pub(super) fn child(&self, name: &CStr) -> Option<ARef<device::Device>> {
        // SAFETY: By the type invariant; `name` is a C string.
        let child = unsafe { mooring_kunit_find_child(self.0.as_ptr(), name.as_char_ptr()) };

        // SAFETY: It is a device, to which a reference was taken for us.
        NonNull::new(child).map(|child| unsafe { ARef::from_raw(child.cast()) })
    }

    /// `vdpa dev add`, with a management device that is registered for this parent.
    pub(super) fn vdpa_add(&self, name: &CStr) -> Result {
        // SAFETY: By the type invariant; `name` is a C string.
        to_result(unsafe { mooring_kunit_vdpa_add(self.0.as_ptr(), name.as_char_ptr(), 0) })
    }

    /// The same with the management device for block devices, and features if they are not 0.
    pub(super) fn vdpa_add_block(&self, name: &CStr, features: u64) -> Result {
        let parent = self.dev().name().to_str()?;
        let child = CString::try_from_fmt(fmt!("mooring_blk.{parent}"))?;
        let child = self.child(&child).ok_or(ENODEV)?;
        let raw = core::ptr::from_ref(&*child).cast_mut().cast();

        // SAFETY: `child` is valid, and a transparent wrapper of the C structure; `name` is a C string.
        to_result(unsafe { mooring_kunit_vdpa_add(raw, name.as_char_ptr(), features) })
    }
}

/// References to `dev`, the caller's included.
pub(super) fn device_refs(dev: &device::Device) -> u32 {
    let raw = core::ptr::from_ref(dev).cast_mut().cast();

    // SAFETY: `dev` is valid, and a transparent wrapper of the C structure.
    unsafe { mooring_kunit_device_refs(raw) }
}

/// `vdpa dev del`
pub(super) fn vdpa_del(name: &CStr) -> Result {
    // SAFETY: `name` is a C string.
    to_result(unsafe { mooring_kunit_vdpa_del(name.as_char_ptr()) })
}

/// Calls `function` in a hard interrupt and waits until it has returned. Fails where there is none to be
/// had.
pub(super) fn in_hardirq<F: FnMut() + Send>(mut function: F) -> Result {
    /// # Safety
    ///
    /// `data` must point to an `F` that nobody else uses.
    unsafe extern "C" fn call<F: FnMut()>(data: *mut c_void) {
        // SAFETY: By the safety requirements.
        unsafe { (*data.cast::<F>())() }
    }

    // SAFETY: `function` lives until the call has ended, which this waits for, and is used by nobody else
    // meanwhile.
    to_result(unsafe { mooring_kunit_in_hardirq(call::<F>, (&raw mut function).cast()) })
}

/// Allocates a folio of `1 << order` pages; returns the number of its first page frame.
pub(super) fn alloc_folio(order: u32) -> Result<usize> {
    Ok(usize::try_from(mooring_kunit_alloc_folio(order))?)
}

/// Allocates `1 << order` pages in a row that are a folio each; returns the number of the first.
pub(super) fn alloc_pages(order: u32) -> Result<usize> {
    Ok(usize::try_from(mooring_kunit_alloc_pages(order))?)
}

/// The C structure of a page, if there is one for `pfn`.
pub(super) fn page(pfn: usize) -> *mut bindings::page {
    mooring_kunit_page(pfn as c_ulong)
}

/// References to the folio of a page that is memory.
///
/// # Safety
///
/// There must be a `struct page` for `pfn`.
pub(super) unsafe fn page_refs(pfn: usize) -> i32 {
    // SAFETY: By the safety requirements.
    unsafe { mooring_kunit_page_refs(pfn as c_ulong) }
}

/// Number of the page that processes see where they have not written.
pub(super) fn zero_page() -> usize {
    mooring_kunit_zero_page() as usize
}

/// Where coherent memory of a test's device lies.
pub(super) fn bus_to_virt(bus: DmaAddress) -> *mut c_void {
    mooring_kunit_bus_to_virt(bus)
}
