//! Notices that a box has run out of memory where the kernel, as cgroup v1 does, kills one process
//! and leaves the others. What the agent of any other box does by itself, a warden does for an agent
//! that does not see the host's control groups.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use rustix::event::Timespec;

use crate::cgroup::MemoryWatch;

/// Between looks at the count after the bell has rung; nothing tells of its growth.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
/// How long after the bell the kernel may take to kill.
const PATIENCE: Duration = Duration::from_secs(10);

/// A watch over the memory of the box.
#[derive(Debug)]
pub(super) struct Shortage {
    bell: OwnedFd,
    kills: File,
    look_until: Option<Instant>,
}

impl Shortage {
    pub(super) fn watch(watch: MemoryWatch) -> io::Result<Self> {
        let this = Self { bell: watch.bell, kills: watch.kills.into(), look_until: None };
        // From now on a look needs no memory.
        this.has_killed()?;
        Ok(this)
    }

    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// After how long to look again; `None` until the bell rings.
    pub(super) fn next_look(&self) -> Option<Timespec> {
        self.look_until.map(|_| LOOK)
    }

    /// Whether a process of the box was killed for want of memory. The bell only says to look: the
    /// memory may be found after all, or be short around the box.
    pub(super) fn has_come(&mut self, rung: bool) -> io::Result<bool> {
        if rung {
            // It does not block; what it counts does not matter.
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
            self.look_until = Some(Instant::now() + PATIENCE);
        }
        let Some(until) = self.look_until else { return Ok(false) };
        if Instant::now() > until {
            self.look_until = None;
        }
        self.has_killed()
    }

    fn has_killed(&self) -> io::Result<bool> {
        let mut text = [0; 256];
        let length = self.kills.read_at(&mut text, 0)?;
        let text = String::from_utf8_lossy(&text[..length]);
        let count =
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse::<u64>().ok());
        let malformed = || io::Error::other("`memory.oom_control` does not count kills");
        count.map(|count| count > 0).ok_or_else(malformed)
    }
}
