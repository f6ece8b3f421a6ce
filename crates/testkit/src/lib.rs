//! What the tests of several rooms share: skipping out loud, and counting what is left behind.
//!
//! Only ever a `dev-dependency`. It knows no room.

mod lab;
mod leftovers;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "script")]
mod script;
mod user;

pub use lab::{LxdCluster, LxdLab, incus_lab_or_skip, lxd_cluster_or_skip, lxd_lab_or_skip};
pub use leftovers::Leftovers;
pub use pool::{unmount, unmount_pool};
#[cfg(feature = "postgres")]
pub use postgres::PostgresServer;
#[cfg(feature = "script")]
pub use script::{Act, Script};
pub use user::{Ids, USER, again_as_user, as_user, user_or_skip};

use std::fs::OpenOptions;
use std::io::Write as _;

/// The file to which `cargo xtask test` wants a line for each skipped test.
const SKIP_LOG: &str = "BOXHERD_SKIP_LOG";

/// Says that the test `test` is skipped, and why: on standard error, and in the list that
/// `cargo xtask test` prints at its end.
///
/// # Panics
///
/// When the list was asked for and cannot be written: a skip must never be silent.
pub fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED: {test}: {why}");
    if let Some(path) = std::env::var_os(SKIP_LOG) {
        let mut log = OpenOptions::new().append(true).create(true).open(path).expect("skip log");
        writeln!(log, "{test}: {why}").expect("skip log");
    }
}

/// Whether this process is root; if not, the test is skipped with a line that says so.
#[must_use]
pub fn root_or_skip(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "needs root");
    }
    root
}

/// Whether every one of `programs` is installed; if not, the test is skipped with a line that says
/// which is missing.
#[must_use]
pub fn programs_or_skip(test: &str, programs: &[&str]) -> bool {
    const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let installed = |program: &str| {
        FOLDERS.iter().any(|folder| std::path::Path::new(folder).join(program).exists())
    };
    match programs.iter().find(|program| !installed(program)) {
        Some(missing) => {
            skip(test, &format!("`{missing}` is not installed"));
            false
        }
        None => true,
    }
}
