// SPDX-License-Identifier: GPL-2.0-only

//! One range of memory that an address space maps: what it costs the host.

use super::extent::{
    Extent,
    Permission, //
};
use crate::{
    dma::{
        Mapping,
        PageRefs, //
    },
    info::Info,
    vdpa::{
        self,
        IovaRange,
        Map, //
    },
};
use kernel::{
    device::{
        self,
        Bound, //
    },
    prelude::*,
    sync::Arc, //
};

/// A range that the device may reach. Dropping it gives the memory back, so the card must not translate
/// to it any more by then.
///
/// # Invariants
///
/// `extent` is valid by itself, see [`Extent::is_valid()`], and its bus addresses are `mapping`'s.
pub(super) struct Range {
    extent: Extent,
    /// Physical address of the first byte.
    phys: u64,
    /// Dropped before `pages`: the platform IOMMU lets go of the memory before it may be freed.
    _mapping: Mapping,
    _pages: PageRefs,
}

impl Range {
    /// Takes references to the pages of `map` and maps them for DMA.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the card can't have such a range, `ENOMEM` if there is no memory, else what the DMA API
    /// fails with.
    pub(super) fn map(dev: &device::Device<Bound>, map: &Map, info: &Info) -> Result<Arc<Self>> {
        let length = map.range().size().ok_or(EINVAL)?;
        let permission = map.permission()?;
        let probe = Extent {
            iova: map.start(),
            bus: map.addr(),
            length,
            permission: convert(permission),
        };
        // Checked before anything is mapped; the bus address is not known yet, but its alignment is
        // the physical address's.
        if !probe.is_valid(info.iova_bits, 64) {
            return Err(EINVAL);
        }

        let pages = PageRefs::get(map.addr(), length)?;
        let mapping = Mapping::new(dev, map.addr(), length, permission.direction())?;
        let extent = Extent {
            bus: mapping.bus(),
            ..probe
        };
        if !extent.is_valid(info.iova_bits, info.bus_bits) {
            return Err(EIO);
        }

        // INVARIANT: Just checked.
        Ok(Arc::new(
            Self {
                extent,
                phys: map.addr(),
                _mapping: mapping,
                _pages: pages,
            },
            GFP_KERNEL,
        )?)
    }

    /// First I/O virtual address.
    pub(super) fn iova(&self) -> u64 {
        self.extent.iova
    }

    /// What the card has to translate.
    pub(super) fn extent(&self) -> Extent {
        self.extent
    }

    /// Last I/O virtual address.
    fn last(&self) -> u64 {
        // By the type invariant this does not wrap.
        self.extent.iova + (self.extent.length - 1)
    }

    /// Whether it has an address in `other`.
    pub(super) fn overlaps(&self, other: IovaRange) -> bool {
        self.iova() <= other.last() && other.first() <= self.last()
    }

    /// Whether it has no address that isn't in `other`.
    pub(super) fn is_within(&self, other: IovaRange) -> bool {
        other.first() <= self.iova() && self.last() <= other.last()
    }

    /// Whether this is what `map` asks for.
    pub(super) fn is(&self, map: &Map) -> bool {
        self.extent.iova == map.start()
            && Some(self.extent.length) == map.range().size()
            && self.phys == map.addr()
            && map
                .permission()
                .is_ok_and(|permission| convert(permission) == self.extent.permission)
    }
}

fn convert(permission: vdpa::Permission) -> Permission {
    match permission {
        vdpa::Permission::ReadOnly => Permission::Read,
        vdpa::Permission::WriteOnly => Permission::Write,
        vdpa::Permission::ReadWrite => Permission::ReadWrite,
    }
}
