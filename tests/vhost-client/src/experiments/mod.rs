// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The experiments, one a file: each has its options and a `run` that fills in a report.

pub mod announce;
pub mod bad_blocks;
pub mod batch_failure;
pub mod block;
pub mod doorbell_page;
pub mod fault;
pub mod groups;
pub mod hold;
pub mod info;
pub mod junk;
pub mod loopback;
pub mod map_limit;
pub mod migrate;
pub mod ranges;
pub mod remap_live;
pub mod reset_is_quiet;
pub mod reset_keeps_map;
pub mod scale;
pub mod start_unmapped;
pub mod suspend;
pub mod vq_state;

use crate::card::Card;
use crate::device::Device;
use crate::memory::{Memory, Span};
use crate::nic::{Nic, Setup, AREA_SIZE};
use crate::output::Report;
use crate::ring::Buffer;
use crate::traffic::{Traffic, HEADER_SIZE};
use crate::Common;
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// Opens the experiment's device. A foreign parent may drop the map in a reset unless it is asked not to; a Mooring
/// driver never does.
fn open(common: &Common) -> Result<Device> {
    Device::open(&common.device, common.foreign)
}

/// The card of a device that has address spaces there, with a driver that tells of them: Mooring's, on a card with an
/// IOMMU.
fn translating_card(common: &Common, device: &Device) -> Result<Option<Card>> {
    if common.foreign {
        return Ok(None);
    }
    let card = device.card();
    Ok(card.translates()?.then_some(card))
}

/// The memory of a driver that needs no more than its rings and buffers.
fn driver_memory(common: &Common) -> Result<Memory> {
    Memory::new(&[Span::new(common.iova, AREA_SIZE)], common.backing)
}

fn setup(common: &Common) -> Setup {
    Setup::new(common.iova, common.entries)
}

/// Records the check that every frame came back, under a name that says when.
fn check_traffic(report: &mut Report, name: &str, traffic: &Traffic, count: u32) {
    report.check(name, traffic.complete(count), traffic.describe());
}

/// Sends a frame whose only buffer begins at `iova`, where `put` writes, and takes it back from the device.
fn send_from(nic: &mut Nic, iova: u64, put: impl FnOnce(&[u8])) -> Result<Traffic> {
    let frames = nic.new_run();
    let mut bytes = vec![0; HEADER_SIZE];
    bytes.extend(frames.make(0));
    put(&bytes);
    let head = nic.transmit.ring.reserve().context("no free descriptor")?;
    let buffer = Buffer {
        iova,
        length: bytes.len() as u32,
        writable: false,
    };
    nic.transmit.ring.add(nic.memory, head, &[buffer])?;
    nic.transmit.kick(nic.memory)?;
    let mut traffic = Traffic {
        sent: 1,
        ..Traffic::default()
    };
    let end = Instant::now() + nic.limit;
    while traffic.received == 0 || nic.transmit.ring.outstanding() > 0 {
        if !nic.collect(&frames, &mut traffic)? {
            if Instant::now() > end {
                traffic.blame(format!("nothing came back in {:?}", nic.limit));
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(traffic)
}

/// Resets, starts on the map that is there, and checks that frames flow: nothing before did lasting harm.
fn check_recovery(
    report: &mut Report,
    common: &Common,
    device: &Device,
    memory: &Memory,
    name: &str,
) -> Result<()> {
    device.reset()?;
    let mut nic = Nic::start(device, memory, setup(common), common.limit())?;
    let traffic = nic.loopback(16)?;
    check_traffic(report, name, &traffic, 16);
    drop(nic);
    device.reset()
}
