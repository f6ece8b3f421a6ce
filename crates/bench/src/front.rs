//! What is measured: the herd, through what every front door calls.

use std::fmt;

use async_trait::async_trait;
use boxherd_link::Link;
use boxherd_model::{BoxName, Timings};

/// What the bench asks for. Every call returns when what was asked for is so, as a user of a front
/// door sees it: the journal and the checks are part of what is measured.
#[async_trait]
pub trait Front: fmt::Debug + Send + Sync {
    /// Makes a box with every default and a limited disk where that can be had, and starts it;
    /// returns how long the phases took.
    async fn create(&self, name: &BoxName) -> anyhow::Result<Timings>;

    /// A link to the agent of a running box; maybe one that others use too.
    async fn link(&self, name: &BoxName) -> anyhow::Result<Link>;

    /// Freezes a box.
    async fn suspend(&self, name: &BoxName) -> anyhow::Result<()>;

    /// Thaws a box.
    async fn resume(&self, name: &BoxName) -> anyhow::Result<()>;

    /// Makes copies of a running box and starts them; returns how long the phases took.
    async fn fork(&self, source: &BoxName, copies: &[BoxName]) -> anyhow::Result<Timings>;

    /// The names of every box there is, half-made ones too.
    async fn names(&self) -> anyhow::Result<Vec<BoxName>>;

    /// Removes a box in any state.
    async fn delete(&self, name: &BoxName) -> anyhow::Result<()>;
}
