// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Sequences from bytes, for the fuzzer. Every sequence of bytes is one of steps.

use super::{CommandFault, Fault, Operation, Piece, Sequence, BASES, PAGES};
use crate::wire::ErrorCode;

/// Most steps of a sequence.
const STEPS: usize = 200;

/// Bytes to be used up.
struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u64> {
        self.0.next().map(|byte| u64::from(*byte))
    }

    fn piece(&mut self) -> Option<Piece> {
        let kind = self.next()?;
        Some(Piece {
            shift: kind & 3,
            permission: ((kind >> 2) & 3) as u8,
            page: self.next()?,
            count: 1 + (kind >> 4),
        })
    }

    fn fault(&mut self, turn: u32) -> Option<Fault> {
        let refused = |code| Fault::Command(turn, CommandFault::Refused(code));
        let kind = self.next()?;
        if kind >= 0xf0 {
            return Some(Fault::Full);
        }
        Some(match kind % 6 {
            0 => refused(ErrorCode::NoSpace),
            1 => refused(ErrorCode::StaleGeneration),
            2 => Fault::Command(turn, CommandFault::NotIssued),
            3 => Fault::Command(turn, CommandFault::NoAnswer { carried_out: false }),
            4 => Fault::Command(turn, CommandFault::NoAnswer { carried_out: true }),
            _ => Fault::Allocation(turn),
        })
    }

    fn step(&mut self) -> Option<(Operation, Option<Fault>)> {
        let kind = self.next()?;
        let operation = match kind & 7 {
            0 | 1 => Operation::Map(self.piece()?),
            2 => {
                let (page, count) = (self.next()?, self.next()?);
                match count & 0x80 {
                    0 => Operation::Unmap(page, 1 + count % PAGES),
                    _ => Operation::UnmapPart(page, 1 + count % PAGES),
                }
            }
            3 => {
                let count = self.next()? % 24;
                let pieces = (0..count).map_while(|_| self.piece()).collect();
                Operation::SetMap(pieces)
            }
            4 => Operation::SetMapWith(self.piece()?),
            5 => Operation::SetMapWithout(self.next()?, 1 + self.next()? % 8),
            6 => Operation::Restart {
                allow_identity: kind & 0x80 != 0,
            },
            _ => Operation::ResetMap,
        };
        // Most steps should work.
        let fault = match kind >> 3 {
            turn @ 0..8 => self.fault(turn as u32),
            _ => None,
        };
        Some((operation, fault))
    }
}

/// The sequence that these bytes stand for.
pub fn decode(bytes: &[u8]) -> Sequence {
    let mut bytes = Bytes(bytes.iter());
    let base = BASES[bytes.next().unwrap_or(0) as usize % BASES.len()];
    let limit = 1 + bytes.next().unwrap_or(0) as usize % 64;
    let max_batch = 1 + bytes.next().unwrap_or(0) as u16 % 8;
    let steps = std::iter::from_fn(|| bytes.step()).take(STEPS).collect();

    Sequence {
        base,
        limit,
        max_batch,
        steps,
    }
}
