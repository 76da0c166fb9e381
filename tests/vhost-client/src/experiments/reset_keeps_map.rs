// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::translating_card;
use crate::card::AddressSpace;
use crate::device::Device;
use crate::memory::{Memory, Span};
use crate::nic::{Nic, Setup, AREA_SIZE};
use crate::output::Report;
use crate::{parse_number, Common};
use anyhow::{ensure, Result};
use clap::{Args, ValueEnum};
use serde_json::{json, Value};
use std::time::{Duration, Instant};

/// Map once, then start, send frames and reset several times: the map must stay, untouched, on the card
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Whether to acknowledge IOTLB_PERSIST; the map stays either way
    #[arg(long, value_enum, default_value_t = Persist::Both)]
    persist: Persist,
    /// How much to map; may be given several times
    #[arg(long, value_name = "BYTES", default_values_t = [16 << 20], value_parser = parse_number)]
    size: Vec<u64>,
    /// Separate ranges to map, with a gap behind each
    #[arg(long, value_name = "N", default_value_t = 1)]
    ranges: u64,
    /// Resets of the running device
    #[arg(long, value_name = "N", default_value_t = 5)]
    resets: usize,
    /// Frames before each reset, and after the last one
    #[arg(long, value_name = "N", default_value_t = 64)]
    frames: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Persist {
    Yes,
    No,
    Both,
}

/// The gap behind a range, so that neighbours can't be joined.
const GAP: u64 = 0x20_0000;

/// What one run of the story measured.
struct Outcome {
    persist: bool,
    size: u64,
    /// The address space before and after the first reset; `None` on a foreign device, or if the card has no IOMMU.
    space: Option<(AddressSpace, AddressSpace)>,
    commands_in_resets: Option<u64>,
    times: Vec<Duration>,
    frames_before: u32,
    frames_after: u32,
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        ensure!(
            self.resets > 0 && self.ranges > 0,
            "at least one reset and one range are needed"
        );
        let mut outcomes = Vec::new();
        for &size in &self.size {
            for persist in [true, false] {
                let skipped = if persist { Persist::No } else { Persist::Yes };
                if self.persist != skipped {
                    outcomes.push(self.run_once(report, size, persist)?);
                }
            }
        }
        report.value(
            "cases",
            outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
        );
        report.table = table(&outcomes);
        Ok(())
    }

    fn spans(&self, size: u64) -> Vec<Span> {
        // Whole huge pages, and room for rings and buffers in the first range.
        let each = (size / self.ranges)
            .next_multiple_of(0x20_0000)
            .max(AREA_SIZE);
        (0..self.ranges)
            .map(|number| Span::new(self.common.iova + number * (each + GAP), each))
            .collect()
    }

    fn run_once(&self, report: &mut Report, size: u64, persist: bool) -> Result<Outcome> {
        let common = &self.common;
        let memory = Memory::new(&self.spans(size), common.backing)?;
        let device = Device::open(&common.device, persist)?;
        device.map(&memory, 0, true)?;
        let card = translating_card(common, &device)?;
        let space = || card.as_ref().map(|card| card.address_space(0)).transpose();
        let case = format!(
            "{}, IOTLB_PERSIST {}",
            bytes(memory.size()),
            if persist {
                "acknowledged"
            } else {
                "not acknowledged"
            }
        );
        let mapped = space()?;
        if let Some(mapped) = &mapped {
            let whole = mapped.mode == "translated" && mapped.bytes == memory.size();
            report.check(
                format!("{case}: the card translates what was mapped"),
                whole,
                format!("{mapped:?}"),
            );
            let agreed = mapped.digest == mapped.expected_digest;
            report.check(
                format!("{case}: card and driver agree on the digest"),
                agreed,
                format!("{mapped:?}"),
            );
        }

        let mut outcome = Outcome {
            persist,
            size: memory.size(),
            space: None,
            commands_in_resets: None,
            times: Vec::new(),
            frames_before: 0,
            frames_after: 0,
        };
        for round in 0..=self.resets {
            let mut nic = Nic::start(&device, &memory, self.setup(), common.limit())?;
            let traffic = nic.loopback(self.frames)?;
            let when = if round == 0 {
                "before the first reset".into()
            } else {
                format!("after reset {round}, without a new map")
            };
            let name = format!("{case}: {} frames came back {when}", self.frames);
            report.check(name, traffic.complete(self.frames), traffic.describe());
            let before = space()?;
            if round == 0 {
                outcome.frames_before = traffic.received;
            } else {
                outcome.frames_after += traffic.received;
            }
            if round == self.resets {
                break;
            }
            let begin = Instant::now();
            device.set_status(0)?;
            outcome.times.push(begin.elapsed());
            report.check_same(
                format!("{case}: status after reset {}", round + 1),
                device.status()?,
                0,
            );
            if let (Some(before), Some(after)) = (before, space()?) {
                outcome.compare(report, &case, before, after);
            }
        }
        if let (Some(mapped), Some(last)) = (mapped, space()?) {
            let name = format!("{case}: neither resets nor starts changed the address space");
            report.check_same(name, last.translation(), mapped.translation());
        }
        Ok(outcome)
    }

    fn setup(&self) -> Setup {
        Setup::new(self.common.iova, self.common.entries)
    }
}

impl Outcome {
    /// Compares the address space before and after one reset.
    fn compare(
        &mut self,
        report: &mut Report,
        case: &str,
        before: AddressSpace,
        after: AddressSpace,
    ) {
        let number = self.times.len();
        report.check_same(
            format!("{case}: the card's translations after reset {number}"),
            after.translation(),
            before.translation(),
        );
        let commands = after.card_commands - before.card_commands;
        report.check_same(
            format!("{case}: IOMMU commands during reset {number}, on the whole card"),
            commands,
            0,
        );
        self.commands_in_resets = Some(self.commands_in_resets.unwrap_or(0) + commands);
        self.space.get_or_insert((before, after));
    }

    fn minimum_and_median(&self) -> (u128, u128) {
        let mut times: Vec<u128> = self.times.iter().map(Duration::as_micros).collect();
        times.sort_unstable();
        (times[0], times[times.len() / 2])
    }

    fn json(&self) -> Value {
        let (minimum, median) = self.minimum_and_median();
        json!({
            "persist_acknowledged": self.persist,
            "mapped_bytes": self.size,
            "before": self.space.as_ref().map(|(before, _)| before),
            "after": self.space.as_ref().map(|(_, after)| after),
            "iommu_commands_during_resets": self.commands_in_resets,
            "resets": self.times.len(),
            "reset_us_minimum": minimum as u64,
            "reset_us_median": median as u64,
            "frames_before": self.frames_before,
            "frames_after": self.frames_after,
        })
    }
}

/// One column a case, one row a fact.
fn table(outcomes: &[Outcome]) -> Vec<Vec<String>> {
    let row = |name: &str, cell: &dyn Fn(&Outcome) -> String| -> Vec<String> {
        std::iter::once(name.to_string())
            .chain(outcomes.iter().map(cell))
            .collect()
    };
    let from_card = |outcome: &Outcome, cell: &dyn Fn(&AddressSpace, &AddressSpace) -> String| {
        outcome
            .space
            .as_ref()
            .map_or("unknown".to_string(), |(before, after)| cell(before, after))
    };
    vec![
        row("IOTLB_PERSIST", &|outcome| {
            if outcome.persist {
                "acknowledged"
            } else {
                "not acknowledged"
            }
            .to_string()
        }),
        row("mapped", &|outcome| bytes(outcome.size)),
        row("extents on the card", &|outcome| {
            from_card(outcome, &|before, _| before.extents.to_string())
        }),
        row("digest before the reset", &|outcome| {
            from_card(outcome, &|before, _| before.digest.clone())
        }),
        row("digest after the reset", &|outcome| {
            from_card(outcome, &|_, after| after.digest.clone())
        }),
        row("IOMMU commands during reset", &|outcome| {
            outcome
                .commands_in_resets
                .map_or("unknown".to_string(), |commands| commands.to_string())
        }),
        row("reset time, minimum", &|outcome| {
            format!("{} us", outcome.minimum_and_median().0)
        }),
        row("reset time, median", &|outcome| {
            format!(
                "{} us of {}",
                outcome.minimum_and_median().1,
                outcome.times.len()
            )
        }),
        row("packets before", &|outcome| {
            outcome.frames_before.to_string()
        }),
        row("packets after, same map", &|outcome| {
            outcome.frames_after.to_string()
        }),
    ]
}

fn bytes(size: u64) -> String {
    format!("{} MiB", size >> 20)
}
