// SPDX-License-Identifier: GPL-2.0-only

//! A vDPA device that does nothing, and notes what is asked of it and when it is dropped.

use super::sys::Parent;
use crate::vdpa::{
    AddRequest,
    Callbacks,
    ConfigAttrs,
    Device,
    DeviceConfig,
    DeviceParams,
    ExtAck,
    Iotlb,
    IovaRange,
    ManagementDevice,
    ManagementInfo,
    ManagementOperations,
    Map,
    NotificationArea,
    Operations,
    OptionalOp,
    UnregisteredDevice,
    VendorStats,
    VqAddress,
    VqState, //
};
use kernel::{
    cpumask::Cpumask,
    mm::Mm,
    new_mutex, new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLockIrq, //
    },
};

/// Virtqueues, groups and address spaces.
pub(super) const NVQS: u16 = 3;
pub(super) const NGROUPS: u32 = 2;
pub(super) const NAS: u32 = 2;

/// Bytes of the configuration space. Each reads as its offset and [`CONFIG_MARK`].
pub(super) const CONFIG_SIZE: usize = 12;
pub(super) const CONFIG_MARK: u8 = 0x40;

/// A virtio device ID that no driver is for.
const DEVICE_ID: u32 = 0xfff;

/// A call of an operation: its name and up to three of its arguments.
pub(super) type Call = (&'static str, [u64; 3]);

/// Calls that can be noted.
const CALLS: usize = 8;

/// The operations' side of a test: what they answer, and what they were asked.
#[pin_data]
pub(super) struct Notes {
    #[pin]
    calls: SpinLockIrq<([Call; CALLS], usize)>,
    /// Devices' data that was dropped.
    pub(super) drops: Atomic<u32>,
    /// Those of them that were dropped when the abstraction had already dropped the table of callbacks.
    pub(super) late_drops: Atomic<u32>,
    /// An errno that operations fail with, or 0.
    pub(super) errno: Atomic<i32>,
    /// Driver features.
    pub(super) features: Atomic<u64>,
    /// Status.
    pub(super) status: Atomic<u32>,
    /// The last device's callbacks.
    #[pin]
    pub(super) callbacks: Mutex<Option<Arc<Callbacks>>>,
}

impl Notes {
    /// Nothing noted.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                calls <- new_spinlock_irq!(([("", [0; 3]); CALLS], 0), "kunit::Notes::calls"),
                drops: Atomic::new(0),
                late_drops: Atomic::new(0),
                errno: Atomic::new(0),
                features: Atomic::new(0),
                status: Atomic::new(0),
                callbacks <- new_mutex!(None, "kunit::Notes::callbacks"),
            }),
            GFP_KERNEL,
        )
    }

    fn note(&self, name: &'static str, arguments: [u64; 3]) {
        let mut calls = self.calls.lock();
        let (list, len) = &mut *calls;

        if let Some(place) = list.get_mut(*len) {
            *place = (name, arguments);
            *len += 1;
        }
    }

    /// Whether exactly these calls came since the last time, in this order.
    pub(super) fn were(&self, expected: &[Call]) -> bool {
        let mut calls = self.calls.lock();
        let (list, len) = &mut *calls;
        let were = list.get(..*len) == Some(expected);

        *len = 0;
        were
    }

    fn result(&self) -> Result {
        match self.errno.load(Relaxed) {
            0 => Ok(()),
            errno => Err(Error::from_errno(errno)),
        }
    }

    /// The last device's callbacks, of which no reference is kept.
    pub(super) fn take_callbacks(&self) -> Result<Arc<Callbacks>> {
        let callbacks = self.callbacks.lock().take();

        callbacks.ok_or(ENODEV)
    }
}

/// A device's data.
pub(super) struct TestDevice {
    notes: Arc<Notes>,
    callbacks: Option<Arc<Callbacks>>,
}

impl Drop for TestDevice {
    fn drop(&mut self) {
        self.notes.drops.fetch_add(1, Relaxed);

        // If this was the last reference, the abstraction has dropped its own, though the documentation of
        // `Device` says that every field is there as long as there are references to it, as here.
        let callbacks = self.callbacks.take();
        if let Some(true) = callbacks.map(|last| Arc::into_unique_or_drop(last).is_some()) {
            self.notes.late_drops.fetch_add(1, Relaxed);
        }
    }
}

#[vtable]
impl Operations for TestDevice {
    fn set_vq_address(dev: &Device<Self>, idx: u16, address: VqAddress) -> Result {
        dev.notes
            .note("set_vq_address", [idx.into(), address.desc, address.device]);
        dev.notes.result()
    }

    fn set_vq_num(dev: &Device<Self>, idx: u16, num: u32) {
        dev.notes.note("set_vq_num", [idx.into(), num.into(), 0]);
    }

    fn kick_vq(dev: &Device<Self>, idx: u16) {
        dev.notes.note("kick_vq", [idx.into(), 0, 0]);
    }

    fn kick_vq_with_data(dev: &Device<Self>, idx: u16, next: u16) {
        dev.notes
            .note("kick_vq_with_data", [idx.into(), next.into(), 0]);
    }

    fn set_vq_cb(dev: &Device<Self>, idx: u16, present: bool) {
        dev.notes.note("set_vq_cb", [idx.into(), present.into(), 0]);
    }

    fn set_vq_ready(dev: &Device<Self>, idx: u16, ready: bool) {
        dev.notes
            .note("set_vq_ready", [idx.into(), ready.into(), 0]);
    }

    fn get_vq_ready(dev: &Device<Self>, idx: u16) -> bool {
        dev.notes.note("get_vq_ready", [idx.into(), 0, 0]);
        true
    }

    fn set_vq_state(dev: &Device<Self>, idx: u16, state: VqState) -> Result {
        let (first, second) = match state {
            VqState::Split { avail_index } => (avail_index.into(), 0),
            VqState::Packed { avail, used } => {
                let flat = |index: u16, wrap: bool| u64::from(index) | u64::from(wrap) << 15;
                (flat(avail.idx, avail.wrap), flat(used.idx, used.wrap))
            }
        };
        dev.notes.note("set_vq_state", [idx.into(), first, second]);
        dev.notes.result()
    }

    fn get_vq_state(dev: &Device<Self>, idx: u16) -> Result<VqState> {
        dev.notes.note("get_vq_state", [idx.into(), 0, 0]);
        dev.notes.result()?;
        Ok(VqState::Split { avail_index: 77 })
    }

    fn get_vendor_vq_stats(
        dev: &Device<Self>,
        idx: u16,
        stats: &mut VendorStats<'_>,
        extack: &mut ExtAck<'_>,
    ) -> Result {
        dev.notes.note("get_vendor_vq_stats", [idx.into(), 0, 0]);
        extack.set(fmt!("queue {idx} was asked for"));
        dev.notes.result()?;
        // That there is no room is for the abstraction to remember.
        let _ = stats.put(c"seen", 0x0123_4567_89ab_cdef);
        Ok(())
    }

    fn set_vq_affinity(dev: &Device<Self>, idx: u16, mask: Option<&Cpumask>) -> Result {
        let weight = mask.map_or(u64::MAX, |mask| mask.weight().into());

        dev.notes.note("set_vq_affinity", [idx.into(), weight, 0]);
        dev.notes.result()
    }

    fn get_vq_affinity(dev: &Device<Self>, idx: u16, mask: &mut Cpumask) -> Result {
        dev.notes.note("get_vq_affinity", [idx.into(), 0, 0]);
        dev.notes.result()?;
        mask.setall();
        Ok(())
    }

    fn get_vq_notification(dev: &Device<Self>, idx: u16) -> Option<NotificationArea> {
        dev.notes.note("get_vq_notification", [idx.into(), 0, 0]);
        Some(NotificationArea {
            addr: 0x1000,
            size: 0x1000,
        })
    }

    fn get_vq_irq(dev: &Device<Self>, idx: u16) -> Result<u32> {
        dev.notes.note("get_vq_irq", [idx.into(), 0, 0]);
        dev.notes.result()?;
        Ok(9)
    }

    fn get_vq_size(dev: &Device<Self>, idx: u16) -> u16 {
        dev.notes.note("get_vq_size", [idx.into(), 0, 0]);
        128
    }

    fn get_vq_group(dev: &Device<Self>, idx: u16) -> u32 {
        dev.notes.note("get_vq_group", [idx.into(), 0, 0]);
        1
    }

    fn get_vq_align(_dev: &Device<Self>) -> u32 {
        4096
    }

    fn get_device_features(_dev: &Device<Self>) -> u64 {
        0x1234_5678_9abc
    }

    fn set_driver_features(dev: &Device<Self>, features: u64) -> Result {
        dev.notes.features.store(features, Relaxed);
        dev.notes.result()
    }

    fn get_driver_features(dev: &Device<Self>) -> u64 {
        dev.notes.features.load(Relaxed)
    }

    fn set_config_cb(dev: &Device<Self>, present: bool) {
        dev.notes.note("set_config_cb", [present.into(), 0, 0]);
    }

    fn get_vq_num_max(_dev: &Device<Self>) -> u16 {
        256
    }

    fn get_device_id(_dev: &Device<Self>) -> u32 {
        DEVICE_ID
    }

    fn get_vendor_id(_dev: &Device<Self>) -> u32 {
        0x1b36
    }

    fn get_status(dev: &Device<Self>) -> u8 {
        // CAST: `set_status()` put a byte there.
        dev.notes.status.load(Relaxed) as u8
    }

    fn set_status(dev: &Device<Self>, status: u8) {
        dev.notes.status.store(status.into(), Relaxed);
    }

    fn reset(dev: &Device<Self>) -> Result {
        dev.notes.note("reset", [0; 3]);
        dev.notes.status.store(0, Relaxed);
        dev.notes.result()
    }

    fn compat_reset(dev: &Device<Self>, clean_map: bool) -> Result {
        dev.notes.note("compat_reset", [clean_map.into(), 0, 0]);
        dev.notes.result()
    }

    fn suspend(dev: &Device<Self>) -> Result {
        dev.notes.note("suspend", [0; 3]);
        dev.notes.result()
    }

    fn resume(dev: &Device<Self>) -> Result {
        dev.notes.note("resume", [0; 3]);
        dev.notes.result()
    }

    fn get_config_size(_dev: &Device<Self>) -> usize {
        CONFIG_SIZE
    }

    fn get_config(dev: &Device<Self>, offset: usize, buf: &mut [u8]) {
        dev.notes
            .note("get_config", [offset as u64, buf.len() as u64, 0]);
        for (byte, offset) in buf.iter_mut().zip(offset..) {
            // CAST: the configuration space is small.
            *byte = CONFIG_MARK | offset as u8;
        }
    }

    fn set_config(dev: &Device<Self>, offset: usize, buf: &[u8]) {
        dev.notes
            .note("set_config", [offset as u64, buf.len() as u64, 0]);
    }

    fn get_generation(_dev: &Device<Self>) -> u32 {
        5
    }

    fn get_iova_range(_dev: &Device<Self>) -> IovaRange {
        IovaRange::ALL
    }

    fn set_map(dev: &Device<Self>, asid: u32, iotlb: &Iotlb) -> Result {
        dev.notes
            .note("set_map", [asid.into(), iotlb.len() as u64, 0]);
        dev.notes.result()
    }

    fn dma_map(dev: &Device<Self>, asid: u32, map: &Map) -> Result {
        dev.notes
            .note("dma_map", [asid.into(), map.start(), map.last()]);
        dev.notes.result()
    }

    fn dma_unmap(dev: &Device<Self>, asid: u32, range: IovaRange) -> Result {
        dev.notes
            .note("dma_unmap", [asid.into(), range.first(), range.last()]);
        dev.notes.result()
    }

    fn reset_map(dev: &Device<Self>, asid: u32) -> Result {
        dev.notes.note("reset_map", [asid.into(), 0, 0]);
        dev.notes.result()
    }

    fn set_group_asid(dev: &Device<Self>, group: u32, asid: u32) -> Result {
        dev.notes
            .note("set_group_asid", [group.into(), asid.into(), 0]);
        dev.notes.result()
    }

    fn bind_mm(dev: &Device<Self>, _mm: &Mm) -> Result {
        dev.notes.note("bind_mm", [0; 3]);
        dev.notes.result()
    }

    fn unbind_mm(dev: &Device<Self>) {
        dev.notes.note("unbind_mm", [0; 3]);
    }
}

/// What `dev_add` does with the device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Registers it.
    Register,
    /// Drops it before it is registered, and succeeds.
    Drop,
    /// Makes it with data that fails to be initialised.
    FailData,
    /// Makes it without groups.
    NoGroups,
}

/// The management device's data.
pub(super) struct Manager {
    notes: Arc<Notes>,
    plan: Plan,
    without: &'static [OptionalOp],
}

#[vtable]
impl ManagementOperations for Manager {
    type Device = TestDevice;

    fn dev_add(
        &self,
        request: &AddRequest<'_, Self>,
        name: &CStr,
        _config: &DeviceConfig,
    ) -> Result {
        let callbacks = Callbacks::new(NVQS)?;
        let params = DeviceParams {
            callbacks: callbacks.clone(),
            ngroups: match self.plan {
                Plan::NoGroups => 0,
                _ => NGROUPS,
            },
            nas: NAS,
            maps: KVec::new(),
            use_va: false,
            without: self.without,
        };
        *self.notes.callbacks.lock() = Some(callbacks.clone());

        let data = match self.plan {
            Plan::FailData => Err(EUCLEAN),
            _ => Ok(TestDevice {
                notes: self.notes.clone(),
                callbacks: Some(callbacks),
            }),
        };
        let device = UnregisteredDevice::new(request, name, params, data)?;
        if self.plan == Plan::Drop {
            return Ok(());
        }
        device.register()?;
        Ok(())
    }
}

/// The registered management device.
pub(super) type Management<'a> = Pin<KBox<ManagementDevice<'a, Manager>>>;

/// Registers a management device for `parent`, which does as planned.
pub(super) fn manage<'a>(
    parent: &'a Parent,
    notes: &Arc<Notes>,
    plan: Plan,
    without: &'static [OptionalOp],
) -> Result<Management<'a>> {
    let info = ManagementInfo {
        child: None,
        device_ids: &[DEVICE_ID],
        supported_features: 0,
        max_supported_vqs: NVQS.into(),
        config_attrs: ConfigAttrs::default(),
    };
    let manager = Manager {
        notes: notes.clone(),
        plan,
        without,
    };

    KBox::pin_init(
        crate::pci::register_management(parent.dev(), info, manager),
        GFP_KERNEL,
    )
}
