// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{driver_memory, open, setup, translating_card};
use crate::device::{errno, Device};
use crate::disk::{self, content, Disk, Sent, MAX_DATA, NO_STATUS, OK, SECTOR};
use crate::format::Format;
use crate::nic::Setup;
use crate::output::Report;
use crate::ring::Ring;
use crate::Common;
use anyhow::{ensure, Context, Result};
use clap::Args;
use vhost::vdpa::VhostVdpa;
use vhost::VhostBackend;

/// Write sectors of a block device and read them back: on every queue, over a suspension, and after a reset that must leave
/// the map alone. What is in the first sectors is lost
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub format: Format,
    /// Queues to use
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2))]
    queues: u16,
    /// Requests to write with on each queue, and as many to read with
    #[arg(long, value_name = "N", default_value_t = 32)]
    requests: u32,
}

/// Sectors of a request's data.
const SECTORS: u64 = (MAX_DATA / SECTOR) as u64;
/// Requests that a device has when it is suspended.
const SUSPENDED: u64 = 40;
/// Requests that it gets then.
const LATE: u64 = 8;
/// Where in the configuration space the number of queues is.
const NUM_QUEUES: u32 = 34;

/// How the driver uses a block device.
pub(super) fn disk_setup(common: &Common, format: Format) -> Setup {
    Setup {
        format,
        first: Ring::first(format, 0),
        ..setup(common)
    }
}

/// Sectors of the disk.
pub(super) fn capacity(device: &Device) -> Result<u64> {
    let mut bytes = [0; 8];
    let read = device.vdpa.get_config(0, &mut bytes).map_err(errno);
    read.context("VHOST_VDPA_GET_CONFIG")?;
    Ok(u64::from_le_bytes(bytes))
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let mut device = open(common)?;
        device.acknowledge_suspend()?;
        let device = device;
        let capacity = capacity(&device)?;
        let count = u64::from(self.requests) * u64::from(self.queues);
        ensure!(
            count.max(SUSPENDED + LATE) * SECTORS <= capacity,
            "the disk has {capacity} sectors, too few"
        );
        self.check_queues(report, &device)?;
        let memory = driver_memory(common)?;
        device.map(&memory, 0, true)?;
        let card = translating_card(common, &device)?;
        let space = || card.as_ref().map(|card| card.address_space(0)).transpose();
        let setup = disk_setup(common, self.format);
        let start = || Disk::start(&device, &memory, &setup, self.queues, common.limit());

        let mut disk = start()?;
        let mut good = 0;
        for number in 0..count {
            let queue = (number % u64::from(self.queues)) as usize;
            let header = (disk::OUT, number * SECTORS);
            good += u64::from(disk.request(queue, header, &content(number))?.0 == OK);
        }
        report.check_same("requests that wrote", good, count);
        let (flushed, _) = disk.request(0, (disk::FLUSH, 0), &[])?;
        report.check_same("status of a flush", flushed, OK);
        report.check_same(
            "requests that read what was written",
            self.read_all(&mut disk, count)?,
            count,
        );
        report.check(
            "the device raised interrupts",
            disk.interrupts > 0,
            disk.interrupts.to_string(),
        );
        self.check_suspend(report, &device, &mut disk)?;
        drop(disk);

        let before = space()?;
        device.reset()?;
        if let (Some(before), Some(after)) = (before, space()?) {
            report.check_same(
                "the card's translations after the reset",
                after.translation(),
                before.translation(),
            );
            report.check_same(
                "IOMMU commands during the reset, on the whole card",
                after.card_commands,
                before.card_commands,
            );
        }
        let mut disk = start()?;
        report.check_same(
            "requests that read it after the reset, without a new map",
            self.read_all(&mut disk, count)?,
            count,
        );
        report.value("capacity", capacity);
        report.value("requests", count);
        Ok(())
    }

    /// The configuration space must tell of as many queues as vhost.
    fn check_queues(&self, report: &mut Report, device: &Device) -> Result<()> {
        let mut told = [0; 2];
        let read = device.vdpa.get_config(NUM_QUEUES, &mut told).map_err(errno);
        read.context("VHOST_VDPA_GET_CONFIG")?;
        // vhost refuses to tell where a queue stands that there is not.
        let there = (0..=usize::from(u16::from_le_bytes(told)))
            .map(|queue| device.vdpa.get_vring_base(queue));
        report.check_same(
            "queues that there are",
            there.take_while(Result::is_ok).count(),
            usize::from(u16::from_le_bytes(told)),
        );
        Ok(())
    }

    /// Suspends the device with requests in its ring, and gives it more then: each is answered, those only when it goes on,
    /// and none twice.
    fn check_suspend(&self, report: &mut Report, device: &Device, disk: &mut Disk) -> Result<()> {
        let add = |disk: &mut Disk, from, count| {
            (from..from + count)
                .map(|number| disk.add(0, (disk::OUT, number * SECTORS), &content(number)))
                .collect::<Result<Vec<_>>>()
        };
        let mut sent = add(disk, 0, SUSPENDED)?;
        disk.kick(0)?;
        device.suspend().context("suspending")?;
        let answered = |disk: &Disk, sent: &[Sent]| {
            let all = sent.iter().map(|sent| disk.answer(sent).0);
            all.filter(|status| *status != NO_STATUS).count()
        };
        let before = answered(disk, &sent);
        let stood = device.position(0)?;
        let ring = &disk.queues.first().context("no queue")?.ring;
        report.check_same(
            "requests that a suspended queue has taken are answered",
            stood,
            ring.position(disk.memory),
        );
        sent.extend(add(disk, SUSPENDED, LATE)?);
        disk.kick(0)?;
        std::thread::sleep(std::time::Duration::from_millis(20));
        report.check_same(
            "a suspended device answers nothing",
            answered(disk, &sent),
            before,
        );
        report.check_same("a suspended queue stands", device.position(0)?, stood);
        device.resume().context("resuming")?;
        // Taking a request from the ring twice is an error.
        disk.wait(0, sent.len())?;
        let good = sent.iter().filter(|sent| disk.answer(sent).0 == OK).count();
        report.check_same("requests that were answered after all", good, sent.len());
        report.check_same(
            "requests that read what was written around the suspension",
            self.read_all(disk, SUSPENDED + LATE)?,
            SUSPENDED + LATE,
        );
        report.value("answered before the suspension", before);
        Ok(())
    }

    /// Reads what was written, each part on another queue where there are several. Returns how many requests brought it.
    fn read_all(&self, disk: &mut Disk, count: u64) -> Result<u64> {
        let mut same = 0;
        for number in 0..count {
            let queue = ((number + 1) % u64::from(self.queues)) as usize;
            let read = disk.request(queue, (disk::IN, number * SECTORS), &[0; MAX_DATA])?;
            same += u64::from(read == (OK, content(number)));
        }
        Ok(same)
    }
}
