// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Packets, that is frames with their virtio header, in the chains of a ring.

use super::chain::Chain;
use super::dma::{QueueDma, QueueError};
use super::ring::Ring;
use crate::net::{self, HEADER_SIZE, MAX_FRAME};

/// Takes the next packet of a transmit ring.
pub(super) fn next_packet(
    ring: &mut Ring,
    dma: &mut QueueDma<'_>,
    chain: &mut Chain,
    packet: &mut Vec<u8>,
) -> Result<bool, QueueError> {
    if !ring.peek(dma, chain)? {
        return Ok(false);
    }
    let length = usize::try_from(chain.readable()).unwrap_or(usize::MAX);
    if chain.writable() != 0 || !(HEADER_SIZE..=HEADER_SIZE + MAX_FRAME).contains(&length) {
        return Err(QueueError::BUFFER);
    }
    packet.resize(length, 0);
    chain.read(dma, 0, packet)?;
    ring.take(chain);
    ring.give_back(dma, chain, 0)?;
    ring.publish_many(dma)?;
    Ok(true)
}

/// Puts a packet into the next buffer of a receive ring, or if `merge` into as many as it takes. Returns `false` if there is
/// none or they are too small, as a driver may post buffers for smaller frames than others send; such buffers stay for the
/// next frame. A frame whose chains have more than `limit` buffers is an error: they may be empty and their chains the same one
/// again and again, so that nothing else bounds the work.
pub(super) fn fill_buffers(
    ring: &mut Ring,
    dma: &mut QueueDma<'_>,
    chains: &mut Vec<Chain>,
    packet: &mut [u8],
    merge: bool,
    limit: usize,
) -> Result<bool, QueueError> {
    let before = ring.clone();
    let mut buffers = 0;
    let mut used = 0;
    let mut room = 0;
    while room < packet.len() as u64 {
        if used == chains.len() {
            chains.push(Chain::default());
        }
        let Some(chain) = chains.get_mut(used).filter(|_| used == 0 || merge) else {
            *ring = before;
            return Ok(false);
        };
        if !ring.peek(dma, chain)? {
            *ring = before;
            return Ok(false);
        }
        // The header is in the first one, and each of the others has room for something: so there is an end.
        let least = if used == 0 { HEADER_SIZE as u64 } else { 1 };
        if chain.readable() != 0 || chain.writable() < least {
            return Err(QueueError::BUFFER);
        }
        buffers += chain.len();
        if buffers > limit {
            return Err(QueueError::RING);
        }
        ring.take(chain);
        room += chain.writable();
        used += 1;
    }
    let chains = chains.get(..used).unwrap_or_default();
    // CAST: a ring has no more than 32768 chains.
    net::set_num_buffers(packet, used as u16);

    // Header and frame go in one write a buffer. None is given back before all are written: after an error the driver sees no
    // part of the frame.
    let mut rest: &[u8] = packet;
    for chain in chains {
        let (part, later) = rest.split_at(part_length(chain, rest.len()));
        chain.write(dma, part)?;
        rest = later;
    }
    let mut left = packet.len();
    for chain in chains {
        let length = part_length(chain, left);
        ring.give_back(dma, chain, u32::try_from(length).unwrap_or(u32::MAX))?;
        left -= length;
    }
    // Not before the last one was given back: the driver sees the frame as a whole.
    ring.publish_many(dma)?;
    Ok(true)
}

/// Bytes of a frame that go into a chain, if so many are left.
fn part_length(chain: &Chain, left: usize) -> usize {
    usize::try_from(chain.writable())
        .unwrap_or(usize::MAX)
        .min(left)
}
