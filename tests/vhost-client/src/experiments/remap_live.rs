// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_traffic, open, setup, translating_card};
use crate::card::AddressSpace;
use crate::device::{errno, Device};
use crate::memory::{Memory, Span};
use crate::nic::{Nic, AREA_SIZE};
use crate::output::Report;
use crate::Common;
use anyhow::{Context, Result};
use clap::Args;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use vhost::vdpa::VhostVdpa;

/// Map and unmap other ranges while frames flow: the traffic must not notice
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Frames that flow at least
    #[arg(long, value_name = "N", default_value_t = 512)]
    frames: u32,
    /// Times to map and unmap all the other ranges
    #[arg(long, value_name = "N", default_value_t = 4)]
    rounds: u32,
}

/// The other ranges: between two a gap, so that each is an extent of its own or several.
const RANGES: u64 = 8;
const RANGE: u64 = 0x4_0000;

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let mut spans = vec![Span::new(common.iova, AREA_SIZE)];
        spans
            .extend((0..RANGES).map(|number| {
                Span::new(common.iova + AREA_SIZE + (2 * number + 1) * RANGE, RANGE)
            }));
        let memory = Memory::new(&spans, common.backing)?;
        let (driver, others) = memory.spans().split_first().context("there are spans")?;
        device
            .send(memory.map_message(0, driver))
            .context("mapping the driver's memory")?;
        let mut nic = Nic::start(&device, &memory, setup(common), common.limit())?;
        let before = self.space(&device)?;

        // The mapping thread works until its rounds are over, the traffic until both are done.
        let (done, maps) = (AtomicBool::new(false), AtomicU32::new(0));
        let (mut count, mut problem) = (0, None);
        let mapped = std::thread::scope(|scope| -> Result<()> {
            let mapper = scope.spawn(|| {
                let result = self.remap(&device, &memory, others, &maps);
                done.store(true, Ordering::Relaxed);
                result
            });
            while problem.is_none() && (count < self.frames || !done.load(Ordering::Relaxed)) {
                let traffic = nic.loopback(64)?;
                count += traffic.received;
                if !traffic.complete(64) {
                    problem = Some(traffic);
                }
            }
            mapper.join().expect("the mapping thread doesn't panic")
        });
        mapped?;
        match problem {
            Some(traffic) => check_traffic(report, "frames flowed without a loss", &traffic, 64),
            None => report.check("frames flowed without a loss", true, ""),
        }
        report.value("frames", count);
        report.value("maps_and_unmaps", maps.load(Ordering::Relaxed));
        let after = self.space(&device)?;
        if let (Some(before), Some(after)) = (before, after) {
            let content = |space: &AddressSpace| {
                (
                    space.mode.clone(),
                    space.extents,
                    space.bytes,
                    space.digest.clone(),
                )
            };
            report.check_same(
                "the card holds what it held before",
                content(&after),
                content(&before),
            );
            report.check_same(
                "card and driver agree on the digest",
                &after.digest,
                &after.expected_digest,
            );
            report.check(
                "maps were made on the card",
                after.commands > before.commands,
                "the count of commands is the same",
            );
            report.check_same("nothing faulted", after.faults, before.faults);
            report.value("iommu_commands", after.commands - before.commands);
        }
        Ok(())
    }

    fn space(&self, device: &Device) -> Result<Option<AddressSpace>> {
        let card = translating_card(&self.common, device)?;
        card.map(|card| card.address_space(0)).transpose()
    }

    fn remap(
        &self,
        device: &Device,
        memory: &Memory,
        others: &[Span],
        maps: &AtomicU32,
    ) -> Result<()> {
        for round in 0..self.rounds {
            for span in others {
                // The permission alternates, which the map of the round before must not show through.
                let read_only = round % 2 == 1;
                let address = memory.address(span.iova) as *const u8;
                device
                    .vdpa
                    .dma_map(span.iova, span.size, address, read_only)
                    .map_err(errno)
                    .context("mapping")?;
                maps.fetch_add(1, Ordering::Relaxed);
            }
            for span in others {
                device
                    .vdpa
                    .dma_unmap(span.iova, span.size)
                    .map_err(errno)
                    .context("unmapping")?;
                maps.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}
