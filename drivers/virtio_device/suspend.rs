// SPDX-License-Identifier: GPL-2.0-only

//! Suspending a device and letting it go on: what live migration does before it reads where the queues stand.
//!
//! A suspended device keeps its status, its features, its queues' set-up and its address spaces. No queue runs, each
//! stands where the card stopped it, and its owner may change where it continues. Doorbells that are rung meanwhile
//! are not lost: a queue that starts looks for available buffers by itself.

use super::{
    VirtioDevice,
    VirtioState, //
};
use crate::vdpa::BusDriver;
use kernel::{
    device,
    prelude::*, //
};

impl VirtioDevice {
    /// Stops every queue that runs. Does nothing more to a device that is suspended.
    ///
    /// On success no queue takes or returns a buffer any more, until [`Self::resume()`]. After an error the device is
    /// not suspended, and some of its queues stand still: its owner has to reset it.
    ///
    /// # Errors
    ///
    /// What [`Self::stop_queue()`] fails with.
    pub(super) fn suspend(&self, state: &mut VirtioState) -> Result {
        let result = self.stop_all(state);

        state.suspended = result.is_ok();
        result
    }

    fn stop_all(&self, state: &mut VirtioState) -> Result {
        // Those that send come first, so that frames which loop back to their sender find a queue that still runs.
        for first in [1, 0] {
            for idx in (first..self.num_queues).step_by(2) {
                self.stop_if_running(state, idx)?;
            }
        }
        Ok(())
    }

    fn stop_if_running(&self, state: &mut VirtioState, idx: u16) -> Result {
        let queue = usize::from(idx);

        if !state.queues.get(queue).is_some_and(|vq| vq.running()) {
            return Ok(());
        }
        self.stop_queue(state, idx)
    }

    /// Starts the queues that are enabled, as they are set up now, and has the device announced. Does nothing to a device
    /// that isn't suspended.
    ///
    /// After an error the device is suspended as before, or, if its queues can't be stopped again, isn't.
    ///
    /// # Errors
    ///
    /// What [`Self::start_queue()`] fails with.
    pub(super) fn resume(&self, state: &mut VirtioState, owner: BusDriver) -> Result {
        if !state.suspended {
            return Ok(());
        }
        for idx in 0..self.num_queues {
            let ready = state
                .queues
                .get(usize::from(idx))
                .is_some_and(|vq| vq.ready());
            if !ready {
                continue;
            }
            if let Err(error) = self.start_queue(state, owner, idx) {
                // Those that run already may have used buffers, so they stand elsewhere now, and that is noted.
                self.suspend(state)?;
                return Err(error);
            }
        }
        state.suspended = false;
        self.announce(state.features);
        Ok(())
    }

    /// Says in the log that the device could not be `what`, and raises `NEEDS_RESET` unless it is suspended.
    pub(super) fn report_suspend(&self, dev: &device::Device, what: &str, suspended: bool) {
        let advice = match suspended {
            true => "it is still suspended",
            false => "it needs a reset",
        };
        if let Some(count) = self.complaints.count() {
            dev_err!(
                dev,
                "device could not be {}; {} ({})\n",
                what,
                advice,
                count
            );
        }
        if !suspended {
            self.need_reset();
        }
    }
}
