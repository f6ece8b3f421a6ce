//! Lets browsers into boxes: a reverse proxy that finds the box by the name that is called
//! (`BOX.ZONE`, `PROXY.BOX.ZONE`, or a domain that is bound to a box) and carries the request to a
//! port in it, by a short way or over the box's link (`way`).
//!
//! This room knows no listener and no certificate: [`router`] is served by `gateway-http`. Where
//! names lead is for `herd` to say. `headers` is pure; `pool` keeps connections to boxes for the next
//! request; `answer` is what is said when there is none from the box.
//!
//! Start reading in `forward.rs`.

mod answer;
mod auto;
mod body;
mod forward;
mod forwards;
mod grpc;
mod headers;
mod patience;
mod pool;
mod refusal;
mod routes;
mod upgrade;
mod visits;
mod way;
mod websocket;

pub use forwards::serve_forwards;

use std::sync::Arc;

use axum::Router;
use boxherd_herd::Herd;
use tokio::sync::Semaphore;

use crate::auto::Ports;
use crate::grpc::Calls;
use crate::pool::Pool;
use crate::routes::Routes;
use crate::visits::Visits;

/// What the proxy is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Below which names of boxes are reached, such as `localhost`.
    pub zone: String,
    /// How browsers reach the proxy: `http` or `https`.
    pub scheme: &'static str,
}

/// What requests share.
#[derive(Debug)]
struct Proxy {
    herd: Herd,
    config: Config,
    routes: Routes,
    ports: Ports,
    visits: Visits,
    pool: Arc<Pool>,
    calls: Calls,
    /// For short ways to boxes.
    room: Arc<Semaphore>,
    ends: way::Ends,
}

/// The proxy as a router that takes every request. Must be called within a tokio runtime.
pub fn router(herd: Herd, config: Config) -> Router {
    let pool = Pool::start();
    let proxy = Proxy {
        herd,
        config,
        routes: Routes::default(),
        ports: Ports::default(),
        visits: Visits::default(),
        pool,
        calls: Calls::default(),
        room: way::room(),
        ends: way::Ends::default(),
    };
    Router::new().fallback(forward::forward).with_state(Arc::new(proxy))
}
