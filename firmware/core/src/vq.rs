// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Queue set-up, and the checks on it.

use mooring_hw_regs::wire::{
    AddressSpaceMode, ErrorCode, QueueEnable, QueueSelect, QueueState, QueueStatistics,
    NO_ADDRESS_SPACE, NO_VECTOR, QUEUE_ALLOW_IDENTITY,
};

use crate::cp::{done, result, Outcome};
use crate::device::Devices;
use crate::hal::{Capabilities, Hal, QueueSetup, RingFormat};
use crate::iommu::{fits, AddressSpaces};
use crate::ring;

/// `Opcode::QueueEnable`.
pub(crate) fn enable<H: Hal, const D: usize, const Q: usize, const S: usize>(
    devices: &mut Devices<D, Q>,
    spaces: &AddressSpaces<S>,
    hal: &mut H,
    device: u16,
    arguments: &QueueEnable,
) -> Outcome {
    let object = devices.get(device)?;
    let index = arguments.queue.get();
    let queue = object.queue(index)?;
    let role = object.role(index);
    let format = ring::format(object.features);
    let capabilities = hal.capabilities();
    check(&capabilities, format, arguments)?;
    let address_space = arguments.address_space.get();
    let ring_address_space = arguments.ring_address_space.get();
    let translated = is_translated(&capabilities, spaces, address_space)?
        & is_translated(&capabilities, spaces, ring_address_space)?;
    if hal.position(queue).running {
        return Err(ErrorCode::Busy);
    }
    let allow_identity = arguments.flags.get() & QUEUE_ALLOW_IDENTITY != 0;
    if !allow_identity && !translated {
        return Err(ErrorCode::NotTranslated);
    }

    let record = devices.queue_mut(queue)?;
    record.address_spaces = [address_space, ring_address_space];
    record.allow_identity = allow_identity;
    hal.start(
        queue,
        &QueueSetup {
            device,
            role,
            size: arguments.size.get(),
            vector: Some(arguments.vector.get()).filter(|vector| *vector != NO_VECTOR),
            address_space,
            ring_address_space,
            format,
            avail_index: arguments.avail_index.get(),
            used_index: arguments.used_index.get(),
            descriptor_area: arguments.descriptor_area.get(),
            driver_area: arguments.driver_area.get(),
            device_area: arguments.device_area.get(),
        },
    );
    done()
}

/// Whether extents decide what a queue in this address space may reach.
fn is_translated<const S: usize>(
    capabilities: &Capabilities,
    spaces: &AddressSpaces<S>,
    address_space: u16,
) -> Result<bool, ErrorCode> {
    if capabilities.has_iommu() {
        return Ok(spaces.mode(address_space)? == AddressSpaceMode::Translated);
    }
    // Whoever names a space believes that something translates.
    match address_space {
        NO_ADDRESS_SPACE => Ok(false),
        _ => Err(ErrorCode::NoSuchAddressSpace),
    }
}

/// Checks all arguments that depend on nothing but the card's limits and the rings' format.
fn check(
    capabilities: &Capabilities,
    format: RingFormat,
    arguments: &QueueEnable,
) -> Result<(), ErrorCode> {
    let size = arguments.size.get();
    let vector = arguments.vector.get();
    let length = u64::from(size);
    // Alignment and length of the driver and the device area.
    let (driver, device) = if format.packed {
        // A structure of event suppression each.
        ((4, 4), (4, 4))
    } else {
        // Flags, index and event index beside the entries.
        ((2, 6 + 2 * length), (4, 6 + 8 * length))
    };
    let positions = !format.packed
        || ring::packed_positions_fit(
            arguments.avail_index.get(),
            arguments.used_index.get(),
            size,
        );
    let good = arguments.flags.get() & !QUEUE_ALLOW_IDENTITY == 0
        && size.is_power_of_two()
        && (capabilities.min_queue_size..=capabilities.max_queue_size).contains(&size)
        && (vector == NO_VECTOR || vector < capabilities.vectors)
        && area(
            arguments.descriptor_area.get(),
            16,
            16 * length,
            capabilities,
        )
        && area(
            arguments.driver_area.get(),
            driver.0,
            driver.1,
            capabilities,
        )
        && area(
            arguments.device_area.get(),
            device.0,
            device.1,
            capabilities,
        )
        && positions;
    if good {
        Ok(())
    } else {
        Err(ErrorCode::InvalidArgument)
    }
}

/// Whether a ring area is aligned and lies within the I/O virtual addresses that the card handles.
fn area(iova: u64, alignment: u64, length: u64, capabilities: &Capabilities) -> bool {
    iova % alignment == 0 && fits(iova, length, capabilities.iova_bits)
}

/// `Opcode::QueueDisable`.
pub(crate) fn disable<H: Hal, const D: usize, const Q: usize>(
    devices: &Devices<D, Q>,
    hal: &mut H,
    device: u16,
    arguments: &QueueSelect,
) -> Outcome {
    let queue = devices.get(device)?.queue(arguments.queue.get())?;
    hal.stop(queue);
    query(devices, hal, device, arguments)
}

/// `Opcode::QueueQuery`.
pub(crate) fn query<H: Hal, const D: usize, const Q: usize>(
    devices: &Devices<D, Q>,
    hal: &H,
    device: u16,
    arguments: &QueueSelect,
) -> Outcome {
    let position = hal.position(devices.get(device)?.queue(arguments.queue.get())?);
    result(&QueueState {
        avail_index: position.avail_index.into(),
        used_index: position.used_index.into(),
        running: u16::from(position.running).into(),
        reserved: 0.into(),
    })
}

/// `Opcode::QueueStatistics`.
pub(crate) fn statistics<H: Hal, const D: usize, const Q: usize>(
    devices: &Devices<D, Q>,
    hal: &H,
    device: u16,
    arguments: &QueueSelect,
) -> Result<QueueStatistics, ErrorCode> {
    let queue = devices.get(device)?.queue(arguments.queue.get())?;
    let counted = hal.statistics(queue);
    // A queue does one of the three.
    Ok(QueueStatistics {
        packets: (counted.rx_frames + counted.tx_frames + counted.requests).into(),
        bytes: (counted.rx_bytes + counted.tx_bytes + counted.request_bytes).into(),
        dropped: counted.rx_dropped.into(),
        doorbells: counted.doorbells.into(),
        interrupts: counted.interrupts.into(),
        dma_reads: counted.dma_reads.into(),
        dma_writes: counted.dma_writes.into(),
        errors: counted.queue_errors.into(),
        faults: counted.faults.into(),
        reserved: 0.into(),
    })
}
