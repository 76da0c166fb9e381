// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_traffic, driver_memory, open, setup};
use crate::events;
use crate::nic::Nic;
use crate::output::Report;
use crate::Common;
use anyhow::Result;
use clap::Args;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Open the device, start it, and hold it until standard input ends or the time is over
///
/// Prints the line "ready" once the device runs.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Seconds after which to end at the latest
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Only open the device, without mapping or starting anything
    #[arg(long)]
    idle: bool,
    /// Frames to send around before holding it; 0 for a device that isn't in a loop
    #[arg(long, value_name = "N", default_value_t = 8)]
    frames: u32,
    /// Don't reset the device before closing it
    #[arg(long)]
    abandon: bool,
    /// Expect the config event, as when the card goes away meanwhile
    #[arg(long)]
    expect_trouble: bool,
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let memory = driver_memory(common)?;
        if self.idle {
            self.wait()?;
            return Ok(());
        }
        device.map(&memory, 0, true)?;
        let mut nic = Nic::start(&device, &memory, setup(common), common.limit())?;
        if self.frames > 0 {
            let traffic = nic.loopback(self.frames)?;
            check_traffic(report, "frames came back", &traffic, self.frames);
        }
        self.wait()?;
        let told = events::wait(&[&nic.config_call], Duration::ZERO)?[0] > 0;
        report.check_same(
            "the config event was signalled as expected",
            told,
            self.expect_trouble,
        );
        // What the device says after its card may have gone is worth seeing; that it says something is enough.
        report.value("status_at_end", device.status()?);
        if !self.abandon {
            let reset = device.set_status(0);
            report.value(
                "reset_at_end",
                reset
                    .err()
                    .map_or("ok".to_string(), |error| error.to_string()),
            );
        }
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        println!("ready");
        std::io::stdout().flush()?;
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let input = std::io::stdin();
        let mut bytes = [0; 64];
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let mut descriptor = libc::pollfd {
                fd: input.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one valid structure, and its count.
            if unsafe { libc::poll(&mut descriptor, 1, left.as_millis() as i32) } > 0
                && std::io::Read::read(&mut input.lock(), &mut bytes)? == 0
            {
                break;
            }
        }
        Ok(())
    }
}
