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
    sorted::Sorted,
    space::{
        apply,
        Commands, //
    },
};

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

/// Has the card translate only `kept`, which comes sorted: parts of the extents that it translates now, and what waits
/// to be translated again. Where it has no room for that, because each hole takes one more extent, it keeps less: see
/// [`narrow()`]. Returns whether it translates all of `kept`.
///
/// # Errors
///
/// There is no memory, or what a command fails with. The shadow has not changed then.
pub(super) fn withdraw<C: Commands, I: Iterator<Item = Extent>>(
    shadow: &mut Shadow,
    kept: impl Fn() -> I,
    card: &mut C,
) -> Result<bool, C::Error> {
    let mut batch = Batch::new(card.batch()).map_err(PlanError::from)?;
    let plan = shadow.plan_all(kept())?;

    match apply(shadow, card, plan, &mut batch) {
        Ok(()) => return Ok(true),
        Err(error) if card.failure(&error) == Failure::Unknown => return Err(error),
        Err(_) => (),
    }
    let narrow = narrow(shadow.extents(), kept()).map_err(PlanError::from)?;
    let plan = shadow.plan_all(narrow.iter().copied())?;
    apply(shadow, card, plan, &mut batch)?;
    Ok(false)
}

/// Chooses of `kept` what takes no more extents than the card has now: of each extent, the longest run of ranges
/// that stay in a row. Each of `kept` is a part of an extent in `held`, or waits: then it lies outside of all of them.
fn narrow(
    held: &Sorted<Extent>,
    kept: impl Iterator<Item = Extent>,
) -> Result<Sorted<Extent>, NoMemory> {
    let mut narrow = Sorted::new();
    let mut kept = kept.peekable();

    for whole in held.iter() {
        while kept.next_if(|extent| extent.iova < whole.iova).is_some() {}
        let inside = core::iter::from_fn(|| kept.next_if(|extent| extent.iova <= whole.last()));
        if let Some(longest) = longest_run(inside) {
            narrow.push(longest)?;
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
