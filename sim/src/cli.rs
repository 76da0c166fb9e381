// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The command line.

use crate::blk::DiskOptions;
use crate::pci::{InterruptKind, Layout};
use crate::server::Options;
use crate::uplink::UplinkKind;
use crate::{CardConfig, IommuKind, Port};
use clap::Parser;
use std::path::PathBuf;
use std::str::FromStr;

const EXAMPLES: &str = "\
Examples:
  A card for a VM, with nothing behind its uplink:
    mooring-sim --socket /tmp/card0

  and the VM that has it; guest memory must be shareable:
    qemu-system-x86_64 -M q35 -m 1G \\
      -object memory-backend-memfd,id=m,size=1G,share=on -numa node,memdev=m \\
      -device '{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"/tmp/card0\"}}' ...

  A card on a bridge of the host, with everything that passes the uplink and device 0 on record:
    ip tuntap add mooring0 mode tap user $USER && ip link set mooring0 up master br0
    mooring-sim --socket /tmp/card0 --uplink tap:mooring0 --pcap uplink=up.pcap --pcap 0=dev0.pcap

  Two cards, cable between them; the order doesn't matter:
    mooring-sim --socket /tmp/card0 --uplink unix:/tmp/cable &
    mooring-sim --socket /tmp/card1 --uplink unix:/tmp/cable &

  A card with a disk of 1 GiB:
    truncate -s 1G disk.img
    mooring-sim --socket /tmp/card0 --disk disk.img

SIGUSR1 takes the uplink's carrier away, and with it the link of every device; SIGUSR2 brings it back.
The card is served until SIGINT or SIGTERM. When a client leaves, the card is reset and the next client may come.";

/// A Mooring card in software, as a vfio-user device for QEMU and other clients.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Arguments {
    /// Unix socket to serve the card at; a file left behind by a model that has ended is replaced
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// What the uplink port is plugged into [default: none]
    ///   none       nothing
    ///   loopback   what goes out comes back in
    ///   tap:NAME   an interface of the host
    ///   unix:PATH  a stream socket, as QEMU's -netdev stream and passt have it
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "none",
        hide_default_value = true,
        verbatim_doc_comment
    )]
    uplink: UplinkKind,

    /// Capture what passes a port, `uplink` or a device's number, into a pcap file; may be repeated
    #[arg(long, value_name = "PORT=FILE")]
    pcap: Vec<Capture>,

    /// A disk for a block device, in a file of its size; may be repeated, and each block device gets the next one.
    /// Behind a comma: ro (never written), block-size=N (512 to 4096) [default: no disk]
    #[arg(long, value_name = "FILE[,ro][,block-size=N]")]
    disk: Vec<DiskOptions>,

    /// Log what happens to the card; -vv: in detail, -vvv: every access
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(flatten)]
    size: Size,

    #[command(flatten)]
    fault: Fault,
}

/// How much card there is.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Size of the card")]
struct Size {
    /// Virtqueues, all devices together
    #[arg(long, value_name = "N", default_value_t = CardConfig::default().queues)]
    queues: u16,

    /// Device objects
    #[arg(long, value_name = "N", default_value_t = CardConfig::default().devices)]
    devices: u16,

    /// Address spaces of the on-chip IOMMU
    #[arg(long, value_name = "N", default_value_t = CardConfig::default().address_spaces)]
    address_spaces: u16,

    /// Extents that all address spaces hold together
    #[arg(long, value_name = "N", default_value_t = CardConfig::default().extents)]
    extents: u32,

    /// Most entries of a virtqueue, a power of two
    #[arg(long, value_name = "N", default_value_t = CardConfig::default().max_queue_size)]
    max_queue_size: u16,

    /// No packed rings: every virtqueue is a split one
    #[arg(long)]
    no_packed_ring: bool,

    /// Extents in one update command
    #[arg(long, value_name = "N", default_value_t = CardConfig::default().max_batch)]
    max_batch: u16,

    /// What the card has of an IOMMU [default: identity]
    ///   identity  one whose address spaces can be 1:1
    ///   explicit  one whose address spaces translate explicit maps only
    ///   none      none: the platform's IOMMU is the only one
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true,
        verbatim_doc_comment
    )]
    iommu: IommuKind,

    /// Bits of an I/O virtual address
    #[arg(long, value_name = "N", default_value_t = CardConfig::default().iova_bits)]
    iova_bits: u8,

    /// Bits of a bus address
    #[arg(long, value_name = "N", default_value_t = CardConfig::default().bus_bits)]
    bus_bits: u8,

    /// Interrupt vectors [default: queues + 1, 65 at most; 32 at most with --interrupts msi]
    #[arg(long, value_name = "N")]
    vectors: Option<u16>,

    /// msix, or msi to test unplugging: QEMU 11.1.3 aborts if the card has MSI-X [default: msix]
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true
    )]
    interrupts: InterruptKind,
}

/// What is wrong with the card.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "A bad card, to test what a driver makes of it")]
struct Fault {
    /// Show a wrong magic number
    #[arg(long)]
    bad_magic: bool,

    /// Show another interface version
    #[arg(long, value_name = "MAJOR.MINOR")]
    interface_version: Option<Version>,

    /// Take N commands after each reset of the card, and then no more
    #[arg(long, value_name = "N")]
    hang_after: Option<u64>,

    /// Take N commands, and then be gone, as if pulled out: registers read as all ones
    #[arg(long, value_name = "N")]
    gone_after: Option<u64>,

    /// Lose the Nth extent that is added after each reset of the card, and say that it was added
    #[arg(long, value_name = "N")]
    forget_extent: Option<u64>,

    /// Let the control processor fail at its boot
    #[arg(long)]
    boot_fails: bool,

    /// Show this number of queues, whatever there are
    #[arg(long, value_name = "N")]
    false_queues: Option<u16>,

    /// Bytes of the register BAR, a power of two from 16 on; the card's own is 4096
    #[arg(long, value_name = "BYTES", default_value_t = Layout::REGISTER_BAR_SIZE, value_parser = bar_size,
          hide_default_value = true)]
    register_bar_size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version(u16, u16);

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            part.parse::<u16>()
                .map_err(|error| format!("{part:?}: {error}"))
        };
        let (major, minor) = text
            .split_once('.')
            .ok_or("must be two numbers with a dot between them")?;
        Ok(Self(number(major)?, number(minor)?))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Capture(Port, PathBuf);

impl FromStr for Capture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, file) = text.split_once('=').ok_or("must be PORT=FILE")?;
        let port = match port {
            "uplink" => Port::Uplink,
            number => Port::Device(
                number
                    .parse()
                    .map_err(|_| "PORT must be `uplink` or a device's number")?,
            ),
        };
        Ok(Self(port, file.into()))
    }
}

fn bar_size(text: &str) -> Result<u64, String> {
    let size = text.parse::<u64>().map_err(|error| error.to_string())?;
    match size.is_power_of_two() && (16..=1 << 30).contains(&size) {
        true => Ok(size),
        false => Err("must be a power of two from 16 to 1073741824".into()),
    }
}

impl Arguments {
    /// How much to log, see [`logging::start`](crate::logging::start).
    pub fn verbosity(&self) -> u8 {
        self.verbose
    }

    /// What they ask for.
    ///
    /// # Errors
    ///
    /// A line about a combination that can't be.
    pub fn options(self) -> Result<Options, String> {
        let defaults = CardConfig::default();
        let (size, fault) = (self.size, self.fault);
        let most = match size.interrupts {
            InterruptKind::Msix => 2048,
            InterruptKind::Msi => 32,
        };
        let vectors = size
            .vectors
            .unwrap_or(CardConfig::default_vectors(size.queues).min(most));
        let vectors = match size.interrupts {
            InterruptKind::Msi if size.vectors.is_none() => 1 << vectors.ilog2(),
            _ => vectors,
        };
        if size.interrupts == InterruptKind::Msi && !(vectors.is_power_of_two() && vectors <= most)
        {
            return Err("with --interrupts msi, --vectors must be a power of two up to 32".into());
        }
        let card = CardConfig {
            queues: size.queues,
            devices: size.devices,
            address_spaces: size.address_spaces,
            extents: size.extents,
            max_queue_size: size.max_queue_size,
            packed_ring: !size.no_packed_ring,
            max_batch: size.max_batch,
            iommu: size.iommu,
            iova_bits: size.iova_bits,
            bus_bits: size.bus_bits,
            vectors,
            magic: if fault.bad_magic {
                !defaults.magic
            } else {
                defaults.magic
            },
            interface_version: fault
                .interface_version
                .map_or(defaults.interface_version, |v| (v.0, v.1)),
            hang_after: fault.hang_after,
            gone_after: fault.gone_after,
            forget_extent: fault.forget_extent,
            boot_fails: fault.boot_fails,
            false_queues: fault.false_queues,
            ..defaults
        };
        card.validate().map_err(|error| error.to_string())?;
        let layout = Layout {
            queues: size.queues,
            vectors,
            interrupts: size.interrupts,
            register_bar_size: fault.register_bar_size,
        };
        let captures = self
            .pcap
            .into_iter()
            .map(|Capture(port, path)| (port, path))
            .collect();
        Ok(Options {
            socket: self.socket,
            card,
            layout,
            uplink: self.uplink,
            captures,
            disks: self.disk,
        })
    }
}

#[cfg(test)]
mod tests;
