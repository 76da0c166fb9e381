// SPDX-License-Identifier: GPL-2.0-only

//! A virtqueue, as its owner has set it up.

use crate::{
    info::Info,
    vdpa::{
        PackedIndex,
        VqAddress,
        VqState, //
    },
    wire, //
};
use kernel::prelude::*;

/// Alignment of the descriptor area in bytes (virtio 1.3, section 2.7).
const DESCRIPTOR_ALIGNMENT: u64 = 16;

/// Alignment of a split ring's driver area in bytes.
const DRIVER_ALIGNMENT: u64 = 2;

/// Alignment of a packed ring's driver area, and of the device area of both kinds, in bytes (section 2.8).
const EVENT_ALIGNMENT: u64 = 4;

/// How the rings of a device are laid out: which of the two `VIRTIO_F_RING_PACKED` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A descriptor table, an available and a used ring.
    Split,
    /// One ring, and two structures of event suppression.
    Packed,
}

impl Layout {
    /// Alignment and length of each area of a ring of `size` entries, in bytes.
    fn areas(self, address: &VqAddress, size: u16) -> [(u64, u64, u64); 3] {
        let size = u64::from(size);

        match self {
            // Without used_event and avail_event, which exist only with VIRTIO_F_EVENT_IDX.
            Self::Split => [
                (address.desc, DESCRIPTOR_ALIGNMENT, 16 * size),
                (address.driver, DRIVER_ALIGNMENT, 4 + 2 * size),
                (address.device, EVENT_ALIGNMENT, 4 + 8 * size),
            ],
            Self::Packed => [
                (address.desc, DESCRIPTOR_ALIGNMENT, 16 * size),
                (address.driver, EVENT_ALIGNMENT, 4),
                (address.device, EVENT_ALIGNMENT, 4),
            ],
        }
    }

    /// Whether the areas are aligned, and none wraps at the end of the address range.
    fn fits(self, address: &VqAddress, size: u16) -> bool {
        self.areas(address, size)
            .iter()
            .all(|(start, alignment, length)| {
                start & alignment.wrapping_sub(1) == 0
                    && start.checked_add(length.saturating_sub(1)).is_some()
            })
    }
}

/// Where a queue stands, with the numbers that the card has for it; see `wire::QueueEnable`.
#[derive(Clone, Copy, PartialEq)]
struct Position {
    layout: Layout,
    avail: u16,
    used: u16,
}

impl Position {
    /// Where a ring begins that nobody has used.
    fn first(layout: Layout) -> Self {
        let index = match layout {
            Layout::Split => 0,
            Layout::Packed => PackedIndex { idx: 0, wrap: true }.to_bits(),
        };

        Self {
            layout,
            avail: index,
            used: index,
        }
    }

    /// Where the card says that a queue stands.
    fn on_card(state: &wire::QueueState, layout: Layout) -> Self {
        Self {
            layout,
            avail: state.avail_index.get(),
            used: state.used_index.get(),
        }
    }

    /// Whether a ring of `size` entries can stand there.
    fn fits(&self, size: u16) -> bool {
        match self.layout {
            // The indices run freely.
            Layout::Split => true,
            Layout::Packed => [self.avail, self.used]
                .iter()
                .all(|bits| PackedIndex::from_bits(*bits).idx < size),
        }
    }
}

impl From<VqState> for Position {
    fn from(state: VqState) -> Self {
        match state {
            // vDPA hands over one index only: buffers that the device had taken have been used too.
            VqState::Split { avail_index } => Self {
                layout: Layout::Split,
                avail: avail_index,
                used: avail_index,
            },
            VqState::Packed { avail, used } => Self {
                layout: Layout::Packed,
                avail: avail.to_bits(),
                used: used.to_bits(),
            },
        }
    }
}

impl From<Position> for VqState {
    fn from(position: Position) -> Self {
        match position.layout {
            Layout::Split => Self::Split {
                avail_index: position.avail,
            },
            Layout::Packed => Self::Packed {
                avail: PackedIndex::from_bits(position.avail),
                used: PackedIndex::from_bits(position.used),
            },
        }
    }
}

/// Where the card says that a queue stands whose rings are laid out like this.
pub(crate) fn card_state(state: &wire::QueueState, layout: Layout) -> VqState {
    Position::on_card(state, layout).into()
}

/// Set-up and state of a virtqueue.
///
/// Set-up may change only while the card doesn't run it.
#[derive(Clone, Copy)]
pub(crate) struct Virtqueue {
    address: VqAddress,
    /// Entries; 0 until somebody set a number that the card can have.
    size: u16,
    /// Where to begin, or where it was stopped; [`None`] until either.
    position: Option<Position>,
    /// What the owner asked for.
    ready: bool,
    /// Whether the card runs the queue.
    running: bool,
}

impl Virtqueue {
    /// The state after a reset.
    pub(crate) const RESET: Self = Self {
        address: VqAddress {
            desc: 0,
            driver: 0,
            device: 0,
        },
        size: 0,
        position: None,
        ready: false,
        running: false,
    };

    /// Whether its owner has enabled it.
    pub(crate) fn ready(&self) -> bool {
        self.ready
    }

    /// Enables or disables it.
    pub(crate) fn set_ready(&mut self, ready: bool) {
        self.ready = ready;
    }

    /// Whether the card runs it.
    pub(crate) fn running(&self) -> bool {
        self.running
    }

    /// Notes that the card runs it.
    pub(crate) fn started(&mut self) {
        self.running = true;
    }

    /// Notes that the card has stopped it at `state`.
    pub(crate) fn stopped(&mut self, state: &wire::QueueState, layout: Layout) {
        self.running = false;
        self.position = Some(Position::on_card(state, layout));
    }

    /// Notes that the card has forgotten the queue before it could do anything: it stands where it began.
    pub(crate) fn not_started(&mut self) {
        self.running = false;
    }

    /// Whether the card has taken buffers that it had not returned when it stopped.
    pub(crate) fn holds_buffers(&self) -> bool {
        self.position
            .is_some_and(|position| position.avail != position.used)
    }

    /// Whether it goes on where it, or a queue of another device, was stopped.
    pub(crate) fn goes_on(&self) -> bool {
        self.position
            .is_some_and(|position| position != Position::first(position.layout))
    }

    fn position(&self, layout: Layout) -> Result<Position> {
        match self.position {
            None => Ok(Position::first(layout)),
            Some(position) if position.layout == layout => Ok(position),
            Some(_) => Err(EINVAL),
        }
    }

    /// Where it begins, or where it was stopped.
    ///
    /// # Errors
    ///
    /// `EINVAL` if that was set while the features asked for the other layout.
    pub(crate) fn state(&self, layout: Layout) -> Result<VqState> {
        Ok(self.position(layout)?.into())
    }

    /// Fails with `EBUSY` if the card runs it. That it is enabled doesn't count: until DRIVER_OK that is no more than a wish, and
    /// QEMU enables its queues before it sets them up.
    fn check_idle(&self) -> Result {
        match self.running {
            true => Err(EBUSY),
            false => Ok(()),
        }
    }

    /// Sets the areas' I/O virtual addresses.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the card runs it, `EINVAL` if an address isn't aligned or an area wraps.
    pub(crate) fn set_address(&mut self, address: VqAddress, layout: Layout) -> Result {
        self.check_idle()?;
        if !layout.fits(&address, self.size) {
            return Err(EINVAL);
        }
        self.address = address;
        Ok(())
    }

    /// Sets the number of entries. The core has no way to hear of an error, so a number that the card
    /// can't have makes the start fail later.
    pub(crate) fn set_size(&mut self, size: u32, info: &Info) {
        if self.check_idle().is_ok() {
            self.size = match u16::try_from(size) {
                Ok(size)
                    if size.is_power_of_two()
                        && (info.min_queue_size..=info.max_queue_size).contains(&size) =>
                {
                    size
                }
                _ => 0,
            };
        }
    }

    /// Sets where it begins.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the card runs it, `EINVAL` if the state is that of another layout, or an index lies beyond the end of
    /// the packed ring. If the number of entries isn't known yet, the start fails instead.
    pub(crate) fn set_state(&mut self, state: VqState, layout: Layout) -> Result {
        self.check_idle()?;
        let position = Position::from(state);
        if position.layout != layout || (self.size != 0 && !position.fits(self.size)) {
            return Err(EINVAL);
        }
        self.position = Some(position);
        Ok(())
    }

    /// What the card has to know to start it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if no usable number of entries was set, an area of so many wraps or isn't aligned as the layout demands,
    /// or the ring can't stand where it is said to begin.
    pub(crate) fn to_wire(
        self,
        layout: Layout,
        queue: u16,
        vector: u16,
        address_space: u16,
        ring_address_space: u16,
        flags: u16,
    ) -> Result<wire::QueueEnable> {
        let position = self.position(layout)?;
        if self.size == 0 || !layout.fits(&self.address, self.size) || !position.fits(self.size) {
            return Err(EINVAL);
        }
        Ok(wire::QueueEnable {
            queue: queue.into(),
            size: self.size.into(),
            vector: vector.into(),
            address_space: address_space.into(),
            flags: flags.into(),
            avail_index: position.avail.into(),
            used_index: position.used.into(),
            ring_address_space: ring_address_space.into(),
            descriptor_area: self.address.desc.into(),
            driver_area: self.address.driver.into(),
            device_area: self.address.device.into(),
        })
    }
}
