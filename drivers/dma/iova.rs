// SPDX-License-Identifier: GPL-2.0-only

//! Bus addresses in a row for memory that isn't.
//!
//! A platform IOMMU can give scattered memory one range of bus addresses, which then takes a single extent on the
//! card. `dma_map_phys()` maps each piece wherever there is room; with `dma_iova_*` the range is reserved first, and
//! the pieces are put into it one after another.

use super::mapping::ATTRS;
use kernel::{
    bindings, device,
    dma::{
        DataDirection,
        DmaAddress, //
    },
    error::to_result,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    types::Opaque,
};

// `struct device` has members of no size in some configurations, which is fine in C and in Rust.
#[allow(improper_ctypes)]
unsafe extern "C" {
    // In helpers.c.
    fn mooring_helper_iova_granule(dev: *mut bindings::device) -> c_ulong;
    fn mooring_helper_iova_alloc(
        dev: *mut bindings::device,
        state: *mut bindings::dma_iova_state,
        size: usize,
    ) -> bool;
    fn mooring_helper_iova_free(dev: *mut bindings::device, state: *mut bindings::dma_iova_state);
    fn mooring_helper_iova_link(
        dev: *mut bindings::device,
        state: *mut bindings::dma_iova_state,
        phys: bindings::phys_addr_t,
        offset: usize,
        size: usize,
        direction: bindings::dma_data_direction,
        attrs: c_ulong,
    ) -> c_int;
    fn mooring_helper_iova_sync(
        dev: *mut bindings::device,
        state: *mut bindings::dma_iova_state,
        size: usize,
    ) -> c_int;
    fn mooring_helper_iova_unlink(
        dev: *mut bindings::device,
        state: *mut bindings::dma_iova_state,
        offset: usize,
        size: usize,
        direction: bindings::dma_data_direction,
        attrs: c_ulong,
    );
}

/// A range of bus addresses that belongs to a device.
///
/// # Invariants
///
/// `state` is what `dma_iova_try_alloc()` has made for `dev`, and has not been freed. Nobody writes to it:
/// `dma_iova_link()` would for memory that has to be copied only, which [`ATTRS`] forbids.
struct BusRange {
    dev: ARef<device::Device>,
    state: Opaque<bindings::dma_iova_state>,
    bus: DmaAddress,
}

// SAFETY: A range may be freed from any thread.
unsafe impl Send for BusRange {}

// SAFETY: By the type invariant nobody writes to the state; what is done with it through a shared reference is
// `dma_iova_link()` and `dma_iova_unlink()`, which lock the IOMMU's page tables by themselves.
unsafe impl Sync for BusRange {}

impl BusRange {
    /// Reserves `size` bytes of bus addresses.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the device's DMA goes through no platform IOMMU, or that has no such range; `ENOMEM` if there
    /// is no memory.
    fn new(dev: &device::Device<device::Bound>, size: usize) -> Result<Arc<Self>> {
        let mut state = bindings::dma_iova_state::default();

        // SAFETY: The device is valid and bound to a driver, and `state` is ours.
        if size == 0 || !unsafe { mooring_helper_iova_alloc(raw(dev), &mut state, size) } {
            return Err(EOPNOTSUPP);
        }
        // INVARIANT: Just made. If there is no memory for the `Arc`, it is freed by `drop()`.
        let range = Self {
            dev: dev.into(),
            bus: state.addr,
            state: Opaque::new(state),
        };
        Ok(Arc::new(range, GFP_KERNEL_ACCOUNT)?)
    }
}

impl Drop for BusRange {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Whoever has linked memory holds a reference to the range, so that nothing is
        // linked any more.
        unsafe { mooring_helper_iova_free(raw(&self.dev), self.state.get()) };
    }
}

fn raw(dev: &device::Device) -> *mut bindings::device {
    // `device::Device` is a transparent wrapper of `struct device`.
    core::ptr::from_ref(dev).cast_mut().cast()
}

/// A physically contiguous piece of memory that a device can access as a part of a larger range of bus addresses.
///
/// What is said of [`Mapping`](super::Mapping) goes for this, too. Pieces of a range may go one by one; the range
/// itself goes with the last of them.
///
/// # Invariants
///
/// The `len` bytes at `offset` of `range` are linked with `direction` and [`ATTRS`], and belong to `self`.
pub(crate) struct Linked {
    range: Arc<BusRange>,
    offset: usize,
    len: usize,
    direction: DataDirection,
}

impl Linked {
    /// Maps pieces of memory, by physical address and length, to bus addresses in a row. Returns as many mappings,
    /// in the same order.
    ///
    /// # Context
    ///
    /// May sleep. Takes time in proportion to the number of page table entries.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the platform can't do that with these pieces, `ENOMEM` if addresses or page tables have run
    /// out. Nothing is mapped then, and the pieces may be mapped one by one.
    pub(crate) fn map(
        dev: &device::Device<device::Bound>,
        pieces: impl Iterator<Item = (u64, u64)> + Clone,
        direction: DataDirection,
    ) -> Result<KVVec<Self>> {
        // SAFETY: The device is valid and bound to a driver.
        let granule = unsafe { mooring_helper_iova_granule(raw(dev)) } as u64;
        let mut size = 0u64;
        let mut count = 0;

        for (phys, len) in pieces.clone() {
            let aligned = (phys | len).checked_rem(granule) == Some(0);
            if !aligned || len == 0 || direction == DataDirection::None {
                return Err(EOPNOTSUPP);
            }
            size = size.checked_add(len).ok_or(EOPNOTSUPP)?;
            count += 1;
        }
        let range = BusRange::new(dev, usize::try_from(size)?)?;
        let mut mappings = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
        let mut offset = 0;

        for (phys, len) in pieces {
            let len = usize::try_from(len)?;
            // What was linked so far is unlinked by `drop()` if this fails.
            // SAFETY: By the type invariant of `BusRange`; the pieces fit, since their sizes were added up, and
            // nothing is linked there yet. Nothing is accessed here; whoever gives the address to the device has
            // to see to it that the device may have the memory.
            to_result(unsafe {
                mooring_helper_iova_link(
                    raw(dev),
                    range.state.get(),
                    phys,
                    offset,
                    len,
                    direction.into(),
                    ATTRS,
                )
            })?;
            // INVARIANT: Just linked.
            let mapping = Self {
                range: range.clone(),
                offset,
                len,
                direction,
            };
            mappings.push(mapping, GFP_KERNEL_ACCOUNT)?;
            offset += len;
        }
        // SAFETY: By the type invariant of `BusRange`; all of it is linked.
        to_result(unsafe { mooring_helper_iova_sync(raw(dev), range.state.get(), offset) })?;
        Ok(mappings)
    }

    /// Returns the address for the device to use.
    pub(crate) fn bus(&self) -> DmaAddress {
        // By the type invariant the range has this address.
        self.range.bus + self.offset as u64
    }
}

impl Drop for Linked {
    /// The device can't reach the memory any more when it returns.
    fn drop(&mut self) {
        // SAFETY: By the type invariant, and that of `BusRange`.
        unsafe {
            mooring_helper_iova_unlink(
                raw(&self.range.dev),
                self.range.state.get(),
                self.offset,
                self.len,
                self.direction.into(),
                ATTRS,
            )
        };
    }
}
