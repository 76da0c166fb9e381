// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A vhost-vdpa client whose every subcommand is one experiment with a clear result.

mod bench;
mod card;
mod control;
mod device;
mod disk;
mod events;
mod experiments;
mod format;
mod iotlb;
mod memory;
mod nic;
mod output;
mod packed;
mod queue;
mod raw;
mod ring;
mod traffic;

use clap::{Args, Parser, Subcommand};
use memory::Backing;
use output::Report;
use std::process::ExitCode;
use std::time::Duration;

/// A vhost-vdpa client for trying out a vDPA device and its driver: a network device, or where it is said a block device.
///
/// Every subcommand is one experiment. It ends with PASSED and exit code 0, with FAILED and 1 if a check failed, or with
/// ERROR and 2 if it couldn't be carried to its end. Frames are broadcast, and most experiments need a device whose
/// frames come back: a Mooring card with `--uplink loopback`, or vdpa_sim_net.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    experiment: Experiment,
}

/// Options that all experiments have.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The device: its vDPA name, or its node /dev/vhost-vdpa-N
    device: String,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    /// Seconds after which a wait for the device has failed
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    timeout: u64,
    /// Where the client's rings and buffers begin, as an I/O virtual address
    #[arg(long, value_name = "ADDRESS", default_value = "0x10000000", value_parser = parse_number)]
    iova: u64,
    /// Entries of a ring, if the device allows so many
    #[arg(long, value_name = "N", default_value_t = 256)]
    entries: u16,
    /// What lies behind the memory that the device works on
    #[arg(long, value_enum, default_value_t = Backing::Anonymous)]
    backing: Backing,
    /// The device isn't a Mooring card's: leave out what only a Mooring driver tells in debugfs or promises
    #[arg(long)]
    foreign: bool,
}

impl Common {
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[derive(Subcommand)]
enum Experiment {
    Info(experiments::info::Options),
    Loopback(experiments::loopback::Options),
    Block(experiments::block::Options),
    BadBlocks(experiments::bad_blocks::Options),
    ResetKeepsMap(experiments::reset_keeps_map::Options),
    ResetIsQuiet(experiments::reset_is_quiet::Options),
    StartUnmapped(experiments::start_unmapped::Options),
    Fault(experiments::fault::Options),
    RemapLive(experiments::remap_live::Options),
    Junk(experiments::junk::Options),
    BatchFailure(experiments::batch_failure::Options),
    MapLimit(experiments::map_limit::Options),
    Migrate(experiments::migrate::Options),
    Suspend(experiments::suspend::Options),
    Announce(experiments::announce::Options),
    Scale(experiments::scale::Options),
    Ranges(experiments::ranges::Options),
    VqState(experiments::vq_state::Options),
    DoorbellPage(experiments::doorbell_page::Options),
    Groups(experiments::groups::Options),
    Hold(experiments::hold::Options),
    #[command(subcommand)]
    Bench(bench::Bench),
}

/// Numbers as people write them: decimal or with 0x, and with K, M or G behind them.
pub fn parse_number(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number = match digits.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => digits.parse(),
    };
    let number = number.map_err(|error| error.to_string())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "the number is too large".to_string())
}

fn main() -> ExitCode {
    memory::lift_lock_limit();
    match Cli::parse().experiment {
        Experiment::Info(options) => {
            carry_out("info", &options.common, |report| options.run(report))
        }
        Experiment::Loopback(options) => {
            carry_out("loopback", &options.common, |report| options.run(report))
        }
        Experiment::Block(options) => {
            carry_out("block", &options.common, |report| options.run(report))
        }
        Experiment::BadBlocks(options) => {
            carry_out("bad-blocks", &options.common, |report| options.run(report))
        }
        Experiment::ResetKeepsMap(options) => {
            carry_out("reset-keeps-map", &options.common, |report| {
                options.run(report)
            })
        }
        Experiment::ResetIsQuiet(options) => {
            carry_out("reset-is-quiet", &options.common, |report| {
                options.run(report)
            })
        }
        Experiment::StartUnmapped(options) => {
            carry_out("start-unmapped", &options.common, |report| {
                options.run(report)
            })
        }
        Experiment::Fault(options) => {
            carry_out("fault", &options.common, |report| options.run(report))
        }
        Experiment::RemapLive(options) => {
            carry_out("remap-live", &options.common, |report| options.run(report))
        }
        Experiment::Junk(options) => {
            carry_out("junk", &options.common, |report| options.run(report))
        }
        Experiment::BatchFailure(options) => {
            carry_out("batch-failure", &options.common, |report| {
                options.run(report)
            })
        }
        Experiment::MapLimit(options) => {
            carry_out("map-limit", &options.common, |report| options.run(report))
        }
        Experiment::Migrate(options) => {
            carry_out("migrate", &options.common, |report| options.run(report))
        }
        Experiment::Announce(options) => {
            carry_out("announce", &options.common, |report| options.run(report))
        }
        Experiment::Suspend(options) => {
            carry_out("suspend", &options.common, |report| options.run(report))
        }
        Experiment::Scale(options) => {
            carry_out("scale", &options.common, |report| options.run(report))
        }
        Experiment::Ranges(options) => {
            carry_out("ranges", &options.common, |report| options.run(report))
        }
        Experiment::VqState(options) => {
            carry_out("vq-state", &options.common, |report| options.run(report))
        }
        Experiment::DoorbellPage(options) => {
            carry_out("doorbell-page", &options.common, |report| {
                options.run(report)
            })
        }
        Experiment::Groups(options) => {
            carry_out("groups", &options.common, |report| options.run(report))
        }
        Experiment::Hold(options) => {
            carry_out("hold", &options.common, |report| options.run(report))
        }
        Experiment::Bench(bench) => {
            carry_out(bench.name(), bench.common(), |report| bench.run(report))
        }
    }
}

fn carry_out(
    name: &'static str,
    common: &Common,
    run: impl FnOnce(&mut Report) -> anyhow::Result<()>,
) -> ExitCode {
    let mut report = Report::new(name, &common.device);
    if let Err(error) = run(&mut report) {
        report.error = Some(format!("{error:#}"));
    }
    report.print(common.json);
    ExitCode::from(report.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn numbers() {
        assert_eq!(parse_number("0x10K"), Ok(0x4000));
        assert_eq!(parse_number("64M"), Ok(64 << 20));
        assert!(parse_number("12x").is_err());
        assert!(parse_number("0xffffffffffffffffG").is_err());
    }
}
