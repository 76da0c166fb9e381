// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_recovery, check_traffic, driver_memory, open, setup};
use crate::device::{errno, Device, STATUS_DRIVER_OK, STATUS_NEEDS_RESET};
use crate::format::Format;
use crate::memory::Memory;
use crate::nic::{Nic, Setup, RECEIVE, TRANSMIT};
use crate::output::Report;
use crate::ring::Ring;
use crate::traffic::Traffic;
use crate::Common;
use anyhow::{Context, Result};
use clap::Args;
use std::time::{Duration, Instant};
use vhost::vhost_kern::VhostKernFeatures;

/// Suspend and resume the device: before its start, twice, with frames in its rings, and with queues switched meanwhile
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    format: Format,
}

/// Frames that are sent to a device that is suspended.
const FRAMES: u32 = 20;
/// How long a suspended device is watched.
const QUIET: Duration = Duration::from_millis(50);
/// SUSPEND, RESUME and ENABLE_AFTER_DRIVER_OK.
const BACKEND: u64 = (1 << 4) | (1 << 5) | (1 << 6);

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let mut device = open(common)?;
        let offered = device.vdpa.get_backend_features().map_err(errno)?;
        report.check_same(
            "SUSPEND, RESUME and ENABLE_AFTER_DRIVER_OK are offered",
            offered & BACKEND,
            BACKEND,
        );
        let wanted = BACKEND | vhost_usual();
        report.check(
            "they can be acknowledged",
            device.vdpa.set_backend_features(wanted).is_ok(),
            "refused",
        );
        let device = device;
        let memory = driver_memory(common)?;
        device.map(&memory, 0, true)?;

        // vhost answers by itself for a device that isn't started.
        device.suspend().context("suspending before the start")?;
        device.resume().context("resuming before the start")?;
        let setup = Setup {
            format: self.format,
            first: Ring::first(self.format, 0),
            ..setup(common)
        };
        let mut nic = Nic::start(&device, &memory, setup, common.limit())?;
        let traffic = nic.loopback(32)?;
        check_traffic(report, "frames flow before all this", &traffic, 32);
        self.check_running(report, &device, &nic)?;
        self.check_kept(report, &device, &memory, &mut nic, false)?;
        self.check_kept(report, &device, &memory, &mut nic, true)?;
        self.check_again(report, &device, &mut nic)?;

        device.suspend().context("suspending at the end")?;
        drop(nic);
        check_recovery(
            report,
            common,
            &device,
            &memory,
            "frames flow after a reset of a suspended device",
        )
    }

    /// A running device's state is nobody's to change.
    fn check_running(&self, report: &mut Report, device: &Device, nic: &Nic) -> Result<()> {
        let position = device.position(TRANSMIT)?;
        report.check(
            "setting the position of a running queue is refused",
            device.set_position(TRANSMIT, position).is_err(),
            "it was taken",
        );
        report.check_same(
            "a running queue tells where it stands",
            position,
            nic.transmit.ring.position(nic.memory),
        );
        Ok(())
    }

    /// What is put into the rings of a suspended device is taken once it goes on, and not before; `switch` switches
    /// the queues off and on meanwhile, and sets their positions.
    fn check_kept(
        &self,
        report: &mut Report,
        device: &Device,
        memory: &Memory,
        nic: &mut Nic,
        switch: bool,
    ) -> Result<()> {
        let when = if switch {
            "with queues switched meanwhile"
        } else {
            "with frames sent meanwhile"
        };
        device.suspend().context("suspending")?;
        device.suspend().context("suspending twice")?;
        let frames = nic.new_run();
        let mut traffic = Traffic::default();
        for _ in 0..FRAMES {
            nic.queue_frame(&frames.make(traffic.sent))?;
            traffic.sent += 1;
        }
        nic.transmit.kick(memory)?;
        let first = [device.position(RECEIVE)?, device.position(TRANSMIT)?];
        if switch {
            for index in [RECEIVE, TRANSMIT] {
                device.enable(index, false)?;
                device
                    .set_position(index, first[index])
                    .with_context(|| format!("setting where queue {index} goes on"))?;
                device.enable(index, true)?;
            }
        }
        std::thread::sleep(QUIET);
        report.check_same(
            format!("a suspended device uses nothing, {when}"),
            nic.positions(),
            first,
        );
        let status = device.status()?;
        report.check_same(
            format!("it is still started and needs no reset, {when}"),
            status & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET),
            STATUS_DRIVER_OK,
        );
        device.resume().context("resuming")?;
        let end = Instant::now() + self.common.limit();
        while traffic.received < FRAMES && traffic.problem.is_none() && Instant::now() < end {
            if !nic.collect(&frames, &mut traffic)? {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        check_traffic(
            report,
            &format!("its frames come back once it goes on, {when}"),
            &traffic,
            FRAMES,
        );
        Ok(())
    }

    /// Resuming what runs changes nothing, and a device can be suspended often.
    fn check_again(&self, report: &mut Report, device: &Device, nic: &mut Nic) -> Result<()> {
        device.resume().context("resuming a device that runs")?;
        for _ in 0..20 {
            device.suspend().context("suspending")?;
            device.resume().context("resuming")?;
        }
        let traffic = nic.loopback(64)?;
        check_traffic(report, "frames flow after 20 rounds", &traffic, 64);
        Ok(())
    }
}

/// What a client acknowledges in any case: messages of version 2, batches and address spaces.
fn vhost_usual() -> u64 {
    (1 << 1) | (1 << 2) | (1 << 3)
}
