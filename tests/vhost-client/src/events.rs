// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Event descriptors: waiting for them with a limit, and ringing a doorbell page instead of one.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;
use vmm_sys_util::eventfd::EventFd;

pub const PAGE_SIZE: usize = 4096;

/// Makes an event descriptor whose reads don't block.
pub fn event() -> io::Result<EventFd> {
    EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)
}

/// Waits until one of the events is signalled or the time is over. Returns the count of each, and clears them.
pub fn wait(events: &[&EventFd], limit: Duration) -> io::Result<Vec<u64>> {
    let mut descriptors: Vec<libc::pollfd> = events
        .iter()
        .map(|event| libc::pollfd {
            fd: event.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let milliseconds = limit.as_millis().min(i32::MAX as u128) as i32;
    // SAFETY: the array is valid for the call and its length is passed.
    let code = unsafe {
        libc::poll(
            descriptors.as_mut_ptr(),
            descriptors.len() as libc::nfds_t,
            milliseconds,
        )
    };
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(events
        .iter()
        .map(|event| event.read().unwrap_or(0))
        .collect())
}

/// A queue's doorbell page, mapped into this process.
pub struct Doorbell {
    page: *mut u32,
    index: u32,
}

impl Doorbell {
    /// Maps the doorbell of the queue `index` in the one way that vhost-vdpa allows.
    pub fn map(device: &File, index: u32) -> io::Result<Self> {
        let page = map(
            device,
            PAGE_SIZE,
            libc::PROT_WRITE,
            libc::MAP_SHARED,
            i64::from(index) * PAGE_SIZE as i64,
        )?;
        Ok(Self {
            page: page.cast(),
            index,
        })
    }

    /// Tells the card that the queue has new buffers.
    pub fn ring(&self) {
        // SAFETY: the page stays mapped and writable as long as the value lives.
        unsafe { self.page.write_volatile(self.index.to_le()) }
    }
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        // SAFETY: exactly the page that was mapped.
        unsafe { libc::munmap(self.page.cast(), PAGE_SIZE) };
    }
}

/// Maps and unmaps a part of the device's file, to see whether that is allowed.
pub fn try_map(
    device: &File,
    length: usize,
    protection: i32,
    flags: i32,
    offset: i64,
) -> io::Result<()> {
    let address = map(device, length, protection, flags, offset)?;
    // SAFETY: exactly the range that was mapped.
    unsafe { libc::munmap(address, length) };
    Ok(())
}

fn map(
    device: &File,
    length: usize,
    protection: i32,
    flags: i32,
    offset: i64,
) -> io::Result<*mut libc::c_void> {
    // SAFETY: the kernel chooses the address, so no memory of this process is replaced.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            protection,
            flags,
            device.as_raw_fd(),
            offset,
        )
    };
    if address == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(address)
    }
}
