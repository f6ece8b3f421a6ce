//! Commands that are over before everything that belongs to them is connected.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use boxherd_lxd_client::{Client, Error, ExecRequest, Remote};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::guest::{remove, tiny, unique, with_lab};

/// What the ways to a server have in common.
struct Ways {
    server: PathBuf,
    /// The secret of the control of the last command.
    control: Mutex<String>,
    /// One for each connection that the server has ended.
    ended: Semaphore,
}

impl Ways {
    /// The control of a command comes to the server once both outputs have ended.
    fn to(server: &Path, socket: &Path) {
        let listener = UnixListener::bind(socket).unwrap();
        let (control, ended) = (Mutex::default(), Semaphore::new(0));
        let ways = Arc::new(Self { server: server.to_owned(), control, ended });
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&ways).carry(near));
            }
        });
    }

    /// The server is connected to when there is something to say: LXD 5.0 takes no other connection
    /// meanwhile.
    async fn carry(self: Arc<Self>, near: UnixStream) {
        let (mut asks, mut hears) = near.into_split();
        let Some(first) = self.asked(&mut asks).await else { return };
        let far = UnixStream::connect(&self.server).await.unwrap();
        let (mut answers, mut listens) = far.into_split();
        let there = async {
            let mut next = Some(first);
            while let Some(piece) = next {
                if listens.write_all(&piece).await.is_err() {
                    return;
                }
                next = self.asked(&mut asks).await;
            }
        };
        let back = async {
            while let Some(piece) = read(&mut answers).await {
                let text = String::from_utf8_lossy(&piece);
                if let Some((_, secret)) = text.split_once("\"control\":\"") {
                    let secret = secret.split('"').next().unwrap();
                    secret.clone_into(&mut self.control.lock().unwrap());
                }
                if hears.write_all(&piece).await.is_err() {
                    return;
                }
            }
            self.ended.add_permits(1);
        };
        tokio::select! {
            () = there => {}
            () = back => {}
        }
    }

    /// What the client says next; for the control, once both outputs have ended.
    async fn asked(&self, asks: &mut OwnedReadHalf) -> Option<Vec<u8>> {
        let piece = read(asks).await?;
        let text = String::from_utf8_lossy(&piece);
        let control = self.control.lock().unwrap().clone();
        if text.contains("/websocket?") && text.contains(&control) {
            self.ended.acquire_many(2).await.unwrap().forget();
        }
        Some(piece)
    }
}

async fn read(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut piece = vec![0; 64 << 10];
    let count = from.read(&mut piece).await.ok().filter(|count| *count > 0)?;
    piece.truncate(count);
    Some(piece)
}

#[test]
fn a_command_that_is_over_before_its_control_is_there_is_heard_to_its_end() {
    let test = "a_command_that_is_over_before_its_control_is_there_is_heard_to_its_end";
    with_lab(test, async |client, lab| {
        let guest = client.instance(&unique("late"));
        client.create_instance(&tiny(guest.name())).await.unwrap().wait().await.unwrap();
        guest.start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        Ways::to(&lab.socket, &socket);
        let late = Client::new(&Remote::unix(&socket)).unwrap().instance(guest.name());
        for command in [&["echo", "said"][..], &["/no/such/program"]].repeat(5) {
            let mut exec =
                late.exec_at_once(&ExecRequest::new(command.iter().copied())).await.unwrap();
            let mut out = Vec::new();
            exec.stdout.read_to_end(&mut out).await.unwrap();
            match exec.wait().await {
                Ok(0) => assert_eq!(out, b"said\n"),
                Ok(code) => assert_eq!((code, command.len()), (127, 1)),
                Err(error) => {
                    assert!(matches!(error, Error::OperationFailed { .. }), "{error:?}");
                    assert_eq!(command.len(), 1);
                }
            }
        }
        remove(&guest).await;
    });
}
