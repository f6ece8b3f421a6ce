//! Notices that the box has run out of memory where the kernel, as cgroup v1 does, kills one process
//! and leaves the others.
//!
//! The kernel rings before it kills. It rings as well when a group around the box has no memory,
//! whose victim may be in another box; when what was short is found after all; and when the group is
//! removed. So the bell only says to look, and the count of killed processes is what is true. It is
//! also what the engine reads to say why the box has ended, whoever ended it.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use boxherd_sys::watch::Watched;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use tokio::time::Instant;

/// Between looks at the count after the bell has rung; nothing tells of its growth.
const LOOK: Duration = Duration::from_millis(2);
/// How long after the bell the kernel may take to kill: it kills for one group at a time, and writes
/// to its log about each.
const PATIENCE: Duration = Duration::from_secs(10);

/// A watch over the memory of the box; of no use where the kernel needs none.
#[derive(Debug)]
pub(super) struct Memory(Option<Watch>);

#[derive(Debug)]
struct Watch {
    bell: Watched,
    kills: File,
}

impl Memory {
    /// Begins to watch with a bell and `memory.oom_control`. Must be called within a tokio runtime.
    pub(super) fn watch(given: Option<(OwnedFd, OwnedFd)>) -> io::Result<Self> {
        let Some((bell, kills)) = given else { return Ok(Self(None)) };
        fcntl_setfl(&bell, OFlags::NONBLOCK)?;
        let memory = Self(Some(Watch { bell: Watched::new(bell)?, kills: kills.into() }));
        // The kernel charges a buffer for this file to the box and keeps it: from now on a look
        // needs no memory.
        memory.has_run_out()?;
        Ok(memory)
    }

    /// Whether a process of the box was killed for want of memory. The kernel counts it before it
    /// sends the signal.
    pub(super) fn has_run_out(&self) -> io::Result<bool> {
        self.0.as_ref().map_or(Ok(false), Watch::has_run_out)
    }

    /// Waits until one was.
    pub(super) async fn runs_out(&self) -> io::Result<()> {
        let Some(watch) = &self.0 else { return std::future::pending().await };
        loop {
            poll_fn(|cx| watch.poll_ring(cx)).await?;
            let deadline = Instant::now() + PATIENCE;
            while Instant::now() < deadline {
                if watch.has_run_out()? {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

impl Watch {
    fn has_run_out(&self) -> io::Result<bool> {
        let mut text = [0; 256];
        let length = self.kills.read_at(&mut text, 0)?;
        let malformed = || io::Error::other("`memory.oom_control` does not count kills");
        kills(&text[..length]).map(|count| count > 0).ok_or_else(malformed)
    }

    /// Ready when the bell has rung since this was last ready.
    fn poll_ring(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.bell.poll_read_ready(cx))?;
            match rustix::io::read(&self.bell, &mut [0; 8]) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }
}

/// How many processes were killed, of a `memory.oom_control`.
fn kills(text: &[u8]) -> Option<u64> {
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    lines.find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_among_similar_lines() {
        let text = |count: u64| format!("oom_kill_disable 1\nunder_oom 1\noom_kill {count}\n");
        assert_eq!(kills(text(0).as_bytes()), Some(0));
        assert_eq!(kills(text(12).as_bytes()), Some(12));
        assert_eq!(kills(b"oom_kill_disable 1\nunder_oom 1\n"), None);
        assert_eq!(kills(b"\xff"), None);
    }
}
