//! Why there is no answer from a box. Pure.

use std::error::Error;
use std::time::Duration;

use axum::http::StatusCode;
use boxherd_herd::HerdError;
use boxherd_link::LinkError;

/// Why there is no answer from a box.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The name leads nowhere.
    NoSuchName,
    /// The request is none that can be passed on.
    Malformed(&'static str),
    /// The request wants to become something that this proxy does not know.
    NoSuchProtocol,
    /// A private proxy wants a token.
    NoToken,
    /// The program in the box answered the request for a websocket with something else.
    NoWebsocket,
    /// The system gives none.
    NoRandomness,
    /// The herd refuses: the box is stopped, say.
    Herd(HerdError),
    /// The link or the port does not answer.
    Link(LinkError),
    /// An automatic proxy found nothing to lead to.
    NothingListens,
    /// What listens there hung up, or speaks no HTTP.
    Closed(hyper::Error),
    /// What listens there took the request and says nothing.
    Silent(Duration),
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchName | Self::Herd(HerdError::NoSuch { .. } | HerdError::NoSuchBox(_)) => {
                StatusCode::NOT_FOUND
            }
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::NoSuchProtocol => StatusCode::NOT_IMPLEMENTED,
            Self::NoRandomness => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoToken => StatusCode::UNAUTHORIZED,
            Self::Herd(HerdError::Refused { .. } | HerdError::Busy { .. }) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Link(LinkError::Silent { .. }) | Self::Silent(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Herd(_)
            | Self::Link(_)
            | Self::NothingListens
            | Self::NoWebsocket
            | Self::Closed(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// What was seen, for the log.
    pub(crate) fn cause(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Herd(error) => Some(error),
            Self::Link(error) => Some(error),
            Self::Closed(error) => Some(error),
            _ => None,
        }
    }

    /// For whoever looks at the page, who is nobody in particular: no causes, no hints, no ids.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::NoSuchName | Self::Herd(HerdError::NoSuch { .. } | HerdError::NoSuchBox(_)) => {
                "no box answers to this name".to_owned()
            }
            Self::Malformed(what) => (*what).to_owned(),
            Self::NoSuchProtocol => "this proxy knows no such protocol but `websocket`".to_owned(),
            Self::NoWebsocket => "the program in the box opens no websocket here".to_owned(),
            Self::NoRandomness => "the server has no random numbers".to_owned(),
            Self::NoToken => {
                "this address is private: send a token of somebody who may use the box, as \
                 `authorization: Bearer`"
                    .to_owned()
            }
            Self::Herd(HerdError::Refused { refusal, .. }) => refusal.to_string(),
            Self::Herd(HerdError::Busy { .. }) => "the box is being changed, try again".to_owned(),
            Self::Herd(_) => "the box cannot be reached".to_owned(),
            Self::Link(error @ LinkError::Dial { .. }) => error.to_string(),
            Self::Link(_) => "the box does not answer".to_owned(),
            Self::NothingListens => "nothing listens on any port in the box".to_owned(),
            Self::Closed(_) => {
                "the program in the box closed the connection without an answer".to_owned()
            }
            Self::Silent(after) => {
                format!("the program in the box did not answer within {} s", after.as_secs())
            }
        }
    }
}

impl From<HerdError> for Refusal {
    fn from(error: HerdError) -> Self {
        Self::Herd(error)
    }
}
