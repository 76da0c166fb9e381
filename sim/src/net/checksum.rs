// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The Internet checksum (RFC 1071).

/// The sum of 16-bit words in ones' complement, not folded. An odd byte at the end counts as a word's upper half.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let last = words.remainder().first().copied();
    let sum: u64 = words
        .map(|word| match word {
            [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
            _ => 0,
        })
        .sum();
    sum + last.map_or(0, |high| u64::from(high) << 8)
}

/// The checksum that makes a sum right. Never 0, which for UDP means that there is none; in ones' complement 0xffff is
/// as good.
pub(crate) fn finish(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // CAST: it is no larger than 16 bits.
    match !(sum as u16) {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// Completes a checksum that the sender has left to us: the field at `start + offset` holds the sum of what lies before
/// `start` and counts, and gets the checksum of everything from `start` on. Does nothing if the field isn't in the frame.
pub(crate) fn complete(frame: &mut [u8], start: usize, offset: usize) {
    let checksum = finish(sum(frame.get(start..).unwrap_or_default()));
    let field = start
        .checked_add(offset)
        .and_then(|at| frame.get_mut(at..)?.first_chunk_mut());
    if let Some(field) = field {
        *field = checksum.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same, bit by bit as the RFC has it: add with end-around carry, one word after the other.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u16;
        for at in (0..bytes.len()).step_by(2) {
            let word = [bytes[at], *bytes.get(at + 1).unwrap_or(&0)];
            let (next, carry) = sum.overflowing_add(u16::from_be_bytes(word));
            sum = next + u16::from(carry);
        }
        sum
    }

    #[test]
    fn known_value() {
        // The IPv4 header of RFC 1071's successors in every textbook: its checksum is 0xb861.
        let header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        assert_eq!(finish(sum(&header)), 0xb861);
    }

    proptest! {
        #[test]
        fn as_a_naive_computation(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let expected = match !naive(&bytes) {
                0 => 0xffff,
                checksum => checksum,
            };
            prop_assert_eq!(finish(sum(&bytes)), expected);
        }

        /// After completion the part sums up to all ones, whatever the partial sum was.
        #[test]
        fn completed_checksums_are_right(
            mut frame in prop::collection::vec(any::<u8>(), 40..300),
            start in 0..20usize,
            offset in 0..9usize,
        ) {
            // A checksum field is at an even distance, as in every protocol.
            let offset = 2 * offset;
            let before = frame.clone();
            complete(&mut frame, start, offset);
            let at = start + offset;
            let partial = u16::from_be_bytes([before[at], before[at + 1]]);
            // The partial sum stands for words in front; with them instead, the sum is that of a right checksum.
            let mut whole = partial.to_be_bytes().to_vec();
            whole.extend_from_slice(&frame[start..]);
            prop_assert!(naive(&whole) == 0xffff, "{:#x}", naive(&whole));
            prop_assert_eq!(&frame[..at], &before[..at]);
            prop_assert_eq!(&frame[at + 2..], &before[at + 2..]);
        }

        #[test]
        fn a_field_outside_changes_nothing(
            mut frame in prop::collection::vec(any::<u8>(), 0..60),
            start in 0..200usize,
        ) {
            let before = frame.clone();
            let end = frame.len().saturating_sub(1);
            complete(&mut frame, start, end.max(start) - start);
            prop_assert_eq!(frame, before);
        }
    }
}
