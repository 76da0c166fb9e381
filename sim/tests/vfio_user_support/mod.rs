// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The program under test, and two kinds of clients: one that behaves and one that doesn't.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod card;
pub mod raw;

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running `mooring-sim`, and a folder for its files that goes with it.
pub struct Sim {
    process: Child,
    folder: tempfile::TempDir,
}

impl Sim {
    /// Starts the program and waits for its socket. `{}` in an argument stands for the folder.
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, arguments)
    }

    /// The same, in a folder that may already hold something.
    pub fn start_in(folder: tempfile::TempDir, arguments: &[&str]) -> Self {
        let place = folder.path().to_str().unwrap().to_owned();
        let process = Command::new(env!("CARGO_BIN_EXE_mooring-sim"))
            .arg("--socket")
            .arg(folder.path().join("socket"))
            .args(
                arguments
                    .iter()
                    .map(|argument| argument.replace("{}", &place)),
            )
            .stdin(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut sim = Self { process, folder };
        let deadline = Instant::now() + PATIENCE;
        while std::os::unix::net::UnixStream::connect(sim.socket()).is_err() {
            assert!(
                sim.is_running() && Instant::now() < deadline,
                "mooring-sim doesn't open its socket"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        sim
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).unwrap();
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "mooring-sim doesn't end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.file("log")).unwrap_or_default();
            eprintln!("mooring-sim said:\n{log}");
        }
    }
}

/// Runs the program where it is expected to refuse, and returns what it says.
pub fn refusal(socket: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mooring-sim"))
        .arg("--socket")
        .arg(socket)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}
