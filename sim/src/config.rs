// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How much card there is, and what a bad card may show.

use std::fmt;
use std::time::Duration;

use mooring_hw_regs::wire::{INTERFACE_MAJOR, INTERFACE_MINOR, MAGIC};

/// What a card has of an IOMMU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum IommuKind {
    /// One whose address spaces can be 1:1.
    #[default]
    Identity,
    /// One whose address spaces translate what was mapped explicitly, and nothing else.
    Explicit,
    /// None: all accesses go out as they are, and the platform's IOMMU is the only one.
    None,
}

/// Sizes and abilities of a card. The driver finds them in the `info` registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardConfig {
    /// Virtqueues, all devices together; also the number of doorbell pages.
    pub queues: u16,
    /// Device objects.
    pub devices: u16,
    /// Address spaces, all devices together. Without an IOMMU this, `extents` and `iova_bits` have no effect.
    pub address_spaces: u16,
    /// Extents that the card's memory holds, all address spaces together.
    pub extents: u32,
    /// Most entries of a virtqueue, a power of two.
    pub max_queue_size: u16,
    /// Fewest entries of a virtqueue, a power of two.
    pub min_queue_size: u16,
    /// Whether virtqueues can be packed rings.
    pub packed_ring: bool,
    /// Bits of an I/O virtual address.
    pub iova_bits: u8,
    /// Bits of a bus address.
    pub bus_bits: u8,
    /// MSI-X vectors.
    pub vectors: u16,
    /// Extents in one update command.
    pub max_batch: u16,
    /// What the card has of an IOMMU.
    pub iommu: IommuKind,
    /// MAC address of the card's first device; those of the others count up from it.
    pub mac_base: [u8; 6],
    /// Speed in Mbit/s that the devices' links claim to have.
    pub link_speed: u32,
    /// How long a queue that is to stop waits for its disk. Drivers give a card ten seconds for a command.
    pub disk_patience: Duration,
    /// What `info.MAGIC` reads as; another value than the default shows what a driver makes of it.
    pub magic: u32,
    /// What `info.INTERFACE_VERSION` reads as, major and minor; likewise.
    pub interface_version: (u16, u16),
    /// Commands after which the control processor takes no more until the card's reset, to show what a driver makes
    /// of that.
    pub hang_after: Option<u64>,
    /// Commands after which the card is gone, as if it had been pulled out: reads are all ones, and nothing else
    /// happens any more. Only [`Card::reset`](crate::Card::reset) plugs it in again, and no register reaches that.
    pub gone_after: Option<u64>,
    /// Which extent of those that are added after a reset, counted from 1, the IOMMU loses and says that it holds it, to
    /// show what comes of a card whose map isn't what the driver believes.
    pub forget_extent: Option<u64>,
    /// Whether the control processor fails at its boot.
    pub boot_fails: bool,
    /// What `info.NUM_QUEUES` reads as, if it is not the truth.
    pub false_queues: Option<u16>,
}

impl Default for CardConfig {
    fn default() -> Self {
        // 128 devices of a queue pair, each with three address spaces.
        let (queues, devices) = (256, 128);
        Self {
            queues,
            devices,
            address_spaces: 3 * devices,
            extents: 65536,
            max_queue_size: 1024,
            min_queue_size: 2,
            packed_ring: true,
            iova_bits: 64,
            bus_bits: 64,
            vectors: Self::default_vectors(queues),
            max_batch: 128,
            iommu: IommuKind::Identity,
            // Locally administered, unicast.
            mac_base: [0x02, b'm', b'o', b'o', 0, 1],
            link_speed: 100_000,
            disk_patience: Duration::from_secs(6),
            magic: MAGIC,
            interface_version: (INTERFACE_MAJOR, INTERFACE_MINOR),
            hang_after: None,
            gone_after: None,
            forget_extent: None,
            boot_fails: false,
            false_queues: None,
        }
    }
}

impl CardConfig {
    /// Vectors of a card with so many queues unless it is said otherwise: one a queue and one for events, but no more than
    /// leave room for other cards in a guest with one processor, which has about 200.
    pub fn default_vectors(queues: u16) -> u16 {
        queues.saturating_add(1).min(65)
    }

    /// Address spaces that the card has: none without an IOMMU.
    pub fn address_spaces(&self) -> u16 {
        match self.iommu {
            IommuKind::None => 0,
            _ => self.address_spaces,
        }
    }

    /// Extents that the card has memory for: none without an IOMMU.
    pub fn extents(&self) -> u32 {
        match self.iommu {
            IommuKind::None => 0,
            _ => self.extents,
        }
    }

    /// Bits of an I/O virtual address, which is a bus address without an IOMMU.
    pub fn iova_bits(&self) -> u8 {
        match self.iommu {
            IommuKind::None => self.bus_bits,
            _ => self.iova_bits,
        }
    }

    /// Checks that the register description allows a card of these sizes.
    ///
    /// # Errors
    ///
    /// The first field that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |good: bool, field: &'static str, range: &'static str| {
            if good {
                Ok(())
            } else {
                Err(ConfigError { field, range })
            }
        };
        check((1..=4096).contains(&self.queues), "queues", "1 to 4096")?;
        check((1..=1024).contains(&self.devices), "devices", "1 to 1024")?;
        check(
            (1..=4096).contains(&self.address_spaces),
            "address_spaces",
            "1 to 4096",
        )?;
        check(
            self.max_queue_size.is_power_of_two() && self.max_queue_size <= 32768,
            "max_queue_size",
            "a power of two up to 32768",
        )?;
        check(
            self.min_queue_size.is_power_of_two() && self.min_queue_size <= self.max_queue_size,
            "min_queue_size",
            "a power of two up to max_queue_size",
        )?;
        check((32..=64).contains(&self.iova_bits), "iova_bits", "32 to 64")?;
        check((32..=64).contains(&self.bus_bits), "bus_bits", "32 to 64")?;
        check((1..=2048).contains(&self.vectors), "vectors", "1 to 2048")?;
        check(self.max_batch >= 1, "max_batch", "1 to 65535")?;
        check(
            self.mac_base != [0; 6] && self.mac_base[0] & 1 == 0,
            "mac_base",
            "a unicast MAC address",
        )
    }
}

/// A field of [`CardConfig`] that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field's name.
    pub field: &'static str,
    /// The values that it may have.
    pub range: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must be {}", self.field, self.range)
    }
}

impl std::error::Error for ConfigError {}
