//! The server's door: listeners that speak HTTP/1.1, HTTP/2 and gRPC on one port, with and without
//! TLS, and the plain HTTP routes: the exchange of keys for tokens, health, metrics.
//!
//! What is served besides ([`router`]) is put together by the command line; this room knows no gRPC.
//!
//! Start reading in [`listen`], then [`exchange`].

pub mod acme;
pub mod exchange;
mod health;
pub mod listen;
mod preface;
pub mod tls;

pub use rustls::ServerConfig as Tls;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use boxherd_herd::Herd;

use crate::exchange::Limits;

/// The longest body of a request to the routes of this room, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// What the routes work with.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    herd: Herd,
    limits: Arc<Limits>,
}

/// The HTTP routes.
pub fn router(herd: Herd) -> Router {
    let context = Context { herd, limits: Arc::default() };
    Router::new()
        .route("/api/v1/auth/token", post(exchange::exchange))
        .route("/healthz", get(health::healthz))
        .route("/metrics", get(health::metrics))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(context)
}
