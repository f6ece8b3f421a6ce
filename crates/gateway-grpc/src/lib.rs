//! The boxd gRPC API: recognises who calls, translates, asks the herd, and translates back.
//!
//! No decision is made here that another front door would have to make again. [`service`](Api) has
//! one line for each method; `translate` has the messages, `status` the errors, both pure; what
//! streams (`exec`, `files`, `logs`) has a file of its own. A method that is not here answers
//! `UNIMPLEMENTED` with its name.
//!
//! Start reading in `service.rs`, then `exec.rs`.

mod accounts;
mod boxes;
mod checkpoints;
mod desk;
mod dial;
mod disks;
mod exec;
mod files;
mod forwards;
mod frames;
mod images;
mod kept;
mod logs;
mod machine;
mod proxies;
mod service;
mod shape;
mod snapshots;
mod status;
mod templates;
mod timers;
mod translate;
mod usage;
mod users;
mod variables;

use std::path::PathBuf;

use boxherd_boxd_api::boxd_api_server::BoxdApiServer;
use boxherd_herd::Herd;

pub use self::service::Api;
pub use self::status::status;

/// The largest message in either direction, in bytes: what SDKs from 0.2 on are set to.
pub const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// What the API says of the server it is part of.
#[derive(Debug, Clone)]
pub struct Config {
    /// Below which names of boxes are reached, such as `localhost`.
    pub zone: String,
    /// What goes before a box's name and after the zone in its address on the web: `http`, `:8080`.
    pub web: Option<Web>,
    /// The address of the host, for boxes that have none of their own.
    pub host: String,
    /// A folder for what clients send before it has its place. Files in it have no names.
    pub scratch: PathBuf,
}

/// Where boxes are reached by browsers.
#[derive(Debug, Clone)]
pub struct Web {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Of the proxy's listener.
    pub port: u16,
}

impl Config {
    /// The address of a name below the zone.
    #[must_use]
    pub fn url(&self, host: &str) -> String {
        match &self.web {
            None => String::new(),
            Some(Web { scheme: scheme @ "http", port: 80 })
            | Some(Web { scheme: scheme @ "https", port: 443 }) => {
                format!("{scheme}://{host}.{}", self.zone)
            }
            Some(Web { scheme, port }) => format!("{scheme}://{host}.{}:{port}", self.zone),
        }
    }
}

/// The API as a service for a gRPC server.
#[must_use]
pub fn service(herd: Herd, config: Config) -> BoxdApiServer<Api> {
    BoxdApiServer::new(Api::new(herd, config))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE)
}
