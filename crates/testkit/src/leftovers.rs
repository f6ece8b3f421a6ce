//! What a test left on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Looks for everything on this machine that names `marker`: a data folder, or an installation id.
/// A test makes one at its start with something unique to it and asserts at its end that
/// [`find`](Self::find) is empty.
#[derive(Debug)]
pub struct Leftovers {
    marker: String,
}

impl Leftovers {
    /// Looks for `marker`, which must be unique to the test.
    #[must_use]
    pub fn of(marker: impl Into<String>) -> Self {
        Self { marker: marker.into() }
    }

    /// Mounts, cgroup folders and processes that name the marker, one line each.
    #[must_use]
    pub fn find(&self) -> Vec<String> {
        let mut found = self.mounts();
        found.extend(self.cgroups(Path::new("/sys/fs/cgroup"), 4));
        found.extend(self.processes());
        found
    }

    /// What is still there after `patience`, for what goes by itself: `netd` outlives its last box
    /// by some seconds.
    #[must_use]
    pub fn find_after(&self, patience: Duration) -> Vec<String> {
        let deadline = Instant::now() + patience;
        loop {
            let found = self.find();
            if found.is_empty() || Instant::now() >= deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        table.lines().filter(|l| l.contains(&self.marker)).map(|l| format!("mount {l}")).collect()
    }

    fn cgroups(&self, folder: &Path, depth: u8) -> Vec<String> {
        let mut found = Vec::new();
        let Ok(entries) = fs::read_dir(folder) else { return found };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            if path.to_string_lossy().contains(&self.marker) {
                found.push(format!("cgroup {}", path.display()));
            } else if depth > 0 {
                found.extend(self.cgroups(&path, depth - 1));
            }
        }
        found
    }

    /// Other processes with the marker in their arguments or with a file below it open.
    fn processes(&self) -> Vec<String> {
        let own = std::process::id().to_string();
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|name| *name != *own))
            .filter(|path| self.named_by(path))
            .map(|path| format!("process {}", path.display()))
            .collect()
    }

    fn named_by(&self, process: &Path) -> bool {
        let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let targets: Vec<PathBuf> =
            open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
        String::from_utf8_lossy(&arguments).contains(&self.marker)
            || targets.iter().any(|target| target.to_string_lossy().contains(&self.marker))
    }
}
