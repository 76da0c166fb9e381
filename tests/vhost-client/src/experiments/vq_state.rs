// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_traffic, driver_memory, open, setup};
use crate::device::{errno, Device};
use crate::format::Format;
use crate::nic::{Nic, Setup, RECEIVE, TRANSMIT};
use crate::output::Report;
use crate::packed::{PackedRing, WRAP};
use crate::ring::{Ring, MAX_ENTRIES};
use crate::Common;
use anyhow::{Context, Result};
use clap::Args;
use vhost::VhostBackend;

/// Start the rings at given indices and read the queues' positions back, across the wrap of 16 bits
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Use packed rings, across the change of their wrap counter
    #[arg(long)]
    packed: bool,
}

const FRAMES: u32 = 40;

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let memory = driver_memory(common)?;
        device.map(&memory, 0, true)?;
        let format = Format {
            packed: self.packed,
            // Then every chain is one descriptor, and as far as positions go a packed ring is like a split one.
            indirect: self.packed,
            ..Format::default()
        };
        let maximum = device.ring_maximum()?;
        let last = common.entries.min(MAX_ENTRIES).min(maximum) - 1;
        let firsts = if self.packed {
            // The first round, its end, and the end of the second.
            [WRAP, WRAP | last, last]
        } else {
            [0, 1000, 0xffee]
        };
        for first in firsts {
            let setup = Setup {
                first,
                format,
                ..setup(common)
            };
            let mut nic = Nic::prepare(&device, &memory, setup, common.limit())?;
            for queue in [RECEIVE, TRANSMIT] {
                let name = format!("queue {queue} is at {first:#x} before the start");
                report.check_same(
                    name,
                    position(&device, queue)?,
                    Ring::base_of(format, first),
                );
            }
            nic.try_start()?;
            let traffic = nic.loopback(FRAMES)?;
            check_traffic(
                report,
                &format!("{FRAMES} frames came back with rings that began at {first:#x}"),
                &traffic,
                FRAMES,
            );
            let moved = |count: u32| {
                let first = u32::from(first);
                // CAST: 16 bits, of a split ring the lower ones.
                let now = if self.packed {
                    PackedRing::place(first as u16, count, last + 1)
                } else {
                    (first + count) as u16
                };
                Ring::base_of(format, now)
            };
            let name = |queue| format!("queue {queue} has moved on by the buffers that it used");
            report.check_same(
                name(TRANSMIT),
                position(&device, TRANSMIT)?,
                moved(traffic.sent),
            );
            let received = traffic.received + traffic.strays;
            report.check_same(name(RECEIVE), position(&device, RECEIVE)?, moved(received));
            drop(nic);
            device.reset()?;
            for queue in [RECEIVE, TRANSMIT] {
                report.check_same(
                    format!("queue {queue} is at 0 after the reset"),
                    position(&device, queue)?,
                    0,
                );
            }
        }
        Ok(())
    }
}

fn position(device: &Device, queue: usize) -> Result<u32> {
    device
        .vdpa
        .get_vring_base(queue)
        .map_err(errno)
        .context("VHOST_GET_VRING_BASE")
}
