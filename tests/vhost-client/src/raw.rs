// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Ioctls that the crate `vhost` lacks, gets wrong (its `set_group_asid` issues GET_VRING_GROUP) or won't send
//! because their arguments are nonsense, which is exactly what an experiment may want.

use std::io;
use std::os::fd::AsRawFd;
use vhost::vhost_kern::vhost_binding::{vhost_vring_addr, vhost_vring_state, VHOST};
use vmm_sys_util::ioctl::{ioctl, ioctl_with_mut_ptr, ioctl_with_mut_ref};
use vmm_sys_util::{ioctl_io_nr, ioctl_iowr_nr};

ioctl_io_nr!(VHOST_VDPA_RESUME, VHOST, 0x7e);
ioctl_iowr_nr!(
    VHOST_VDPA_GET_VRING_DESC_GROUP,
    VHOST,
    0x7f,
    vhost_vring_state
);
ioctl_iowr_nr!(VHOST_VDPA_GET_VRING_SIZE, VHOST, 0x82, vhost_vring_state);
// A number that nobody uses.
ioctl_iowr_nr!(VHOST_UNKNOWN, VHOST, 0xfe, vhost_vring_state);

/// The end of a configuration buffer that the kernel could reach if it didn't bound the length.
const CONFIG_BUFFER: usize = 64 * 1024;

fn result(code: i32) -> io::Result<()> {
    if code < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// An ioctl without an argument.
pub fn plain(fd: &impl AsRawFd, number: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the number's encoding says that the kernel reads and writes no memory of ours.
    result(unsafe { ioctl(fd, number) })
}

/// An ioctl whose argument is a `vhost_vring_state`; returns its `num` afterwards.
pub fn vring_state(
    fd: &impl AsRawFd,
    number: libc::c_ulong,
    index: u32,
    num: u32,
) -> io::Result<u32> {
    let mut state = vhost_vring_state { index, num };
    // SAFETY: the kernel reads and writes at most the structure that all vring-state ioctls have.
    result(unsafe { ioctl_with_mut_ref(fd, number, &mut state) })?;
    Ok(state.num)
}

/// An ioctl whose argument is one 64-bit word, such as a feature set; returns the word afterwards.
pub fn word(fd: &impl AsRawFd, number: libc::c_ulong, value: u64) -> io::Result<u64> {
    let mut value = value;
    // SAFETY: the kernel reads and writes at most the eight bytes of these ioctls' argument.
    result(unsafe { ioctl_with_mut_ref(fd, number, &mut value) })?;
    Ok(value)
}

/// VHOST_SET_VRING_ADDR with any content.
pub fn vring_address(
    fd: &impl AsRawFd,
    number: libc::c_ulong,
    address: &vhost_vring_addr,
) -> io::Result<()> {
    let mut address = *address;
    // SAFETY: the kernel only reads the structure.
    result(unsafe { ioctl_with_mut_ref(fd, number, &mut address) })
}

/// VHOST_VDPA_{GET,SET}_CONFIG with any offset and length. The buffer holds much more than any device's
/// configuration, so that a kernel that doesn't bound the length is seen and not felt.
pub fn config(
    fd: &impl AsRawFd,
    number: libc::c_ulong,
    offset: u32,
    length: u32,
) -> io::Result<()> {
    let mut buffer = vec![0u32; 2 + CONFIG_BUFFER / 4];
    buffer[0] = offset;
    buffer[1] = length;
    // SAFETY: the kernel bounds the length by the device's configuration, which is far smaller than the buffer.
    result(unsafe { ioctl_with_mut_ptr(fd, number, buffer.as_mut_ptr()) })
}
