// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A command through the control queue, whose group has an address space of its own.

use super::{wait_for_needs_reset, Options, FOREIGN, RINGS_SIZE};
use crate::control;
use crate::device::{
    errno, Device, FEATURE_CTRL_RX, FEATURE_CTRL_VQ, FEATURE_MQ, STATUS_DRIVER_OK, STATUS_FAILED,
};
use crate::events;
use crate::experiments::setup;
use crate::memory::Memory;
use crate::nic::{Setup, RECEIVE, TRANSMIT};
use crate::output::Report;
use crate::queue::Queue;
use crate::ring::RING_SIZE;
use anyhow::{ensure, Result};
use vhost::vdpa::VhostVdpa;

/// Where the memory that only the control queue's space maps has room for a command, behind the rings.
pub(super) const COMMAND: u64 = 0xf000;
/// VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, on.
const PROMISCUOUS: [u8; 3] = [0, 0, 1];

impl Options {
    /// Starts all queues, has a command at `at` carried out, and returns the answer, if there was one.
    pub(super) fn command(
        &self,
        report: &mut Report,
        device: &Device,
        memory: &Memory,
        at: u64,
    ) -> Result<Option<u8>> {
        let common = &self.common;
        device.negotiate_with(FEATURE_CTRL_VQ | FEATURE_CTRL_RX | FEATURE_MQ)?;
        let last = device.vdpa.get_vqs_count().map_err(errno)? as usize - 1;
        ensure!(
            (last as u64 + 1) * RING_SIZE <= RINGS_SIZE.min(COMMAND),
            "the device has {last} queues, for whose rings there is no room: make it with fewer pairs"
        );
        let elsewhere = Setup {
            iova: common.iova + FOREIGN,
            ..setup(common)
        };
        let _receive = Queue::new(device, memory, &setup(common), RECEIVE)?;
        let _transmit = Queue::new(device, memory, &setup(common), TRANSMIT)?;
        let mut queue = Queue::new(device, memory, &elsewhere, last)?;
        let config_call = events::event()?;
        device.set_config_call(&config_call)?;
        for index in [RECEIVE, TRANSMIT, last] {
            device.enable(index, true)?;
        }
        report.check_same(
            "the device started",
            device.driver_ok()? & (STATUS_DRIVER_OK | STATUS_FAILED),
            STATUS_DRIVER_OK,
        );

        let answer = control::send(&mut queue, memory, at, &PROMISCUOUS)?;
        events::wait(&[&queue.call, &config_call], common.limit())?;
        if queue.ring.take_used(memory)?.is_none() {
            wait_for_needs_reset(device, &config_call, common.limit())?;
            let byte = control::answer(memory, answer);
            report.check_same("the answer in memory", byte, control::UNANSWERED);
            return Ok(None);
        }
        Ok(Some(control::answer(memory, answer)))
    }
}
