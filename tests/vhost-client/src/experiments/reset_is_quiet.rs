// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_recovery, driver_memory, open, setup};
use crate::events;
use crate::memory::Memory;
use crate::nic::{Nic, AREA_SIZE};
use crate::output::Report;
use crate::traffic::Traffic;
use crate::Common;
use anyhow::Result;
use clap::Args;
use std::time::Duration;

/// Reset in the middle of traffic: afterwards no byte of memory changes and no event comes any more
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Resets to make
    #[arg(long, value_name = "N", default_value_t = 10)]
    resets: u32,
}

/// How long to look for what must not come.
const LOOK: Duration = Duration::from_millis(50);

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let memory = driver_memory(common)?;
        device.map(&memory, 0, true)?;
        let (mut changes, mut events_after, mut under_way) = (0, 0, 0);
        for round in 0..self.resets {
            let mut nic = Nic::start(&device, &memory, setup(common), common.limit())?;
            // Some traffic first, of another length each time, so that the reset meets the device at different points.
            nic.loopback(1 + round % 4)?;
            let frames = nic.new_run();
            for sequence in 0..64 {
                nic.queue_frame(&frames.make(sequence))?;
            }
            nic.transmit.kick(&memory)?;
            device.reset()?;
            let before = contents(&memory, common.iova);
            // Events that came before the reset returned are in order; clear them.
            let queues = [&nic.receive.call, &nic.transmit.call, &nic.config_call];
            events::wait(&queues, Duration::ZERO)?;
            // A driver may still ring; the kernel's eventfd polling does the same after a close.
            nic.transmit.kick(&memory)?;
            events_after += events::wait(&queues, LOOK)?.iter().sum::<u64>();
            changes += usize::from(contents(&memory, common.iova) != before);
            nic.collect(&frames, &mut Traffic::default())?;
            under_way += nic.transmit.ring.outstanding();
        }
        report.check_same("resets after which memory changed", changes, 0);
        report.check_same("events after a reset had returned", events_after, 0);
        report.value("resets", self.resets);
        report.value("frames_cut_off", under_way);
        check_recovery(
            report,
            common,
            &device,
            &memory,
            "frames flow after all resets",
        )
    }
}

fn contents(memory: &Memory, iova: u64) -> Vec<u8> {
    let mut bytes = vec![0; AREA_SIZE as usize];
    memory.read(iova, &mut bytes);
    bytes
}
