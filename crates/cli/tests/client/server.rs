//! A server of the test's own, and clients of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use boxherd_client::{Builder, Client};
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{Lab, Said};

/// The key of `admin`; it protects nothing.
pub(crate) const KEY: &str = "bxd_only-for-tests-0123456789";

/// Runs a test on an event loop, with a server; says aloud when it cannot.
macro_rules! with_server {
    ($($test:ident($server:ident) $body:block)*) => {$(
        #[test]
        fn $test() {
            #[allow(unused_mut, reason = "not every test changes the server")]
            let Some(mut $server) = $crate::server::Server::open(stringify!($test)) else { return };
            let runtime = tokio::runtime::Runtime::new().expect("an event loop");
            runtime.block_on(async { $body });
        }
    )*};
}
pub(crate) use with_server;

/// A server and the folder of its boxes. Dropped, the server ends first.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    pub(crate) url: String,
    pub(crate) socket: String,
    more: Vec<String>,
    pub(crate) lab: Lab,
    _folder: tempfile::TempDir,
}

#[derive(Debug)]
struct Process(Child);

impl Process {
    fn end(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::TERM).expect("it runs");
        let ended = self.0.wait().expect("it is ours");
        assert!(std::thread::panicking() || ended.success(), "the server ended with {ended}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.0.try_wait().expect("it is ours").is_none() {
            self.end();
        }
    }
}

impl Server {
    /// `None` when the test cannot run here, which was said aloud.
    pub(crate) fn open(test: &str) -> Option<Self> {
        Self::open_with(test, &[])
    }

    /// The same, with more arguments for `serve`.
    pub(crate) fn open_with(test: &str, more: &[&str]) -> Option<Self> {
        Lab::open(test).map(|lab| Self::open_on(lab, more))
    }

    /// The same on a data folder that is there.
    pub(crate) fn open_on(lab: Lab, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = format!("unix:{}", folder.path().join("s").display());
        let more: Vec<String> = more.iter().map(|&argument| argument.to_owned()).collect();
        let (process, url) = start(&lab, "127.0.0.1:0", &socket, &more);
        Self { process, url, socket, more, lab, _folder: folder }
    }

    /// The status and the text of an answer to `GET`.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, "")
    }

    /// The same with more lines in the head.
    pub(crate) fn get_with(&self, path: &str, head: &str) -> (u16, String) {
        let (_, place) = self.url.split_once("://").expect("a URL");
        let mut stream = TcpStream::connect(place).expect("it listens");
        let asked = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n");
        stream.write_all(asked.as_bytes()).expect("it reads");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("it answers");
        let (head, body) = said.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    pub(crate) fn builder(&self) -> Builder {
        Client::builder().endpoint(&self.url).api_key(KEY)
    }

    pub(crate) async fn client(&self) -> Client {
        self.builder().connect().await.expect("the server answers")
    }

    /// Ends the server.
    pub(crate) fn end(&mut self) {
        self.process.end();
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.0.kill().expect("it runs");
        self.process.0.wait().expect("it is ours");
    }

    /// Starts it again where it was.
    pub(crate) fn again(&mut self) {
        let (_, place) = self.url.split_once("://").expect("a URL");
        let place = place.to_owned();
        (self.process, self.url) = start(&self.lab, &place, &self.socket, &self.more);
    }

    /// The command line, which asks this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_boxherd"));
        command
            .args(["--server", &self.url])
            .args(arguments)
            .stdin(Stdio::null())
            .env("BOXHERD_API_KEY", KEY)
            .env("BOXHERD_DATA", nowhere());
        command
    }

    pub(crate) fn boxherd(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().expect("boxherd runs").into()
    }
}

/// What is asked of a server needs no data folder.
fn nowhere() -> PathBuf {
    "/proc/no-such-folder".into()
}

fn start(lab: &Lab, tcp: &str, socket: &str, more: &[String]) -> (Process, String) {
    let mut child = lab
        .command(&["serve", "--listen", tcp, "--listen", socket])
        .args(more)
        .env("BOXHERD_BOOTSTRAP_KEY", KEY)
        .stdout(Stdio::piped())
        .spawn()
        .expect("boxherd runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let process = Process(child);
    let line = lines.next().expect("a line").expect("text");
    let url = line.strip_prefix("listening on ").expect(&line).to_owned();
    let line = lines.next().expect("a line").expect("text");
    assert!(line.contains("unix:"), "{line}");
    // Read on, so that the server never waits for us.
    std::thread::spawn(move || lines.for_each(drop));
    (process, url)
}
