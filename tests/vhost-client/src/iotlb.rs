// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! IOTLB messages of vhost-vdpa, with batches and address-space numbers, which the crate `vhost` lacks.

use std::fs::File;
use std::io::{self, Write};

/// Outer type of the message format that carries an address-space number.
pub const MESSAGE_V2: u32 = 2;

pub const UPDATE: u8 = 2;
pub const INVALIDATE: u8 = 3;
pub const BATCH_BEGIN: u8 = 5;
pub const BATCH_END: u8 = 6;

pub const READ_ONLY: u8 = 1;
pub const WRITE_ONLY: u8 = 2;
pub const READ_WRITE: u8 = 3;

/// Bytes of `struct vhost_msg_v2`.
const MESSAGE_SIZE: usize = 72;

/// A message; every field may be nonsense.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub format: u32,
    pub asid: u32,
    pub iova: u64,
    pub size: u64,
    pub address: u64,
    pub permission: u8,
    pub kind: u8,
}

impl Message {
    pub fn new(kind: u8, asid: u32) -> Self {
        Self {
            format: MESSAGE_V2,
            asid,
            iova: 0,
            size: 0,
            address: 0,
            permission: 0,
            kind,
        }
    }

    /// Maps `size` bytes at `address` of this process to `iova`.
    pub fn update(asid: u32, iova: u64, size: u64, address: u64, permission: u8) -> Self {
        Self {
            iova,
            size,
            address,
            permission,
            ..Self::new(UPDATE, asid)
        }
    }

    /// Removes every mapping that overlaps the range.
    pub fn invalidate(asid: u32, iova: u64, size: u64) -> Self {
        Self {
            iova,
            size,
            ..Self::new(INVALIDATE, asid)
        }
    }

    fn encode(&self) -> [u8; MESSAGE_SIZE] {
        let mut bytes = [0; MESSAGE_SIZE];
        bytes[0..4].copy_from_slice(&self.format.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.asid.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.iova.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.size.to_ne_bytes());
        bytes[24..32].copy_from_slice(&self.address.to_ne_bytes());
        bytes[32] = self.permission;
        bytes[33] = self.kind;
        bytes
    }

    /// Sends the message. The kernel answers most refusals with EFAULT, whatever the driver's reason was.
    pub fn send(&self, mut device: &File) -> io::Result<()> {
        let written = device.write(&self.encode())?;
        if written == MESSAGE_SIZE {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("{written} bytes of a message were taken"),
            ))
        }
    }

    /// Sends only the first bytes of the message.
    pub fn send_part(&self, mut device: &File, length: usize) -> io::Result<()> {
        device.write(&self.encode()[..length]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vhost::vhost_kern::vhost_binding::vhost_msg_v2;

    #[test]
    fn encoding_is_that_of_the_kernel_structure() {
        let bytes = Message {
            permission: READ_ONLY,
            ..Message::update(1, 0x1000, 0x2000, 0x3000, 0)
        }
        .encode();
        assert_eq!(std::mem::size_of::<vhost_msg_v2>(), MESSAGE_SIZE);
        // SAFETY: the structure is plain data of this size.
        let message: vhost_msg_v2 = unsafe { std::mem::transmute(bytes) };
        assert_eq!((message.type_, message.reserved), (MESSAGE_V2, 1));
        // SAFETY: every bit pattern is a value of the union's members.
        let inner = unsafe { message.__bindgen_anon_1.iotlb };
        assert_eq!(
            (inner.iova, inner.size, inner.uaddr),
            (0x1000, 0x2000, 0x3000)
        );
        assert_eq!((inner.perm, inner.type_), (READ_ONLY, UPDATE));
    }
}
