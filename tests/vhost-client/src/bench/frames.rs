// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::clock::Cost;
use super::marked;
use super::statistics::{summarise, Summary};
use crate::device::Device;
use crate::memory::{Memory, Span};
use crate::nic::{Nic, Setup, AREA_SIZE};
use crate::Common;
use anyhow::{ensure, Result};
use clap::Args;
use serde_json::{json, Value};

/// What a frame costs that a device sends and gets back: alone, and with others under way
///
/// The device must be in a loop. A round is a number of frames; the client makes each of them, and compares it when it comes
/// back. It sleeps until an event comes, as a virtual machine monitor does, and looks at the rings only then.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Frames under way at most; may be given several times
    #[arg(long, value_name = "N", default_values_t = [1, 32], value_parser = clap::value_parser!(u32).range(1..=128))]
    window: Vec<u32>,
    /// Bytes of the largest frame; may be given several times
    #[arg(long, value_name = "BYTES", default_values_t = [60, 1514])]
    size: Vec<usize>,
    /// Frames of a round
    #[arg(long, value_name = "N", default_value_t = 256)]
    frames: u32,
    /// How often to measure
    #[arg(long, value_name = "N", default_value_t = 20)]
    rounds: u32,
    /// Measure between two accesses that mark the place in the log of a card that logs all (mooring-sim -vvv)
    #[arg(long)]
    mark: bool,
    /// Ring the doorbell page instead of an event descriptor
    #[arg(long)]
    doorbell: bool,
}

impl Options {
    pub(super) fn run(&self) -> Result<Vec<Value>> {
        let device = Device::open(&self.common.device, true)?;
        let memory = Memory::new(
            &[Span::new(self.common.iova, AREA_SIZE)],
            self.common.backing,
        )?;
        device.map(&memory, 0, true)?;
        let setup = Setup {
            doorbell: self.doorbell,
            ..Setup::new(self.common.iova, self.common.entries)
        };
        let mut cases = Vec::new();
        // Frames only get smaller, because a driver's largest is what it began with.
        for &size in &self.size {
            for &window in &self.window {
                let mut nic = Nic::start(&device, &memory, setup, self.common.limit())?;
                nic.limit_frames(size);
                let measured = if self.mark {
                    marked(&device, || self.measure(&mut nic, window))
                } else {
                    self.measure(&mut nic, window)
                };
                let mut case =
                    measured.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
                drop(nic);
                device.reset()?;
                case["size"] = size.into();
                case["window"] = window.into();
                cases.push(case);
            }
        }
        Ok(cases)
    }

    fn measure(&self, nic: &mut Nic<'_>, window: u32) -> Result<Value> {
        let mut costs = Vec::new();
        let mut receive_kicks = Vec::new();
        let mut transmit_kicks = Vec::new();
        let mut interrupts = Vec::new();
        // The first round fills caches and is not counted.
        for round in 0..=self.rounds {
            let before = (nic.receive.kicks.get(), nic.transmit.kicks.get());
            let (traffic, cost) = Cost::of(|| nic.loopback_of(self.frames, window));
            let traffic = traffic?;
            ensure!(traffic.complete(self.frames), "{}", traffic.describe());
            if round > 0 || self.rounds == 0 {
                costs.push(cost);
                receive_kicks.push(nic.receive.kicks.get() - before.0);
                transmit_kicks.push(nic.transmit.kicks.get() - before.1);
                interrupts.push(traffic.receive_interrupts + traffic.transmit_interrupts);
            }
        }
        Ok(json!({
            "frames": self.frames,
            "round": summarise(&costs),
            "receive_kicks": Summary::of(receive_kicks),
            "transmit_kicks": Summary::of(transmit_kicks),
            "interrupts": Summary::of(interrupts),
        }))
    }
}
