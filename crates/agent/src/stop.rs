//! Ending everything.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, timeout_at};

use crate::exec::signal_jobs;
use crate::{Inner, lock};

/// How long killed processes may take to vanish; one in uninterruptible sleep may take for ever.
const LAST: Duration = Duration::from_secs(2);
/// Between looks where nothing tells of an end.
const LOOK: Duration = Duration::from_millis(10);

/// Ends everything that runs: TERM, and KILL to what is left after `grace`.
pub(crate) async fn stop(inner: &Inner, grace: Duration) {
    signal(inner, Signal::TERM);
    let deadline = Instant::now() + grace.min(Duration::from_secs(86_400));
    if timeout_at(deadline, gone(inner)).await.is_err() {
        signal(inner, Signal::KILL);
        // What cannot be killed is left to the engine, which ends the box from outside.
        drop(timeout_at(Instant::now() + LAST, gone(inner)).await);
    }
}

fn signal(inner: &Inner, signal: Signal) {
    if inner.config.process_one {
        // It can only fail for want of anything to signal, or of permission, and then the engine
        // ends the box.
        drop(boxherd_sys::init::signal_all(signal.as_raw()));
    } else {
        signal_jobs(inner, signal);
    }
}

async fn gone(inner: &Inner) {
    while anything_runs(inner) {
        // A reaped child may have been the last; a grandchild of another parent says nothing.
        drop(tokio::time::timeout(LOOK, inner.config.children.reaped()).await);
    }
}

fn anything_runs(inner: &Inner) -> bool {
    if !inner.config.process_one {
        return lock(&inner.jobs).values().any(|job| job.runs());
    }
    crate::stats::processes().is_some_and(|count| count > 1)
}
