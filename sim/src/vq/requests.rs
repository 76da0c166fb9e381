// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Requests of a block device in the chains of a ring.

use super::chain::Chain;
use super::dma::{QueueDma, QueueError};
use super::ring::Ring;
use crate::blk::buffers::Buffers;
use crate::blk::request::{self, Limits, Operation, Request, Status};

/// Takes the next request of a ring.
pub(super) fn next_request(
    ring: &mut Ring,
    dma: &mut QueueDma<'_>,
    chain: &mut Chain,
    limits: &Limits,
    buffers: &mut Buffers,
) -> Result<Option<Request>, QueueError> {
    if !ring.peek(dma, chain)? {
        return Ok(None);
    }
    // The last byte is for the status; without room for it there is no way to answer.
    let Some(writable) = chain.writable().checked_sub(1) else {
        return Err(QueueError::BUFFER);
    };
    let mut data = Vec::new();
    let operation = match chain.readable().checked_sub(request::HEADER_SIZE as u64) {
        None => Operation::Refuse(Status::IoError),
        Some(readable) => {
            let mut header = [0; request::HEADER_SIZE];
            chain.read(dma, 0, &mut header)?;
            match limits.parse(&header, readable, writable) {
                refuse @ Operation::Refuse(_) => refuse,
                // One of the two is 0, and the other one bounded.
                operation => {
                    data = buffers.take(usize::try_from(readable.max(writable)).unwrap_or(0));
                    if readable != 0 {
                        chain.read(dma, request::HEADER_SIZE as u64, &mut data)?;
                    }
                    limits.complete(operation, &data)
                }
            }
        }
    };
    ring.take(chain);
    Ok(Some(Request {
        chain: std::mem::take(chain),
        operation,
        data,
        status: Status::IoError,
    }))
}

/// Writes what a request asked for, and its status. Returns the bytes that were written from the begin of the writable
/// part on.
pub(super) fn answer(dma: &mut QueueDma<'_>, request: &Request) -> Result<u32, QueueError> {
    let room = request.chain.writable().saturating_sub(1);
    let has_data = room != 0 && request.status == Status::Ok;
    if has_data {
        request.chain.write(dma, &request.data)?;
    }
    // CAST: the enumeration's numbers are bytes.
    request.chain.write_at(dma, room, &[request.status as u8])?;
    Ok(match room {
        0 => 1,
        _ if has_data => u32::try_from(room + 1).unwrap_or(u32::MAX),
        // The status was written, but nothing before it.
        _ => 0,
    })
}
