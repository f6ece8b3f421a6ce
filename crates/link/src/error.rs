//! What can go wrong between a host and an agent.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::mux::Violation;

/// Why something over a link failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// The link ended: the agent is gone, or the stream to it broke. Commands keep running in the
    /// box for their `detach_ttl`; a new link can reattach.
    #[error("the link to the agent was lost: {reason}")]
    Lost {
        /// What was seen, such as `connection reset by peer`.
        reason: String,
    },
    /// This side closed the link.
    #[error("the link was closed")]
    Closed,
    /// The agent did not answer a greeting or a question in time. A suspended box is silent.
    #[error("the agent did not answer within {} s", .after.as_secs())]
    Silent {
        /// How long it was given.
        after: Duration,
    },
    /// The agent broke the protocol. The link is closed; nothing it sent is believed any more.
    #[error("the agent broke the protocol")]
    Protocol(#[source] Violation),
    /// The agent speaks only protocols that this program does not.
    #[error("the agent speaks protocol {theirs}, this program needs at least {ours}")]
    Version {
        /// The newest protocol of the agent.
        theirs: u32,
        /// The oldest protocol of this program.
        ours: u32,
    },
    /// The agent of this box is too old for the request; it changes when the box restarts.
    #[error("the agent of this box does not know `{feature}`")]
    Feature {
        /// What was asked for.
        feature: String,
    },
    /// The agent refused the request, such as an exec by a user that does not exist.
    #[error("{message}")]
    Refused {
        /// Its reason. Text of the box: not trusted, only shown.
        message: String,
    },
    /// A file operation failed in the box.
    #[error("{op} `{}`: {}", .path.display(), ErrnoText(*.errno))]
    File {
        /// The operation, such as `write`.
        op: &'static str,
        /// The path that was asked for.
        path: PathBuf,
        /// The error number of the box's kernel; see `errno(3)`.
        errno: i32,
    },
    /// No program listens on the port in the box.
    #[error("nothing answers on port {port} in the box: {}", ErrnoText(*.errno))]
    Dial {
        /// The port.
        port: u16,
        /// The error number of the box's kernel.
        errno: i32,
    },
    /// No such command: it ended longer ago than its `detach_ttl`, or the agent was restarted.
    #[error("the agent knows no exec `{id}`")]
    UnknownExec {
        /// The id that was asked for.
        id: crate::ExecId,
    },
    /// Output before the offsets was given up because the client had acknowledged it.
    #[error("output of exec `{id}` before the asked-for offset is gone")]
    OutputGone {
        /// The id that was asked for.
        id: crate::ExecId,
    },
    /// Another client reattached to this command and has it now.
    #[error("another client took over this exec")]
    TakenOver,
    /// The answer is larger than this side keeps in memory.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl LinkError {
    /// The stream broke with this error.
    #[must_use]
    pub(crate) fn lost(error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the stream".to_owned(),
            _ => error.to_string(),
        };
        Self::Lost { reason }
    }

    /// The error number, when the box's kernel gave one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::File { errno, .. } | Self::Dial { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Whether the link is unusable from now on, as opposed to one request having failed.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Closed | Self::Protocol(_) | Self::Version { .. })
    }
}

impl From<LinkError> for io::Error {
    fn from(error: LinkError) -> Self {
        match error.errno() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None if error.is_fatal() => io::Error::new(io::ErrorKind::BrokenPipe, error),
            None => io::Error::other(error),
        }
    }
}

/// An error number in the kernel's words, without the `(os error N)` that `io::Error` adds.
struct ErrnoText(i32);

impl fmt::Display for ErrnoText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = io::Error::from_raw_os_error(self.0).to_string();
        let end = text.rfind(" (os error").unwrap_or(text.len());
        let mut chars = text[..end].chars();
        match chars.next() {
            Some(first) => write!(f, "{}{}", first.to_lowercase(), chars.as_str()),
            None => write!(f, "error {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_errors_name_operation_path_and_cause() {
        let error = LinkError::File { op: "write", path: "/a/b".into(), errno: 2 };
        assert_eq!(error.to_string(), "write `/a/b`: no such file or directory");
        assert_eq!(error.errno(), Some(2));
    }

    #[test]
    fn an_errno_survives_the_way_through_io() {
        let error: io::Error = LinkError::Dial { port: 80, errno: 111 }.into();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
