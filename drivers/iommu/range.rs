// SPDX-License-Identifier: GPL-2.0-only

//! One range of memory that an address space maps: what it costs the host.
//!
//! How many ranges there are is up to a process, so all memory for them is accounted to whoever has it allocated.

use super::{
    shadow::{
        Extent,
        Permission, //
    },
    sorted::Keyed,
    space::Ranged, //
};
use crate::{
    dma::{
        Linked,
        Mapping,
        PageRefs, //
    },
    info::Info,
    vdpa::{
        self,
        Map, //
    },
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    device::{
        self,
        Bound, //
    },
    dma::DataDirection,
    prelude::*,
    sync::Arc, //
};

/// How a range's memory has got its bus addresses.
enum Mapped {
    /// By itself.
    Alone(Mapping),
    /// In a row with its neighbours.
    Linked(Linked),
}

impl Mapped {
    fn bus(&self) -> u64 {
        match self {
            Self::Alone(mapping) => mapping.bus(),
            Self::Linked(mapping) => mapping.bus(),
        }
    }
}

/// A range that the device may reach. Dropping it gives the memory back, so the card must not translate
/// to it any more by then.
///
/// # Invariants
///
/// `extent` is valid by itself, see [`Extent::is_valid()`], and its bus addresses are those of the mapping.
pub(super) struct Range {
    extent: Extent,
    /// Physical address of the first byte.
    phys: u64,
    /// Dropped before the pages: the platform IOMMU lets go of the memory before it may be freed.
    _mapped: Mapped,
    _pages: PageRefs,
}

/// A range of which nothing but the bus address is known, and its pages.
struct Unmapped {
    /// With the physical address in place of the bus address.
    extent: Extent,
    pages: PageRefs,
}

impl Unmapped {
    /// Checks `map`, and takes references to its pages.
    fn new(map: &Map, info: &Info) -> Result<Self> {
        let extent = Extent {
            iova: map.start(),
            bus: map.addr(),
            length: map.range().size().ok_or(EINVAL)?,
            permission: convert(map.permission()?),
        };
        // Checked before anything is mapped; the bus address is not known yet, but its alignment is
        // the physical address's.
        if !extent.is_valid(info.iova_bits, 64) {
            return Err(EINVAL);
        }

        Ok(Self {
            extent,
            pages: PageRefs::get(map.addr(), extent.length)?,
        })
    }
}

impl Range {
    /// Takes references to the pages of `map` and maps them for DMA.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the card can't have such a range, `ENOMEM` if there is no memory, else what the DMA API
    /// fails with.
    pub(super) fn map(dev: &device::Device<Bound>, map: &Map, info: &Info) -> Result<Arc<Self>> {
        Self::map_alone(dev, Unmapped::new(map, info)?, info)
    }

    /// Does the same for several, which follow each other in I/O virtual addresses and have the same permission.
    /// Behind a platform IOMMU they get bus addresses in a row, if it has them: then they are one extent on the
    /// card, however their memory is scattered.
    ///
    /// # Errors
    ///
    /// As for [`Self::map()`]; none of them is mapped then.
    pub(super) fn map_run(
        dev: &device::Device<Bound>,
        maps: &[Map],
        info: &Info,
    ) -> Result<KVVec<Arc<Self>>> {
        let mut run = KVVec::with_capacity(maps.len(), GFP_KERNEL_ACCOUNT)?;
        let mut ranges = KVVec::with_capacity(maps.len(), GFP_KERNEL_ACCOUNT)?;
        for map in maps {
            run.push(Unmapped::new(map, info)?, GFP_KERNEL_ACCOUNT)?;
        }

        let pieces = run
            .iter()
            .map(|range: &Unmapped| (range.extent.bus, range.extent.length));
        let linked = match maps {
            [first, _, ..] => Linked::map(dev, pieces, first.permission()?.direction()),
            _ => Err(EOPNOTSUPP),
        };
        match linked {
            Ok(linked) => {
                // After an error the mappings that are left go first, and then the pages.
                let mut run = run.into_iter();
                for mapping in linked {
                    let range = run.next().ok_or(EINVAL)?;
                    let range = Self::new(range, Mapped::Linked(mapping), info)?;
                    ranges.push(range, GFP_KERNEL_ACCOUNT)?;
                }
            }
            // Then each gets what there is.
            Err(_) => {
                for range in run {
                    ranges.push(Self::map_alone(dev, range, info)?, GFP_KERNEL_ACCOUNT)?;
                }
            }
        }
        Ok(ranges)
    }

    fn map_alone(dev: &device::Device<Bound>, range: Unmapped, info: &Info) -> Result<Arc<Self>> {
        let Extent {
            bus: phys,
            length,
            permission,
            ..
        } = range.extent;
        let mapping = Mapping::new(dev, phys, length, direction(permission))?;

        Self::new(range, Mapped::Alone(mapping), info)
    }

    fn new(range: Unmapped, mapped: Mapped, info: &Info) -> Result<Arc<Self>> {
        let extent = Extent {
            bus: mapped.bus(),
            ..range.extent
        };
        // INVARIANT: Checked below, before anybody sees it.
        let range = Self {
            extent,
            phys: range.extent.bus,
            _mapped: mapped,
            _pages: range.pages,
        };

        if !extent.is_valid(info.iova_bits, info.bus_bits) {
            return Err(EIO);
        }
        Ok(Arc::new(range, GFP_KERNEL_ACCOUNT)?)
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

impl Keyed for Arc<Range> {
    fn key(&self) -> u64 {
        self.extent.iova
    }
}

impl Ranged for Arc<Range> {
    fn extent(&self) -> Extent {
        self.extent
    }
}

impl Keyed for Map {
    fn key(&self) -> u64 {
        self.start()
    }
}

fn direction(permission: Permission) -> DataDirection {
    match permission {
        Permission::Read => DataDirection::ToDevice,
        Permission::Write => DataDirection::FromDevice,
        Permission::ReadWrite => DataDirection::Bidirectional,
    }
}

fn convert(permission: vdpa::Permission) -> Permission {
    match permission {
        vdpa::Permission::ReadOnly => Permission::Read,
        vdpa::Permission::WriteOnly => Permission::Write,
        vdpa::Permission::ReadWrite => Permission::ReadWrite,
    }
}
