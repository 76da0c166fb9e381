// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::block::{capacity, disk_setup};
use super::fault::HOLE;
use super::{driver_memory, open, translating_card};
use crate::device::{Device, STATUS_NEEDS_RESET};
use crate::disk::{
    self, content, range, Disk, FEATURE_RO, IO_ERROR, MAX_DATA, NO_STATUS, OK, SECTOR, UNSUPPORTED,
};
use crate::format::Format;
use crate::output::Report;
use crate::Common;
use anyhow::{Context, Result};
use clap::Args;
use std::time::{Duration, Instant};
use vhost::VhostBackend;

/// Ask a block device for what it must refuse, and give it a buffer that is not mapped. What is in the first sectors is lost
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub format: Format,
}

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let memory = driver_memory(common)?;
        let setup = disk_setup(common, self.format);
        let start = || Disk::start(&device, &memory, &setup, 2, common.limit());
        // A card without an IOMMU can't tell; what translates for it stops the device at its first access.
        if translating_card(common, &device)?.is_some() {
            report.check(
                "a device whose owner has mapped nothing doesn't start",
                start().is_err(),
                "it starts",
            );
            device.reset()?;
        }
        device.map(&memory, 0, true)?;
        let offered = device.vdpa.get_features().map_err(crate::device::errno)?;
        let read_only = offered & FEATURE_RO != 0;
        let sectors = capacity(&device)?;

        let mut disk = start()?;
        self.refuse(report, &mut disk, sectors, read_only)?;
        let faults = [
            ("a read into an unmapped buffer", (disk::IN, 0)),
            ("a write from an unmapped buffer", (disk::OUT, 0)),
        ];
        // A disk that isn't written doesn't look at what it should be written with.
        let faults = faults.get(..if read_only { 1 } else { 2 }).unwrap_or(&[]);
        for (what, header) in faults.iter().copied() {
            self.fault(report, &device, &mut disk, what, header)?;
            drop(disk);
            device.reset()?;
            disk = start()?;
            let (status, data) = disk.request(0, (disk::IN, 0), &[0; MAX_DATA])?;
            report.check_same(
                format!("after {what}, a reset, on the same map: what a read brings"),
                (status, data == content(0)),
                (OK, !read_only),
            );
        }
        Ok(())
    }

    /// Requests that must be refused, each with its status, and none with more.
    fn refuse(
        &self,
        report: &mut Report,
        disk: &mut Disk,
        sectors: u64,
        read_only: bool,
    ) -> Result<()> {
        let (status, _) = disk.request(0, (disk::OUT, 0), &content(0))?;
        let wanted = if read_only { IO_ERROR } else { OK };
        report.check_same("status of a write", status, wanted);
        let writes = if read_only { UNSUPPORTED } else { IO_ERROR };
        let two = [0; 2 * SECTOR];
        let cases = [
            (
                "a read behind the end",
                (disk::IN, sectors),
                two.to_vec(),
                IO_ERROR,
            ),
            (
                "a read across the end",
                (disk::IN, sectors - 1),
                two.to_vec(),
                IO_ERROR,
            ),
            (
                "a write across the end",
                (disk::OUT, sectors - 1),
                two.to_vec(),
                IO_ERROR,
            ),
            (
                "a write at the last possible sector",
                (disk::OUT, u64::MAX),
                two.to_vec(),
                IO_ERROR,
            ),
            (
                "a read of a part of a sector",
                (disk::IN, 0),
                vec![0; SECTOR - 1],
                IO_ERROR,
            ),
            (
                "a request that doesn't exist",
                (99, 0),
                Vec::new(),
                UNSUPPORTED,
            ),
            (
                "a discard behind the end",
                (disk::DISCARD, 0),
                range(sectors, 1, 0),
                writes,
            ),
            (
                "a discard with a flag",
                (disk::DISCARD, 0),
                range(0, 1, 1),
                UNSUPPORTED,
            ),
            (
                "zeros behind the end",
                (disk::WRITE_ZEROES, 0),
                range(sectors, 1, 0),
                writes,
            ),
        ];
        for (what, header, data, wanted) in cases {
            let (status, _) = disk.request(1, header, &data)?;
            report.check_same(format!("status of {what}"), status, wanted);
        }
        let (status, name) = disk.request(0, (disk::GET_ID, 0), &[0xaa; 20])?;
        let length = name
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(name.len());
        let name = String::from_utf8_lossy(&name[..length]).into_owned();
        report.check(
            "the disk has a name",
            status == OK && name.starts_with("mooring-disk-"),
            format!("status {status}, {name:?}"),
        );
        if !read_only {
            let (status, data) = disk.request(0, (disk::IN, 0), &[0; MAX_DATA])?;
            report.check_same(
                "what was written before all that is still there",
                (status, data == content(0)),
                (OK, true),
            );
        }
        Ok(())
    }

    /// A buffer that isn't mapped stops its queue; the owner is told, the request isn't answered, the other queue goes on.
    fn fault(
        &self,
        report: &mut Report,
        device: &Device,
        disk: &mut Disk,
        what: &str,
        header: (u32, u64),
    ) -> Result<()> {
        let card = translating_card(&self.common, device)?;
        let faults = || -> Result<u64> {
            match &card {
                Some(card) => Ok(card.address_space(0)?.faults),
                None => Ok(0),
            }
        };
        let before = faults()?;
        let place = self.common.iova + HOLE;
        let sent = disk.add_at(0, header, &[0xee; SECTOR], Some(place))?;
        disk.kick(0)?;
        let end = Instant::now() + self.common.limit();
        while device.status()? & STATUS_NEEDS_RESET == 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        report.check_same(
            format!("{what}: the owner is told to reset"),
            device.status()? & STATUS_NEEDS_RESET,
            STATUS_NEEDS_RESET,
        );
        if card.is_some() {
            report.check_same(format!("{what}: faults on the card"), faults()?, before + 1);
        }
        report.check_same(
            format!("{what}: its status is not written"),
            disk.answer(&sent).0,
            NO_STATUS,
        );
        let (status, _) = disk
            .request(1, (disk::IN, 0), &[0; MAX_DATA])
            .with_context(|| format!("{what}: on the other queue"))?;
        report.check_same(format!("{what}: a read on the other queue"), status, OK);
        Ok(())
    }
}
