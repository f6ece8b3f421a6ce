//! Building Debian where there is no registry.

use std::io;
use std::path::Path;
use std::process::Stdio;

use boxherd_model::{ImageInfo, ImageRef, ImageSource, Progress, ProgressEvent};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

use crate::work::{Work, clean_litter};
use crate::{ImageError, ImageStore};

/// One line for each repository that the host's apt uses.
const TARGETS: &str = "$(ORIGIN)|$(RELEASE)|$(CODENAME)|$(REPO_URI)|$(COMPONENT)";

/// Kills mmdebstrap and what it has started when nobody waits for it any more.
struct KillOnDrop(Option<Pid>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(group) = self.0
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, "mmdebstrap was gone before it was stopped");
        }
    }
}

impl ImageStore {
    /// Builds Debian `codename` with mmdebstrap from the mirrors and with the settings of the
    /// host's own apt, and keeps it as `debian:CODENAME`. Dropping the future stops the work.
    pub async fn build_debian(
        &self,
        codename: &str,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, ImageError> {
        let image: ImageRef = format!("debian:{codename}")
            .parse()
            .ok()
            .filter(|image: &ImageRef| image.source() == ImageSource::Debian { codename })
            .filter(|_| codename.starts_with(|c: char| c.is_ascii_alphanumeric()))
            .ok_or_else(|| ImageError::BadName {
                image: ImageRef::host(),
                verb: "built",
                reason: format!("{codename:?} is no codename of Debian"),
            })?;
        clean_litter(&self.layout.folder("tmp"))?;
        let work = Work::begin(&self.layout.folder("tmp"))?;
        let tar = work.path("rootfs.tar");
        let item = "mmdebstrap";
        progress.event(ProgressEvent::Begin { item, total: None });
        let sources = host_sources(&image, codename).await?;
        let settings = work.path("apt.conf");
        std::fs::write(&settings, host_settings(&image).await?)
            .map_err(|error| ImageError::io("write", &settings, error))?;
        bootstrap(&image, codename, &sources, &settings, &tar).await?;
        progress.event(ProgressEvent::End { item });
        self.import(&image, &tar, progress).await
    }
}

/// The host's Debian repositories as lines of a `sources.list`, for another release where
/// `codename` is not the host's own.
async fn host_sources(image: &ImageRef, codename: &str) -> Result<Vec<String>, ImageError> {
    let format = ["indextargets", "--format", TARGETS, "Created-By: Packages"];
    let listed = output(image, "apt-get", "apt", &format).await?;
    Ok(sources(&listed, codename))
}

/// How the host's apt reaches its mirrors: proxies and checks.
async fn host_settings(image: &ImageRef) -> Result<String, ImageError> {
    let dump = output(image, "apt-config", "apt", &["dump", "Acquire"]).await?;
    // A line that sets nothing may name a list, which such a line would empty.
    let set = |line: &&str| !line.ends_with(" \"\";");
    Ok(dump.lines().filter(set).map(|line| format!("{line}\n")).collect())
}

fn sources(listed: &str, codename: &str) -> Vec<String> {
    let rows: Vec<[&str; 5]> = listed
        .lines()
        .filter_map(|line| <[&str; 5]>::try_from(line.split('|').collect::<Vec<_>>()).ok())
        .filter(|[origin, ..]| *origin == "Debian")
        .collect();
    // The shortest suite name is the release itself: `bookworm` before `bookworm-updates`.
    let own = rows.iter().map(|[_, _, name, ..]| *name).min_by_key(|name| name.len());
    let Some(own) = own else { return Vec::new() };
    let mut lines: Vec<String> = rows
        .iter()
        .filter_map(|[_, _, name, uri, component]| {
            let suffix = name.strip_prefix(own)?;
            Some(format!("deb {uri} {codename}{suffix} {component}"))
        })
        .collect();
    lines.sort();
    lines.dedup();
    lines
}

async fn bootstrap(
    image: &ImageRef,
    codename: &str,
    sources: &[String],
    settings: &Path,
    tar: &Path,
) -> Result<(), ImageError> {
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--variant=minbase", "--format=tar", "--quiet", "--include=ca-certificates"])
        .arg(format!("--aptopt={}", settings.display()))
        .arg("--")
        .arg(codename)
        .arg(tar)
        .args(sources)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command.spawn().map_err(|error| spawn_error("mmdebstrap", "mmdebstrap", error))?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let mut guard = KillOnDrop(group);
    let ended = child.wait_with_output().await;
    guard.0 = None;
    let ended = ended.map_err(|error| ImageError::io("run", "mmdebstrap", error))?;
    if ended.status.success() { Ok(()) } else { Err(build_error(image, &ended.stderr)) }
}

async fn output(
    image: &ImageRef,
    program: &'static str,
    package: &'static str,
    arguments: &[&str],
) -> Result<String, ImageError> {
    let ended = Command::new(program).args(arguments).stdin(Stdio::null()).output().await;
    let ended = ended.map_err(|error| spawn_error(program, package, error))?;
    if ended.status.success() {
        Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
    } else {
        Err(build_error(image, &ended.stderr))
    }
}

fn spawn_error(program: &'static str, package: &'static str, error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::NotFound => ImageError::NoProgram { program, package },
        _ => ImageError::io("run", program, error),
    }
}

/// The end of what a program wrote, which is where it says what went wrong.
fn build_error(image: &ImageRef, written: &[u8]) -> ImageError {
    let written = String::from_utf8_lossy(written);
    let last: Vec<&str> = written.lines().filter(|line| line.contains("E:")).collect();
    let last = if last.is_empty() { written.lines().rev().take(3).collect() } else { last };
    ImageError::Build { image: image.clone(), reason: last.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "\
Debian|bookworm|bookworm|http://mirror.test/debian/|main
Debian|bookworm|bookworm|http://mirror.test/debian/|main
Debian|bookworm-security|bookworm-security|http://mirror.test/security/|main
Somebody|stable|stable|http://other.test/apt/|main
";

    #[test]
    fn the_mirrors_of_the_host_serve_other_releases_too() {
        assert_eq!(
            sources(LISTED, "bookworm"),
            [
                "deb http://mirror.test/debian/ bookworm main",
                "deb http://mirror.test/security/ bookworm-security main",
            ]
        );
        assert_eq!(sources(LISTED, "trixie")[0], "deb http://mirror.test/debian/ trixie main");
        assert_eq!(sources("", "trixie"), Vec::<String>::new());
    }
}
