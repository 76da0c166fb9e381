// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::{check_recovery, check_traffic, driver_memory, open, setup, translating_card};
use crate::device::{Device, STATUS_NEEDS_RESET};
use crate::events;
use crate::iotlb::{Message, READ_ONLY, WRITE_ONLY};
use crate::memory::{Memory, Span};
use crate::nic::{Nic, Setup, AREA_SIZE};
use crate::output::Report;
use crate::ring::{Buffer, Descriptor};
use crate::Common;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use std::time::{Duration, Instant};

/// Give the device a buffer or a ring that it can't use: one queue stops, the driver tells, nothing else suffers
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// What is wrong
    #[arg(long, value_enum)]
    kind: Kind,
    /// Another device, already on vhost_vdpa and in a loop, that must go on working meanwhile
    #[arg(long, value_name = "DEVICE")]
    other: Option<String>,
    /// Expect that nobody stops the device from using the transmit buffer
    #[arg(long)]
    unnoticed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A transmit buffer outside the map
    TxUnmapped,
    /// A transmit buffer that begins inside the map and ends outside
    TxStraddles,
    /// A transmit buffer that the device may only write
    TxWriteOnly,
    /// A receive buffer outside the map
    RxUnmapped,
    /// A receive buffer that the device may only read
    RxReadOnly,
    /// The rings' memory is unmapped under the running device
    RingRemoved,
    /// The available ring names a descriptor that doesn't exist
    RingBadHead,
    /// A descriptor chain that goes round in circles
    RingLoop,
    /// The available index runs further ahead than the ring is long
    RingJump,
    /// A transmit buffer that is marked for the device to write
    TxWritable,
    /// A transmit buffer that is shorter than the header
    TxShort,
}

impl Kind {
    /// Faults of the IOMMU, as opposed to rings and buffers that make no sense.
    fn is_translation(self) -> bool {
        use Kind::*;
        matches!(
            self,
            TxUnmapped | TxStraddles | TxWriteOnly | RxUnmapped | RxReadOnly | RingRemoved
        )
    }

    fn is_receive(self) -> bool {
        matches!(self, Kind::RxUnmapped | Kind::RxReadOnly)
    }
}

/// Memory of a special permission, behind the driver's.
const SPECIAL: u64 = AREA_SIZE + 0x10_0000;
const SPECIAL_SIZE: u64 = 0x1_0000;
/// An address that nothing is mapped to, here and in the other experiments that need one.
pub(super) const HOLE: u64 = SPECIAL + 0x100_0000;

impl Options {
    pub fn run(&self, report: &mut Report) -> Result<()> {
        let common = &self.common;
        let device = open(common)?;
        let permission = if self.kind == Kind::RxReadOnly {
            READ_ONLY
        } else {
            WRITE_ONLY
        };
        let special = Span {
            permission,
            ..Span::new(common.iova + SPECIAL, SPECIAL_SIZE)
        };
        let memory = Memory::new(
            &[Span::new(common.iova, AREA_SIZE), special],
            common.backing,
        )?;
        device.map(&memory, 0, true)?;

        // Another device of the same card, at the same I/O virtual addresses, in an address space of its own.
        let other = self
            .other
            .as_deref()
            .map(|name| Device::open(name, common.foreign))
            .transpose()?;
        let other_memory = driver_memory(common)?;
        if let Some(other) = &other {
            other.map(&other_memory, 0, true)?;
        }
        let mut other_nic = other
            .as_ref()
            .map(|device| Nic::start(device, &other_memory, setup(common), common.limit()))
            .transpose()?;
        if let Some(nic) = &mut other_nic {
            check_traffic(
                report,
                "frames flow on the other device before",
                &nic.loopback(16)?,
                16,
            );
        }
        self.provoke(report, &device, &memory)?;
        if let Some(nic) = &mut other_nic {
            check_traffic(
                report,
                "frames flow on the other device after",
                &nic.loopback(16)?,
                16,
            );
            report.check_same(
                "the other device is as it was",
                nic.device.status()? & STATUS_NEEDS_RESET,
                0,
            );
        }
        if self.kind == Kind::RingRemoved {
            let rings = memory.map_message(0, &memory.spans()[0]);
            device.send(rings).context("mapping the rings again")?;
        }
        check_recovery(
            report,
            common,
            &device,
            &memory,
            "frames flow after a reset, on the same map",
        )
    }

    fn provoke(&self, report: &mut Report, device: &Device, memory: &Memory) -> Result<()> {
        let setup = Setup {
            fill: !self.kind.is_receive(),
            ..setup(&self.common)
        };
        let mut nic = Nic::prepare(device, memory, setup, self.common.limit())?;
        nic.try_start()?;
        if !self.kind.is_receive() {
            check_traffic(report, "frames flow before", &nic.loopback(16)?, 16);
        }
        let before = self.counters(device)?;
        self.do_harm(&mut nic)?;
        if self.unnoticed {
            self.check_transmitted(report, &mut nic)?;
            let status = device.status()?;
            report.check_same("NEEDS_RESET", status & STATUS_NEEDS_RESET, 0);
            return Ok(());
        }
        let begin = Instant::now();
        let told = loop {
            if events::wait(&[&nic.config_call], Duration::from_millis(100))?[0] > 0 {
                break true;
            }
            if begin.elapsed() > self.common.limit() {
                break false;
            }
        };
        report.check(
            "the config event tells of trouble",
            told,
            format!("no event in {:?}", self.common.limit()),
        );
        report.value("told_after_us", begin.elapsed().as_micros() as u64);
        let status = device.status()?;
        report.check(
            "NEEDS_RESET is set",
            status & STATUS_NEEDS_RESET != 0,
            format!("the status is {status:#x}"),
        );
        if let (Some(before), Some(after)) = (before, self.counters(device)?) {
            match (before.0, after.0) {
                (Some(before), Some(after)) if self.kind.is_translation() => report.check(
                    "the card counted a fault",
                    after > before,
                    "the count is the same",
                ),
                // Of a card without an IOMMU it is the queue's stop that tells.
                (before, after) => {
                    report.check_same("the card counted no fault of its IOMMU", after, before)
                }
            }
            report.check_same("one queue stopped", after.1 - before.1, 1);
        }
        if self.kind.is_receive() {
            self.check_transmit_goes_on(report, &mut nic)?;
        }
        Ok(())
    }

    /// Faults of address space 0, if the card has one, and queues that stopped.
    fn counters(&self, device: &Device) -> Result<Option<(Option<u64>, u64)>> {
        if self.common.foreign {
            return Ok(None);
        }
        let faults = match translating_card(&self.common, device)? {
            Some(card) => Some(card.address_space(0)?.faults),
            None => None,
        };
        Ok(Some((faults, device.card().statistics()?["queue_errors"])))
    }

    fn do_harm(&self, nic: &mut Nic) -> Result<()> {
        let (memory, iova) = (nic.memory, self.common.iova);
        let transmit = |iova, length| Buffer {
            iova,
            length,
            writable: false,
        };
        match self.kind {
            Kind::TxUnmapped => send(nic, transmit(iova + HOLE, 100))?,
            Kind::TxStraddles => send(nic, transmit(iova + AREA_SIZE - 64, 128))?,
            Kind::TxWriteOnly => send(nic, transmit(iova + SPECIAL, 100))?,
            Kind::TxWritable => send(
                nic,
                Buffer {
                    writable: true,
                    ..transmit(iova + AREA_SIZE / 2, 100)
                },
            )?,
            Kind::TxShort => send(nic, transmit(iova + AREA_SIZE / 2, 4))?,
            Kind::RxUnmapped | Kind::RxReadOnly => {
                let bad = if self.kind == Kind::RxReadOnly {
                    SPECIAL
                } else {
                    HOLE
                };
                let head = nic.receive.ring.reserve().context("no free descriptor")?;
                nic.receive.ring.add(
                    memory,
                    head,
                    &[Buffer {
                        iova: iova + bad,
                        length: 2048,
                        writable: true,
                    }],
                )?;
                nic.receive.kick(memory)?;
                send_good(nic)?;
            }
            Kind::RingRemoved => {
                let size = AREA_SIZE;
                nic.device
                    .send(Message::invalidate(0, iova, size))
                    .context("unmapping the rings")?;
                send_good(nic)?;
            }
            Kind::RingBadHead => {
                let entries = nic.transmit.ring.entries();
                nic.transmit.ring.make_available(memory, entries + 7);
                nic.transmit.kick(memory)?;
            }
            Kind::RingLoop => {
                let head = nic.transmit.ring.reserve().context("no free descriptor")?;
                let buffer = Descriptor {
                    iova: iova + AREA_SIZE / 2,
                    length: 64,
                    flags: 1,
                    next: head,
                };
                nic.transmit.ring.write_descriptor(memory, head, buffer);
                nic.transmit.ring.make_available(memory, head);
                nic.transmit.kick(memory)?;
            }
            Kind::RingJump => {
                let entries = nic.transmit.ring.entries();
                nic.transmit.ring.skip_available(memory, entries + 1);
                nic.transmit.kick(memory)?;
            }
        }
        Ok(())
    }

    /// The queue that did nothing wrong goes on until the driver resets the device.
    fn check_transmit_goes_on(&self, report: &mut Report, nic: &mut Nic) -> Result<()> {
        send_good(nic)?;
        self.check_transmitted(report, nic)
    }

    /// Everything that was queued for transmission comes back from the device.
    fn check_transmitted(&self, report: &mut Report, nic: &mut Nic) -> Result<()> {
        let begin = Instant::now();
        while nic.transmit.ring.outstanding() > 0 && begin.elapsed() < self.common.limit() {
            while nic.transmit.ring.take_used(nic.memory)?.is_some() {}
            std::thread::sleep(Duration::from_millis(5));
        }
        report.check_same(
            "the transmit queue goes on",
            nic.transmit.ring.outstanding(),
            0,
        );
        Ok(())
    }
}

/// Sends one buffer as it is.
pub(super) fn send(nic: &mut Nic, buffer: Buffer) -> Result<()> {
    let head = nic.transmit.ring.reserve().context("no free descriptor")?;
    nic.transmit.ring.add(nic.memory, head, &[buffer])?;
    nic.transmit.kick(nic.memory)
}

fn send_good(nic: &mut Nic) -> Result<()> {
    let frames = nic.new_run();
    nic.queue_frame(&frames.make(0))?;
    nic.transmit.kick(nic.memory)
}
