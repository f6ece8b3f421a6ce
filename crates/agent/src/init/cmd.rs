//! The box's main program under its restart policy.

use std::time::Duration;

use boxherd_link::agent_config::{AgentConfig, Restart};
use boxherd_link::proto::Exec;
use boxherd_link::{CmdStats, ExitStatus};
use tokio::time::Instant;

use super::console::Console;
use crate::exec::output::Output;
use crate::exec::start_cmd;
use crate::{Inner, lock};

/// The first pause before a restart; each further one in a row is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// A run of this length ends a row of failures.
const HEALTHY: Duration = Duration::from_secs(10);

/// Decides what follows the end of a run. Pure.
#[derive(Debug)]
struct Policy {
    restart: Restart,
    row: u32,
}

impl Policy {
    /// How long to wait before the next run; `None` when there is none.
    fn after(&mut self, status: ExitStatus, ran: Duration) -> Option<Duration> {
        if ran >= HEALTHY {
            self.row = 0;
        }
        let again =
            self.restart.always || (!status.success() && self.row < self.restart.on_failure);
        if !again {
            return None;
        }
        let doubled = 2u32.saturating_pow(self.row.min(20));
        self.row = self.row.saturating_add(1);
        Some(FIRST_PAUSE.saturating_mul(doubled).min(LAST_PAUSE))
    }
}

/// Runs `cmd` until it has ended for good and says how. Without `cmd` it never returns.
pub(super) async fn supervise(inner: &Inner, config: &AgentConfig, console: Console) -> ExitStatus {
    if config.cmd.is_empty() {
        return std::future::pending().await;
    }
    let exec = Exec {
        argv: config.cmd.iter().map(|arg| arg.clone().into_bytes()).collect(),
        ..Exec::default()
    };
    let exec = inner.config.defaults.under(&exec);
    let mut policy = Policy { restart: config.restart.unwrap_or_default(), row: 0 };
    let mut stats = CmdStats::default();
    loop {
        let begun = Instant::now();
        (stats.running, *lock(&inner.cmd)) = (true, Some(CmdStats { running: true, ..stats }));
        let status = run_once(inner, &exec, &console).await;
        (stats.running, stats.last_exit) = (false, Some(status));
        *lock(&inner.cmd) = Some(stats);
        let Some(pause) = policy.after(status, begun.elapsed()) else { return status };
        let millis = pause.as_millis();
        console
            .write(format!("boxherd: `cmd` {}, again in {millis} ms\n", ending(status)).as_bytes());
        tokio::time::sleep(pause).await;
        stats.restarts = stats.restarts.saturating_add(1);
    }
}

async fn run_once(inner: &Inner, exec: &Exec, console: &Console) -> ExitStatus {
    let started = match start_cmd(inner, exec) {
        Ok(started) => started,
        Err((code, reason)) => {
            console.write(reason.as_bytes());
            return ExitStatus::Code(code);
        }
    };
    let copying = tokio::spawn(copy(started.output, console.clone()));
    let status = started.wait.wait().await.unwrap_or(ExitStatus::Code(255));
    // What it wrote is in the pipe; what it left in the background may hold the pipe open, and
    // goes on being copied.
    drop(tokio::time::timeout(FIRST_PAUSE, copying).await);
    status
}

async fn copy(mut output: Output, console: Console) {
    // An output that cannot be read has ended.
    while let Ok(Some(bytes)) = output.next().await {
        console.write(&bytes);
    }
}

fn ending(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exited with {code}"),
        ExitStatus::Signal(signal) => format!("was killed by signal {signal}"),
        ExitStatus::TimedOut => "ran out of time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: ExitStatus = ExitStatus::Code(1);
    const ENDED: ExitStatus = ExitStatus::Code(0);
    const SHORT: Duration = Duration::from_millis(5);

    fn policy(always: bool, on_failure: u32) -> Policy {
        Policy { restart: Restart { always, on_failure }, row: 0 }
    }

    #[test]
    fn never_is_never() {
        assert_eq!(policy(false, 0).after(FAILED, SHORT), None);
    }

    #[test]
    fn only_failures_are_tried_again_and_not_for_ever() {
        let mut policy = policy(false, 2);
        assert_eq!(policy.after(ENDED, SHORT), None);
        assert!(policy.after(FAILED, SHORT).is_some());
        assert!(policy.after(ExitStatus::Signal(9), SHORT).is_some());
        assert_eq!(policy.after(FAILED, SHORT), None);
    }

    #[test]
    fn pauses_grow_to_a_limit_and_shrink_after_a_healthy_run() {
        let mut policy = policy(true, 0);
        let pauses: Vec<_> = (0..12).map(|_| policy.after(ENDED, SHORT).unwrap()).collect();
        assert_eq!(pauses[..3], [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]);
        assert_eq!(pauses[11], LAST_PAUSE);
        assert_eq!(policy.after(FAILED, HEALTHY), Some(FIRST_PAUSE));
    }
}
