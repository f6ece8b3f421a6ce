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
        // The server answers, and the member that it asks does not.
        Error::Server { message, .. } if is_lost(&message) => EngineError::Unreachable {
            source: format!("a member of the cluster does not answer: {message}").into(),
        },
        error @ (Error::Untrusted { .. } | Error::Pin { .. }) => EngineError::Refused {
            step,
            source: error.into(),
            hint: Some("`boxherd engine add` makes the server and this machine known".to_owned()),
        },
        error => EngineError::refused(step, error),
    }
}

/// Whether the server could not ask the member that has something, which LXD 5.0 says in these words only.
pub(crate) fn is_lost(message: &str) -> bool {
    const WORDS: [&str; 3] =
        ["Missing event connection with target", "Unable to connect to: ", "member is offline"];
    WORDS.iter().any(|words| message.contains(words))
}

/// The same where the server not knowing the instance means that there is no such box.
pub(crate) fn failed_of(id: BoxId, step: impl Into<String>) -> impl FnOnce(Error) -> EngineError {
    move |error| match error {
        Error::NotFound { .. } => EngineError::NoSuchBox(id),
        error => failed(step)(error),
    }
}
