// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_traffic, open, send_from, setup};
use crate::card::AddressSpace;
use crate::device::{Device, STATUS_NEEDS_RESET};
use crate::iotlb::{Message, BATCH_BEGIN, BATCH_END, READ_WRITE};
use crate::memory::{Memory, Span};
use crate::nic::{Nic, AREA_SIZE};
use crate::output::Report;
use crate::Common;
use anyhow::{ensure, Context, Result};
use clap::Args;

/// Have the card hold very many extents: frames flow through the first and the last, a reset keeps them all
///
/// vhost itself takes 2048 pieces of memory, unless vhost_vdpa was loaded with another max_iotlb_entries.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Extents that the card is to hold, those of the driver's own memory included
    #[arg(long, value_name = "N", default_value_t = 65536)]
    extents: u64,
    /// The card has no room for more: one more page must be refused, and change nothing
    #[arg(long)]
    full: bool,
}

const PAGE: u64 = 0x1000;
/// Pages that lie behind the ranges, each behind many.
const POOL: u64 = 0x20_0000;

/// The ranges: single pages with a gap behind each, so that no two can be one extent.
struct Ranges<'a> {
    memory: &'a Memory,
    pool: u64,
    first: u64,
    count: u64,
}

impl Ranges<'_> {
    fn iova(&self, number: u64) -> u64 {
        self.first + 2 * number * PAGE
    }

    /// Where the page behind a range can be written, in the memory's own terms.
    fn page(&self, number: u64) -> u64 {
        self.pool + number * PAGE % POOL
    }

    fn update(&self, number: u64) -> Message {
        let address = self.memory.address(self.page(number));
        Message::update(0, self.iova(number), PAGE, address, READ_WRITE)
    }
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let own = Span::new(common.iova, AREA_SIZE);
        let pool = Span::new(common.iova + AREA_SIZE, POOL);
        let memory = Memory::new(&[own, pool], common.backing)?;
        device
            .send(memory.map_message(0, &own))
            .context("mapping the driver's memory")?;
        let alone = device.card().address_space(0)?;
        ensure!(
            alone.extents < self.extents,
            "the driver's memory takes {} extents by itself",
            alone.extents
        );
        let ranges = Ranges {
            memory: &memory,
            pool: pool.iova,
            first: common.iova + 2 * AREA_SIZE,
            count: self.extents - alone.extents,
        };

        self.map(report, &device, &ranges, &alone)?;
        let mapped = device.card().address_space(0)?;
        check_dump(report, &device, &ranges, &mapped)?;
        {
            let mut nic = Nic::start(&device, &memory, setup(common), common.limit())?;
            self.check_frames(report, "before the reset", &mut nic, &ranges)?;
        }
        device.reset()?;
        let after = device.card().address_space(0)?;
        report.check_same(
            "the reset changed no translation",
            after.translation(),
            mapped.translation(),
        );
        report.check_same(
            "IOMMU commands of the card during start, traffic and reset",
            after.card_commands - mapped.card_commands,
            0,
        );
        let mut nic = Nic::start(&device, &memory, setup(common), common.limit())?;
        self.check_frames(
            report,
            "after the reset, on the same map",
            &mut nic,
            &ranges,
        )?;
        if self.full {
            self.check_full(report, &device, &ranges, &mapped)?;
            self.check_frames(report, "after the refusal", &mut nic, &ranges)?;
        }
        self.unmap(report, &device, &ranges, &alone)?;
        check_traffic(report, "frames flow at the end", &nic.loopback(16)?, 16);
        Ok(())
    }

    fn map(
        &self,
        report: &mut Report,
        device: &Device,
        ranges: &Ranges,
        alone: &AddressSpace,
    ) -> Result<()> {
        device
            .send(Message::new(BATCH_BEGIN, 0))
            .context("BATCH_BEGIN")?;
        for number in 0..ranges.count {
            device.send(ranges.update(number)).with_context(|| {
                format!("mapping range {number}; see vhost_vdpa's parameter max_iotlb_entries")
            })?;
        }
        device
            .send(Message::new(BATCH_END, 0))
            .context("BATCH_END")?;
        let mapped = device.card().address_space(0)?;
        report.check_same("extents on the card", mapped.extents, self.extents);
        report.check_same(
            "bytes on the card",
            mapped.bytes,
            AREA_SIZE + ranges.count * PAGE,
        );
        agree(report, "with all mapped", &mapped);
        report.value(
            "iommu_commands_of_the_map",
            mapped.commands - alone.commands,
        );
        Ok(())
    }

    /// Frames through the driver's memory, and one each through the first and the last range.
    fn check_frames(
        &self,
        report: &mut Report,
        when: &str,
        nic: &mut Nic,
        ranges: &Ranges,
    ) -> Result<()> {
        check_traffic(
            report,
            &format!("frames flow {when}"),
            &nic.loopback(16)?,
            16,
        );
        for (name, number) in [("first", 0), ("last", ranges.count - 1)] {
            let page = ranges.page(number);
            let put = |bytes: &[u8]| ranges.memory.write(page, bytes);
            let traffic = send_from(nic, ranges.iova(number), put)?;
            check_traffic(
                report,
                &format!("a frame flows {when}, out of the {name} range"),
                &traffic,
                1,
            );
        }
        Ok(())
    }

    fn check_full(
        &self,
        report: &mut Report,
        device: &Device,
        ranges: &Ranges,
        mapped: &AddressSpace,
    ) -> Result<()> {
        let more = device.send(ranges.update(ranges.count));
        report.check("one more page is refused", more.is_err(), "it was taken");
        let space = device.card().address_space(0)?;
        report.check_same(
            "the card holds what it held",
            (space.extents, space.bytes, &space.digest),
            (mapped.extents, mapped.bytes, &mapped.digest),
        );
        agree(report, "after the refusal", &space);
        report.check_same("NEEDS_RESET", device.status()? & STATUS_NEEDS_RESET, 0);
        Ok(())
    }

    fn unmap(
        &self,
        report: &mut Report,
        device: &Device,
        ranges: &Ranges,
        alone: &AddressSpace,
    ) -> Result<()> {
        let before = device.card().address_space(0)?;
        device
            .send(Message::new(BATCH_BEGIN, 0))
            .context("BATCH_BEGIN")?;
        device
            .send(Message::invalidate(
                0,
                ranges.first,
                2 * ranges.count * PAGE,
            ))
            .context("unmapping all ranges")?;
        device
            .send(Message::new(BATCH_END, 0))
            .context("BATCH_END")?;
        let space = device.card().address_space(0)?;
        report.check_same(
            "the card holds the driver's memory, as at first",
            (space.extents, space.bytes, &space.digest),
            (alone.extents, alone.bytes, &alone.digest),
        );
        agree(report, "at the end", &space);
        report.value(
            "iommu_commands_of_the_unmap",
            space.commands - before.commands,
        );
        Ok(())
    }
}

/// The dump tells every extent, in order, as one that card and driver both hold; reading it commands nothing.
fn check_dump(
    report: &mut Report,
    device: &Device,
    ranges: &Ranges,
    mapped: &AddressSpace,
) -> Result<()> {
    let dump = device.card().dump(0)?;
    let sum = format!("both={} card_only=0 driver_only=0", mapped.extents);
    report.check_same("the dump's last line", dump.sum, sum);
    let bytes: u64 = dump.extents.iter().map(|extent| extent.length).sum();
    report.check_same("bytes in the dump", bytes, mapped.bytes);
    let ordered = dump
        .extents
        .windows(2)
        .all(|pair| pair[0].iova + pair[0].length <= pair[1].iova);
    report.check("the dump is in order", ordered, "");
    let told = dump.extents.iter().filter(|extent| {
        let offset = extent.iova.wrapping_sub(ranges.first);
        offset % (2 * PAGE) == 0 && offset / (2 * PAGE) < ranges.count && extent.length == PAGE
    });
    report.check_same("ranges in the dump", told.count() as u64, ranges.count);
    let commands = device.card().address_space(0)?.card_commands;
    report.check_same(
        "IOMMU commands of reading it",
        commands - mapped.card_commands,
        0,
    );
    Ok(())
}

fn agree(report: &mut Report, when: &str, space: &AddressSpace) {
    report.check_same(
        format!("card and driver agree on the digest {when}"),
        &space.digest,
        &space.expected_digest,
    );
}
