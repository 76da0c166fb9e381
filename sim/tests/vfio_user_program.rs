// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The program around the card: its socket, its signals and its refusals.

mod vfio_user_support;

use nix::sys::signal::Signal;
use std::os::unix::net::UnixListener;
use vfio_user_support::raw::RawClient;
use vfio_user_support::{refusal, Sim};

#[test]
fn a_signal_ends_it_cleanly_with_and_without_a_client() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        for with_client in [false, true] {
            let mut sim = Sim::start(&["--uplink", "unix:{}/uplink"]);
            assert!(sim.file("uplink").exists());
            let client = with_client.then(|| RawClient::negotiated(&sim.socket()));
            assert!(sim.end(signal).success());
            assert!(!sim.socket().exists() && !sim.file("uplink").exists());
            drop(client);
        }
    }
}

#[test]
fn a_socket_left_behind_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(folder.path().join("socket")).unwrap());
    let sim = Sim::start_in(folder, &[]);
    assert!(RawClient::negotiated(&sim.socket()).is_served());
}

#[test]
fn a_socket_in_use_is_left_alone() {
    let sim = Sim::start(&[]);
    let mut client = RawClient::negotiated(&sim.socket());
    let said = refusal(&sim.socket(), &[]);
    assert!(said.contains("another process listens there"), "{said}");
    assert!(client.is_served());
}

#[test]
fn what_cannot_be_is_refused_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    for (arguments, text) in [
        (&["--queues", "5000"][..], "queues"),
        (&["--max-queue-size", "100"], "max_queue_size"),
        (&["--interrupts", "msi", "--vectors", "64"], "power of two"),
        (
            &["--uplink", "unix:/nonexistent/socket"],
            "unix:/nonexistent/socket",
        ),
        (&["--pcap", "uplink=/nonexistent/file"], "/nonexistent/file"),
        (
            &["--uplink", "tap:much-too-long-for-an-interface"],
            "too long",
        ),
    ] {
        let said = refusal(&socket, arguments);
        assert!(
            said.contains(text) && said.lines().count() == 1,
            "{arguments:?}: {said}"
        );
        assert!(!socket.exists());
    }
    std::fs::write(&socket, "content").unwrap();
    let said = refusal(&socket, &[]);
    assert!(said.contains("no socket") && socket.exists(), "{said}");
}
