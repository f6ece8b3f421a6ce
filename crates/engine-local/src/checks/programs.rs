//! Programs that are used when they are there.

use std::path::{Path, PathBuf};
use std::process::Command;

use boxherd_engine::Check;

use super::{is_root, missing, works};
use crate::sandbox;

/// The first CRIU that saves what boxes are made of.
const CRIU: (u32, u32) = (4, 2);

pub(super) fn all() -> [Check; 3] {
    [runsc(), criu(), mmdebstrap()]
}

/// Where a program is. The search path of an ordinary user lacks half of these.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    const FOLDERS: [&str; 6] =
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    FOLDERS.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.exists())
}

/// What a program writes; its last line of complaint when it fails.
fn say(program: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = text(&output.stderr);
    Err(said.lines().next_back().map_or_else(|| output.status.to_string(), str::to_owned))
}

fn runsc() -> Check {
    const FIX: &str = "install gVisor's `runsc` (Debian has it as a package of that name in \
                       backports); needed by `--isolation gvisor`, `fork --live` and `hibernate`";
    let Some(program) = find("runsc") else { return missing("runsc", "not installed", FIX) };
    let version = sandbox::version(&program).and_then(|said| sandbox::judge(&said).map(|()| said));
    let version = match version {
        Ok(version) => version,
        Err(reason) => return missing("runsc", reason, FIX),
    };
    let rootless: &[&str] = if is_root() { &[] } else { &["--rootless"] };
    let sandbox = ["--network=none", "--ignore-cgroups", "do", "true"];
    match say(&program, &[rootless, &sandbox].concat()) {
        Ok(_) => works("runsc", format!("{version}, starts a sandbox")),
        Err(error) => missing(
            "runsc",
            format!("{version}, starts no sandbox: {error}"),
            "`runsc --debug --network=none --ignore-cgroups do true` says more",
        ),
    }
}

fn criu() -> Check {
    let (major, minor) = CRIU;
    let fix = format!(
        "install CRIU {major}.{minor} or later; nothing needs it yet: the memory of boxes without \
         gVisor is not saved"
    );
    let Some(program) = find("criu") else { return missing("criu", "not installed", fix) };
    let said = match say(&program, &["--version"]) {
        Ok(said) => said,
        Err(error) => return missing("criu", format!("`criu --version` failed: {error}"), fix),
    };
    let version = version(&said);
    let Some(found) = version.filter(|version| *version >= CRIU) else {
        let found = version.map_or(said, |(major, minor)| format!("version {major}.{minor}"));
        return missing("criu", format!("{found} is too old"), fix);
    };
    let found = format!("version {}.{}", found.0, found.1);
    match say(&program, &["check"]) {
        Ok(_) => works("criu", format!("{found}, and the kernel does its part")),
        Err(error) if is_root() => missing(
            "criu",
            format!("{found}, `criu check` failed: {error}"),
            "use a kernel with CONFIG_CHECKPOINT_RESTORE",
        ),
        Err(_) => missing("criu", format!("{found}, not for ordinary users"), "run as root"),
    }
}

fn mmdebstrap() -> Check {
    match find("mmdebstrap") {
        Some(path) => works("mmdebstrap", format!("at `{}`", path.display())),
        None => missing(
            "mmdebstrap",
            "not installed",
            "install the package `mmdebstrap`; needed by the images `debian:CODENAME`",
        ),
    }
}

/// The two numbers of `Version: 4.1.1` and the like. Pure.
fn version(text: &str) -> Option<(u32, u32)> {
    let numbers = text.lines().next()?.rsplit(' ').next()?;
    let mut numbers = numbers.split(['.', '-']).map(str::parse::<u32>);
    let major = numbers.next()?.ok()?;
    Some((major, numbers.next().and_then(Result::ok).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("Version: 3.17.1"), Some((3, 17)));
        assert_eq!(version("Version: 4.2\nGitID: v4.2"), Some((4, 2)));
        assert_eq!(version("Version: 4.10-rc1"), Some((4, 10)));
        assert_eq!(version("nonsense"), None);
        assert!(version("Version: 4.10") >= Some(CRIU) && version("Version: 4.1.1") < Some(CRIU));
    }
}
