// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A client that sends whatever a test wants, well-formed or not.

use nix::sys::socket::{sendmsg, ControlMessage, MsgFlags};
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub const VERSION: u16 = 1;
pub const DMA_MAP: u16 = 2;
pub const DMA_UNMAP: u16 = 3;
pub const SET_IRQS: u16 = 8;
pub const REGION_READ: u16 = 9;
pub const REGION_WRITE: u16 = 10;
pub const NO_REPLY: u32 = 1 << 4;
const ERROR: u32 = 1 << 5;
const HEADER: usize = 16;

/// The first 16 bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub id: u16,
    pub command: u16,
    pub size: u32,
    pub flags: u32,
    pub error: u32,
}

impl Header {
    pub fn is_error(&self) -> bool {
        self.flags & ERROR != 0
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.id.to_le_bytes(), self.command.to_le_bytes()].concat();
        for word in [self.size, self.flags, self.error] {
            bytes.extend(word.to_le_bytes());
        }
        bytes
    }
}

/// A connection without rules.
pub struct RawClient {
    pub stream: UnixStream,
    next: u16,
}

impl RawClient {
    /// Connects, without saying anything.
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        // A server that doesn't answer fails a test and doesn't hang it.
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self { stream, next: 1 }
    }

    /// Connects and agrees on a version.
    pub fn negotiated(socket: &Path) -> Self {
        let mut client = Self::connect(socket);
        let (header, _) = client.request(VERSION, &client.version(), &[]);
        assert!(!header.is_error());
        client
    }

    pub fn version(&self) -> Vec<u8> {
        [&[0, 0, 1, 0][..], b"{\"capabilities\":{}}\0"].concat()
    }

    /// Sends a message with the right size in its header and returns its number.
    pub fn send(&mut self, command: u16, flags: u32, body: &[u8], fds: &[RawFd]) -> u16 {
        let id = self.next;
        self.next += 1;
        let header = Header {
            id,
            command,
            size: (HEADER + body.len()) as u32,
            flags,
            error: 0,
        };
        let bytes = [header.bytes(), body.to_vec()].concat();
        let rights = [ControlMessage::ScmRights(fds)];
        let rights = if fds.is_empty() { &[][..] } else { &rights[..] };
        let sent = sendmsg::<()>(
            self.stream.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            rights,
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        self.stream.write_all(&bytes[sent..]).unwrap();
        id
    }

    /// Receives an answer and its body.
    pub fn receive(&mut self) -> (Header, Vec<u8>) {
        let mut bytes = [0; HEADER];
        self.stream.read_exact(&mut bytes).unwrap();
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let header = Header {
            id: word(0) as u16,
            command: (word(0) >> 16) as u16,
            size: word(4),
            flags: word(8),
            error: word(12),
        };
        let mut body = vec![0; header.size as usize - HEADER];
        self.stream.read_exact(&mut body).unwrap();
        (header, body)
    }

    /// Sends a message and receives its answer.
    pub fn request(&mut self, command: u16, body: &[u8], fds: &[RawFd]) -> (Header, Vec<u8>) {
        let id = self.send(command, 0, body, fds);
        let answer = self.receive();
        assert_eq!(
            (answer.0.id, answer.0.command),
            (id, command),
            "the answer belongs to the question"
        );
        answer
    }

    /// Reads a region; nothing if the server refuses.
    pub fn read(&mut self, region: u32, offset: u64, count: u32) -> Option<Vec<u8>> {
        let (header, body) = self.request(REGION_READ, &access(region, offset, count), &[]);
        (!header.is_error()).then(|| body[16..].to_vec())
    }

    /// Writes a region.
    pub fn write(&mut self, region: u32, offset: u64, data: &[u8]) {
        let body = [access(region, offset, data.len() as u32), data.to_vec()].concat();
        self.request(REGION_WRITE, &body, &[]);
    }

    /// Writes a region without waiting for an answer, as QEMU does.
    pub fn post(&mut self, region: u32, offset: u64, data: &[u8]) {
        let body = [access(region, offset, data.len() as u32), data.to_vec()].concat();
        self.send(REGION_WRITE, NO_REPLY, &body, &[]);
    }

    pub fn map(
        &mut self,
        address: u64,
        size: u64,
        offset: u64,
        flags: u32,
        fds: &[RawFd],
    ) -> Header {
        let mut body = [32u32.to_le_bytes(), flags.to_le_bytes()].concat();
        body.extend(
            [offset, address, size]
                .into_iter()
                .flat_map(u64::to_le_bytes),
        );
        self.request(DMA_MAP, &body, fds).0
    }

    pub fn unmap(&mut self, address: u64, size: u64, flags: u32) -> Header {
        let mut body = [24u32.to_le_bytes(), flags.to_le_bytes()].concat();
        body.extend([address, size].into_iter().flat_map(u64::to_le_bytes));
        self.request(DMA_UNMAP, &body, &[]).0
    }

    pub fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: &[RawFd],
    ) -> Header {
        let body: Vec<u8> = [20, flags, index, start, count]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        self.request(SET_IRQS, &body, fds).0
    }

    /// Whether the server still serves this connection.
    pub fn is_served(&mut self) -> bool {
        self.read(7, 0, 4) == Some(vec![0x36, 0x1b, 0x52, 0x4d])
    }
}

fn access(region: u32, offset: u64, count: u32) -> Vec<u8> {
    [
        &offset.to_le_bytes()[..],
        &region.to_le_bytes(),
        &count.to_le_bytes(),
    ]
    .concat()
}
