// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The memory that the device works on, as a virtual machine's: ranges of this process, addressed by I/O virtual
//! addresses that we choose.

use crate::iotlb::{Message, READ_WRITE};
use anyhow::{ensure, Context, Result};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap, MmapRegion,
};

/// What lies behind the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Backing {
    /// Anonymous memory, in huge pages where the kernel has them.
    Anonymous,
    /// A shared memory file, in small pages.
    Memfd,
    /// A shared memory file, in small pages of which no two neighbours are neighbours in physical memory.
    Scattered,
}

/// A range of I/O virtual addresses with memory behind it.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub iova: u64,
    pub size: u64,
    pub permission: u8,
}

impl Span {
    pub fn new(iova: u64, size: u64) -> Self {
        Self {
            iova,
            size,
            permission: READ_WRITE,
        }
    }
}

/// Several spans; reads and writes are addressed by I/O virtual address.
pub struct Memory {
    mmap: GuestMemoryMmap,
    spans: Vec<Span>,
}

impl Memory {
    pub fn new(spans: &[Span], backing: Backing) -> Result<Self> {
        let mut spans = spans.to_vec();
        spans.sort_by_key(|span| span.iova);
        let regions = spans
            .iter()
            .map(|span| {
                let region = allocate(span.size as usize, backing)?;
                GuestRegionMmap::new(region, GuestAddress(span.iova))
                    .context("a span wraps around the address space")
            })
            .collect::<Result<Vec<_>>>()?;
        let mmap = GuestMemoryMmap::from_regions(regions).context("the spans overlap")?;
        Ok(Self { mmap, spans })
    }

    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    pub fn size(&self) -> u64 {
        self.spans.iter().map(|span| span.size).sum()
    }

    /// The message that maps a span as it is meant to be.
    pub fn map_message(&self, asid: u32, span: &Span) -> Message {
        Message::update(
            asid,
            span.iova,
            span.size,
            self.address(span.iova),
            span.permission,
        )
    }

    /// The address in this process of the span that begins at `iova`.
    pub fn address(&self, iova: u64) -> u64 {
        let region = self
            .mmap
            .find_region(GuestAddress(iova))
            .expect("only the memory's own spans are asked for");
        let offset = iova - region.start_addr().0;
        region.get_mmap().as_ptr() as u64 + offset
    }

    pub fn write(&self, iova: u64, bytes: &[u8]) {
        self.mmap
            .write_slice(bytes, GuestAddress(iova))
            .expect("writes stay within the spans");
    }

    pub fn read(&self, iova: u64, bytes: &mut [u8]) {
        self.mmap
            .read_slice(bytes, GuestAddress(iova))
            .expect("reads stay within the spans");
    }

    /// Writes a ring index or flag so that whoever sees it also sees what was written before.
    pub fn publish(&self, iova: u64, value: u16) {
        let order = std::sync::atomic::Ordering::Release;
        self.mmap
            .store(value.to_le(), GuestAddress(iova), order)
            .expect("rings lie within the spans");
    }

    /// Reads a ring index or flag so that what was written before it is seen too.
    pub fn observe(&self, iova: u64) -> u16 {
        let order = std::sync::atomic::Ordering::Acquire;
        u16::from_le(
            self.mmap
                .load(GuestAddress(iova), order)
                .expect("rings lie within the spans"),
        )
    }
}

fn allocate(size: usize, backing: Backing) -> Result<MmapRegion> {
    match backing {
        Backing::Anonymous => {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let region = MmapRegion::build(None, size, libc::PROT_READ | libc::PROT_WRITE, flags)
                .with_context(|| format!("allocating {size} bytes"))?;
            // SAFETY: the advice concerns exactly the region that was just made. Huge pages are only a wish.
            unsafe { libc::madvise(region.as_ptr().cast(), size, libc::MADV_HUGEPAGE) };
            Ok(region)
        }
        Backing::Memfd | Backing::Scattered => {
            // SAFETY: the name is a C string; the result is checked.
            let fd =
                unsafe { libc::memfd_create(c"mooring-vhost-client".as_ptr(), libc::MFD_CLOEXEC) };
            ensure!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
            // SAFETY: the descriptor is new and nobody else's.
            let file = unsafe { File::from_raw_fd(fd) };
            file.set_len(size as u64)?;
            if backing == Backing::Scattered {
                // In the order of the file, before the pages are scattered.
                (&file).write_all(&vec![0; size])?;
            }
            let fd = file.as_raw_fd();
            let region = MmapRegion::from_file(FileOffset::new(file, 0), size)
                .with_context(|| format!("allocating {size} bytes"))?;
            if backing == Backing::Scattered {
                scatter(&region, fd)?;
            }
            Ok(region)
        }
    }
}

/// Maps the pages of a file once more, in another order.
fn scatter(region: &MmapRegion, fd: RawFd) -> Result<()> {
    const PAGE: usize = 4096;
    /// Pages between two neighbours. Odd, so that each page has its turn where their number is a power of two.
    const STRIDE: usize = 5;

    let pages = region.size() / PAGE;
    anyhow::ensure!(
        pages.is_power_of_two() && region.size() % PAGE == 0,
        "only a power of two of pages can be scattered, not {} bytes",
        region.size()
    );
    for page in 0..pages {
        let place = region.as_ptr().wrapping_add(page * PAGE).cast();
        let offset = (page * STRIDE % pages * PAGE) as libc::off_t;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: a page of the region gives way to another page of the same file; nobody refers to it yet.
        let mapped = unsafe { libc::mmap(place, PAGE, protection, flags, fd, offset) };
        anyhow::ensure!(
            mapped == place,
            "mapping a page: {}",
            std::io::Error::last_os_error()
        );
    }
    Ok(())
}

/// Bytes of a huge page.
const HUGE: u64 = 0x20_0000;

/// Much address space with little memory: one huge page, again and again. The device can be given all of it, in as many
/// pieces as there are huge pages in it, since no two of them are contiguous.
pub struct Window {
    address: u64,
    size: u64,
}

impl Window {
    /// A window of `size` bytes.
    pub fn new(size: u64) -> Result<Self> {
        ensure!(size % HUGE == 0, "a window consists of huge pages");
        let flags = libc::MFD_CLOEXEC | libc::MFD_HUGETLB | libc::MFD_HUGE_2MB;
        // SAFETY: the name is a C string; the result is checked.
        let fd = unsafe { libc::memfd_create(c"mooring-vhost-client".as_ptr(), flags) };
        ensure!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
        // SAFETY: the descriptor is new and nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(HUGE)?;
        let reserve = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // A page more, so that there is an aligned place in it.
        // SAFETY: a new mapping at a place that the kernel chooses.
        let place = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                (size + HUGE) as usize,
                libc::PROT_NONE,
                reserve,
                -1,
                0,
            )
        };
        ensure!(
            place != libc::MAP_FAILED,
            "reserving {size} bytes: {}",
            std::io::Error::last_os_error()
        );
        let address = (place as u64).next_multiple_of(HUGE);
        for offset in (0..size).step_by(HUGE as usize) {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            // SAFETY: the place lies in the mapping above, which nothing else uses.
            let page = unsafe {
                libc::mmap(
                    (address + offset) as *mut _,
                    HUGE as usize,
                    access,
                    flags,
                    file.as_raw_fd(),
                    0,
                )
            };
            ensure!(
                page != libc::MAP_FAILED,
                "mapping a huge page (is there one in /proc/sys/vm/nr_hugepages?): {}",
                std::io::Error::last_os_error()
            );
        }
        Ok(Self { address, size })
    }

    /// Where it lies in this process.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Writes into it, and into everything else that has the same memory.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        assert!(offset + bytes.len() as u64 <= self.size);
        let place = (self.address + offset) as *mut u8;
        // SAFETY: the bytes lie within the window, which lives until the process ends; nothing refers to them.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
    }
}

/// Lifts the limit on locked memory: vhost counts every page that it pins against it, even for root.
pub fn lift_lock_limit() {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the structure is valid; if we lack the right, mapping fails later and says why.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) };
}
