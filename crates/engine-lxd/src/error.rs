//! What the server says, as what an engine says.

use boxherd_engine::EngineError;
use boxherd_lxd_client::Error;
use boxherd_model::BoxId;

/// A step that failed.
pub(crate) fn failed(step: impl Into<String>) -> impl FnOnce(Error) -> EngineError {
    let step = step.into();
    move |error| match error {
        error @ (Error::Connect { .. }
        | Error::NoEndpoint { .. }
        | Error::Broken { .. }
        | Error::Unavailable { .. }
        | Error::Timeout { .. }) => EngineError::Unreachable { source: error.into() },
        error @ (Error::Untrusted { .. } | Error::Pin { .. }) => EngineError::Refused {
            step,
            source: error.into(),
            hint: Some("`boxherd engine add` makes the server and this machine known".to_owned()),
        },
        error => EngineError::refused(step, error),
    }
}

/// The same where the server not knowing the instance means that there is no such box.
pub(crate) fn failed_of(id: BoxId, step: impl Into<String>) -> impl FnOnce(Error) -> EngineError {
    move |error| match error {
        Error::NotFound { .. } => EngineError::NoSuchBox(id),
        error => failed(step)(error),
    }
}
