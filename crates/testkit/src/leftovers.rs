//! What a test left on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Looks for everything on this machine that names a marker: a data folder, or an installation id.
/// A test makes one with something unique to it and asserts at its end that [`find`](Self::find) is
/// empty.
#[derive(Debug)]
pub struct Leftovers {
    markers: Vec<String>,
    /// What the names of the installation's devices and tables begin with.
    devices: Option<String>,
}

impl Leftovers {
    /// Looks for `marker`, which must be unique to the test.
    #[must_use]
    pub fn of(marker: impl Into<String>) -> Self {
        Self { markers: vec![marker.into()], devices: None }
    }

    /// Looks for what belongs to the data folder `data`, also by the id of its installation, which it
    /// has once something was done in it. To be made while the folder is there.
    #[must_use]
    pub fn of_data(data: &Path) -> Self {
        let mut this = Self::of(data.to_string_lossy());
        if let Ok(installation) = fs::read_to_string(data.join("installation")) {
            let installation = installation.trim();
            this.devices = installation.get(..5).map(|tag| format!("bh{tag}"));
            this.markers.push(installation.to_owned());
        }
        this
    }

    /// Mounts, loop devices, cgroup folders, network devices, nftables and processes that name a marker, one line
    /// each.
    #[must_use]
    pub fn find(&self) -> Vec<String> {
        let mut found = self.mounts();
        found.extend(self.cgroups(Path::new("/sys/fs/cgroup"), 4));
        found.extend(self.processes());
        found.extend(self.devices());
        found.extend(self.tables());
        found.extend(self.loops());
        found
    }

    fn is_named_in(&self, text: &str) -> bool {
        self.markers.iter().any(|marker| text.contains(marker))
    }

    fn devices(&self) -> Vec<String> {
        let Some(ours) = &self.devices else { return Vec::new() };
        let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(ours)).map(|name| format!("device {name}")).collect()
    }

    /// A disk of a box that some mount still holds, wherever that is.
    fn loops(&self) -> Vec<String> {
        let blocks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let files = blocks.filter_map(|block| {
            // Not a loop device, or nothing is on it.
            fs::read_to_string(block.path().join("loop/backing_file")).ok()
        });
        files.filter(|file| self.is_named_in(file)).map(|file| format!("loop of {file}")).collect()
    }

    fn tables(&self) -> Vec<String> {
        let Some(ours) = &self.devices else { return Vec::new() };
        let listed = Command::new("/usr/sbin/nft").args(["list", "tables"]).output();
        let tables = match listed {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            // Without the program there are no tables.
            Err(_) => return Vec::new(),
        };
        let named = |line: &&str| line.split(' ').next_back().is_some_and(|n| n.starts_with(ours));
        tables.lines().filter(named).map(str::to_owned).collect()
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
        table.lines().filter(|l| self.is_named_in(l)).map(|l| format!("mount {l}")).collect()
    }

    fn cgroups(&self, folder: &Path, depth: u8) -> Vec<String> {
        let mut found = Vec::new();
        let Ok(entries) = fs::read_dir(folder) else { return found };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            if self.is_named_in(&path.to_string_lossy()) {
                found.push(format!("cgroup {}", path.display()));
            } else if depth > 0 {
                found.extend(self.cgroups(&path, depth - 1));
            }
        }
        found
    }

    /// Other processes with the marker in their arguments or with a file below it open.
    fn processes(&self) -> Vec<String> {
        // `self` and `thread-self` are this one too.
        let another = |name: &std::ffi::OsStr| {
            let pid = name.to_str().and_then(|name| name.parse::<u32>().ok());
            pid.is_some_and(|pid| pid != std::process::id())
        };
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(another))
            .filter(|path| self.named_by(path))
            .map(|path| format!("process {}", path.display()))
            .collect()
    }

    fn named_by(&self, process: &Path) -> bool {
        let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let targets: Vec<PathBuf> =
            open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
        self.is_named_in(&String::from_utf8_lossy(&arguments))
            || targets.iter().any(|target| self.is_named_in(&target.to_string_lossy()))
    }
}
