// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One card, served to one vfio-user client after another.

use crate::blk::{DiskOptions, FileDisk};
use crate::guest_memory::GuestMemory;
use crate::msix::Vectors;
use crate::pcap::Captures;
use crate::pci::{Function, Layout};
use crate::socket::{listen, SocketFile};
use crate::uplink::UplinkKind;
use crate::vfio::Endpoint;
use crate::worker::{SharedCard, Worker};
use crate::{Card, CardConfig, Disk, FrameObserver, Port};
use std::fmt::Display;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Duration;

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The socket's path.
    pub socket: PathBuf,
    /// The card.
    pub card: CardConfig,
    /// Its PCI face.
    pub layout: Layout,
    /// What its uplink port is plugged into.
    pub uplink: UplinkKind,
    /// Ports to capture, with the file of each.
    pub captures: Vec<(Port, PathBuf)>,
    /// Its disks.
    pub disks: Vec<DiskOptions>,
}

/// A card that is being served.
pub struct CardServer {
    card: Arc<SharedCard>,
    worker: Worker,
    socket: SocketFile,
}

impl CardServer {
    /// Makes the card and listens. Clients are served on a thread of their own.
    ///
    /// # Errors
    ///
    /// One line that names what could not be set up, and why.
    pub fn start(options: Options) -> Result<Self, String> {
        let mut captures = Captures::default();
        for (port, path) in &options.captures {
            captures
                .add(*port, path)
                .map_err(failed("the capture", path.display()))?;
        }
        let observer =
            (!options.captures.is_empty()).then(|| Box::new(captures) as Box<dyn FrameObserver>);
        let uplink = options
            .uplink
            .open()
            .map_err(failed("the uplink", &options.uplink))?;

        let mut disks: Vec<Arc<dyn Disk>> = Vec::new();
        for disk in &options.disks {
            let file = FileDisk::open(disk).map_err(failed("the disk", disk.path.display()))?;
            disks.push(Arc::new(file));
        }

        let memory = Arc::new(GuestMemory::default());
        let vectors = Vectors::new(options.card.vectors);
        let interrupts = Box::new(vectors.clone());
        let mut card = Card::new(
            options.card,
            memory.clone(),
            interrupts,
            uplink.port,
            observer,
        )
        .map_err(|error| format!("the card can't be made: {error}"))?;
        card.set_bus_master(false);
        let doorbells = card.doorbells();
        card.insert_disks(disks);
        // The card is shared only when it is complete. It owns its disks, so they can't own it.
        let shared = Arc::new(OnceLock::<Weak<SharedCard>>::new());
        let wake = shared.clone();
        card.run_disks_on_threads(Arc::new(move || {
            if let Some(card) = wake.get().and_then(Weak::upgrade) {
                card.wake();
            }
        }))
        .map_err(no_thread)?;
        let card = Arc::new(
            SharedCard::new(card).map_err(|error| format!("there is no eventfd left: {error}"))?,
        );
        let _ = shared.set(Arc::downgrade(&card));

        // Last, so that whoever sees the socket can use it.
        let (listener, socket) =
            listen(&options.socket).map_err(failed("the socket", options.socket.display()))?;
        let worker = Worker::start(card.clone(), uplink.ready).map_err(no_thread)?;
        card.wake();
        let mut endpoint = Endpoint::new(
            Function::new(options.layout),
            card.clone(),
            doorbells,
            memory,
            vectors,
        );
        let server = endpoint.server(listener);
        let shared = card.clone();
        thread::Builder::new()
            .name("vfio-user".into())
            .spawn(move || serve(&server, &mut endpoint, &shared))
            .map_err(no_thread)?;
        Ok(Self {
            card,
            worker,
            socket,
        })
    }

    /// Plugs the cable of the uplink in or out, see [`Card::set_carrier`].
    pub fn set_carrier(&self, on: bool) {
        self.card.with(|card| card.set_carrier(on));
        self.card.wake();
    }

    /// Stops the card and removes the socket. A client that is still connected finds a card that doesn't answer.
    pub fn stop(self) {
        drop(self.socket);
        self.worker.stop();
    }
}

/// Serves clients until the process ends: the crate offers no way to interrupt it.
fn serve(server: &vfio_user::Server, endpoint: &mut Endpoint, card: &SharedCard) {
    loop {
        // The crate panics on some malformed messages. That ends the connection, as any other error does.
        let result = catch_unwind(AssertUnwindSafe(|| server.run(endpoint)));
        if card.is_broken() {
            log::error!("the card has failed, see above");
            std::process::exit(101);
        }
        endpoint.disconnect();
        match result {
            Ok(Ok(())) => log::info!("the client has gone"),
            Ok(Err(error)) => {
                log::warn!("the connection failed: {error}");
                // Without a client to blame, accept() has failed, and would at once fail again.
                if matches!(error, vfio_user::Error::SocketAccept(_)) {
                    thread::sleep(Duration::from_millis(100));
                }
            }
            Err(_) => log::warn!("the client sent a malformed message"),
        }
    }
}

/// Makes an error's line.
fn failed(what: &'static str, name: impl Display) -> impl FnOnce(std::io::Error) -> String {
    move |error| format!("{what} {name} can't be used: {error}")
}

fn no_thread(error: std::io::Error) -> String {
    format!("there is no thread left: {error}")
}
