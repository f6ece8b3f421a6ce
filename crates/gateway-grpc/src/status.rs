//! Errors as gRPC statuses. Pure.

use boxherd_engine::EngineError;
use boxherd_herd::HerdError;
use boxherd_link::LinkError;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// The trailer with the stable code of an error, which is finer than gRPC's.
const CODE: &str = "boxherd-code";
/// The longest message, in characters: trailers have to fit into what clients take (8 KiB), and a
/// name that was given may be of any length.
const LONGEST: usize = 1000;
/// The trailer that says what to do.
const HINT: &str = "boxherd-hint";

/// The status of an error: its code, the error and its causes in one line, and in trailers our own
/// code and what to do.
///
/// Nothing is ever `UNAVAILABLE`: clients repeat what was, and it may have been done.
#[must_use]
pub fn status(error: &HerdError) -> Status {
    let message: String = error.with_causes().chars().take(LONGEST).collect();
    let mut status = Status::new(code(error), message);
    let trailers = status.metadata_mut();
    trailers.insert(CODE, MetadataValue::from_static(error.code()));
    let hint = error.hint().and_then(|hint| MetadataValue::try_from(hint).ok());
    if let Some(hint) = hint {
        trailers.insert(HINT, hint);
    }
    status
}

fn code(error: &HerdError) -> Code {
    match error {
        HerdError::NoSuchBox(_)
        | HerdError::NoSuch { .. }
        | HerdError::NoSuchEngine(_)
        | HerdError::NoSuchSnapshot { .. }
        | HerdError::Ended { reason: None, .. } => Code::NotFound,
        HerdError::Invalid { .. } => Code::InvalidArgument,
        HerdError::Unauthenticated(_) => Code::Unauthenticated,
        HerdError::Denied(_) => Code::PermissionDenied,
        HerdError::Quota { .. } => Code::ResourceExhausted,
        HerdError::Ambiguous { .. }
        | HerdError::NotOffered { .. }
        | HerdError::Refused { .. }
        | HerdError::Ended { reason: Some(_), .. }
        | HerdError::NotBegun { .. }
        | HerdError::Program { .. } => Code::FailedPrecondition,
        HerdError::Stale { .. } | HerdError::Busy { .. } => Code::Aborted,
        HerdError::Create { source, .. } | HerdError::Engine { source, .. } => of_engine(source),
        HerdError::Link { source, .. } => of_link(source),
        HerdError::Store(source) => of_store(source.code()),
        HerdError::Lock { .. }
        | HerdError::Randomness(_)
        | HerdError::Signature(_)
        | HerdError::Unreadable { .. } => Code::Internal,
    }
}

fn of_engine(error: &EngineError) -> Code {
    match error {
        EngineError::NoSuchBox(_) | EngineError::NoSuchDisk(_) | EngineError::Image { .. } => {
            Code::NotFound
        }
        EngineError::WrongState { .. } | EngineError::DiskInUse { .. } => Code::FailedPrecondition,
        EngineError::MountPath { .. } => Code::InvalidArgument,
        EngineError::Unsupported(_) => Code::Unimplemented,
        EngineError::Exhausted { .. } => Code::ResourceExhausted,
        EngineError::AgentSilent { .. } => Code::DeadlineExceeded,
        EngineError::Fenced(_) => Code::Aborted,
        EngineError::Refused { .. }
        | EngineError::Unfinished { .. }
        | EngineError::Unreachable { .. } => Code::Internal,
    }
}

fn of_link(error: &LinkError) -> Code {
    match error {
        LinkError::File { errno, .. } => of_errno(*errno),
        LinkError::Dial { .. } | LinkError::Refused { .. } => Code::FailedPrecondition,
        LinkError::Feature { .. } => Code::Unimplemented,
        LinkError::Silent { .. } => Code::DeadlineExceeded,
        LinkError::UnknownExec { .. } => Code::NotFound,
        LinkError::OutputGone { .. } => Code::OutOfRange,
        LinkError::TakenOver => Code::Aborted,
        LinkError::TooLarge { .. } => Code::ResourceExhausted,
        LinkError::Lost { .. }
        | LinkError::Closed
        | LinkError::Protocol(_)
        | LinkError::Version { .. } => Code::Internal,
    }
}

/// What the kernel of the box said (`errno(3)`).
fn of_errno(errno: i32) -> Code {
    use std::io::ErrorKind as Kind;
    match std::io::Error::from_raw_os_error(errno).kind() {
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Code::PermissionDenied,
        Kind::StorageFull | Kind::QuotaExceeded => Code::ResourceExhausted,
        Kind::InvalidInput | Kind::InvalidFilename => Code::InvalidArgument,
        Kind::NotADirectory | Kind::IsADirectory | Kind::DirectoryNotEmpty => {
            Code::FailedPrecondition
        }
        _ => Code::Internal,
    }
}

fn of_store(code: &str) -> Code {
    match code {
        "name-taken" | "snapshot-taken" | "taken" => Code::AlreadyExists,
        "key-taken" | "store-busy" => Code::Aborted,
        "store-full" => Code::ResourceExhausted,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use boxherd_model::{BoxState, Refusal, Request};

    use super::*;

    #[test]
    fn what_is_not_there_is_not_found_and_says_what_to_do() {
        let status = status(&HerdError::NoSuchBox("web".parse().unwrap()));
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "there is no box `web`");
        assert_eq!(status.metadata().get(CODE).unwrap(), "no-such-box");
        assert!(status.metadata().get(HINT).is_some());
    }

    #[test]
    fn a_message_fits_into_a_trailer() {
        let error = HerdError::NoSuch { what: "token", name: "x".repeat(1 << 20) };
        assert_eq!(status(&error).message().len(), LONGEST);
    }

    #[test]
    fn causes_are_told() {
        let refusal = Refusal::NotRunning { state: BoxState::Stopped };
        let refused = HerdError::Refused { name: "web".to_owned(), request: Request::Use, refusal };
        let status = status(&refused);
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "cannot use `web`: the box is stopped, not running");
    }

    #[test]
    fn files_that_are_missing_are_not_found() {
        let source = LinkError::File { op: "read", path: "/a".into(), errno: 2 };
        let error = HerdError::Link { name: "web".to_owned(), source };
        assert_eq!(code(&error), Code::NotFound);
    }
}
