//! `POST /api/v1/auth/token`: an API key for a token of an hour.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, extract::rejection::JsonRejection};
use boxherd_herd::{Audited, HerdError, Source};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;

use crate::Context;

/// Exchanges that one source has a minute: every program that ends after one command needs one.
const A_MINUTE: NonZeroU32 = NonZeroU32::new(1200).expect("not zero");
/// Of which so many may fail.
const FAILURES: NonZeroU32 = NonZeroU32::new(30).expect("not zero");
/// After so many exchanges, sources that have been quiet are forgotten.
const FORGET_EVERY: u32 = 256;

/// How often each source has asked, and with wrong keys.
#[derive(Debug)]
pub struct Limits {
    all: DefaultKeyedRateLimiter<String>,
    failures: DefaultKeyedRateLimiter<String>,
    /// Until when sources are shut out that failed too often.
    shut_out: Mutex<HashMap<String, Instant>>,
    asked: AtomicU32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            all: DefaultKeyedRateLimiter::keyed(Quota::per_minute(A_MINUTE)),
            failures: DefaultKeyedRateLimiter::keyed(Quota::per_minute(FAILURES)),
            shut_out: Mutex::default(),
            asked: AtomicU32::new(0),
        }
    }
}

impl Limits {
    /// `Err`: how long the source has to wait.
    fn admit(&self, source: &str) -> Result<(), Duration> {
        let now = Instant::now();
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.all.retain_recent();
            self.failures.retain_recent();
            self.shut_out.lock().retain(|_, until| *until > now);
        }
        if let Some(until) = self.shut_out.lock().get(source).filter(|until| **until > now) {
            return Err(*until - now);
        }
        let admitted = self.all.check_key(&source.to_owned());
        admitted.map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }

    /// The key of the source was none.
    fn failed(&self, source: &str) {
        if let Err(not_until) = self.failures.check_key(&source.to_owned()) {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            self.shut_out.lock().insert(source.to_owned(), Instant::now() + wait);
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    api_key: String,
}

pub(crate) async fn exchange(
    State(context): State<Context>,
    Extension(source): Extension<Source>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Response {
    if let Err(wait) = context.limits.admit(host(&source.to_string())) {
        let seconds = seconds(wait).to_string();
        let told = told(StatusCode::TOO_MANY_REQUESTS, "too many exchanges, try again later");
        return ([(header::RETRY_AFTER, seconds)], told).into_response();
    }
    let Json(asked) = match asked {
        Ok(asked) => asked,
        Err(refused) => return told(refused.status(), &refused.body_text()),
    };
    match context.herd.exchange(&asked.api_key).await {
        Ok(token) => Json(json!({
            "token": token.token.reveal(),
            "expires_at": token.expires.millis() / 1000,
        }))
        .into_response(),
        Err(error @ HerdError::Unauthenticated(_)) => {
            let source = source.to_string();
            context.limits.failed(host(&source));
            let audited = Audited { source, action: "token.exchange", ..Audited::default() };
            context.herd.audit(audited, error.code()).await;
            told(StatusCode::UNAUTHORIZED, &error.to_string())
        }
        Err(error) => {
            tracing::error!(error = %error.with_causes(), "a key could not be exchanged");
            match error {
                // Of the store and not of the key; it may pass.
                HerdError::Store(error) => {
                    told(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
                }
                _ => told(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the exchange failed, see the server's log",
                ),
            }
        }
    }
}

/// After so many whole seconds it has been waited for so long, and not a moment less.
fn seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// The port is another one each time.
fn host(source: &str) -> &str {
    source.rsplit_once(':').map_or(source, |(host, _)| host)
}

fn told(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_refused_after_its_share_and_others_are_not() {
        let limits = Limits::default();
        for _ in 0..A_MINUTE.get() {
            limits.admit("10.0.0.1").unwrap();
        }
        let wait = limits.admit("10.0.0.1").unwrap_err();
        assert!(wait <= Duration::from_secs(3), "{wait:?}");
        limits.admit("10.0.0.2").unwrap();
    }

    #[test]
    fn a_source_whose_keys_are_wrong_is_shut_out_much_earlier() {
        let limits = Limits::default();
        for _ in 0..=FAILURES.get() {
            limits.admit("10.0.0.1").unwrap();
            limits.failed("10.0.0.1");
        }
        let wait = limits.admit("10.0.0.1").unwrap_err();
        assert!(wait <= Duration::from_secs(3), "{wait:?}");
        limits.admit("10.0.0.2").unwrap();
    }

    #[test]
    fn whoever_waits_as_told_has_waited_long_enough() {
        assert_eq!(seconds(Duration::from_millis(1001)), 2);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::ZERO), 1);
    }

    #[test]
    fn ports_do_not_tell_sources_apart() {
        assert_eq!(host("10.0.0.1:5"), "10.0.0.1");
        assert_eq!(host("[::1]:5"), "[::1]");
        assert_eq!(host("unix"), "unix");
    }
}
