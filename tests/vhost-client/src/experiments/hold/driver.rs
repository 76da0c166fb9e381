// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The driver of a device that is held, of either type: what `hold` can have it do.

use super::super::block::disk_setup;
use super::super::fault::{send, HOLE};
use super::super::setup;
use crate::device::{errno, Device, BLOCK_DEVICE, STATUS_NEEDS_RESET};
use crate::disk::{self, content, Disk, MAX_DATA, OK, SECTOR};
use crate::events;
use crate::format::Format;
use crate::memory::Memory;
use crate::nic::{Nic, Setup};
use crate::ring::Buffer;
use crate::Common;
use anyhow::{bail, ensure, Context, Result};
use std::time::{Duration, Instant};
use vhost::vdpa::VhostVdpa;

/// Sectors of a request.
const SECTORS: u64 = (MAX_DATA / SECTOR) as u64;

/// What became of the frames or requests that a device was given.
pub(super) struct Work {
    /// How many came back as they should.
    pub came: u32,
    /// Whether all did, and everything about them was right.
    pub complete: bool,
    pub description: String,
}

pub(super) enum Driver<'a> {
    Nic(Box<Nic<'a>>),
    /// What is in its first sectors is lost.
    Disk(Disk<'a>),
}

/// How a device is to be started.
#[derive(Clone, Copy, Default)]
pub(super) struct Start {
    /// Without receive buffers. No disk has any.
    pub deaf: bool,
    /// It need not run: a network device's card may go before the status is read.
    pub perhaps: bool,
}

impl<'a> Driver<'a> {
    /// Starts the device.
    pub fn start(
        common: &Common,
        device: &'a Device,
        memory: &'a Memory,
        how: Start,
    ) -> Result<Self> {
        let id = device.vdpa.get_device_id().map_err(errno);
        if id.context("VHOST_VDPA_GET_DEVICE_ID")? == BLOCK_DEVICE {
            let setup = disk_setup(common, Format::default());
            let disk = Disk::start(device, memory, &setup, 1, common.limit())?;
            return Ok(Self::Disk(disk));
        }
        let setup = Setup {
            fill: !how.deaf,
            ..setup(common)
        };
        if how.perhaps {
            let nic = Nic::prepare(device, memory, setup, common.limit())?;
            nic.try_start()?;
            return Ok(Self::Nic(Box::new(nic)));
        }
        let nic = Nic::start(device, memory, setup, common.limit())?;
        Ok(Self::Nic(Box::new(nic)))
    }

    /// Sends frames around, or writes requests and reads them back.
    pub fn work(&mut self, count: u32) -> Result<Work> {
        let disk = match self {
            Self::Nic(nic) => {
                let traffic = nic.loopback(count)?;
                return Ok(Work {
                    came: traffic.received,
                    complete: traffic.complete(count),
                    description: traffic.describe(),
                });
            }
            Self::Disk(disk) => disk,
        };
        let mut came = 0;
        for number in 0..u64::from(count) {
            let (sector, data) = (number * SECTORS, content(number));
            let (written, _) = disk.request(0, (disk::OUT, sector), &data)?;
            let read = disk.request(0, (disk::IN, sector), &[0; MAX_DATA])?;
            came += u32::from(written == OK && read == (OK, data));
        }
        Ok(Work {
            came,
            complete: came == count,
            description: format!("{came} of {count} requests were read as they were written"),
        })
    }

    /// Sends frames, and waits until the device has taken them. A disk can't lose a request.
    pub fn lose(&mut self, common: &Common, memory: &Memory) -> Result<String> {
        let Self::Nic(nic) = self else {
            bail!("only network devices lose what they get")
        };
        let frames = nic.new_run();
        for sequence in 0..16 {
            ensure!(nic.queue_frame(&frames.make(sequence))?, "the ring is full");
        }
        nic.transmit.kick(memory)?;
        let end = Instant::now() + common.limit();
        while nic.transmit.ring.outstanding() > 0 {
            ensure!(Instant::now() < end, "frames stand still");
            if nic.transmit.ring.take_used(memory)?.is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok("16 sent".to_string())
    }

    /// Gives the device frames or requests that it hasn't finished when this returns.
    pub fn burst(&mut self, memory: &Memory) -> Result<()> {
        match self {
            Self::Nic(nic) => {
                let frames = nic.new_run();
                for sequence in 0..64 {
                    nic.queue_frame(&frames.make(sequence))?;
                }
                nic.transmit.kick(memory)
            }
            Self::Disk(disk) => {
                for number in 0..32 {
                    disk.add(0, (disk::OUT, number * SECTORS), &content(number))?;
                }
                disk.kick(0)
            }
        }
    }

    /// Has the device read where nothing is mapped, and waits until it says that it needs a reset.
    pub fn fault(&mut self, common: &Common, device: &Device) -> Result<()> {
        let iova = common.iova + HOLE;
        match self {
            Self::Nic(nic) => {
                let unmapped = Buffer {
                    iova,
                    length: 100,
                    writable: false,
                };
                send(nic, unmapped)?;
                events::wait(&[&nic.config_call], common.limit())?;
            }
            Self::Disk(disk) => {
                disk.add_at(0, (disk::OUT, 0), &[0; SECTOR], Some(iova))?;
                disk.kick(0)?;
                let end = Instant::now() + common.limit();
                while device.status()? & STATUS_NEEDS_RESET == 0 && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        Ok(())
    }

    /// Whether the device has said that it needs a reset.
    pub fn is_in_trouble(&self, device: &Device) -> Result<bool> {
        match self {
            Self::Nic(nic) => Ok(events::wait(&[&nic.config_call], Duration::ZERO)?[0] > 0),
            Self::Disk(_) => Ok(device.status()? & STATUS_NEEDS_RESET != 0),
        }
    }
}
