// SPDX-License-Identifier: GPL-2.0-only

//! What the card says of a device, for operators and tests: `mooring_vdpa/NAME/` in debugfs.
//!
//! - `address_spaces`: a line for each address space, read from the card at that moment. `digest` is the
//!   card's, `expected_digest` what the driver believes to have programmed, and so on. `groups` lists the groups that
//!   use it: 0 for the data queues' buffers, 1 for their rings, 2 for the control queue. Empty if the card has no IOMMU.
//! - `address_space0` and so on: all extents of one address space, see [`dump`]. Absent if the card has no IOMMU.
//! - `statistics`: a line for each counter of the card, and `iommu_faults` for the accesses that its IOMMU has refused.
//! - `faults`: `count` of the accesses that the card's IOMMU has refused in the device's address spaces, `told` for the events
//!   about them, `card_lost_events` for events of any kind and of any device that the card had no room for, and the last fault
//!   of which there was an event.
//!
//! - `link`: `up` or `down`, as the owner of a network device sees it. Writing `down` takes the link down, `up` lets it come
//!   up if the card's uplink has a carrier; the owner learns of both. Writing `announce` has the owner asked to tell the network
//!   where it is.
//!
//! Reading any of them is no IOMMU command, and changes nothing.

pub(crate) mod dump;
pub(crate) mod io;

use crate::{
    cmdq::{
        commands,
        CommandError, //
    },
    mgmt::Type,
    virtio_device::VirtioDevice,
    wire::AddressSpaceMode, //
};
use io::{
    Contents,
    Dir,
    Setting, //
};
use kernel::{
    fmt,
    prelude::*,
    str::CString,
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
    pub(crate) fn new(name: &CStr, device: &Arc<VirtioDevice>) -> Result<Self> {
        let mut files = KVec::new();
        let texts: [(&str, Show); 3] = [
            ("address_spaces", show_address_spaces),
            ("statistics", show_statistics),
            ("faults", show_faults),
        ];

        for (name, show) in texts {
            let text = Text {
                device: device.clone(),
                show,
            };
            let contents = Contents::Whole(KBox::new(text, GFP_KERNEL)?);
            files.push(
                (CString::try_from_fmt(fmt!("{name}"))?, contents),
                GFP_KERNEL,
            )?;
        }
        if device.device_type() == Type::Net {
            let link = KBox::new(Link(device.clone()), GFP_KERNEL)?;
            files.push(
                (
                    CString::try_from_fmt(fmt!("link"))?,
                    Contents::Setting(link),
                ),
                GFP_KERNEL,
            )?;
        }
        // Only those of the card: the platform's domain can't be asked what it holds.
        for asid in (0..device.num_spaces()).filter(|asid| device.space(*asid).is_ok()) {
            let list = dump::Dump::new(device.clone(), asid);
            let contents = Contents::Lines(KBox::new(list, GFP_KERNEL)?);
            let name = CString::try_from_fmt(fmt!("address_space{asid}"))?;
            files.push((name, contents), GFP_KERNEL)?;
        }
        Ok(Self {
            _dir: Dir::new(name, files),
        })
    }
}

/// The link of a device.
struct Link(Arc<VirtioDevice>);

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.is_link_up() {
            true => "up\n",
            false => "down\n",
        })
    }
}

impl Setting for Link {
    fn set(&self, text: &[u8]) -> Result {
        match text.trim_ascii() {
            b"up" => Ok(self.0.set_link(true)?),
            b"down" => Ok(self.0.set_link(false)?),
            b"announce" => self.0.request_announcement(),
            _ => Err(EINVAL),
        }
    }
}

type Show = fn(&VirtioDevice, &mut fmt::Formatter<'_>) -> fmt::Result;

/// What a file says.
struct Text {
    device: Arc<VirtioDevice>,
    show: Show,
}

impl fmt::Display for Text {
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

/// An address space's mode in a word; [`None`] if the card answered a number that isn't one.
fn mode_text(mode: Option<AddressSpaceMode>) -> &'static str {
    match mode {
        Some(AddressSpaceMode::Blocked) => "blocked",
        Some(AddressSpaceMode::Identity) => "identity",
        Some(AddressSpaceMode::Translated) => "translated",
        None => "unknown",
    }
}

/// Writes a line for each address space.
fn show_address_spaces(device: &VirtioDevice, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            mode_text(info.mode()),
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

/// A counter with its name.
type Counter = (&'static str, zerocopy::little_endian::U64);

/// Writes a line for each counter.
fn show_statistics(device: &VirtioDevice, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let statistics = match commands::device_statistics(device.card(), device.number()) {
        Ok(statistics) => statistics,
        Err(error) => return writeln!(f, "error={error:?}"),
    };
    let frames: &[Counter] = &[
        ("rx_frames", statistics.rx_frames),
        ("rx_bytes", statistics.rx_bytes),
        ("rx_dropped", statistics.rx_dropped),
        ("tx_frames", statistics.tx_frames),
        ("tx_bytes", statistics.tx_bytes),
    ];
    let requests: &[Counter] = &[
        ("requests", statistics.requests),
        ("request_bytes", statistics.request_bytes),
    ];
    let of_type = match device.device_type() {
        Type::Net => frames,
        Type::Block => requests,
    };
    let of_all: &[Counter] = &[
        ("doorbells", statistics.doorbells),
        ("interrupts", statistics.interrupts),
        ("dma_reads", statistics.dma_reads),
        ("dma_writes", statistics.dma_writes),
        ("queue_errors", statistics.queue_errors),
    ];

    for (name, value) in [of_type, of_all].into_iter().flatten() {
        writeln!(f, "{}={}", name, value.get())?;
    }
    match count_faults(device) {
        Ok(faults) => writeln!(f, "iommu_faults={faults}"),
        Err(error) => writeln!(f, "error={error:?}"),
    }
}

/// The accesses that the card's IOMMU has refused in the device's address spaces, as the card counts them: it posts an event
/// for each, but the event may be lost.
fn count_faults(device: &VirtioDevice) -> Result<u64, CommandError> {
    let mut count: u64 = 0;

    for asid in 0..device.num_spaces() {
        let Ok(space) = device.space(asid) else {
            continue;
        };
        if let Some(space) = space.lock().as_ref() {
            let info = commands::address_space_query(device.card(), space.number())?;
            count = info.faults.get().saturating_add(count);
        }
    }
    Ok(count)
}

/// Writes how many IOMMU faults there were, and what the last one was.
fn show_faults(device: &VirtioDevice, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match count_faults(device) {
        Ok(count) => writeln!(f, "count={count}")?,
        Err(error) => writeln!(f, "count=unknown error={error:?}")?,
    }
    writeln!(f, "told={}", device.faults().told())?;
    writeln!(f, "card_lost_events={}", device.card().lost_events())?;
    match device.faults().last() {
        Some(fault) => f.write_fmt(fmt!("{fault}\n")),
        None => Ok(()),
    }
}
