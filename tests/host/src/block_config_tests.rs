// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The configuration space of a block device against `struct virtio_blk_config`, and against cards that lie.

use crate::block_config::{BlockConfig, LARGEST_REQUEST};
use crate::wire::BlockInfo;
use proptest::prelude::*;
use zerocopy::{FromZeros, IntoBytes};

fn info() -> BlockInfo {
    BlockInfo {
        capacity: 0x1122_3344_5566.into(),
        size_max: 0x1_0000.into(),
        seg_max: 126.into(),
        block_size: 512.into(),
        max_discard_sectors: 0x20_0000.into(),
        max_discard_seg: 16.into(),
        discard_alignment: 8.into(),
        max_write_zeroes_sectors: 0x4000.into(),
        max_write_zeroes_seg: 1.into(),
        disk: 3.into(),
        write_zeroes_may_unmap: 2,
        physical_block_exp: 3,
        min_io_size: 9.into(),
        opt_io_size: 10.into(),
    }
}

#[test]
fn fields_are_where_a_driver_reads_them() {
    let config = BlockConfig::new(&info(), 0x304).expect("a device");
    let bytes = config.as_bytes();
    // Offsets from the structure in include/uapi/linux/virtio_blk.h.
    let expected: [(usize, &[u8]); 16] = [
        (0, &[0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0]),
        (8, &[0, 0, 1, 0]),
        (12, &[126, 0, 0, 0]),
        // There is no geometry.
        (16, &[0; 4]),
        (20, &[0, 2, 0, 0]),
        (24, &[3]),
        (25, &[0]),
        (26, &[9, 0]),
        (28, &[10, 0, 0, 0]),
        // A write-back cache.
        (32, &[1, 0]),
        (34, &[4, 3]),
        (36, &[0, 0, 0x20, 0]),
        (40, &[16, 0, 0, 0]),
        (44, &[8, 0, 0, 0]),
        (48, &[0, 0x40, 0, 0]),
        (52, &[1, 0, 0, 0, 1, 0, 0, 0]),
    ];
    for (offset, field) in expected {
        assert_eq!(&bytes[offset..offset + field.len()], field, "at {offset}");
    }
    assert_eq!(bytes.len(), 60);
}

#[test]
fn what_makes_no_sense_is_refused() {
    type Spoil = fn(&mut BlockInfo);
    let spoilt: [Spoil; 16] = [
        |info| info.capacity = (u64::MAX / 512 + 1).into(),
        |info| info.size_max = 0.into(),
        |info| info.size_max = 511.into(),
        |info| info.seg_max = 0.into(),
        // More than the bounce pool takes.
        |info| info.seg_max = 129.into(),
        |info| info.block_size = 0.into(),
        |info| info.block_size = 256.into(),
        |info| info.block_size = 513.into(),
        |info| info.block_size = 8192.into(),
        |info| info.max_discard_sectors = 0.into(),
        |info| info.max_discard_seg = 0.into(),
        |info| info.discard_alignment = 0.into(),
        |info| info.max_write_zeroes_sectors = 0.into(),
        |info| info.max_write_zeroes_seg = 0.into(),
        |info| info.physical_block_exp = 12,
        |info| info.physical_block_exp = 32,
    ];
    for (number, spoil) in spoilt.iter().enumerate() {
        let mut info = info();
        spoil(&mut info);
        assert!(BlockConfig::new(&info, 1).is_none(), "{number}: {info:?}");
    }
    let mut largest = info();
    largest.seg_max = 128.into();
    largest.physical_block_exp = 11;
    assert!(BlockConfig::new(&largest, 1).is_some());
}

proptest! {
    /// Whatever a card says, what is passed on is what the kernel's driver can work with.
    #[test]
    fn any_card_is_refused_or_sane(bytes in any::<[u8; 48]>(), small in any::<bool>()) {
        let mut told = BlockInfo::new_zeroed();
        told.as_mut_bytes().copy_from_slice(&bytes);
        if small {
            // Random words are hardly ever good.
            told = BlockInfo { capacity: told.capacity, disk: told.disk, seg_max: (told.seg_max.get() % 256).into(), ..info() };
        }
        if let Some(config) = BlockConfig::new(&told, 1) {
            let bytes = config.as_bytes();
            let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            prop_assert!((512..=4096).contains(&word(20)) && word(20).is_power_of_two());
            prop_assert!(u64::from(word(8)) * u64::from(word(12)) <= LARGEST_REQUEST as u64);
            prop_assert!(word(8) >= word(20) && word(12) > 0);
            prop_assert!([36, 40, 44, 48, 52].iter().all(|at| word(*at) > 0));
        }
    }
}
