// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::clock::Cost;
use super::statistics::summarise;
use super::{Bed, Measurement};
use anyhow::Result;
use clap::Args;
use serde_json::{json, Value};

/// What writing status 0 to a running device costs, by how much is mapped; opening and closing aren't in it
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub measurement: Measurement,
}

pub(super) fn measure(bed: &Bed, measurement: &Measurement) -> Result<Value> {
    bed.map_rings()?;
    bed.batch(bed.all())?;
    let extents = bed.extents()?;
    let rounds = measurement.repeat(|| {
        let _nic = bed.start()?;
        let (cost, commands) = bed.commands(|| {
            let (result, cost) = Cost::of(|| bed.device.set_status(0));
            result?;
            Ok(cost)
        })?;
        Ok((cost, commands))
    })?;
    let costs: Vec<Cost> = rounds.iter().map(|(cost, _)| *cost).collect();
    let commands: Option<u64> = rounds.iter().map(|(_, commands)| *commands).sum();
    Ok(json!({
        "extents": extents,
        "reset": summarise(&costs),
        "iommu_commands_in_all_resets": commands,
    }))
}
