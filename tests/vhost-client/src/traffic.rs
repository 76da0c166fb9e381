// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Test frames: what is sent, and the comparison with what comes back.

/// Bytes of the virtio-net header before every frame.
pub const HEADER_SIZE: usize = 12;

/// Sizes that the frames go through, from the smallest that Ethernet allows to the largest of the usual MTU.
const SIZES: [usize; 8] = [60, 1514, 61, 128, 257, 590, 1024, 1513];

/// EtherType for local experiments, so that no protocol of a guest takes our frames for its own.
const ETHER_TYPE: [u8; 2] = [0x88, 0xb5];

/// Frames of one run. The run's number keeps late frames of an earlier run apart.
#[derive(Clone, Copy)]
pub struct Frames {
    pub mac: [u8; 6],
    /// Largest frame that the device takes.
    pub largest: usize,
    pub run: u32,
}

impl Frames {
    /// The frame with this sequence number; all its bytes depend on run and number.
    pub fn make(&self, sequence: u32) -> Vec<u8> {
        let size = SIZES[sequence as usize % SIZES.len()].min(self.largest);
        // Broadcast, so that a switch sends it out whatever it has learned, and every device takes it.
        let mut frame = vec![0xff; 6];
        frame.extend(self.mac);
        frame.extend(ETHER_TYPE);
        frame.extend(self.run.to_be_bytes());
        frame.extend(sequence.to_be_bytes());
        let mut state = ((u64::from(self.run) << 32) | u64::from(sequence)) ^ 0x9e37_79b9_7f4a_7c15;
        while frame.len() < size {
            // A xorshift generator; it has no fixed point at the non-zero start values.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            frame.push(state as u8);
        }
        frame
    }

    /// The sequence number that a frame of this run claims to have; `None` for somebody else's frame.
    pub fn sequence(&self, frame: &[u8]) -> Option<u32> {
        let ours = frame.len() >= 22
            && frame[6..12] == self.mac
            && frame[12..14] == ETHER_TYPE
            && frame[14..18] == self.run.to_be_bytes();
        ours.then(|| u32::from_be_bytes(frame[18..22].try_into().expect("four bytes")))
    }
}

/// What became of a number of frames.
#[derive(Default)]
pub struct Traffic {
    pub sent: u32,
    pub received: u32,
    pub bytes: u64,
    /// Frames of others, which a switch may send us.
    pub strays: u32,
    pub receive_interrupts: u64,
    pub transmit_interrupts: u64,
    /// Received frames whose header doesn't say that they take one buffer.
    pub odd_headers: u32,
    /// Frames may be missing, as from a network that a device was away from for a while; then `received` counts up to
    /// the newest one.
    pub may_lose: bool,
    /// Frames that are missing.
    pub lost: u32,
    /// What went wrong first.
    pub problem: Option<String>,
}

impl Traffic {
    /// Records what went wrong, if nothing did before.
    pub fn blame(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    /// True if every frame came back with its bytes, in order.
    pub fn complete(&self, count: u32) -> bool {
        self.problem.is_none() && self.sent == count && self.received == count
    }

    /// True if frames passed and one of the queues has raised no interrupt yet.
    pub fn interrupts_missing(&self) -> bool {
        self.sent > 0 && (self.receive_interrupts == 0 || self.transmit_interrupts == 0)
    }

    pub fn describe(&self) -> String {
        let problem = self.problem.as_deref().unwrap_or("nothing wrong seen");
        format!(
            "{problem} (sent {}, received {}, frames of others {})",
            self.sent, self.received, self.strays
        )
    }

    /// Compares a frame with the one that is due.
    pub fn judge(&mut self, frames: &Frames, header: &[u8], frame: &[u8]) {
        let Some(sequence) = frames.sequence(frame) else {
            self.strays += 1;
            return;
        };
        if self.may_lose && sequence > self.received {
            self.lost += sequence - self.received;
            self.received = sequence;
        }
        if sequence != self.received {
            self.blame(format!(
                "frame {sequence} came where {} was due",
                self.received
            ));
        } else if frames.make(sequence) != frame {
            self.blame(format!(
                "frame {sequence} came back changed, with {} bytes",
                frame.len()
            ));
        }
        if header[10..12] != [1, 0] {
            self.odd_headers += 1;
        }
        self.received += 1;
        self.bytes += frame.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_missing_and_foreign_frames_are_told_apart() {
        let frames = Frames {
            mac: [2, 0, 0, 0, 0, 1],
            largest: 1514,
            run: 7,
        };
        let header = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        let mut good = Traffic {
            sent: 2,
            ..Traffic::default()
        };
        good.judge(&frames, &header, &frames.make(0));
        good.judge(&frames, &header, &Frames { run: 6, ..frames }.make(1));
        good.judge(&frames, &header, &frames.make(1));
        assert!(good.complete(2) && good.strays == 1 && good.odd_headers == 0);

        let mut changed = frames.make(0);
        changed[40] ^= 1;
        let mut traffic = Traffic::default();
        traffic.judge(&frames, &[0; 12], &changed);
        assert!(traffic.problem.is_some() && traffic.odd_headers == 1);

        let mut missing = Traffic::default();
        missing.judge(&frames, &header, &frames.make(1));
        assert!(missing.problem.is_some());

        let mut away = Traffic {
            may_lose: true,
            ..Traffic::default()
        };
        away.judge(&frames, &header, &frames.make(2));
        away.judge(&frames, &header, &frames.make(3));
        assert!(away.problem.is_none() && away.lost == 2 && away.received == 4);
        away.judge(&frames, &header, &frames.make(3));
        assert!(away.problem.is_some());
    }
}
