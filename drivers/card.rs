// SPDX-License-Identifier: GPL-2.0-only

//! The card: what all its devices share, and its health.
//!
//! # Locks
//!
//! Outermost first; a lock is never taken while one further down is held:
//!
//! 1. a device's files in debugfs (`RegisteredDevice::files`), whose readers take what follows;
//! 2. a device's virtio state (`VirtioDevice::state`), of one device at a time, or the rings of its bounce pool
//!    (`Bounce::rings`); nobody takes both;
//! 3. address spaces (`VirtioDevice::spaces`), two of a device in the order of their numbers;
//! 4. the command queue or the event queue ([`Card`]);
//! 5. the list of devices ([`Card`]), or, inside the event queue, what is known of a device's faults
//!    (`Faults::last`, `Faults::notifier`);
//! 6. spinlocks, each alone: what the card changes in a configuration space (`VirtioDevice::changing`), the interrupt table,
//!    the abstraction's callbacks, the places of a bounce pool (`Bounce::pool`).
//!
//! # Health
//!
//! A card is alive until it fails once: it doesn't answer a command in time, answers nonsense, or
//! disappears. Then the driver takes its right to reach host memory away, so that nothing which it may
//! still do can harm anybody, raises `NEEDS_RESET` on every device, and refuses every command with
//! `EIO`. Only unbinding and binding the driver, which resets the card, gives it another try.

use crate::{
    cmdq::{
        transport::{
            CommandQueue,
            Payload,
            TransportError, //
        },
        CommandError, //
    },
    eventq::EventQueue,
    info::Info,
    msix,
    pci::{
        self as function,
        Doorbells,
        Registers, //
    },
    regs,
    virtio_device::VirtioDevice,
    wire::{
        self,
        Opcode, //
    },
};
use kernel::{
    device::{
        self,
        Bound, //
    },
    io::Io,
    new_mutex, pci,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex, //
    },
    time::Delta,
};
use zerocopy::FromZeros;

/// How long a command may take. Far above what any command needs, because a card that exceeds it is
/// given up.
const COMMAND_TIMEOUT: Delta = Delta::from_millis(10_000);

/// A card whose driver is bound.
#[pin_data]
pub(crate) struct Card {
    pci: ARef<pci::Device>,
    /// What the card has.
    pub(crate) info: Info,
    registers: Registers,
    /// The doorbells of all queues.
    pub(crate) doorbells: Doorbells,
    /// Who gets a queue's interrupts.
    pub(crate) interrupts: msix::Table,
    /// [`None`] after [`Self::shutdown()`].
    #[pin]
    cmdq: Mutex<Option<CommandQueue>>,
    /// [`None`] after [`Self::shutdown()`].
    #[pin]
    eventq: Mutex<Option<EventQueue>>,
    #[pin]
    devices: Mutex<KVec<Arc<VirtioDevice>>>,
    dead: Atomic<bool>,
    /// Events that the card has lost.
    lost_events: Atomic<u32>,
    /// Whether events were lost since the devices last asked for what they tell.
    unchecked: Atomic<bool>,
}

impl Card {
    /// Makes what the driver needs for a card that was just reset. [`Self::enable()`] comes next.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub(crate) fn new(
        pci: ARef<pci::Device>,
        dev: &device::Device<Bound>,
        registers: Registers,
        doorbells: Doorbells,
        info: Info,
    ) -> Result<Arc<Self>> {
        let payload = usize::from(info.batch) * size_of::<wire::Extent>();
        let payload = payload
            .max(size_of::<wire::AddressSpaceInfo>())
            .max(size_of::<wire::DeviceStatistics>())
            .max(size_of::<wire::QueueStatistics>())
            .max(size_of::<wire::BlockInfo>());
        let cmdq = CommandQueue::new(dev, &info, payload)?;
        let eventq = EventQueue::new(dev, &info)?;

        Arc::pin_init(
            try_pin_init!(Self {
                pci,
                info,
                registers,
                doorbells,
                interrupts: msix::Table::new(info.num_queues)?,
                cmdq <- new_mutex!(Some(cmdq), "Card::cmdq"),
                eventq <- new_mutex!(Some(eventq), "Card::eventq"),
                devices <- new_mutex!(KVec::new(), "Card::devices"),
                dead: Atomic::new(false),
                lost_events: Atomic::new(0),
                unchecked: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// Switches the queues on. [`Self::shutdown()`] has to be called before the last reference goes.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the function has been unbound.
    pub(crate) fn enable(&self) -> Result {
        if let Some(cmdq) = (*self.cmdq.lock()).as_mut() {
            cmdq.enable(&self.registers)?;
        }
        if let Some(eventq) = (*self.eventq.lock()).as_mut() {
            eventq.enable(&self.registers)?;
        }
        Ok(())
    }

    /// The device for messages in the log.
    pub(crate) fn dev(&self) -> &device::Device {
        self.pci.as_ref()
    }

    /// The card's registers.
    pub(crate) fn registers(&self) -> &Registers {
        &self.registers
    }

    /// Whether the card has been given up.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Acquire)
    }

    /// Has the card carry out one command. May sleep, [`COMMAND_TIMEOUT`] at most beside waiting for
    /// other commands.
    ///
    /// # Errors
    ///
    /// See [`CommandError`].
    pub(crate) fn execute(
        &self,
        opcode: Opcode,
        device: u16,
        arguments: &[u8],
        mut payload: Payload<'_>,
    ) -> Result<wire::Completion, CommandError> {
        let mut command = wire::Command::new_zeroed();
        command.opcode = (opcode as u16).into();
        command.device = device.into();
        command
            .arguments
            .get_mut(..arguments.len())
            .ok_or(CommandError::NotIssued(EINVAL))?
            .copy_from_slice(arguments);

        let result = {
            let mut cmdq = self.cmdq.lock();
            if self.is_dead() {
                return Err(CommandError::Dead);
            }
            let cmdq = (*cmdq).as_mut().ok_or(CommandError::Dead)?;
            let result = cmdq.execute(&self.registers, command, &mut payload, COMMAND_TIMEOUT);

            // The card has to be cut off before anybody else gets at a queue that has lost step.
            if matches!(result, Err(error) if !matches!(error, TransportError::NotIssued(_))) {
                self.cut_off();
            }
            result
        };

        let completion = match result {
            Ok(completion) => completion,
            Err(TransportError::NotIssued(error)) => return Err(CommandError::NotIssued(error)),
            Err(error) => {
                self.report_failure(opcode, error);
                return Err(CommandError::Dead);
            }
        };
        match completion.status.get() {
            wire::STATUS_OK => Ok(completion),
            status => match wire::ErrorCode::from_status(status) {
                Some(wire::ErrorCode::Internal) => {
                    self.fail("its firmware failed");
                    Err(CommandError::Dead)
                }
                Some(code) => {
                    dev_dbg!(self.dev(), "card refused {:?}: {}\n", opcode, code.text());
                    Err(CommandError::Refused(code))
                }
                None => {
                    self.fail("it answered with a status that does not exist");
                    Err(CommandError::Dead)
                }
            },
        }
    }

    fn report_failure(&self, opcode: Opcode, error: TransportError) {
        let reason = match error {
            TransportError::Gone => "it does not answer register reads",
            TransportError::TimedOut => "it did not complete a command in time",
            _ => "it completed a command that it was not given",
        };
        dev_err!(
            self.dev(),
            "card failed: {} ({:?}); it is cut off from memory, rebind the driver to reset it\n",
            reason,
            opcode
        );
        self.tell_devices();
    }

    /// Gives the card up. See the module's description.
    pub(crate) fn fail(&self, reason: &str) {
        if self.cut_off() {
            dev_err!(
                self.dev(),
                "card failed: {}; it is cut off from memory, rebind the driver to reset it\n",
                reason
            );
            self.tell_devices();
        }
    }

    /// Ends the card's DMA and lets no further command through. Returns whether this was news.
    fn cut_off(&self) -> bool {
        // In this order: whoever learns that the card is dead may give memory back at once. Doing it twice
        // does no harm.
        if !self.is_dead() {
            function::clear_bus_master(&self.pci, &self.registers);
        }
        !self.dead.xchg(true, Full)
    }

    fn tell_devices(&self) {
        for device in self.devices.lock().iter() {
            device.need_reset();
        }
    }

    /// Makes events for a device arrive there.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub(crate) fn add_device(&self, device: Arc<VirtioDevice>) -> Result {
        self.devices.lock().push(device, GFP_KERNEL)?;
        Ok(())
    }

    /// Whether there is any device.
    pub(crate) fn has_devices(&self) -> bool {
        !self.devices.lock().is_empty()
    }

    /// Whether there is a device with this number, or one that has any of the card's queues `queues`.
    pub(crate) fn has_device(&self, number: u16, queues: core::ops::Range<u32>) -> bool {
        self.devices
            .lock()
            .iter()
            .any(|device| device.number() == number || device.has_queue_in(&queues))
    }

    /// Undoes [`Self::add_device()`]. An event for the device may still be delivered meanwhile.
    pub(crate) fn remove_device(&self, number: u16) {
        self.devices
            .lock()
            .retain(|device| device.number() != number);
    }

    /// The device with this number.
    pub(crate) fn device(&self, number: u16) -> Option<Arc<VirtioDevice>> {
        self.devices
            .lock()
            .iter()
            .find(|device| device.number() == number)
            .cloned()
    }

    /// Takes the events that the card has posted. May sleep.
    ///
    /// Callable with a device's virtio state locked. After events were lost, somebody else's queues are to be checked, which
    /// only [`Self::handle_events()`] can do; the event that told so comes with an interrupt, so that it is called.
    pub(crate) fn take_events(&self) {
        let mut eventq = self.eventq.lock();

        if let Some(eventq) = (*eventq).as_mut() {
            eventq.drain(self);
        }
    }

    /// Takes the events that the card has posted, and asks for what lost ones would have told. May sleep. Called from the
    /// event interrupt's thread, with no lock held.
    pub(crate) fn handle_events(&self) {
        self.take_events();
        if self.unchecked.xchg(false, Full) {
            self.make_up_for_lost_events();
        }
    }

    /// Notes that the card has lost events.
    pub(crate) fn note_lost_events(&self, count: u32) {
        self.lost_events.fetch_add(count, Relaxed);
        self.unchecked.store(true, Release);
    }

    /// How many events the card has lost since the driver was bound.
    pub(crate) fn lost_events(&self) -> u32 {
        self.lost_events.load(Relaxed)
    }

    /// Has every device ask what it may not have been told.
    fn make_up_for_lost_events(&self) {
        let mut from = 0;

        // By rising number, and not by the place in the list, which changes as soon as its lock is given back.
        while let Some(device) = self.next_device(from) {
            device.make_up_for_lost_events();
            from = u32::from(device.number()) + 1;
        }
    }

    /// The device with the lowest number that is `from` or above.
    fn next_device(&self, from: u32) -> Option<Arc<VirtioDevice>> {
        self.devices
            .lock()
            .iter()
            .filter(|device| u32::from(device.number()) >= from)
            .min_by_key(|device| device.number())
            .cloned()
    }

    /// Switches the queues off and frees them. Commands fail with [`CommandError::Dead`] from here on.
    pub(crate) fn shutdown(&self) {
        let cmdq = self.cmdq.lock().take();
        let eventq = self.eventq.lock().take();

        // The errors mean that the function is unbound already, which ended its DMA as well.
        let _ = disable_queues(&self.registers);
        // Even a card that doesn't take the register writes can't reach the memory any more, which is
        // freed only now.
        self.cut_off();
        drop((cmdq, eventq));
    }
}

/// Switches both queues, or the mailbox, off. The card writes to neither once this returned. What the card doesn't have
/// ignores the write.
fn disable_queues(registers: &Registers) -> Result {
    registers.with(|io| {
        io.write_reg(regs::MAILBOX_CONTROL::from(0));
        io.write_reg(regs::CMDQ_CONTROL::from(0));
        io.write_reg(regs::EVENTQ_CONTROL::from(0));
        // A read makes the writes arrive, since it can't overtake them.
        let _ = io.read(regs::EVENTQ_STATUS);
    })
}
