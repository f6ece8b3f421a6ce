//! A server of the client's own, on a data folder of this machine.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::endpoint::Endpoint;
use crate::exchange::Exchange;
use crate::login::{Credentials, Login, Secret};
use crate::transport::Transport;
use crate::{Client, Error};

/// The program, unless the variable names another.
const PROGRAM: &str = "boxherd";
const VARIABLE: &str = "BOXHERD_BIN";
/// In the data folder.
const SOCKET: &str = "embedded.sock";
const KEY: &str = "embedded.key";
/// What is told of a server that did not start, in bytes.
const TOLD: u64 = 4096;

/// A server that ends when this is dropped: its standard input ends then, as it does when this
/// process is killed.
#[derive(Debug)]
pub(crate) struct Embedded {
    _lifeline: ChildStdin,
}

/// Starts a server and connects to it.
pub(crate) async fn start(data: &Path) -> Result<Client, Error> {
    let data = std::path::absolute(data).map_err(|error| cannot("use the data folder", &error))?;
    let socket = data.join(SOCKET);
    let key = kept_or_new(&data.join(KEY))?;
    let mut child =
        spawn(&data, &socket, &key).map_err(|error| cannot("start `boxherd`", &error))?;
    let lifeline = child.stdin.take().ok_or_else(|| lacks("standard input"))?;
    listening(&mut child).await?;
    // Only now: the engine makes the folder.
    keep(&data.join(KEY), &key).map_err(|error| cannot("keep its API key", &error))?;
    tokio::spawn(async move { child.wait().await });
    let endpoint = Endpoint::Unix(socket);
    let origin = endpoint.origin()?;
    let login = Login::new(Credentials::Key(key), Exchange::Here(origin.clone()));
    let embedded = Embedded { _lifeline: lifeline };
    Client::over(Transport::new(endpoint, None), login, origin, Some(embedded)).await
}

fn spawn(data: &Path, socket: &Path, key: &Secret) -> io::Result<Child> {
    let program = std::env::var_os(VARIABLE).filter(|named| !named.is_empty());
    let mut place = std::ffi::OsString::from("unix:");
    place.push(socket);
    Command::new(program.unwrap_or_else(|| PROGRAM.into()))
        .arg("--data")
        .arg(data)
        .args(["serve", "--until-input-ends", "--listen"])
        .arg(place)
        .env("BOXHERD_BOOTSTRAP_KEY", &key.0)
        // It is to serve, and not to ask another.
        .env_remove("BOXHERD_SERVER")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Waits until the server says that it listens, or has ended.
async fn listening(child: &mut Child) -> Result<(), Error> {
    let output = child.stdout.take().ok_or_else(|| lacks("standard output"))?;
    let mut errors = child.stderr.take().ok_or_else(|| lacks("standard error"))?;
    let mut lines = BufReader::new(output).lines();
    let line = lines.next_line().await.map_err(|error| cannot("hear of the server", &error))?;
    if line.is_some_and(|line| line.starts_with("listening on ")) {
        // Read on, so that the server never waits for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        tokio::spawn(async move { tokio::io::copy(&mut errors, &mut tokio::io::sink()).await });
        return Ok(());
    }
    let mut told = Vec::new();
    let read = errors.take(TOLD).read_to_end(&mut told).await;
    read.map_err(|error| cannot("hear of the server", &error))?;
    let told = String::from_utf8_lossy(&told);
    Err(Error::Config(format!("`boxherd serve` did not start: {}", told.trim())))
}

/// The key that the folder's server knows already, or another.
fn kept_or_new(file: &Path) -> Result<Secret, Error> {
    match fs::read_to_string(file) {
        Ok(kept) => Ok(Secret(kept.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut random = [0; 32];
            rustls::crypto::aws_lc_rs::default_provider()
                .secure_random
                .fill(&mut random)
                .map_err(|_| Error::Config("there is no randomness for a key".to_owned()))?;
            let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(Secret(format!("bxd_{hex}")))
        }
        Err(error) => Err(cannot("read its API key", &error)),
    }
}

/// For its owner only.
fn keep(file: &Path, key: &Secret) -> io::Result<()> {
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    file.write_all(key.0.as_bytes())
}

fn cannot(what: &str, error: &io::Error) -> Error {
    Error::Config(format!("cannot {what}: {error}"))
}

fn lacks(what: &str) -> Error {
    Error::Config(format!("the server was started without {what}"))
}
