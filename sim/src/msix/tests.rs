// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::*;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::AsFd;

fn event() -> (EventFd, File) {
    let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
    let file = File::from(event.as_fd().try_clone_to_owned().unwrap());
    (event, file)
}

/// How often the event was signalled since the last look.
fn count(event: &EventFd) -> u64 {
    event.read().unwrap_or(0)
}

fn pending(vectors: &Vectors) -> u8 {
    let mut data = [0];
    vectors.read_pending(0, &mut data);
    data[0]
}

#[test]
fn a_raised_vector_signals_its_own_event() {
    let vectors = Vectors::new(3);
    let ((one, one_file), (two, two_file)) = (event(), event());
    vectors.connect(1, 2, vec![one_file, two_file]).unwrap();
    vectors.set_delivery(Delivery::On);
    vectors.raise(2);
    vectors.raise(2);
    assert_eq!((count(&one), count(&two)), (0, 2));
    vectors.raise(3);
    vectors.raise(u16::MAX);
    assert_eq!((count(&one), count(&two), pending(&vectors)), (0, 0, 0));
}

#[test]
fn interrupts_that_are_off_are_lost() {
    let vectors = Vectors::new(1);
    let (event, file) = event();
    vectors.connect(0, 1, vec![file]).unwrap();
    vectors.raise(0);
    vectors.set_delivery(Delivery::On);
    assert_eq!(count(&event), 0);
}

#[test]
fn masked_interrupts_wait() {
    let vectors = Vectors::new(2);
    let (event, file) = event();
    vectors.connect(1, 1, vec![file]).unwrap();
    vectors.set_delivery(Delivery::Masked);
    vectors.raise(1);
    assert_eq!((count(&event), pending(&vectors)), (0, 2));
    vectors.set_delivery(Delivery::On);
    assert_eq!((count(&event), pending(&vectors)), (1, 0));
    vectors.set_delivery(Delivery::Masked);
    vectors.raise(1);
    vectors.set_delivery(Delivery::Off);
    vectors.set_delivery(Delivery::On);
    assert_eq!((count(&event), pending(&vectors)), (0, 0));
}

#[test]
fn an_interrupt_waits_for_the_client_to_connect() {
    let vectors = Vectors::new(1);
    let (event, file) = event();
    vectors.set_delivery(Delivery::On);
    vectors.raise(0);
    assert_eq!(pending(&vectors), 1);
    vectors.connect(0, 1, vec![file]).unwrap();
    assert_eq!((count(&event), pending(&vectors)), (1, 0));
    vectors.connect(0, 1, Vec::new()).unwrap();
    vectors.raise(0);
    assert_eq!((count(&event), pending(&vectors)), (0, 1));
    vectors.disconnect_all();
    assert_eq!(pending(&vectors), 0);
}

#[test]
fn junk_is_refused_and_changes_nothing() {
    let vectors = Vectors::new(2);
    let (good, file) = event();
    vectors.connect(0, 1, vec![file]).unwrap();
    vectors.set_delivery(Delivery::On);
    assert_eq!(
        vectors.connect(1, 2, Vec::new()),
        Err(VectorError::OutOfRange)
    );
    assert_eq!(
        vectors.connect(u32::MAX, u32::MAX, Vec::new()),
        Err(VectorError::OutOfRange)
    );
    assert_eq!(
        vectors.connect(0, 2, vec![event().1]),
        Err(VectorError::Count)
    );
    assert_eq!(
        vectors.connect(0, 0, vec![event().1]),
        Err(VectorError::Count)
    );
    assert_eq!(vectors.trigger(2, 1), Err(VectorError::OutOfRange));
    vectors.trigger(0, 1).unwrap();
    vectors.raise(0);
    assert_eq!(count(&good), 2);
}

#[test]
fn a_reset_keeps_the_wiring() {
    let vectors = Vectors::new(1);
    let (event, file) = event();
    vectors.connect(0, 1, vec![file]).unwrap();
    vectors.set_delivery(Delivery::On);
    vectors.write_table(0, &[0; 16]);
    vectors.reset();
    vectors.raise(0);
    assert_eq!(count(&event), 0);
    let mut control = [0];
    vectors.read_table(12, &mut control);
    assert_eq!(control, [1]);
    vectors.set_delivery(Delivery::On);
    vectors.raise(0);
    assert_eq!(count(&event), 1);
}

#[test]
fn the_table_holds_what_its_masks_allow() {
    let vectors = Vectors::new(1);
    vectors.write_table(0, &[0xff; 40]);
    let mut entry = [0; 17];
    vectors.read_table(0, &mut entry);
    assert_eq!(
        entry,
        [0xfc, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0, 0, 0]
    );
    vectors.read_table(u64::MAX, &mut entry[..1]);
    vectors.read_pending(u64::MAX, &mut entry[..1]);
    vectors.write_table(u64::MAX, &[1]);
    assert_eq!(entry[0], 0);
}
