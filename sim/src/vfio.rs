// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The card as the vfio-user protocol sees it: regions, interrupts, DMA maps and resets.
//!
//! This is the only file that knows the protocol. The crate answers most errors as if they were none, and answers
//! them even where the client expects no answer. So accesses never fail here: what hardware would ignore is
//! ignored, what nobody answers reads as all ones, and the log says so.

use crate::guest_memory::{GuestMemory, Permission};
use crate::msix::{VectorError, Vectors};
use crate::pci::{Bar, Function, InterruptKind, CONFIG_SIZE};
use crate::worker::SharedCard;
use crate::Doorbells;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use vfio_bindings::bindings::vfio;
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion};

/// Most bytes of one access, as the crate tells the client when they negotiate. It doesn't check that itself.
const MAX_TRANSFER: usize = 1 << 20;
const PAGE: u64 = 4096;

/// The card's end of a vfio-user connection.
pub struct Endpoint {
    function: Function,
    card: Arc<SharedCard>,
    doorbells: Arc<Doorbells>,
    memory: Arc<GuestMemory>,
    vectors: Vectors,
}

impl Endpoint {
    /// Connects the parts. Nobody but this endpoint may map memory and wire vectors from now on.
    pub fn new(
        function: Function,
        card: Arc<SharedCard>,
        doorbells: Arc<Doorbells>,
        memory: Arc<GuestMemory>,
        vectors: Vectors,
    ) -> Self {
        Self {
            function,
            card,
            doorbells,
            memory,
            vectors,
        }
    }

    /// A server for clients of `listener`, one at a time.
    pub fn server(&self, listener: UnixListener) -> Server {
        let irqs = (0..vfio::VFIO_PCI_NUM_IRQS)
            .map(|index| self.irq_info(index))
            .collect();
        let regions = (0..vfio::VFIO_PCI_NUM_REGIONS)
            .map(|index| self.region(index))
            .collect();
        Server::from_owned_fd(listener.into(), true, irqs, regions)
    }

    /// Takes everything back that a client gave, and makes the card as new for the next one.
    pub fn disconnect(&mut self) {
        self.reset_function();
        self.memory.unmap_all();
        self.vectors.disconnect_all();
    }

    fn irq_index(&self) -> u32 {
        match self.function.layout().interrupts {
            InterruptKind::Msi => vfio::VFIO_PCI_MSI_IRQ_INDEX,
            InterruptKind::Msix => vfio::VFIO_PCI_MSIX_IRQ_INDEX,
        }
    }

    /// Without `NORESIZE`, because with it QEMU sends every vector again whenever it adds one.
    fn irq_info(&self, index: u32) -> IrqInfo {
        let layout = self.function.layout();
        let (flags, count) = match index {
            _ if index == self.irq_index() => {
                (vfio::VFIO_IRQ_INFO_EVENTFD, u32::from(layout.vectors))
            }
            // Never signalled, but QEMU warns about a device that has none.
            vfio::VFIO_PCI_ERR_IRQ_INDEX => (vfio::VFIO_IRQ_INFO_EVENTFD, 1),
            _ => (0, 0),
        };
        IrqInfo {
            index,
            flags,
            count,
        }
    }

    /// No region can be mapped: a single one that can makes QEMU wait for every write, doorbells included.
    fn region(&self, index: u32) -> ServerRegion {
        let size = match Bar::from_number(index) {
            Some(bar) => self.function.layout().bar_size(bar),
            None if index == vfio::VFIO_PCI_CONFIG_REGION_INDEX => CONFIG_SIZE as u64,
            None => 0,
        };
        let flags = if size == 0 {
            0
        } else {
            vfio::VFIO_REGION_INFO_FLAG_READ | vfio::VFIO_REGION_INFO_FLAG_WRITE
        };
        let argsz = size_of::<vfio::vfio_region_info>() as u32;
        let region_info = vfio::vfio_region_info {
            argsz,
            flags,
            index,
            size,
            ..Default::default()
        };
        ServerRegion {
            region_info,
            sparse_areas: Vec::new(),
            mmap_fd: None,
        }
    }

    fn reset_function(&mut self) {
        self.function.reset();
        self.vectors.reset();
        self.card.with(|card| {
            card.set_bus_master(false);
            card.reset();
        });
        self.card.wake();
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let was_master = self.function.is_bus_master();
        let delivery = self.function.delivery();
        if self.function.write_config(offset, data) {
            log::info!("function-level reset");
            return self.reset_function();
        }
        if self.function.delivery() != delivery {
            log::debug!("interrupts are {:?}", self.function.delivery());
            self.vectors.set_delivery(self.function.delivery());
        }
        let is_master = self.function.is_bus_master();
        if is_master != was_master {
            log::debug!("bus master: {is_master}");
            self.card.with(|card| card.set_bus_master(is_master));
            self.card.wake();
        }
    }

    /// The BAR that an access concerns, if the function answers it.
    fn target(&self, region: u32, offset: u64, length: usize) -> Option<Bar> {
        let bar = Bar::from_number(region)?;
        let end = offset.checked_add(length as u64)?;
        (self.function.decodes_memory() && end <= self.function.layout().bar_size(bar))
            .then_some(bar)
    }

    fn read_bar(&self, bar: Bar, offset: u64, data: &mut [u8]) {
        match bar {
            Bar::Msix => match offset.checked_sub(self.function.layout().pending_offset()) {
                Some(offset) => self.vectors.read_pending(offset, data),
                None => self.vectors.read_table(offset, data),
            },
            Bar::Registers | Bar::Doorbells => {
                if self
                    .card
                    .with(|card| card.read(bar.number(), offset, data))
                    .is_none()
                {
                    data.fill(0xff);
                }
            }
        }
    }

    fn write_bar(&self, bar: Bar, offset: u64, data: &[u8]) {
        match bar {
            Bar::Msix => self.vectors.write_table(offset, data),
            // The hot path: no waiting for the card's lock.
            Bar::Doorbells => {
                if let (Ok(page), 0..4) = (u16::try_from(offset / PAGE), offset % PAGE) {
                    self.doorbells.ring(page);
                    self.card.run();
                }
            }
            Bar::Registers => {
                self.card
                    .with(|card| card.write(bar.number(), offset, data));
                self.card.run();
            }
        }
    }
}

impl ServerBackend for Endpoint {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        if data.len() > MAX_TRANSFER {
            return Err(invalid("the read is too long"));
        }
        if region == vfio::VFIO_PCI_CONFIG_REGION_INDEX {
            self.function.read_config(offset, data);
        } else if let Some(bar) = self.target(region, offset, data.len()) {
            self.read_bar(bar, offset, data);
        } else {
            log::debug!("nobody answers a read of region {region} at {offset:#x}");
            data.fill(0xff);
        }
        log::trace!("read region {region} at {offset:#x}: {data:02x?}");
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        log::trace!("write region {region} at {offset:#x}: {data:02x?}");
        if region == vfio::VFIO_PCI_CONFIG_REGION_INDEX {
            self.write_config(offset, data);
        } else if let Some(bar) = self.target(region, offset, data.len()) {
            self.write_bar(bar, offset, data);
        } else {
            log::debug!("nobody answers a write to region {region} at {offset:#x}");
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> io::Result<()> {
        log::debug!(
            "map {address:#x} + {size:#x} {flags:?}, file: {}, offset {offset:#x}",
            fd.is_some()
        );
        let permission = Permission {
            read: flags.contains(DmaMapFlags::READ),
            write: flags.contains(DmaMapFlags::WRITE),
        };
        self.memory
            .map(address, size, permission, fd, offset)
            .map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("map of {address:#x} + {size:#x}: {error}"),
                )
            })
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        if flags.contains(DmaUnmapFlags::UNMAP_ALL) {
            self.memory.unmap_all();
            return Ok(());
        }
        let ranges = self.memory.unmap(address, size);
        log::debug!("unmap {address:#x} + {size:#x}: {ranges} ranges");
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        log::info!("reset by the client");
        self.reset_function();
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        log::debug!(
            "set irqs {index}: flags {flags:#x}, {count} from {start}, {} eventfds",
            fds.len()
        );
        const OFF: u32 = vfio::VFIO_IRQ_SET_ACTION_TRIGGER | vfio::VFIO_IRQ_SET_DATA_NONE;
        const CONNECT: u32 = vfio::VFIO_IRQ_SET_ACTION_TRIGGER | vfio::VFIO_IRQ_SET_DATA_EVENTFD;
        match flags {
            _ if index == vfio::VFIO_PCI_ERR_IRQ_INDEX => Ok(()),
            _ if index != self.irq_index() => Err(invalid("the card has no such interrupts")),
            OFF if count == 0 => {
                self.vectors.disconnect_all();
                Ok(())
            }
            OFF => self.vectors.trigger(start, count).map_err(vector_error),
            CONNECT => self
                .vectors
                .connect(start, count, fds)
                .map_err(vector_error),
            _ => Err(invalid("vectors can only be triggered")),
        }
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn vector_error(error: VectorError) -> io::Error {
    invalid(match error {
        VectorError::OutOfRange => "it names vectors that don't exist",
        VectorError::Count => "it doesn't have an eventfd for each vector",
    })
}
