// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_recovery, check_traffic, open, setup, translating_card};
use crate::device::{Device, STATUS_NEEDS_RESET};
use crate::events;
use crate::iotlb::{Message, BATCH_BEGIN, BATCH_END};
use crate::memory::{Memory, Span};
use crate::nic::{Nic, AREA_SIZE};
use crate::output::Report;
use crate::Common;
use anyhow::{bail, Context, Result};
use clap::{Args, ValueEnum};
use std::time::Duration;

/// Make a batch fail, which the kernel hides from its sender: nothing must be served that was taken back
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// What the batch was to do besides
    #[arg(long, value_enum)]
    variant: Variant,
    /// Each change of a batch takes effect by itself, as with `.dma_map`: the bad one must be refused, and nothing else
    #[arg(long)]
    told: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Variant {
    /// Nothing: the old map must go on serving, and nobody is told
    Addition,
    /// Unmap a range: it must be out of reach, the rest must be served, and the device must say NEEDS_RESET
    Removal,
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let main = Span::new(common.iova, AREA_SIZE);
        let taken_back = Span::new(common.iova + 2 * AREA_SIZE, 0x4000);
        let bad = Span::new(common.iova + 3 * AREA_SIZE, 0x1000);
        let memory = Memory::new(&[main, taken_back, bad], common.backing)?;
        for span in [&main, &taken_back] {
            device
                .send(memory.map_message(0, span))
                .context("mapping")?;
        }
        let mut nic = Nic::start(&device, &memory, setup(common), common.limit())?;
        check_traffic(report, "frames flow before", &nic.loopback(16)?, 16);
        if translating_card(common, &device)?.is_none() {
            return self.run_on_platform(report, &device, &memory, nic);
        }
        let before = device.card().address_space(0)?;

        // Within a batch the parent sees a bad permission only at the end, where its answer is thrown away.
        device
            .send(Message::new(BATCH_BEGIN, 0))
            .context("BATCH_BEGIN")?;
        if self.variant == Variant::Removal {
            let message = Message::invalidate(0, taken_back.iova, taken_back.size);
            device.send(message).context("unmapping within the batch")?;
        }
        let message = Message {
            permission: 0,
            ..memory.map_message(0, &bad)
        };
        report.check_same(
            "the bad message itself is refused",
            device.send(message).is_err(),
            self.told,
        );
        device
            .send(Message::new(BATCH_END, 0))
            .context("BATCH_END")?;

        match self.variant {
            Variant::Removal if self.told => {
                check_traffic(report, "frames go on flowing", &nic.loopback(16)?, 16);
                report.check_same("NEEDS_RESET", device.status()? & STATUS_NEEDS_RESET, 0);
            }
            Variant::Addition => {
                let after = device.card().address_space(0)?;
                let same = after.translation() == before.translation();
                report.check(
                    "the old map is as it was",
                    same,
                    format!("{before:?}, then {after:?}"),
                );
                check_traffic(report, "frames go on flowing", &nic.loopback(16)?, 16);
                report.check_same("NEEDS_RESET", device.status()? & STATUS_NEEDS_RESET, 0);
            }
            Variant::Removal => self.check_rest(report, &device, &mut nic, main.size)?,
        }
        drop(nic);

        // The owner takes the bad range back, if it is there; what remains is mapped, again.
        device
            .send(Message::invalidate(0, bad.iova, bad.size))
            .context("unmapping the bad range")?;
        let space = device.card().address_space(0)?;
        report.check_same(
            "the mode once the bad range is gone",
            space.mode.as_str(),
            "translated",
        );
        report.check_same(
            "card and driver agree on the digest",
            &space.digest,
            &space.expected_digest,
        );
        let kept = if self.variant == Variant::Removal {
            0
        } else {
            taken_back.size
        };
        report.check_same("bytes that are mapped", space.bytes, main.size + kept);
        check_recovery(
            report,
            common,
            &device,
            &memory,
            "frames flow after a reset",
        )
    }

    /// Where the platform's IOMMU holds the map there is nothing to hide: each message of a batch takes effect at once, and
    /// a bad one is refused at once.
    fn run_on_platform(
        &self,
        report: &mut Report,
        device: &Device,
        memory: &Memory,
        mut nic: Nic,
    ) -> Result<()> {
        let [_, taken_back, bad] = memory.spans() else {
            bail!("three spans were made");
        };
        device
            .send(Message::new(BATCH_BEGIN, 0))
            .context("BATCH_BEGIN")?;
        if self.variant == Variant::Removal {
            let message = Message::invalidate(0, taken_back.iova, taken_back.size);
            device.send(message).context("unmapping within the batch")?;
        }
        // Nothing lies at the first pages of a process.
        let message = Message {
            address: 0x1000,
            ..memory.map_message(0, bad)
        };
        let refused = device
            .send(message)
            .err()
            .and_then(|error| error.raw_os_error());
        report.check_same("the bad message's errno", refused, Some(libc::EFAULT));
        device
            .send(Message::new(BATCH_END, 0))
            .context("BATCH_END")?;
        check_traffic(report, "frames go on flowing", &nic.loopback(16)?, 16);
        report.check_same("NEEDS_RESET", device.status()? & STATUS_NEEDS_RESET, 0);
        let again = device.send(memory.map_message(0, taken_back));
        let free = self.variant == Variant::Removal;
        report.check_same(
            "what was taken back can be mapped, else not",
            again.is_ok(),
            free,
        );
        device
            .send(memory.map_message(0, bad))
            .context("mapping what was refused, as it should be")?;
        drop(nic);
        check_recovery(
            report,
            &self.common,
            device,
            memory,
            "frames flow after a reset",
        )
    }

    fn check_rest(
        &self,
        report: &mut Report,
        device: &Device,
        nic: &mut Nic,
        left: u64,
    ) -> Result<()> {
        // The event was signalled before BATCH_END returned.
        let told = events::wait(&[&nic.config_call], Duration::from_secs(1))?[0] > 0;
        report.check("the config event tells of trouble", told, "no event came");
        report.check_same(
            "NEEDS_RESET",
            device.status()? & STATUS_NEEDS_RESET,
            STATUS_NEEDS_RESET,
        );
        let space = device.card().address_space(0)?;
        report.check_same(
            "the address space's mode",
            space.mode.as_str(),
            "translated",
        );
        report.check_same("bytes that are left", space.bytes, left);
        check_traffic(report, "frames go on flowing", &nic.loopback(16)?, 16);
        Ok(())
    }
}
