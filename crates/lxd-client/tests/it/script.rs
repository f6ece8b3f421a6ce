//! Clients of scripted servers.

use std::path::PathBuf;

pub(crate) use boxherd_testkit::{Act, Script};

use boxherd_lxd_client::{Client, Endpoint, Remote, Settings};

/// How a scripted server is asked.
pub(crate) trait Asked {
    /// A client that does not repeat calls of its own accord.
    fn client(&self) -> Client {
        self.patient_client(0)
    }

    /// A client that repeats calls so often.
    fn patient_client(&self, retries: u32) -> Client;
}

impl Asked for Script {
    fn patient_client(&self, retries: u32) -> Client {
        let settings = Settings {
            answer_limit: std::time::Duration::from_millis(300),
            retry_after: std::time::Duration::from_millis(1),
            retries,
            ..Settings::default()
        };
        Client::with_settings(&Remote::unix(self.socket()), settings).unwrap()
    }
}

/// A remote with several sockets.
pub(crate) fn several(sockets: impl IntoIterator<Item = PathBuf>) -> Remote {
    let endpoints = sockets.into_iter().map(Endpoint::Unix).collect();
    Remote { endpoints, ..Remote::unix("/") }
}
