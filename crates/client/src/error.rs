//! What can go wrong, by what a caller can do about it. Pure.

use tonic::{Code, Status};

use crate::transport::TransportError;

/// What a server said when it refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For people, in one line.
    pub message: String,
    /// Boxherd's own code, finer than the kind of the error; `None` from other servers.
    pub code: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// The status of gRPC that it came with.
    pub status: Code,
}

impl Refusal {
    pub(crate) fn new(status: Code, message: impl Into<String>) -> Self {
        Self { message: message.into(), code: None, hint: None, status }
    }
}

/// Why something was not done.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// use boxherd_client::Error;
///
/// match client.boxes().get("web").await {
///     Ok(found) => println!("{} is {}", found.name, found.status),
///     Err(Error::NotFound(refusal)) => println!("{refusal}"),
///     Err(other) => return Err(other),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not there, or not the caller's.
    #[error("{0}")]
    NotFound(Refusal),
    /// The name is taken.
    #[error("{0}")]
    Exists(Refusal),
    /// It cannot be done in the state that the box or file is in.
    #[error("{0}")]
    WrongState(Refusal),
    /// Something else is being done to it at this moment.
    #[error("{0}")]
    Busy(Refusal),
    /// More than the quota, or than the host has.
    #[error("{0}")]
    Quota(Refusal),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(Refusal),
    /// The key or token is wrong, has ended or was taken back.
    #[error("{0}")]
    Unauthenticated(Refusal),
    /// The caller may not do this.
    #[error("{0}")]
    Denied(Refusal),
    /// The server does not offer it.
    #[error("{0}")]
    Unsupported(Refusal),
    /// It took too long.
    #[error("{0}")]
    TimedOut(Refusal),
    /// Too many keys were exchanged in a short time.
    #[error("too many exchanges of keys: wait {seconds} s")]
    RateLimited {
        /// How long to wait.
        seconds: u64,
    },
    /// The server failed, or answered what cannot be understood.
    #[error("{0}")]
    Server(Refusal),
    /// The server cannot be reached, or the connection to it was lost.
    #[error("{message}")]
    Unavailable {
        /// What happened, for people.
        message: String,
        /// Whether what was asked for may have been done all the same.
        maybe_done: bool,
    },
    /// The client was told something that it cannot work with.
    #[error("{0}")]
    Config(String),
    /// What was to be sent could not be read.
    #[error("cannot read what is to be written: {0}")]
    Source(String),
}

impl Error {
    /// What the server said, where it said something.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::NotFound(refusal)
            | Self::Exists(refusal)
            | Self::WrongState(refusal)
            | Self::Busy(refusal)
            | Self::Quota(refusal)
            | Self::Invalid(refusal)
            | Self::Unauthenticated(refusal)
            | Self::Denied(refusal)
            | Self::Unsupported(refusal)
            | Self::TimedOut(refusal)
            | Self::Server(refusal) => Some(refusal),
            Self::RateLimited { .. }
            | Self::Unavailable { .. }
            | Self::Config(_)
            | Self::Source(_) => None,
        }
    }

    /// The status of gRPC that this is, also where no server said it.
    ///
    /// ```no_run
    /// # fn example(error: boxherd_client::Error) {
    /// assert_eq!(error.status(), boxherd_client::Code::NotFound);
    /// # }
    /// ```
    #[must_use]
    pub fn status(&self) -> Code {
        match self {
            Self::RateLimited { .. } => Code::ResourceExhausted,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::Config(_) => Code::InvalidArgument,
            Self::Source(_) => Code::Cancelled,
            told => told.refusal().map_or(Code::Unknown, |refusal| refusal.status),
        }
    }

    /// What a status of gRPC means to a caller.
    ///
    /// ```no_run
    /// use boxherd_client::{Code, Error};
    ///
    /// assert!(matches!(Error::of(Code::Aborted, "it is being stopped"), Error::Busy(_)));
    /// ```
    #[must_use]
    pub fn of(status: Code, message: impl Into<String>) -> Self {
        of_refusal(Refusal::new(status, message))
    }

    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self::Server(Refusal::new(Code::Internal, message))
    }

    pub(crate) fn lost(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into(), maybe_done: true }
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        Self::Unavailable { message: error.message, maybe_done: error.sent }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        // Only what happened on the way has a source: what a server says comes as text.
        if let Some(source) = std::error::Error::source(&status) {
            return match source.downcast_ref::<TransportError>() {
                Some(error) => error.clone().into(),
                None => Self::lost(format!("the connection was lost: {source}")),
            };
        }
        let trailer = |name| {
            status.metadata().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let message = match status.message() {
            "" => status.code().description().to_owned(),
            message => message.to_owned(),
        };
        let (code, hint) = (trailer("boxherd-code"), trailer("boxherd-hint"));
        of_refusal(Refusal { message, code, hint, status: status.code() })
    }
}

fn of_refusal(refusal: Refusal) -> Error {
    match refusal.status {
        Code::NotFound => Error::NotFound(refusal),
        Code::AlreadyExists => Error::Exists(refusal),
        Code::FailedPrecondition => Error::WrongState(refusal),
        Code::Aborted => Error::Busy(refusal),
        Code::ResourceExhausted => Error::Quota(refusal),
        Code::InvalidArgument | Code::OutOfRange => Error::Invalid(refusal),
        Code::Unauthenticated => Error::Unauthenticated(refusal),
        Code::PermissionDenied => Error::Denied(refusal),
        Code::Unimplemented => Error::Unsupported(refusal),
        Code::DeadlineExceeded => Error::TimedOut(refusal),
        Code::Unavailable | Code::Cancelled => Error::lost(refusal.message),
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Error::Server(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_kept() {
        let mut status = Status::not_found("there is no box `web`");
        status.metadata_mut().insert("boxherd-code", "no-such-box".parse().unwrap());
        let Error::NotFound(refusal) = Error::from(status) else { panic!("another kind") };
        assert_eq!(refusal.code.as_deref(), Some("no-such-box"));
        assert_eq!(refusal.message, "there is no box `web`");
    }

    #[test]
    fn a_status_comes_back_as_it_went() {
        for number in 0..=16 {
            let code = Code::from_i32(number);
            let back = Error::of(code, "said").status();
            // Who takes a call back cannot know what became of it.
            let expected = if code == Code::Cancelled { Code::Unavailable } else { code };
            assert_eq!(back, expected, "{code:?}");
        }
    }

    #[test]
    fn what_never_left_is_told_apart() {
        let never = TransportError { message: "refused".to_owned(), sent: false };
        let status = Status::from_error(Box::new(never));
        let expected = Error::Unavailable { message: "refused".to_owned(), maybe_done: false };
        assert_eq!(Error::from(status), expected);
    }
}
