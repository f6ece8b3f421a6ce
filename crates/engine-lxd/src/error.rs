//! What the server says, as what an engine says.

use boxherd_engine::{EngineError, LOST};
use boxherd_lxd_client::{Error, NewInstance};
use boxherd_model::{BoxId, ImageRef};

/// What to do about an operation that gets nowhere.
const STALLED: &str = "`lxc operation list` on the server says what it is at; `--patience` of `boxherd \
                       engine add` has such operations waited for longer";

/// A step that failed.
pub(crate) fn failed(step: impl Into<String>) -> impl FnOnce(Error) -> EngineError {
    let step = step.into();
    move |error| match error {
        error if error.may_go_on() => {
            let hint = if matches!(error, Error::Stalled { .. }) { STALLED } else { LOST };
            EngineError::Unfinished { step, source: error.into(), hint }
        }
        error @ Error::OperationForgotten { .. } => EngineError::Refused {
            step,
            source: error.into(),
            hint: Some("the server answers again: try it once more".to_owned()),
        },
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
fn is_lost(message: &str) -> bool {
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

/// Whether a member of a cluster could not be asked.
pub(crate) fn no_member(error: &Error) -> bool {
    let (Error::Server { message, .. } | Error::OperationFailed { message, .. }) = error else {
        return false;
    };
    is_lost(message)
}

/// Why an instance was not made in a project.
pub(crate) fn not_made(
    new: &NewInstance,
    image: &ImageRef,
    project: &str,
    error: Error,
) -> EngineError {
    let name = &new.name;
    if let Some(target) = &new.target {
        let refused = |reason: &str| EngineError::Refused {
            step: format!("make the instance `{name}` on the member `{target}`"),
            source: reason.into(),
            hint: Some(
                "`lxc cluster list` says which members there are, and how they are".to_owned(),
            ),
        };
        match &error {
            Error::NotFound { message } if message.contains("luster member") => {
                return refused("the cluster has no member of that name");
            }
            error if no_member(error) => return refused("the member does not answer"),
            _ => {}
        }
    }
    let no_image = |message: &str| EngineError::Image {
        image: image.to_string(),
        reason: message.to_owned(),
        hint: Some(format!(
            "`lxc image list --project {project}` says which images the server has"
        )),
    };
    match error {
        Error::Conflict { message } => EngineError::Refused {
            step: format!("make the instance `{name}`"),
            source: message.into(),
            hint: Some("the server has one of that name, which is not ours".to_owned()),
        },
        Error::NotFound { message } => no_image(&message),
        // Servers say it in many ways, of which none is a status.
        Error::BadRequest { message }
        | Error::OperationFailed { message, .. }
        | Error::Server { message, .. }
            if message.contains("mage") =>
        {
            no_image(&message)
        }
        error => failed(format!("make the instance `{name}`"))(error),
    }
}

/// An error and its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
