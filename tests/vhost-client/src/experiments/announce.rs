// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{driver_memory, open, setup};
use crate::control;
use crate::device::{
    errno, Device, FEATURE_CTRL_VQ, FEATURE_GUEST_ANNOUNCE, FEATURE_MQ, FEATURE_STATUS,
    STATUS_DRIVER_OK, STATUS_FAILED,
};
use crate::events;
use crate::memory::Memory;
use crate::nic::{Setup, RECEIVE, RINGS_SIZE, TRANSMIT};
use crate::output::Report;
use crate::queue::Queue;
use crate::ring::RING_SIZE;
use crate::Common;
use anyhow::{ensure, Context, Result};
use clap::Args;
use vhost::vdpa::VhostVdpa;
use vmm_sys_util::eventfd::EventFd;

/// Suspend, resume and move a device that has a control queue: its driver is asked to announce it, if it has agreed to that
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
}

/// VIRTIO_NET_S_LINK_UP.
const LINK_UP: u16 = 1;
/// The same, with VIRTIO_NET_S_ANNOUNCE.
const TO_ANNOUNCE: u16 = 3;
/// VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK.
const ACKNOWLEDGE: [u8; 2] = [3, 0];
/// Where the rings of a device begin that has moved.
const MOVED: u16 = 7;

/// A driver that started the device, and does nothing but keep an eye on its configuration.
struct Driver<'a> {
    device: &'a Device,
    control: Queue,
    config_call: EventFd,
    /// They are kept because the device runs them.
    _data: [Queue; 2],
}

impl<'a> Driver<'a> {
    fn start(device: &'a Device, memory: &Memory, setup: &Setup, features: u64) -> Result<Self> {
        let last = device.vdpa.get_vqs_count().map_err(errno)? as usize - 1;
        ensure!(
            (last as u64 + 1) * RING_SIZE <= RINGS_SIZE,
            "there is no room for the rings of {last} queues: make the device with fewer pairs"
        );
        device.reset()?;
        let pairs = match last {
            2 => 0,
            _ => FEATURE_MQ,
        };
        device.negotiate_with(FEATURE_CTRL_VQ | FEATURE_STATUS | pairs | features)?;
        let data = [
            Queue::new(device, memory, setup, RECEIVE)?,
            Queue::new(device, memory, setup, TRANSMIT)?,
        ];
        let control = Queue::new(device, memory, setup, last)?;
        let config_call = events::event()?;
        device.set_config_call(&config_call)?;
        for index in [RECEIVE, TRANSMIT, last] {
            device.enable(index, true)?;
        }
        let status = device.driver_ok()?;
        ensure!(
            status & (STATUS_DRIVER_OK | STATUS_FAILED) == STATUS_DRIVER_OK,
            "the device did not start: its status is {status:#x}"
        );
        Ok(Self {
            device,
            control,
            config_call,
            _data: data,
        })
    }
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let memory = driver_memory(common)?;
        device.map(&memory, 0, true)?;
        let fresh = setup(common);
        let moved = Setup {
            first: MOVED,
            ..setup(common)
        };

        let mut driver = Driver::start(&device, &memory, &fresh, FEATURE_GUEST_ANNOUNCE)?;
        report.check_same("a new device", device.net_status()?, LINK_UP);
        self.stand_still(&device)?;
        self.check_told(report, &driver, "one that was resumed", TO_ANNOUNCE)?;
        self.acknowledge(report, &mut driver, &memory)?;
        self.check_told(report, &driver, "one that was announced", LINK_UP)?;
        drop(driver);

        let driver = Driver::start(&device, &memory, &moved, FEATURE_GUEST_ANNOUNCE)?;
        self.check_told(report, &driver, "one that has moved", TO_ANNOUNCE)?;
        drop(driver);
        device.reset()?;
        report.check_same("one that was reset", device.net_status()?, LINK_UP);

        for (name, setup) in [
            ("a resumed one whose driver doesn't announce", &fresh),
            ("a moved one whose driver doesn't announce", &moved),
        ] {
            let _driver = Driver::start(&device, &memory, setup, 0)?;
            self.stand_still(&device)?;
            report.check_same(name, device.net_status()?, LINK_UP);
        }
        device.reset()
    }

    fn stand_still(&self, device: &Device) -> Result<()> {
        device.suspend().context("suspending")?;
        device.resume().context("resuming")
    }

    /// The driver was interrupted, and finds this status.
    fn check_told(
        &self,
        report: &mut Report,
        driver: &Driver,
        name: &str,
        expected: u16,
    ) -> Result<()> {
        let told = events::wait(&[&driver.config_call], self.common.limit())?;
        report.check(
            format!("the driver is interrupted for {name}"),
            told != [0],
            "no configuration interrupt",
        );
        report.check_same(name, driver.device.net_status()?, expected);
        Ok(())
    }

    fn acknowledge(&self, report: &mut Report, driver: &mut Driver, memory: &Memory) -> Result<()> {
        // Nobody uses the first receive buffer.
        let at = self.common.iova + RINGS_SIZE;
        let answer = control::send(&mut driver.control, memory, at, &ACKNOWLEDGE)?;
        events::wait(&[&driver.control.call], self.common.limit())?;
        report.check_same(
            "the answer to the acknowledgement",
            control::answer(memory, answer),
            control::OK,
        );
        Ok(())
    }
}
