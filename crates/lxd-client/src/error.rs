//! What can go wrong, by what a caller can do about it.

use std::time::Duration;

use crate::tls::Fingerprint;

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection to an endpoint, so nothing was asked of it. The call may be repeated.
    #[error("cannot connect to `{endpoint}`")]
    Connect {
        /// The endpoint, as [`crate::Endpoint`] is printed.
        endpoint: String,
        /// What the system, or TLS, said.
        #[source]
        source: std::io::Error,
    },
    /// None of several endpoints can be connected to. The call may be repeated.
    #[error("none of {} endpoints can be reached: {}", causes.len(), list(causes))]
    NoEndpoint {
        /// Why, for each.
        causes: Vec<Error>,
    },
    /// The connection ended in the middle of a call: what became of it is not known.
    #[error("the connection to `{endpoint}` broke during `{call}`")]
    Broken {
        /// The endpoint.
        endpoint: String,
        /// Method and path.
        call: String,
        /// What broke it.
        #[source]
        source: std::io::Error,
    },
    /// The server has another certificate than the pinned one.
    #[error("`{endpoint}` has the certificate {found}, not the trusted {pinned}")]
    Pin {
        /// The endpoint.
        endpoint: String,
        /// The certificate that is trusted.
        pinned: Fingerprint,
        /// The one that the server has.
        found: Fingerprint,
    },
    /// The server does not know this client's certificate (or it has none).
    #[error("the server does not trust this client (`{call}`)")]
    Untrusted {
        /// Method and path.
        call: String,
    },
    /// There is no such thing, or not in this project.
    #[error("not found: {message}")]
    NotFound {
        /// The server's words.
        message: String,
    },
    /// It exists already, or is in use.
    #[error("conflict: {message}")]
    Conflict {
        /// The server's words.
        message: String,
    },
    /// What was read to be changed has changed in the meantime (`ETag`): read it again.
    #[error("it was changed by another: {message}")]
    Changed {
        /// The server's words.
        message: String,
    },
    /// The server understood, and refuses.
    #[error("bad request: {message}")]
    BadRequest {
        /// The server's words.
        message: String,
    },
    /// This client may not do that.
    #[error("forbidden: {message}")]
    Forbidden {
        /// The server's words.
        message: String,
    },
    /// The server is too old for what was asked, or of the other kind.
    #[error("the server lacks the API extension `{extension}`")]
    MissingExtension {
        /// Its name, as in `api_extensions`.
        extension: String,
    },
    /// The server is starting, ending, or a cluster without a quorum. The call may be repeated.
    #[error("the server is not available: {message}")]
    Unavailable {
        /// The server's words.
        message: String,
    },
    /// The server failed, or answered with a status that this client has no name for.
    #[error("the server failed with {status}: {message}")]
    Server {
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// An operation ended in failure.
    #[error("`{operation}` failed: {message}")]
    OperationFailed {
        /// What it was to do, in the server's words.
        operation: String,
        /// The server's words.
        message: String,
    },
    /// An operation was cancelled.
    #[error("`{operation}` was cancelled")]
    Cancelled {
        /// What it was to do, in the server's words.
        operation: String,
    },
    /// The server was lost while an operation was under way. It is not known what became of it, and it
    /// may still be under way.
    #[error("the server was lost while it did `{operation}`")]
    OperationLost {
        /// What it was to do, in the server's words.
        operation: String,
        /// How the server was seen last.
        #[source]
        source: Box<Error>,
    },
    /// The server answers and knows nothing of an operation that was under way: it was started anew
    /// meanwhile, which ends all of them, or has forgotten how it ended. It is not under way any more.
    #[error("the server knows nothing of `{operation}` any more: it was started anew meanwhile")]
    OperationForgotten {
        /// What it was to do, in the server's words.
        operation: String,
    },
    /// An operation is under way, and the server says that nothing of it has changed for too long.
    #[error("`{operation}` of `{endpoint}` has shown no progress for {after:?} (operation {id})")]
    Stalled {
        /// The endpoint that was asked last.
        endpoint: String,
        /// What it was to do, in the server's words.
        operation: String,
        /// Its UUID.
        id: String,
        /// For how long.
        after: Duration,
    },
    /// No answer in time: what became of the call is not known.
    #[error("no answer to `{call}` within {after:?}")]
    Timeout {
        /// Method and path.
        call: String,
        /// How long was waited.
        after: Duration,
    },
    /// The answer is none that the API has.
    #[error("unexpected answer to `{call}`: {what}")]
    Protocol {
        /// Method and path.
        call: String,
        /// What is wrong with it.
        what: String,
    },
    /// Something that the caller passed cannot be used: an address, a certificate, a file.
    #[error("{what}: {why}")]
    Invalid {
        /// What it is.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file of this machine, or a stream that the caller passed, cannot be read or written.
    #[error("{what}")]
    Io {
        /// What was done with what.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Whether nothing can have happened on the server, so that the call may be repeated.
    #[must_use]
    pub fn nothing_happened(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::NoEndpoint { .. } | Self::Unavailable { .. })
    }

    /// Whether something was begun on the server of which nobody knows what became, and that may still
    /// be under way.
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        match self {
            Self::OperationLost { .. } | Self::Stalled { .. } => true,
            // What only reads begins nothing.
            Self::Broken { call, .. } | Self::Timeout { call, .. } => !call.starts_with("GET "),
            _ => false,
        }
    }

    /// Whether the server, or the way to it, is gone for now.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::NoEndpoint { .. }
                | Self::Broken { .. }
                | Self::Unavailable { .. }
                | Self::Timeout { .. }
        )
    }

    /// Whether the thing that was asked for is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    pub(crate) fn protocol(call: impl Into<String>, what: impl ToString) -> Self {
        Self::Protocol { call: call.into(), what: what.to_string() }
    }

    pub(crate) fn invalid(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Invalid { what: what.into(), why: why.to_string() }
    }
}

fn list(causes: &[Error]) -> String {
    use std::error::Error as _;
    let line = |cause: &Error| match cause.source() {
        Some(source) => format!("{cause}: {source}"),
        None => cause.to_string(),
    };
    causes.iter().map(line).collect::<Vec<_>>().join("; ")
}
