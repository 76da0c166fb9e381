// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Identity and limits.

use mooring_hw_regs::regs::{
    InfoAddressBits, InfoCapabilities, InfoCardRevision, InfoInterfaceVersion, InfoMagic,
    InfoMaxBatch, InfoMaxExtents, InfoNumAddressSpaces, InfoNumDevices, InfoNumDisks,
    InfoNumQueues, InfoNumVectors, InfoQueueSize,
};

use crate::registers::RegisterFile;
use crate::{CardConfig, IommuKind};

/// The hardware that is modelled.
const REVISION: u8 = 1;

/// Puts the card's identity and limits into its registers.
pub(crate) fn set_up(config: &CardConfig, registers: &mut RegisterFile) {
    let (major, minor) = config.interface_version;
    let version = InfoInterfaceVersion(0).with_major(major).with_minor(minor);
    let revision = InfoCardRevision(0).with_revision(REVISION).with_model(true);
    let capabilities = InfoCapabilities(0)
        .with_iommu(config.iommu != IommuKind::None)
        .with_identity(config.iommu == IommuKind::Identity)
        .with_split_ring(true)
        .with_packed_ring(config.packed_ring);
    let queue_size = InfoQueueSize(0)
        .with_max(config.max_queue_size)
        .with_min(config.min_queue_size);
    let bits = InfoAddressBits(0)
        .with_iova(config.iova_bits())
        .with_bus(config.bus_bits);
    for (offset, word) in [
        (InfoMagic::OFFSET, config.magic),
        (InfoInterfaceVersion::OFFSET, version.0),
        (InfoCardRevision::OFFSET, revision.0),
        (InfoCapabilities::OFFSET, capabilities.0),
        (
            InfoNumQueues::OFFSET,
            config.false_queues.unwrap_or(config.queues).into(),
        ),
        (InfoNumDevices::OFFSET, config.devices.into()),
        (InfoNumAddressSpaces::OFFSET, config.address_spaces().into()),
        (InfoMaxExtents::OFFSET, config.extents()),
        (InfoQueueSize::OFFSET, queue_size.0),
        (InfoAddressBits::OFFSET, bits.0),
        (InfoNumVectors::OFFSET, config.vectors.into()),
        (InfoMaxBatch::OFFSET, config.max_batch.into()),
    ] {
        registers.set(offset, word);
    }
}

/// Puts the number of disks into its register.
pub(crate) fn set_disks(disks: u16, registers: &mut RegisterFile) {
    registers.set(InfoNumDisks::OFFSET, disks.into());
}
