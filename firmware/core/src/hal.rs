// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the firmware needs of the card.
//!
//! Numbers of queues and address spaces are card-wide. The firmware passes only numbers below the limits of
//! [`Capabilities`], and checks what the host sent before it gets here.

use mooring_hw_regs::wire::{
    AddressSpaceMode, ErrorCode, Extent, ExtentOperation, QueueErrorReason,
};

/// How much card there is. It never changes while the firmware runs.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// Virtqueues, all devices together.
    pub queues: u16,
    /// Device objects.
    pub devices: u16,
    /// Address spaces; 0 on a card without an IOMMU.
    pub address_spaces: u16,
    /// Fewest entries of a virtqueue.
    pub min_queue_size: u16,
    /// Most entries of a virtqueue.
    pub max_queue_size: u16,
    /// Bits of an I/O virtual address.
    pub iova_bits: u8,
    /// Bits of a bus address.
    pub bus_bits: u8,
    /// MSI-X vectors.
    pub vectors: u16,
    /// Extents in one update.
    pub max_batch: u16,
    /// Whether an address space can be 1:1.
    pub identity: bool,
    /// Whether virtqueues can be packed rings.
    pub packed_ring: bool,
    /// Disks; 0 on a card that has no block devices.
    pub disks: u16,
    /// MAC address of the first device for which the host names none; those of the others count up from it.
    pub mac_base: [u8; 6],
    /// Speed of the devices' links in Mbit/s.
    pub link_speed: u32,
}

impl Capabilities {
    /// Whether the card has an IOMMU of its own.
    pub fn has_iommu(&self) -> bool {
        self.address_spaces != 0
    }
}

/// The memory that a command's payload lies in couldn't be accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadError;

/// The path to command payloads. It doesn't pass through the on-chip IOMMU.
///
/// Where the transport is the command queue, an address is a bus address; where it is the mailbox, an offset in the
/// payload window.
pub trait PayloadMemory {
    /// Reads from `address` on.
    fn read_payload(&mut self, address: u64, data: &mut [u8]) -> Result<(), PayloadError>;

    /// Writes from `address` on.
    fn write_payload(&mut self, address: u64, data: &[u8]) -> Result<(), PayloadError>;
}

/// What the IOMMU knows of an address space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceState {
    /// Extents in force.
    pub extents: u32,
    /// Bytes that they translate.
    pub mapped_bytes: u64,
    /// Sum of their digests.
    pub digest: u64,
    /// Accesses refused since [`Iommu::clear_faults`].
    pub faults: u64,
}

/// The on-chip IOMMU, and the card memory that holds extents.
pub trait Iommu {
    /// Drops staged changes and all extents of a space and sets its mode. Returns when no DMA that the old translations
    /// allowed is under way.
    fn set_mode(&mut self, space: u16, mode: AddressSpaceMode);

    /// Drops staged changes and begins an update.
    fn begin(&mut self, space: u16);

    /// Stages a change on top of those staged since [`begin`](Self::begin).
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Overlap`], [`ErrorCode::NotMapped`], [`ErrorCode::NoSpace`]; the change is then not staged.
    fn stage(
        &mut self,
        space: u16,
        operation: ExtentOperation,
        extent: &Extent,
    ) -> Result<(), ErrorCode>;

    /// Puts all staged changes in force at once and makes the space translated. Returns when no DMA that a removed
    /// extent allowed is under way.
    fn commit(&mut self, space: u16);

    /// Drops staged changes.
    fn abort(&mut self, space: u16);

    /// What there is to know of a space.
    fn space_state(&self, space: u16) -> SpaceState;

    /// Sets a space's count of faults to 0.
    fn clear_faults(&mut self, space: u16);

    /// Copies extents in the order of their I/O virtual addresses, after skipping `start` of them. Returns how many.
    fn read_extents(&self, space: u16, start: u32, extents: &mut [Extent]) -> usize;
}

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueRole {
    /// Frames to the driver.
    Receive,
    /// Frames from the driver.
    Transmit,
    /// Commands from the driver to the device, which [`ControlProcessor`](crate::ControlProcessor) executes.
    Control,
    /// Requests to a block device's disk.
    Request,
}

/// What driver and device have agreed on about their rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingFormat {
    /// Packed rings; else split rings.
    pub packed: bool,
    /// Descriptors may refer to tables of descriptors.
    pub indirect: bool,
    /// Notifications are asked for at an index, not only altogether.
    pub event_index: bool,
}

/// A queue to start, its set-up checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSetup {
    /// Device that it belongs to.
    pub device: u16,
    /// What it is for.
    pub role: QueueRole,
    /// Entries, a power of two.
    pub size: u16,
    /// MSI-X vector, if it raises one.
    pub vector: Option<u16>,
    /// Address space that its buffers lie in, and tables of indirect descriptors; `NO_ADDRESS_SPACE` on a card without an
    /// IOMMU.
    pub address_space: u16,
    /// Address space that the three areas lie in; may be the same.
    pub ring_address_space: u16,
    /// How its rings are laid out.
    pub format: RingFormat,
    /// Where to begin to take chains, as in [`QueueEnable`](mooring_hw_regs::wire::QueueEnable).
    pub avail_index: u16,
    /// Where to begin to give chains back, likewise.
    pub used_index: u16,
    /// I/O virtual address of the descriptor table or the packed ring.
    pub descriptor_area: u64,
    /// I/O virtual address of the available ring or the driver's event suppression.
    pub driver_area: u64,
    /// I/O virtual address of the used ring or the device's event suppression.
    pub device_area: u64,
}

/// Where a queue stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueuePosition {
    /// Where it takes the next chain, as in [`QueueState`](mooring_hw_regs::wire::QueueState).
    pub avail_index: u16,
    /// Where it gives the next chain back, likewise.
    pub used_index: u16,
    /// Whether it runs: it was started, and neither stopped nor failed since.
    pub running: bool,
}

/// What a queue did since [`VirtqueueEngine::clear_statistics`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStatistics {
    /// Frames handed to the driver.
    pub rx_frames: u64,
    /// Their bytes, without virtio headers.
    pub rx_bytes: u64,
    /// Frames that found no buffer.
    pub rx_dropped: u64,
    /// Frames taken from the driver.
    pub tx_frames: u64,
    /// Their bytes, without virtio headers.
    pub tx_bytes: u64,
    /// Doorbell writes.
    pub doorbells: u64,
    /// Interrupts raised.
    pub interrupts: u64,
    /// Reads that the queue asked of the IOMMU.
    pub dma_reads: u64,
    /// Writes that the queue asked of the IOMMU.
    pub dma_writes: u64,
    /// Times that it stopped on an error.
    pub queue_errors: u64,
    /// Times that it stopped because the IOMMU refused an access.
    pub faults: u64,
    /// Requests to a disk that were answered.
    pub requests: u64,
    /// Bytes that they read and wrote.
    pub request_bytes: u64,
}

/// The head of a chain that a driver made available on a control queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlChain {
    /// Bytes that the driver wrote.
    pub readable: u64,
}

/// The virtqueue engines.
pub trait VirtqueueEngine {
    /// Starts a queue that doesn't run.
    fn start(&mut self, queue: u16, setup: &QueueSetup);

    /// Stops a queue. Returns when none of its DMA and interrupts is under way. Its position stays readable. Requests that a
    /// disk has not carried out get no answer any more; so that none is lost a card waits for them before it executes the
    /// command, for a while, see [`queue_to_disable`](crate::ControlProcessor::queue_to_disable).
    fn stop(&mut self, queue: u16);

    /// Forgets the set-up and position of a queue that doesn't run.
    fn clear(&mut self, queue: u16);

    /// Where the queue stands.
    fn position(&self, queue: u16) -> QueuePosition;

    /// What the queue did.
    fn statistics(&self, queue: u16) -> QueueStatistics;

    /// Sets the queue's statistics to 0.
    fn clear_statistics(&mut self, queue: u16);

    /// Takes the next chain of a control queue. It stays taken until [`complete_control`](Self::complete_control).
    fn take_control(&mut self, queue: u16) -> Option<ControlChain>;

    /// Copies what the driver wrote into the taken chain, from `offset` on. Returns `false` if that is beyond its end or
    /// failed.
    fn read_control(&mut self, queue: u16, offset: u64, data: &mut [u8]) -> bool;

    /// Answers the taken chain and gives it back to the driver.
    fn complete_control(&mut self, queue: u16, ack: u8);
}

/// Which frames a device takes of those that the switch hands to its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveFilter {
    /// All of them, whatever else is set.
    pub promiscuous: bool,
    /// All with a multicast address.
    pub all_multicast: bool,
    /// All with an individual address.
    pub all_unicast: bool,
    /// None with a multicast address but broadcasts, whatever the table says.
    pub no_multicast: bool,
    /// None with an individual address, not even the device's own.
    pub no_unicast: bool,
    /// No broadcasts.
    pub no_broadcast: bool,
}

impl Default for ReceiveFilter {
    /// A device is promiscuous until a driver says otherwise, for drivers that can't.
    fn default() -> Self {
        Self {
            promiscuous: true,
            all_multicast: false,
            all_unicast: false,
            no_multicast: false,
            no_unicast: false,
            no_broadcast: false,
        }
    }
}

/// Addresses of one kind that a device receives beside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacList {
    /// How many of `list` there are, or `None` for all of the kind, because there are more than the table has room for.
    pub count: Option<usize>,
    /// The addresses, and zeros behind them.
    pub list: [[u8; 6]; MacTable::ENTRIES],
}

impl MacList {
    /// No address.
    pub const EMPTY: Self = Self {
        count: Some(0),
        list: [[0; 6]; MacTable::ENTRIES],
    };

    /// All addresses.
    pub const ALL: Self = Self {
        count: None,
        ..Self::EMPTY
    };

    /// Whether an address is among them.
    pub fn contains(&self, mac: &[u8; 6]) -> bool {
        match self.count {
            Some(count) => self.list.iter().take(count).any(|listed| listed == mac),
            None => true,
        }
    }
}

/// Addresses that a device receives beside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacTable {
    /// Individual addresses.
    pub unicast: MacList,
    /// Multicast addresses.
    pub multicast: MacList,
}

impl MacTable {
    /// Addresses of each kind that there is room for.
    pub const ENTRIES: usize = 64;

    /// No addresses.
    pub const EMPTY: Self = Self {
        unicast: MacList::EMPTY,
        multicast: MacList::EMPTY,
    };
}

/// The L2 switch and the part of the virtqueue engines that chooses a queue for a frame.
pub trait Switch {
    /// Adds the port of a device. Its receive queue of pair `n` is `first_queue + 2n`.
    fn add_port(&mut self, device: u16, first_queue: u16, mac: [u8; 6], mtu: u16);

    /// Removes the port of a device.
    fn remove_port(&mut self, device: u16);

    /// Sets the address whose frames go to the device and to no other port.
    fn set_mac(&mut self, device: u16, mac: [u8; 6]);

    /// Sets what else the device takes.
    fn set_filter(&mut self, device: u16, filter: ReceiveFilter);

    /// Sets the addresses that the device takes beside its own.
    fn set_mac_table(&mut self, device: u16, table: &MacTable);

    /// Empties the device's table of VLANs. If `on`, it then takes no tagged frames but those of VLANs in the table; else
    /// it takes all.
    fn set_vlan_filter(&mut self, device: u16, on: bool);

    /// Adds a VLAN, 0 to 4095, to the device's table or removes it.
    fn set_vlan(&mut self, device: u16, vlan: u16, member: bool);

    /// Sets which frames that are not fit for the wire the device may send and receive, and whether a received frame may
    /// take several buffers: the virtio feature bits that are agreed on and switched on.
    fn set_offloads(&mut self, device: u16, features: u64);

    /// Sets whether the device's link is up. While it is down its port passes nothing.
    fn set_link(&mut self, device: u16, up: bool);

    /// Sets how many queue pairs receive.
    fn set_pairs(&mut self, device: u16, pairs: u16);
}

/// A disk of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskInfo {
    /// Its size in sectors of [`SECTOR_SIZE`](mooring_hw_regs::wire::SECTOR_SIZE) bytes.
    pub sectors: u64,
    /// Bytes of a block, a power of two and a multiple of a sector.
    pub block_size: u32,
    /// Bytes of which accesses are best a multiple; a multiple of a block, and a power of two.
    pub physical_block_size: u32,
    /// Whether it refuses to be written.
    pub read_only: bool,
}

/// The card's disks, and the part of the virtqueue engines that carries out requests.
pub trait Disks {
    /// What a disk is.
    fn disk(&self, disk: u16) -> DiskInfo;

    /// Puts a disk behind a device. Nothing is negotiated at first.
    fn attach_disk(&mut self, device: u16, disk: u16);

    /// Takes the disk from behind a device, none of whose queues runs.
    fn detach_disk(&mut self, device: u16);

    /// Sets which virtio features were agreed on: they decide which requests there are, and without
    /// `VIRTIO_BLK_F_FLUSH` what is written must be on stable storage before the request completes.
    fn set_disk_features(&mut self, device: u16, features: u64);
}

/// A refused access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Address space that it went through.
    pub address_space: u16,
    /// Its first I/O virtual address.
    pub iova: u64,
    /// Its length in bytes.
    pub length: u32,
    /// `PERMISSION_READ` or `PERMISSION_WRITE`.
    pub permission: u32,
}

/// A queue that stopped by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFailure {
    /// The queue.
    pub queue: u16,
    /// Why.
    pub reason: QueueErrorReason,
    /// The access that the IOMMU refused, if that is why.
    pub fault: Option<Fault>,
    /// Where the bus failed an access, if that is why; else 0.
    pub bus_address: u64,
}

/// The whole card.
pub trait Hal: Iommu + VirtqueueEngine + Switch + Disks + PayloadMemory {
    /// How much of it there is.
    fn capabilities(&self) -> Capabilities;
}
