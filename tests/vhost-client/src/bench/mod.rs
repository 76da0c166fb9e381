// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Measurements of what maps, resets and frames cost, through vhost-vdpa and so on any parent. They have figures and no checks:
//! what to think of a figure is for whoever compares it with another one.

mod change;
mod clock;
mod dma_trace;
mod frames;
mod map;
mod plan;
mod reset;
mod restart;
mod statistics;

use crate::card::AddressSpace;
use crate::device::Device;
use crate::iotlb::{Message, BATCH_BEGIN, BATCH_END};
use crate::memory::{Backing, Memory, Span};
use crate::nic::{Nic, Setup};
use crate::output::Report;
use crate::{parse_number, Common};
use anyhow::{ensure, Context, Result};
use clap::{Args, Subcommand};
use plan::Plan;
use serde_json::{json, Value};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Measure what maps, resets and frames cost, for `make bench`
#[derive(Subcommand)]
pub enum Bench {
    Reset(reset::Options),
    Restart(restart::Options),
    Map(map::Options),
    Change(change::Options),
    Frames(frames::Options),
}

impl Bench {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reset(_) => "bench-reset",
            Self::Restart(_) => "bench-restart",
            Self::Map(_) => "bench-map",
            Self::Change(_) => "bench-change",
            Self::Frames(_) => "bench-frames",
        }
    }

    pub fn common(&self) -> &Common {
        match self {
            Self::Reset(options) => &options.measurement.common,
            Self::Restart(options) => &options.measurement.common,
            Self::Map(options) => &options.measurement.common,
            Self::Change(options) => &options.measurement.common,
            Self::Frames(options) => &options.common,
        }
    }

    pub fn run(&self, report: &mut Report) -> Result<()> {
        report.value(
            "counter_check",
            json!({ "executed": clock::CHECK, "counted": clock::check() }),
        );
        let cases = match self {
            Self::Reset(reset::Options { measurement }) => {
                measurement.each_size(|bed| reset::measure(bed, measurement))
            }
            Self::Restart(restart::Options { measurement }) => {
                measurement.each_size(|bed| restart::measure(bed, measurement))
            }
            Self::Map(options) => options.measurement.each_size(|bed| options.measure(bed)),
            Self::Change(options) => options.measurement.each_size(|bed| options.measure(bed)),
            Self::Frames(options) => options.run()?,
        };
        report.value("cases", cases);
        Ok(())
    }
}

/// Options that all measurements of maps have.
#[derive(Args)]
pub struct Measurement {
    #[command(flatten)]
    pub common: Common,
    /// Ranges of a page each to map; may be given several times
    #[arg(long, value_name = "N", default_values_t = [2048], value_parser = parse_number)]
    ranges: Vec<u64>,
    /// How often to measure
    #[arg(long, value_name = "N", default_value_t = 20)]
    rounds: usize,
    /// Seconds after which no further round begins; there is at least one
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    seconds: u64,
}

impl Measurement {
    /// Measures every size. A size that can't be measured says why, and the others go on.
    fn each_size(&self, measure: impl Fn(&Bed) -> Result<Value>) -> Vec<Value> {
        let case = |&ranges: &u64| {
            let mut case = Bed::new(self, ranges)
                .and_then(|bed| measure(&bed))
                .unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
            case["ranges"] = ranges.into();
            case
        };
        self.ranges.iter().map(case).collect()
    }

    /// Does the rounds, after one that isn't measured, and collects what they return.
    fn repeat<T>(&self, mut round: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let mut results = Vec::new();
        for number in 0..=self.rounds {
            let result = round()?;
            // The first round fills caches: the translator's, the allocator's.
            if number > 0 || self.rounds == 0 {
                results.push(result);
            }
            if !results.is_empty() && Instant::now() > end {
                break;
            }
        }
        Ok(results)
    }
}

/// Bytes for the rings of both queues, which is all that a start needs.
const RINGS_SIZE: u64 = 0x1_0000;
/// Entries of a ring. No frame is sent.
const RING_ENTRIES: u16 = 16;

/// An open device, and what is to be mapped for it.
struct Bed {
    device: Device,
    plan: Plan,
    rings: Memory,
    setup: Setup,
    limit: Duration,
    foreign: bool,
    /// Behind the plan's ranges.
    _pages: Memory,
}

impl Bed {
    fn new(measurement: &Measurement, ranges: u64) -> Result<Self> {
        let common = &measurement.common;
        ensure!(
            (1..1 << 24).contains(&ranges),
            "{ranges} ranges are none or more than can be mapped"
        );
        // A foreign parent drops the map in a reset unless it is asked not to.
        let device = Device::open(&common.device, true)?;
        // Small pages, so that what lies behind a range is a page and nothing larger.
        let rings = Memory::new(&[Span::new(common.iova, RINGS_SIZE)], Backing::Memfd)?;
        let first = common.iova + 2 * RINGS_SIZE;
        let pages = Memory::new(&[Span::new(first, Plan::memory(ranges))], Backing::Memfd)?;
        let setup = Setup {
            fill: false,
            ..Setup::new(common.iova, RING_ENTRIES)
        };
        Ok(Self {
            plan: Plan::new(first, pages.address(first), ranges),
            device,
            rings,
            setup,
            limit: common.limit(),
            foreign: common.foreign,
            _pages: pages,
        })
    }

    fn send(&self, message: Message) -> Result<()> {
        self.device
            .send(message)
            .with_context(|| format!("{message:x?}"))
    }

    /// Sends messages as one batch.
    fn batch(&self, messages: impl IntoIterator<Item = Message>) -> Result<()> {
        self.send(Message::new(BATCH_BEGIN, 0))?;
        for message in messages {
            self.send(message)?;
        }
        self.send(Message::new(BATCH_END, 0))
    }

    /// The messages that map all of the plan.
    fn all(&self) -> impl Iterator<Item = Message> + '_ {
        (0..self.plan.ranges()).map(|range| self.plan.map(range))
    }

    /// Maps the rings, so that the device can be started.
    fn map_rings(&self) -> Result<()> {
        self.device.map(&self.rings, 0, true)
    }

    /// Everything from status 0 to DRIVER_OK.
    fn start(&self) -> Result<Nic<'_>> {
        Nic::start(&self.device, &self.rings, self.setup, self.limit)
    }

    /// What the card says of the address space; `None` if nobody tells.
    fn space(&self) -> Result<Option<AddressSpace>> {
        if self.foreign {
            return Ok(None);
        }
        self.device.card().address_space(0).map(Some)
    }

    /// IOMMU commands that the work took, beside its result.
    fn commands<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Option<u64>)> {
        let before = self.space()?;
        let result = work()?;
        let after = self.space()?;
        let commands = before
            .zip(after)
            .map(|(before, after)| after.card_commands - before.card_commands);
        Ok((result, commands))
    }

    /// Extents on the card.
    fn extents(&self) -> Result<Value> {
        Ok(json!(self.space()?.map(|space| space.extents)))
    }
}

/// Does the work between two marks in the card's log of accesses, for scripts/bench to count between: accesses to the card
/// that nothing else makes.
fn marked<T>(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let function = dma_trace::function_of(&device.name)?;
    let path = format!("/sys/bus/pci/devices/{function}/config");
    let mark = || {
        File::open(&path)
            .and_then(|config| config.read_exact_at(&mut [0], 0xff))
            .with_context(|| format!("reading {path}"))
    };
    mark()?;
    let result = work()?;
    mark()?;
    Ok(result)
}
