// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_recovery, check_traffic, driver_memory, open, setup};
use crate::device::{Device, STATUS_DRIVER_OK, STATUS_FAILED, STATUS_NEEDS_RESET};
use crate::iotlb::Message;
use crate::memory::Memory;
use crate::nic::{Nic, Setup};
use crate::output::Report;
use crate::Common;
use anyhow::{ensure, Context, Result};
use clap::{Args, ValueEnum};
use std::time::Duration;
use vhost::vdpa::VhostVdpa;

/// Start a device whose queues' memory its owner has not mapped: it must refuse, and do no DMA
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// How it comes that nothing is mapped
    #[arg(long, value_enum, default_value_t = Variant::Never)]
    variant: Variant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Variant {
    /// No IOTLB message was ever sent
    Never,
    /// The same, and the queues are enabled after DRIVER_OK
    LateEnable,
    /// Address space 0 is mapped, and the data queues are then put into the untouched address space 1
    OtherSpace,
    /// The previous owner had mapped the same addresses, used them and closed
    PreviousOwner,
    /// All that was mapped has been unmapped again
    Emptied,
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let memory = driver_memory(common)?;
        if self.variant == Variant::PreviousOwner {
            self.be_previous_owner(report, &memory)?;
        }
        let device = open(common)?;
        match self.variant {
            Variant::Emptied => {
                device.map(&memory, 0, true)?;
                for span in memory.spans() {
                    device
                        .send(Message::invalidate(0, span.iova, span.size))
                        .context("unmapping")?;
                }
            }
            Variant::OtherSpace => {
                let spaces = device.vdpa.get_as_num().map_err(crate::device::errno)?;
                ensure!(spaces > 1, "the device has only {spaces} address space");
                device.map(&memory, 0, true)?;
                device
                    .set_group_asid(0, 1)
                    .context("VHOST_VDPA_SET_GROUP_ASID")?;
            }
            Variant::Never | Variant::LateEnable | Variant::PreviousOwner => {}
        }
        self.try_start(report, &device, &memory)?;
        device.reset()?;
        // What was refused works as soon as it is mapped, on the same open device; the reset put group 0 into space 0.
        if self.variant != Variant::OtherSpace {
            device.map(&memory, 0, true)?;
        }
        check_recovery(
            report,
            common,
            &device,
            &memory,
            "frames flow once the memory is mapped",
        )
    }

    fn be_previous_owner(&self, report: &mut Report, memory: &Memory) -> Result<()> {
        let device = open(&self.common)?;
        device.map(memory, 0, true)?;
        let mut nic = Nic::start(&device, memory, setup(&self.common), self.common.limit())?;
        let traffic = nic.loopback(16)?;
        check_traffic(report, "frames flowed for the previous owner", &traffic, 16);
        Ok(())
    }

    fn try_start(&self, report: &mut Report, device: &Device, memory: &Memory) -> Result<()> {
        let late_enable = self.variant == Variant::LateEnable;
        let setup = Setup {
            late_enable,
            ..setup(&self.common)
        };
        let mut nic = Nic::prepare(device, memory, setup, self.common.limit())?;
        let frames = nic.new_run();
        for sequence in 0..8 {
            nic.queue_frame(&frames.make(sequence))?;
        }
        let before = if self.common.foreign {
            None
        } else {
            Some(device.card().statistics()?)
        };
        let status = nic.try_start()?;
        nic.transmit.kick(memory)?;
        std::thread::sleep(Duration::from_millis(200));
        report.value("status", format!("{status:#x}"));
        // A card without an IOMMU starts, and reaches nothing: the platform's IOMMU maps nothing for it.
        let starts = late_enable
            || self.variant == Variant::Emptied
            || (!self.common.foreign && !device.card().translates()?);
        let trouble = device.status()? & (STATUS_NEEDS_RESET | STATUS_FAILED) != 0;
        if starts {
            // DRIVER_OK may come before a queue is enabled, and an owner may map nothing on purpose. Then it is the
            // queue that must not work, and the status that must tell.
            report.check(
                "the status tells that no queue works",
                trouble,
                format!("it is {:#x}", device.status()?),
            );
        } else {
            report.check(
                "DRIVER_OK is not set",
                status & STATUS_DRIVER_OK == 0,
                format!("the status is {status:#x}"),
            );
            report.check(
                "FAILED is set",
                status & STATUS_FAILED != 0,
                format!("the status is {status:#x}"),
            );
        }
        report.check_same(
            "the device used no buffer",
            nic.transmit.ring.has_used(memory) || nic.receive.ring.has_used(memory),
            false,
        );
        if let Some(before) = before {
            let after = device.card().statistics()?;
            // The card counts refused accesses too; a space that was emptied by its owner may see some, and
            // so may a card that doesn't know what the platform maps.
            let emptied = self.variant == Variant::Emptied || !device.card().translates()?;
            let names: &[&str] = if emptied {
                &["dma_writes"]
            } else {
                &["dma_reads", "dma_writes"]
            };
            for &name in names {
                report.check_same(
                    format!("the card counted no {name}"),
                    after[name] - before[name],
                    0,
                );
            }
        }
        Ok(())
    }
}
