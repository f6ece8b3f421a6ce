//! The LXD and Incus servers that `cargo xtask lab` brings up.

use std::path::{Path, PathBuf};

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
#[must_use]
pub fn lxd_cluster_or_skip(test: &str) -> Option<LxdLab> {
    lab_or_skip(test, LXD_CLUSTER)
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
        let output = std::process::Command::new(&self.kind)
            .args(args)
            .env(home, self.socket.parent().expect("it is in a folder"))
            .env(configuration, conf.map_or_else(|| self.folder.join("conf"), Path::to_owned))
            .stdin(std::process::Stdio::null())
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
