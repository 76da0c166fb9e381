// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What many rounds of the same work say together.

use super::clock::Cost;
use serde::Serialize;
use serde_json::{json, Value};

/// Minimum, median and maximum. The minimum is what the work itself costs: whatever else the machine does (a timer tick, a
/// slow host) only adds. How far the others are from it says how much to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub rounds: usize,
    pub minimum: u64,
    pub median: u64,
    pub maximum: u64,
}

impl Summary {
    /// `None` if there is nothing to summarise.
    pub fn of(values: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut values: Vec<u64> = values.into_iter().collect();
        values.sort_unstable();
        Some(Self {
            rounds: values.len(),
            minimum: *values.first()?,
            // The lower one of two in the middle, so that it is a value that was seen.
            median: values[(values.len() - 1) / 2],
            maximum: *values.last()?,
        })
    }
}

/// Both kinds of cost. Instructions are there only if every round has them.
pub fn summarise(costs: &[Cost]) -> Value {
    let counted: Option<Vec<u64>> = costs.iter().map(|cost| cost.instructions).collect();
    json!({
        "ns": Summary::of(costs.iter().map(|cost| cost.nanoseconds)),
        "instructions": counted.and_then(Summary::of),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_of_values_in_any_order() {
        let summary = Summary::of([9, 1, 7, 3]).unwrap();
        assert_eq!(
            (summary.minimum, summary.median, summary.maximum),
            (1, 3, 9)
        );
        assert_eq!(summary.rounds, 4);
        assert_eq!(Summary::of([5, 4, 6]).unwrap().median, 5);
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn one_round_without_a_count_is_no_count() {
        let cost = |instructions| Cost {
            nanoseconds: 10,
            instructions,
        };
        let both = summarise(&[cost(Some(4)), cost(Some(2))]);
        assert_eq!(both["instructions"]["minimum"], 2);
        let one = summarise(&[cost(Some(4)), cost(None)]);
        assert!(one["instructions"].is_null());
        assert_eq!(one["ns"]["rounds"], 2);
    }
}
