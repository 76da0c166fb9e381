// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::*;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use std::os::fd::BorrowedFd;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    (folder, path)
}

/// Whether the worker would be woken.
fn wakes(uplink: &UnixStreamUplink) -> bool {
    let events: BorrowedFd = uplink.events.0.as_fd();
    poll(
        &mut [PollFd::new(events, PollFlags::POLLIN)],
        PollTimeout::ZERO,
    )
    .unwrap()
        > 0
}

fn receive(uplink: &mut UnixStreamUplink) -> Option<Vec<u8>> {
    let mut frame = b"old".to_vec();
    uplink.receive(&mut frame).unwrap().then_some(frame)
}

#[test]
fn two_of_them_meet() {
    let (_folder, path) = folder();
    let mut first = UnixStreamUplink::open(&path).unwrap();
    let mut second = UnixStreamUplink::open(&path).unwrap();
    assert!(wakes(&first) && !wakes(&second));
    assert_eq!(receive(&mut first), None);
    second.send(b"hello").unwrap();
    second.send(b"again").unwrap();
    assert!(wakes(&first));
    assert_eq!(receive(&mut first).unwrap(), b"hello");
    assert_eq!(receive(&mut first).unwrap(), b"again");
    assert_eq!(receive(&mut first), None);
    assert!(!wakes(&first));
    first.send(&[1; MAX_FRAME]).unwrap();
    assert_eq!(receive(&mut second).unwrap(), [1; MAX_FRAME]);
    drop(first);
    assert!(!path.exists());
}

#[test]
fn the_length_is_big_endian_and_frames_come_in_pieces() {
    let (_folder, path) = folder();
    let mut uplink = UnixStreamUplink::open(&path).unwrap();
    let mut peer = UnixStream::connect(&path).unwrap();
    for byte in [0, 0, 0, 2, b'a'] {
        peer.write_all(&[byte]).unwrap();
        assert_eq!(receive(&mut uplink), None);
    }
    peer.write_all(&[b'b', 0, 0, 0, 1, b'c', 0, 0]).unwrap();
    assert_eq!(receive(&mut uplink).unwrap(), b"ab");
    assert_eq!(receive(&mut uplink).unwrap(), b"c");
    assert_eq!(receive(&mut uplink), None);
    uplink.send(b"xyz").unwrap();
    let mut seen = [0; 7];
    peer.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"\0\0\0\x03xyz");
}

#[test]
fn without_a_peer_frames_are_dropped_and_the_next_peer_is_served() {
    let (_folder, path) = folder();
    let mut uplink = UnixStreamUplink::open(&path).unwrap();
    uplink.send(b"lost").unwrap();
    for _ in 0..3 {
        let mut peer = UnixStream::connect(&path).unwrap();
        assert!(wakes(&uplink));
        peer.write_all(b"\0\0\0\x01a\0\0").unwrap();
        assert_eq!(receive(&mut uplink).unwrap(), b"a");
        drop(peer);
        assert!(wakes(&uplink));
        assert_eq!(receive(&mut uplink), None);
        assert!(!wakes(&uplink));
    }
}

#[test]
fn a_peer_that_talks_nonsense_is_let_go() {
    let (_folder, path) = folder();
    let mut uplink = UnixStreamUplink::open(&path).unwrap();
    for nonsense in [[0; 4], [0xff; 4], (MAX_FRAME as u32 + 1).to_be_bytes()] {
        let mut peer = UnixStream::connect(&path).unwrap();
        peer.write_all(&nonsense).unwrap();
        assert_eq!(receive(&mut uplink), None);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_slow_peer_loses_whole_frames_only() {
    let (_folder, path) = folder();
    let mut uplink = UnixStreamUplink::open(&path).unwrap();
    let mut peer = UnixStreamUplink::open(&path).unwrap();
    for number in 0..1000u32 {
        uplink
            .send(&[&number.to_le_bytes()[..], &[7; 2000]].concat())
            .unwrap();
    }
    assert!(uplink
        .peer
        .as_ref()
        .is_some_and(|peer| !peer.unsent.is_empty()));
    let mut expected = 0;
    while let Some(frame) = receive(&mut peer) {
        assert_eq!(
            frame,
            [&u32::to_le_bytes(expected)[..], &[7; 2000]].concat()
        );
        expected += 1;
    }
    assert!((1..1000).contains(&expected));
    // Room wakes the sender, which then delivers the frame that it had begun.
    assert!(wakes(&uplink));
    assert_eq!(receive(&mut uplink), None);
    assert!(!wakes(&uplink));
    assert_eq!(receive(&mut peer).unwrap().len(), 2004);
    uplink.send(b"next").unwrap();
    assert_eq!(receive(&mut peer).unwrap(), b"next");
}

#[test]
fn a_listener_that_comes_back_is_found_again() {
    let (_folder, path) = folder();
    let listener = UnixListener::bind(&path).unwrap();
    let mut uplink = UnixStreamUplink::open(&path).unwrap();
    drop(listener.accept().unwrap());
    uplink.send(b"noticed").unwrap();
    assert_eq!(receive(&mut uplink), None);
    assert!(uplink.peer.is_none());
    if let Role::Connect { next, .. } = &mut uplink.role {
        *next = Instant::now();
    }
    let (mut peer, _) = {
        uplink.send(b"found").unwrap();
        listener.accept().unwrap()
    };
    let mut seen = [0; 9];
    peer.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"\0\0\0\x05found");
}

#[test]
fn a_path_that_cannot_be_is_an_error() {
    assert!(UnixStreamUplink::open(Path::new("/nonexistent/socket")).is_err());
}
