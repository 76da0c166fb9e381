// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::*;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;

const PAGE: u64 = 4096;
const BOTH: Permission = Permission {
    read: true,
    write: true,
};
const READ: Permission = Permission {
    read: true,
    write: false,
};

fn file(pages: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(pages * PAGE).unwrap();
    file
}

fn reads(memory: &GuestMemory, bus: u64) -> bool {
    memory.read(bus, &mut [0]).is_ok()
}

#[test]
fn data_goes_through_to_the_file_at_the_offset() {
    let memory = GuestMemory::default();
    let shared = file(4);
    memory
        .map(
            0x1_0000,
            2 * PAGE,
            BOTH,
            Some(shared.try_clone().unwrap()),
            PAGE,
        )
        .unwrap();
    memory.write(0x1_0ffe, b"seam").unwrap();
    let mut seen = [0; 4];
    shared.read_exact_at(&mut seen, PAGE + 0xffe).unwrap();
    assert_eq!(&seen, b"seam");
    memory.read(0x1_0ffe, &mut seen).unwrap();
    assert_eq!(&seen, b"seam");
}

#[test]
fn an_access_crosses_adjacent_ranges_and_stops_at_a_gap() {
    let memory = GuestMemory::default();
    let shared = file(4);
    memory
        .map(0, PAGE, BOTH, Some(shared.try_clone().unwrap()), 2 * PAGE)
        .unwrap();
    memory
        .map(PAGE, PAGE, BOTH, Some(shared.try_clone().unwrap()), 0)
        .unwrap();
    memory.write(PAGE - 2, b"abcd").unwrap();
    let mut seen = [0; 2];
    shared.read_exact_at(&mut seen, 0).unwrap();
    assert_eq!(&seen, b"cd");
    assert_eq!(
        memory.write(2 * PAGE - 2, b"abcd").unwrap_err().address,
        2 * PAGE
    );
    assert_eq!(
        memory.read(5 * PAGE, &mut [0]).unwrap_err().address,
        5 * PAGE
    );
}

#[test]
fn permission_is_kept_on_both_sides() {
    let memory = GuestMemory::default();
    memory.map(0, PAGE, READ, Some(file(1)), 0).unwrap();
    memory
        .map(
            PAGE,
            PAGE,
            Permission {
                read: false,
                write: true,
            },
            Some(file(1)),
            0,
        )
        .unwrap();
    assert!(reads(&memory, 0));
    assert!(memory.write(0, &[1]).is_err());
    assert!(memory.store_u16(0, 1).is_err());
    assert!(!reads(&memory, PAGE));
    assert!(memory.write(PAGE, &[1]).is_ok());
}

#[test]
fn a_range_without_a_file_is_taken_and_inaccessible() {
    let memory = GuestMemory::default();
    memory.map(0, PAGE, BOTH, None, 0).unwrap();
    assert!(!reads(&memory, 0));
    assert!(memory.map(0, PAGE, BOTH, Some(file(1)), 0).is_err());
    assert_eq!(memory.unmap(0, PAGE), 1);
    memory.map(0, PAGE, BOTH, Some(file(1)), 0).unwrap();
}

#[test]
fn bad_maps_are_refused_and_change_nothing() {
    let memory = GuestMemory::default();
    memory.map(PAGE, PAGE, BOTH, Some(file(1)), 0).unwrap();
    for (first, size, offset) in [
        (PAGE, PAGE, 0),
        (0, 2 * PAGE, 0),
        (2 * PAGE - 1, 1, 0),
        (0, u64::MAX, 0),
        (8 * PAGE, 0, 0),
        (u64::MAX, 2, 0),
        (8 * PAGE, 2 * PAGE, 0),
        (8 * PAGE, PAGE, 1),
        (8 * PAGE, PAGE, u64::MAX),
    ] {
        assert!(
            memory
                .map(first, size, BOTH, Some(file(1)), offset)
                .is_err(),
            "{first:#x} {size:#x} {offset:#x}"
        );
    }
    assert!(reads(&memory, PAGE));
    assert!(!reads(&memory, 0) && !reads(&memory, 2 * PAGE) && !reads(&memory, 8 * PAGE));
}

#[test]
fn an_unmap_takes_many_ranges_none_and_parts() {
    let memory = GuestMemory::default();
    let shared = file(8);
    shared.write_all_at(b"tail", 6 * PAGE).unwrap();
    for page in [0, 1, 3] {
        memory
            .map(
                page * PAGE,
                PAGE,
                BOTH,
                Some(shared.try_clone().unwrap()),
                page * PAGE,
            )
            .unwrap();
    }
    memory
        .map(4 * PAGE, 4 * PAGE, BOTH, Some(shared), 4 * PAGE)
        .unwrap();
    assert_eq!(memory.unmap(0x100 * PAGE, 0x1000 * PAGE), 0);
    assert_eq!(memory.unmap(2 * PAGE, PAGE), 0);
    assert_eq!(memory.unmap(0, 0), 0);
    assert_eq!(memory.unmap(u64::MAX, 2), 0);
    // Both ends cut into a range.
    assert_eq!(memory.unmap(PAGE + 0x800, 4 * PAGE + 0x800), 3);
    assert!(reads(&memory, PAGE + 0x7ff) && !reads(&memory, PAGE + 0x800));
    assert!(!reads(&memory, 6 * PAGE - 1) && reads(&memory, 6 * PAGE));
    let mut seen = [0; 4];
    memory.read(6 * PAGE, &mut seen).unwrap();
    assert_eq!(&seen, b"tail");
    assert_eq!(memory.unmap(0, u64::MAX), 3);
    assert!(!reads(&memory, 0));
}

#[test]
fn a_hole_in_the_middle_leaves_both_ends() {
    let memory = GuestMemory::default();
    memory.map(0, 3 * PAGE, BOTH, Some(file(3)), 0).unwrap();
    assert_eq!(memory.unmap(PAGE, PAGE), 1);
    assert!(reads(&memory, PAGE - 1) && !reads(&memory, PAGE) && reads(&memory, 2 * PAGE));
    assert!(memory.read(PAGE - 1, &mut [0; 2]).is_err());
}

#[test]
fn the_last_address_can_be_mapped() {
    let memory = GuestMemory::default();
    let first = u64::MAX - PAGE + 1;
    memory.map(first, PAGE, BOTH, Some(file(1)), 0).unwrap();
    assert!(reads(&memory, u64::MAX));
    assert!(memory.read(u64::MAX, &mut [0; 2]).is_err());
    assert_eq!(memory.unmap(u64::MAX, 1), 1);
    assert!(reads(&memory, u64::MAX - 1) && !reads(&memory, u64::MAX));
}

#[test]
fn one_file_is_mapped_once_and_let_go() {
    let memory = GuestMemory::default();
    let shared = file(64);
    for page in 0..64 {
        memory
            .map(
                page * 2 * PAGE,
                PAGE,
                BOTH,
                Some(shared.try_clone().unwrap()),
                page * PAGE,
            )
            .unwrap();
    }
    assert_eq!(memory.maps.read().unwrap().files.len(), 1);
    memory.unmap(0, u64::MAX);
    assert!(memory.maps.read().unwrap().files.is_empty());
}

#[test]
fn a_file_that_grew_is_mapped_again() {
    let memory = GuestMemory::default();
    let shared = file(1);
    memory
        .map(0, PAGE, BOTH, Some(shared.try_clone().unwrap()), 0)
        .unwrap();
    shared.set_len(2 * PAGE).unwrap();
    memory.map(PAGE, PAGE, BOTH, Some(shared), PAGE).unwrap();
    assert!(reads(&memory, 0) && reads(&memory, PAGE));
}

#[test]
fn words_are_little_endian_and_never_torn_across_ranges() {
    let memory = GuestMemory::default();
    let shared = file(2);
    memory
        .map(0, PAGE, BOTH, Some(shared.try_clone().unwrap()), 0)
        .unwrap();
    memory.map(PAGE, PAGE, BOTH, Some(shared), PAGE).unwrap();
    memory.store_u16(16, 0x1234).unwrap();
    let mut seen = [0; 2];
    memory.read(16, &mut seen).unwrap();
    assert_eq!(seen, [0x34, 0x12]);
    assert_eq!(memory.load_u16(16), Ok(0x1234));
    memory.store_u32(20, 0x1234_5678).unwrap();
    assert_eq!(memory.load_u32(20), Ok(0x1234_5678));
    assert_eq!(memory.load_u16(20), Ok(0x5678));
    assert!(memory.load_u32(18).is_err());
    assert!(memory.load_u16(17).is_err());
    assert!(memory.load_u16(PAGE - 1).is_err());
}

#[test]
fn no_access_is_under_way_once_unmap_returns() {
    let memory = Arc::new(GuestMemory::default());
    let mapped = Arc::new(AtomicBool::new(true));
    memory.map(0, PAGE, BOTH, Some(file(1)), 0).unwrap();
    let writer = std::thread::spawn({
        let (memory, mapped) = (memory.clone(), mapped.clone());
        move || loop {
            // The order matters: a success after "unmapped" was seen is an access after the unmap.
            let before = mapped.load(Ordering::SeqCst);
            match memory.write(0, &[1; 512]) {
                Ok(()) => assert!(before),
                Err(_) => break,
            }
        }
    });
    std::thread::sleep(std::time::Duration::from_millis(20));
    memory.unmap(0, PAGE);
    mapped.store(false, Ordering::SeqCst);
    writer.join().unwrap();
}
