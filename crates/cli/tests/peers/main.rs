//! Programs of other people: the real boxd SDKs from PyPI, unchanged, against `boxherd serve`, and
//! pyinfra with our connectors.

mod crowd;
mod pyinfra;
#[path = "../it/wait.rs"]
mod wait;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use boxherd_testkit::{Leftovers, PostgresServer, root_or_skip, skip};
use rustix::process::{Pid, Signal, kill_process};

/// The key that the server is given; it protects nothing.
const KEY: &str = "bxd_only-for-tests-0123456789";

/// A server with a data folder of its own. Dropped, it ends, and nothing of it is left.
struct Server {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
    /// Where boxes are written down, if not in the data folder.
    store: Option<String>,
}

impl Server {
    fn start() -> Self {
        Self::start_on(None)
    }

    fn start_on(store: Option<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = boxherd(&folder.path().join("data"))
            .envs(store.iter().map(|store| ("BOXHERD_STORE", store)))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("BOXHERD_BOOTSTRAP_KEY", KEY)
            .stdout(Stdio::piped())
            .spawn()
            .expect("boxherd runs");
        let stdout = child.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next().expect("a line").expect("text");
        let url = line.strip_prefix("listening on ").expect(&line).to_owned();
        // Read on, so that the server never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url, folder, store }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The program on the same boxes.
    fn boxherd(&self) -> Command {
        let mut command = boxherd(&self.data());
        command.envs(self.store.iter().map(|store| ("BOXHERD_STORE", store)));
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::TERM).expect("it runs");
        let ended = self.child.wait().expect("it is ours");
        let listed = self.boxherd().args(["ls", "-o", "name"]).output().expect("runs");
        let boxes = String::from_utf8_lossy(&listed.stdout).into_owned();
        let names: Vec<_> = boxes.lines().collect();
        let left = Leftovers::of_data(&self.data());
        if !names.is_empty() {
            self.boxherd().args(["rm", "--force"]).args(&names).output().expect("runs");
        }
        if std::thread::panicking() {
            return;
        }
        assert!(ended.success(), "the server ended with {ended}");
        assert!(names.is_empty(), "tests left boxes: {names:?}");
        let left = left.find_after(std::time::Duration::from_secs(15));
        assert!(left.is_empty(), "{left:#?}");
    }
}

fn boxherd(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_boxherd"));
    command.arg("--data").arg(data).stdin(Stdio::null());
    command
}

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A virtual environment with that release of the SDK.
fn sdk(test: &str, version: &str) -> Option<PathBuf> {
    environment(test, &format!("boxd=={version}"))
}

/// A virtual environment with `package`, such as `boxd==0.2.19`. It is kept below `target` and made once.
fn environment(test: &str, package: &str) -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package.replace("==", "-"));
    let python = place.join("bin/python");
    let done = place.join("complete");
    if done.exists() {
        return Some(python);
    }
    let venv = Command::new("python3").args(["-m", "venv"]).arg(&place).output();
    if !venv.as_ref().is_ok_and(|output| output.status.success()) {
        skip(test, "`python3 -m venv` does not work (Debian package `python3-venv`)");
        return None;
    }
    let pip = Command::new(&python)
        .args(["-m", "pip", "install", "-q", "--disable-pip-version-check"])
        .args([package, "pytest"])
        .output()
        .expect("python runs");
    if !pip.status.success() {
        skip(test, &format!("{package} cannot be had: {}", last_line(&pip)));
        return None;
    }
    std::fs::write(done, "").expect("the environment is ours");
    Some(python)
}

fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().next_back().unwrap_or_default().to_owned()
}

/// Runs files of tests with a release of the SDK.
fn run(test: &str, version: &str, files: &[&str]) {
    if !root_or_skip(test) {
        return;
    }
    let Some(python) = sdk(test, version) else { return };
    run_with(&python, &Server::start(), files);
}

fn run_with(python: &Path, server: &Server, files: &[&str]) {
    let other = server.boxherd().args(["key", "create", "--user", "other"]).output();
    let other = String::from_utf8(other.expect("runs").stdout).expect("a key is text");
    let output = Command::new(python)
        .args(["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header"])
        .args(files.iter().map(|file| tree().join("tests/peers/boxd").join(file)))
        .env_remove("BOXD_TOKEN")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("BOXD_API_KEY", KEY)
        .env("BOXHERD_OTHER_KEY", other.trim())
        .env("BOXHERD_BIN", env!("CARGO_BIN_EXE_boxherd"))
        .env("BOXHERD_DATA", server.data())
        .env("BOXHERD_PID", server.child.id().to_string())
        .envs(
            server
                .store
                .iter()
                .flat_map(|store| [("BOXHERD_STORE", store.as_str()), ("BOXHERD_SERVERS", "2")]),
        )
        .env("BOXD_API_URL", &server.url)
        .env("BOXD_BASE_URL", &server.url)
        .env("BOXD_EXCHANGE_URL", format!("{}/api/v1/auth/token", server.url))
        .output()
        .expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn boxd_0_1_0_dev2() {
    run("boxd_0_1_0_dev2", "0.1.0.dev2", &["classic.py"]);
}

#[test]
fn boxd_0_1_1() {
    run("boxd_0_1_1", "0.1.1", &["classic.py"]);
}

#[test]
fn boxd_0_1_5() {
    run("boxd_0_1_5", "0.1.5", &["classic.py"]);
}

#[test]
fn boxd_0_1_9() {
    run("boxd_0_1_9", "0.1.9", &["classic.py"]);
}

#[test]
fn boxd_0_2_19() {
    run("boxd_0_2_19", "0.2.19", &["modern.py", "apart.py"]);
}

/// Of every call of our own file, those of ours among them; the SDK is only there to get a token.
#[test]
fn bad_input() {
    run("bad_input", "0.2.19", &["nonsense.py"]);
}

/// What `boxherd-client` has a counterpart for, or none, is all that there is.
#[test]
fn every_method_of_boxd_0_2_19_is_listed() {
    let Some(python) = sdk("every_method_of_boxd_0_2_19_is_listed", "0.2.19") else { return };
    let listing = tree().join("tests/peers/boxd/surface.py");
    let output = Command::new(python).arg(listing).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = String::from_utf8_lossy(&output.stdout);
    let listed = include_str!("../../../client/tests/boxd-0.2.19.txt").lines();
    let listed = listed.filter_map(|line| line.split_once(" = ").map(|(theirs, _)| theirs));
    assert_eq!(listed.collect::<Vec<_>>(), theirs.lines().collect::<Vec<_>>());
}

/// It kills servers of its own, on the data folder of one that only looks.
#[test]
fn killed_servers() {
    if !root_or_skip("killed_servers") {
        return;
    }
    let Some(python) = sdk("killed_servers", "0.2.19") else { return };
    run_with(&python, &Server::start(), &["soak.py"]);
}

/// Two servers share a data folder and a database; each is killed, and held where it is.
#[tokio::test]
async fn two_servers_on_one_postgres() {
    let test = "two_servers_on_one_postgres";
    if !root_or_skip(test) {
        return;
    }
    let Some(python) = sdk(test, "0.2.19") else { return };
    let Some(postgres) = PostgresServer::start_or_skip(test).await else { return };
    let store = postgres.url("public");
    let server = Server::start_on(Some(store.clone()));
    run_with(&python, &server, &["soak.py"]);
}
