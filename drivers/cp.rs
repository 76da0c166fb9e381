// SPDX-License-Identifier: GPL-2.0-only

//! The control processor: resetting the card and waiting until it takes commands.

use crate::{
    pci::Registers,
    regs::{
        self,
        CpState, //
    },
};
use kernel::{
    device,
    io::{
        poll::read_poll_timeout,
        Io, //
    },
    prelude::*,
    time::Delta,
};

/// How long a card may take from its reset to being ready.
const READY_TIMEOUT: Delta = Delta::from_millis(5000);

/// How often the driver looks.
const READY_POLL: Delta = Delta::from_millis(2);

/// Resets the card, so that nothing of what a former driver made is left, and waits until its control
/// processor is ready. May sleep.
///
/// # Errors
///
/// `ENODEV`, with a line in the log, if the control processor fails or doesn't become ready, or if the
/// card goes away.
pub(crate) fn reset(dev: &device::Device, registers: &Registers) -> Result {
    registers.with(|io| io.write_reg(regs::CP_CONTROL::from(0).with_reset(true)))?;

    let state = read_poll_timeout(
        || {
            if registers.gone() {
                return Err(ENODEV);
            }
            registers.with(|io| io.read(regs::CP_STATUS).state().ok())
        },
        |state| matches!(state, Some(CpState::Ready | CpState::Failed)),
        READY_POLL,
        READY_TIMEOUT,
    );

    match state {
        Ok(Some(CpState::Ready)) => Ok(()),
        Ok(_) => {
            let code = registers.with(|io| io.read(regs::CP_ERROR).into_raw())?;
            dev_err!(
                dev,
                "card's control processor failed with error {:#x}; power-cycle the card or load other firmware\n",
                code
            );
            Err(ENODEV)
        }
        Err(error) => {
            dev_err!(
                dev,
                "card's control processor is not ready {} ms after its reset ({:?}); check its firmware\n",
                READY_TIMEOUT.as_millis(),
                error
            );
            Err(ENODEV)
        }
    }
}

/// The firmware's version: major, minor, patch.
pub(crate) fn firmware_version(registers: &Registers) -> Result<(u16, u8, u8)> {
    registers.with(|io| {
        let version = io.read(regs::CP_FIRMWARE_VERSION);
        (version.major(), version.minor(), version.patch())
    })
}
