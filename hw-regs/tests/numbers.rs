// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Every number that goes over the wire, written down once more.
//!
//! Cards and drivers of different ages meet, so a number that was given out never changes its meaning. A test that
//! fails here asks for a new number, not for a new expectation.

use mooring_hw_regs::wire::*;

#[test]
fn opcodes() {
    let expected = [
        (0x0001, Opcode::Nop),
        (0x0100, Opcode::DeviceCreate),
        (0x0101, Opcode::DeviceDestroy),
        (0x0102, Opcode::DeviceReset),
        (0x0103, Opcode::DeviceSetFeatures),
        (0x0104, Opcode::DeviceStatistics),
        (0x0105, Opcode::DeviceTypeQuery),
        (0x0110, Opcode::QueueEnable),
        (0x0111, Opcode::QueueDisable),
        (0x0112, Opcode::QueueQuery),
        (0x0113, Opcode::QueueStatistics),
        (0x0120, Opcode::NetSetMac),
        (0x0121, Opcode::NetSetLink),
        (0x0122, Opcode::NetTell),
        (0x0123, Opcode::NetAnnounce),
        (0x0130, Opcode::BlockQuery),
        (0x0200, Opcode::AddressSpaceCreate),
        (0x0201, Opcode::AddressSpaceDestroy),
        (0x0202, Opcode::AddressSpaceSetMode),
        (0x0203, Opcode::AddressSpaceUpdate),
        (0x0204, Opcode::AddressSpaceQuery),
        (0x0205, Opcode::AddressSpaceRead),
    ];
    for (number, opcode) in expected {
        assert_eq!(opcode as u16, number, "{opcode:?}");
    }
    assert_eq!(expected.map(|(_, opcode)| opcode), Opcode::ALL);
    assert_only(&expected, Opcode::from_number);
}

#[test]
fn error_codes() {
    let expected = [
        (1, ErrorCode::UnknownOpcode),
        (2, ErrorCode::InvalidArgument),
        (3, ErrorCode::NoSuchDevice),
        (4, ErrorCode::NoSuchQueue),
        (5, ErrorCode::NoSuchAddressSpace),
        (6, ErrorCode::NoSpace),
        (7, ErrorCode::NoResources),
        (8, ErrorCode::Busy),
        (9, ErrorCode::StaleGeneration),
        (10, ErrorCode::Overlap),
        (11, ErrorCode::NotMapped),
        (12, ErrorCode::NotTranslated),
        (13, ErrorCode::PayloadDma),
        (14, ErrorCode::NotSupported),
        (15, ErrorCode::Internal),
    ];
    for (number, code) in expected {
        assert_eq!(code as u16, number, "{code:?}");
    }
    assert_eq!(expected.map(|(_, code)| code), ErrorCode::ALL);
    assert_only(&expected, ErrorCode::from_status);
    assert_eq!(STATUS_OK, 0);
}

#[test]
fn error_texts_tell_the_codes_apart() {
    for (index, code) in ErrorCode::ALL.iter().enumerate() {
        assert!(!code.text().is_empty(), "{code:?}");
        for other in &ErrorCode::ALL[..index] {
            assert_ne!(code.text(), other.text(), "{code:?} and {other:?}");
        }
    }
}

#[test]
fn event_kinds() {
    let expected = [
        (1, EventKind::NetStatusChanged),
        (2, EventKind::IommuFault),
        (3, EventKind::QueueStopped),
        (4, EventKind::EventsLost),
        (5, EventKind::MacChanged),
    ];
    for (number, kind) in expected {
        assert_eq!(kind as u16, number, "{kind:?}");
    }
    assert_only(&expected, EventKind::from_number);
}

#[test]
fn queue_error_reasons() {
    let expected = [
        (1, QueueErrorReason::Access),
        (2, QueueErrorReason::Ring),
        (3, QueueErrorReason::Buffer),
        (4, QueueErrorReason::Bus),
    ];
    for (number, reason) in expected {
        assert_eq!(reason as u32, u32::from(number), "{reason:?}");
    }
    assert_only(&expected, |number| {
        QueueErrorReason::from_number(number.into())
    });
    assert_eq!(QueueErrorReason::from_number(0x1_0001), None);
}

#[test]
fn address_space_modes() {
    let expected = [
        (0, AddressSpaceMode::Blocked),
        (1, AddressSpaceMode::Identity),
        (2, AddressSpaceMode::Translated),
    ];
    for (number, mode) in expected {
        assert_eq!(mode as u16, number, "{mode:?}");
    }
    assert_only(&expected, AddressSpaceMode::from_number);
}

#[test]
fn extent_operations() {
    let expected = [(1, ExtentOperation::Add), (2, ExtentOperation::Remove)];
    for (number, operation) in expected {
        assert_eq!(operation as u32, u32::from(number), "{operation:?}");
    }
    assert_only(&expected, |number| {
        ExtentOperation::from_number(number.into())
    });
    assert_eq!(ExtentOperation::from_number(0x1_0001), None);
}

#[test]
fn flags() {
    assert_eq!(QUEUE_ALLOW_IDENTITY, 0x1);
    assert_eq!(UPDATE_BEGIN, 0x1);
    assert_eq!(UPDATE_COMMIT, 0x2);
    assert_eq!(PERMISSION_READ, 0x1);
    assert_eq!(PERMISSION_WRITE, 0x2);
}

#[test]
fn identifiers() {
    assert_eq!(NO_DEVICE, 0xffff);
    assert_eq!(NO_VECTOR, 0xffff);
    assert_eq!((PCI_VENDOR_ID, PCI_DEVICE_ID), (0x1b36, 0x4d52));
    assert_eq!(NO_ADDRESS_SPACE, 0xffff);
    assert_eq!(NO_QUEUE, 0xffff);
    assert_eq!(IOMMU_PAGE_SIZE, 4096);
}

#[test]
fn interface() {
    assert_eq!(MAGIC, 0x524f_4f4d);
    assert_eq!((INTERFACE_MAJOR, INTERFACE_MINOR), (1, 0));
}

#[test]
fn sequence_numbers_skip_zero() {
    assert_eq!(FIRST_SEQUENCE, 1);
    assert_eq!(next_sequence(1), 2);
    assert_eq!(next_sequence(u32::MAX - 1), u32::MAX);
    assert_eq!(next_sequence(u32::MAX), 1);
}

/// Checks that `decode` knows the numbers expected and, of all others, none.
fn assert_only<T: Copy + PartialEq + std::fmt::Debug>(
    expected: &[(u16, T)],
    decode: impl Fn(u16) -> Option<T>,
) {
    for number in 0..=u16::MAX {
        let known = expected.iter().find(|(known, _)| *known == number);
        assert_eq!(
            decode(number),
            known.map(|(_, value)| *value),
            "{number:#x}"
        );
    }
}
