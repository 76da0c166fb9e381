// SPDX-License-Identifier: GPL-2.0-only

//! What `vdpa dev vstats show` tells of a queue: the card's counters.

use super::VirtioDevice;
use crate::{
    cmdq::{
        commands,
        CommandError, //
    },
    vdpa::{
        ExtAck,
        VendorStats, //
    },
};
use kernel::prelude::*;

impl VirtioDevice {
    /// Reports the counters of queue `idx`, since the device was added. Asks the card.
    ///
    /// # Errors
    ///
    /// `EIO` if the card is dead, `EMSGSIZE` if the message is too small.
    pub(super) fn report_statistics(
        &self,
        idx: u16,
        stats: &mut VendorStats<'_>,
        extack: &mut ExtAck<'_>,
    ) -> Result {
        let counted =
            commands::queue_statistics(&self.card, self.number, idx).inspect_err(|error| {
                match error {
                    CommandError::Dead => {
                        extack.set(fmt!("the card failed; rebind its driver to reset it"))
                    }
                    _ => extack.set(fmt!("the card does not tell: {error:?}")),
                }
            })?;

        stats.put(c"packets", counted.packets.get())?;
        stats.put(c"bytes", counted.bytes.get())?;
        stats.put(c"drops", counted.dropped.get())?;
        stats.put(c"kicks", counted.doorbells.get())?;
        stats.put(c"interrupts", counted.interrupts.get())?;
        stats.put(c"dma_reads", counted.dma_reads.get())?;
        stats.put(c"dma_writes", counted.dma_writes.get())?;
        stats.put(c"errors", counted.errors.get())?;
        stats.put(c"faults", counted.faults.get())
    }
}
