//! `/healthz` and `/metrics`.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::Context;

/// Whether the store and every engine answer.
pub(crate) async fn healthz(State(context): State<Context>) -> Response {
    match context.herd.list().await {
        Ok(listing) if listing.unreachable.is_empty() => (StatusCode::OK, "ok\n").into_response(),
        Ok(listing) => {
            let names = listing.unreachable.iter().map(|(name, _)| name.to_string());
            let names: Vec<_> = names.collect();
            let text = format!("engines that do not answer: {}\n", names.join(", "));
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "not healthy");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response()
        }
    }
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
