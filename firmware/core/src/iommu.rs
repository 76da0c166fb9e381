// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Address spaces: who has which, in what mode and generation.
//!
//! The extents themselves lie in the IOMMU's memory, behind [`Iommu`](crate::hal::Iommu).

use mooring_hw_regs::wire::{
    AddressSpaceCreate, AddressSpaceCreated, AddressSpaceInfo, AddressSpaceMode, AddressSpaceRead,
    AddressSpaceSelect, AddressSpaceSetMode, AddressSpaceUpdate, AddressSpaceUpdated, Command,
    ErrorCode, Extent, ExtentOperation, IOMMU_PAGE_SIZE, PERMISSION_READ, PERMISSION_WRITE,
    UPDATE_BEGIN, UPDATE_COMMIT,
};
use zerocopy::{FromZeros, IntoBytes};

use crate::cp::{done, result, Outcome};
use crate::device::Devices;
use crate::hal::{Capabilities, Hal};

/// Extents that are copied from or to a payload at a time; what lies on the CP's small stack.
const CHUNK: usize = 16;

/// What the firmware keeps of an address space.
#[derive(Clone, Copy, Debug)]
struct Space {
    /// Whether somebody has it.
    taken: bool,
    mode: AddressSpaceMode,
    /// Grows with every change of what the space translates, and goes on when the space changes hands.
    generation: u64,
    /// Commands carried out since it was taken.
    commands: u64,
    /// Whether an update has begun and was neither committed nor refused.
    updating: bool,
}

const FREE: Space = Space {
    taken: false,
    mode: AddressSpaceMode::Blocked,
    generation: 0,
    commands: 0,
    updating: false,
};

/// The table of address spaces.
pub(crate) struct AddressSpaces<const S: usize> {
    spaces: [Space; S],
    card_commands: u64,
}

/// Whether `length` bytes from `start` on have addresses of `bits` bits.
pub(crate) fn fits(start: u64, length: u64, bits: u8) -> bool {
    let limit = u64::MAX
        .checked_shr(64u32.saturating_sub(u32::from(bits)))
        .unwrap_or(0);
    match length.checked_sub(1) {
        Some(rest) => start.checked_add(rest).is_some_and(|last| last <= limit),
        None => false,
    }
}

impl<const S: usize> AddressSpaces<S> {
    pub const fn new() -> Self {
        Self {
            spaces: [FREE; S],
            card_commands: 0,
        }
    }

    /// IOMMU commands on any space, creating and destroying included.
    pub fn card_commands(&self) -> u64 {
        self.card_commands
    }

    /// The mode of a space that somebody has.
    pub fn mode(&self, space: u16) -> Result<AddressSpaceMode, ErrorCode> {
        self.get(space).map(|space| space.mode)
    }

    fn get(&self, space: u16) -> Result<&Space, ErrorCode> {
        let slot = self
            .spaces
            .get(usize::from(space))
            .filter(|space| space.taken);
        slot.ok_or(ErrorCode::NoSuchAddressSpace)
    }

    fn get_mut(&mut self, space: u16) -> Result<&mut Space, ErrorCode> {
        let slot = self
            .spaces
            .get_mut(usize::from(space))
            .filter(|space| space.taken);
        slot.ok_or(ErrorCode::NoSuchAddressSpace)
    }

    /// `Opcode::AddressSpaceCreate`.
    pub fn create<H: Hal>(&mut self, hal: &mut H, arguments: &AddressSpaceCreate) -> Outcome {
        let capabilities = hal.capabilities();
        let mode = mode_argument(&capabilities, arguments.mode.get())?;
        let limit = usize::from(capabilities.address_spaces);
        let mut slots = self.spaces.iter_mut().take(limit).zip(0u16..);
        let (space, number) = slots
            .find(|(space, _)| !space.taken)
            .ok_or(ErrorCode::NoResources)?;
        *space = Space {
            taken: true,
            mode,
            generation: space.generation + 1,
            commands: 0,
            updating: false,
        };
        hal.set_mode(number, mode);
        hal.clear_faults(number);
        self.card_commands += 1;
        result(&AddressSpaceCreated {
            address_space: number.into(),
            reserved: [0.into(); 3],
            generation: space.generation.into(),
        })
    }

    /// `Opcode::AddressSpaceDestroy`.
    pub fn destroy<H: Hal, const D: usize, const Q: usize>(
        &mut self,
        hal: &mut H,
        devices: &Devices<D, Q>,
        arguments: &AddressSpaceSelect,
    ) -> Outcome {
        let number = arguments.address_space.get();
        let space = self.get_mut(number)?;
        if devices.running(hal, number).next().is_some() {
            return Err(ErrorCode::Busy);
        }
        // Blocked, so that nothing gets through a space that nobody has.
        hal.set_mode(number, AddressSpaceMode::Blocked);
        *space = Space {
            generation: space.generation,
            ..FREE
        };
        self.card_commands += 1;
        done()
    }

    /// `Opcode::AddressSpaceSetMode`.
    pub fn set_mode<H: Hal, const D: usize, const Q: usize>(
        &mut self,
        hal: &mut H,
        devices: &Devices<D, Q>,
        arguments: &AddressSpaceSetMode,
    ) -> Outcome {
        let number = arguments.address_space.get();
        let space = self.get_mut(number)?;
        let mode = mode_argument(&hal.capabilities(), arguments.mode.get())?;
        if mode == AddressSpaceMode::Identity
            && devices
                .running(hal, number)
                .any(|queue| !queue.allow_identity)
        {
            return Err(ErrorCode::Busy);
        }
        hal.set_mode(number, mode);
        space.mode = mode;
        space.updating = false;
        space.generation += 1;
        space.commands += 1;
        self.card_commands += 1;
        self.updated(hal, number)
    }

    /// `Opcode::AddressSpaceUpdate`.
    pub fn update<H: Hal>(
        &mut self,
        hal: &mut H,
        command: &Command,
        arguments: &AddressSpaceUpdate,
    ) -> Outcome {
        let number = arguments.address_space.get();
        let space = self.get_mut(number)?;
        let commit = arguments.flags.get() & UPDATE_COMMIT != 0;
        match stage(hal, space, command, arguments) {
            Ok(()) if commit => {
                hal.commit(number);
                space.mode = AddressSpaceMode::Translated;
                space.generation += 1;
                space.updating = false;
            }
            Ok(()) => space.updating = true,
            Err(code) => {
                // Later commands of the same update may be in the queue already. They find it over, so that a part of
                // an update never takes effect.
                hal.abort(number);
                space.updating = false;
                return Err(code);
            }
        }
        space.commands += 1;
        self.card_commands += 1;
        self.updated(hal, number)
    }

    /// `Opcode::AddressSpaceQuery`.
    pub fn query<H: Hal, const D: usize, const Q: usize>(
        &self,
        hal: &H,
        devices: &Devices<D, Q>,
        arguments: &AddressSpaceSelect,
    ) -> Result<AddressSpaceInfo, ErrorCode> {
        let number = arguments.address_space.get();
        let space = self.get(number)?;
        let state = hal.space_state(number);
        let running = devices.running(hal, number).count();
        Ok(AddressSpaceInfo {
            mode: (space.mode as u16).into(),
            running_queues: u16::try_from(running).unwrap_or(u16::MAX).into(),
            extents: state.extents.into(),
            generation: space.generation.into(),
            mapped_bytes: state.mapped_bytes.into(),
            digest: state.digest.into(),
            commands: space.commands.into(),
            faults: state.faults.into(),
            card_commands: self.card_commands.into(),
            reserved: 0.into(),
        })
    }

    /// `Opcode::AddressSpaceRead`.
    pub fn read<H: Hal>(
        &self,
        hal: &mut H,
        command: &Command,
        arguments: &AddressSpaceRead,
    ) -> Outcome {
        let number = arguments.address_space.get();
        let space = self.get(number)?;
        let room = command.payload_length.get() / size_of::<Extent>() as u32;
        let mut chunk = [Extent::new_zeroed(); CHUNK];
        let mut written = 0;
        while written < room {
            let want = CHUNK.min((room - written) as usize);
            let Some(start) = arguments.start.get().checked_add(written) else {
                break;
            };
            let got = hal.read_extents(number, start, chunk.get_mut(..want).unwrap_or_default());
            let extents = chunk.get(..got.min(want)).unwrap_or_default();
            if extents.is_empty() {
                break;
            }
            let bus = payload_address(command, written)?;
            hal.write_payload(bus, extents.as_bytes())
                .map_err(|_| ErrorCode::PayloadDma)?;
            written += extents.len() as u32;
        }
        result(&AddressSpaceUpdated {
            generation: space.generation.into(),
            extents: written.into(),
            reserved: 0.into(),
        })
    }

    fn updated<H: Hal>(&self, hal: &H, number: u16) -> Outcome {
        result(&AddressSpaceUpdated {
            generation: self.get(number)?.generation.into(),
            extents: hal.space_state(number).extents.into(),
            reserved: 0.into(),
        })
    }
}

/// The mode of this number, if the card has it.
fn mode_argument(capabilities: &Capabilities, number: u16) -> Result<AddressSpaceMode, ErrorCode> {
    match AddressSpaceMode::from_number(number) {
        Some(AddressSpaceMode::Identity) if !capabilities.identity => Err(ErrorCode::NotSupported),
        Some(mode) => Ok(mode),
        None => Err(ErrorCode::InvalidArgument),
    }
}

/// Stages the changes of an update command.
fn stage<H: Hal>(
    hal: &mut H,
    space: &Space,
    command: &Command,
    arguments: &AddressSpaceUpdate,
) -> Result<(), ErrorCode> {
    let capabilities = hal.capabilities();
    let number = arguments.address_space.get();
    let flags = arguments.flags.get();
    let count = arguments.count.get();
    let begin = flags & UPDATE_BEGIN != 0;
    if flags & !(UPDATE_BEGIN | UPDATE_COMMIT) != 0
        || !(begin || space.updating)
        || count > u32::from(capabilities.max_batch)
        || u64::from(command.payload_length.get()) < u64::from(count) * size_of::<Extent>() as u64
    {
        return Err(ErrorCode::InvalidArgument);
    }
    if arguments.generation.get() != space.generation {
        return Err(ErrorCode::StaleGeneration);
    }
    if begin {
        hal.begin(number);
    }
    let mut chunk = [Extent::new_zeroed(); CHUNK];
    let mut staged = 0;
    while staged < count {
        let want = CHUNK.min((count - staged) as usize);
        let extents = chunk.get_mut(..want).unwrap_or_default();
        let bus = payload_address(command, staged)?;
        hal.read_payload(bus, extents.as_mut_bytes())
            .map_err(|_| ErrorCode::PayloadDma)?;
        for extent in extents.iter() {
            let operation = check(&capabilities, extent)?;
            hal.stage(number, operation, extent)?;
        }
        staged += want as u32;
    }
    Ok(())
}

/// Bus address of the payload's extent with an index.
fn payload_address(command: &Command, index: u32) -> Result<u64, ErrorCode> {
    let offset = u64::from(index) * size_of::<Extent>() as u64;
    command
        .payload
        .get()
        .checked_add(offset)
        .ok_or(ErrorCode::PayloadDma)
}

/// Checks an extent from the wire and returns what to do with it.
fn check(capabilities: &Capabilities, extent: &Extent) -> Result<ExtentOperation, ErrorCode> {
    let (iova, bus, length) = (extent.iova.get(), extent.bus.get(), extent.length.get());
    let permission = extent.permission.get();
    let good = (iova | bus | length) % IOMMU_PAGE_SIZE == 0
        && fits(iova, length, capabilities.iova_bits)
        && fits(bus, length, capabilities.bus_bits)
        && permission != 0
        && permission & !(PERMISSION_READ | PERMISSION_WRITE) == 0;
    match ExtentOperation::from_number(extent.operation.get()) {
        Some(operation) if good => Ok(operation),
        _ => Err(ErrorCode::InvalidArgument),
    }
}
