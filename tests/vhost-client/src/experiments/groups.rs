// SPDX-License-Identifier: GPL-2.0-only OR MIT

mod control;

use super::{check_traffic, driver_memory, open, setup};
use crate::device::{
    errno, Device, BACKEND_DESC_ASID, FEATURE_CTRL_VQ, STATUS_DRIVER_OK, STATUS_FAILED,
    STATUS_NEEDS_RESET,
};
use crate::events;
use crate::memory::{Memory, Span};
use crate::nic::{Nic, AREA_SIZE, RINGS_SIZE};
use crate::output::Report;
use crate::ring::Buffer;
use crate::Common;
use anyhow::{ensure, Context, Result};
use clap::{Args, ValueEnum};
use std::time::{Duration, Instant};
use vhost::vdpa::VhostVdpa;
use vhost::vhost_kern::VhostKernFeatures;
use vhost::VhostBackend;
use vmm_sys_util::eventfd::EventFd;

/// Give buffers, control queue and rings an address space each: none reaches what only another one maps
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// What is tried
    #[arg(long, value_enum, default_value_t = Kind::Apart)]
    kind: Kind,
    /// Another device, already on vhost_vdpa and in a loop, that must go on working meanwhile
    #[arg(long, value_name = "DEVICE")]
    other: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Rings and buffers are mapped in different spaces, and frames flow; a reset puts the groups back
    Apart,
    /// A transmit buffer that only the control queue's space maps
    BufferInControlSpace,
    /// A transmit buffer that only the rings' space maps
    BufferInRingSpace,
    /// A transmit buffer that only the other device maps
    BufferOfOtherDevice,
    /// Rings that only the buffers' space maps
    RingsInBufferSpace,
    /// The rings' group is in a space that its owner has mapped nothing in
    RingsInUntouchedSpace,
    /// A control queue whose rings and commands only its own space maps
    ControlQueue,
    /// A command of the control queue that only the buffers' space maps
    CommandInBufferSpace,
}

/// The groups that a Mooring driver has, each of which this experiment gives the space of the same number.
const DATA: u32 = 0;
const RINGS: u32 = 1;
const CONTROL: u32 = 2;
const GROUPS: u32 = 3;

/// Memory that only one space maps, behind the driver's.
const FOREIGN: u64 = AREA_SIZE + 0x10_0000;
const FOREIGN_SIZE: u64 = 0x1_0000;

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        check_answers(report, &device)?;

        let iova = common.iova;
        let memory = Memory::new(
            &[
                Span::new(iova, RINGS_SIZE),
                Span::new(iova + RINGS_SIZE, AREA_SIZE - RINGS_SIZE),
                Span::new(iova + FOREIGN, FOREIGN_SIZE),
            ],
            common.backing,
        )?;
        let [rings, buffers, foreign] = memory.spans() else {
            unreachable!("three spans were asked for");
        };
        let map = |device: &Device, asid, span| {
            device
                .send(memory.map_message(asid, span))
                .with_context(|| format!("mapping in address space {asid}"))
        };
        map(&device, DATA, buffers)?;
        match self.kind {
            Kind::RingsInBufferSpace => {
                map(&device, DATA, rings)?;
                map(&device, RINGS, foreign)?;
            }
            Kind::RingsInUntouchedSpace => map(&device, DATA, rings)?,
            Kind::BufferInRingSpace => {
                map(&device, RINGS, rings)?;
                map(&device, RINGS, foreign)?;
            }
            Kind::Apart
            | Kind::BufferInControlSpace
            | Kind::BufferOfOtherDevice
            | Kind::ControlQueue
            | Kind::CommandInBufferSpace => {
                map(&device, RINGS, rings)?;
                map(&device, CONTROL, foreign)?;
            }
        }
        assign(&device)?;

        // The other device has the same addresses and one that is its own, with memory of its own behind them.
        let other = self
            .other
            .as_deref()
            .map(|name| Device::open(name, common.foreign))
            .transpose()?;
        let other_memory = driver_memory(common)?;
        let other_own = Memory::new(
            &[Span::new(iova + 2 * FOREIGN, FOREIGN_SIZE)],
            common.backing,
        )?;
        if let Some(other) = &other {
            other.map(&other_memory, 0, true)?;
            other.map(&other_own, 0, true)?;
        }
        let mut other_nic = other
            .as_ref()
            .map(|device| Nic::start(device, &other_memory, setup(common), common.limit()))
            .transpose()?;

        match self.kind {
            Kind::Apart => self.run_apart(report, &device, &memory)?,
            Kind::RingsInUntouchedSpace => self.refuse_to_start(report, &device, &memory)?,
            Kind::ControlQueue => {
                let command = iova + FOREIGN + control::COMMAND;
                let ack = self.command(report, &device, &memory, command)?;
                report.check_same("the answer to the command", ack, Some(crate::control::OK));
                device.reset()?;
            }
            Kind::CommandInBufferSpace => {
                let faults = faults(&device)?;
                let ack = self.command(report, &device, &memory, iova + RINGS_SIZE)?;
                report.check_same("the answer to the command", ack, None);
                check_faults(report, &device, &faults, CONTROL)?;
                device.reset()?;
            }
            Kind::RingsInBufferSpace => self.provoke(report, &device, &memory, RINGS, None)?,
            Kind::BufferInControlSpace | Kind::BufferInRingSpace => {
                self.provoke(report, &device, &memory, DATA, Some(iova + FOREIGN))?
            }
            Kind::BufferOfOtherDevice => {
                ensure!(other.is_some(), "this kind needs --other");
                self.provoke(report, &device, &memory, DATA, Some(iova + 2 * FOREIGN))?
            }
        }
        if let Some(nic) = &mut other_nic {
            let traffic = nic.loopback(16)?;
            check_traffic(report, "frames flow on the other device", &traffic, 16);
            let status = nic.device.status()?;
            report.check_same(
                "the other device needs no reset",
                status & STATUS_NEEDS_RESET,
                0,
            );
        }
        Ok(())
    }

    /// Runs with everything in its place, and shows that the groups can't be moved meanwhile and are put back later.
    fn run_apart(&self, report: &mut Report, device: &Device, memory: &Memory) -> Result<()> {
        let common = &self.common;
        let mut nic = Nic::start(device, memory, setup(common), common.limit())?;
        let traffic = nic.loopback(64)?;
        check_traffic(
            report,
            "frames flow with rings and buffers apart",
            &traffic,
            64,
        );
        let refused = device.set_group_asid(RINGS, DATA);
        report.check_same(
            "moving a group of a running device is refused",
            refused.map_err(|error| error.raw_os_error()),
            Err(Some(libc::EBUSY)),
        );
        drop(nic);
        // vhost has compared the group with the number of queues before.
        let queues = device.vdpa.get_vqs_count().map_err(errno)?;
        let no_group = if queues > GROUPS {
            libc::EINVAL
        } else {
            libc::ENOBUFS
        };
        for (name, group, asid, expected) in [
            ("a group that there is not", GROUPS, DATA, no_group),
            ("a space that there is not", RINGS, GROUPS, libc::EINVAL),
        ] {
            device.reset()?;
            let refused = device.set_group_asid(group, asid);
            report.check_same(
                name,
                refused.map_err(|error| error.raw_os_error()),
                Err(Some(expected)),
            );
        }

        // The rings are where they were, but nothing maps them in space 0, to which the resets have put their group back.
        let faults = faults(device)?;
        self.start_and_wait(report, device, memory, None)?;
        check_faults(report, device, &faults, DATA)?;

        device.reset()?;
        assign(device)?;
        let mut nic = Nic::start(device, memory, setup(common), common.limit())?;
        let traffic = nic.loopback(16)?;
        check_traffic(
            report,
            "frames flow once the groups are assigned again",
            &traffic,
            16,
        );
        drop(nic);
        device.reset()
    }

    fn refuse_to_start(&self, report: &mut Report, device: &Device, memory: &Memory) -> Result<()> {
        let common = &self.common;
        let nic = Nic::prepare(device, memory, setup(common), common.limit())?;
        let status = nic.try_start()?;
        report.check_same(
            "the device is FAILED and not DRIVER_OK",
            status & (STATUS_DRIVER_OK | STATUS_FAILED),
            STATUS_FAILED,
        );
        drop(nic);
        device.reset()?;
        // Everything that it needs is mapped in space 0, which is everybody's after a reset.
        let mut nic = Nic::start(device, memory, setup(common), common.limit())?;
        let traffic = nic.loopback(16)?;
        check_traffic(
            report,
            "frames flow after a reset, all in space 0",
            &traffic,
            16,
        );
        drop(nic);
        device.reset()
    }

    /// Has the device access what only another space maps, and expects a fault in `asid`, the one that it goes through.
    fn provoke(
        &self,
        report: &mut Report,
        device: &Device,
        memory: &Memory,
        asid: u32,
        buffer: Option<u64>,
    ) -> Result<()> {
        let faults = faults(device)?;
        self.start_and_wait(report, device, memory, buffer)?;
        check_faults(report, device, &faults, asid)?;
        device.reset()
    }

    /// Starts, sends a frame from `buffer` or from a good one, and waits until the device needs a reset.
    fn start_and_wait(
        &self,
        report: &mut Report,
        device: &Device,
        memory: &Memory,
        buffer: Option<u64>,
    ) -> Result<()> {
        let common = &self.common;
        let mut nic = Nic::prepare(device, memory, setup(common), common.limit())?;
        let status = nic.try_start()?;
        // A queue that can't reach its ring may have stopped by now.
        report.check_same(
            "the device started",
            status & (STATUS_DRIVER_OK | STATUS_FAILED),
            STATUS_DRIVER_OK,
        );
        match buffer {
            Some(iova) => {
                let head = nic.transmit.ring.reserve().context("no free descriptor")?;
                let buffer = Buffer {
                    iova,
                    length: 100,
                    writable: false,
                };
                nic.transmit.ring.add(memory, head, &[buffer])?;
            }
            None => {
                let frames = nic.new_run();
                nic.queue_frame(&frames.make(0))?;
            }
        }
        nic.transmit.kick(memory)?;
        wait_for_needs_reset(device, &nic.config_call, common.limit())?;
        report.check(
            "NEEDS_RESET is set",
            device.status()? & STATUS_NEEDS_RESET != 0,
            format!("not in {:?}", common.limit()),
        );
        report.check_same(
            "the device returned no transmit buffer",
            nic.transmit.ring.has_used(memory),
            false,
        );
        Ok(())
    }
}

/// Waits until the device needs a reset, or for the whole limit.
fn wait_for_needs_reset(device: &Device, config_call: &EventFd, limit: Duration) -> Result<()> {
    let begin = Instant::now();
    while device.status()? & STATUS_NEEDS_RESET == 0 && begin.elapsed() < limit {
        events::wait(&[config_call], Duration::from_millis(100))?;
    }
    Ok(())
}

/// Gives each group the space of its number. That of the control queue, where there is none, can't be moved: vhost compares
/// its number with the number of queues.
fn assign(device: &Device) -> Result<()> {
    let queues = device.vdpa.get_vqs_count().map_err(errno)?;
    for group in 0..GROUPS.min(queues) {
        device
            .set_group_asid(group, group)
            .with_context(|| format!("VHOST_VDPA_SET_GROUP_ASID of group {group}"))?;
    }
    Ok(())
}

/// What the device says of its groups.
fn check_answers(report: &mut Report, device: &Device) -> Result<()> {
    let vdpa = &device.vdpa;
    let backend = vdpa.get_backend_features().map_err(errno)?;
    report.check(
        "DESC_ASID is offered",
        backend & BACKEND_DESC_ASID != 0,
        format!("{backend:#x}"),
    );
    report.check_same(
        "there are three groups",
        vdpa.get_group_num().map_err(errno)?,
        GROUPS,
    );
    report.check_same(
        "there are three address spaces",
        vdpa.get_as_num().map_err(errno)?,
        GROUPS,
    );
    let queues = vdpa.get_vqs_count().map_err(errno)?;
    let control = vdpa.get_features().map_err(errno)? & FEATURE_CTRL_VQ != 0;
    for queue in 0..queues {
        let expected = match control && queue + 1 == queues {
            true => (CONTROL, CONTROL),
            false => (DATA, RINGS),
        };
        let group = vdpa.get_vring_group(queue).map_err(errno)?;
        let got = (group, device.descriptor_group(queue)?);
        report.check_same(format!("groups of queue {queue}"), got, expected);
    }
    Ok(())
}

/// Faults of each address space, by its number.
fn faults(device: &Device) -> Result<Vec<u64>> {
    let spaces = device.card().address_spaces()?;
    Ok(spaces.iter().map(|space| space.faults).collect())
}

/// Checks that there was a fault since `before` in space `asid`, and none in another.
fn check_faults(report: &mut Report, device: &Device, before: &[u64], asid: u32) -> Result<()> {
    let after = faults(device)?;
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        report.check_same(
            format!("whether there was a fault in address space {number}"),
            after > before,
            number == asid as usize,
        );
    }
    Ok(())
}
