//! Samples and what is said of them. Pure.

use serde::{Deserialize, Serialize};

/// What is said of a set of samples, in the samples' unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many samples.
    pub n: usize,
    /// The smallest.
    pub min: f64,
    /// Half of the samples are at most this.
    pub p50: f64,
    /// Nine of ten samples are at most this.
    pub p90: f64,
    /// 99 of 100 samples are at most this.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// Summarises samples; `None` when there are none. Samples are finite.
    #[must_use]
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let at = |percent| nearest_rank(&sorted, percent);
        Some(Self { n: sorted.len(), min, p50: at(50), p90: at(90), p99: at(99), max })
    }
}

/// The smallest sample that at least `percent` % of the samples do not exceed: a value that was
/// seen, never one in between.
fn nearest_rank(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_has_no_summary() {
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn one_sample_is_everything() {
        let summary = Summary::of(&[3.0]).unwrap();
        assert_eq!(summary, Summary { n: 1, min: 3.0, p50: 3.0, p90: 3.0, p99: 3.0, max: 3.0 });
    }

    #[test]
    fn percentiles_of_a_hundred() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let summary = Summary::of(&samples).unwrap();
        assert_eq!((summary.min, summary.p50, summary.p90), (1.0, 50.0, 90.0));
        assert_eq!((summary.p99, summary.max), (99.0, 100.0));
    }

    #[test]
    fn few_samples_do_not_hide_their_worst() {
        assert_eq!(Summary::of(&[1.0, 2.0, 9.0]).unwrap().p99, 9.0);
    }

    proptest! {
        #[test]
        fn percentiles_are_in_order_and_were_seen(
            samples in prop::collection::vec(0.0..1e9, 1..300),
        ) {
            let s = Summary::of(&samples).unwrap();
            let ladder = [s.min, s.p50, s.p90, s.p99, s.max];
            prop_assert!(ladder.is_sorted());
            prop_assert!(ladder.iter().all(|value| samples.contains(value)));
            let below = |limit: f64| samples.iter().filter(|v| **v <= limit).count();
            prop_assert!(below(s.p90) * 100 >= samples.len() * 90);
            prop_assert!(below(s.p99) * 100 >= samples.len() * 99);
        }
    }
}
