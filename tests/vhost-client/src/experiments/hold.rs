// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_traffic, driver_memory, setup};
use crate::device::Device;
use crate::memory::Memory;
use crate::nic::Nic;
use crate::output::Report;
use crate::{events, Common};
use anyhow::{Context, Result};
use clap::Args;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Open the device, start it, and hold it until standard input ends or the time is over
///
/// Prints the line "ready" once the device runs. A line of standard input that says reset, busy-reset, frames or suspend has
/// it do that, and answer with a line.
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
    /// Acknowledge IOTLB_PERSIST
    #[arg(long)]
    persist: bool,
    /// Don't reset the device before closing it
    #[arg(long)]
    abandon: bool,
    /// Expect the config event, as when the card goes away meanwhile
    #[arg(long)]
    expect_trouble: bool,
    /// Don't care about the config event, or whether the device starts
    #[arg(long)]
    allow_trouble: bool,
}

/// What standard input may ask for, a word a line, beside the end. Each is answered by a line that begins with the word.
#[derive(Clone, Copy)]
enum Step {
    /// Reset the device: "reset: status 0x0".
    Reset,
    /// Reset it with frames under way.
    BusyReset,
    /// Start it again, if it was reset, or resume it, if it was suspended, and send frames around: "frames: 16 of 16".
    Frames,
    /// Ask for a suspend: "suspend: EOPNOTSUPP", "suspend: ok" or the error's number.
    Suspend,
}

impl Step {
    fn of(word: &str) -> Option<Self> {
        match word {
            "reset" => Some(Self::Reset),
            "busy-reset" => Some(Self::BusyReset),
            "frames" => Some(Self::Frames),
            "suspend" => Some(Self::Suspend),
            _ => None,
        }
    }
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = Device::open(&common.device, common.foreign || self.persist)?;
        let memory = driver_memory(common)?;
        if self.idle {
            self.wait(|word| Ok(format!("{word}: the device is only open")))?;
            return Ok(());
        }
        device.map(&memory, 0, true)?;
        let mut nic = if self.allow_trouble {
            // It may come before the status is read.
            let nic = Nic::prepare(&device, &memory, setup(common), common.limit())?;
            nic.try_start()?;
            Some(nic)
        } else {
            Some(Nic::start(&device, &memory, setup(common), common.limit())?)
        };
        if let (Some(nic), true) = (&mut nic, self.frames > 0) {
            let traffic = nic.loopback(self.frames)?;
            check_traffic(report, "frames came back", &traffic, self.frames);
        }
        let mut told = false;
        let mut suspended = false;
        self.wait(|word| {
            let Some(step) = Step::of(word) else {
                return Ok(format!("{word}: unknown"));
            };
            let said = self.carry_out(&device, &memory, &mut nic, &mut suspended, step)?;
            Ok(format!("{word}: {said}"))
        })?;
        if let Some(nic) = &nic {
            told = events::wait(&[&nic.config_call], Duration::ZERO)?[0] > 0;
        }
        if !self.allow_trouble {
            report.check_same(
                "the config event was signalled as expected",
                told,
                self.expect_trouble,
            );
        }
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

    fn carry_out<'a>(
        &self,
        device: &'a Device,
        memory: &'a Memory,
        nic: &mut Option<Nic<'a>>,
        suspended: &mut bool,
        step: Step,
    ) -> Result<String> {
        match step {
            Step::Reset | Step::BusyReset => {
                if let (Step::BusyReset, Some(nic)) = (step, nic.as_mut()) {
                    let frames = nic.new_run();
                    for sequence in 0..64 {
                        nic.queue_frame(&frames.make(sequence))?;
                    }
                    nic.transmit.kick(memory)?;
                }
                device.reset()?;
                *nic = None;
                *suspended = false;
                Ok(format!("status {:#x}", device.status()?))
            }
            Step::Frames => {
                if std::mem::take(suspended) {
                    device.resume().context("resuming")?;
                }
                let nic = match nic {
                    Some(nic) => nic,
                    None => nic.insert(Nic::start(
                        device,
                        memory,
                        setup(&self.common),
                        self.common.limit(),
                    )?),
                };
                let traffic = nic.loopback(16)?;
                Ok(format!("{} of 16", traffic.received))
            }
            Step::Suspend => Ok(match device.suspend() {
                Ok(()) => {
                    *suspended = true;
                    "ok".to_string()
                }
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    "EOPNOTSUPP".to_string()
                }
                Err(error) => error.to_string(),
            }),
        }
    }

    /// Answers what standard input asks for, until it ends or the time is over.
    fn wait(&self, mut answer: impl FnMut(&str) -> Result<String>) -> Result<()> {
        println!("ready");
        std::io::stdout().flush()?;
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let input = std::io::stdin();
        let mut bytes = [0; 64];
        let mut line = String::new();
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let mut descriptor = libc::pollfd {
                fd: input.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one valid structure, and its count.
            if unsafe { libc::poll(&mut descriptor, 1, left.as_millis() as i32) } <= 0 {
                continue;
            }
            // Past the buffer of the standard library, which poll() doesn't see.
            // SAFETY: the buffer is ours, and as long as said.
            let count =
                unsafe { libc::read(input.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
            if count <= 0 {
                break;
            }
            line.push_str(&String::from_utf8_lossy(&bytes[..count as usize]));
            while let Some((word, rest)) = line.split_once('\n') {
                println!("{}", answer(word)?);
                std::io::stdout().flush()?;
                line = rest.to_string();
            }
        }
        Ok(())
    }
}
