//! The LXD and Incus servers that `cargo xtask lab` brings up.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use crate::skip;

/// The folder of the lab with one server, set by `cargo xtask test`.
const LXD: &str = "BOXHERD_LAB_LXD";

/// The folder of the lab with a cluster.
const LXD_CLUSTER: &str = "BOXHERD_LAB_LXD_CLUSTER";

/// The folder of the lab with one Incus.
const INCUS: &str = "BOXHERD_LAB_INCUS";

/// What a lab's `lab.env` tells.
#[derive(Clone, Debug)]
pub struct LxdLab {
    /// The server's own client: `lxc` or `incus`.
    pub kind: String,
    /// The lab's folder.
    pub folder: PathBuf,
    /// The unix socket of its (first) server.
    pub socket: PathBuf,
    /// `HOST:PORT` of each server.
    pub https: Vec<String>,
    /// `core.trust_password`; of no use for Incus.
    pub password: String,
    /// Where the archives of the images are, such as `tiny.tar`.
    pub cache: PathBuf,
}

/// The lab with one server; without it, the test is skipped with a line that says so.
#[must_use]
pub fn lxd_lab_or_skip(test: &str) -> Option<LxdLab> {
    lab_or_skip(test, LXD)
}

/// The lab with one Incus; without it, the test is skipped with a line that says so.
#[must_use]
pub fn incus_lab_or_skip(test: &str) -> Option<LxdLab> {
    lab_or_skip(test, INCUS)
}

/// The lab with a cluster; without it, the test is skipped with a line that says so.
///
/// One test has it at a time, because members are killed in it: it waits for the others, of all
/// crates.
///
/// # Panics
///
/// When the folder of the lab cannot be locked.
#[must_use]
pub fn lxd_cluster_or_skip(test: &str) -> Option<LxdCluster> {
    let lab = lab_or_skip(test, LXD_CLUSTER)?;
    let lock = File::open(&lab.folder).expect("the lab has a folder");
    flock(&lock, FlockOperation::LockExclusive).expect("folders can be locked");
    Some(LxdCluster { lab, _lock: lock })
}

/// Three servers, `n1`, `n2` and `n3`, for one test.
#[derive(Debug)]
pub struct LxdCluster {
    /// All of them.
    pub lab: LxdLab,
    _lock: File,
}

impl LxdCluster {
    /// Kills a member's daemon, as a loss of power does. Its guests run on.
    ///
    /// # Panics
    ///
    /// When it does not run, or cannot be killed.
    pub fn kill(&self, member: &str) {
        let daemon = self.daemon(member).expect("the member runs");
        kill_process(daemon, Signal::KILL).expect("it can be killed");
    }

    /// Starts the daemon of a member that was killed, and waits until it answers itself. The others
    /// take some seconds more to see it as `Online`.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(&self, member: &str) {
        let home = self.lab.folder.join(member);
        let log = File::options().append(true).open(home.with_extension("log")).expect("its log");
        let lxd = |args: &[&str]| {
            let mut lxd = Command::new("lxd");
            lxd.args(args)
                .env("LXD_DIR", &home)
                .env("BOXHERD_LAB_DAEMON", &home)
                .env("HTTPS_PROXY", "http://127.0.0.1:9")
                .env("NO_PROXY", "127.0.0.0/8,localhost")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log.try_clone().expect("a descriptor"))
                .process_group(0);
            lxd
        };
        let mut daemon = lxd(&["--group", "root", "--verbose"]).spawn().expect("it starts");
        // It outlives the test as a rule; if not, it is not to stay as a zombie.
        std::thread::spawn(move || daemon.wait());
        let ready = lxd(&["waitready", "--timeout", "60"]).status().expect("it is asked");
        assert!(ready.success(), "{member} does not come back");
    }

    /// The daemon of a member, by the mark that `cargo xtask lab` gives it.
    fn daemon(&self, member: &str) -> Option<Pid> {
        let home = self.lab.folder.join(member);
        let wanted = format!("BOXHERD_LAB_DAEMON={}", home.display());
        let processes = std::fs::read_dir("/proc").ok()?;
        let mut pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let pid = pids.find(|pid: &i32| {
            let read =
                |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            // Helpers are `lxd` as well, with other arguments.
            read("cmdline").starts_with(b"lxd\0--group\0")
                && read("environ").split(|byte| *byte == 0).any(|word| word == wanted.as_bytes())
        })?;
        Pid::from_raw(pid)
    }
}

fn lab_or_skip(test: &str, variable: &str) -> Option<LxdLab> {
    match std::env::var_os(variable) {
        Some(folder) => Some(LxdLab::read(Path::new(&folder))),
        None => {
            skip(test, &format!("`{variable}` is not set (see `cargo xtask lab`)"));
            None
        }
    }
}

impl LxdLab {
    /// Runs the server's own client with `args`, and returns what it prints. `conf` is the folder
    /// of its configuration; the lab's own by default.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[must_use]
    pub fn run(&self, conf: Option<&Path>, args: &[&str]) -> String {
        let (home, configuration) = match self.kind.as_str() {
            "incus" => ("INCUS_DIR", "INCUS_CONF"),
            _ => ("LXD_DIR", "LXD_CONF"),
        };
        let output = Command::new(&self.kind)
            .args(args)
            .env(home, self.socket.parent().expect("it is in a folder"))
            .env(configuration, conf.map_or_else(|| self.folder.join("conf"), Path::to_owned))
            .stdin(Stdio::null())
            .output()
            .expect("it is installed");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{} {}`: {text}", self.kind, args.join(" "));
        String::from_utf8(output.stdout).expect("it prints UTF-8")
    }

    /// Reads the lab in `folder`.
    ///
    /// # Panics
    ///
    /// When it is not up: whoever sets the variable says that it is.
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let path = folder.join("lab.env");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("the lab is not up: `{}`: {error}", path.display()));
        let value = |key: &str| {
            let mut pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs.find(|(name, _)| *name == key).map_or_else(String::new, |(_, v)| v.to_owned())
        };
        Self {
            folder: folder.to_owned(),
            socket: value("socket").into(),
            https: value("https").split(',').map(str::to_owned).collect(),
            password: value("password"),
            cache: value("cache").into(),
            kind: value("kind"),
        }
    }
}
