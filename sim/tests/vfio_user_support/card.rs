// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A client that behaves: the card as the shared scenarios want it.

use super::{Sim, PATIENCE};
use mooring_sim::guest_memory::{GuestMemory, Permission};
use mooring_sim::testing::CardAccess;
use mooring_sim::HostMemory;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vfio_user::Client;

const CONFIG: u32 = 7;
const MSIX_IRQS: u32 = 2;
/// `VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER`.
const CONNECT: u32 = 0x24;

/// Offset of the command register.
pub const COMMAND: u64 = 0x04;
/// Offset of the MSI-X capability's control word.
pub const MSIX_CONTROL: u64 = 0x4a;
/// Offset of the PCI Express capability's device control.
const DEVICE_CONTROL: u64 = 0x68;

/// Where the shared memory lies on the bus, and its size.
const BASE: u64 = 0x4_0000_0000;
const LENGTH: u64 = 16 << 20;

/// A card behind a socket, with its memory, and with interrupts on.
pub struct VfioUserCard {
    client: Client,
    memory: Arc<GuestMemory>,
    file: File,
    events: Vec<EventFd>,
    // Last, so that the client has gone before the program ends.
    sim: Option<Sim>,
}

impl VfioUserCard {
    /// Starts a card and attaches to it.
    pub fn start(arguments: &[&str]) -> Self {
        let sim = Sim::start(arguments);
        let mut card = Self::attach(&sim);
        card.sim = Some(sim);
        card
    }

    /// Attaches to a card that runs.
    pub fn attach(sim: &Sim) -> Self {
        let file = tempfile::tempfile().unwrap();
        file.set_len(LENGTH).unwrap();
        let memory = Arc::new(GuestMemory::default());
        let permission = Permission {
            read: true,
            write: true,
        };
        memory
            .map(BASE, LENGTH, permission, Some(file.try_clone().unwrap()), 0)
            .unwrap();

        let mut client = Client::new(&sim.socket()).unwrap();
        client.dma_map(0, BASE, LENGTH, file.as_raw_fd()).unwrap();
        let count = client.get_irq_info(MSIX_IRQS).unwrap().count;
        let events: Vec<_> = (0..count)
            .map(|_| EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap())
            .collect();
        for (vector, event) in (0..).zip(&events) {
            client
                .set_irqs(MSIX_IRQS, CONNECT, vector, 1, &[event.as_raw_fd()])
                .unwrap();
        }
        let mut card = Self {
            client,
            memory,
            file,
            events,
            sim: None,
        };
        card.restore_config();
        card
    }

    /// The connection itself.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The program, if this started it.
    pub fn sim(&mut self) -> &mut Sim {
        self.sim.as_mut().unwrap()
    }

    /// Gives the card the shared memory once more.
    pub fn map(&mut self) {
        self.client
            .dma_map(0, BASE, LENGTH, self.file.as_raw_fd())
            .unwrap();
    }

    /// Takes the shared memory from the card. It must not touch it from then on.
    pub fn unmap(&mut self) {
        self.client.dma_unmap(BASE, LENGTH).unwrap();
    }

    pub fn read_config(&mut self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.client.region_read(CONFIG, offset, &mut data).unwrap();
        u32::from_le_bytes(data)
    }

    pub fn write_config16(&mut self, offset: u64, value: u16) {
        self.client
            .region_write(CONFIG, offset, &value.to_le_bytes())
            .unwrap();
    }

    /// What a kernel does after a reset: memory decoding and interrupts are on again.
    pub fn restore_config(&mut self) {
        self.write_config16(COMMAND, 0x2);
        self.write_config16(MSIX_CONTROL, 0x8000);
    }
}

impl CardAccess for VfioUserCard {
    fn read32(&mut self, bar: u8, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.client
            .region_read(bar.into(), offset, &mut data)
            .unwrap();
        u32::from_le_bytes(data)
    }

    fn write32(&mut self, bar: u8, offset: u64, value: u32) {
        self.client
            .region_write(bar.into(), offset, &value.to_le_bytes())
            .unwrap();
    }

    fn memory(&self) -> Arc<dyn HostMemory> {
        self.memory.clone()
    }

    fn memory_range(&self) -> Range<u64> {
        BASE..BASE + LENGTH
    }

    fn take_interrupt(&mut self, vector: u16) -> bool {
        self.events
            .get(usize::from(vector))
            .is_some_and(|event| event.read().is_ok())
    }

    /// From outside nobody sees whether a card rests, so this gives it plenty of time.
    fn settle(&mut self) {
        std::thread::sleep(Duration::from_millis(20));
    }

    fn wait_until(&mut self, mut condition: impl FnMut(&mut Self) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        true
    }

    fn set_bus_master(&mut self, on: bool) {
        self.write_config16(COMMAND, if on { 0x6 } else { 0x2 });
    }

    fn function_reset(&mut self) {
        self.write_config16(DEVICE_CONTROL, 0x8000);
        self.restore_config();
    }
}
