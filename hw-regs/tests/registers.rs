// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The registers: pinned numbers, and agreement of everything that was generated from their source.
//!
//! The four generated files come from four exporters, so each can be wrong on its own. Here the texts of three are
//! read back and compared with the fourth, [`REGISTERS`].

use std::collections::BTreeMap;

use mooring_hw_regs::regs::*;
use mooring_hw_regs::wire;

const C_HEADER: &str = include_str!("../generated/mooring_regs.h");
const KERNEL: &str = include_str!("../generated/mooring_kernel_regs.rs");
const REFERENCE: &str = include_str!("../generated/registers.md");

/// The contract: name, offset, reset value, and the bits that the host reads, writes and strobes.
#[rustfmt::skip]
const PINNED: [(&str, usize, u32, u32, u32, u32); 41] = [
    ("INFO_MAGIC",              0x000, 0x524f_4f4d, 0xffff_ffff, 0, 0),
    ("INFO_INTERFACE_VERSION",  0x004, 0x0001_0000, 0xffff_ffff, 0, 0),
    ("INFO_BUILD",              0x008, 0, 0xffff_ffff, 0, 0),
    ("INFO_CARD_REVISION",      0x00c, 0, 0x0000_01ff, 0, 0),
    ("INFO_SCRATCH",            0x010, 0, 0xffff_ffff, 0xffff_ffff, 0),
    ("INFO_CAPABILITIES",       0x014, 0, 0x0000_000f, 0, 0),
    ("INFO_NUM_QUEUES",         0x018, 0, 0x0000_ffff, 0, 0),
    ("INFO_NUM_DEVICES",        0x01c, 0, 0x0000_ffff, 0, 0),
    ("INFO_NUM_ADDRESS_SPACES", 0x020, 0, 0x0000_ffff, 0, 0),
    ("INFO_MAX_EXTENTS",        0x024, 0, 0xffff_ffff, 0, 0),
    ("INFO_QUEUE_SIZE",         0x028, 0, 0xffff_ffff, 0, 0),
    ("INFO_ADDRESS_BITS",       0x02c, 0, 0x0000_ffff, 0, 0),
    ("INFO_NUM_VECTORS",        0x030, 0, 0x0000_ffff, 0, 0),
    ("INFO_MAX_BATCH",          0x034, 0, 0x0000_ffff, 0, 0),
    ("INFO_NUM_DISKS",          0x038, 0, 0x0000_ffff, 0, 0),
    ("CP_CONTROL",              0x100, 0, 0, 0, 0x0000_0001),
    ("CP_STATUS",               0x104, 0, 0x0000_000f, 0, 0),
    ("CP_ERROR",                0x108, 0, 0xffff_ffff, 0, 0),
    ("CP_HEARTBEAT",            0x10c, 0, 0xffff_ffff, 0, 0),
    ("CP_FIRMWARE_VERSION",     0x110, 0, 0xffff_ffff, 0, 0),
    ("CMDQ_SUBMISSION_BASE_LO", 0x200, 0, 0xffff_f000, 0xffff_f000, 0),
    ("CMDQ_SUBMISSION_BASE_HI", 0x204, 0, 0xffff_ffff, 0xffff_ffff, 0),
    ("CMDQ_COMPLETION_BASE_LO", 0x208, 0, 0xffff_f000, 0xffff_f000, 0),
    ("CMDQ_COMPLETION_BASE_HI", 0x20c, 0, 0xffff_ffff, 0xffff_ffff, 0),
    ("CMDQ_SIZE",               0x210, 0, 0x0000_000f, 0x0000_000f, 0),
    ("CMDQ_CONTROL",            0x214, 0, 0xffff_0001, 0xffff_0001, 0),
    ("CMDQ_STATUS",             0x218, 0, 0x0000_0003, 0, 0),
    ("CMDQ_TAIL",               0x21c, 0, 0x0000_ffff, 0x0000_ffff, 0),
    ("CMDQ_HEAD",               0x220, 0, 0x0000_ffff, 0, 0),
    ("EVENTQ_BASE_LO",          0x300, 0, 0xffff_f000, 0xffff_f000, 0),
    ("EVENTQ_BASE_HI",          0x304, 0, 0xffff_ffff, 0xffff_ffff, 0),
    ("EVENTQ_SIZE",             0x308, 0, 0x0000_000f, 0x0000_000f, 0),
    ("EVENTQ_CONTROL",          0x30c, 0, 0xffff_0001, 0xffff_0001, 0),
    ("EVENTQ_STATUS",           0x310, 0, 0x0000_0003, 0, 0),
    ("EVENTQ_CONSUMER",         0x314, 0, 0x0000_ffff, 0x0000_ffff, 0),
    ("IOMMU_COMMANDS",          0x400, 0, 0xffff_ffff, 0, 0),
    ("IOMMU_FAULTS",            0x404, 0, 0xffff_ffff, 0, 0),
    ("MAILBOX_CONTROL",         0x500, 0, 0xffff_0001, 0xffff_0001, 0),
    ("MAILBOX_STATUS",          0x504, 0, 0x0000_0007, 0, 0),
    ("MAILBOX_DOORBELL",        0x508, 0, 0xffff_ffff, 0xffff_ffff, 0),
    ("MAILBOX_EVENT_ACKNOWLEDGE", 0x50c, 0, 0xffff_ffff, 0xffff_ffff, 0),
];

/// Windows: name, offset and bytes.
const WINDOWS: [(&str, usize, usize); 4] = [
    (
        "MAILBOX_COMMAND",
        MAILBOX_COMMAND_OFFSET,
        MAILBOX_COMMAND_SIZE,
    ),
    (
        "MAILBOX_COMPLETION",
        MAILBOX_COMPLETION_OFFSET,
        MAILBOX_COMPLETION_SIZE,
    ),
    ("MAILBOX_EVENT", MAILBOX_EVENT_OFFSET, MAILBOX_EVENT_SIZE),
    (
        "MAILBOX_PAYLOAD",
        MAILBOX_PAYLOAD_OFFSET,
        MAILBOX_PAYLOAD_SIZE,
    ),
];

#[test]
fn windows_are_where_they_were() {
    let pinned = [
        ("MAILBOX_COMMAND", 0x540, 64),
        ("MAILBOX_COMPLETION", 0x580, 32),
        ("MAILBOX_EVENT", 0x5c0, 32),
        ("MAILBOX_PAYLOAD", 0x600, 1024),
    ];
    assert_eq!(WINDOWS, pinned);
}

/// A window holds its message whole, and the payload what a card without an IOMMU has to say.
#[test]
fn messages_fit_their_windows() {
    assert_eq!(MAILBOX_COMMAND_SIZE, size_of::<wire::Command>());
    assert_eq!(MAILBOX_COMPLETION_SIZE, size_of::<wire::Completion>());
    assert_eq!(MAILBOX_EVENT_SIZE, size_of::<wire::Event>());
    const { assert!(size_of::<wire::DeviceStatistics>() <= MAILBOX_PAYLOAD_SIZE) };
}

#[test]
fn registers_are_where_they_were() {
    let actual = REGISTERS.map(|register| {
        let Register {
            name,
            offset,
            reset,
            read_mask,
            write_mask,
            strobe_mask,
            fields: _,
        } = register;
        (name, offset, reset, read_mask, write_mask, strobe_mask)
    });
    for (actual, pinned) in actual.iter().zip(PINNED) {
        assert_eq!(*actual, pinned, "{}", pinned.0);
    }
}

#[test]
fn the_table_is_consistent() {
    for pair in REGISTERS.windows(2) {
        assert!(
            pair[0].offset < pair[1].offset,
            "{} and {}",
            pair[0].name,
            pair[1].name
        );
    }
    for register in &REGISTERS {
        let name = register.name;
        assert_eq!(register.offset % 4, 0, "{name}");
        assert!(register.offset + 4 <= REGISTERS_SIZE, "{name}");
        assert_eq!(
            register.write_mask & !register.read_mask,
            0,
            "{name} holds bits that can't be read"
        );
        assert_eq!(
            register.strobe_mask & (register.read_mask | register.write_mask),
            0,
            "{name}"
        );
        assert_eq!(register.reset & !register.read_mask, 0, "{name}");

        let mut bits = 0;
        for field in register.fields {
            assert_eq!(
                bits & field.mask,
                0,
                "{name}.{} overlaps another field",
                field.name
            );
            assert_eq!(
                field.shift,
                field.mask.trailing_zeros(),
                "{name}.{}",
                field.name
            );
            bits |= field.mask;
        }
        assert_eq!(bits, register.read_mask | register.strobe_mask, "{name}");
    }
}

#[test]
fn bars() {
    assert_eq!((BAR_REGISTERS, BAR_DOORBELLS, BAR_MSIX), (0, 2, 4));
    assert_eq!(REGISTERS_SIZE, 0x1000);
    assert_eq!((DOORBELL_STRIDE, DOORBELL_MAX), (0x1000, 4096));
}

#[test]
fn registers_and_messages_agree_on_the_interface() {
    assert_eq!(InfoMagic::RESET_VALUE, wire::MAGIC);
    let version = InfoInterfaceVersion(InfoInterfaceVersion::RESET_VALUE);
    assert_eq!(
        (version.major(), version.minor()),
        (wire::INTERFACE_MAJOR, wire::INTERFACE_MINOR)
    );
}

#[test]
fn fields_are_read_and_set() {
    let control = CmdqControl(0).with_enable(true).with_vector(0xabcd);
    assert_eq!(control, CmdqControl(0xabcd_0001));
    assert!(control.enable());
    assert_eq!(control.vector(), 0xabcd);
    assert_eq!(control.with_enable(false), CmdqControl(0xabcd_0000));
    // Bits that don't fit don't reach the neighbours.
    assert_eq!(CmdqSize(0).with_log2(0xff), CmdqSize(0xf));
    assert_eq!(
        CmdqSubmissionBaseLo(0x123).with_address(0xf_ffff),
        CmdqSubmissionBaseLo(0xffff_f123)
    );

    assert_eq!(CpStatus(0).with_state(CpState::Failed), CpStatus(2));
    assert_eq!(CpStatus(0xffff_fff3).state(), Some(CpState::Resetting));
    assert_eq!(CpStatus(4).state(), None);
}

#[test]
fn writes_keep_what_the_host_cannot_change() {
    let written = CmdqControl::REGISTER.written(0x0002_0000, 0xffff_ffff);
    assert_eq!(written, 0xffff_0001);
    assert_eq!(InfoMagic::REGISTER.written(wire::MAGIC, 0), wire::MAGIC);
    assert_eq!(
        CpControl::REGISTER.written(0, 1),
        0,
        "a strobe holds nothing"
    );
    assert_eq!(CpControl::REGISTER.visible(1), 0, "a strobe reads as 0");
}

#[test]
fn the_c_header_agrees() {
    let mut macros: BTreeMap<&str, u64> = C_HEADER
        .lines()
        .filter_map(|line| line.strip_prefix("#define MOORING_"))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, value)| (name, number(value.trim().trim_end_matches('u'))))
        .collect();
    let mut expect = |name: String, value: u64| {
        assert_eq!(macros.remove(name.as_str()), Some(value), "MOORING_{name}");
    };

    for register in &REGISTERS {
        let name = register.name;
        expect(format!("{name}_OFFSET"), register.offset as u64);
        expect(format!("{name}_RESET_VALUE"), register.reset.into());
        expect(format!("{name}_READ_MASK"), register.read_mask.into());
        expect(format!("{name}_WRITE_MASK"), register.write_mask.into());
        expect(format!("{name}_STROBE_MASK"), register.strobe_mask.into());
        for field in register.fields {
            let field_name = field.name.to_uppercase();
            expect(format!("{name}_{field_name}_SHIFT"), field.shift.into());
            expect(format!("{name}_{field_name}_MASK"), field.mask.into());
        }
    }
    for (name, value) in constants() {
        expect(name.to_string(), value);
    }
    assert!(macros.is_empty(), "the header has more: {macros:?}");

    let states = C_HEADER
        .lines()
        .filter_map(|line| line.trim().strip_prefix("MOORING_CP_STATE_"));
    assert_eq!(
        states.map(assignment).collect::<Vec<_>>(),
        cp_states(str::to_uppercase)
    );
}

#[test]
fn the_kernel_registers_agree() {
    let mut registers: Vec<(&str, u64)> = Vec::new();
    let mut fields: Vec<(&str, u64, u64, &str)> = Vec::new();
    let mut found_constants: Vec<(&str, u64)> = Vec::new();
    for line in KERNEL.lines().map(str::trim) {
        if let Some(constant) = line.strip_prefix("pub(crate) const ") {
            let (name, value) = constant.split_once(" = ").unwrap();
            found_constants.push((
                name.split_once(':').unwrap().0,
                number(value.trim_end_matches(';')),
            ));
        } else if let Some((name, place)) = line
            .strip_prefix("pub(crate) ")
            .and_then(|line| line.split_once("(u32) @ "))
        {
            registers.push((name, number(place.trim_end_matches(" {"))));
        } else if line.starts_with(|first: char| first.is_ascii_digit()) && line.ends_with(';') {
            let (bits, rest) = line.split_once(' ').unwrap();
            let (high, low) = bits.split_once(':').unwrap();
            let name = rest.trim().split([' ', ';']).next().unwrap();
            fields.push((registers.last().unwrap().0, number(high), number(low), name));
        }
    }

    assert_eq!(
        registers,
        REGISTERS.map(|register| (register.name, register.offset as u64))
    );
    let expected: Vec<_> = REGISTERS
        .iter()
        .flat_map(|register| register.fields.iter().map(|field| (register.name, field)))
        .map(|(register, field)| {
            (
                register,
                u64::from(field.mask.ilog2()),
                u64::from(field.shift),
                field.name,
            )
        })
        .collect();
    assert_eq!(fields, expected);
    assert_eq!(found_constants, constants());

    let states = KERNEL
        .lines()
        .skip_while(|line| !line.contains("enum CpState"))
        .take_while(|line| *line != "}")
        .filter(|line| line.contains(" = "));
    assert_eq!(
        states
            .map(|line| assignment(line.trim()))
            .collect::<Vec<_>>(),
        cp_states(str::to_string)
    );
}

#[test]
fn the_reference_agrees() {
    let mut overview: Vec<(&str, u64, Option<u32>)> = Vec::new();
    let mut fields: Vec<(&str, String, &str)> = Vec::new();
    let mut windows: Vec<(&str, u64, u64)> = Vec::new();
    let mut section = "";
    for line in REFERENCE.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            section = code(heading);
        } else if line.starts_with("## ") {
            section = "";
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if line.starts_with("| `0x") && cells[2].starts_with('[') {
            let reset = cells[3]
                .starts_with('`')
                .then(|| number(code(cells[3])) as u32);
            overview.push((code(cells[2]), number(code(cells[1])), reset));
        } else if line.starts_with("| `0x") {
            windows.push((code(cells[3]), number(code(cells[1])), number(cells[2])));
        } else if !section.is_empty() && line.starts_with('|') && cells[2].starts_with('`') {
            fields.push((section, cells[1].to_string(), code(cells[2])));
        }
    }

    assert_eq!(
        windows,
        WINDOWS.map(|(name, at, size)| (name, at as u64, size as u64))
    );
    assert_eq!(overview.len(), REGISTERS.len());
    for (register, (name, offset, reset)) in REGISTERS.iter().zip(overview) {
        assert_eq!((register.name, register.offset as u64), (name, offset));
        // A dash stands for what each card sets as it was built, which counts as 0.
        assert_eq!(register.reset, reset.unwrap_or(0), "{name}");
    }
    let bits = |field: &Field| match (field.mask.ilog2(), field.shift) {
        (high, low) if high == low => low.to_string(),
        (high, low) => format!("{high}:{low}"),
    };
    let expected: Vec<_> = REGISTERS
        .iter()
        .flat_map(|register| {
            register
                .fields
                .iter()
                .map(|field| (register.name, bits(field), field.name))
        })
        .collect();
    assert_eq!(fields, expected);
}

/// The names of the constants of each window.
const WINDOW_NAMES: [[&str; 2]; 4] = [
    ["MAILBOX_COMMAND_OFFSET", "MAILBOX_COMMAND_SIZE"],
    ["MAILBOX_COMPLETION_OFFSET", "MAILBOX_COMPLETION_SIZE"],
    ["MAILBOX_EVENT_OFFSET", "MAILBOX_EVENT_SIZE"],
    ["MAILBOX_PAYLOAD_OFFSET", "MAILBOX_PAYLOAD_SIZE"],
];

fn constants() -> Vec<(&'static str, u64)> {
    let mut constants = vec![
        ("BAR_REGISTERS", BAR_REGISTERS.into()),
        ("BAR_DOORBELLS", BAR_DOORBELLS.into()),
        ("BAR_MSIX", BAR_MSIX.into()),
        ("REGISTERS_SIZE", REGISTERS_SIZE as u64),
        ("DOORBELL_STRIDE", DOORBELL_STRIDE as u64),
        ("DOORBELL_MAX", DOORBELL_MAX as u64),
    ];
    for ([offset_name, size_name], (_, offset, size)) in WINDOW_NAMES.into_iter().zip(WINDOWS) {
        constants.push((offset_name, offset as u64));
        constants.push((size_name, size as u64));
    }
    constants
}

/// The states with their numbers, named as a language does it.
fn cp_states(name: fn(&str) -> String) -> Vec<(String, u64)> {
    [
        CpState::Booting,
        CpState::Ready,
        CpState::Failed,
        CpState::Resetting,
    ]
    .map(|state| (name(&format!("{state:?}")), state as u64))
    .to_vec()
}

/// Reads `NAME = 1` or `NAME = 1,`.
fn assignment(text: &str) -> (String, u64) {
    let (name, value) = text.split_once('=').unwrap();
    (
        name.trim().to_string(),
        number(value.trim().trim_end_matches(',')),
    )
}

/// The first piece of code in a Markdown cell.
fn code(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap()
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .unwrap_or_else(|error| panic!("{text:?}: {error}"))
}
