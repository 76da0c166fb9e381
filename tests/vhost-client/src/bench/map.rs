// SPDX-License-Identifier: GPL-2.0-only OR MIT

use super::clock::Cost;
use super::statistics::summarise;
use super::{marked, Bed, Measurement};
use crate::iotlb::{Message, BATCH_BEGIN, BATCH_END};
use anyhow::Result;
use clap::Args;
use serde_json::{json, Value};

/// What mapping many ranges costs, and how many commands the card gets for it
///
/// In a batch, the messages and the end of the batch are measured apart: at the end, the kernel calls the parent's set_map,
/// if it has one. A parent with dma_map does its work with each message.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    pub measurement: Measurement,
    /// Without a batch: a parent with set_map gets the whole map with each message
    #[arg(long)]
    unbatched: bool,
    /// Before and after the map, read the last byte of the PCI function's configuration, to be found in the card's log
    #[arg(long)]
    mark: bool,
}

/// What one round cost.
struct Round {
    messages: Cost,
    end: Option<Cost>,
    whole: Cost,
    unmap: Cost,
    commands: Option<u64>,
}

impl Options {
    pub(super) fn measure(&self, bed: &Bed) -> Result<Value> {
        let mut extents = Value::Null;
        let rounds = self.measurement.repeat(|| {
            let ((messages, end, whole), commands) = bed.commands(|| self.map_marked(bed))?;
            extents = bed.extents()?;
            let (unmapped, unmap) = Cost::of(|| bed.batch([bed.plan.unmap_all()]));
            unmapped?;
            Ok(Round {
                messages,
                end,
                whole,
                unmap,
                commands,
            })
        })?;
        let costs =
            |part: fn(&Round) -> Cost| summarise(&rounds.iter().map(part).collect::<Vec<_>>());
        let ends: Option<Vec<Cost>> = rounds.iter().map(|round| round.end).collect();
        // The fewest and the most: they should be the same in every round.
        let commands: Option<Vec<u64>> = rounds.iter().map(|round| round.commands).collect();
        Ok(json!({
            "batched": !self.unbatched,
            "extents": extents,
            "commands_minimum": commands.as_ref().and_then(|all| all.iter().min()),
            "commands_maximum": commands.as_ref().and_then(|all| all.iter().max()),
            "messages": costs(|round| round.messages),
            "batch_end": ends.map(|ends| summarise(&ends)),
            "map": costs(|round| round.whole),
            "unmap": costs(|round| round.unmap),
        }))
    }

    fn map_marked(&self, bed: &Bed) -> Result<(Cost, Option<Cost>, Cost)> {
        if !self.mark {
            return self.map(bed);
        }
        marked(&bed.device, || self.map(bed))
    }

    /// Maps everything. Returns the costs of the messages, of the end of the batch, and of both.
    fn map(&self, bed: &Bed) -> Result<(Cost, Option<Cost>, Cost)> {
        let (parts, whole) = Cost::of(|| {
            if !self.unbatched {
                bed.send(Message::new(BATCH_BEGIN, 0))?;
            }
            let (sent, messages) = Cost::of(|| bed.all().try_for_each(|message| bed.send(message)));
            sent?;
            if self.unbatched {
                return Ok((messages, None));
            }
            let (ended, end) = Cost::of(|| bed.send(Message::new(BATCH_END, 0)));
            ended.map(|()| (messages, Some(end)))
        });
        parts.map(|(messages, end)| (messages, end, whole))
    }
}
