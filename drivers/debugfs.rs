// SPDX-License-Identifier: GPL-2.0-only

//! What the card says of a device, for operators and tests: `mooring_vdpa/NAME/` in debugfs.
//!
//! - `address_spaces`: a line for each address space, read from the card at that moment. `digest` is the
//!   card's, `expected_digest` what the driver believes to have programmed, and so on. `groups` lists the groups that
//!   use it: 0 for the data queues' buffers, 1 for the control queue, 2 for the data queues' rings.
//! - `statistics`: a line for each counter of the card.
//!
//! Reading either is no IOMMU command, and changes nothing.

mod io;

use crate::{
    cmdq::commands,
    net::NetDevice,
    wire::AddressSpaceMode, //
};
use io::Dir;
use kernel::{
    fmt,
    prelude::*,
    sync::Arc, //
};

/// A device's files. A reader that is under way has finished when they are dropped.
pub(crate) struct Files {
    _dir: Dir,
}

impl Files {
    /// Makes the files of `device`, whose vDPA name is `name`.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory for them.
    pub(crate) fn new(name: &CStr, device: &Arc<NetDevice>) -> Result<Self> {
        let file = |show| {
            KBox::new(
                Contents {
                    device: device.clone(),
                    show,
                },
                GFP_KERNEL,
            )
        };

        Ok(Self {
            _dir: Dir::new(
                name,
                [
                    (c"address_spaces", file(show_address_spaces)?),
                    (c"statistics", file(show_statistics)?),
                ],
            )?,
        })
    }
}

/// What a file says.
struct Contents {
    device: Arc<NetDevice>,
    show: fn(&NetDevice, &mut fmt::Formatter<'_>) -> fmt::Result,
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.show)(&self.device, f)
    }
}

/// The groups that use an address space, separated by commas, or `-`.
struct Groups<'a> {
    asid: u32,
    group_asid: &'a [u32],
}

impl core::fmt::Display for Groups<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";

        for (group, _) in (0..)
            .zip(self.group_asid)
            .filter(|(_, asid)| **asid == self.asid)
        {
            write!(f, "{separator}{group}")?;
            separator = ",";
        }
        match separator {
            "" => f.write_str("-"),
            _ => Ok(()),
        }
    }
}

/// Writes a line for each address space.
fn show_address_spaces(device: &NetDevice, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let group_asid = device.group_asid();
    let num_groups = device.num_groups() as usize;

    for asid in 0..device.num_spaces() {
        let Ok(space) = device.space(asid) else {
            continue;
        };
        let space = space.lock();
        let Some(space) = space.as_ref() else {
            continue;
        };
        let info = match commands::address_space_query(device.card(), space.number()) {
            Ok(info) => info,
            Err(error) => {
                writeln!(f, "asid={} card={} error={:?}", asid, space.number(), error)?;
                continue;
            }
        };
        let mode = match info.mode() {
            Some(AddressSpaceMode::Blocked) => "blocked",
            Some(AddressSpaceMode::Identity) => "identity",
            Some(AddressSpaceMode::Translated) => "translated",
            None => "unknown",
        };
        writeln!(
            f,
            "asid={} card={} groups={} mode={} generation={} extents={} bytes={} digest={:#018x} commands={} \
             faults={} card_commands={} expected_generation={} expected_extents={} \
             expected_digest={:#018x}",
            asid,
            space.number(),
            Groups {
                asid,
                group_asid: group_asid.get(..num_groups).unwrap_or_default(),
            },
            mode,
            info.generation.get(),
            info.extents.get(),
            info.mapped_bytes.get(),
            info.digest.get(),
            info.commands.get(),
            info.faults.get(),
            info.card_commands.get(),
            space.generation(),
            space.extents().len(),
            space.digest(),
        )?;
    }
    Ok(())
}

/// Writes a line for each counter.
fn show_statistics(device: &NetDevice, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let statistics = match commands::device_statistics(device.card(), device.number()) {
        Ok(statistics) => statistics,
        Err(error) => return writeln!(f, "error={error:?}"),
    };
    let counters = [
        ("rx_frames", statistics.rx_frames),
        ("rx_bytes", statistics.rx_bytes),
        ("rx_dropped", statistics.rx_dropped),
        ("tx_frames", statistics.tx_frames),
        ("tx_bytes", statistics.tx_bytes),
        ("doorbells", statistics.doorbells),
        ("interrupts", statistics.interrupts),
        ("dma_reads", statistics.dma_reads),
        ("dma_writes", statistics.dma_writes),
        ("queue_errors", statistics.queue_errors),
    ];

    for (name, value) in counters {
        writeln!(f, "{}={}", name, value.get())?;
    }
    Ok(())
}
