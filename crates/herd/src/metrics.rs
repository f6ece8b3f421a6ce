//! What is counted and timed, for operators.

use std::fmt;
use std::time::Duration;

use boxherd_model::{BoxState, Timings};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::{Herd, HerdError, Repairs};

/// One label and its value.
type Label = [(&'static str, String); 1];
/// How long what is told apart by one label took.
type Durations = Family<Label, Histogram, fn() -> Histogram>;

/// From a tenth of a millisecond to 26 seconds.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 19))
}

/// What a herd counts. Clones of the herd share it.
pub(crate) struct Metrics {
    registry: Registry,
    boxes: Family<Label, Gauge>,
    create: Durations,
    exec: Durations,
    links: Counter,
    reconnects: Counter,
    repairs: Family<Label, Counter>,
    requests: Family<[(&'static str, String); 2], Counter>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut this = Self {
            registry: Registry::with_prefix("boxherd"),
            boxes: Family::default(),
            create: Family::new_with_constructor(durations),
            exec: Family::new_with_constructor(durations),
            links: Counter::default(),
            reconnects: Counter::default(),
            repairs: Family::default(),
            requests: Family::default(),
        };
        let registry = &mut this.registry;
        registry.register("boxes", "Boxes by state", this.boxes.clone());
        let help = "How long boxes took to make and start, in seconds, by phase";
        registry.register("create_phase_seconds", help, this.create.clone());
        let help = "How long commands took in seconds: `start` to begin, `run` to end";
        registry.register("exec_seconds", help, this.exec.clone());
        registry.register("links", "Connections made to agents", this.links.clone());
        let help = "Connections to agents made anew, where one was lost";
        registry.register("link_reconnects", help, this.reconnects.clone());
        let help = "What differed between store and engines and was repaired, by kind";
        registry.register("reconcile_repairs", help, this.repairs.clone());
        let help = "Requests in the audit log, by what was asked for and what came of it";
        registry.register("requests", help, this.requests.clone());
        this
    }

    pub(crate) fn created(&self, timings: &Timings) {
        for phase in &timings.0 {
            let took = Duration::from_micros(phase.micros).as_secs_f64();
            self.create.get_or_create(&[("phase", phase.name.clone())]).observe(took);
        }
        let total = timings.total().as_secs_f64();
        self.create.get_or_create(&[("phase", "all".to_owned())]).observe(total);
    }

    pub(crate) fn executed(&self, phase: &str, took: Duration) {
        self.exec.get_or_create(&[("phase", phase.to_owned())]).observe(took.as_secs_f64());
    }

    pub(crate) fn linked(&self, again: bool) {
        self.links.inc();
        if again {
            self.reconnects.inc();
        }
    }

    pub(crate) fn repaired(&self, repairs: &Repairs) {
        let kinds = [
            ("orphan", repairs.orphans.len()),
            ("corrected", repairs.corrected.len()),
            ("restarted", repairs.restarted.len()),
        ];
        for (kind, count) in kinds {
            self.repairs.get_or_create(&[("kind", kind.to_owned())]).inc_by(count as u64);
        }
    }

    pub(crate) fn asked(&self, action: &str, outcome: &str) {
        let labels = [("action", action.to_owned()), ("outcome", outcome.to_owned())];
        self.requests.get_or_create(&labels).inc();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Herd {
    /// What was counted since the herd was opened, and how many boxes there are now, in the text
    /// format of OpenMetrics.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub async fn metrics(&self) -> Result<String, HerdError> {
        let listing = self.list().await?;
        for state in BoxState::ALL {
            let count = listing.boxes.iter().filter(|status| status.state == state).count();
            let gauge = self.metrics.boxes.get_or_create(&[("state", state.as_str().to_owned())]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = encode(&mut text, &self.metrics.registry);
        Ok(text)
    }
}
