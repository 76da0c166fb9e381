// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_traffic, driver_memory, open, setup};
use crate::format::Format;
use crate::nic::{Nic, Setup};
use crate::output::Report;
use crate::ring::Ring;
use crate::Common;
use anyhow::{Context, Result};
use clap::Args;
use vhost::vdpa::VhostVdpa;

/// Map, start, send frames of many sizes, and compare what comes back byte for byte
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    format: Format,
    /// Frames to send
    #[arg(long, value_name = "N", default_value_t = 256)]
    frames: u32,
    /// Ring the queues' doorbell pages, mapped into this process, instead of event descriptors
    #[arg(long)]
    doorbell: bool,
    /// Enable the queues before they are set up, as QEMU 11 does with its data queues
    #[arg(long)]
    early_enable: bool,
    /// Enable the queues after DRIVER_OK, as QEMU does with a control queue
    #[arg(long, conflicts_with = "early_enable")]
    late_enable: bool,
    /// Map without a batch, with the messages of the crate `vhost`
    #[arg(long)]
    unbatched: bool,
    /// First index of the rings, as after a migration
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    first: u16,
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let memory = driver_memory(common)?;
        if self.unbatched {
            for span in memory.spans() {
                let address = memory.address(span.iova) as *const u8;
                device
                    .vdpa
                    .dma_map(span.iova, span.size, address, false)
                    .map_err(crate::device::errno)
                    .context("mapping")?;
            }
        } else {
            device.map(&memory, 0, true)?;
        }
        let setup = Setup {
            doorbell: self.doorbell,
            early_enable: self.early_enable,
            late_enable: self.late_enable,
            first: Ring::first(self.format, self.first),
            format: self.format,
            ..setup(common)
        };
        let mut nic = Nic::start(&device, &memory, setup, common.limit())?;
        let before = if common.foreign {
            None
        } else {
            Some(device.card().statistics()?)
        };
        let traffic = nic.loopback(self.frames)?;
        check_traffic(
            report,
            &format!("{} frames came back unchanged and in order", self.frames),
            &traffic,
            self.frames,
        );
        report.check(
            "the device raised interrupts of both queues",
            traffic.receive_interrupts > 0 && traffic.transmit_interrupts > 0,
            format!(
                "receive {}, transmit {}",
                traffic.receive_interrupts, traffic.transmit_interrupts
            ),
        );
        if let Some(before) = before {
            report.check_same(
                "every received frame's header says one buffer",
                traffic.odd_headers,
                0,
            );
            let after = device.card().statistics()?;
            for name in ["tx_frames", "rx_frames"] {
                let counted = after[name].saturating_sub(before[name]);
                let wanted = u64::from(self.frames)
                    + if name == "rx_frames" {
                        u64::from(traffic.strays)
                    } else {
                        0
                    };
                report.check_same(format!("the card counted them in {name}"), counted, wanted);
            }
        }
        report.value("frames", traffic.received);
        report.value("bytes", traffic.bytes);
        report.value("frames_of_others", traffic.strays);
        report.value("receive_interrupts", traffic.receive_interrupts);
        report.value("transmit_interrupts", traffic.transmit_interrupts);
        Ok(())
    }
}
