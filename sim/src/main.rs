// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `mooring-sim`: serves one card until it is told to stop.

use clap::Parser;
use mooring_sim::cli::Arguments;
use mooring_sim::logging;
use mooring_sim::server::CardServer;
use nix::sys::signal::{SigSet, Signal};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(arguments.verbosity());
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mooring-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Arguments) -> Result<(), String> {
    // Blocked before the first thread starts, so that only the wait below receives them.
    let signals = SigSet::from_iter([
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ]);
    signals
        .thread_block()
        .map_err(|error| format!("signals can't be blocked: {error}"))?;
    let server = CardServer::start(arguments.options()?)?;
    loop {
        let signal = signals
            .wait()
            .map_err(|error| format!("signals can't be waited for: {error}"))?;
        match signal {
            Signal::SIGUSR1 => server.set_carrier(false),
            Signal::SIGUSR2 => server.set_carrier(true),
            signal => {
                log::info!("{signal}: the card is switched off");
                break;
            }
        }
    }
    server.stop();
    Ok(())
}
