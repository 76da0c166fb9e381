// SPDX-License-Identifier: GPL-2.0-only

//! The vDPA operations of a device.

use super::{
    config,
    explicit,
    OwnedDevice, //
    VirtioDevice,
};
use crate::{
    block::BlockConfig,
    card::Card,
    cmdq::commands,
    debugfs,
    info::Translation,
    iommu::{
        AddressSpace,
        InForce,
        MapError, //
    },
    mgmt::Type,
    pci as function,
    regs,
    vdpa::{
        self,
        virtio::*,
        Device,
        ExtAck,
        Iotlb,
        IovaRange,
        Map,
        NotificationArea,
        VendorStats,
        VqAddress,
        VqState, //
    },
    vq, //
};
use kernel::{
    cpumask::Cpumask,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Mutex, //
    },
};

/// Status bits that an owner may set (virtio 1.3, section 2.1).
const OWNER_STATUS: u32 = VIRTIO_CONFIG_S_ACKNOWLEDGE
    | VIRTIO_CONFIG_S_DRIVER
    | VIRTIO_CONFIG_S_DRIVER_OK
    | VIRTIO_CONFIG_S_FEATURES_OK
    | VIRTIO_CONFIG_S_FAILED;

/// Features without which the device doesn't run: there is no legacy mode, and no way around the IOMMU.
pub(crate) const REQUIRED: u64 = (1 << VIRTIO_F_VERSION_1) | (1 << VIRTIO_F_ACCESS_PLATFORM);

/// Features that make no sense without a control queue (virtio 1.3, section 5.1.3.1).
const NEED_CONTROL: u64 = (1 << VIRTIO_NET_F_CTRL_RX)
    | (1 << VIRTIO_NET_F_CTRL_RX_EXTRA)
    | (1 << VIRTIO_NET_F_CTRL_VLAN)
    | (1 << VIRTIO_NET_F_CTRL_MAC_ADDR)
    | (1 << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)
    | (1 << VIRTIO_NET_F_GUEST_ANNOUNCE)
    | (1 << VIRTIO_NET_F_MQ);

impl VirtioDevice {
    /// Whether a driver may accept these features together.
    fn fit_together(&self, features: u64) -> bool {
        let has = |bit: u32| features & (1 << bit) != 0;

        match self.device_type() {
            // Without MQ the control queue would have to be queue 2 (virtio 1.3, section 5.1.2), which the card can't
            // move.
            Type::Net => match has(VIRTIO_NET_F_CTRL_VQ) {
                true => self.num_queues <= 3 || has(VIRTIO_NET_F_MQ),
                false => features & NEED_CONTROL == 0,
            },
            // None depends on another.
            Type::Block => true,
        }
    }
}

/// Whether `status` has `bit`.
fn has(status: u8, bit: u32) -> bool {
    u32::from(status) & bit != 0
}

/// A device that is registered with vDPA. Dropping it takes the device from the card.
///
/// The files go first, so that nobody reads the state of a device that is going.
#[pin_data]
pub(crate) struct RegisteredDevice {
    #[pin]
    files: Mutex<Option<debugfs::Files>>,
    device: OwnedDevice,
}

impl RegisteredDevice {
    /// Makes the vDPA side of `device`, which belongs to it from here on.
    pub(crate) fn new(device: OwnedDevice) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            device,
            files <- new_mutex!(None, "RegisteredDevice::files"),
        })
    }

    /// Makes the device's files in debugfs, under a name that vDPA has accepted. A device is as good
    /// without them.
    pub(crate) fn make_files(&self, name: &CStr) {
        *self.files.lock() = debugfs::Files::new(name, &self.device.share()).ok();
    }

    /// The device.
    pub(crate) fn device(&self) -> &VirtioDevice {
        &self.device
    }
}

/// Changes what address space `asid` translates. If that fails the log says what is in force; if that isn't the old map
/// the device needs a reset, which is how the owner learns of it: vhost ignores errors of most of these operations.
fn change_map(
    dev: &Device<RegisteredDevice>,
    asid: u32,
    change: impl FnOnce(&mut AddressSpace, &Card) -> Result<(), MapError>,
) -> Result {
    let device = &dev.device;
    let result = {
        let mut space = device.space(asid)?.lock();
        let space = (*space).as_mut().ok_or(ENODEV)?;
        change(space, &device.card)
    };

    result.map_err(|failure| {
        let MapError { error, in_force } = failure;
        let limit = match in_force {
            InForce::OldMap => &device.complaints,
            InForce::Rest | InForce::Nothing => &device.alarms,
        };
        if let Some(count) = limit.count() {
            match in_force {
                InForce::OldMap => dev_warn!(
                    dev.as_ref(),
                    "address space {} was not updated: {:?}; its old map serves; map the rest again, with fewer ranges if there is no room ({})\n",
                    asid,
                    error,
                    count
                ),
                InForce::Rest => dev_err!(
                    dev.as_ref(),
                    "address space {} could not be updated: {:?}; only what was to be removed is gone for good, and nothing was added; the device needs a reset, and does not start again without the rest ({})\n",
                    asid,
                    error,
                    count
                ),
                InForce::Nothing => dev_err!(
                    dev.as_ref(),
                    "address space {} could not be updated: {:?}; it is blocked, the device needs a reset ({})\n",
                    asid,
                    error,
                    count
                ),
            }
        }
        if in_force != InForce::OldMap {
            device.need_reset();
        }
        error
    })
}

#[vtable]
impl vdpa::Operations for RegisteredDevice {
    fn set_vq_address(dev: &Device<Self>, idx: u16, address: VqAddress) -> Result {
        let mut state = dev.device.state.lock();
        let layout = state.layout();
        state
            .queues
            .get_mut(usize::from(idx))
            .ok_or(EINVAL)?
            .set_address(address, layout)
    }

    fn set_vq_num(dev: &Device<Self>, idx: u16, num: u32) {
        let mut state = dev.device.state.lock();
        if let Some(vq) = state.queues.get_mut(usize::from(idx)) {
            vq.set_size(num, &dev.device.card.info);
        }
    }

    fn kick_vq(dev: &Device<Self>, idx: u16) {
        let device = &dev.device;
        device
            .card
            .doorbells
            .ring(device.first_queue + idx, idx.into());
    }

    fn kick_vq_with_data(dev: &Device<Self>, idx: u16, next: u16) {
        let device = &dev.device;
        device.card.doorbells.ring(
            device.first_queue + idx,
            u32::from(idx) | u32::from(next) << 16,
        );
    }

    fn set_vq_ready(dev: &Device<Self>, idx: u16, ready: bool) {
        let device = &dev.device;
        let mut state = device.state.lock();
        // A queue that is enabled while the device is suspended starts when that ends.
        let started = has(state.status, VIRTIO_CONFIG_S_DRIVER_OK) && !state.suspended;
        let Some(vq) = state.queues.get_mut(usize::from(idx)) else {
            return;
        };

        let result = match (ready, vq.running()) {
            // QEMU enables queues after DRIVER_OK.
            (true, false) if started => device.start_queue(&mut state, dev.bus_driver(), idx),
            (false, true) => device.stop_queue(&mut state, idx),
            _ => Ok(()),
        };
        match result {
            Ok(()) => {
                if let Some(vq) = state.queues.get_mut(usize::from(idx)) {
                    vq.set_ready(ready);
                }
            }
            Err(error) => {
                drop(state);
                if let Some(count) = device.complaints.count() {
                    dev_err!(
                        dev.as_ref(),
                        "queue {} could not be {}: {:?}; the device needs a reset ({})\n",
                        idx,
                        if ready { "started" } else { "stopped" },
                        error,
                        count
                    );
                }
                device.need_reset();
            }
        }
    }

    fn get_vq_ready(dev: &Device<Self>, idx: u16) -> bool {
        let state = dev.device.state.lock();
        state
            .queues
            .get(usize::from(idx))
            .is_some_and(|vq| vq.ready())
    }

    fn set_vq_state(dev: &Device<Self>, idx: u16, vq_state: VqState) -> Result {
        let mut state = dev.device.state.lock();
        let layout = state.layout();
        state
            .queues
            .get_mut(usize::from(idx))
            .ok_or(EINVAL)?
            .set_state(vq_state, layout)
    }

    fn get_vq_state(dev: &Device<Self>, idx: u16) -> Result<VqState> {
        let device = &dev.device;
        let state = device.state.lock();
        let vq = state.queues.get(usize::from(idx)).ok_or(EINVAL)?;
        let layout = state.layout();

        match vq.running() {
            true => Ok(vq::card_state(
                &commands::queue_query(&device.card, device.number, idx)?,
                layout,
            )),
            false => vq.state(layout),
        }
    }

    fn get_vendor_vq_stats(
        dev: &Device<Self>,
        idx: u16,
        stats: &mut VendorStats<'_>,
        extack: &mut ExtAck<'_>,
    ) -> Result {
        dev.device.report_statistics(idx, stats, extack)
    }

    fn get_vq_notification(dev: &Device<Self>, idx: u16) -> Option<NotificationArea> {
        // The doorbell is alone in its page only if pages aren't larger than the stride.
        (PAGE_SIZE == regs::DOORBELL_STRIDE).then(|| NotificationArea {
            addr: dev.device.card.doorbells.page(dev.device.first_queue + idx),
            size: PAGE_SIZE as u64,
        })
    }

    fn get_vq_irq(dev: &Device<Self>, idx: u16) -> Result<u32> {
        let device = &dev.device;

        // After DRIVER_OK was refused, vhost registers the interrupts for IRQ bypass all the same, never
        // unregisters them, and warns at the next start (vhost_vdpa_set_status() in drivers/vhost/vdpa.c).
        if !has(device.state.lock().status, VIRTIO_CONFIG_S_DRIVER_OK) {
            return Err(ENODEV);
        }
        device
            .card
            .interrupts
            .private_irq(device.first_queue + idx)
            .ok_or(EOPNOTSUPP)
    }

    fn set_vq_affinity(dev: &Device<Self>, idx: u16, mask: Option<&Cpumask>) -> Result {
        let device = &dev.device;

        match mask {
            Some(mask) => device
                .card
                .interrupts
                .set_affinity(device.first_queue + idx, mask),
            // Without a wish they stay where they are.
            None => Ok(()),
        }
    }

    fn get_vq_affinity(dev: &Device<Self>, idx: u16, mask: &mut Cpumask) -> Result {
        let device = &dev.device;

        device
            .card
            .interrupts
            .affinity(device.first_queue + idx, mask)
    }

    fn get_vq_size(dev: &Device<Self>, _idx: u16) -> u16 {
        // virtio-vdpa makes its rings of this size; for processes the limit is `.get_vq_num_max`.
        explicit::ring_size(&dev.device, dev.bus_driver())
    }

    fn get_vq_group(dev: &Device<Self>, idx: u16) -> u32 {
        dev.device.group(idx)
    }

    fn get_vq_desc_group(dev: &Device<Self>, idx: u16) -> u32 {
        dev.device.ring_group(idx)
    }

    fn get_vq_align(_dev: &Device<Self>) -> u32 {
        // CAST: a page's size.
        PAGE_SIZE as u32
    }

    fn get_device_features(dev: &Device<Self>) -> u64 {
        explicit::offered(&dev.device, dev.bus_driver())
    }

    fn get_backend_features(dev: &Device<Self>) -> u64 {
        let late_enable = 1 << vdpa::VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK;

        match dev.device.card.info.translation {
            Translation::OnChip => late_enable | 1 << vdpa::VHOST_BACKEND_F_IOTLB_PERSIST,
            // vhost finds out by itself that these keep their maps: of a card with 1:1 address spaces by `.reset_map`, of
            // one that translates nothing by the absence of map operations.
            Translation::OnChipIdentity | Translation::Platform => late_enable,
        }
    }

    fn set_driver_features(dev: &Device<Self>, features: u64) -> Result {
        // 0 is what the core passes for a legacy guest before features are set. It does no harm: without
        // the required features the device doesn't start.
        let mut state = dev.device.state.lock();

        if features & !explicit::offered(&dev.device, dev.bus_driver()) != 0
            || (features != 0 && features & REQUIRED != REQUIRED)
            || !dev.device.fit_together(features)
        {
            return Err(EINVAL);
        }
        if has(state.status, VIRTIO_CONFIG_S_DRIVER_OK) {
            return Err(EBUSY);
        }
        state.features = features;
        Ok(())
    }

    fn get_driver_features(dev: &Device<Self>) -> u64 {
        dev.device.state.lock().features
    }

    fn get_vq_num_max(dev: &Device<Self>) -> u16 {
        dev.device.card.info.max_queue_size
    }

    fn get_vq_num_min(dev: &Device<Self>) -> u16 {
        dev.device.card.info.min_queue_size
    }

    fn get_device_id(dev: &Device<Self>) -> u32 {
        dev.device.device_type().virtio_id()
    }

    fn get_vendor_id(_dev: &Device<Self>) -> u32 {
        // The PCI vendor ID, as other parents have it.
        kernel::bindings::PCI_VENDOR_ID_REDHAT
    }

    fn get_status(dev: &Device<Self>) -> u8 {
        let status = dev.device.state.lock().status;

        // A device that was reset has status 0, whatever else is wrong with it: the virtio core insists.
        match status != 0 && dev.device.needs_reset.load(Relaxed) {
            // CAST: a status bit.
            true => status | VIRTIO_CONFIG_S_NEEDS_RESET as u8,
            false => status,
        }
    }

    fn set_status(dev: &Device<Self>, status: u8) {
        let device = &dev.device;
        let mut state = device.state.lock();
        // CAST: a mask of status bits.
        let mut status = status & OWNER_STATUS as u8;
        // That FEATURES_OK doesn't stay set is how a device refuses features (virtio 1.3, section 2.2).
        if state.features & REQUIRED != REQUIRED {
            status &= !(VIRTIO_CONFIG_S_FEATURES_OK as u8);
        }
        let start =
            has(status, VIRTIO_CONFIG_S_DRIVER_OK) && !has(state.status, VIRTIO_CONFIG_S_DRIVER_OK);

        if start {
            let result = match has(status, VIRTIO_CONFIG_S_FEATURES_OK) {
                true => device.start(&mut state, dev.bus_driver()),
                false => Err(EINVAL),
            };
            if let Err(error) = result {
                if let Some(count) = device.complaints.count() {
                    dev_err!(
                        dev.as_ref(),
                        "device not started: {:?} ({})\n",
                        error,
                        count
                    );
                }
                // CAST: status bits.
                status &= !(VIRTIO_CONFIG_S_DRIVER_OK as u8);
                status |= VIRTIO_CONFIG_S_FAILED as u8;
            }
        }
        state.status = status;
    }

    fn reset(dev: &Device<Self>) -> Result {
        let device = &dev.device;
        let mut state = device.state.lock();

        // The state goes in any case: after an error the card is dead and runs nothing.
        state.reset();
        device.agreed(0);
        let result = commands::device_reset(&device.card, device.number);
        if result.is_err() {
            device.card.fail("it can not reset a device");
        }
        // Events that the card posted before it completed the command are about the state that is gone.
        device.card.take_events();
        device.needs_reset.store(false, Relaxed);
        if device.card.is_dead() {
            device.need_reset();
        }
        Ok(result?)
    }

    fn suspend(dev: &Device<Self>) -> Result {
        let device = &dev.device;
        let mut state = device.state.lock();

        if !has(state.status, VIRTIO_CONFIG_S_DRIVER_OK) {
            return Err(EINVAL);
        }
        let result = device.suspend(&mut state);
        drop(state);
        result.inspect_err(|_| device.report_suspend(dev.as_ref(), "suspended", false))
    }

    fn resume(dev: &Device<Self>) -> Result {
        let device = &dev.device;
        let mut state = device.state.lock();

        if !has(state.status, VIRTIO_CONFIG_S_DRIVER_OK) {
            return Err(EINVAL);
        }
        let result = device.resume(&mut state, dev.bus_driver());
        let suspended = state.suspended;
        drop(state);
        result.inspect_err(|_| device.report_suspend(dev.as_ref(), "resumed", suspended))
    }

    fn get_config_size(dev: &Device<Self>) -> usize {
        match dev.device.device_type() {
            Type::Net => config::SIZE,
            Type::Block => size_of::<BlockConfig>(),
        }
    }

    fn get_config(dev: &Device<Self>, offset: usize, buf: &mut [u8]) {
        dev.device.read_config(offset, buf);
    }

    fn set_config(_dev: &Device<Self>, _offset: usize, _buf: &[u8]) {
        // With VERSION_1 no field of a network device is writable (virtio 1.3, section 5.1.4), and without
        // CONFIG_WCE none of a block device (section 5.2.4).
    }

    fn get_generation(dev: &Device<Self>) -> u32 {
        dev.device.config_generation()
    }

    fn get_iova_range(dev: &Device<Self>) -> IovaRange {
        let info = &dev.device.card.info;
        let last = info.last_iova();
        // The domain that vhost has attached before it asks, whose own range it leaves aside once it is told one.
        let aperture = match info.translation {
            Translation::Platform => function::domain_aperture(dev.parent()),
            _ => None,
        };
        let (first, last) = match aperture {
            Some((first, end)) => (first, last.min(end)),
            None => (0, last),
        };

        // A domain that begins above what the card can reach is of no use with any range.
        IovaRange::new(first, last).unwrap_or(IovaRange::ALL)
    }

    fn set_map(dev: &Device<Self>, asid: u32, iotlb: &Iotlb) -> Result {
        change_map(dev, asid, |space, card| {
            space.set_map(card, dev.parent(), iotlb)
        })
    }

    fn dma_map(dev: &Device<Self>, asid: u32, map: &Map) -> Result {
        change_map(dev, asid, |space, card| {
            space.dma_map(card, dev.parent(), map)
        })
    }

    fn dma_unmap(dev: &Device<Self>, asid: u32, range: IovaRange) -> Result {
        change_map(dev, asid, |space, card| space.dma_unmap(card, range))
    }

    fn reset_map(dev: &Device<Self>, asid: u32) -> Result {
        let device = &dev.device;
        let result = {
            let mut space = device.space(asid)?.lock();
            let space = (*space).as_mut().ok_or(ENODEV)?;
            space.reset_map(&device.card)
        };

        result.map_err(|failure| {
            if let Some(count) = device.alarms.count() {
                dev_err!(
                    dev.as_ref(),
                    "address space {} could not be put back to 1:1: {:?}; nothing is mapped in it ({})\n",
                    asid,
                    failure.error,
                    count
                );
            }
            device.need_reset();
            failure.error
        })
    }

    fn set_group_asid(dev: &Device<Self>, group: u32, asid: u32) -> Result {
        let mut state = dev.device.state.lock();

        if has(state.status, VIRTIO_CONFIG_S_DRIVER_OK) {
            return Err(EBUSY);
        }
        *state
            .group_asid
            .get_mut(usize::try_from(group)?)
            .ok_or(EINVAL)? = asid;
        Ok(())
    }
}
