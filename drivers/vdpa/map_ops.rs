// SPDX-License-Identifier: GPL-2.0-only

//! Mapping of virtio-vdpa's memory by the parent: `struct virtio_map_ops`.
//!
//! Normally the virtio core maps rings and buffers with the DMA API, for the parent device. That needs a
//! device which translates DMA addresses 1:1. One that translates only what it was told does the mapping
//! itself: [`DeviceParams::maps`] has a [`MapOperations`] for each group of virtqueues, and the virtio core
//! calls that one instead of the DMA API. vhost-vdpa has nothing to do with it.
//!
//! # The token
//!
//! The core identifies whom to call by a `union virtio_map`, which `get_vq_map` returns for a virtqueue.
//! virtio-vdpa keeps it in the virtqueue, and that of virtqueue 0 in the `struct virtio_device`. Here it is a
//! pointer to a [`Space`] in [`Device::maps`], passed off as one to a `struct vduse_vq_group`, which is opaque
//! to everybody but VDUSE. It stays valid while it can be used:
//!
//! - The vector does not change after the device was allocated, so its elements stay where they are.
//! - `Device` drops it when the device has been unregistered. That unbinds virtio-vdpa, whose `remove`
//!   unregisters the virtio device, whose driver's `remove` gives all buffers back and deletes all virtqueues.
//!   A virtio device without a driver makes no use of its virtqueues, and has none.
//!
//! C headers: [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)
//!
//! [`DeviceParams::maps`]: super::DeviceParams::maps
//! [`Device::maps`]: super::Device

use super::bindings;
use core::ptr::NonNull;
use kernel::{
    bindings as kbindings, device,
    dma::{
        DataDirection,
        DmaAddress, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};

/// What [`MapOperations::map()`] returns for an error: `DMA_MAPPING_ERROR`.
const MAPPING_ERROR: DmaAddress = DmaAddress::MAX;

/// A buffer that the virtio core wants mapped: `len` bytes from byte `offset` of `page`, contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// The page, or the first of a compound page.
    pub page: NonNull<kbindings::page>,
    /// In bytes, possibly beyond the first page.
    pub offset: usize,
    /// In bytes, not 0.
    pub len: usize,
}

// SAFETY: This only says where memory is.
unsafe impl Send for Buffer {}

// SAFETY: As for `Send`.
unsafe impl Sync for Buffer {}

/// Mapping of memory for the virtqueues of a group: `struct virtio_map_ops`.
///
/// # Context
///
/// [`Self::alloc()`] and [`Self::free()`] may sleep. Everything else may be called in atomic context, hard
/// interrupts included, and concurrently.
///
/// # Safety
///
/// - What [`Self::alloc()`] returns must be valid for reading and writing, by processor and device, until it
///   is given to [`Self::free()`].
/// - The memory of a [`Buffer`] may be accessed from the call of [`Self::map()`] until [`Self::unmap()`] for
///   the same address returns.
pub unsafe trait MapOperations: Send + Sync {
    /// Allocates `len` bytes of zeroed memory for a ring, which the device can use at the address returned.
    /// `dev` is the parent. May sleep.
    ///
    /// # Errors
    ///
    /// Any; the virtio core tries again with a smaller ring, if it may.
    fn alloc(
        &self,
        dev: &device::Device<device::Bound>,
        len: usize,
    ) -> Result<(NonNull<c_void>, DmaAddress)>;

    /// Frees what [`Self::alloc()`] returned: the device can't reach it any more on return. May sleep.
    fn free(&self, ptr: NonNull<c_void>, addr: DmaAddress);

    /// Makes a buffer accessible to the device, and returns the address for it. With `sync`, the device sees
    /// what is in the buffer, unless `direction` is from the device.
    ///
    /// # Errors
    ///
    /// Any; the virtio driver is told that the virtqueue has no room.
    ///
    /// # Safety
    ///
    /// The buffer must exist, and nobody else may use it in a way that `direction` excludes, until it is
    /// unmapped.
    unsafe fn map(
        &self,
        buffer: Buffer,
        direction: DataDirection,
        sync: bool,
    ) -> Result<DmaAddress>;

    /// Ends a mapping. With `sync`, what the device wrote is in the buffer on return, unless `direction` is to
    /// the device. Nothing happens if no mapping begins at `addr`.
    ///
    /// # Safety
    ///
    /// A mapping at `addr` must not be used by anybody else meanwhile, nor by anybody later.
    unsafe fn unmap(&self, addr: DmaAddress, direction: DataDirection, sync: bool);

    /// Makes what the device wrote visible in the buffer, for `len` bytes at `addr`, which may be a part of a
    /// mapping. Nothing happens outside of one.
    ///
    /// # Safety
    ///
    /// A mapping that `addr` is in must not be unmapped meanwhile.
    unsafe fn sync_for_cpu(&self, addr: DmaAddress, len: usize, direction: DataDirection);

    /// Makes what is in the buffer visible to the device, as above.
    ///
    /// # Safety
    ///
    /// As for [`Self::sync_for_cpu()`].
    unsafe fn sync_for_device(&self, addr: DmaAddress, len: usize, direction: DataDirection);

    /// Returns the size in bytes up to which buffers can be mapped.
    fn max_mapping_size(&self) -> usize;
}

/// What a token points to.
///
/// # Invariants
///
/// `parent` is bound to its driver as long as the device is registered, see [`Device`](super::Device).
pub(super) struct Space {
    ops: Arc<dyn MapOperations>,
    parent: ARef<device::Device>,
}

impl Space {
    /// Makes the spaces for a device.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no memory.
    pub(super) fn make(
        parent: &device::Device<device::Bound>,
        maps: KVec<Arc<dyn MapOperations>>,
    ) -> Result<KVec<Self>> {
        let mut spaces = KVec::with_capacity(maps.len(), GFP_KERNEL)?;

        for ops in maps {
            let parent: &device::Device = parent;
            // INVARIANT: It is the parent of a vDPA device.
            spaces.push(
                Self {
                    ops,
                    parent: parent.into(),
                },
                GFP_KERNEL,
            )?;
        }
        Ok(spaces)
    }

    /// The token for this space, or one that maps nothing.
    pub(super) fn token(space: Option<&Self>) -> bindings::virtio_map {
        bindings::virtio_map {
            group: space.map_or(core::ptr::null_mut(), |space| {
                core::ptr::from_ref(space).cast_mut().cast()
            }),
        }
    }

    /// # Safety
    ///
    /// `token` must come from [`Self::token()`], and the device still be registered.
    unsafe fn from_token<'a>(token: bindings::virtio_map) -> Option<&'a Self> {
        // SAFETY: By the safety requirements, this is the member that was set, and it is null or points to a
        // `Space` that lives as long as the device is registered.
        unsafe { token.group.cast::<Self>().as_ref() }
    }
}

/// Whether the data is to be copied or made coherent.
fn wants_sync(attrs: c_ulong) -> bool {
    // CAST: a bit of 32.
    attrs & kbindings::DMA_ATTR_SKIP_CPU_SYNC as c_ulong == 0
}

fn direction(direction: kbindings::dma_data_direction) -> DataDirection {
    match direction {
        kbindings::dma_data_direction::DMA_TO_DEVICE => DataDirection::ToDevice,
        kbindings::dma_data_direction::DMA_FROM_DEVICE => DataDirection::FromDevice,
        kbindings::dma_data_direction::DMA_BIDIRECTIONAL => DataDirection::Bidirectional,
        _ => DataDirection::None,
    }
}

/// The table. All its functions are for the virtio core to call, with a token from [`Space::token()`] and
/// within the life that the module's description gives it. A mapping is used by its owner alone and unmapped
/// once. These are their common safety requirements.
pub(super) static MAP_OPS: bindings::virtio_map_ops = bindings::virtio_map_ops {
    map_page: Some(map_page),
    unmap_page: Some(unmap_page),
    sync_single_for_cpu: Some(sync_single_for_cpu),
    sync_single_for_device: Some(sync_single_for_device),
    alloc: Some(alloc),
    free: Some(free),
    need_sync: Some(need_sync),
    mapping_error: Some(mapping_error),
    max_mapping_size: Some(max_mapping_size),
};

/// # Safety
///
/// See [`MAP_OPS`]; `page` must exist, with `size` bytes from `offset`, until the buffer is unmapped.
unsafe extern "C" fn map_page(
    token: bindings::virtio_map,
    page: *mut kbindings::page,
    offset: c_ulong,
    size: usize,
    dir: kbindings::dma_data_direction,
    attrs: c_ulong,
) -> DmaAddress {
    // SAFETY: By the safety requirements.
    let space = unsafe { Space::from_token(token) };
    let (Some(space), Some(page)) = (space, NonNull::new(page)) else {
        return MAPPING_ERROR;
    };
    let direction = direction(dir);

    if size == 0 || direction == DataDirection::None {
        return MAPPING_ERROR;
    }
    let buffer = Buffer {
        page,
        offset,
        len: size,
    };
    // SAFETY: By the safety requirements; the virtio core owns the buffer until it has unmapped it.
    unsafe { space.ops.map(buffer, direction, wants_sync(attrs)) }.unwrap_or(MAPPING_ERROR)
}

/// # Safety
///
/// See [`MAP_OPS`].
unsafe extern "C" fn unmap_page(
    token: bindings::virtio_map,
    addr: DmaAddress,
    _size: usize,
    dir: kbindings::dma_data_direction,
    attrs: c_ulong,
) {
    // SAFETY: By the safety requirements.
    if let Some(space) = unsafe { Space::from_token(token) } {
        // SAFETY: By the safety requirements.
        unsafe { space.ops.unmap(addr, direction(dir), wants_sync(attrs)) };
    }
}

/// # Safety
///
/// See [`MAP_OPS`].
unsafe extern "C" fn sync_single_for_cpu(
    token: bindings::virtio_map,
    addr: DmaAddress,
    size: usize,
    dir: kbindings::dma_data_direction,
) {
    // SAFETY: By the safety requirements.
    if let Some(space) = unsafe { Space::from_token(token) } {
        // SAFETY: By the safety requirements.
        unsafe { space.ops.sync_for_cpu(addr, size, direction(dir)) };
    }
}

/// # Safety
///
/// See [`MAP_OPS`].
unsafe extern "C" fn sync_single_for_device(
    token: bindings::virtio_map,
    addr: DmaAddress,
    size: usize,
    dir: kbindings::dma_data_direction,
) {
    // SAFETY: By the safety requirements.
    if let Some(space) = unsafe { Space::from_token(token) } {
        // SAFETY: By the safety requirements.
        unsafe { space.ops.sync_for_device(addr, size, direction(dir)) };
    }
}

/// # Safety
///
/// See [`MAP_OPS`]; `addr` must be valid for writing.
unsafe extern "C" fn alloc(
    token: bindings::virtio_map,
    size: usize,
    addr: *mut DmaAddress,
    gfp: kbindings::gfp_t,
) -> *mut c_void {
    // SAFETY: By the safety requirements.
    let Some(space) = (unsafe { Space::from_token(token) }) else {
        return core::ptr::null_mut();
    };
    // Whoever can't sleep can't have a ring.
    if gfp & kbindings::GFP_KERNEL != kbindings::GFP_KERNEL {
        return core::ptr::null_mut();
    }

    // SAFETY: By the type invariant, the parent is bound, because the device is registered.
    // `Device<Bound>` is a transparent wrapper of the same structure.
    let parent =
        unsafe { &*core::ptr::from_ref(&*space.parent).cast::<device::Device<device::Bound>>() };
    match space.ops.alloc(parent, size) {
        Ok((ptr, mapped)) => {
            // SAFETY: By the safety requirements.
            unsafe { addr.write(mapped) };
            ptr.as_ptr()
        }
        Err(_) => core::ptr::null_mut(),
    }
}

/// # Safety
///
/// See [`MAP_OPS`]; the memory must be what [`alloc()`] returned, and nobody may use it any more.
unsafe extern "C" fn free(
    token: bindings::virtio_map,
    _size: usize,
    ptr: *mut c_void,
    addr: DmaAddress,
    _attrs: c_ulong,
) {
    // SAFETY: By the safety requirements.
    let space = unsafe { Space::from_token(token) };
    if let (Some(space), Some(ptr)) = (space, NonNull::new(ptr)) {
        space.ops.free(ptr, addr);
    }
}

/// # Safety
///
/// None.
unsafe extern "C" fn need_sync(_token: bindings::virtio_map, _addr: DmaAddress) -> bool {
    true
}

/// # Safety
///
/// None.
unsafe extern "C" fn mapping_error(_token: bindings::virtio_map, addr: DmaAddress) -> c_int {
    match addr {
        MAPPING_ERROR => ENOMEM.to_errno(),
        _ => 0,
    }
}

/// # Safety
///
/// See [`MAP_OPS`].
unsafe extern "C" fn max_mapping_size(token: bindings::virtio_map) -> usize {
    // SAFETY: By the safety requirements.
    unsafe { Space::from_token(token) }.map_or(0, |space| space.ops.max_mapping_size())
}
