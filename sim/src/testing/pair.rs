// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A queue pair of a network device, with buffers.

use mooring_hw_regs::wire::{DeviceCreated, QUEUE_ALLOW_IDENTITY};

use super::driver::Answer;
use super::{Buffer, CardAccess, Region, TestDriver, TestQueue};

const ENTRIES: u16 = 16;
const HEADER: usize = 12;
const BUFFER: u64 = 2048;

/// The first queue pair of a device and its memory.
pub struct NetPair {
    /// The device.
    pub device: DeviceCreated,
    /// The receive queue.
    pub rx: TestQueue,
    /// The transmit queue.
    pub tx: TestQueue,
    region: Region,
    rx_buffers: Vec<u64>,
    tx_buffers: Vec<u64>,
}

impl NetPair {
    /// Bytes of a region that is large enough.
    pub const REGION: u64 = 96 << 10;

    /// Rings and buffers in a region; the receive buffers are available.
    pub fn new<A: CardAccess>(
        driver: &TestDriver<A>,
        device: DeviceCreated,
        mut region: Region,
    ) -> Self {
        let rx = TestQueue::new(driver.memory.clone(), &mut region, ENTRIES);
        let tx = TestQueue::new(driver.memory.clone(), &mut region, ENTRIES);
        let mut buffers = || {
            (0..ENTRIES)
                .map(|_| region.allocate(BUFFER, 8))
                .collect::<Vec<_>>()
        };
        let (rx_buffers, tx_buffers) = (buffers(), buffers());
        let mut pair = Self {
            device,
            rx,
            tx,
            region,
            rx_buffers,
            tx_buffers,
        };
        pair.fill();
        pair
    }

    /// Forgets what was in the rings, as a driver does after a device reset, and makes receive buffers available again.
    /// The memory and its addresses stay what they are.
    pub fn restart<A: CardAccess>(&mut self, driver: &TestDriver<A>) {
        let region = Region::new(self.region.bus, self.region.iova, self.region.length);
        *self = Self::new(driver, self.device, region);
    }

    fn fill(&mut self) {
        for iova in self.rx_buffers.clone() {
            self.rx.add(&[Buffer {
                iova,
                length: BUFFER as u32,
                writable: true,
            }]);
        }
    }

    /// Starts both queues.
    pub fn enable<A: CardAccess>(
        &self,
        driver: &mut TestDriver<A>,
        space: u16,
        identity: bool,
    ) -> Answer<()> {
        let flags = if identity { QUEUE_ALLOW_IDENTITY } else { 0 };
        let device = self.device.device.get();
        driver.enable_queue(
            device,
            &self.rx.enable(0, space, Some(self.rx_vector()), flags),
        )?;
        driver.enable_queue(device, &self.tx.enable(1, space, None, flags))
    }

    /// The vector of the receive queue.
    pub fn rx_vector(&self) -> u16 {
        1 + self.device.first_queue.get()
    }

    /// Makes a frame available for sending, without ringing the doorbell.
    pub fn queue_frame(&mut self, frame: &[u8]) {
        self.queue_packet(&[&[0; HEADER][..], frame].concat());
    }

    /// The same for a frame with its virtio header. One that takes several buffers must not have others behind it.
    pub fn queue_packet(&mut self, packet: &[u8]) {
        let slot = usize::from(self.tx.avail_index % ENTRIES);
        let buffers: Vec<Buffer> = packet
            .chunks(BUFFER as usize)
            .enumerate()
            .map(|(number, part)| {
                let iova = self.tx_buffers[(slot + number) % usize::from(ENTRIES)];
                self.tx.write(iova, part);
                Buffer {
                    iova,
                    length: part.len() as u32,
                    writable: false,
                }
            })
            .collect();
        self.tx.add(&buffers);
    }

    /// Sends a frame with its virtio header and waits until the card gives its buffers back. Returns whether it does.
    pub fn send_packet<A: CardAccess>(
        &mut self,
        driver: &mut TestDriver<A>,
        packet: &[u8],
    ) -> bool {
        self.queue_packet(packet);
        driver.ring(self.device.first_queue.get() + 1);
        let tx = &mut self.tx;
        driver.access.wait_until(|_| tx.take_used().is_some())
    }

    /// Sends a frame and waits until the card gives its buffer back. Returns whether it does.
    pub fn send<A: CardAccess>(&mut self, driver: &mut TestDriver<A>, frame: &[u8]) -> bool {
        self.queue_frame(frame);
        driver.ring(self.device.first_queue.get() + 1);
        let tx = &mut self.tx;
        driver.access.wait_until(|_| tx.take_used().is_some())
    }

    /// The next received frame, if one is there when the card has come to rest. Its buffer is made available again.
    pub fn poll<A: CardAccess>(&mut self, driver: &mut TestDriver<A>) -> Option<Vec<u8>> {
        let mut packet = self.poll_packet(driver)?;
        assert_eq!(
            packet[..HEADER],
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            "the header of a frame in one buffer"
        );
        Some(packet.split_off(HEADER))
    }

    /// The same for a frame with its virtio header, in as many buffers as that says.
    pub fn poll_packet<A: CardAccess>(&mut self, driver: &mut TestDriver<A>) -> Option<Vec<u8>> {
        driver.access.settle();
        let mut packet = self.take_buffer(driver)?;
        let count = u16::from_le_bytes([packet[10], packet[11]]);
        for _ in 1..count {
            let part = self.take_buffer(driver);
            packet.extend(part.expect("all buffers of a frame are given back at once"));
        }
        Some(packet)
    }

    /// What is in the next buffer that the card gave back. The buffer is made available again.
    fn take_buffer<A: CardAccess>(&mut self, driver: &mut TestDriver<A>) -> Option<Vec<u8>> {
        let (head, written) = self.rx.take_used()?;
        let iova = self.rx_buffers[usize::from(head)];
        let mut bytes = vec![0; written as usize];
        driver
            .memory
            .read(self.region.bus(iova), &mut bytes)
            .expect("buffer memory");
        self.rx.add(&[Buffer {
            iova,
            length: BUFFER as u32,
            writable: true,
        }]);
        Some(bytes)
    }

    /// The next received frame with its virtio header, which must come.
    pub fn receive_packet<A: CardAccess>(&mut self, driver: &mut TestDriver<A>) -> Vec<u8> {
        let deadline = std::time::Instant::now() + super::access::PATIENCE;
        loop {
            if let Some(packet) = self.poll_packet(driver) {
                return packet;
            }
            assert!(std::time::Instant::now() < deadline, "no frame arrives");
        }
    }

    /// The next received frame, which must come.
    pub fn receive<A: CardAccess>(&mut self, driver: &mut TestDriver<A>) -> Vec<u8> {
        let deadline = std::time::Instant::now() + super::access::PATIENCE;
        loop {
            if let Some(frame) = self.poll(driver) {
                return frame;
            }
            assert!(std::time::Instant::now() < deadline, "no frame arrives");
        }
    }

    /// A frame from the device to an address.
    pub fn frame(&self, destination: [u8; 6], content: u8, length: usize) -> Vec<u8> {
        let mut frame = [&destination[..], &self.device.mac[..], &[0x88, 0xb5]].concat();
        frame.resize(length, content);
        frame
    }
}
