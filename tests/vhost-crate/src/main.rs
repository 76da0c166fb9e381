// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Has a vhost-vdpa network device by the crate `vhost` alone, as virtual machine monitors in Rust do.
//!
//! `mooring-vhost-client` is built on that crate, too, but sends ioctls and messages of its own where an experiment wants
//! what the crate doesn't do. This program is the other way round: whatever the crate's [`VhostVdpa`] does, in the order in
//! which a monitor does it, and nothing beside. It has no `unsafe` code, and so can do nothing else.

#![forbid(unsafe_code)]

mod memory;
mod ring;

use anyhow::{ensure, Context, Result};
use clap::Parser;
use memory::{Guest, BUFFERS, BUFFER_SIZE};
use ring::{Ring, ENTRIES};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vhost::vdpa::VhostVdpa;
use vhost::vhost_kern::vdpa::VhostKernVdpa;
use vhost::vhost_kern::VhostKernFeatures;
use vhost::VhostBackend;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;

/// VIRTIO_NET_F_MAC, VIRTIO_F_VERSION_1, VIRTIO_F_ACCESS_PLATFORM.
const FEATURES: u64 = (1 << 5) | (1 << 32) | (1 << 33);
/// Messages of the second version, batches of them; SUSPEND.
const BACKEND_FEATURES: u64 = (1 << 1) | (1 << 2) | (1 << 4);

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// Bytes of the virtio-net header before every frame.
const HEADER: usize = 12;

/// Has frames come back from a device whose card loops them, through nothing but the crate vhost
///
/// Each round starts the device, sends numbered frames, takes each back once, in order and unchanged, suspends the device,
/// asks where its rings stand, and resets it. The memory is unmapped and mapped again in between.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Options {
    /// The device's node, /dev/vhost-vdpa-N
    node: String,
    /// Frames of a round
    #[arg(long, value_name = "N", default_value_t = 200)]
    frames: u16,
    /// How often the device is started
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: u16,
    /// Seconds after which a wait for the device has failed
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    timeout: u64,
}

type Vdpa = VhostKernVdpa<Arc<GuestMemoryMmap>>;

/// A queue as the process that set it up sees it.
struct Queue {
    ring: Ring,
    kick: EventFd,
    call: EventFd,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let guest = Guest::new()?;
    let vdpa = open(&options.node, &guest)?;
    for round in 1..=options.rounds {
        map(&vdpa, &guest)?;
        let mut queues = start(&vdpa, &guest)?;
        loop_frames(&vdpa, &guest, &mut queues, round, &options)?;
        stop(&vdpa, &queues, options.frames)?;
        unmap(&vdpa, &guest)?;
        println!("round {round}: {} frames came back", options.frames);
    }
    Ok(())
}

/// Opens the device, and becomes its owner.
fn open(node: &str, guest: &Guest) -> Result<Vdpa> {
    let mut vdpa = VhostKernVdpa::new(node, guest.memory.clone()).context("opening the node")?;
    vdpa.set_owner().context("set_owner")?;
    let offered = vdpa
        .get_backend_features()
        .context("get_backend_features")?;
    ensure!(
        offered & BACKEND_FEATURES == BACKEND_FEATURES,
        "the backend offers {offered:#x} only"
    );
    vdpa.set_backend_features(BACKEND_FEATURES)
        .context("set_backend_features")?;
    ensure!(vdpa.get_device_id()? == 1, "it is no network device");
    let queues = vdpa.get_vqs_count()?;
    ensure!(queues >= 2, "it has {queues} queues");
    let (groups, spaces) = (vdpa.get_group_num()?, vdpa.get_as_num()?);
    ensure!(groups >= 1 && spaces >= 1, "it has no address space");
    // Which group a queue is in, a device with one group need not tell.
    if groups > 1 {
        for queue in 0..queues {
            let group = vdpa.get_vring_group(queue).context("get_vring_group")?;
            ensure!(
                group < groups,
                "queue {queue} is in group {group} of {groups}"
            );
        }
    }
    Ok(vdpa)
}

/// Maps each region of the memory where the guest has it.
fn map(vdpa: &Vdpa, guest: &Guest) -> Result<()> {
    let range = vdpa.get_iova_range().context("get_iova_range")?;
    for region in guest.memory.iter() {
        let (first, last) = (region.start_addr().0, region.last_addr().0);
        ensure!(
            range.first <= first && last <= range.last,
            "{first:#x}..={last:#x} is outside of what can be mapped"
        );
        let address = region.get_host_address(Default::default())?;
        vdpa.dma_map(first, region.len(), address, false)
            .with_context(|| format!("dma_map of {first:#x}"))?;
    }
    Ok(())
}

fn unmap(vdpa: &Vdpa, guest: &Guest) -> Result<()> {
    for region in guest.memory.iter() {
        vdpa.dma_unmap(region.start_addr().0, region.len())
            .context("dma_unmap")?;
    }
    Ok(())
}

/// Takes the device from reset to DRIVER_OK.
fn start(vdpa: &Vdpa, guest: &Guest) -> Result<[Queue; 2]> {
    vdpa.set_status(0)?;
    ensure!(vdpa.get_status()? == 0, "the device is not reset");
    let mut status = ACKNOWLEDGE | DRIVER;
    vdpa.set_status(status)?;
    let offered = vdpa.get_features()?;
    ensure!(
        offered & FEATURES == FEATURES,
        "the device offers {offered:#x}"
    );
    vdpa.set_features(FEATURES).context("set_features")?;
    status |= FEATURES_OK;
    vdpa.set_status(status)?;
    ensure!(
        vdpa.get_status()? == status,
        "the device refused the features"
    );

    let queues = [
        set_up(vdpa, guest, RECEIVE)?,
        set_up(vdpa, guest, TRANSMIT)?,
    ];
    let changed = EventFd::new(EFD_NONBLOCK)?;
    vdpa.set_config_call(&changed).context("set_config_call")?;
    for index in [RECEIVE, TRANSMIT] {
        vdpa.set_vring_enable(index, true)
            .context("set_vring_enable")?;
    }
    status |= DRIVER_OK;
    vdpa.set_status(status).context("DRIVER_OK")?;
    ensure!(vdpa.get_status()? == status, "the device did not start");
    Ok(queues)
}

fn set_up(vdpa: &Vdpa, guest: &Guest, index: usize) -> Result<Queue> {
    let largest = vdpa.get_vring_num().context("get_vring_num")?;
    let queue = Queue {
        ring: Ring::new(guest, index)?,
        kick: EventFd::new(EFD_NONBLOCK)?,
        call: EventFd::new(EFD_NONBLOCK)?,
    };
    vdpa.set_vring_num(index, ENTRIES)
        .context("set_vring_num")?;
    vdpa.set_vring_addr(index, &queue.ring.addresses(largest))
        .context("set_vring_addr")?;
    vdpa.set_vring_base(index, 0).context("set_vring_base")?;
    vdpa.set_vring_call(index, &queue.call)
        .context("set_vring_call")?;
    vdpa.set_vring_kick(index, &queue.kick)
        .context("set_vring_kick")?;
    Ok(queue)
}

/// The frame with this number: broadcast, from the device, of an EtherType for experiments. No two are the same.
fn frame(mac: [u8; 6], round: u16, number: u16) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes.extend([0xff; 6]);
    bytes.extend(mac);
    bytes.extend([0x88, 0xb5]);
    bytes.extend(round.to_be_bytes());
    bytes.extend(number.to_be_bytes());
    let size = HEADER + 60 + usize::from(number) * 37 % 1440;
    while bytes.len() < size {
        bytes.push((usize::from(number) + bytes.len()) as u8);
    }
    bytes
}

/// Sends the frames, one at a time, and takes each back.
fn loop_frames(
    vdpa: &Vdpa,
    guest: &Guest,
    queues: &mut [Queue; 2],
    round: u16,
    options: &Options,
) -> Result<()> {
    let mut mac = [0; 6];
    vdpa.get_config(0, &mut mac).context("get_config")?;
    let [receive, transmit] = queues;
    for number in 0..options.frames {
        let slot = number % ENTRIES;
        let sent = frame(mac, round, number);
        receive.ring.offer(guest, slot, BUFFER_SIZE, true)?;
        receive.kick.write(1)?;
        guest.memory.write_slice(&sent, buffer(TRANSMIT, slot))?;
        transmit
            .ring
            .offer(guest, slot, u32::try_from(sent.len())?, false)?;
        transmit.kick.write(1)?;
        wait(guest, transmit, options.timeout).context("a frame to be sent")?;
        let length = wait(guest, receive, options.timeout).context("a frame to come back")?;
        let mut got = vec![0; length as usize];
        guest.memory.read_slice(&mut got, buffer(RECEIVE, slot))?;
        // The device writes into the header how many buffers a frame has, and the rest is as it was sent.
        ensure!(
            got.get(HEADER..) == sent.get(HEADER..),
            "frame {number} of round {round} came back changed: {} bytes of {}",
            got.len(),
            sent.len()
        );
    }
    Ok(())
}

fn buffer(queue: usize, slot: u16) -> GuestAddress {
    GuestAddress(
        BUFFERS + (queue as u64 * u64::from(ENTRIES) + u64::from(slot)) * u64::from(BUFFER_SIZE),
    )
}

/// Waits for the device's event and the used buffer that it tells of; returns how many bytes the device has written.
fn wait(guest: &Guest, queue: &mut Queue, seconds: u64) -> Result<u32> {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        // Without an event, nothing is looked for: a device that forgets its events is to be seen.
        if queue.call.read().is_ok() {
            if let Some(length) = queue.ring.take(guest)? {
                return Ok(length);
            }
        }
        ensure!(Instant::now() < end, "not within {seconds} s");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Suspends the device, asks where its rings stand, and resets it.
fn stop(vdpa: &Vdpa, queues: &[Queue; 2], frames: u16) -> Result<()> {
    vdpa.suspend().context("suspend")?;
    for index in [RECEIVE, TRANSMIT] {
        let base = vdpa.get_vring_base(index).context("get_vring_base")?;
        ensure!(
            base == u32::from(frames) && queues[index].ring.taken() == frames,
            "queue {index} stands at {base} after {frames} frames"
        );
    }
    vdpa.set_status(0)?;
    ensure!(vdpa.get_status()? == 0, "the device is not reset");
    Ok(())
}
