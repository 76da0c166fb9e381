// SPDX-License-Identifier: GPL-2.0-only

//! A virtio device of the card: its life from `vdpa dev add` to `vdpa dev del`, and its virtio state.
//!
//! Most of it is the same for each type of device. What only network devices have is here, too; what only block devices
//! have is in [`block`](crate::block).
//!
//! The vDPA operations on it are in [`operations`], the configuration space in [`config`], what the card tells about it in
//! [`events`], and what the host does to its link in [`link`].

pub(crate) mod config;
mod events;
pub(crate) mod explicit;
pub(crate) mod faults;
mod link;
pub(crate) mod operations;
mod share;
mod start;
mod statistics;
mod suspend;

use crate::{
    block::BlockConfig,
    card::Card,
    cmdq::{
        commands,
        CommandError, //
    },
    info::{
        Info,
        Translation, //
    },
    iommu::AddressSpace,
    limit::Limit,
    mgmt::Type,
    vdpa::{
        virtio::{
            VIRTIO_F_RING_PACKED,
            VIRTIO_NET_F_CTRL_VQ, //
        },
        Callbacks, //
    },
    vq::{
        Layout,
        Virtqueue, //
    },
    wire, //
};
use faults::Faults;
use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLock, //
    },
};

/// Group of the data queues' buffers.
const GROUP_DATA: u32 = 0;

/// Group of the data queues' rings: descriptor, driver and device area.
///
/// vhost-vdpa takes the number in `VHOST_VDPA_SET_GROUP_ASID` for that of a queue, too, and refuses it if there is no such
/// queue (`vhost_vdpa_vring_ioctl()` in drivers/vhost/vdpa.c). So this is the lower one: a device of two queues has it as well,
/// while one with a control queue has at least three.
const GROUP_RINGS: u32 = 1;

/// Group of the control queue, of its buffers and of its rings.
const GROUP_CONTROL: u32 = 2;

/// Groups that a device can have at most.
const MAX_GROUPS: usize = 3;

/// Groups that a device without a control queue, because its type has none, can have.
const BLOCK_GROUPS: usize = 2;

/// Address spaces that a device of this type with so many queues has on a card.
fn address_spaces(info: &Info, device_type: Type, num_queues: u16) -> usize {
    match info.translation {
        Translation::OnChipIdentity | Translation::OnChip => match device_type {
            Type::Net => MAX_GROUPS,
            // With one queue there is no group that vhost-vdpa would let anybody move, see `GROUP_RINGS`, but the first.
            Type::Block => BLOCK_GROUPS.min(num_queues.into()),
        },
        // The platform IOMMU has one domain for the whole function.
        Translation::Platform => 0,
    }
}

/// What `.reset` puts back.
pub(super) struct VirtioState {
    /// Status bits that the owner has set, without `NEEDS_RESET`.
    status: u8,
    /// Features that the owner has accepted.
    features: u64,
    /// Set-up and state of each queue.
    queues: KVec<Virtqueue>,
    /// Index in [`VirtioDevice::spaces`] of each group's address space.
    group_asid: [u32; MAX_GROUPS],
    /// Whether the device is suspended: no queue runs although it was started.
    suspended: bool,
}

impl VirtioState {
    /// Index in [`VirtioDevice::spaces`] of a group's address space.
    fn asid(&self, group: u32) -> Result<u32> {
        let asid = self.group_asid.get(usize::try_from(group)?);
        asid.copied().ok_or(EINVAL)
    }

    /// How the rings are laid out that the owner has accepted.
    fn layout(&self) -> Layout {
        match self.features & (1 << VIRTIO_F_RING_PACKED) {
            0 => Layout::Split,
            _ => Layout::Packed,
        }
    }

    fn reset(&mut self) {
        self.status = 0;
        self.features = 0;
        self.queues.iter_mut().for_each(|vq| *vq = Virtqueue::RESET);
        self.group_asid = [0; MAX_GROUPS];
        self.suspended = false;
    }
}

/// A virtio device of the card.
///
/// # Invariants
///
/// The card's device object `number` and address spaces `spaces` belong to this device until it is
/// dropped from the card by [`Self::destroy()`].
#[pin_data]
pub(crate) struct VirtioDevice {
    card: Arc<Card>,
    number: u16,
    first_queue: u16,
    num_queues: u16,
    /// The configuration space of a block device; a network device has none here.
    block: Option<BlockConfig>,
    /// Whether the last queue is a control queue.
    control: bool,
    offered: u64,
    mtu: u16,
    callbacks: Arc<Callbacks>,
    #[pin]
    state: Mutex<VirtioState>,
    /// The device's address spaces, by the number that vDPA has for them; as many as it has groups. [`None`]
    /// once destroyed. If two are locked at a time, then in the order of their numbers. Empty on a card
    /// without an IOMMU.
    spaces: KVec<Pin<KBox<Mutex<Option<AddressSpace>>>>>,
    /// What the card changes in the configuration space.
    #[pin]
    changing: SpinLock<config::Changing>,
    needs_reset: Atomic<bool>,
    #[pin]
    faults: Faults,
    /// Lines in the log about what the owner does wrong, which it can cause at will.
    complaints: Limit,
    /// Lines in the log about address spaces that don't hold what they should: the card's doing.
    alarms: Limit,
}

/// Ownership of a device: dropping it takes the device from the card.
pub(crate) struct OwnedDevice(Arc<VirtioDevice>);

impl OwnedDevice {
    /// Another reference to the device, which keeps its memory but not the device on the card.
    pub(crate) fn share(&self) -> Arc<VirtioDevice> {
        self.0.clone()
    }
}

impl core::ops::Deref for OwnedDevice {
    type Target = VirtioDevice;

    fn deref(&self) -> &VirtioDevice {
        &self.0
    }
}

impl Drop for OwnedDevice {
    fn drop(&mut self) {
        self.0.destroy();
    }
}

/// Whether `mac` can be a device's own address.
pub(crate) fn is_valid_mac(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}

/// What a device is made with.
pub(crate) struct Parameters {
    /// What it shall be.
    pub(crate) device_type: Type,
    /// Queue pairs of a network device, queues of a block device; 1 or more.
    pub(crate) queues: u16,
    /// MAC address, or `None` to let the card choose.
    pub(crate) mac: Option<[u8; 6]>,
    /// Maximum transmission unit in bytes, or `None` for the card's default.
    pub(crate) mtu: Option<u16>,
    /// Features to offer at most.
    pub(crate) features: Option<u64>,
}

impl VirtioDevice {
    /// Makes the device and its address spaces on the card.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if the card has no device, queue or address space left, `ENOMEM` if there is no memory,
    /// `EIO` if the card is dead. Nothing is left behind.
    pub(crate) fn create(card: &Arc<Card>, parameters: &Parameters) -> Result<OwnedDevice> {
        let result = commands::device_create(
            card,
            &wire::DeviceCreate {
                virtio_id: parameters.device_type.virtio_id().into(),
                queue_pairs: parameters.queues.into(),
                mtu: parameters.mtu.unwrap_or(0).into(),
                mac: parameters.mac.unwrap_or_default(),
                reserved: 0.into(),
                features: parameters.features.unwrap_or(0).into(),
                reserved2: [0.into(); 2],
            },
        );
        if let Err(error) = result {
            report_exhausted(
                card,
                error,
                match parameters.device_type {
                    Type::Net => "no device object, or not enough queues",
                    Type::Block => "no disk, no device object, or not enough queues",
                },
            );
        }
        let created = result?;
        let number = created.device.get();

        let result = Self::complete(card, parameters, &created);
        if result.is_err() {
            destroy_device(card, number);
        }
        result.map(OwnedDevice)
    }

    /// The part of [`Self::create()`] after which the card's device object has an owner.
    fn complete(
        card: &Arc<Card>,
        parameters: &Parameters,
        created: &wire::DeviceCreated,
    ) -> Result<Arc<Self>> {
        let (first_queue, num_queues) = (created.first_queue.get(), created.num_queues.get());
        let net = parameters.device_type == Type::Net;
        let control = net && created.features.get() & (1 << VIRTIO_NET_F_CTRL_VQ) != 0;
        // What the card has beyond what this driver knows is nothing to promise.
        let offered = created.features.get() & parameters.device_type.features();
        let expected = match parameters.device_type {
            Type::Net => u32::from(parameters.queues) * 2 + u32::from(control),
            Type::Block => parameters.queues.into(),
        };
        let end = u32::from(first_queue) + u32::from(num_queues);

        if u32::from(num_queues) != expected
            || end > u32::from(card.info.num_queues)
            || card.has_device(created.device.get(), u32::from(first_queue)..end)
            || offered & operations::REQUIRED != operations::REQUIRED
            || (net && !is_valid_mac(created.mac))
            || parameters.mac.is_some_and(|mac| mac != created.mac)
            || parameters.mtu.is_some_and(|mtu| mtu != created.mtu.get())
            || parameters
                .features
                .is_some_and(|most| offered & !(most | parameters.device_type.unasked()) != 0)
        {
            card.fail("it made a device that is not what was asked for");
            return Err(EIO);
        }

        let block = match parameters.device_type {
            Type::Net => None,
            Type::Block => Some(Self::block_config(card, created)?),
        };
        let mut queues = KVec::new();
        queues.resize(num_queues.into(), Virtqueue::RESET, GFP_KERNEL)?;
        let callbacks = Callbacks::new(num_queues)?;
        let mut spaces = KVec::with_capacity(MAX_GROUPS, GFP_KERNEL)?;
        // Each has a lock class of its own, so that lockdep knows the order in which two are locked.
        spaces.push(
            KBox::pin_init(new_mutex!(None, "VirtioDevice::spaces[0]"), GFP_KERNEL)?,
            GFP_KERNEL,
        )?;
        spaces.push(
            KBox::pin_init(new_mutex!(None, "VirtioDevice::spaces[1]"), GFP_KERNEL)?,
            GFP_KERNEL,
        )?;
        spaces.push(
            KBox::pin_init(new_mutex!(None, "VirtioDevice::spaces[2]"), GFP_KERNEL)?,
            GFP_KERNEL,
        )?;
        spaces.truncate(address_spaces(
            &card.info,
            parameters.device_type,
            num_queues,
        ));

        // INVARIANT: The device object is new, and so are the address spaces made below.
        let device = Arc::pin_init(
            pin_init!(Self {
                card: card.clone(),
                number: created.device.get(),
                first_queue,
                num_queues,
                block,
                control,
                offered,
                mtu: created.mtu.get(),
                callbacks,
                state <- new_mutex!(
                    VirtioState {
                        status: 0,
                        features: 0,
                        queues,
                        group_asid: [0; MAX_GROUPS],
                        suspended: false,
                    },
                    "VirtioDevice::state"
                ),
                spaces,
                changing <- new_spinlock!(
                    config::Changing::new(created.mac),
                    "VirtioDevice::changing"
                ),
                needs_reset: Atomic::new(false),
                faults <- Faults::new(),
                complaints: Limit::new(),
                alarms: Limit::new(),
            }),
            GFP_KERNEL,
        )?;

        let result = device
            .create_spaces()
            .and_then(|()| card.add_device(device.clone()))
            .and_then(|()| Ok(device.ask_status()?));
        if result.is_err() {
            card.remove_device(device.number);
            device.destroy_spaces();
        }
        result?;
        card.interrupts.attach(first_queue, &device.callbacks);
        Ok(device)
    }

    /// Asks the card what a new block device is.
    fn block_config(card: &Card, created: &wire::DeviceCreated) -> Result<BlockConfig> {
        let info = commands::block_query(card, created.device.get())?;

        BlockConfig::new(&info, created.num_queues.get()).ok_or_else(|| {
            card.fail("it has a disk whose limits make no sense");
            EIO
        })
    }

    /// What type of device it is.
    pub(crate) fn device_type(&self) -> Type {
        match self.block {
            Some(_) => Type::Block,
            None => Type::Net,
        }
    }

    fn create_spaces(&self) -> Result {
        for space in self.spaces.iter() {
            let result = AddressSpace::create(&self.card);
            if let Err(error) = result {
                report_exhausted(&self.card, error, "not enough address spaces");
            }
            *space.lock() = Some(result?);
        }
        Ok(())
    }

    fn destroy_spaces(&self) {
        for space in self.spaces.iter() {
            let space = space.lock().take();
            if let Some(space) = space {
                space.destroy(&self.card);
            }
        }
    }

    /// Takes the device from the card. No operation may run any more.
    fn destroy(&self) {
        self.faults.set_notifier(None);
        self.card
            .interrupts
            .detach(self.first_queue, self.num_queues);
        self.card.remove_device(self.number);
        // The queues have to stop before the address spaces that they run through can go.
        destroy_device(&self.card, self.number);
        self.destroy_spaces();
    }

    /// The IOMMU faults of its queues.
    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Whether one of the card's queues `queues` is the device's.
    pub(crate) fn has_queue_in(&self, queues: &core::ops::Range<u32>) -> bool {
        let first = u32::from(self.first_queue);

        first < queues.end && queues.start < first + u32::from(self.num_queues)
    }

    /// The card's number of the device.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Number of groups, each of which can have an address space of its own.
    pub(crate) fn num_groups(&self) -> u32 {
        self.num_spaces()
    }

    /// Number of address spaces for vDPA. Without an IOMMU on the card it is the platform's one for the function:
    /// vhost-vdpa takes no device without map operations that has more.
    pub(crate) fn num_spaces(&self) -> u32 {
        // CAST: at most `MAX_GROUPS`.
        self.spaces.len().max(1) as u32
    }

    /// Where the device's interrupts go.
    pub(crate) fn callbacks(&self) -> &Arc<Callbacks> {
        &self.callbacks
    }

    /// The card that the device is on.
    pub(crate) fn card(&self) -> &Card {
        &self.card
    }

    /// The address space that vDPA calls `asid`.
    pub(crate) fn space(&self, asid: u32) -> Result<&Mutex<Option<AddressSpace>>> {
        usize::try_from(asid)
            .ok()
            .and_then(|index| self.spaces.get(index))
            .map(|space| &**space)
            .ok_or(EINVAL)
    }

    /// The group that the buffers of queue `idx` are in.
    pub(crate) fn group(&self, idx: u16) -> u32 {
        match self.spaces.len() {
            MAX_GROUPS if self.is_control(idx) => GROUP_CONTROL,
            _ => GROUP_DATA,
        }
    }

    /// The group that the rings of queue `idx` are in.
    pub(crate) fn ring_group(&self, idx: u16) -> u32 {
        match self.spaces.len() {
            MAX_GROUPS if self.is_control(idx) => GROUP_CONTROL,
            MAX_GROUPS | BLOCK_GROUPS => GROUP_RINGS,
            _ => GROUP_DATA,
        }
    }

    fn is_control(&self, idx: u16) -> bool {
        self.control && idx + 1 == self.num_queues
    }

    /// The number that vDPA has for the address space of each group, by the group's number.
    pub(crate) fn group_asid(&self) -> [u32; MAX_GROUPS] {
        self.state.lock().group_asid
    }

    /// Raises `NEEDS_RESET` and tells the owner. May be called from any context that is not an
    /// operation of the same device's abstraction holding a lock that a callback takes.
    pub(crate) fn need_reset(&self) {
        if !self.needs_reset.xchg(true, Relaxed) {
            self.callbacks.call_config();
        }
    }

    /// The features that the device offers.
    pub(crate) fn offered(&self) -> u64 {
        self.offered
    }
}

/// Says in the log what the card has run out of, if that is what `error` means: `ENOSPC` doesn't tell.
fn report_exhausted(card: &Card, error: CommandError, what: &str) {
    if error == CommandError::Refused(wire::ErrorCode::NoResources) {
        dev_warn!(
            card.dev(),
            "device not added: the card has {} left; delete another device first\n",
            what
        );
    }
}

/// Frees a device object; a card that refuses is given up, since its queues may go on running.
fn destroy_device(card: &Card, number: u16) {
    match commands::device_destroy(card, number) {
        Ok(()) | Err(CommandError::Dead) => (),
        Err(_) => card.fail("it can not destroy a device"),
    }
}
