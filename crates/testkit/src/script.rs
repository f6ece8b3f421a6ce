//! A scripted server on a unix socket: speaks HTTP/1.1, and answers as it is told, also as no real server
//! would.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// What the server does with one request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Answers with a status and JSON.
    Json(u16, serde_json::Value),
    /// Writes these bytes, and closes the connection.
    Raw(Vec<u8>),
    /// Says nothing, ever.
    Silence,
}

/// Says what is done with a request, given as `METHOD PATH`.
type Answer = Box<dyn FnMut(&str) -> Act + Send>;

/// A server that runs for as long as the runtime does that it was made in.
pub struct Script {
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    answer: Mutex<Answer>,
    seen: Mutex<Vec<String>>,
    bodies: Mutex<Vec<Vec<u8>>>,
}

impl Script {
    /// A server with a queue of acts, one for each request.
    ///
    /// # Panics
    ///
    /// When there is no act left for a request, or no socket can be made.
    pub fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        let mut acts: VecDeque<_> = acts.into_iter().collect();
        Self::answering(move |_| acts.pop_front().expect("an act for each request"))
    }

    /// A server that looks at each request, `METHOD PATH`, to say what it does with it.
    ///
    /// # Panics
    ///
    /// When no socket can be made.
    pub fn answering(answer: impl FnMut(&str) -> Act + Send + 'static) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("socket")).expect("a socket");
        let answer = Mutex::new(Box::new(answer) as Answer);
        let shared = Shared { answer, seen: Mutex::default(), bodies: Mutex::default() };
        let shared = Arc::new(shared);
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { folder, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The bodies of the requests so far that had one.
    ///
    /// # Panics
    ///
    /// When one of them is no JSON.
    #[must_use]
    pub fn bodies(&self) -> Vec<serde_json::Value> {
        let bodies = self.shared.bodies.lock().expect("nobody panicked");
        bodies.iter().map(|body| serde_json::from_slice(body).expect("JSON")).collect()
    }

    /// The requests so far, as `METHOD PATH`.
    ///
    /// # Panics
    ///
    /// When the server did.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().expect("nobody panicked").clone()
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("folder", &self.folder).finish_non_exhaustive()
    }
}

async fn serve(stream: UnixStream, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    while let Some((request, body)) = read_request(&mut stream).await {
        if !body.is_empty() {
            shared.bodies.lock().expect("nobody panicked").push(body);
        }
        let act = (shared.answer.lock().expect("nobody panicked"))(&request);
        shared.seen.lock().expect("nobody panicked").push(request);
        // Who hangs up has heard enough.
        let written = match act {
            Act::Json(status, body) => {
                let body = body.to_string();
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await
            }
            Act::Raw(bytes) => {
                drop(stream.write_all(&bytes).await);
                return;
            }
            Act::Silence => std::future::pending().await,
        };
        if written.is_err() {
            return;
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
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((first.rsplit_once(' ')?.0.to_owned(), body))
}
