// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{driver_memory, open, setup};
use crate::card::Statistics;
use crate::device::{Device, STATUS_DRIVER_OK, STATUS_FAILED, STATUS_NEEDS_RESET};
use crate::format::Format;
use crate::nic::{Nic, Setup, RECEIVE, TRANSMIT};
use crate::output::Report;
use crate::ring::Ring;
use crate::traffic::{Frames, Traffic};
use crate::Common;
use anyhow::{ensure, Context, Result};
use clap::Args;
use std::time::{Duration, Instant};

/// Move running queues from a device to another and back, under load: suspend, read where they stand, go on elsewhere
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    format: Format,
    /// The device to move to, already on vhost_vdpa
    #[arg(long, value_name = "DEVICE")]
    to: String,
    /// A third device, already on vhost_vdpa, that frames go to and come from; without it they come back by a loop
    #[arg(long, value_name = "DEVICE")]
    peer: Option<String>,
    /// How often to move
    #[arg(long, value_name = "N", default_value_t = 8)]
    moves: u32,
    /// Reset the device instead of suspending it first: stop each queue by itself, as a driver without SUSPEND does
    #[arg(long)]
    stop: bool,
}

/// Frames that are sent on each device before the next move, in each direction.
const FRAMES: u32 = 150;
/// Frames that wait in the ring at a move, because nobody has told the device of them.
const WAITING: u32 = 9;
/// Frames under way at most; fewer than the receive buffers, so that a device that runs drops none.
const WINDOW: u32 = 64;
/// How long a suspended device is watched.
const QUIET: Duration = Duration::from_millis(20);

/// What goes in one direction.
struct Flow {
    frames: Frames,
    traffic: Traffic,
}

/// The other end of the network, which never stops, and what it sends.
struct Peer<'a> {
    nic: Nic<'a>,
    back: Flow,
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let devices = [open(common)?, Device::open(&self.to, common.foreign)?];
        let peer = self.peer.as_deref();
        let peer = peer
            .map(|name| Device::open(name, common.foreign))
            .transpose()?;
        let memory = driver_memory(common)?;
        let peer_memory = driver_memory(common)?;
        for device in &devices {
            device.map(&memory, 0, true)?;
        }
        let before = counters(common, &devices)?;

        let setup = Setup {
            format: self.format,
            first: Ring::first(self.format, 0),
            ..setup(common)
        };
        let mut mover = Nic::start(&devices[0], &memory, setup, common.limit())?;
        let mut peer = match &peer {
            Some(device) => {
                device.map(&peer_memory, 0, true)?;
                let mut nic = Nic::start(device, &peer_memory, setup, common.limit())?;
                let back = Flow {
                    frames: nic.new_run(),
                    traffic: Traffic {
                        may_lose: true,
                        ..Traffic::default()
                    },
                };
                Some(Peer { nic, back })
            }
            None => None,
        };
        // To the peer nothing may be lost, because the peer never stops. What is sent to a device that is moving may.
        let mut out = Flow {
            frames: mover.new_run(),
            traffic: Traffic {
                may_lose: peer.is_none(),
                ..Traffic::default()
            },
        };
        let mut waiting = 0;
        for step in 0..=self.moves {
            self.exchange(&mut mover, &mut peer, &mut out)?;
            if step == self.moves || out.traffic.problem.is_some() {
                break;
            }
            for _ in 0..WAITING {
                if send(&mut mover, &mut out)? {
                    waiting += 1;
                }
            }
            let to = &devices[(step as usize + 1) % 2];
            self.carry_over(report, &mut mover, to, step)?;
        }
        self.settle(&mut mover, &mut peer, &mut out)?;
        self.judge(report, &mover, &out, peer.as_ref(), waiting);
        if let Some(before) = before {
            let after = counters(common, &devices)?.context("no counters")?;
            let arrived = match &peer {
                Some(peer) => delivered(&peer.back.traffic),
                None => delivered(&out.traffic),
            };
            let moved = |name| after[name] - before[name];
            let sent = u64::from(out.traffic.sent);
            report.check_same("the cards took each frame once", moved("tx_frames"), sent);
            report.check_same(
                "what the cards delivered was in the ring once",
                moved("rx_frames"),
                arrived,
            );
        }
        Ok(())
    }

    /// Sends frames both ways, and takes what comes.
    fn exchange(&self, mover: &mut Nic, peer: &mut Option<Peer>, out: &mut Flow) -> Result<()> {
        let goal = out.traffic.sent + FRAMES;
        let end = Instant::now() + self.common.limit();
        while out.traffic.sent < goal && out.traffic.problem.is_none() {
            let mut progress = false;
            // What was lost on the way never comes, and must not keep the window closed for ever.
            let under_way = mover.transmit.ring.outstanding() as u32;
            let unseen = match peer {
                Some(_) => out.traffic.sent - out.traffic.received,
                None => 0,
            };
            if under_way < WINDOW && unseen < WINDOW && send(mover, out)? {
                mover.transmit.kick(mover.memory)?;
                progress = true;
            }
            if let Some(Peer { nic, back }) = peer {
                if (nic.transmit.ring.outstanding() as u32) < WINDOW && send(nic, back)? {
                    nic.transmit.kick(nic.memory)?;
                    progress = true;
                }
            }
            progress |= collect(mover, peer, out)?;
            if !progress {
                std::thread::sleep(Duration::from_micros(200));
            }
            ensure!(Instant::now() < end, "frames stand still");
        }
        Ok(())
    }

    /// Waits until everything has been sent and, where nothing can be lost, has arrived.
    fn settle(&self, mover: &mut Nic, peer: &mut Option<Peer>, out: &mut Flow) -> Result<()> {
        let end = Instant::now() + self.common.limit();
        let mut quiet = Instant::now();
        mover.transmit.kick(mover.memory)?;
        loop {
            if collect(mover, peer, out)? {
                quiet = Instant::now();
            }
            let sent = mover.transmit.ring.outstanding() == 0
                && peer
                    .as_ref()
                    .is_none_or(|peer| peer.nic.transmit.ring.outstanding() == 0);
            let arrived = peer.is_none() || out.traffic.received == out.traffic.sent;
            if sent && arrived && quiet.elapsed() > 5 * QUIET {
                return Ok(());
            }
            if out.traffic.problem.is_some() || Instant::now() > end {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Suspends the device that the mover is on, and goes on at the same place on another.
    fn carry_over<'a>(
        &self,
        report: &mut Report,
        mover: &mut Nic<'a>,
        to: &'a Device,
        step: u32,
    ) -> Result<()> {
        let from = mover.device;
        if self.stop {
            for index in [TRANSMIT, RECEIVE] {
                from.enable(index, false)?;
            }
        } else {
            from.suspend().context("VHOST_VDPA_SUSPEND")?;
        }
        let told = [from.position(RECEIVE)?, from.position(TRANSMIT)?];
        let stands = mover.positions();
        std::thread::sleep(QUIET);
        let later = mover.positions();
        if stands != later || stands != told {
            report.check(
                format!("the rings stand still and where the device says, move {step}"),
                false,
                format!("told {told:x?}, the rings stand at {stands:x?}, then at {later:x?}"),
            );
        }
        from.reset()?;
        let status = mover.move_to(to, told)?;
        ensure!(
            status & STATUS_DRIVER_OK != 0 && status & (STATUS_FAILED | STATUS_NEEDS_RESET) == 0,
            "{} did not start after move {step}: its status is {status:#x}",
            to.name
        );
        Ok(())
    }

    fn judge(
        &self,
        report: &mut Report,
        mover: &Nic,
        out: &Flow,
        peer: Option<&Peer>,
        waiting: u32,
    ) {
        report.check(
            format!(
                "frames arrived in order and once across {} moves",
                self.moves
            ),
            out.traffic.problem.is_none(),
            out.traffic.describe(),
        );
        if let Some(Peer { back, .. }) = peer {
            report.check_same("frames that were sent and are missing", out.traffic.lost, 0);
            report.check_same(
                "frames that arrived of those that were sent",
                out.traffic.received,
                out.traffic.sent,
            );
            report.check(
                "frames to the device that moves came in order and once",
                back.traffic.problem.is_none(),
                back.traffic.describe(),
            );
            report.check(
                "frames reached the device that moves",
                delivered(&back.traffic) > u64::from(self.moves),
                back.traffic.describe(),
            );
            report.value("lost_while_away", back.traffic.lost);
        } else {
            report.value("lost_while_away", out.traffic.lost);
        }
        report.check_same(
            "buffers that the device keeps",
            mover.transmit.ring.outstanding(),
            0,
        );
        report.check(
            "frames waited in the ring at each move",
            waiting >= self.moves,
            format!("{waiting} in {} moves", self.moves),
        );
        report.value("moves", self.moves);
        report.value("frames", out.traffic.sent);
        report.value("waited", waiting);
    }
}

/// Puts the next frame of a flow into the transmit ring, without a kick. False if there is no room.
fn send(nic: &mut Nic, flow: &mut Flow) -> Result<bool> {
    let frame = flow.frames.make(flow.traffic.sent);
    let queued = nic.queue_frame(&frame)?;
    flow.traffic.sent += u32::from(queued);
    Ok(queued)
}

/// Takes what both devices gave back. False if that was nothing.
fn collect(mover: &mut Nic, peer: &mut Option<Peer>, out: &mut Flow) -> Result<bool> {
    match peer {
        Some(Peer { nic, back }) => {
            let there = nic.collect(&out.frames, &mut out.traffic)?;
            Ok(mover.collect(&back.frames, &mut back.traffic)? | there)
        }
        None => mover.collect(&out.frames, &mut out.traffic),
    }
}

/// Frames that a flow's receiver found in its ring, those of others included.
fn delivered(traffic: &Traffic) -> u64 {
    u64::from(traffic.received - traffic.lost) + u64::from(traffic.strays)
}

/// The cards' counters of both devices together, where a Mooring driver tells them.
fn counters(common: &Common, devices: &[Device; 2]) -> Result<Option<Statistics>> {
    if common.foreign {
        return Ok(None);
    }
    let mut sum = devices[0].card().statistics()?;
    for (name, value) in devices[1].card().statistics()? {
        *sum.entry(name).or_default() += value;
    }
    Ok(Some(sum))
}
