//! What a run is made with.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use boxherd_link::{ExecEvent, ExecRequest, Link};
use boxherd_model::{BoxName, Timings};
use bytes::Bytes;
use futures_util::future::try_join_all;

use crate::Front;
use crate::programs::Program;

/// What to measure, and how thoroughly.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only these contests, by name; every one when empty.
    pub only: Vec<String>,
    /// Rounds of the fast contests; the slow ones make a tenth of it, at least 3.
    pub rounds: u32,
    /// How many boxes are made in a burst.
    pub boxes: u32,
    /// How many idle boxes are weighed.
    pub idle: u32,
    /// Bytes of the file that goes in and out.
    pub file_size: u64,
    /// Whether peers that are installed take part.
    pub peers: bool,
    /// A folder for what peers and the floor need, on the file system of the boxes' disks.
    pub scratch: PathBuf,
}

impl Options {
    /// A run of a minute or two.
    #[must_use]
    pub fn new(scratch: impl Into<PathBuf>) -> Self {
        let (only, scratch) = (Vec::new(), scratch.into());
        Self { only, rounds: 100, boxes: 100, idle: 500, file_size: 1 << 30, peers: true, scratch }
    }

    /// Rounds of a contest that is slow.
    pub(crate) fn few(&self) -> u32 {
        (self.rounds / 10).max(3)
    }
}

/// Whom to measure.
#[derive(Debug, Clone)]
pub struct Context {
    /// The herd, in this process.
    pub front: Arc<dyn Front>,
    /// `boxherd` and its global arguments, such as `--data DIR`, for figures of whole processes;
    /// they are left out when it is empty.
    pub program: Vec<OsString>,
}

/// Boxes of one run: made, used, and removed again.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) front: Arc<dyn Front>,
    pub(crate) program: Option<Program>,
    pub(crate) options: Options,
    pub(crate) skipped: Vec<String>,
    next: AtomicU32,
}

impl Bench {
    pub(crate) fn new(options: Options, context: Context) -> Self {
        let program = (!context.program.is_empty()).then_some(Program(context.program));
        Self {
            front: context.front,
            program,
            options,
            skipped: Vec::new(),
            next: AtomicU32::new(0),
        }
    }

    /// A name that no other box of this machine has.
    pub(crate) fn name(&self) -> BoxName {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{number}", Self::prefix());
        name.parse().expect("digits make a name")
    }

    /// What the names of this run begin with.
    fn prefix() -> String {
        format!("bench-{}-", std::process::id())
    }

    /// Removes what a contest that failed, or was broken off, has left.
    pub(crate) async fn clean(&self) -> anyhow::Result<()> {
        let mut left = self.front.names().await.context("cannot look for boxes that are left")?;
        left.retain(|name| name.as_str().starts_with(&Self::prefix()));
        self.remove(&left).await.context("cannot remove the boxes of this run")
    }

    pub(crate) fn names(&self, count: u32) -> Vec<BoxName> {
        (0..count).map(|_| self.name()).collect()
    }

    /// A box that runs.
    pub(crate) async fn make(&self) -> anyhow::Result<(BoxName, Timings)> {
        let name = self.name();
        let timings = self.front.create(&name).await.context("cannot make a box")?;
        Ok((name, timings))
    }

    /// Removes boxes, many at once.
    pub(crate) async fn remove(&self, names: &[BoxName]) -> anyhow::Result<()> {
        try_join_all(names.iter().map(|name| self.front.delete(name))).await?;
        Ok(())
    }
}

/// Runs a command to its first output; the rest of it is left to its fate.
pub(crate) async fn first_output(link: &Link, request: ExecRequest) -> anyhow::Result<()> {
    let mut exec = link.exec(request).await?;
    match exec.next().await? {
        ExecEvent::Stdout(_) => Ok(()),
        other => anyhow::bail!("output was expected, and there was {other:?}"),
    }
}

/// Runs a command to its end, which must be a good one.
pub(crate) async fn finish(link: &Link, request: ExecRequest) -> anyhow::Result<()> {
    let done = link.exec(request).await?.collect(Bytes::new(), 4096).await?;
    let errors = String::from_utf8_lossy(&done.stderr);
    anyhow::ensure!(done.status.success(), "it ended with {:?}: {errors}", done.status);
    Ok(())
}
