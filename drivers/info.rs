// SPDX-License-Identifier: GPL-2.0-only

//! What the card is and how much it has: the `info` registers, read once and checked.
//!
//! Nothing that a card reports is believed without a bound. A card whose numbers make no sense is
//! refused with one line that names the register, what it read and what was expected.

mod addressing;

use crate::{
    pci::Registers,
    regs,
    wire, //
};
use addressing::addressing;
pub(crate) use addressing::last_address;
use kernel::{
    device,
    io::Io,
    prelude::*, //
};

/// Who translates the addresses that a device uses, and how: what a vDPA parent may honestly promise about its
/// map depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Translation {
    /// The card, whose address spaces can be 1:1, which is their default.
    OnChipIdentity,
    /// The card, whose address spaces can't be 1:1; their default is to translate nothing.
    OnChip,
    /// The platform IOMMU, for all DMA of the function.
    Platform,
}

/// The limits that the driver works with.
///
/// # Invariants
///
/// Every number lies within the range that its register's description gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Info {
    /// Who translates.
    pub(crate) translation: Translation,
    /// Virtqueues of the card, all devices together.
    pub(crate) num_queues: u16,
    /// Address spaces of the card, all devices together; 0 exactly if the platform translates.
    pub(crate) num_address_spaces: u16,
    /// Most entries of a virtqueue; a power of two.
    pub(crate) max_queue_size: u16,
    /// Fewest entries of a virtqueue; a power of two.
    pub(crate) min_queue_size: u16,
    /// Bits of an I/O virtual address.
    pub(crate) iova_bits: u8,
    /// Bits of the bus addresses that the card is given.
    pub(crate) bus_bits: u8,
    /// MSI-X vectors of the function.
    pub(crate) num_vectors: u16,
    /// Extents in one update command that the driver makes use of.
    pub(crate) batch: u16,
    /// Disks of the card, each for one block device.
    pub(crate) num_disks: u16,
}

/// The most extents in one update command that the driver makes use of: a page of payload. More would
/// save little, because a command's cost is small against that of its extents.
const MAX_BATCH: u16 = (kernel::page::PAGE_SIZE / size_of::<wire::Extent>()) as u16;

/// Checks that a register's number lies in its range.
fn check(dev: &device::Device, what: &str, value: u64, min: u64, max: u64) -> Result {
    if value < min || value > max {
        dev_err!(
            dev,
            "card reports {} {}, expected {} to {}; not a card that this driver can run\n",
            what,
            value,
            min,
            max
        );
        return Err(ENODEV);
    }
    Ok(())
}

impl Info {
    /// The same for a platform that may give out bus addresses up to `required`. See [`addressing`].
    pub(crate) fn on_platform(self, required: u64) -> Self {
        if self.translation != Translation::OnChipIdentity {
            return self;
        }
        let used = addressing(self.iova_bits, self.bus_bits, required);

        // INVARIANT: One of two numbers that were checked.
        Self {
            translation: match used.identity {
                true => Translation::OnChipIdentity,
                false => Translation::OnChip,
            },
            bus_bits: used.bus_bits,
            ..self
        }
    }

    /// The highest address that a process may use: an I/O virtual one, or, where the card passes on what it gets, one that
    /// it can put on the bus.
    pub(crate) fn last_iova(&self) -> u64 {
        last_address(match self.translation {
            Translation::OnChipIdentity | Translation::OnChip => self.iova_bits,
            Translation::Platform => self.bus_bits,
        })
    }

    /// Reads and checks the registers.
    ///
    /// # Errors
    ///
    /// `ENODEV`, with a line in the log, if this isn't a card that the driver can run.
    pub(crate) fn read(dev: &device::Device, registers: &Registers) -> Result<Self> {
        let magic = registers.with(|io| io.read(regs::INFO_MAGIC).into_raw())?;
        if magic != wire::MAGIC {
            dev_err!(
                dev,
                "BAR 0 reads {:#010x} where a card has {:#010x}; {}\n",
                magic,
                wire::MAGIC,
                match magic {
                    u32::MAX => "the card does not answer",
                    _ => "this is no Mooring card",
                }
            );
            return Err(ENODEV);
        }

        let version = registers.with(|io| io.read(regs::INFO_INTERFACE_VERSION))?;
        let (major, minor) = (version.major(), version.minor());
        if major != wire::INTERFACE_MAJOR {
            dev_err!(
                dev,
                "card has interface version {}.{}, this driver speaks {}.x; update the older of the two\n",
                major,
                minor,
                wire::INTERFACE_MAJOR
            );
            return Err(ENODEV);
        }

        let capabilities = registers.with(|io| io.read(regs::INFO_CAPABILITIES))?;
        let translation = match (capabilities.iommu(), capabilities.identity()) {
            (true, true) => Translation::OnChipIdentity,
            (true, false) => Translation::OnChip,
            (false, _) => Translation::Platform,
        };
        let missing = (!capabilities.split_ring()).then_some("split virtqueues");
        if let Some(missing) = missing {
            dev_err!(
                dev,
                "card has capabilities {:#x}, without {}; this driver version needs it\n",
                capabilities.into_raw(),
                missing
            );
            return Err(ENODEV);
        }

        Self::read_limits(dev, registers, translation)
    }

    fn read_limits(
        dev: &device::Device,
        registers: &Registers,
        translation: Translation,
    ) -> Result<Self> {
        let size = registers.with(|io| io.read(regs::INFO_QUEUE_SIZE))?;
        let bits = registers.with(|io| io.read(regs::INFO_ADDRESS_BITS))?;
        let max_batch = registers.with(|io| io.read(regs::INFO_MAX_BATCH).value())?;

        // INVARIANT: What follows checks every number.
        let info = Self {
            translation,
            num_queues: registers.with(|io| io.read(regs::INFO_NUM_QUEUES).value())?,
            num_address_spaces: registers
                .with(|io| io.read(regs::INFO_NUM_ADDRESS_SPACES).value())?,
            max_queue_size: size.max(),
            min_queue_size: size.min(),
            iova_bits: bits.iova(),
            bus_bits: bits.bus(),
            num_vectors: registers.with(|io| io.read(regs::INFO_NUM_VECTORS).value())?,
            batch: max_batch.min(MAX_BATCH),
            num_disks: registers.with(|io| io.read(regs::INFO_NUM_DISKS).value())?,
        };
        let address_spaces = match translation {
            Translation::Platform => (0, 0),
            Translation::OnChipIdentity | Translation::OnChip => (1, 4096),
        };
        let checks: [(&str, u64, u64, u64); 9] = [
            ("number of queues", info.num_queues.into(), 1, 4096),
            (
                "number of address spaces",
                info.num_address_spaces.into(),
                address_spaces.0,
                address_spaces.1,
            ),
            ("maximum queue size", info.max_queue_size.into(), 2, 32768),
            (
                "minimum queue size",
                info.min_queue_size.into(),
                1,
                info.max_queue_size.into(),
            ),
            ("IOVA bits", info.iova_bits.into(), 32, 64),
            ("bus address bits", info.bus_bits.into(), 32, 64),
            ("number of vectors", info.num_vectors.into(), 1, 2048),
            ("maximum batch", max_batch.into(), 1, u16::MAX.into()),
            ("number of disks", info.num_disks.into(), 0, 1024),
        ];
        for (what, value, min, max) in checks {
            check(dev, what, value, min, max)?;
        }
        if !info.max_queue_size.is_power_of_two() || !info.min_queue_size.is_power_of_two() {
            dev_err!(
                dev,
                "card reports queue sizes {} to {}, expected powers of two\n",
                info.min_queue_size,
                info.max_queue_size
            );
            return Err(ENODEV);
        }
        Ok(info)
    }
}
