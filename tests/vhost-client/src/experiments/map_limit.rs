// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_traffic, open, setup, translating_card};
use crate::device::STATUS_NEEDS_RESET;
use crate::iotlb::Message;
use crate::memory::{Memory, Span};
use crate::nic::{Nic, AREA_SIZE};
use crate::output::Report;
use crate::Common;
use anyhow::{Context, Result};
use clap::Args;

/// Map single pages until the card has no room: the refusal must change nothing, and room must come back
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Pages after which to give up; vhost itself refuses more than 2048
    #[arg(long, value_name = "N", default_value_t = 1500)]
    pages: u64,
}

const PAGE: u64 = 0x1000;

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let main = Span::new(common.iova, AREA_SIZE);
        let first = common.iova + 2 * AREA_SIZE;
        // All the memory of the single pages in one span; a gap behind each page keeps them apart on the card.
        let pages = Span::new(first, 2 * self.pages * PAGE);
        let memory = Memory::new(&[main, pages], common.backing)?;
        let page = |number: u64| Span::new(first + 2 * number * PAGE, PAGE);
        device
            .send(memory.map_message(0, &main))
            .context("mapping the driver's memory")?;
        let mut nic = Nic::start(&device, &memory, setup(common), common.limit())?;
        check_traffic(report, "frames flow before", &nic.loopback(16)?, 16);

        let refused = (0..self.pages)
            .find(|&number| device.send(memory.map_message(0, &page(number))).is_err());
        let Some(card) = translating_card(common, &device)? else {
            // The platform's IOMMU holds the map, in memory of the host.
            report.check_same(
                "the card, which holds nothing, limits nothing",
                refused,
                None,
            );
            check_traffic(report, "frames go on flowing", &nic.loopback(16)?, 16);
            return Ok(());
        };
        let Some(refused) = refused else {
            report.check(
                "the card runs out of room",
                false,
                format!("it took {} pages", self.pages),
            );
            return Ok(());
        };
        report.value("pages_until_full", refused);
        let space = card.address_space(0)?;
        report.check_same(
            "bytes on the card: what was accepted",
            space.bytes,
            AREA_SIZE + refused * PAGE,
        );
        report.check_same(
            "card and driver agree on the digest",
            &space.digest,
            &space.expected_digest,
        );
        report.check_same("NEEDS_RESET", device.status()? & STATUS_NEEDS_RESET, 0);
        check_traffic(report, "frames go on flowing", &nic.loopback(16)?, 16);

        let gone = page(refused / 2);
        device
            .send(Message::invalidate(0, gone.iova, gone.size))
            .context("unmapping a page")?;
        let mapped = device.send(memory.map_message(0, &page(refused)));
        report.check(
            "a page fits once another is gone",
            mapped.is_ok(),
            format!("{mapped:?}"),
        );
        check_traffic(report, "frames flow at the end", &nic.loopback(16)?, 16);
        Ok(())
    }
}
