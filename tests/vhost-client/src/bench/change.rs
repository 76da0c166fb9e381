// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::clock::Cost;
use super::statistics::summarise;
use super::{dma_trace, Bed, Measurement};
use crate::iotlb::{Message, BATCH_BEGIN, BATCH_END};
use anyhow::Result;
use clap::Args;
use serde_json::{json, Value};
use std::cell::Cell;

/// What exchanging one page of a large map costs: commands, memory mapped for DMA, time
///
/// A range in the middle is unmapped and mapped to another page, in one batch.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub measurement: Measurement,
}

impl Options {
    pub(super) fn measure(&self, bed: &Bed) -> Result<Value> {
        let range = bed.plan.ranges() / 2;
        // To the spare page and back again.
        let spare = Cell::new(false);
        let exchange = || {
            spare.set(!spare.get());
            let to = if spare.get() {
                bed.plan.map_to_spare(range)
            } else {
                bed.plan.map(range)
            };
            change(bed, bed.plan.unmap(range), to)
        };
        bed.batch(bed.all())?;
        let extents = bed.extents()?;
        let costs = self.measurement.repeat(exchange)?;
        let ends: Vec<Cost> = costs.iter().map(|(_, end)| *end).collect();
        let whole: Vec<Cost> = costs.iter().map(|(whole, _)| *whole).collect();
        // In rounds of their own, because looking costs time.
        let (_, commands) = bed.commands(exchange)?;
        let traced = dma_trace::function_of(&bed.device.name)
            .and_then(|function| dma_trace::traced(&function, exchange).map(|(_, traced)| traced));
        Ok(json!({
            "extents": extents,
            "commands": commands,
            "dma": match traced {
                Ok(traced) => json!(traced),
                Err(error) => json!({ "error": format!("{error:#}") }),
            },
            "batch_end": summarise(&ends),
            "change": summarise(&whole),
        }))
    }
}

/// Returns the costs of the whole batch and of its end.
fn change(bed: &Bed, unmap: Message, map: Message) -> Result<(Cost, Cost)> {
    let (end, whole) = Cost::of(|| {
        bed.send(Message::new(BATCH_BEGIN, 0))?;
        bed.send(unmap)?;
        bed.send(map)?;
        let (ended, end) = Cost::of(|| bed.send(Message::new(BATCH_END, 0)));
        ended.map(|()| end)
    });
    end.map(|end| (whole, end))
}
