//! pyinfra from PyPI, with our connectors installed beside it as people do.

use std::path::{Path, PathBuf};
use std::process::Command;

use boxherd_testkit::{Leftovers, root_or_skip, skip};

/// The release whose interface the connectors are written against.
const PYINFRA: &str = "3.10.0";

/// A virtual environment with pyinfra and our package as it is now.
fn environment(test: &str) -> Option<PathBuf> {
    let package = super::tree().join("python/pyinfra-boxherd");
    let python = super::environment(test, &format!("pyinfra=={PYINFRA}"))?;
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "-q", "--disable-pip-version-check"])
        .args(["--force-reinstall", "--no-deps"])
        .arg(&package)
        .output()
        .expect("python runs");
    if !installed.status.success() {
        skip(test, &format!("`{}`: {}", package.display(), super::last_line(&installed)));
        return None;
    }
    Some(python)
}

fn pytest(python: &Path, data: &Path) {
    let output = Command::new(python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "-rs"])
        .arg(super::tree().join("python/pyinfra-boxherd/tests"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("BOXHERD_BIN", env!("CARGO_BIN_EXE_boxherd"))
        .env("BOXHERD_DATA", data)
        .output()
        .expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The package's own tests, on boxes of this machine and, where there is a lab, of a real LXD.
#[test]
fn connectors_for_pyinfra() {
    let test = "connectors_for_pyinfra";
    if !root_or_skip(test) {
        return;
    }
    let Some(python) = environment(test) else { return };
    if std::env::var_os("BOXHERD_LAB_LXD").is_none() {
        skip(test, "on LXD: `BOXHERD_LAB_LXD` is not set (see `cargo xtask lab`)");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    pytest(&python, &data);
    let left = Leftovers::of_data(&data).find_after(std::time::Duration::from_secs(15));
    assert!(left.is_empty(), "{left:#?}");
}
