//! The others on the same way: the server's own client, and the connector for pyinfra.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use boxherd_lxd_client::{Config, Flavour, Locations};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::way::Way;
use crate::peers::installed;
use crate::programs::Program;

/// What the way is called in the configuration of the peers.
const REMOTE: &str = "server";
/// The driver of the connector.
const SCRIPT: &str = include_str!("peer.py");

/// The folder of the peers on one way; there for as long as one of them runs, which may be longer than
/// anybody waits for it.
#[derive(Debug)]
pub(crate) struct Home {
    pub(super) folder: TempDir,
    // Dropped last.
    pub(super) _busy: mpsc::Sender<()>,
}

/// Who is there.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) client: Option<OwnClient>,
    pub(crate) connector: Option<Connector>,
}

impl Peers {
    /// Looks who can go that way. Their configuration is made below `home`. Who is absent is named in
    /// `skipped`.
    pub(crate) fn gather(
        way: &Way,
        home: &Arc<Home>,
        python: Option<&Path>,
        skipped: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let folder = home.folder.path().join(".config/lxc");
        configure(way, &folder).context("cannot configure the peers")?;
        let client = OwnClient::of(way, home, folder);
        if !installed(client.program) {
            skipped.push(format!("{} exec: not installed", client.program));
        }
        let client = Some(client).filter(|client| installed(client.program));
        let connector = match (python, way.distance) {
            (Some(python), Some(_)) => Some(Connector::start(python, home, way.name.as_str())?),
            // It knows no unix sockets.
            (Some(_), None) => None,
            (None, _) => {
                let why = "no Python with it was named: `--python`";
                skipped.push(format!("pyinfra-lxd-api-connector: {why}"));
                None
            }
        };
        Ok(Self { client, connector })
    }
}

/// A configuration, as `lxc` has it, with the way as its only remote.
fn configure(way: &Way, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for name in ["client.crt", "client.key"] {
        let from = way.server.folder.join(name);
        if from.exists() {
            fs::copy(&from, folder.join(name))?;
        }
    }
    let (folders, sockets) = (vec![folder.to_owned()], Vec::new());
    let locations = Locations { flavour: way.server.flavour, folders, sockets };
    Config::load(&locations)?.add(REMOTE, &way.remote)?;
    Ok(())
}

/// `lxc` or `incus`.
#[derive(Debug, Clone)]
pub(crate) struct OwnClient {
    pub(crate) program: &'static str,
    exec: Program,
    environment: (&'static str, PathBuf),
    home: Arc<Home>,
}

impl OwnClient {
    fn of(way: &Way, home: &Arc<Home>, folder: PathBuf) -> Self {
        let (program, variable) = match way.server.flavour {
            Flavour::Lxd => ("lxc", "LXD_CONF"),
            Flavour::Incus => ("incus", "INCUS_CONF"),
        };
        let instance = format!("{REMOTE}:{}", way.name);
        let exec = Program::new([program, "exec", &instance, "--", "true"]);
        Self { program, exec, environment: (variable, folder), home: Arc::clone(home) }
    }

    /// Runs `true`; returns how long the whole program took, in milliseconds.
    pub(crate) async fn exec(&self) -> anyhow::Result<f64> {
        let Self { exec, environment: (variable, folder), home, .. } = self.clone();
        // In a thread: the way may be one that this thread carries on.
        let run = move || {
            let took = exec.time_with(&[(variable, OsString::from(folder))]);
            drop(home);
            took
        };
        tokio::task::spawn_blocking(run).await?
    }
}

/// The connector in a Python of its own. Dropped, that ends.
#[derive(Debug, Clone)]
pub(crate) struct Connector(Arc<Mutex<Process>>);

#[derive(Debug)]
struct Process {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    said: PathBuf,
    _home: Arc<Home>,
}

impl Connector {
    fn start(python: &Path, home: &Arc<Home>, name: &str) -> anyhow::Result<Self> {
        let folder = home.folder.path();
        let (script, said) = (folder.join("peer.py"), folder.join("peer.log"));
        fs::write(&script, SCRIPT)?;
        let mut child = Command::new(python)
            .arg(&script)
            .arg(format!("@lxd_api/{REMOTE}:{name}"))
            .env("HOME", folder)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&said)?)
            .spawn()
            .with_context(|| format!("cannot start `{}`", python.display()))?;
        let questions = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("no output")?);
        let process = Process { child, questions, answers, said, _home: Arc::clone(home) };
        Ok(Self(Arc::new(Mutex::new(process))))
    }

    /// Has it do something, which is a method of the driver with its arguments; returns what that
    /// measured.
    pub(crate) async fn ask(&self, what: &str) -> anyhow::Result<f64> {
        let (process, what) = (Arc::clone(&self.0), what.to_owned());
        let ask = move || process.lock().unwrap_or_else(PoisonError::into_inner).ask(&what);
        tokio::task::spawn_blocking(ask).await?
    }
}

impl Process {
    fn ask(&mut self, what: &str) -> anyhow::Result<f64> {
        let questions = self.questions.as_mut().context("no input")?;
        let mut answer = String::new();
        let asked = writeln!(questions, "{what}").and_then(|()| questions.flush());
        asked
            .and_then(|()| self.answers.read_line(&mut answer))
            .or_else(|_| Ok::<_, anyhow::Error>(0))?;
        match answer.trim_end().split_once(' ') {
            Some(("took", number)) => number.parse().with_context(|| answer.clone()),
            Some((_, why)) => bail!("{why}"),
            None => bail!("it ended: {}", self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let said = fs::read_to_string(&self.said).unwrap_or_default();
        said.lines().next_back().unwrap_or("it said nothing").to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends with its input; what it does just now, it does for nobody.
        self.questions = None;
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
