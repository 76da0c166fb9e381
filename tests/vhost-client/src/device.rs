// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A vhost-vdpa device: finding it, opening it, and the steps of its life that every experiment shares.

use crate::card::Card;
use crate::iotlb::{self, Message};
use crate::memory::Memory;
use crate::raw;
use anyhow::{bail, ensure, Context, Result};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use vhost::vdpa::VhostVdpa;
use vhost::vhost_kern::vdpa::VhostKernVdpa;
use vhost::vhost_kern::vhost_binding::{
    VHOST_BACKEND_F_IOTLB_ASID, VHOST_BACKEND_F_IOTLB_BATCH, VHOST_BACKEND_F_IOTLB_MSG_V2,
    VHOST_SET_VRING_BASE, VHOST_VDPA_SET_GROUP_ASID,
};
use vhost::vhost_kern::VhostKernFeatures;
use vhost::VhostBackend;
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

pub const STATUS_ACKNOWLEDGE: u8 = 1;
pub const STATUS_DRIVER: u8 = 2;
pub const STATUS_DRIVER_OK: u8 = 4;
pub const STATUS_FEATURES_OK: u8 = 8;
pub const STATUS_NEEDS_RESET: u8 = 0x40;
pub const STATUS_FAILED: u8 = 0x80;

/// Virtio's numbers of the types that there are drivers for here.
pub const NETWORK_DEVICE: u32 = 1;
pub const BLOCK_DEVICE: u32 = 2;

pub const FEATURE_MTU: u64 = 1 << 3;
pub const FEATURE_MAC: u64 = 1 << 5;
pub const FEATURE_STATUS: u64 = 1 << 16;
pub const FEATURE_CTRL_VQ: u64 = 1 << 17;
pub const FEATURE_CTRL_RX: u64 = 1 << 18;
pub const FEATURE_GUEST_ANNOUNCE: u64 = 1 << 21;
pub const FEATURE_MQ: u64 = 1 << 22;
pub const FEATURE_VERSION_1: u64 = 1 << 32;
pub const FEATURE_ACCESS_PLATFORM: u64 = 1 << 33;

/// Rings can have another address space than buffers; the crate doesn't know this bit yet.
pub const BACKEND_DESC_ASID: u64 = 1 << 7;

/// The map stays across a reset; the crate doesn't know this bit yet.
pub const BACKEND_IOTLB_PERSIST: u64 = 1 << 8;

/// The device can be suspended, and resumed; the crate doesn't know these bits yet.
const BACKEND_SUSPEND: u64 = 1 << 4;
const BACKEND_RESUME: u64 = 1 << 5;

/// What a virtual machine monitor acknowledges.
const USUAL: u64 = (1 << VHOST_BACKEND_F_IOTLB_MSG_V2)
    | (1 << VHOST_BACKEND_F_IOTLB_BATCH)
    | (1 << VHOST_BACKEND_F_IOTLB_ASID);

const SYSFS: &str = "/sys/bus/vdpa/devices";

/// Turns the crate's error into the errno that the kernel gave.
pub fn errno(error: vhost::Error) -> io::Error {
    match error {
        vhost::Error::IoctlError(error)
        | vhost::Error::IOError(error)
        | vhost::Error::VhostOpen(error) => error,
        other => io::Error::other(other),
    }
}

/// An open device that we own.
pub struct Device {
    pub vdpa: VhostKernVdpa<Arc<GuestMemoryMmap>>,
    /// The same open file, for messages and doorbells.
    pub file: File,
    pub name: String,
}

impl Device {
    /// Opens the device, given as a vDPA device's name or as the path of its node, without owning it.
    pub fn open_only(device: &str) -> Result<Self> {
        let (name, path) = locate(device)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&path)
            .with_context(|| format!("opening {path}"))?;
        // A vDPA device is given I/O virtual addresses, so the crate never asks for the memory behind them.
        let vdpa = VhostKernVdpa::with(file.try_clone()?, Arc::new(GuestMemoryMmap::new()), 0);
        Ok(Self { vdpa, file, name })
    }

    /// Opens the device, becomes its owner and acknowledges what a virtual machine monitor does, and with `persist` that
    /// maps stay across a reset.
    pub fn open(device: &str, persist: bool) -> Result<Self> {
        let mut device = Self::open_only(device)?;
        device
            .vdpa
            .set_owner()
            .map_err(errno)
            .context("VHOST_SET_OWNER")?;
        let wanted = USUAL | if persist { BACKEND_IOTLB_PERSIST } else { 0 };
        let offered = device
            .vdpa
            .get_backend_features()
            .map_err(errno)
            .context("VHOST_GET_BACKEND_FEATURES")?;
        ensure!(
            wanted & !offered == 0,
            "the backend offers {offered:#x} and lacks {:#x}",
            wanted & !offered
        );
        device
            .vdpa
            .set_backend_features(wanted)
            .map_err(errno)
            .context("VHOST_SET_BACKEND_FEATURES")?;
        Ok(device)
    }

    /// Acknowledges also that the device can be suspended and resumed.
    pub fn acknowledge_suspend(&mut self) -> Result<()> {
        let features = USUAL | BACKEND_SUSPEND | BACKEND_RESUME;
        let acknowledged = self.vdpa.set_backend_features(features).map_err(errno);
        acknowledged.context("VHOST_SET_BACKEND_FEATURES with SUSPEND and RESUME")
    }

    /// What the driver tells of this device in debugfs.
    pub fn card(&self) -> Card {
        Card::of(&self.name)
    }

    pub fn status(&self) -> Result<u8> {
        self.vdpa
            .get_status()
            .map_err(errno)
            .context("VHOST_VDPA_GET_STATUS")
    }

    pub fn set_status(&self, status: u8) -> io::Result<()> {
        self.vdpa.set_status(status).map_err(errno)
    }

    /// Resets the virtio device, which must leave the map alone.
    pub fn reset(&self) -> Result<()> {
        self.set_status(0).context("VHOST_VDPA_SET_STATUS(0)")?;
        ensure!(
            self.status()? == 0,
            "the status is {:#x} after a reset",
            self.status()?
        );
        Ok(())
    }

    /// Stops all queues, with everything kept.
    pub fn suspend(&self) -> io::Result<()> {
        self.vdpa.suspend().map_err(errno)
    }

    /// Undoes [`suspend`](Self::suspend).
    pub fn resume(&self) -> io::Result<()> {
        raw::plain(&self.file, raw::VHOST_VDPA_RESUME())
    }

    /// Switches a queue on or off.
    pub fn enable(&self, queue: usize, on: bool) -> Result<()> {
        let enabled = self.vdpa.set_vring_enable(queue, on).map_err(errno);
        enabled.context("VHOST_VDPA_SET_VRING_ENABLE")
    }

    /// The event that is signalled when the configuration space has changed.
    pub fn set_config_call(&self, call: &EventFd) -> Result<()> {
        let set = self.vdpa.set_config_call(call).map_err(errno);
        set.context("VHOST_VDPA_SET_CONFIG_CALL")
    }

    /// How many entries a ring can have.
    pub fn ring_maximum(&self) -> Result<u16> {
        let maximum = self.vdpa.get_vring_num().map_err(errno);
        maximum.context("VHOST_VDPA_GET_VRING_NUM")
    }

    /// Where a queue stands: the index in its available ring that a split one goes on with, or the positions of a packed
    /// one, as in [`Ring::base_of`](crate::ring::Ring::base_of).
    pub fn position(&self, queue: usize) -> Result<u32> {
        let base = self.vdpa.get_vring_base(queue).map_err(errno);
        base.context("VHOST_GET_VRING_BASE")
    }

    /// Sets where a queue goes on, in the terms of [`position`](Self::position). The crate's own function has 16 bits.
    pub fn set_position(&self, queue: usize, position: u32) -> io::Result<()> {
        // CAST: a device has far fewer queues.
        let queue = queue as u32;
        raw::vring_state(&self.file, VHOST_SET_VRING_BASE(), queue, position).map(drop)
    }

    /// Negotiates the features that a driver with two queues needs, up to FEATURES_OK.
    pub fn negotiate(&self) -> Result<()> {
        self.negotiate_with(0)
    }

    /// Negotiates these features as well.
    pub fn negotiate_with(&self, more: u64) -> Result<()> {
        let offered = self
            .vdpa
            .get_features()
            .map_err(errno)
            .context("VHOST_GET_FEATURES")?;
        let needed = FEATURE_VERSION_1 | FEATURE_ACCESS_PLATFORM | more;
        ensure!(
            offered & needed == needed,
            "the device offers {offered:#x}, without {:#x}",
            needed & !offered
        );
        let mut status = STATUS_ACKNOWLEDGE;
        self.set_status(status).context("ACKNOWLEDGE")?;
        status |= STATUS_DRIVER;
        self.set_status(status).context("DRIVER")?;
        self.vdpa
            .set_features(needed | offered & FEATURE_MAC)
            .map_err(errno)
            .context("VHOST_SET_FEATURES")?;
        status |= STATUS_FEATURES_OK;
        self.set_status(status).context("FEATURES_OK")?;
        let got = self.status()?;
        ensure!(
            got & STATUS_FEATURES_OK != 0,
            "the device refused the features: its status is {got:#x}"
        );
        Ok(())
    }

    /// Sets DRIVER_OK and returns the status that this led to.
    pub fn driver_ok(&self) -> Result<u8> {
        let status = self.status()? | STATUS_DRIVER_OK;
        // A driver may refuse by an error or by the status; both are seen in the status that we read afterwards.
        let _ = self.set_status(status);
        self.status()
    }

    pub fn send(&self, message: Message) -> io::Result<()> {
        message.send(&self.file)
    }

    /// Maps all spans of the memory, in one batch as virtual machine monitors do or one by one.
    pub fn map(&self, memory: &Memory, asid: u32, batch: bool) -> Result<()> {
        if batch {
            self.send(Message::new(iotlb::BATCH_BEGIN, asid))
                .context("BATCH_BEGIN")?;
        }
        for span in memory.spans() {
            let message = memory.map_message(asid, span);
            self.send(message)
                .with_context(|| format!("mapping {:#x} bytes at {:#x}", span.size, span.iova))?;
        }
        if batch {
            self.send(Message::new(iotlb::BATCH_END, asid))
                .context("BATCH_END")?;
        }
        Ok(())
    }

    /// Puts a group of queues into an address space. The crate's own function issues another ioctl.
    pub fn set_group_asid(&self, group: u32, asid: u32) -> io::Result<()> {
        raw::vring_state(&self.file, VHOST_VDPA_SET_GROUP_ASID(), group, asid).map(drop)
    }

    /// The group that a queue's rings are in.
    pub fn descriptor_group(&self, queue: u32) -> Result<u32> {
        raw::vring_state(&self.file, raw::VHOST_VDPA_GET_VRING_DESC_GROUP(), queue, 0)
            .context("VHOST_VDPA_GET_VRING_DESC_GROUP")
    }

    /// The largest packet that the device takes.
    pub fn mtu(&self) -> Result<usize> {
        let offered = self.vdpa.get_features().map_err(errno)?;
        if offered & FEATURE_MTU == 0 {
            return Ok(1500);
        }
        let mut mtu = [0; 2];
        self.vdpa
            .get_config(10, &mut mtu)
            .map_err(errno)
            .context("VHOST_VDPA_GET_CONFIG")?;
        Ok(usize::from(u16::from_le_bytes(mtu)))
    }

    /// The status field of a network device's configuration space.
    pub fn net_status(&self) -> Result<u16> {
        let mut status = [0; 2];
        self.vdpa
            .get_config(6, &mut status)
            .map_err(errno)
            .context("VHOST_VDPA_GET_CONFIG")?;
        Ok(u16::from_le_bytes(status))
    }

    pub fn mac(&self) -> Result<[u8; 6]> {
        let mut mac = [0; 6];
        self.vdpa
            .get_config(0, &mut mac)
            .map_err(errno)
            .context("VHOST_VDPA_GET_CONFIG")?;
        Ok(mac)
    }
}

/// Returns the vDPA device's name and the path of its node.
fn locate(device: &str) -> Result<(String, String)> {
    if let Some(node) = device.strip_prefix("/dev/") {
        for entry in fs::read_dir(SYSFS).with_context(|| format!("reading {SYSFS}"))? {
            let entry = entry?;
            if entry.path().join(node).exists() {
                return Ok((
                    entry.file_name().to_string_lossy().into_owned(),
                    device.to_string(),
                ));
            }
        }
        bail!("no vDPA device has the node {device}");
    }
    let folder = Path::new(SYSFS).join(device);
    for entry in fs::read_dir(&folder).with_context(|| format!("no vDPA device '{device}'"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("vhost-vdpa-") {
            return Ok((device.to_string(), format!("/dev/{name}")));
        }
    }
    bail!(
        "'{device}' is not bound to vhost_vdpa: bind it with driver_override, or load the module"
    );
}
