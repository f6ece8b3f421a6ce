//! `/healthz` and `/metrics`.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use crate::Context;

/// How long whoever asks is let wait; those who watch servers wait ten seconds as a rule.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the store and every engine answer. Says what is the matter, but not where anything is:
/// anybody may ask.
pub(crate) async fn healthz(State(context): State<Context>) -> Response {
    let text = match timeout(PATIENCE, context.herd.check()).await {
        Ok(Ok(unreachable)) if unreachable.is_empty() => {
            return (StatusCode::OK, "ok\n").into_response();
        }
        Ok(Ok(unreachable)) => {
            let names: Vec<_> = unreachable.iter().map(ToString::to_string).collect();
            format!("engines that do not answer: {}\n", names.join(", "))
        }
        Ok(Err(error)) => {
            tracing::error!(error = %error.with_causes(), "not healthy");
            format!("{error}\n")
        }
        Err(_) => format!("no answer from the store or an engine within {PATIENCE:?}\n"),
    };
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// What the herd counts and times.
pub(crate) async fn metrics(State(context): State<Context>) -> Response {
    match context.herd.metrics().await {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "no metrics");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
