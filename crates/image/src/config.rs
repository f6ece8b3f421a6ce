//! What an image says about the programs in it.

use serde::{Deserialize, Serialize};

/// The part of an OCI image configuration that a box heeds. A plain tarball has an empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageConfig {
    /// Environment of every command, in the image's order.
    pub env: Vec<(String, String)>,
    /// Folder in which commands start, absolute.
    pub workdir: Option<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`, resolved inside the box.
    pub user: Option<String>,
    /// What precedes [`cmd`](Self::cmd).
    pub entrypoint: Vec<String>,
    /// The command when none is given, or the arguments of the entrypoint.
    pub cmd: Vec<String>,
}

impl ImageConfig {
    /// What runs when no command is given.
    pub(crate) fn program(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).cloned().collect()
    }
}
