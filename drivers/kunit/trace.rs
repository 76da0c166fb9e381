// SPDX-License-Identifier: GPL-2.0-only

//! In what order the driver takes memory and gives it back, and what the card is told in between.
//!
//! The linker redirects this module's calls of the DMA API and of the page reference helpers here
//! (`--wrap`, see Kbuild). Each is noted and passed on; a mapping may be made to fail. Ranges of bus addresses
//! need a platform IOMMU, which the tests' devices don't have, so there is one here that translates nothing.

use crate::wire::Opcode;
use kernel::{
    bindings,
    dma::DmaAddress,
    prelude::*, //
};

/// Steps that can be noted; what comes later is counted as [`Trace::lost`].
const STEPS: usize = 64;

/// Mappings that can exist at a time.
const MAPPINGS: usize = 16;

/// What the driver did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Took references to pages.
    Get,
    /// Dropped them.
    Put,
    /// Mapped memory for DMA.
    Map,
    /// Undid that.
    Unmap,
    /// Reserved a range of bus addresses.
    Reserve,
    /// Mapped memory to a part of it.
    Link,
    /// Told the platform IOMMU.
    IotlbSync,
    /// Undid a [`Self::Link`].
    Unlink,
    /// Gave the range of bus addresses back.
    Free,
    /// The card has carried out, or refused, a command.
    Command(Opcode),
    /// Took the card's right to reach memory away.
    BusMasterCleared,
}

/// Arguments of a mapping; those of its end have to be the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) dev: usize,
    pub(super) bus: DmaAddress,
    pub(super) len: usize,
    pub(super) direction: bindings::dma_data_direction,
    pub(super) attrs: c_ulong,
}

/// What was noted since [`start()`].
#[derive(Clone, Copy)]
pub(super) struct Trace {
    steps: [Step; STEPS],
    len: usize,
    mapped: [Option<Arguments>; MAPPINGS],
    /// Successful mappings to come before one fails.
    until_failure: Option<u32>,
    /// Whether there is a platform IOMMU.
    iommu: bool,
    /// Ranges of bus addresses that exist.
    reserved: u32,
    /// Mappings that were ended with other arguments than they were made with.
    mismatches: u32,
    lost: u32,
}

impl Trace {
    const EMPTY: Self = Self {
        steps: [Step::Get; STEPS],
        len: 0,
        mapped: [None; MAPPINGS],
        until_failure: None,
        iommu: false,
        reserved: 0,
        mismatches: 0,
        lost: 0,
    };

    fn step(&mut self, step: Step) {
        match self.steps.get_mut(self.len) {
            Some(place) => {
                *place = step;
                self.len += 1;
            }
            None => self.lost += 1,
        }
    }

    fn replace(&mut self, from: Option<Arguments>, to: Option<Arguments>) -> bool {
        let place = self.mapped.iter_mut().find(|place| **place == from);

        place.map(|place| *place = to).is_some()
    }

    /// Whether the next mapping is to fail.
    fn fails(&mut self) -> bool {
        let left = self.until_failure;

        self.until_failure = left.and_then(|left| left.checked_sub(1));
        left == Some(0)
    }

    /// The steps, in order.
    pub(super) fn steps(&self) -> &[Step] {
        self.steps.get(..self.len).unwrap_or_default()
    }

    /// The mappings that exist.
    pub(super) fn mapped(&self) -> impl Iterator<Item = &Arguments> {
        self.mapped.iter().flatten()
    }

    /// Whether all that was mapped since [`start()`] was unmapped, with the same arguments.
    pub(super) fn is_balanced(&self) -> bool {
        self.mapped().next().is_none()
            && self.reserved == 0
            && self.mismatches == 0
            && self.lost == 0
    }
}

kernel::sync::global_lock! {
    // SAFETY: `init()` runs before anything else in this module.
    unsafe(uninit) static TRACE: SpinLockIrq<Trace> = Trace::EMPTY;
}

/// Makes the lock.
///
/// # Safety
///
/// To be called once, before everything else here.
pub(super) unsafe fn init() {
    // SAFETY: By the safety requirements.
    unsafe { TRACE.init() };
}

/// Forgets everything.
pub(super) fn start() {
    *TRACE.lock() = Trace::EMPTY;
}

/// Returns what was noted; the mappings stay noted and the steps are forgotten.
pub(super) fn take() -> Trace {
    let mut trace = TRACE.lock();
    let taken = *trace;

    trace.len = 0;
    taken
}

/// Makes a mapping fail after `successes` more that don't.
pub(super) fn fail_mapping_after(successes: u32) {
    TRACE.lock().until_failure = Some(successes);
}

/// Gives the tests' devices a platform IOMMU, until everything is forgotten.
pub(super) fn add_iommu() {
    TRACE.lock().iommu = true;
}

/// Notes a step.
pub(crate) fn note(step: Step) {
    TRACE.lock().step(step);
}

// The linker makes `__real_x` the function, and `__wrap_x` what the rest of the module calls.
#[allow(improper_ctypes)]
unsafe extern "C" {
    fn __real_dma_map_phys(
        dev: *mut bindings::device,
        phys: bindings::phys_addr_t,
        size: usize,
        direction: bindings::dma_data_direction,
        attrs: c_ulong,
    ) -> bindings::dma_addr_t;
    fn __real_dma_unmap_phys(
        dev: *mut bindings::device,
        bus: bindings::dma_addr_t,
        size: usize,
        direction: bindings::dma_data_direction,
        attrs: c_ulong,
    );
    fn __real_mooring_helper_iova_granule(dev: *mut bindings::device) -> c_ulong;
    fn __real_mooring_helper_get_folios(pfn: c_ulong, end: c_ulong) -> c_int;
    fn __real_mooring_helper_put_folios(pfn: c_ulong, end: c_ulong);
}

/// # Safety
///
/// As for `dma_map_phys()`.
#[no_mangle]
unsafe extern "C" fn __wrap_dma_map_phys(
    dev: *mut bindings::device,
    phys: bindings::phys_addr_t,
    len: usize,
    direction: bindings::dma_data_direction,
    attrs: c_ulong,
) -> bindings::dma_addr_t {
    if TRACE.lock().fails() {
        // DMA_MAPPING_ERROR
        return bindings::dma_addr_t::MAX;
    }

    // SAFETY: By the safety requirements.
    let bus = unsafe { __real_dma_map_phys(dev, phys, len, direction, attrs) };
    if bus != bindings::dma_addr_t::MAX {
        let mut trace = TRACE.lock();
        trace.step(Step::Map);
        let made = Arguments {
            dev: dev.addr(),
            bus,
            len,
            direction,
            attrs,
        };
        if !trace.replace(None, Some(made)) {
            trace.lost += 1;
        }
    }
    bus
}

/// # Safety
///
/// As for `dma_unmap_phys()`.
#[no_mangle]
unsafe extern "C" fn __wrap_dma_unmap_phys(
    dev: *mut bindings::device,
    bus: bindings::dma_addr_t,
    len: usize,
    direction: bindings::dma_data_direction,
    attrs: c_ulong,
) {
    {
        let mut trace = TRACE.lock();
        trace.step(Step::Unmap);
        let made = Arguments {
            dev: dev.addr(),
            bus,
            len,
            direction,
            attrs,
        };
        if !trace.replace(Some(made), None) {
            trace.mismatches += 1;
        }
    }
    // SAFETY: By the safety requirements.
    unsafe { __real_dma_unmap_phys(dev, bus, len, direction, attrs) };
}

/// # Safety
///
/// As for `mooring_helper_get_folios()`.
#[no_mangle]
unsafe extern "C" fn __wrap_mooring_helper_get_folios(pfn: c_ulong, end: c_ulong) -> c_int {
    // SAFETY: By the safety requirements.
    let ret = unsafe { __real_mooring_helper_get_folios(pfn, end) };

    if ret == 0 {
        note(Step::Get);
    }
    ret
}

/// # Safety
///
/// As for `mooring_helper_put_folios()`.
#[no_mangle]
unsafe extern "C" fn __wrap_mooring_helper_put_folios(pfn: c_ulong, end: c_ulong) {
    note(Step::Put);
    // SAFETY: By the safety requirements.
    unsafe { __real_mooring_helper_put_folios(pfn, end) };
}

/// Where the platform IOMMU of the tests has its ranges.
pub(super) const BUS: DmaAddress = 0x7_0000_0000;

/// # Safety
///
/// As for `mooring_helper_iova_granule()`.
#[no_mangle]
unsafe extern "C" fn __wrap_mooring_helper_iova_granule(dev: *mut bindings::device) -> c_ulong {
    match TRACE.lock().iommu {
        true => kernel::page::PAGE_SIZE as c_ulong,
        // SAFETY: By the safety requirements.
        false => unsafe { __real_mooring_helper_iova_granule(dev) },
    }
}

/// # Safety
///
/// As for `mooring_helper_iova_alloc()`.
#[no_mangle]
unsafe extern "C" fn __wrap_mooring_helper_iova_alloc(
    _dev: *mut bindings::device,
    state: *mut bindings::dma_iova_state,
    size: usize,
) -> bool {
    let mut trace = TRACE.lock();

    // SAFETY: By the safety requirements, it is valid for writing.
    unsafe { (*state).addr = BUS };
    // SAFETY: As above.
    unsafe { (*state).__size = size as u64 };
    trace.step(Step::Reserve);
    trace.reserved += 1;
    true
}

/// # Safety
///
/// As for `mooring_helper_iova_free()`.
#[no_mangle]
unsafe extern "C" fn __wrap_mooring_helper_iova_free(
    _dev: *mut bindings::device,
    state: *mut bindings::dma_iova_state,
) {
    let mut trace = TRACE.lock();
    // SAFETY: By the safety requirements, it is valid.
    let (bus, size) = unsafe { ((*state).addr, (*state).__size) };
    let still_linked = trace
        .mapped()
        .any(|mapped| (bus..bus + size).contains(&mapped.bus));

    trace.step(Step::Free);
    trace.mismatches += u32::from(still_linked);
    trace.reserved = trace.reserved.wrapping_sub(1);
}

/// # Safety
///
/// As for `mooring_helper_iova_link()`.
#[no_mangle]
unsafe extern "C" fn __wrap_mooring_helper_iova_link(
    dev: *mut bindings::device,
    state: *mut bindings::dma_iova_state,
    _phys: bindings::phys_addr_t,
    offset: usize,
    len: usize,
    direction: bindings::dma_data_direction,
    attrs: c_ulong,
) -> c_int {
    let mut trace = TRACE.lock();
    let made = Arguments {
        dev: dev.addr(),
        // SAFETY: By the safety requirements, it is valid.
        bus: unsafe { (*state).addr } + offset as u64,
        len,
        direction,
        attrs,
    };

    if trace.fails() {
        return ENOMEM.to_errno();
    }
    trace.step(Step::Link);
    if !trace.replace(None, Some(made)) {
        trace.lost += 1;
    }
    0
}

/// # Safety
///
/// As for `mooring_helper_iova_sync()`.
#[no_mangle]
unsafe extern "C" fn __wrap_mooring_helper_iova_sync(
    _dev: *mut bindings::device,
    state: *mut bindings::dma_iova_state,
    size: usize,
) -> c_int {
    let mut trace = TRACE.lock();

    trace.step(Step::IotlbSync);
    // SAFETY: By the safety requirements, it is valid.
    trace.mismatches += u32::from(unsafe { (*state).__size } != size as u64);
    0
}

/// # Safety
///
/// As for `mooring_helper_iova_unlink()`.
#[no_mangle]
unsafe extern "C" fn __wrap_mooring_helper_iova_unlink(
    dev: *mut bindings::device,
    state: *mut bindings::dma_iova_state,
    offset: usize,
    len: usize,
    direction: bindings::dma_data_direction,
    attrs: c_ulong,
) {
    let mut trace = TRACE.lock();
    let made = Arguments {
        dev: dev.addr(),
        // SAFETY: By the safety requirements, it is valid.
        bus: unsafe { (*state).addr } + offset as u64,
        len,
        direction,
        attrs,
    };

    trace.step(Step::Unlink);
    if !trace.replace(Some(made), None) {
        trace.mismatches += 1;
    }
}
