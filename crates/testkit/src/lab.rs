//! The LXD servers that `cargo xtask lab` brings up.

use std::path::{Path, PathBuf};

use crate::skip;

/// The folder of the lab with one server, set by `cargo xtask test`.
const LXD: &str = "BOXHERD_LAB_LXD";

/// The folder of the lab with a cluster.
const LXD_CLUSTER: &str = "BOXHERD_LAB_LXD_CLUSTER";

/// What a lab's `lab.env` tells.
#[derive(Clone, Debug)]
pub struct LxdLab {
    /// The lab's folder.
    pub folder: PathBuf,
    /// The unix socket of its (first) server.
    pub socket: PathBuf,
    /// `HOST:PORT` of each server.
    pub https: Vec<String>,
    /// `core.trust_password`.
    pub password: String,
}

/// The lab with one server; without it, the test is skipped with a line that says so.
#[must_use]
pub fn lxd_lab_or_skip(test: &str) -> Option<LxdLab> {
    lab_or_skip(test, LXD)
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
        }
    }
}
