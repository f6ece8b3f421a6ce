//! The envelope of all answers: `{type, status, status_code, operation, error_code, error, metadata}`.

use hyper::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::operations::OperationInfo;

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_code: u16,
    #[serde(default)]
    metadata: Value,
}

/// What a call was answered with.
pub(crate) enum Answer {
    /// The result.
    Sync(Value),
    /// An operation that goes on.
    Async(OperationInfo),
}

/// Opens an envelope.
pub(crate) fn open(call: &str, status: StatusCode, body: &[u8]) -> Result<Answer> {
    let envelope: Envelope = match serde_json::from_slice(body) {
        Ok(envelope) => envelope,
        Err(_) if !status.is_success() => {
            let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
            return Err(refusal(call, status.as_u16(), text.trim().to_owned()));
        }
        Err(error) => return Err(Error::protocol(call, error)),
    };
    match envelope.kind.as_str() {
        "sync" => Ok(Answer::Sync(envelope.metadata)),
        "async" => Ok(Answer::Async(metadata(call, envelope.metadata)?)),
        "error" => {
            let code = if envelope.error_code == 0 { status.as_u16() } else { envelope.error_code };
            Err(refusal(call, code, envelope.error))
        }
        other => Err(Error::protocol(call, format!("an answer of type `{other}`"))),
    }
}

/// What an answer is about, typed.
pub(crate) fn metadata<T: DeserializeOwned>(call: &str, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::protocol(call, error))
}

/// Whether a name is taken, which LXD 5.0 and Incus 6.0 say with any status, or as an operation's
/// failure, and in these words only.
pub(crate) fn is_taken(message: &str) -> bool {
    message.contains("already exists") || message.contains("UNIQUE constraint failed")
}

/// The error that a status stands for.
pub(crate) fn refusal(call: &str, status: u16, message: String) -> Error {
    match status {
        _ if is_taken(&message) => Error::Conflict { message },
        400 => Error::BadRequest { message },
        // An untrusted client gets 403 with `not authorized`; 401 is what Incus may say.
        401 => Error::Untrusted { call: call.to_owned() },
        403 if message == "not authorized" || message.is_empty() => {
            Error::Untrusted { call: call.to_owned() }
        }
        403 => Error::Forbidden { message },
        404 => Error::NotFound { message },
        409 => Error::Conflict { message },
        412 => Error::Changed { message },
        500 if message.ends_with("no such file or directory") => Error::NotFound { message },
        503 => Error::Unavailable { message },
        _ => Error::Server { status, message },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn opened(status: u16, body: &str) -> Result<Answer> {
        open("GET /1.0", StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn results_operations_and_errors_are_told_apart() {
        let sync = opened(200, r#"{"type":"sync","status_code":200,"metadata":{"a":1}}"#);
        assert!(matches!(sync, Ok(Answer::Sync(value)) if value["a"] == 1));
        let body = r#"{"type":"async","operation":"/1.0/operations/u","metadata":{"id":"u"}}"#;
        assert!(matches!(opened(202, body), Ok(Answer::Async(info)) if info.id == "u"));
        let body = r#"{"type":"error","error":"gone","error_code":404}"#;
        assert!(matches!(opened(404, body), Err(Error::NotFound { message }) if message == "gone"));
    }

    #[test]
    fn statuses_have_their_errors() {
        let error = |status, words: &str| refusal("GET /x", status, words.to_owned());
        assert!(matches!(error(403, "not authorized"), Error::Untrusted { .. }));
        assert!(matches!(error(403, "User does not have permission"), Error::Forbidden { .. }));
        assert!(matches!(error(409, "busy"), Error::Conflict { .. }));
        assert!(matches!(error(400, "Alias already exists"), Error::Conflict { .. }));
        assert!(matches!(error(412, "ETag doesn't match"), Error::Changed { .. }));
        assert!(matches!(error(500, "open /x: no such file or directory"), Error::NotFound { .. }));
        assert!(matches!(error(503, "starting up"), Error::Unavailable { .. }));
        assert!(matches!(error(502, "?"), Error::Server { status: 502, .. }));
    }

    #[test]
    fn an_answer_that_is_no_envelope_is_told() {
        assert!(matches!(opened(200, "<html>"), Err(Error::Protocol { .. })));
        assert!(matches!(opened(200, "{}"), Err(Error::Protocol { .. })));
        assert!(matches!(opened(502, "<html>bad gateway"), Err(Error::Server { status: 502, .. })));
        let body = r#"{"type":"async","metadata":null}"#;
        assert!(matches!(opened(202, body), Err(Error::Protocol { .. })));
    }

    proptest! {
        #[test]
        fn garbage_does_not_panic(status in 200..600_u16, body in ".{0,64}") {
            drop(opened(status, &body));
        }
    }
}
