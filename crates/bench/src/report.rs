//! What a run found, as data.

use serde::{Deserialize, Serialize};

use crate::{Machine, Summary};

/// Everything that one run found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// On what.
    pub machine: Machine,
    /// What was measured, in the order it was.
    pub contests: Vec<Contest>,
    /// What was not, and why: one sentence each.
    pub skipped: Vec<String>,
}

/// One thing that was measured, of every contender that can do it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contest {
    /// The name that `--only` takes.
    pub name: String,
    /// What exactly was measured.
    pub what: String,
    /// The unit of every figure.
    pub unit: Unit,
    /// The goal for our p50, in `unit`.
    pub target: Option<f64>,
    /// The goal for our p99, in `unit`.
    pub target_p99: Option<f64>,
    /// The goal for the ratio of the first peer.
    pub target_ratio: Option<f64>,
    /// Ours first.
    pub figures: Vec<Figure>,
    /// Where our time went: medians, in the order the phases happened.
    pub phases: Vec<PhaseFigure>,
    /// What else is to be said of it: one line each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Load average over a minute when it began.
    pub load: f64,
}

/// What one contender did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Such as `boxherd`, `floor`, `crun run`.
    pub contender: String,
    /// Its samples.
    pub summary: Summary,
    /// Its p50 as a multiple of ours; for throughput, ours as a multiple of its. More than 1: we
    /// are better.
    pub ratio: Option<f64>,
}

/// How long one phase took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseFigure {
    /// Such as `rootfs`, `clone`, `agent`.
    pub name: String,
    /// The median, in milliseconds.
    pub p50: f64,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Milliseconds; less is better.
    Millis,
    /// 2^20 bytes; less is better.
    Mebibytes,
    /// 10^6 bytes per second; more is better.
    MegabytesPerSecond,
    /// How often in a second; more is better.
    PerSecond,
}

impl Unit {
    /// How people write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Millis => "ms",
            Self::Mebibytes => "MiB",
            Self::MegabytesPerSecond => "MB/s",
            Self::PerSecond => "1/s",
        }
    }
}

impl Contest {
    /// A contest from the samples of each contender, ours first. Contenders without samples are
    /// left out.
    pub(crate) fn new(
        name: &str,
        what: &str,
        unit: Unit,
        samples: Vec<(String, Vec<f64>)>,
    ) -> Self {
        let mut figures: Vec<Figure> = samples
            .into_iter()
            .filter_map(|(contender, samples)| {
                Some(Figure { contender, summary: Summary::of(&samples)?, ratio: None })
            })
            .collect();
        if let Some((ours, others)) = figures.split_first_mut() {
            let ours = ours.summary.p50;
            for other in others {
                other.ratio = ratio(unit, ours, other.summary.p50);
            }
        }
        Self {
            name: name.to_owned(),
            what: what.to_owned(),
            unit,
            target: None,
            target_p99: None,
            target_ratio: None,
            figures,
            phases: Vec::new(),
            notes: Vec::new(),
            load: 0.0,
        }
    }

    pub(crate) fn target(mut self, p50: f64) -> Self {
        self.target = Some(p50);
        self
    }

    pub(crate) fn target_p99(mut self, p99: f64) -> Self {
        self.target_p99 = Some(p99);
        self
    }

    pub(crate) fn target_ratio(mut self, ratio: f64) -> Self {
        self.target_ratio = Some(ratio);
        self
    }
}

/// How much better `ours` is than `other`.
fn ratio(unit: Unit, ours: f64, other: f64) -> Option<f64> {
    let (better, worse) = match unit {
        Unit::Millis | Unit::Mebibytes => (ours, other),
        Unit::MegabytesPerSecond | Unit::PerSecond => (other, ours),
    };
    (better > 0.0).then(|| worse / better)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contest(unit: Unit, ours: f64, other: f64) -> Contest {
        let samples = vec![("boxherd".to_owned(), vec![ours]), ("other".to_owned(), vec![other])];
        Contest::new("x", "y", unit, samples)
    }

    #[test]
    fn a_slower_peer_has_a_ratio_above_one() {
        assert_eq!(contest(Unit::Millis, 2.0, 5.0).figures[1].ratio, Some(2.5));
        assert_eq!(contest(Unit::MegabytesPerSecond, 2000.0, 500.0).figures[1].ratio, Some(4.0));
    }

    #[test]
    fn we_are_not_compared_with_ourselves() {
        assert_eq!(contest(Unit::Millis, 2.0, 5.0).figures[0].ratio, None);
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        assert_eq!(contest(Unit::Millis, 0.0, 5.0).figures[1].ratio, None);
    }

    #[test]
    fn a_contender_without_samples_is_left_out() {
        let samples = vec![("boxherd".to_owned(), vec![1.0]), ("absent".to_owned(), vec![])];
        assert_eq!(Contest::new("x", "y", Unit::Millis, samples).figures.len(), 1);
    }

    #[test]
    fn a_report_survives_json() {
        let machine = Machine {
            cpus: 2,
            cpu: "x".to_owned(),
            kernel: "6".to_owned(),
            memory: 1,
            load_before: [0.0; 3],
            load_after: [1.0; 3],
        };
        let contests =
            vec![contest(Unit::Millis, 1.0, 2.0).target(6.0).target_p99(20.0).target_ratio(0.7)];
        let report = Report { machine, contests, skipped: vec!["podman: no".to_owned()] };
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
