// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_recovery, check_traffic, open, setup};
use crate::device::STATUS_NEEDS_RESET;
use crate::events;
use crate::iotlb::{Message, BATCH_BEGIN, BATCH_END};
use crate::memory::{Memory, Span};
use crate::nic::{Nic, AREA_SIZE};
use crate::output::Report;
use crate::Common;
use anyhow::{Context, Result};
use clap::Args;

/// Make a batch fail, which the kernel hides from its sender: the device must tell by NEEDS_RESET
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let extra = Span::new(common.iova + 2 * AREA_SIZE, 0x1000);
        let memory = Memory::new(&[Span::new(common.iova, AREA_SIZE), extra], common.backing)?;
        device
            .send(memory.map_message(0, &memory.spans()[0]))
            .context("mapping")?;
        let mut nic = Nic::start(&device, &memory, setup(common), common.limit())?;
        check_traffic(report, "frames flow before", &nic.loopback(16)?, 16);

        // Within a batch the parent driver sees a bad permission only at the end, where its answer is thrown away.
        device
            .send(Message::new(BATCH_BEGIN, 0))
            .context("BATCH_BEGIN")?;
        device
            .send(Message {
                permission: 0,
                ..memory.map_message(0, &extra)
            })
            .context("the bad message of the batch")?;
        device
            .send(Message::new(BATCH_END, 0))
            .context("BATCH_END")?;
        let told = events::wait(&[&nic.config_call], common.limit())?[0] > 0;
        report.check("the config event tells of trouble", told, "no event came");
        let status = device.status()?;
        report.check(
            "NEEDS_RESET is set",
            status & STATUS_NEEDS_RESET != 0,
            format!("the status is {status:#x}"),
        );
        if !common.foreign {
            let space = device.card().address_space(0)?;
            report.value("mode_after_failure", space.mode.clone());
            let agreed = space.digest == space.expected_digest;
            report.check(
                "card and driver agree on the digest",
                agreed,
                format!("{space:?}"),
            );
        }
        drop(nic);

        // The owner takes the bad range back; the map is then what it was.
        device
            .send(Message::invalidate(0, extra.iova, extra.size))
            .context("unmapping the bad range")?;
        check_recovery(
            report,
            common,
            &device,
            &memory,
            "frames flow once the bad range is gone",
        )
    }
}
