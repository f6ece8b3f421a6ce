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

/// The error that a status stands for.
pub(crate) fn refusal(call: &str, status: u16, message: String) -> Error {
    // LXD 5.0 says so with 400 and 500, and these words only.
    let exists = message.contains("already exists");
    match status {
        _ if exists => Error::Conflict { message },
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
        503 => Error::Unavailable { message },
        _ => Error::Server { status, message },
    }
}
