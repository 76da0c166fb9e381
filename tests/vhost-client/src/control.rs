// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Commands through the control queue of a network device.

use crate::memory::Memory;
use crate::queue::Queue;
use crate::ring::Buffer;
use anyhow::{Context, Result};

/// VIRTIO_NET_OK.
pub const OK: u8 = 0;
/// What is in the answer's byte as long as the device hasn't answered.
pub const UNANSWERED: u8 = 0xee;

/// Puts a command at `at`, with its answer's byte behind it, and gives both to the device. Returns where the answer will be.
pub fn send(queue: &mut Queue, memory: &Memory, at: u64, command: &[u8]) -> Result<u64> {
    let answer = at + command.len() as u64;
    memory.write(at, command);
    memory.write(answer, &[UNANSWERED]);
    let head = queue.ring.reserve().context("no free descriptor")?;
    let chain = [
        Buffer {
            iova: at,
            length: command.len() as u32,
            writable: false,
        },
        Buffer {
            iova: answer,
            length: 1,
            writable: true,
        },
    ];
    queue.ring.add(memory, head, &chain)?;
    queue.kick(memory)?;
    Ok(answer)
}

/// The answer's byte.
pub fn answer(memory: &Memory, at: u64) -> u8 {
    let mut byte = [0];
    memory.read(at, &mut byte);
    byte[0]
}
