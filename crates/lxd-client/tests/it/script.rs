//! A scripted server: answers as it is told, also as no real server would.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use boxherd_lxd_client::{Client, Endpoint, Remote, Settings};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// What the server does with one request.
pub(crate) enum Act {
    /// Answers with a status and JSON.
    Json(u16, serde_json::Value),
    /// Writes these bytes, and closes the connection.
    Raw(Vec<u8>),
    /// Says nothing, ever.
    Silence,
}

/// A server on a unix socket, with a queue of acts, one for each request.
pub(crate) struct Script {
    folder: tempfile::TempDir,
    seen: Arc<Mutex<Vec<String>>>,
    bodies: Bodies,
}

type Bodies = Arc<Mutex<Vec<Vec<u8>>>>;

impl Script {
    pub(crate) fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let acts = Arc::new(Mutex::new(acts.into_iter().collect::<VecDeque<_>>()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let bodies = Bodies::default();
        let script = Self { folder, seen: Arc::clone(&seen), bodies: Arc::clone(&bodies) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(
                    stream,
                    Arc::clone(&acts),
                    Arc::clone(&seen),
                    Arc::clone(&bodies),
                ));
            }
        });
        script
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A client that does not repeat calls of its own accord.
    pub(crate) fn client(&self) -> Client {
        self.patient_client(0)
    }

    /// A client that repeats calls so often.
    pub(crate) fn patient_client(&self, retries: u32) -> Client {
        let settings = Settings {
            answer_limit: std::time::Duration::from_millis(300),
            retry_after: std::time::Duration::from_millis(1),
            retries,
            ..Settings::default()
        };
        Client::with_settings(&Remote::unix(self.socket()), settings).unwrap()
    }

    /// The bodies of the requests so far that had one.
    pub(crate) fn bodies(&self) -> Vec<serde_json::Value> {
        let bodies = self.bodies.lock().unwrap();
        bodies.iter().map(|body| serde_json::from_slice(body).unwrap()).collect()
    }

    /// The requests so far, as `METHOD PATH`.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// A remote with several sockets.
pub(crate) fn several(sockets: impl IntoIterator<Item = PathBuf>) -> Remote {
    let endpoints = sockets.into_iter().map(Endpoint::Unix).collect();
    Remote { endpoints, ..Remote::unix("/") }
}

async fn serve(
    stream: UnixStream,
    acts: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<Mutex<Vec<String>>>,
    bodies: Bodies,
) {
    let mut stream = BufReader::new(stream);
    while let Some((request, body)) = read_request(&mut stream).await {
        if !body.is_empty() {
            bodies.lock().unwrap().push(body);
        }
        seen.lock().unwrap().push(request);
        let act = acts.lock().unwrap().pop_front().expect("an act for each request");
        match act {
            Act::Json(status, body) => {
                let body = body.to_string();
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            }
            Act::Raw(bytes) => {
                stream.write_all(&bytes).await.unwrap();
                return;
            }
            Act::Silence => std::future::pending().await,
        }
    }
}

/// Reads one request with its body; `None` when the client is gone.
async fn read_request(stream: &mut BufReader<UnixStream>) -> Option<(String, Vec<u8>)> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok().filter(|read| *read > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((first.rsplit_once(' ').unwrap().0.to_owned(), body))
}
