// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Messages as bytes, and the digest of an address space.

use mooring_hw_regs::wire::*;
use proptest::prelude::*;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

#[test]
fn a_command_as_bytes() {
    let update = AddressSpaceUpdate {
        address_space: 0x0102.into(),
        flags: (UPDATE_BEGIN | UPDATE_COMMIT).into(),
        count: 0x0304_0506.into(),
        generation: 0x0708_090a_0b0c_0d0e.into(),
    };
    let mut command = Command {
        opcode: (Opcode::AddressSpaceUpdate as u16).into(),
        tag: 0x1112.into(),
        device: NO_DEVICE.into(),
        reserved: 0.into(),
        payload: 0x2122_2324_2526_2728.into(),
        payload_length: 0x3132_3334.into(),
        reserved2: 0.into(),
        arguments: [0; ARGUMENTS_SIZE],
    };
    command.arguments[..size_of_val(&update)].copy_from_slice(update.as_bytes());

    #[rustfmt::skip]
    let expected = [
        0x03, 0x02,  0x12, 0x11,  0xff, 0xff,  0x00, 0x00,
        0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21,
        0x34, 0x33, 0x32, 0x31,  0x00, 0x00, 0x00, 0x00,
        0x02, 0x01,  0x03, 0x00,  0x06, 0x05, 0x04, 0x03,
        0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08, 0x07,
    ];
    let (message, rest) = command.as_bytes().split_at(expected.len());
    assert_eq!(message, expected);
    assert!(rest.iter().all(|byte| *byte == 0));
}

#[test]
fn an_extent_as_bytes() {
    #[rustfmt::skip]
    let expected = [
        0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80,
        0x00, 0x20, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
        0x00, 0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x03, 0x00, 0x00, 0x00,  0x02, 0x00, 0x00, 0x00,
    ];
    let extent = Extent {
        operation: (ExtentOperation::Remove as u32).into(),
        ..extent(
            0x8000_0000_0000_1000,
            0x1_0000_2000,
            0x3000,
            PERMISSION_READ | PERMISSION_WRITE,
        )
    };
    assert_eq!(extent.as_bytes(), expected);
}

/// Makes a test that any bytes of the right number are a message, which gives the same bytes back.
macro_rules! round_trips {
    ($($test:ident: $message:ident,)*) => {
        proptest! {
            $(
                #[test]
                fn $test(bytes in any::<[u8; size_of::<$message>()]>()) {
                    let message = $message::read_from_bytes(&bytes).unwrap();
                    prop_assert_eq!(message.as_bytes(), bytes);
                    // A message never reaches beyond its bytes, nor is it made of fewer.
                    prop_assert!($message::read_from_bytes(&bytes[1..]).is_err());
                }
            )*
        }
    };
}

round_trips! {
    command: Command,
    completion: Completion,
    event: Event,
    extent_: Extent,
    device_create: DeviceCreate,
    device_set_features: DeviceSetFeatures,
    device_type_query: DeviceTypeQuery,
    queue_enable: QueueEnable,
    queue_select: QueueSelect,
    net_set_mac: NetSetMac,
    net_set_link: NetSetLink,
    address_space_create: AddressSpaceCreate,
    address_space_select: AddressSpaceSelect,
    address_space_set_mode: AddressSpaceSetMode,
    address_space_update: AddressSpaceUpdate,
    address_space_read: AddressSpaceRead,
    device_created: DeviceCreated,
    device_type_info: DeviceTypeInfo,
    queue_state: QueueState,
    address_space_created: AddressSpaceCreated,
    address_space_updated: AddressSpaceUpdated,
    address_space_info: AddressSpaceInfo,
    device_statistics: DeviceStatistics,
    block_info: BlockInfo,
}

#[test]
fn the_mode_of_an_answer_is_checked() {
    let mut info = AddressSpaceInfo::new_zeroed();
    assert_eq!(info.mode(), Some(AddressSpaceMode::Blocked));
    info.mode = 2.into();
    assert_eq!(info.mode(), Some(AddressSpaceMode::Translated));
    info.mode = 3.into();
    assert_eq!(info.mode(), None);
}

/// Digests that were computed apart from this code, for other implementations to compare with.
#[test]
fn digests_of_known_extents() {
    let read_write = PERMISSION_READ | PERMISSION_WRITE;
    let known = [
        (
            extent(0x1000, 0x2000, 0x1000, read_write),
            0x819a_caf4_c776_f1c1,
        ),
        (extent(0, 0, 0x1000, PERMISSION_READ), 0x7ea5_dab8_c560_fb15),
        (
            extent(
                0xffff_ffff_ffff_f000,
                0x1_0000_0000,
                0x1000,
                PERMISSION_WRITE,
            ),
            0xa928_cdf9_cb9e_daa8,
        ),
    ];
    for (extent, digest) in known {
        assert_eq!(extent.digest(), digest, "{extent:x?}");
    }
}

proptest! {
    #[test]
    fn the_order_of_extents_does_not_matter(
        (extents, shuffled) in prop::collection::vec(any_extent(), 0..20)
            .prop_flat_map(|extents| (Just(extents.clone()), Just(extents).prop_shuffle())),
    ) {
        prop_assert_eq!(digest_of_space(&extents), digest_of_space(&shuffled));
    }

    #[test]
    fn removing_an_extent_undoes_adding_it(
        extents in prop::collection::vec(any_extent(), 0..20),
        extra in any_extent(),
    ) {
        let before = digest_of_space(&extents);
        let during = before.wrapping_add(extra.digest());
        prop_assert_ne!(before, during);
        prop_assert_eq!(during.wrapping_sub(extra.digest()), before);
    }

    /// Each step of the hash is a bijection, so a change of one field alone always shows.
    #[test]
    fn every_field_but_the_operation_counts(old in any_extent(), new in any_extent()) {
        for (field, changed) in [
            ("iova", Extent { iova: new.iova, ..old }),
            ("bus", Extent { bus: new.bus, ..old }),
            ("length", Extent { length: new.length, ..old }),
            ("permission", Extent { permission: new.permission, ..old }),
        ] {
            prop_assert_eq!(changed == old, changed.digest() == old.digest(), "{}", field);
        }
        let staged = Extent { operation: (ExtentOperation::Add as u32).into(), ..old };
        prop_assert_eq!(staged.digest(), old.digest());
    }

    /// What a plain sum of the fields would not see.
    #[test]
    fn swapped_translations_show(one in any_extent(), other in any_extent()) {
        prop_assume!(one.bus != other.bus && one.iova != other.iova);
        let swapped = [Extent { bus: other.bus, ..one }, Extent { bus: one.bus, ..other }];
        prop_assert_ne!(digest_of_space(&[one, other]), digest_of_space(&swapped));
    }

    #[test]
    fn one_flipped_bit_changes_about_half_of_the_digest(old in any_extent(), bit in 0..64) {
        let flipped = Extent { iova: old.iova ^ (1_u64 << bit), ..old };
        let changed = (old.digest() ^ flipped.digest()).count_ones();
        // Seven standard deviations around the 32 of a good hash.
        prop_assert!((4..=60).contains(&changed), "{} bits changed", changed);
    }
}

fn digest_of_space(extents: &[Extent]) -> u64 {
    extents
        .iter()
        .fold(0, |sum, extent| sum.wrapping_add(extent.digest()))
}

fn extent(iova: u64, bus: u64, length: u64, permission: u32) -> Extent {
    Extent {
        iova: iova.into(),
        bus: bus.into(),
        length: length.into(),
        permission: permission.into(),
        operation: 0.into(),
    }
}

fn any_extent() -> impl Strategy<Value = Extent> {
    let page = 0..u64::MAX / IOMMU_PAGE_SIZE;
    (page.clone(), page, 1..1_u64 << 20, 1..=3_u32).prop_map(|(iova, bus, pages, permission)| {
        extent(
            iova * IOMMU_PAGE_SIZE,
            bus * IOMMU_PAGE_SIZE,
            pages * IOMMU_PAGE_SIZE,
            permission,
        )
    })
}
