// SPDX-License-Identifier: GPL-2.0-only OR MIT

mod driver;

use super::driver_memory;
use crate::device::Device;
use crate::memory::Memory;
use crate::output::Report;
use crate::Common;
use anyhow::{Context, Result};
use clap::Args;
use driver::{Driver, Start};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Open the device, start it, and hold it until standard input ends or the time is over
///
/// Prints the line "ready" once the device runs. A line of standard input that says reset, busy-reset, frames, lost, suspend,
/// fault or load has it do that, and answer with a line. With a block device, frames are requests, written and read back
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
    /// Offer no receive buffers, and send no frames around
    #[arg(long)]
    deaf: bool,
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
    /// Send frames and take none: "lost: 16 sent".
    Lost,
    /// Ask for a suspend: "suspend: EOPNOTSUPP", "suspend: ok" or the error's number.
    Suspend,
    /// Have the device read where nothing is mapped: "fault: status 0x4f".
    Fault,
    /// From now on, send frames around whenever there is nothing else to do: "load: 16 of 16".
    Load,
}

impl Step {
    fn of(word: &str) -> Option<Self> {
        match word {
            "reset" => Some(Self::Reset),
            "busy-reset" => Some(Self::BusyReset),
            "frames" => Some(Self::Frames),
            "lost" => Some(Self::Lost),
            "suspend" => Some(Self::Suspend),
            "fault" => Some(Self::Fault),
            "load" => Some(Self::Load),
            _ => None,
        }
    }
}

/// An open device, and what it is doing.
struct Holder<'a> {
    common: &'a Common,
    device: &'a Device,
    memory: &'a Memory,
    driver: Option<Driver<'a>>,
    suspended: bool,
    loaded: bool,
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = Device::open(&common.device, common.foreign || self.persist)?;
        let memory = driver_memory(common)?;
        let mut holder = Holder {
            common,
            device: &device,
            memory: &memory,
            driver: None,
            suspended: false,
            loaded: false,
        };
        if self.idle {
            return holder.wait(self.seconds);
        }
        device.map(&memory, 0, true)?;
        let mut driver = Driver::start(
            common,
            &device,
            &memory,
            Start {
                deaf: self.deaf,
                perhaps: self.allow_trouble,
            },
        )?;
        if self.frames > 0 && !self.deaf {
            let work = driver.work(self.frames)?;
            report.check("frames came back", work.complete, work.description);
        }
        holder.driver = Some(driver);
        holder.wait(self.seconds)?;
        let told = match &holder.driver {
            Some(driver) => driver.is_in_trouble(&device)?,
            None => false,
        };
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
}

impl Holder<'_> {
    fn carry_out(&mut self, step: Step) -> Result<String> {
        match step {
            Step::Reset | Step::BusyReset => {
                if let (Step::BusyReset, Some(driver)) = (step, self.driver.as_mut()) {
                    driver.burst(self.memory)?;
                }
                self.device.reset()?;
                self.driver = None;
                self.suspended = false;
                Ok(format!("status {:#x}", self.device.status()?))
            }
            Step::Frames => self.frames(),
            Step::Lost => {
                let driver = self.driver.as_mut().context("the device is only open")?;
                driver.lose(self.common, self.memory)
            }
            Step::Load => {
                self.loaded = true;
                self.frames()
            }
            Step::Suspend => Ok(match self.device.suspend() {
                Ok(()) => {
                    self.suspended = true;
                    "ok".to_string()
                }
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    "EOPNOTSUPP".to_string()
                }
                Err(error) => error.to_string(),
            }),
            Step::Fault => {
                let driver = self.driver.as_mut().context("the device is only open")?;
                driver.fault(self.common, self.device)?;
                Ok(format!("status {:#x}", self.device.status()?))
            }
        }
    }

    /// Sends frames around, on a device that is started or resumed if need be.
    fn frames(&mut self) -> Result<String> {
        if std::mem::take(&mut self.suspended) {
            self.device.resume().context("resuming")?;
        }
        let driver = match &mut self.driver {
            Some(driver) => driver,
            none => none.insert(Driver::start(
                self.common,
                self.device,
                self.memory,
                Start::default(),
            )?),
        };
        Ok(format!("{} of 16", driver.work(16)?.came))
    }

    fn answer(&mut self, word: &str) -> Result<String> {
        match Step::of(word) {
            Some(step) => self.carry_out(step),
            None => Ok("unknown".to_string()),
        }
    }

    /// Answers what standard input asks for, until it ends or the time is over.
    fn wait(&mut self, seconds: u64) -> Result<()> {
        println!("ready");
        std::io::stdout().flush()?;
        let end = Instant::now() + Duration::from_secs(seconds);
        let input = std::io::stdin();
        let mut bytes = [0; 64];
        let mut line = String::new();
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let mut descriptor = libc::pollfd {
                fd: input.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            let milliseconds = if self.loaded {
                0
            } else {
                left.as_millis() as i32
            };
            // SAFETY: one valid structure, and its count.
            if unsafe { libc::poll(&mut descriptor, 1, milliseconds) } <= 0 {
                if self.loaded {
                    self.frames()?;
                }
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
                println!("{word}: {}", self.answer(word)?);
                std::io::stdout().flush()?;
                line = rest.to_string();
            }
        }
        Ok(())
    }
}
