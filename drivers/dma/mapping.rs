// SPDX-License-Identifier: GPL-2.0-only

//! Bus addresses for memory that does not belong to the driver.
//!
//! What a card puts on the bus is translated once more if there is a platform IOMMU, so a physical
//! address is of no use to it: `dma_map_phys()` says what to use instead.

use kernel::{
    bindings,
    device,
    dma::{
        DataDirection,
        DmaAddress, //
    },
    error::to_result,
    prelude::*,
    sync::aref::ARef, //
};

// `struct device` has members of no size in some configurations, which is fine in C and in Rust.
#[allow(improper_ctypes)]
unsafe extern "C" {
    // In helpers.c.
    fn mooring_helper_dma_mapping_error(
        dev: *mut bindings::device,
        addr: bindings::dma_addr_t,
    ) -> c_int;
}

/// The memory stays where it is, and the device sees what the processor sees.
pub(super) const ATTRS: c_ulong = bindings::DMA_ATTR_REQUIRE_COHERENT as c_ulong;

/// A physically contiguous piece of memory, mapped so that a device can access it.
///
/// The mapping is for memory that device and processor use at the same time, hence nothing is copied
/// (no swiotlb) and there is nothing to synchronise. Where that cannot be had, mapping fails.
///
/// This does not keep the memory; it has to be dropped before the [`PageRefs`] of the same memory,
/// and those when the device has stopped to use the bus address.
///
/// As with [`Coherent`], the type does not see to it that it is dropped before the driver is
/// unbound, and drivers have to: the device itself is kept, but an unbound device has no business
/// on the bus.
///
/// # Invariants
///
/// `bus` is what `dma_map_phys()` returned for `dev`, `len`, `direction` and [`ATTRS`], and
/// has not been unmapped.
///
/// [`Coherent`]: kernel::dma::Coherent
/// [`PageRefs`]: super::PageRefs
pub(crate) struct Mapping {
    dev: ARef<device::Device>,
    bus: DmaAddress,
    len: usize,
    direction: DataDirection,
}

impl Mapping {
    /// Maps the `len` bytes from `phys` for `dev`.
    ///
    /// With a platform IOMMU the bus addresses are contiguous as well, whatever the size; start and
    /// size should be multiples of the page size, because it does not protect smaller pieces.
    ///
    /// # Context
    ///
    /// May be called from any context. Takes time in proportion to the number of page table entries
    /// if there is a platform IOMMU, otherwise constant time.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the range is empty or wraps, or is not to be transferred
    ///   ([`DataDirection::None`]).
    /// - `ENOMEM` if the device cannot address the memory, the memory would have to be copied, or
    ///   addresses or page tables of the platform IOMMU have run out. The kernel does not tell
    ///   which.
    pub(crate) fn new(
        dev: &device::Device<device::Bound>,
        phys: u64,
        len: u64,
        direction: DataDirection,
    ) -> Result<Self> {
        let size = usize::try_from(len)?;
        let end = len.checked_sub(1).and_then(|len| phys.checked_add(len));
        if end.is_none() || direction == DataDirection::None {
            return Err(EINVAL);
        }

        // `device::Device` is a transparent wrapper of `struct device`.
        let raw = core::ptr::from_ref(dev)
            .cast_mut()
            .cast::<bindings::device>();

        // SAFETY: `raw` is valid and bound to a driver; the direction is one of the three valid
        // ones. Nothing is accessed here; whoever gives the address to the device has to see to it
        // that the device may have the memory.
        let bus = unsafe { bindings::dma_map_phys(raw, phys, size, direction.into(), ATTRS) };
        // SAFETY: `raw` is valid.
        to_result(unsafe { mooring_helper_dma_mapping_error(raw, bus) })?;

        // INVARIANT: `bus` is valid, as was checked.
        Ok(Self {
            dev: dev.into(),
            bus,
            len: size,
            direction,
        })
    }

    /// Returns the address for the device to use.
    #[inline]
    pub(crate) fn bus(&self) -> DmaAddress {
        self.bus
    }
}

impl Drop for Mapping {
    /// May be called from any context.
    fn drop(&mut self) {
        let raw = core::ptr::from_ref(&*self.dev)
            .cast_mut()
            .cast::<bindings::device>();

        // SAFETY: By the type invariant, the mapping exists and was made with these arguments; the
        // device is kept by `dev`.
        unsafe { bindings::dma_unmap_phys(raw, self.bus, self.len, self.direction.into(), ATTRS) };
    }
}

// SAFETY: A mapping may be undone from any thread.
unsafe impl Send for Mapping {}

// SAFETY: A shared reference to a mapping only allows to read what does not change.
unsafe impl Sync for Mapping {}
