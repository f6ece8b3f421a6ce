//! The running part of a box.

use boxherd_engine::{EngineError, LinkStream};
use boxherd_model::StopReason;

/// The agent of a box and what it started.
#[derive(Debug)]
pub(crate) struct Guest {
    ended: Option<StopReason>,
}

impl Guest {
    pub(crate) fn start() -> Self {
        Self { ended: None }
    }

    /// Why it ended by itself; `None` while it runs.
    pub(crate) fn ended(&self) -> Option<StopReason> {
        self.ended
    }

    pub(crate) fn connect(&self) -> Result<Box<dyn LinkStream>, EngineError> {
        Err(EngineError::refused("connect", "this fake has no agent yet"))
    }
}
