//! `cmd`: run as any command is, over a link of our own.

use std::time::Duration;

use boxherd_agent::Agent;
use boxherd_link::{ExecEvent, ExecRequest, ExitStatus, Link, LinkError};
use boxherd_model::{BoxSpec, RestartPolicy};

use crate::console::Console;

/// Before the first restart; doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Runs the main program, over and over as its policy says; returns the last code. Without a main
/// program it never returns.
pub(crate) async fn run(agent: &Agent, spec: &BoxSpec, console: Console) -> i32 {
    if spec.cmd.is_empty() {
        return std::future::pending().await;
    }
    let (mut failures, mut pause) = (0, PAUSE);
    loop {
        let code = match once(agent, spec, &console).await {
            Ok(status) => status.shell_code(),
            Err(error) => {
                console.write(format!("{error}\n").as_bytes());
                // As a shell says of what it could not run.
                126
            }
        };
        failures = if code == 0 { 0 } else { failures + 1 };
        let again = match spec.restart {
            RestartPolicy::Never => false,
            RestartPolicy::OnFailure { max_retries } => (1..=max_retries).contains(&failures),
            RestartPolicy::Always => true,
        };
        if !again {
            return code;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn once(agent: &Agent, spec: &BoxSpec, console: &Console) -> Result<ExitStatus, LinkError> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let serving = agent.clone();
    tokio::spawn(async move { serving.serve(theirs).await });
    let link = Link::open(ours).await?;
    let mut request = ExecRequest::argv(spec.cmd.iter().cloned());
    request.env = spec.env.clone().into_iter().collect();
    request.workdir.clone_from(&spec.workdir);
    request.user.clone_from(&spec.user);
    let mut exec = link.exec(request).await?;
    loop {
        match exec.next().await? {
            ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => console.write(&bytes),
            ExecEvent::Exit(status) => return Ok(status),
        }
    }
}
