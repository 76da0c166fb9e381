// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A stream socket that carries frames, each behind its length as a 32-bit big-endian number.
//!
//! QEMU's `-netdev stream` and passt speak the same, and so does another model. Whoever comes first listens: the
//! uplink connects if somebody listens at the path, and otherwise listens itself. So two models meet whichever starts
//! first, and both of QEMU's roles fit. There is one peer at a time; when it leaves, the next one may come.

use super::MAX_FRAME;
use crate::socket::{connect_now, listen, SocketFile};
use crate::Uplink;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LENGTH_SIZE: usize = 4;
/// How long to leave a listener alone that has gone.
const RETRY: Duration = Duration::from_secs(1);

/// An uplink over a unix stream socket.
pub struct UnixStreamUplink {
    role: Role,
    peer: Option<Peer>,
    /// Wakes for a peer that comes, data that comes, and room for what is still to go out.
    events: Epoll,
    buffer: Box<[u8]>,
}

enum Role {
    Listen(
        UnixListener,
        #[allow(dead_code, reason = "removes the file when dropped")] SocketFile,
    ),
    Connect {
        path: PathBuf,
        next: Instant,
    },
}

struct Peer {
    stream: UnixStream,
    received: Vec<u8>,
    /// Bytes of `received` that were handed out.
    taken: usize,
    /// The rest of a frame that went out in part. Until it has gone, further frames are dropped.
    unsent: Vec<u8>,
}

impl UnixStreamUplink {
    /// Connects to `path`, or listens there.
    ///
    /// # Errors
    ///
    /// What the operating system says about the path.
    pub fn open(path: &Path) -> io::Result<Self> {
        let events = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let buffer = vec![0; LENGTH_SIZE + MAX_FRAME].into_boxed_slice();
        if let Ok(stream) = connect_now(path) {
            let role = Role::Connect {
                path: path.into(),
                next: Instant::now(),
            };
            let mut uplink = Self {
                role,
                peer: None,
                events,
                buffer,
            };
            uplink.attach(stream)?;
            return Ok(uplink);
        }
        let (listener, file) = listen(path)?;
        listener.set_nonblocking(true)?;
        events.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        Ok(Self {
            role: Role::Listen(listener, file),
            peer: None,
            events,
            buffer,
        })
    }

    fn attach(&mut self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        self.events
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        if let Role::Listen(listener, _) = &self.role {
            // Another one waits in the listener's queue without waking anybody.
            self.watch(listener, EpollFlags::empty())?;
        }
        self.peer = Some(Peer {
            stream,
            received: Vec::new(),
            taken: 0,
            unsent: Vec::new(),
        });
        Ok(())
    }

    /// Closing the stream also takes it out of `events`.
    fn detach(&mut self, why: &dyn std::fmt::Display) {
        log::info!("uplink: the peer has gone: {why}");
        self.peer = None;
        match &mut self.role {
            Role::Listen(listener, _) => {
                let event = &mut EpollEvent::new(EpollFlags::EPOLLIN, 0);
                if let Err(error) = self.events.modify(&*listener, event) {
                    log::error!("uplink: no further peer will be noticed: {error}");
                }
            }
            Role::Connect { next, .. } => *next = Instant::now() + RETRY,
        }
    }

    fn watch(&self, what: impl AsFd, flags: EpollFlags) -> io::Result<()> {
        Ok(self.events.modify(what, &mut EpollEvent::new(flags, 0))?)
    }

    /// Looks for a peer if there is none.
    fn find_peer(&mut self) -> io::Result<()> {
        if self.peer.is_some() {
            return Ok(());
        }
        let stream = match &mut self.role {
            Role::Listen(listener, _) => listener.accept().ok().map(|(stream, _)| stream),
            Role::Connect { next, .. } if Instant::now() < *next => None,
            Role::Connect { path, next } => {
                *next = Instant::now() + RETRY;
                connect_now(path).ok()
            }
        };
        match stream {
            Some(stream) => self.attach(stream),
            None => Ok(()),
        }
    }

    /// Runs something with the peer, and lets the peer go if that fails.
    fn with_peer<T>(
        &mut self,
        run: impl FnOnce(&mut Peer, &mut [u8]) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        self.find_peer()?;
        let Some(peer) = self.peer.as_mut() else {
            return Ok(None);
        };
        let waited = !peer.unsent.is_empty();
        let result = peer.flush().and_then(|()| run(peer, &mut self.buffer));
        let waits = !peer.unsent.is_empty();
        if let Err(error) = result {
            self.detach(&error);
            return Ok(None);
        }
        if waits != waited {
            let room = if waits {
                EpollFlags::EPOLLOUT
            } else {
                EpollFlags::empty()
            };
            if let Some(peer) = &self.peer {
                self.watch(&peer.stream, EpollFlags::EPOLLIN | room)?;
            }
        }
        result.map(Some)
    }
}

impl Peer {
    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        if !self.unsent.is_empty() || frame.is_empty() || frame.len() > MAX_FRAME {
            return Ok(());
        }
        // CAST: checked against MAX_FRAME.
        self.unsent
            .extend_from_slice(&(frame.len() as u32).to_be_bytes());
        self.unsent.extend_from_slice(frame);
        self.flush()
    }

    /// Takes the next whole frame out of what was received.
    fn next_frame(&mut self, frame: &mut Vec<u8>) -> io::Result<bool> {
        let rest = self.received.get(self.taken..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_SIZE>() else {
            return Ok(false);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length == 0 || length > MAX_FRAME {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it sent a frame of {length} bytes"),
            ));
        }
        let Some(content) = rest.get(..length) else {
            return Ok(false);
        };
        frame.clear();
        frame.extend_from_slice(content);
        self.taken += LENGTH_SIZE + length;
        Ok(true)
    }

    fn receive(&mut self, frame: &mut Vec<u8>, buffer: &mut [u8]) -> io::Result<bool> {
        // Ends: a whole frame always fits into what is left over plus one buffer, so few rounds bring one.
        while !self.next_frame(frame)? {
            drop(self.received.drain(..self.taken));
            self.taken = 0;
            match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self
                    .received
                    .extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Uplink for UnixStreamUplink {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.with_peer(|peer, _| peer.send(frame)).map(drop)
    }

    fn receive(&mut self, frame: &mut Vec<u8>) -> io::Result<bool> {
        self.with_peer(|peer, buffer| peer.receive(frame, buffer))
            .map(|got| got.unwrap_or(false))
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.events.0.as_raw_fd())
    }
}

impl AsFd for UnixStreamUplink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.0.as_fd()
    }
}

#[cfg(test)]
mod tests;
