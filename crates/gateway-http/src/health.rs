//! `/healthz` and `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use boxherd_model::BoxState;

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

/// Boxes by state, in the text format of Prometheus.
pub(crate) async fn metrics(State(context): State<Context>) -> Response {
    let listing = match context.herd.list().await {
        Ok(listing) => listing,
        Err(error) => {
            tracing::error!(%error, "no metrics");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    };
    let mut counts: BTreeMap<&str, usize> =
        BoxState::ALL.iter().map(|state| (state.as_str(), 0)).collect();
    for status in &listing.boxes {
        *counts.entry(status.state.as_str()).or_default() += 1;
    }
    let mut text =
        String::from("# HELP boxherd_boxes Boxes by state.\n# TYPE boxherd_boxes gauge\n");
    for (state, count) in counts {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "boxherd_boxes{{state=\"{state}\"}} {count}");
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, text).into_response()
}
