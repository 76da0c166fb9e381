// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_recovery, check_traffic, driver_memory, open, setup};
use crate::device::{errno, Device};
use crate::events::{try_map, Doorbell, PAGE_SIZE};
use crate::nic::{Nic, Setup};
use crate::output::Report;
use crate::Common;
use anyhow::{Context, Result};
use clap::Args;
use vhost::vdpa::VhostVdpa;

/// Check that doorbell pages can be mapped in the one right way and in no other, and do no harm when rung late
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let queues = device
            .vdpa
            .get_vqs_count()
            .map_err(errno)
            .context("VHOST_VDPA_GET_VQS_COUNT")?;
        for queue in 0..queues {
            let mapped = Doorbell::map(&device.file, queue).map(drop);
            report.check(
                format!("queue {queue} has a page"),
                mapped.is_ok(),
                format!("{mapped:?}"),
            );
        }
        let (write, shared) = (libc::PROT_WRITE, libc::MAP_SHARED);
        let beyond = i64::from(queues) * PAGE_SIZE as i64;
        let wrong = [
            ("two pages", 2 * PAGE_SIZE, write, shared, 0),
            (
                "a readable page",
                PAGE_SIZE,
                write | libc::PROT_READ,
                shared,
                0,
            ),
            ("a private page", PAGE_SIZE, write, libc::MAP_PRIVATE, 0),
            (
                "the page behind the last queue's",
                PAGE_SIZE,
                write,
                shared,
                beyond,
            ),
            (
                "a page far away",
                PAGE_SIZE,
                write,
                shared,
                0x7000_0000_0000,
            ),
        ];
        for (what, length, protection, flags, offset) in wrong {
            let code = try_map(&device.file, length, protection, flags, offset)
                .err()
                .and_then(|error| error.raw_os_error());
            report.check_same(
                format!("{what} can't be mapped (EINVAL)"),
                code,
                Some(libc::EINVAL),
            );
        }
        let memory = driver_memory(common)?;
        device.map(&memory, 0, true)?;
        let mut nic = Nic::start(
            &device,
            &memory,
            Setup {
                doorbell: true,
                ..setup(common)
            },
            common.limit(),
        )?;
        let traffic = nic.loopback(64)?;
        check_traffic(
            report,
            "64 frames came back by doorbell page alone",
            &traffic,
            64,
        );
        drop(nic);
        self.ring_late(report, &device)?;
        check_recovery(
            report,
            common,
            &device,
            &memory,
            "frames flow after the late doorbells",
        )
    }

    /// A process may ring after a reset: the device must not care.
    fn ring_late(&self, report: &mut Report, device: &Device) -> Result<()> {
        let doorbells = [
            Doorbell::map(&device.file, 0)?,
            Doorbell::map(&device.file, 1)?,
        ];
        device.reset()?;
        let counters = |device: &Device| -> Result<Option<[u64; 2]>> {
            if self.common.foreign {
                return Ok(None);
            }
            let statistics = device.card().statistics()?;
            Ok(Some([statistics["dma_reads"], statistics["dma_writes"]]))
        };
        let before = counters(device)?;
        for _ in 0..100 {
            doorbells.iter().for_each(Doorbell::ring);
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        report.check_same(
            "doorbells after a reset cause no DMA",
            counters(device)?,
            before,
        );
        report.check_same("the status is still 0", device.status()?, 0);
        Ok(())
    }
}
