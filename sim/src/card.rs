// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The card: all hardware blocks put together.

mod commands;
mod events;
mod frames;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use mooring_firmware::hal::QueueRole;
use mooring_hw_regs::regs::{
    CpControl, CpState, IommuCommands, IommuFaults, BAR_DOORBELLS, BAR_REGISTERS, DOORBELL_STRIDE,
    REGISTERS_SIZE,
};

use crate::blk::{Disk, Disks};
use crate::cmdq::Cmdq;
use crate::cp::{Blocks, CpRegisters, Firmware};
use crate::eventq::Eventq;
use crate::limit::LogLimit;
use crate::memory::Bus;
use crate::registers::RegisterFile;
use crate::{
    cmdq, eventq, info, mailbox, CardConfig, ConfigError, Doorbells, FrameObserver, HostMemory,
    Port, Uplink,
};
use commands::Waiting;

/// Control commands of a queue, requests of a queue, and answers to requests that one step handles at most.
const CONTROL_COMMANDS: usize = 16;
const REQUESTS: usize = 8;
const ANSWERS: usize = 64;

/// `cp.ERROR` of a control processor that was asked to fail at its boot.
const BOOT_FAILURE: u32 = 0xb007;

/// The way to the host's interrupt controller.
pub trait Interrupts: Send {
    /// Raises an MSI-X vector.
    fn raise(&self, vector: u16);
}

/// A whole card behind its BARs.
pub struct Card {
    config: CardConfig,
    registers: RegisterFile,
    cp: CpRegisters,
    firmware: Box<Firmware>,
    cmdq: Cmdq,
    /// Commands carried out since the reset.
    commands: u64,
    waiting: Option<Waiting>,
    eventq: Eventq,
    blocks: Blocks,
    doorbells: Arc<Doorbells>,
    memory: Arc<dyn HostMemory>,
    /// Whether the uplink has a carrier.
    carrier: bool,
    interrupts: Box<dyn Interrupts>,
    /// Vectors that wait until the card is a bus master again.
    withheld: BTreeSet<u16>,
    uplink: Box<dyn Uplink>,
    observer: Option<Box<dyn FrameObserver>>,
    limit: LogLimit,
    /// Scratch: the packet at hand, what the uplink fills, and what is made of a packet for others.
    packet: Vec<u8>,
    frame: Vec<u8>,
    scratch: Vec<u8>,
    /// Scratch: ports that get a packet as frames for the wire.
    plain: Vec<Port>,
}

impl Card {
    /// A card after power-on, a bus master. Call [`step`](Self::step) to let it boot.
    ///
    /// # Errors
    ///
    /// The first field of `config` that is out of its range.
    pub fn new(
        config: CardConfig,
        memory: Arc<dyn HostMemory>,
        interrupts: Box<dyn Interrupts>,
        uplink: Box<dyn Uplink>,
        observer: Option<Box<dyn FrameObserver>>,
    ) -> Result<Card, ConfigError> {
        config.validate()?;
        let doorbells = Arc::new(Doorbells::new(config.queues));
        let mut registers = RegisterFile::new();
        info::set_up(&config, &mut registers);
        Ok(Card {
            cp: CpRegisters::boot(&mut registers),
            registers,
            firmware: Box::new(Firmware::new()),
            cmdq: Cmdq::default(),
            commands: 0,
            waiting: None,
            eventq: Eventq::default(),
            blocks: Blocks::new(
                &config,
                Bus::new(memory.clone(), config.bus_bits),
                doorbells.clone(),
            ),
            config,
            doorbells,
            memory,
            carrier: true,
            interrupts,
            withheld: BTreeSet::new(),
            uplink,
            observer,
            limit: LogLimit::default(),
            packet: Vec::new(),
            frame: Vec::new(),
            scratch: Vec::new(),
            plain: Vec::new(),
        })
    }

    /// Puts disks into the card, for block devices. They stay through resets of the card. Call it before anything else.
    pub fn insert_disks(&mut self, disks: impl IntoIterator<Item = Arc<dyn Disk>>) {
        let mut all = Disks::new(self.config.devices, self.config.queues);
        disks.into_iter().for_each(|disk| all.insert(disk));
        self.blocks.set_disks(all);
        info::set_disks(self.blocks.disks.count(), &mut self.registers);
    }

    /// Has each disk work on a thread of its own, which calls `wake` when a request was carried out; the card's
    /// [`step`](Self::step) goes on with it. Without this a disk works in `step`.
    ///
    /// # Errors
    ///
    /// If the system has no thread left.
    pub fn run_disks_on_threads(
        &mut self,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<()> {
        self.blocks.disks.run_on_threads(wake)
    }

    /// Reads from BAR 0 or 2. Never fails: it answers as hardware would.
    pub fn read(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        if self.is_gone() {
            data.fill(0xff);
            return;
        }
        match (u32::from(bar), register_offset(offset, data.len())) {
            (BAR_REGISTERS, Some(offset)) => {
                self.refresh(offset);
                let mailbox = self.blocks.mailbox.as_ref();
                let window = mailbox.and_then(|mailbox| mailbox.read_window(offset));
                let word = window.unwrap_or_else(|| self.registers.host_read(offset));
                data.copy_from_slice(&word.to_le_bytes());
            }
            // Doorbells hold nothing.
            (BAR_DOORBELLS, _) => data.fill(0),
            _ => data.fill(0xff),
        }
    }

    /// Writes to BAR 0 or 2. Never fails: what hardware would ignore is ignored. Call [`step`](Self::step) afterwards.
    pub fn write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        if self.is_gone() {
            return;
        }
        match u32::from(bar) {
            BAR_REGISTERS => {
                let word = data.first_chunk().copied().map(u32::from_le_bytes);
                if let (Some(offset), Some(word)) = (register_offset(offset, data.len()), word) {
                    self.write_register(offset, word);
                }
            }
            BAR_DOORBELLS if offset % (DOORBELL_STRIDE as u64) < 4 => {
                if let Ok(queue) = u16::try_from(offset / DOORBELL_STRIDE as u64) {
                    self.doorbells.ring(queue);
                }
            }
            _ => {}
        }
    }

    /// The doorbells, to ring them without the card's lock.
    pub fn doorbells(&self) -> Arc<Doorbells> {
        self.doorbells.clone()
    }

    /// Does a bounded amount of work: boot, commands, queues, uplink. Returns whether there is more to do.
    pub fn step(&mut self) -> bool {
        if self.is_gone() {
            return false;
        }
        if self.config.boot_fails {
            self.cp.fail(&mut self.registers, BOOT_FAILURE);
            return false;
        }
        if self.cp.state(&self.registers) != CpState::Ready as u32 {
            log::debug!("cp: ready");
            self.cp.set_state(&mut self.registers, CpState::Ready);
        }
        self.commands();
        self.queues();
        let more_answers = self.blocks.finish_requests(ANSWERS);
        let more_frames = self.receive_from_uplink();
        self.raise_queue_interrupts();
        self.tell_failures();
        self.tell_changes();
        self.tell_losses();
        let more_commands = match &self.waiting {
            Some(waiting) => !self.still_waits(waiting),
            None => self.has_commands(),
        };
        more_frames || more_answers || (more_commands && !self.hangs()) || self.doorbells.any()
    }

    /// Commands carried out since the reset.
    pub fn commands_done(&self) -> u64 {
        self.commands
    }

    /// When to call [`step`](Self::step) again even if nothing happens until then.
    pub fn wakes_at(&self) -> Option<Instant> {
        let works = !self.hangs() && !self.is_gone();
        let waiting = self.waiting.as_ref().filter(|_| works);
        waiting.map(|waiting| waiting.until)
    }

    /// Resets the card: a function-level reset, or `cp.CONTROL.reset`. Call [`step`](Self::step) afterwards.
    pub fn reset(&mut self) {
        log::info!("card: reset");
        let master = self.blocks.bus.is_master();
        self.registers = RegisterFile::new();
        info::set_up(&self.config, &mut self.registers);
        self.cp = CpRegisters::boot(&mut self.registers);
        *self.firmware = Firmware::new();
        self.cmdq = Cmdq::default();
        self.commands = 0;
        self.waiting = None;
        self.eventq = Eventq::default();
        let mut bus = Bus::new(self.memory.clone(), self.config.bus_bits);
        bus.set_master(master);
        let mut disks = std::mem::replace(&mut self.blocks.disks, Disks::new(0, 0));
        disks.reset();
        self.blocks = Blocks::new(&self.config, bus, self.doorbells.clone());
        self.firmware.set_carrier(&mut self.blocks, self.carrier);
        info::set_disks(disks.count(), &mut self.registers);
        self.blocks.set_disks(disks);
        self.withheld.clear();
        for word in 0..self.doorbells.words() {
            self.doorbells.take(word);
        }
    }

    /// Plugs the uplink's cable in or out. Without a carrier every link of the card is down. Call [`step`](Self::step)
    /// afterwards.
    pub fn set_carrier(&mut self, on: bool) {
        if std::mem::replace(&mut self.carrier, on) != on {
            log::info!("uplink: carrier {}", if on { "on" } else { "off" });
            self.firmware.set_carrier(&mut self.blocks, on);
        }
    }

    /// Allows or forbids the card to be a bus master, as the bit of PCI's command register does. While it is forbidden
    /// every DMA fails and interrupts are withheld.
    pub fn set_bus_master(&mut self, on: bool) {
        self.blocks.bus.set_master(on);
        if on {
            for vector in std::mem::take(&mut self.withheld) {
                self.interrupts.raise(vector);
            }
        }
    }

    /// Brings a register up to date that changes by itself.
    fn refresh(&mut self, offset: usize) {
        match offset {
            // CAST: the registers count modulo 2^32.
            IommuCommands::OFFSET => self
                .registers
                .set(offset, self.firmware.iommu_commands() as u32),
            IommuFaults::OFFSET => self.registers.set(offset, self.blocks.iommu.faults()),
            _ => self.cp.refresh(&mut self.registers),
        }
    }

    fn write_register(&mut self, offset: usize, word: u32) {
        let ignored = match &mut self.blocks.mailbox {
            Some(mailbox) => {
                mailbox.write_window(offset, word);
                cmdq::is_register(offset) || eventq::is_register(offset)
            }
            None => {
                self.cmdq.ignores(offset)
                    || self.eventq.ignores(offset)
                    || mailbox::is_register(offset)
            }
        };
        if ignored {
            return;
        }
        let strobes = self.registers.host_write(offset, word);
        if offset == CpControl::OFFSET && CpControl(strobes).reset() {
            self.reset();
            return;
        }
        let vectors = self.config.vectors;
        if let Some(mailbox) = &mut self.blocks.mailbox {
            let vector = mailbox.written(offset, &mut self.registers, vectors);
            vector.into_iter().for_each(|vector| self.raise(vector));
        } else {
            self.cmdq.written(offset, &mut self.registers, vectors);
            self.eventq.written(offset, &mut self.registers, vectors);
        }
        self.drop_waiting_if_off();
    }

    fn raise(&mut self, vector: u16) {
        if self.blocks.bus.is_master() {
            self.interrupts.raise(vector);
        } else {
            self.withheld.insert(vector);
        }
    }

    /// Serves the queues whose doorbells were rung.
    fn queues(&mut self) {
        for word in 0..self.doorbells.words() {
            let mut pending = self.doorbells.take(word);
            while pending != 0 {
                // CAST: there are 64 words of 64 bits at most.
                let queue = (word * 64) as u16 + pending.trailing_zeros() as u16;
                pending &= pending - 1;
                let more = match self.blocks.engine.role(queue) {
                    Some(QueueRole::Transmit) => self.transmit(queue),
                    Some(QueueRole::Control) => {
                        self.firmware
                            .serve_control_queue(&mut self.blocks, queue, CONTROL_COMMANDS)
                    }
                    Some(QueueRole::Request) => self.blocks.take_requests(queue, REQUESTS),
                    // A receive queue is looked at when a frame comes.
                    Some(QueueRole::Receive) | None => false,
                };
                if more {
                    self.doorbells.mark(queue);
                }
            }
        }
    }

    fn raise_queue_interrupts(&mut self) {
        let Self {
            blocks,
            interrupts,
            withheld,
            ..
        } = self;
        let master = blocks.bus.is_master();
        let (engine, mut dma) = blocks.engine();
        engine.raise_interrupts(&mut dma, |vector| {
            if master {
                interrupts.raise(vector);
            } else {
                withheld.insert(vector);
            }
        });
    }
}

/// The offset of a register, if the access is one that registers take: 32 bits, aligned, inside the BAR.
fn register_offset(offset: u64, length: usize) -> Option<usize> {
    let offset = usize::try_from(offset).ok()?;
    (length == 4 && offset % 4 == 0 && offset < REGISTERS_SIZE).then_some(offset)
}
