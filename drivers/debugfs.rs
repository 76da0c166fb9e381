// SPDX-License-Identifier: GPL-2.0-only

//! What the card says of a device, for operators and tests: `mooring_vdpa/NAME/` in debugfs.
//!
//! - `address_spaces`: a line for each address space, read from the card at that moment. `digest` is the
//!   card's, `expected_digest` what the driver believes to have programmed.
//! - `statistics`: a line for each counter of the card.
//!
//! Reading either is no IOMMU command, and changes nothing.

use crate::{
    cmdq::commands,
    net::NetDevice,
    wire::AddressSpaceMode, //
};
use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt,
    prelude::*,
    sync::Arc, //
};

kernel::sync::global_lock! {
    // SAFETY: `Root::new()` initialises it when the module is loaded, before there is a driver that could
    // add a device.
    unsafe(uninit) static ROOT: Mutex<Option<Dir>> = None;
}

/// The driver's directory, from loading the module to unloading it.
pub(crate) struct Root(());

impl Root {
    /// Makes the directory.
    ///
    /// # Safety
    ///
    /// May be called only once, when the module is loaded.
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: By the safety requirements.
        unsafe { ROOT.init() };
        *ROOT.lock() = Some(Dir::new(c"mooring_vdpa"));
        Self(())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        *ROOT.lock() = None;
    }
}

/// A device's files. A reader that is under way has finished when they are dropped.
#[pin_data]
pub(crate) struct Files {
    #[pin]
    address_spaces: File<Arc<NetDevice>>,
    #[pin]
    statistics: File<Arc<NetDevice>>,
    dir: Dir,
}

impl Files {
    /// Makes the files of `device`, whose vDPA name is `name`.
    pub(crate) fn new<'a>(
        name: &'a CStr,
        device: Arc<NetDevice>,
    ) -> impl PinInit<Self, Error> + 'a {
        pin_init::pin_init_scope(move || {
            let dir = match &*ROOT.lock() {
                Some(root) => root.subdir(name),
                None => return Err(ENODEV),
            };
            Ok(try_pin_init!(Self {
                address_spaces <- dir.read_callback_file(
                    c"address_spaces",
                    device.clone(),
                    &show_address_spaces,
                ),
                statistics <- dir.read_callback_file(c"statistics", device, &show_statistics),
                dir,
            }? Error))
        })
    }
}

/// Writes a line for each address space.
fn show_address_spaces(device: &Arc<NetDevice>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            "asid={} card={} mode={} generation={} extents={} bytes={} digest={:#018x} commands={} \
             faults={} card_commands={} expected_digest={:#018x}",
            asid,
            space.number(),
            mode,
            info.generation.get(),
            info.extents.get(),
            info.mapped_bytes.get(),
            info.digest.get(),
            info.commands.get(),
            info.faults.get(),
            info.card_commands.get(),
            space.digest(),
        )?;
    }
    Ok(())
}

/// Writes a line for each counter.
fn show_statistics(device: &Arc<NetDevice>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
