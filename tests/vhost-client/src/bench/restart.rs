// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::clock::Cost;
use super::statistics::summarise;
use super::{Bed, Measurement};
use anyhow::Result;
use clap::Args;
use serde_json::{json, Value};

/// What it costs to start again after a reset: with the map that is there, and with everything unmapped and mapped anew
///
/// A start is everything from status 0 to DRIVER_OK. Unmapping is one message in a batch of its own, as a virtual machine
/// monitor sends for a large section; mapping is a message for each range, in another batch.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub measurement: Measurement,
}

pub(super) fn measure(bed: &Bed, measurement: &Measurement) -> Result<Value> {
    bed.map_rings()?;
    bed.batch(bed.all())?;
    let extents = bed.extents()?;
    let kept = measurement.repeat(|| {
        let (nic, cost) = Cost::of(|| bed.start());
        drop(nic?);
        bed.device.reset()?;
        Ok(cost)
    })?;
    let mapped_anew = measurement.repeat(|| {
        let (nic, cost) = Cost::of(|| {
            bed.batch([bed.plan.unmap_all()])?;
            bed.batch(bed.all())?;
            bed.start()
        });
        drop(nic?);
        bed.device.reset()?;
        Ok(cost)
    })?;
    Ok(json!({
        "extents": extents,
        "map_kept": summarise(&kept),
        "mapped_anew": summarise(&mapped_anew),
    }))
}
