// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::*;

fn layout(interrupts: InterruptKind) -> Layout {
    Layout {
        queues: 48,
        vectors: 32,
        interrupts,
        register_bar_size: Layout::REGISTER_BAR_SIZE,
    }
}

fn function() -> Function {
    Function::new(layout(InterruptKind::Msix))
}

fn read32(function: &Function, at: u64) -> u32 {
    let mut data = [0; 4];
    function.read_config(at, &mut data);
    u32::from_le_bytes(data)
}

#[test]
fn identity() {
    let function = function();
    assert_eq!(read32(&function, 0x00), 0x4d52_1b36);
    assert_eq!(read32(&function, 0x08), 0x0200_0001);
    assert_eq!(read32(&function, 0x2c), 0x4d52_1b36);
    assert_eq!(read32(&function, 0x3c), 0, "no INTx");
}

#[test]
fn bars_answer_the_sizing_protocol() {
    let mut function = function();
    for (bar, size) in [
        (Bar::Registers, 4096u64),
        (Bar::Doorbells, 64 * 4096),
        (Bar::Msix, 8192),
    ] {
        let at = 0x10 + 4 * u64::from(bar.number());
        assert_eq!(function.layout().bar_size(bar), size);
        function.write_config(at, &[0xff; 8]);
        let low = read32(&function, at);
        assert_eq!(low & 0xf, 0x4, "64-bit memory, not prefetchable");
        let mask = u64::from(low & !0xf) | (u64::from(read32(&function, at + 4)) << 32);
        assert_eq!(!mask + 1, size);
        function.write_config(at, &0x12_3456_0000u64.to_le_bytes());
        assert_eq!(read32(&function, at), 0x3456_0004 & !(size as u32 - 1) | 4);
        assert_eq!(read32(&function, at + 4), 0x12);
    }
    assert_eq!(read32(&function, 0x30), 0, "no option ROM");
}

#[test]
fn the_capability_list_ends() {
    for kind in [InterruptKind::Msix, InterruptKind::Msi] {
        let function = Function::new(layout(kind));
        let mut seen = Vec::new();
        let mut at = read32(&function, 0x34) & 0xff;
        while at != 0 {
            let header = read32(&function, u64::from(at));
            seen.push(header & 0xff);
            at = (header >> 8) & 0xff;
            assert!(seen.len() < 10);
        }
        let interrupts = if kind == InterruptKind::Msix {
            0x11
        } else {
            0x05
        };
        assert_eq!(seen, [0x01, interrupts, 0x10]);
        assert_eq!(read32(&function, 0x100), 0, "no extended capabilities");
    }
}

#[test]
fn msix_points_into_its_bar() {
    let function = function();
    let at = offset::INTERRUPTS as u64;
    assert_eq!(read32(&function, at) >> 16, 31);
    assert_eq!(read32(&function, at + 4), 4);
    assert_eq!(read32(&function, at + 8), 0x1004);
    let most = Layout {
        vectors: 2048,
        ..layout(InterruptKind::Msix)
    };
    assert_eq!(
        (most.pending_offset(), most.bar_size(Bar::Msix)),
        (0x8000, 0x10000)
    );
}

#[test]
fn msi_has_no_bar_and_counts_in_powers_of_two() {
    let function = Function::new(layout(InterruptKind::Msi));
    assert_eq!(
        read32(&function, offset::INTERRUPTS as u64) >> 16,
        0x80 | (5 << 1)
    );
    assert_eq!(function.layout().bar_size(Bar::Msix), 0);
    assert_eq!(read32(&function, 0x20), 0);
}

#[test]
fn switches_follow_the_command_register_and_the_power_state() {
    let mut function = function();
    assert!(!function.decodes_memory() && !function.is_bus_master());
    function.write_config(0x04, &[0x06]);
    assert!(function.decodes_memory() && function.is_bus_master());
    function.write_config(offset::POWER as u64 + 4, &[3]);
    assert!(!function.decodes_memory() && !function.is_bus_master());
    function.write_config(offset::POWER as u64 + 4, &[0]);
    assert!(function.is_bus_master());
    function.reset();
    assert!(!function.decodes_memory() && !function.is_bus_master());
}

#[test]
fn delivery_follows_the_capability() {
    let mut function = function();
    let control = offset::INTERRUPTS as u64 + 2;
    assert_eq!(function.delivery(), Delivery::Off);
    function.write_config(control, &0xc000u16.to_le_bytes());
    assert_eq!(function.delivery(), Delivery::Masked);
    function.write_config(control + 1, &[0x80]);
    assert_eq!(function.delivery(), Delivery::On);

    let mut function = Function::new(layout(InterruptKind::Msi));
    assert_eq!(function.delivery(), Delivery::Off);
    function.write_config(control, &[0x51]);
    assert_eq!(function.delivery(), Delivery::On);
}

#[test]
fn a_function_level_reset_is_asked_for_by_any_access_that_holds_its_bit() {
    let mut function = function();
    let at = offset::DEVICE_CONTROL as u64;
    assert!(!function.write_config(at, &0x2810u16.to_le_bytes()));
    assert!(function.write_config(at, &0xa810u16.to_le_bytes()));
    assert!(function.write_config(at + 1, &[0x80]));
    assert!(function.write_config(at - 4, &[0xff; 8]));
    assert!(!function.write_config(at, &[0xff]));
    assert!(!function.write_config(at + 2, &[0xff; 4]));
    assert_eq!(read32(&function, at) & 0x8000, 0, "the bit reads as 0");
}

#[test]
fn read_only_bits_stay_and_any_access_is_answered() {
    let mut function = function();
    function.write_config(0, &[0xff; 4]);
    assert_eq!(read32(&function, 0), 0x4d52_1b36);
    let mut odd = [0; 3];
    function.read_config(1, &mut odd);
    assert_eq!(odd, [0x1b, 0x52, 0x4d]);
    function.read_config(CONFIG_SIZE as u64 - 1, &mut odd);
    assert_eq!(odd, [0, 0xff, 0xff]);
    function.read_config(u64::MAX, &mut odd[..1]);
    assert_eq!(odd[0], 0xff);
    function.write_config(CONFIG_SIZE as u64 - 1, &[0xff; 3]);
    function.write_config(u64::MAX, &[0xff]);
    function.read_config(0, &mut []);
    function.write_config(0, &[]);
}

#[test]
fn a_written_one_clears() {
    let mut config = ConfigSpace::new(2);
    config.define(0, [0xff, 0], [0, 0]);
    config.define_clear(0, [0x0f, 0]);
    config.write(0, &[0x81, 0]);
    let mut value = [0; 1];
    config.read(0, &mut value);
    assert_eq!(value, [0xfe]);
}
