// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The control processor: from a command to its completion.

use mooring_hw_regs::wire::{
    Command, Completion, DeviceStatistics, ErrorCode, Opcode, QueueSelect, RESULT_SIZE, STATUS_OK,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::device::{self, Devices};
use crate::hal::Hal;
use crate::iommu::AddressSpaces;
use crate::{net, vq};

/// What a command leaves in its completion.
pub(crate) type Outcome = Result<[u8; RESULT_SIZE], ErrorCode>;

/// The state of the control processor: tables for `D` devices, `Q` queues and `S` address spaces.
pub struct ControlProcessor<const D: usize, const Q: usize, const S: usize> {
    pub(crate) devices: Devices<D, Q>,
    pub(crate) spaces: AddressSpaces<S>,
}

impl<const D: usize, const Q: usize, const S: usize> Default for ControlProcessor<D, Q, S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const D: usize, const Q: usize, const S: usize> ControlProcessor<D, Q, S> {
    /// A control processor after reset: no devices, no address spaces.
    pub const fn new() -> Self {
        Self {
            devices: Devices::new(),
            spaces: AddressSpaces::new(),
        }
    }

    /// IOMMU commands carried out since the reset.
    pub fn iommu_commands(&self) -> u64 {
        self.spaces.card_commands()
    }

    /// Executes a command. The completion's sequence number is left to the ring's owner.
    pub fn execute<H: Hal>(&mut self, hal: &mut H, command: &Command) -> Completion {
        let outcome = match Opcode::from_number(command.opcode.get()) {
            Some(opcode) => self.dispatch(hal, opcode, command),
            None => Err(ErrorCode::UnknownOpcode),
        };
        let (status, result) = match outcome {
            Ok(result) => (STATUS_OK, result),
            Err(code) => (code as u16, [0; RESULT_SIZE]),
        };
        Completion {
            tag: command.tag,
            status: status.into(),
            result,
            sequence: 0.into(),
        }
    }

    /// The queue that a command would stop, by its card-wide number, if it is one that tells how far the queue has come: what
    /// was taken from its ring has to be given back before.
    pub fn queue_to_disable(&self, command: &Command) -> Option<u16> {
        if Opcode::from_number(command.opcode.get()) != Some(Opcode::QueueDisable) {
            return None;
        }
        let select: QueueSelect = arguments(command).ok()?;
        let device = self.devices.get(command.device.get()).ok()?;
        device.queue(select.queue.get()).ok()
    }

    /// Executes what the driver of a device put on its control queue, at most `budget` commands. Returns whether there
    /// may be more.
    pub fn serve_control_queue<H: Hal>(&mut self, hal: &mut H, queue: u16, budget: usize) -> bool {
        net::ctrl::serve(&mut self.devices, hal, queue, budget)
    }

    fn dispatch<H: Hal>(&mut self, hal: &mut H, opcode: Opcode, command: &Command) -> Outcome {
        let device = command.device.get();
        if opcode.concerns_iommu() && !hal.capabilities().has_iommu() {
            return Err(ErrorCode::NotSupported);
        }
        match opcode {
            Opcode::Nop => done(),
            Opcode::DeviceCreate => self.devices.create(hal, &arguments(command)?),
            Opcode::DeviceDestroy => self.devices.destroy(hal, device),
            Opcode::DeviceReset => self.devices.reset(hal, device),
            Opcode::DeviceSetFeatures => {
                self.devices.set_features(hal, device, &arguments(command)?)
            }
            Opcode::DeviceStatistics => {
                let statistics: DeviceStatistics = self.devices.statistics(hal, device)?;
                write_payload(hal, command, &statistics)?;
                done()
            }
            Opcode::DeviceTypeQuery => device::type_info(hal, &arguments(command)?),
            Opcode::QueueEnable => vq::enable(
                &mut self.devices,
                &self.spaces,
                hal,
                device,
                &arguments(command)?,
            ),
            Opcode::QueueDisable => vq::disable(&self.devices, hal, device, &arguments(command)?),
            Opcode::QueueQuery => vq::query(&self.devices, hal, device, &arguments(command)?),
            Opcode::QueueStatistics => {
                let statistics = vq::statistics(&self.devices, hal, device, &arguments(command)?)?;
                write_payload(hal, command, &statistics)?;
                done()
            }
            Opcode::NetSetMac => self.devices.set_mac(hal, device, &arguments(command)?),
            Opcode::NetSetLink => self.devices.set_link(hal, device, &arguments(command)?),
            Opcode::NetTell => self.devices.tell(device),
            Opcode::NetAnnounce => self.devices.announce(device),
            Opcode::BlockQuery => {
                let info = self.devices.block_info(hal, device)?;
                write_payload(hal, command, &info)?;
                done()
            }
            Opcode::AddressSpaceCreate => self.spaces.create(hal, &arguments(command)?),
            Opcode::AddressSpaceDestroy => {
                self.spaces
                    .destroy(hal, &self.devices, &arguments(command)?)
            }
            Opcode::AddressSpaceSetMode => {
                self.spaces
                    .set_mode(hal, &self.devices, &arguments(command)?)
            }
            Opcode::AddressSpaceUpdate => self.spaces.update(hal, command, &arguments(command)?),
            Opcode::AddressSpaceQuery => {
                let info = self
                    .spaces
                    .query(hal, &self.devices, &arguments(command)?)?;
                write_payload(hal, command, &info)?;
                done()
            }
            Opcode::AddressSpaceRead => self.spaces.read(hal, command, &arguments(command)?),
        }
    }
}

/// The outcome of a command that has no result.
pub(crate) fn done() -> Outcome {
    Ok([0; RESULT_SIZE])
}

/// The outcome of a command with a result.
pub(crate) fn result<T: IntoBytes + Immutable>(value: &T) -> Outcome {
    const { assert!(size_of::<T>() <= RESULT_SIZE) };
    let mut bytes = [0; RESULT_SIZE];
    value
        .write_to_prefix(&mut bytes)
        .map_err(|_| ErrorCode::Internal)?;
    Ok(bytes)
}

/// The command's arguments as the type that its opcode has.
fn arguments<T: FromBytes + KnownLayout + Immutable>(command: &Command) -> Result<T, ErrorCode> {
    T::read_from_prefix(&command.arguments)
        .map(|(arguments, _)| arguments)
        .map_err(|_| ErrorCode::Internal)
}

/// Writes as much of `value` as the payload has room for, so that a driver that knows a shorter type gets what it knows.
fn write_payload<H: Hal, T: IntoBytes + Immutable>(
    hal: &mut H,
    command: &Command,
    value: &T,
) -> Result<(), ErrorCode> {
    let bytes = value.as_bytes();
    let room = usize::try_from(command.payload_length.get()).unwrap_or(usize::MAX);
    let bytes = bytes.get(..room).unwrap_or(bytes);
    hal.write_payload(command.payload.get(), bytes)
        .map_err(|_| ErrorCode::PayloadDma)
}
