// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What lies where in the card's configuration space, and which BAR holds what.
//!
//! Numbers and bits are those of the PCI and PCI Express base specifications.

use mooring_hw_regs::wire::{PCI_DEVICE_ID, PCI_VENDOR_ID};

use super::ConfigSpace;

/// Bytes of configuration space, the extended part included. No extended capability exists: it reads as 0.
pub const CONFIG_SIZE: usize = 4096;

/// Network controller, Ethernet.
const CLASS: [u8; 3] = [0x00, 0x00, 0x02];
/// As `info.CARD_REVISION.revision`.
const REVISION: u8 = 1;

/// Bytes of a page, and so of the smallest thing that gets a BAR or a place in one.
const PAGE: u64 = 4096;

pub(super) const COMMAND_MEMORY: u16 = 1 << 1;
pub(super) const COMMAND_MASTER: u16 = 1 << 2;
pub(super) const POWER_STATE: u16 = 3;
pub(super) const MSI_ENABLE: u16 = 1 << 0;
pub(super) const MSIX_ENABLE: u16 = 1 << 15;
pub(super) const MSIX_MASK: u16 = 1 << 14;
/// In the upper byte of Device Control.
pub(super) const FUNCTION_RESET: u8 = 1 << 7;

/// Offsets in configuration space.
pub(super) mod offset {
    pub const COMMAND: usize = 0x04;
    pub const BARS: usize = 0x10;
    pub const POWER: usize = 0x40;
    /// MSI or MSI-X.
    pub const INTERRUPTS: usize = 0x48;
    pub const EXPRESS: usize = 0x60;
    pub const DEVICE_CONTROL: usize = EXPRESS + 8;
}

/// Which kind of interrupts the function has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum InterruptKind {
    /// MSI-X, as the card has it.
    #[default]
    Msix,
    /// MSI only, at most 32 vectors. For tests that unplug the card: QEMU 11.1.3 aborts if it has MSI-X.
    Msi,
}

/// What a BAR is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// The registers.
    Registers,
    /// The doorbell pages.
    Doorbells,
    /// The MSI-X table and pending bits.
    Msix,
}

impl Bar {
    /// All BARs.
    pub const ALL: [Bar; 3] = [Bar::Registers, Bar::Doorbells, Bar::Msix];

    /// The BAR of this number, if something lies behind it. Each takes two numbers, because its address has 64 bits.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|bar| u32::from(bar.number()) == number)
    }

    /// The BAR's number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Registers => 0,
            Self::Doorbells => 2,
            Self::Msix => 4,
        }
    }
}

/// What decides how the function looks.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Doorbell pages.
    pub queues: u16,
    /// Interrupt vectors.
    pub vectors: u16,
    /// How the function interrupts.
    pub interrupts: InterruptKind,
    /// Bytes of the register BAR, a power of two.
    pub register_bar_size: u64,
}

impl Layout {
    /// Bytes of the register BAR of a good card.
    pub const REGISTER_BAR_SIZE: u64 = PAGE;

    /// Bytes of a BAR, a power of two, or 0 if the function doesn't have it.
    pub fn bar_size(&self, bar: Bar) -> u64 {
        match (bar, self.interrupts) {
            (Bar::Registers, _) => self.register_bar_size,
            (Bar::Doorbells, _) => (u64::from(self.queues) * PAGE).next_power_of_two(),
            (Bar::Msix, InterruptKind::Msix) => (self.pending_offset() + PAGE).next_power_of_two(),
            (Bar::Msix, InterruptKind::Msi) => 0,
        }
    }

    /// Where in their BAR the MSI-X pending bits lie: on the page behind the table.
    pub fn pending_offset(&self) -> u64 {
        (u64::from(self.vectors) * 16).next_multiple_of(PAGE)
    }

    /// Configuration space after power-on.
    pub(super) fn config_space(&self) -> ConfigSpace {
        let mut config = ConfigSpace::new(CONFIG_SIZE);
        self.define_header(&mut config);
        for bar in Bar::ALL {
            self.define_bar(&mut config, bar);
        }
        define_power(&mut config);
        match self.interrupts {
            InterruptKind::Msix => self.define_msix(&mut config),
            InterruptKind::Msi => self.define_msi(&mut config),
        }
        define_express(&mut config);
        config
    }

    fn define_header(&self, config: &mut ConfigSpace) {
        read_only(config, 0x00, PCI_VENDOR_ID.to_le_bytes());
        read_only(config, 0x02, PCI_DEVICE_ID.to_le_bytes());
        // Writable: memory decoding, bus master, parity error response, SERR enable, INTx disable.
        config.define(
            offset::COMMAND,
            [0; 2],
            (COMMAND_MEMORY | COMMAND_MASTER | 0x0540).to_le_bytes(),
        );
        // Status: there is a capability list.
        read_only(config, 0x06, 0x0010u16.to_le_bytes());
        config.define_clear(0x06, 0xf900u16.to_le_bytes());
        read_only(config, 0x08, [REVISION]);
        read_only(config, 0x09, CLASS);
        // Cache line size has no effect, as the PCI Express specification says.
        config.define(0x0c, [0], [0xff]);
        read_only(config, 0x2c, PCI_VENDOR_ID.to_le_bytes());
        read_only(config, 0x2e, PCI_DEVICE_ID.to_le_bytes());
        read_only(config, 0x34, [offset::POWER as u8]);
        // Interrupt line is the firmware's notebook; interrupt pin stays 0: there is no INTx.
        config.define(0x3c, [0], [0xff]);
    }

    fn define_bar(&self, config: &mut ConfigSpace, bar: Bar) {
        let size = self.bar_size(bar);
        if size == 0 {
            return;
        }
        let at = offset::BARS + 4 * usize::from(bar.number());
        // 64-bit memory, not prefetchable: a doorbell may not be merged with another one.
        config.define(at, 0x4u64.to_le_bytes(), (!(size - 1) & !0xf).to_le_bytes());
    }

    fn define_msix(&self, config: &mut ConfigSpace) {
        let at = offset::INTERRUPTS;
        let bar = u32::from(Bar::Msix.number());
        read_only(config, at, [0x11, offset::EXPRESS as u8]);
        config.define(
            at + 2,
            (self.vectors.saturating_sub(1) & 0x7ff).to_le_bytes(),
            (MSIX_ENABLE | MSIX_MASK).to_le_bytes(),
        );
        read_only(config, at + 4, bar.to_le_bytes());
        // CAST: 2048 vectors take 32 KiB.
        read_only(
            config,
            at + 8,
            (self.pending_offset() as u32 | bar).to_le_bytes(),
        );
    }

    fn define_msi(&self, config: &mut ConfigSpace) {
        let at = offset::INTERRUPTS;
        let log2 = self.vectors.max(1).ilog2() as u16;
        read_only(config, at, [0x05, offset::EXPRESS as u8]);
        // 64-bit addresses; writable: enable and the number of vectors in use.
        config.define(
            at + 2,
            (0x80 | (log2 << 1)).to_le_bytes(),
            (MSI_ENABLE | (7 << 4)).to_le_bytes(),
        );
        config.define(at + 4, [0; 8], (!3u64).to_le_bytes());
        config.define(at + 12, [0; 2], [0xff; 2]);
    }
}

fn define_power(config: &mut ConfigSpace) {
    read_only(config, offset::POWER, [0x01, offset::INTERRUPTS as u8]);
    // Version 3, no power management events.
    read_only(config, offset::POWER + 2, 0x0003u16.to_le_bytes());
    // No_Soft_Reset: waking up keeps the card's state.
    config.define(
        offset::POWER + 4,
        0x0008u16.to_le_bytes(),
        POWER_STATE.to_le_bytes(),
    );
}

fn define_express(config: &mut ConfigSpace) {
    let at = offset::EXPRESS;
    read_only(config, at, [0x10, 0]);
    // Version 2, endpoint.
    read_only(config, at + 2, 0x0002u16.to_le_bytes());
    // 256 bytes of payload, extended tags, role-based errors, function-level reset.
    read_only(config, at + 4, 0x1000_8021u32.to_le_bytes());
    // Relaxed ordering, extended tags, no-snoop, 512 bytes a read request. The reset bit reads as 0.
    config.define(
        offset::DEVICE_CONTROL,
        0x2810u16.to_le_bytes(),
        0x7fffu16.to_le_bytes(),
    );
    config.define_clear(at + 10, 0x000fu16.to_le_bytes());
    // 16 GT/s, 8 lanes, no power states of the link; the link runs at that.
    read_only(config, at + 12, 0x0000_0084u32.to_le_bytes());
    config.define(at + 16, [0; 2], 0x01c8u16.to_le_bytes());
    read_only(config, at + 18, 0x0084u16.to_le_bytes());
    // Completion timeouts can be switched off.
    read_only(config, at + 36, 0x0000_0010u32.to_le_bytes());
    config.define(at + 40, [0; 2], 0x0010u16.to_le_bytes());
    // All speeds up to 16 GT/s; target speed.
    read_only(config, at + 44, 0x0000_001eu32.to_le_bytes());
    config.define(at + 48, 0x0004u16.to_le_bytes(), 0x000fu16.to_le_bytes());
}

fn read_only<const N: usize>(config: &mut ConfigSpace, at: usize, value: [u8; N]) {
    config.define(at, value, [0; N]);
}
