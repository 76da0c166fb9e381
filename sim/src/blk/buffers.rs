// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Memory for the data of requests, kept from one to the next: to get it from the system anew, and cleared, takes as long as
//! to copy the data.

use std::collections::VecDeque;

/// Bytes of the largest that is kept.
const LARGEST: usize = 1 << 20;

/// How many are kept.
const MOST: usize = 16;

/// Buffers that no request has now, the oldest first. What they hold is left over from other requests.
#[derive(Default)]
pub(crate) struct Buffers(VecDeque<Vec<u8>>);

impl Buffers {
    /// A buffer of `length` bytes, which hold anything.
    ///
    /// It has less than twice the memory of that: a request counts for its length while it is under way, and must not hold
    /// much more, or many small ones could hold what large ones have left.
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        let suits = |kept: &Vec<u8>| kept.capacity() >= length && kept.capacity() / 2 < length;
        let at = self.0.iter().rposition(suits);
        match at.and_then(|at| self.0.remove(at)) {
            Some(mut buffer) => {
                buffer.resize(length, 0);
                buffer
            }
            None => vec![0; length],
        }
    }

    /// Keeps a buffer for later, unless it is large, in place of the oldest if there are enough.
    pub fn keep(&mut self, buffer: Vec<u8>) {
        if !(1..=LARGEST).contains(&buffer.capacity()) {
            return;
        }
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again() {
        let mut buffers = Buffers::default();
        let buffer = vec![7; 4096];
        let memory = buffer.as_ptr();
        buffers.keep(buffer);
        let again = buffers.take(2560);
        assert_eq!((again.as_ptr(), again.len()), (memory, 2560));
        let other = buffers.take(2560);
        assert_ne!(other.as_ptr(), memory);
    }

    #[test]
    fn a_small_request_does_not_hold_much_memory() {
        let mut buffers = Buffers::default();
        buffers.keep(vec![7; 4096]);
        for length in [0, 1, 512, 2048] {
            assert!(buffers.take(length).capacity() < 4096);
        }
        assert_eq!(buffers.take(2049), vec![7; 2049]);
    }

    #[test]
    fn the_latest_are_kept_and_none_that_is_large() {
        let mut buffers = Buffers::default();
        for number in 0..=MOST as u8 {
            buffers.keep(vec![number; 512]);
            buffers.keep(vec![number; LARGEST + 1]);
        }
        let kept: Vec<_> = (0..=MOST).map(|_| buffers.take(512)[0]).collect();
        let latest_first: Vec<_> = (0..=MOST as u8).rev().collect();
        // The last one is new, and 0, as the oldest one was that is not kept.
        assert_eq!(kept, latest_first);
        assert!(buffers.take(LARGEST + 1).iter().all(|byte| *byte == 0));
    }
}
