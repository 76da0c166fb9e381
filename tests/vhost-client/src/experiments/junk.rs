// SPDX-License-Identifier: GPL-2.0-only OR MIT

mod device;
mod messages;
mod queues;

use super::{check_recovery, check_traffic, driver_memory, open, setup, translating_card};
use crate::device::Device;
use crate::iotlb::{self, Message};
use crate::nic::Nic;
use crate::output::Report;
use crate::{raw, Common};
use anyhow::Result;
use clap::Args;
use std::io;
use vhost::vhost_kern::vhost_binding::VHOST_SET_VRING_NUM;

/// Send invalid messages and ioctls: each must get its errno, and change nothing
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
}

const OK: i32 = 0;

/// Collects what nonsense was answered with.
struct Answers<'a> {
    report: &'a mut Report,
    foreign: bool,
}

impl Answers<'_> {
    /// An answer that the kernel's core gives whatever the parent driver is.
    fn core<T>(&mut self, what: &str, answer: io::Result<T>, expected: i32) {
        let code = answer
            .err()
            .map_or(OK, |error| error.raw_os_error().unwrap_or(-1));
        self.report.check(
            what,
            code == expected,
            format!("expected {}, got {}", name(expected), name(code)),
        );
    }

    /// An answer that only the parent driver can give.
    fn parent<T>(&mut self, what: &str, answer: io::Result<T>, expected: i32) {
        if !self.foreign {
            self.core(what, answer, expected);
        }
    }
}

fn name(code: i32) -> String {
    if code == OK {
        "success".into()
    } else {
        io::Error::from_raw_os_error(code).to_string()
    }
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        {
            let stranger = Device::open_only(&common.device)?;
            let mut answers = Answers {
                report,
                foreign: common.foreign,
            };
            let queue_size = raw::vring_state(&stranger.file, VHOST_SET_VRING_NUM(), 0, 64);
            answers.core(
                "a queue's size without being owner",
                queue_size,
                libc::EPERM,
            );
            let message = Message::update(0, common.iova, 0x1000, 0x1000, iotlb::READ_WRITE);
            answers.core(
                "a message without being owner",
                stranger.send(message),
                libc::EFAULT,
            );
        }
        let device = open(common)?;
        let memory = driver_memory(common)?;
        device.map(&memory, 0, true)?;
        let before = self.translation(&device)?;
        let mut answers = Answers {
            report,
            foreign: common.foreign,
        };
        let maps = before.is_some();
        messages::messages(&mut answers, maps, common, &device, &memory)?;
        queues::queues(&mut answers, common, &device)?;
        device::spaces_and_config(&mut answers, &device)?;
        device::features_and_status(&mut answers, &device)?;
        report.check_same(
            "the address space is as it was",
            self.translation(&device)?,
            before,
        );
        device.reset()?;

        let mut nic = Nic::start(&device, &memory, setup(common), common.limit())?;
        device::while_running(
            &mut Answers {
                report,
                foreign: common.foreign,
            },
            &device,
        )?;
        check_traffic(
            report,
            "frames flow on the device that got junk while it ran",
            &nic.loopback(16)?,
            16,
        );
        drop(nic);
        check_recovery(
            report,
            common,
            &device,
            &memory,
            "frames flow after all junk",
        )
    }

    /// Mode, extents, bytes and digest of address space 0.
    fn translation(&self, device: &Device) -> Result<Option<(String, u64, u64, String)>> {
        let Some(card) = translating_card(&self.common, device)? else {
            return Ok(None);
        };
        let space = card.address_space(0)?;
        Ok(Some((space.mode, space.extents, space.bytes, space.digest)))
    }
}
