// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Packet captures of the switch's ports, in the classic pcap format.
//!
//! Written here because the format is two small headers, while the crates for it bring parsers along and have
//! rested for years. Each frame is one `write`, so that a reader sees it at once.

use crate::{Direction, FrameObserver, Port};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// pcap with nanoseconds, in the byte order of its reader's choice: ours is little-endian.
const MAGIC: u32 = 0xa1b2_3c4d;
/// Frames are longer than this only by mistake; readers refuse larger limits.
const SNAPLEN: u32 = 262_144;
const LINKTYPE_ETHERNET: u32 = 1;

/// Captures of some ports, each in its file.
#[derive(Default)]
pub struct Captures {
    captures: Vec<Capture>,
}

struct Capture {
    port: Port,
    path: PathBuf,
    /// Nothing after a write has failed.
    file: Option<File>,
}

impl Captures {
    /// Also captures what passes `port`, in both directions, into a new file.
    ///
    /// # Errors
    ///
    /// If the file can't be made or written.
    pub fn add(&mut self, port: Port, path: &Path) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(&file_header())?;
        self.captures.push(Capture {
            port,
            path: path.into(),
            file: Some(file),
        });
        Ok(())
    }
}

impl FrameObserver for Captures {
    fn frame(&mut self, port: Port, _direction: Direction, frame: &[u8]) {
        for capture in self
            .captures
            .iter_mut()
            .filter(|capture| capture.port == port)
        {
            capture.write(frame);
        }
    }
}

impl Capture {
    /// Appends a frame. The first error ends the capture: a file with a hole would mislead, and the card goes on.
    fn write(&mut self, frame: &[u8]) {
        let Some(file) = self.file.as_mut() else {
            return;
        };
        if let Err(error) = file.write_all(&record(SystemTime::now(), frame)) {
            log::error!("capture {} ends here: {error}", self.path.display());
            self.file = None;
        }
    }
}

fn file_header() -> Vec<u8> {
    // Magic, version 2.4, time zone 0, accuracy 0, limits, link type.
    [MAGIC, (4 << 16) | 2, 0, 0, SNAPLEN, LINKTYPE_ETHERNET]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect()
}

fn record(time: SystemTime, frame: &[u8]) -> Vec<u8> {
    let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let kept = frame.get(..SNAPLEN as usize).unwrap_or(frame);
    // CAST: the format has 32 bits of seconds, and no frame has 4 GiB.
    let header = [
        time.as_secs() as u32,
        time.subsec_nanos(),
        kept.len() as u32,
        frame.len() as u32,
    ];
    let mut bytes = Vec::with_capacity(16 + kept.len());
    bytes.extend(header.into_iter().flat_map(u32::to_le_bytes));
    bytes.extend_from_slice(kept);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_byte_of_the_headers() {
        assert_eq!(
            file_header(),
            [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]
        );
        let time = UNIX_EPOCH + Duration::new(0x0102_0304, 5);
        assert_eq!(
            record(time, b"ab"),
            [4, 3, 2, 1, 5, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, b'a', b'b']
        );
    }

    #[test]
    fn each_port_has_its_file_and_frames_are_there_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (uplink, device) = (folder.path().join("uplink"), folder.path().join("device"));
        let mut captures = Captures::default();
        captures.add(Port::Uplink, &uplink).unwrap();
        captures.add(Port::Device(3), &device).unwrap();
        captures.frame(Port::Uplink, Direction::ToPort, &[7; 60]);
        captures.frame(Port::Device(3), Direction::FromPort, &[8; 61]);
        captures.frame(Port::Device(3), Direction::ToPort, &[9; 62]);
        captures.frame(Port::Device(2), Direction::ToPort, &[9; 62]);
        assert_eq!(std::fs::read(&uplink).unwrap().len(), 24 + 16 + 60);
        assert_eq!(
            std::fs::read(&device).unwrap().len(),
            24 + 16 + 61 + 16 + 62
        );
    }

    #[test]
    fn an_error_ends_the_capture_and_nothing_else() {
        let mut captures = Captures::default();
        assert!(captures
            .add(Port::Uplink, Path::new("/nonexistent/file"))
            .is_err());
        // The header still fits into nothing; a device that is always full refuses it at once.
        if Path::new("/dev/full").exists() {
            assert!(captures.add(Port::Uplink, Path::new("/dev/full")).is_err());
            let file = File::create("/dev/full").ok();
            captures.captures.push(Capture {
                port: Port::Uplink,
                path: "/dev/full".into(),
                file,
            });
            captures.frame(Port::Uplink, Direction::ToPort, &[7; 60]);
            assert!(captures
                .captures
                .iter()
                .all(|capture| capture.file.is_none()));
        }
        captures.frame(Port::Uplink, Direction::ToPort, &[7; 60]);
    }
}
