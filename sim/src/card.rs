// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The card: all hardware blocks put together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use mooring_firmware::event::events_lost;
use mooring_firmware::hal::QueueRole;
use mooring_hw_regs::regs::{
    CpControl, CpState, IommuCommands, IommuFaults, BAR_DOORBELLS, BAR_REGISTERS, DOORBELL_STRIDE,
    REGISTERS_SIZE,
};
use mooring_hw_regs::wire::{Command, Event, QueueErrorReason, STATUS_OK};

use crate::blk::{Disk, Disks};
use crate::cmdq::Cmdq;
use crate::cp::{Blocks, CpRegisters, Firmware};
use crate::eventq::Eventq;
use crate::limit::LogLimit;
use crate::memory::Bus;
use crate::net::{self, offload, Offload, HEADER_SIZE, MAX_FRAME};
use crate::registers::RegisterFile;
use crate::switch::Route;
use crate::vq::Received;
use crate::{
    cmdq, eventq, info, mailbox, CardConfig, ConfigError, Direction, Doorbells, FrameObserver,
    HostMemory, Port, Uplink,
};

/// Commands, frames of a queue, control commands and frames from the uplink that one step handles at most. Of a queue's frames
/// each one counts that a port gets, and those that come of the last frame may be more.
const COMMANDS: usize = 16;
const QUEUE_FRAMES: usize = 64;
const CONTROL_COMMANDS: usize = 16;
const UPLINK_FRAMES: usize = 64;

/// Requests of a queue, and answers to requests, that one step handles at most.
const REQUESTS: usize = 8;
const ANSWERS: usize = 64;

/// `cp.ERROR` of a control processor that was asked to fail at its boot.
const BOOT_FAILURE: u32 = 0xb007;

/// The way to the host's interrupt controller.
pub trait Interrupts: Send {
    /// Raises an MSI-X vector.
    fn raise(&self, vector: u16);
}

/// A command that was fetched and has to wait for requests of the queue that it stops.
#[derive(Clone, Copy)]
struct Waiting {
    command: Command,
    queue: u16,
    /// When it waits no longer, whatever became of them.
    until: Instant,
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

    /// Forgets the command that waits if the way that it came is switched off: it would complete to whoever comes next. Its
    /// queue goes on, because it was not stopped.
    fn drop_waiting_if_off(&mut self) {
        let on = match &self.blocks.mailbox {
            Some(mailbox) => mailbox.is_enabled(),
            None => self.cmdq.is_enabled(),
        };
        if let Some(waiting) = self.waiting.take_if(|_| !on) {
            self.blocks.disks.release(waiting.queue);
            self.doorbells.mark(waiting.queue);
        }
    }

    fn raise(&mut self, vector: u16) {
        if self.blocks.bus.is_master() {
            self.interrupts.raise(vector);
        } else {
            self.withheld.insert(vector);
        }
    }

    fn commands(&mut self) {
        let mut completed = false;
        for _ in 0..COMMANDS {
            if self.hangs() || self.is_gone() {
                break;
            }
            let waited = self.waiting.take();
            let command = match (&waited, &mut self.blocks.mailbox) {
                (Some(waited), _) => Some(waited.command),
                (None, Some(mailbox)) => mailbox.fetch(),
                (None, None) => self.cmdq.fetch(&self.blocks.bus, &mut self.registers),
            };
            let Some(command) = command else {
                break;
            };
            match waited.or_else(|| self.hold_back(&command)) {
                Some(waiting) if self.still_waits(&waiting) => {
                    self.waiting = Some(waiting);
                    break;
                }
                Some(Waiting { queue, .. }) if self.blocks.disks.is_busy(queue) => {
                    log::warn!("vq {queue}: stops without answers that its disk owes");
                }
                _ => {}
            }
            let completion = self.firmware.execute(&mut self.blocks, &command);
            if completion.status.get() != STATUS_OK && self.limit.allows() {
                log::warn!(
                    "cp: refused with status {}: {command:x?}",
                    completion.status.get()
                );
            }
            self.commands = self.commands.saturating_add(1);
            self.tell_changes();
            match &mut self.blocks.mailbox {
                Some(mailbox) => mailbox.complete(&mut self.registers, &completion),
                None => {
                    completed |=
                        self.cmdq
                            .complete(&self.blocks.bus, &mut self.registers, &completion)
                }
            }
        }
        if let Some(vector) = self.cmdq.vector().filter(|_| completed) {
            self.raise(vector);
        }
    }

    /// What a command waits for: one that stops a queue does, until the requests that were taken from its ring are answered,
    /// since it tells how far the queue has come. All else on the card goes on meanwhile. No more requests are taken from the
    /// ring, so that there is an end; and if the disk doesn't come to one, the queue stops without their answers, because who
    /// waits for the command takes a card that doesn't complete it for dead.
    fn hold_back(&mut self, command: &Command) -> Option<Waiting> {
        let queue = self.firmware.queue_to_disable(command)?;
        self.blocks.disks.hold(queue);
        Some(Waiting {
            command: *command,
            queue,
            until: Instant::now() + self.config.disk_patience,
        })
    }

    fn still_waits(&self, waiting: &Waiting) -> bool {
        self.blocks.disks.is_busy(waiting.queue) && Instant::now() < waiting.until
    }

    fn has_commands(&self) -> bool {
        match &self.blocks.mailbox {
            Some(mailbox) => mailbox.has_commands(),
            None => self.cmdq.has_commands(),
        }
    }

    /// Whether the control processor has stopped taking commands, as a test may ask for.
    fn hangs(&self) -> bool {
        self.config
            .hang_after
            .is_some_and(|limit| self.commands >= limit)
    }

    /// Whether the card has been pulled out, as a test may ask for.
    fn is_gone(&self) -> bool {
        self.config
            .gone_after
            .is_some_and(|limit| self.commands >= limit)
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

    /// Forwards what a transmit queue holds. Returns whether there may be more.
    fn transmit(&mut self, queue: u16) -> bool {
        let Some(device) = self.blocks.engine.device(queue) else {
            return false;
        };
        let mut packet = std::mem::take(&mut self.packet);
        let mut more = true;
        let mut budget = QUEUE_FRAMES;
        while budget > 0 {
            budget -= 1;
            let (engine, mut dma) = self.blocks.engine();
            more = engine.transmit(&mut dma, queue, &mut packet);
            if !more {
                break;
            }
            let Some(Some(net)) = self.blocks.net.get(usize::from(device)) else {
                continue;
            };
            if !net.link {
                continue;
            }
            let frame = net::frame(&packet);
            match Offload::from_packet(&packet, net.features) {
                Ok(offload) if net.fits(frame, &offload) => {
                    let frames = self.forward(Port::Device(device), &mut packet, &offload);
                    budget = budget.saturating_sub(frames.saturating_sub(1));
                }
                _ if self.limit.allows() => log::warn!(
                    "net {device}: sends a frame of {} bytes that is too long or has a bad header; it is dropped",
                    frame.len()
                ),
                _ => {}
            }
        }
        self.packet = packet;
        more
    }

    /// Forwards what came from the uplink. Returns whether there may be more.
    fn receive_from_uplink(&mut self) -> bool {
        let mut packet = std::mem::take(&mut self.packet);
        let mut frame = std::mem::take(&mut self.frame);
        let mut more = true;
        for _ in 0..UPLINK_FRAMES {
            more = match self.uplink.receive(&mut frame) {
                Ok(more) => more,
                Err(error) => {
                    if self.limit.allows() {
                        log::warn!("uplink: receiving: {error}");
                    }
                    false
                }
            };
            if !more {
                break;
            }
            if frame.len() > MAX_FRAME {
                continue;
            }
            packet.clear();
            packet.resize(HEADER_SIZE, 0);
            packet.extend_from_slice(&frame);
            self.forward(Port::Uplink, &mut packet, &Offload::NONE);
        }
        self.packet = packet;
        self.frame = frame;
        more
    }

    /// Switches a packet. Returns how many frames ports got.
    fn forward(&mut self, source: Port, packet: &mut [u8], offload: &Offload) -> usize {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let mut frames = 0;
        net::set_receive_header(packet, offload);
        self.observe(source, Direction::FromPort, packet, offload);
        match self.blocks.switch.route(source, net::frame(packet)) {
            Route::Drop => {}
            Route::One(port) => frames += self.hand_over(port, packet, offload, &mut plain),
            Route::Flood => {
                // CAST: there are 1024 devices at most.
                for device in 0..self.blocks.net.len() as u16 {
                    if source != Port::Device(device) {
                        frames += self.hand_over(Port::Device(device), packet, offload, &mut plain);
                    }
                }
                if source != Port::Uplink {
                    frames += self.hand_over(Port::Uplink, packet, offload, &mut plain);
                }
            }
        }
        // The frames for the wire are made once for all ports.
        if !plain.is_empty() {
            let mut scratch = std::mem::take(&mut self.scratch);
            offload::plain(packet, offload, &mut scratch, |piece| {
                for port in &plain {
                    frames += self.deliver(*port, piece, &Offload::NONE);
                }
            });
            self.scratch = scratch;
        }
        self.plain = plain;
        frames
    }

    /// Hands a packet to a port if it takes the packet as it is, or adds the port to `plain` if it takes frames for the wire.
    /// Returns how many frames it got.
    fn hand_over(
        &mut self,
        port: Port,
        packet: &mut [u8],
        offload: &Offload,
        plain: &mut Vec<Port>,
    ) -> usize {
        let suits = match port {
            Port::Uplink => offload.is_none(),
            Port::Device(device) => {
                let frame = net::frame(packet);
                match self.blocks.net.get(usize::from(device)) {
                    Some(Some(net)) if net.accepts(frame) && net.fits(frame, offload) => {
                        offload.suits(net.features)
                    }
                    _ => return 0,
                }
            }
        };
        if suits {
            return self.deliver(port, packet, offload);
        }
        plain.push(port);
        0
    }

    /// Gives a port a packet that it takes. Returns how many frames that was: none if the port doesn't run.
    fn deliver(&mut self, port: Port, packet: &mut [u8], offload: &Offload) -> usize {
        let device = match port {
            Port::Uplink => {
                self.observe(port, Direction::ToPort, packet, offload);
                if let Err(error) = self.uplink.send(net::frame(packet)) {
                    if self.limit.allows() {
                        log::warn!("uplink: sending: {error}");
                    }
                }
                return 1;
            }
            Port::Device(device) => device,
        };
        let Some(Some(net)) = self.blocks.net.get(usize::from(device)) else {
            return 0;
        };
        let merge = net.merges_buffers();
        for queue in net.receive_queues(net::frame(packet)) {
            let (engine, mut dma) = self.blocks.engine();
            match engine.receive(&mut dma, queue, packet, merge) {
                Received::Stopped => continue,
                Received::Delivered | Received::Dropped => {
                    self.observe(port, Direction::ToPort, packet, offload);
                    return 1;
                }
            }
        }
        0
    }

    /// Shows the observer, if there is one, the frames for the wire that a packet stands for.
    fn observe(&mut self, port: Port, direction: Direction, packet: &[u8], offload: &Offload) {
        let Some(observer) = &mut self.observer else {
            return;
        };
        if offload.is_none() {
            observer.frame(port, direction, net::frame(packet));
            return;
        }
        offload::plain(packet, offload, &mut Vec::new(), |piece| {
            observer.frame(port, direction, net::frame(piece))
        });
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

    /// Tells the host of queues that stopped on errors.
    fn tell_failures(&mut self) {
        let mut told = None;
        for failure in self.blocks.engine.take_failures() {
            if self.limit.allows() {
                match (failure.reason, failure.fault) {
                    (_, Some(fault)) => {
                        log::warn!("vq {}: stops: the IOMMU refused {fault:x?}", failure.queue)
                    }
                    (QueueErrorReason::Bus, None) => log::warn!(
                        "vq {}: stops: the bus failed an access at {:#x}",
                        failure.queue,
                        failure.bus_address
                    ),
                    (reason, None) => log::warn!("vq {}: stops: {reason:?} error", failure.queue),
                }
            }
            for event in self.firmware.failure_events(&failure).into_iter().flatten() {
                told = self.post(&event).or(told);
            }
        }
        if let Some(vector) = told {
            self.raise(vector);
        }
    }

    /// Tells the host of events that found no room, once there is some.
    fn tell_losses(&mut self) {
        let due = match &self.blocks.mailbox {
            Some(mailbox) => mailbox.has_loss_to_tell(),
            None => self.eventq.has_loss_to_tell(),
        };
        if !due {
            return;
        }
        if let Some(vector) = self.post(&events_lost()) {
            self.raise(vector);
        }
    }

    /// Tells the host of what has changed, as long as there is room to spare: what finds none waits, unlike faults.
    fn tell_changes(&mut self) {
        let mut told = None;
        loop {
            let room = match &self.blocks.mailbox {
                Some(mailbox) => mailbox.has_room_to_spare(),
                None => self.eventq.has_room_to_spare(),
            };
            if !room {
                break;
            }
            let Some(event) = self.firmware.take_event(&self.blocks) else {
                break;
            };
            told = self.post(&event).or(told);
        }
        if let Some(vector) = told {
            self.raise(vector);
        }
    }

    /// Posts an event. Returns the vector to raise, if there is one.
    fn post(&mut self, event: &Event) -> Option<u16> {
        match &mut self.blocks.mailbox {
            Some(mailbox) => mailbox.post(event),
            None => self
                .eventq
                .post(&self.blocks.bus, &mut self.registers, event),
        }
    }
}

/// The offset of a register, if the access is one that registers take: 32 bits, aligned, inside the BAR.
fn register_offset(offset: u64, length: usize) -> Option<usize> {
    let offset = usize::try_from(offset).ok()?;
    (length == 4 && offset % 4 == 0 && offset < REGISTERS_SIZE).then_some(offset)
}
