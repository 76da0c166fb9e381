// SPDX-License-Identifier: GPL-2.0-only

//! What to do after a change that should have removed something was refused.
//!
//! What was to go must not stay reachable, and vhost ignores that the change failed. Nothing says that all the rest has to
//! go as well: what is to stay is translated already, so it takes no DMA mapping, and a form of it always fits the card.
//!
//! Pure logic without I/O; `super::list` is the only way to allocate. The kernel module and the host tests compile
//! this same file.

use super::{
    list::NoMemory,
    shadow::{
        Batch,
        Extent,
        PlanError,
        Shadow, //
    },
    sorted::{
        Keyed,
        Sorted, //
    },
};
use crate::wire;

/// How a change failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The card holds what it held before: it has refused, or never heard of it.
    Unchanged,
    /// What the card holds isn't known, or isn't what the shadow says.
    Unknown,
}

/// Whether the old map may serve on after a change failed that would have removed something, or not.
///
/// vhost ignores the result of most changes. So what should have gone must not stay reachable, and what is in force
/// must be known.
pub(crate) fn may_serve_on(failure: Failure, removes: bool) -> bool {
    failure == Failure::Unchanged && !removes
}

/// Whether all that `held` translates is translated in the same way by `wanted`. Both are sorted and don't overlap; `wanted`
/// need not be maximal. Takes a step for every extent of both, and allocates nothing.
pub(crate) fn covers(
    wanted: impl Iterator<Item = Extent>,
    mut held: impl Iterator<Item = Extent>,
) -> bool {
    let mut wanted = wanted.peekable();

    held.all(|held| {
        let mut rest = Some(held);
        while let Some(part) = rest {
            while wanted.next_if(|extent| extent.last() < part.iova).is_some() {}
            let Some(extent) = wanted.peek() else {
                return false;
            };
            let same = extent.iova <= part.iova
                && extent.permission == part.permission
                && part.iova - extent.iova == part.bus.wrapping_sub(extent.bus);
            if !same {
                return false;
            }
            // Each turn uses an extent of `wanted` up, or ends.
            rest = part.above(extent.last());
        }
        true
    })
}

/// Has the card translate only `kept`, a part of the ranges that it translates now. Where it has no room for that,
/// which takes one more extent for each hole, it keeps less: see [`narrow()`]. Returns what it keeps then, or [`None`]
/// if that is all of `kept`.
///
/// `extent` says what a range is; the extent's address is the range's key. `send` is that of [`Shadow::apply()`], and
/// `failure` says how one of its errors leaves the card.
///
/// # Errors
///
/// There is no memory, or what `send` fails with. The shadow has not changed then.
pub(crate) fn withdraw<T: Keyed + Clone, E: From<PlanError>>(
    shadow: &mut Shadow,
    kept: &Sorted<T>,
    extent: impl Fn(&T) -> Extent,
    batch: &mut Batch,
    mut send: impl FnMut(u16, u64, &[wire::Extent]) -> Result<u64, E>,
    failure: impl Fn(&E) -> Failure,
) -> Result<Option<Sorted<T>>, E> {
    let plan = shadow.plan_all(kept.iter().map(&extent))?;
    match shadow.apply(plan, batch, &mut send) {
        Ok(()) => return Ok(None),
        Err(error) if failure(&error) == Failure::Unknown => return Err(error),
        Err(_) => (),
    }

    let narrow = narrow(shadow.extents(), kept, &extent).map_err(PlanError::from)?;
    let plan = shadow.plan_all(narrow.iter().map(&extent))?;
    shadow.apply(plan, batch, &mut send)?;
    Ok(Some(narrow))
}

/// Chooses of `kept` what takes no more extents than the card has now: of each extent, the longest run of ranges
/// that stay in a row. The ranges of `kept` are parts of the extents in `held`.
fn narrow<T: Keyed + Clone>(
    held: &Sorted<Extent>,
    kept: &Sorted<T>,
    extent: impl Fn(&T) -> Extent,
) -> Result<Sorted<T>, NoMemory> {
    let mut narrow = Sorted::new();

    for whole in held.iter() {
        let inside = || {
            kept.iter_from(kept.find(whole.iova))
                .take_while(|range| range.key() <= whole.last())
        };
        let Some(longest) = longest_run(inside().map(&extent)) else {
            continue;
        };
        let in_run = |range: &&T| (longest.iova..=longest.last()).contains(&range.key());
        for range in inside().filter(in_run) {
            narrow.push(range.clone())?;
        }
    }
    Ok(narrow)
}

/// The longest extent that sorted ones can be merged to; of several, the first.
fn longest_run(extents: impl Iterator<Item = Extent>) -> Option<Extent> {
    let mut longest: Option<Extent> = None;
    let mut run: Option<Extent> = None;

    for extent in extents {
        let merged = run.and_then(|run| run.merge(extent)).unwrap_or(extent);
        run = Some(merged);
        if longest.is_none_or(|longest| longest.length < merged.length) {
            longest = run;
        }
    }
    longest
}
