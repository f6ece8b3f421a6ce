//! Stands between the store and a server, and cuts one connection at its commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

use boxherd_testkit::PostgresServer as Server;

/// Where Postgres listens in a folder, for the port that it has unless it is told otherwise.
const SOCKET: &str = ".s.PGSQL.5432";

/// What happens to the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// It reaches the server, and the answer reaches nobody.
    Answer,
    /// It does not reach the server.
    Question,
    /// It does not reach the server, and nothing else does afterwards.
    Everything,
}

/// A way to the server that can be cut; it ends when this is dropped.
pub(super) struct Proxy {
    folder: tempfile::TempDir,
    armed: Arc<AtomicBool>,
    listening: JoinHandle<()>,
}

impl Proxy {
    pub(super) fn new(server: &Server, cut: Cut) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let armed = Arc::new(AtomicBool::new(false));
        let listening = tokio::spawn(listen(listener, server.socket(), Arc::clone(&armed), cut));
        Self { folder, armed, listening }
    }

    /// Has the next commit cut, and no other.
    pub(super) fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    pub(super) fn has_cut(&self) -> bool {
        !self.armed.load(Ordering::SeqCst)
    }

    pub(super) fn url(&self) -> String {
        format!("host={} user=boxherd dbname=postgres", self.folder.path().display())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(
    listener: UnixListener,
    server: std::path::PathBuf,
    armed: Arc<AtomicBool>,
    cut: Cut,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted.unwrap();
                let server = UnixStream::connect(&server).await.unwrap();
                connections.spawn(carry(client, server, Arc::clone(&armed), cut));
            }
            Some(ended) = connections.join_next() => {
                if ended.unwrap() && cut == Cut::Everything {
                    return;
                }
            }
        }
    }
}

/// Carries one connection until an end of it closes or it is cut. Says whether it was cut.
async fn carry(
    mut client: UnixStream,
    mut server: UnixStream,
    armed: Arc<AtomicBool>,
    cut: Cut,
) -> bool {
    let (mut asked, mut answered) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            count = client.read(&mut asked) => {
                let Ok(count @ 1..) = count else { return false };
                let question = &asked[..count];
                if is_commit(question) && armed.swap(false, Ordering::SeqCst) {
                    if cut == Cut::Answer {
                        server.write_all(question).await.unwrap();
                        assert_ne!(server.read(&mut answered).await.unwrap(), 0);
                    }
                    return true;
                }
                server.write_all(question).await.unwrap();
            }
            count = server.read(&mut answered) => {
                let Ok(count @ 1..) = count else { return false };
                if client.write_all(&answered[..count]).await.is_err() {
                    return false;
                }
            }
        }
    }
}

/// A simple query is `Q`, its length, its text and a zero. It is sent when its turn comes, by itself.
fn is_commit(question: &[u8]) -> bool {
    question.starts_with(b"Q") && question.ends_with(b"COMMIT\0")
}
