//! The exchange of an API key for a token, and when it is due again.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::body::{Body as _, Incoming};
use hyper::header::RETRY_AFTER;
use hyper::{Response, StatusCode};
use tokio::sync::Mutex;
use tonic::Code;

use crate::exchange::Exchange;
use crate::transport::Transport;
use crate::{Error, Refusal};

/// Where keys are exchanged.
pub(crate) const PATH: &str = "/api/v1/auth/token";
/// How long before its end a token is renewed, unless it lives less than twice as long.
const AHEAD: Duration = Duration::from_secs(300);
/// A token is used at least so long: a clock that is wrong is no reason to exchange at every call.
const AT_LEAST: Duration = Duration::from_secs(60);
/// How often a key is offered to a server that is asked too often, and how long is waited in between at most,
/// in seconds.
const TRIES: u32 = 5;
const PATIENCE: u64 = 5;
/// More is no answer.
const LONGEST: usize = 64 * 1024;

/// A secret that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[derive(Debug)]
pub(crate) enum Credentials {
    Key(Secret),
    Token(Secret),
}

#[derive(Debug)]
pub(crate) struct Login {
    credentials: Credentials,
    exchange: Exchange,
    current: Mutex<Option<Current>>,
}

#[derive(Debug, Clone)]
struct Current {
    token: Secret,
    due: Instant,
}

impl Login {
    pub(crate) fn new(credentials: Credentials, exchange: Exchange) -> Self {
        Self { credentials, exchange, current: Mutex::default() }
    }

    /// A token that is good for a while. One call at a time exchanges the key, the others wait.
    pub(crate) async fn get(&self, transport: &Transport) -> Result<Secret, Error> {
        let key = match &self.credentials {
            Credentials::Token(token) => return Ok(token.clone()),
            Credentials::Key(key) => key,
        };
        let mut current = self.current.lock().await;
        if let Some(current) = current.as_ref().filter(|current| Instant::now() < current.due) {
            return Ok(current.token.clone());
        }
        let fresh = self.exchange(key, transport).await?;
        let token = fresh.token.clone();
        *current = Some(fresh);
        Ok(token)
    }

    /// Forgets a token that was refused; `false` when there is no other to be had.
    pub(crate) async fn forget(&self, refused: &Secret) -> bool {
        if matches!(self.credentials, Credentials::Token(_)) {
            return false;
        }
        let mut current = self.current.lock().await;
        // Another call may have renewed it meanwhile.
        current.take_if(|current| current.token == *refused);
        true
    }

    async fn exchange(&self, key: &Secret, transport: &Transport) -> Result<Current, Error> {
        let body = serde_json::json!({ "api_key": key.0 }).to_string();
        let mut tries = 1..TRIES;
        let answer = loop {
            let answer = self.exchange.ask(transport, body.clone()).await?;
            if answer.status() != StatusCode::TOO_MANY_REQUESTS {
                break answer;
            }
            let seconds = retry_after(&answer);
            if seconds > PATIENCE || tries.next().is_none() {
                return Err(Error::RateLimited { seconds });
            }
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        };
        let status = answer.status();
        let text = read(answer.into_body()).await?;
        let said: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        match status {
            StatusCode::OK => understood(&said),
            status => Err(refused(status, &said)),
        }
    }
}

fn understood(said: &serde_json::Value) -> Result<Current, Error> {
    let token = said["token"].as_str().filter(|token| !token.is_empty());
    let expires = said["expires_at"].as_f64();
    let (Some(token), Some(expires)) = (token, expires) else {
        return Err(Error::server("the server's answer to the key is not understood"));
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ends = Duration::try_from_secs_f64(expires).unwrap_or_default();
    let due = Instant::now() + good_for(ends.saturating_sub(now));
    Ok(Current { token: Secret(token.to_owned()), due })
}

/// How long a token with so much time left is used.
fn good_for(left: Duration) -> Duration {
    // No token lives for years, and no clock is to overflow.
    let left = left.min(Duration::from_secs(365 * 24 * 3600));
    left.saturating_sub(AHEAD.min(left / 2)).max(AT_LEAST)
}

fn retry_after(answer: &Response<Incoming>) -> u64 {
    let header = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    header.and_then(|text| text.parse().ok()).unwrap_or(5)
}

fn refused(status: StatusCode, said: &serde_json::Value) -> Error {
    let why = said["error"].as_str().unwrap_or("it does not say why");
    match status {
        StatusCode::UNAUTHORIZED => Error::Unauthenticated(Refusal {
            message: format!("the server refuses the API key: {why}"),
            code: Some("unauthenticated".to_owned()),
            hint: None,
            status: Code::Unauthenticated,
        }),
        status => Error::server(format!("the API key cannot be exchanged ({status}): {why}")),
    }
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame =
            frame.map_err(|error| Error::lost(format!("the exchange broke off: {error}")))?;
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if text.len() > LONGEST {
            return Err(Error::server("the server's answer to the key is too long"));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        let seconds = Duration::from_secs;
        assert_eq!(good_for(seconds(3600)), seconds(3300));
        assert_eq!(good_for(seconds(200)), seconds(100));
        assert_eq!(good_for(seconds(0)), AT_LEAST);
    }

    #[test]
    fn secrets_are_not_printed() {
        assert!(!format!("{:?}", Secret("bxd_1".to_owned())).contains("bxd"));
    }
}
