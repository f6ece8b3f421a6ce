//! The agent as the host sees it: through a link, over a socket pair, in this process.

mod exec;
mod facts;
mod far;
mod files;
mod guest;
mod lost;
mod program;

use std::time::Duration;

use boxherd_agent::{Agent, AgentConfig};
use boxherd_link::{Collected, ExecRequest, Link};
use bytes::Bytes;
use tokio::net::UnixStream;

/// Long enough for anything that is going to happen on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An agent on the paths of this machine.
pub(crate) fn agent() -> Agent {
    Agent::new(AgentConfig::default()).unwrap()
}

/// A new link to an agent.
pub(crate) async fn link_to(agent: &Agent) -> Link {
    let (host, guest) = UnixStream::pair().unwrap();
    let agent = agent.clone();
    tokio::spawn(async move { agent.serve(guest).await });
    Link::open(host).await.unwrap()
}

/// A link to an agent of its own.
pub(crate) async fn link() -> Link {
    link_to(&agent()).await
}

/// Runs a shell line without input and gathers what it did.
pub(crate) async fn shell(link: &Link, line: &str) -> Collected {
    collect(link, ExecRequest::shell(line)).await
}

/// Runs a command without input and gathers what it did.
pub(crate) async fn collect(link: &Link, request: ExecRequest) -> Collected {
    let exec = link.exec(request).await.unwrap();
    within(exec.collect(Bytes::new(), usize::MAX)).await.unwrap()
}

/// Fails the test instead of hanging it.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it took too long")
}
