//! A data folder of the test's own, and the program under test.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use boxherd_testkit::Leftovers;

/// A data folder with boxes in it. Dropped, it deletes the boxes and looks for what is left.
#[derive(Debug)]
pub(crate) struct Lab {
    folder: tempfile::TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// The standard output of a command that must have succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Asserts that the command failed, whatever it printed.
    pub(crate) fn refused(&self) {
        assert_ne!(self.code, Some(0), "{self:?}");
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Lab {
    /// `None` when the test cannot run here, which was said aloud.
    pub(crate) fn open(test: &str) -> Option<Self> {
        boxherd_testkit::root_or_skip(test).then(|| Self {
            folder: tempfile::Builder::new().prefix("boxherd-test-").tempdir().expect("tempdir"),
        })
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_boxherd"));
        command.arg("--data").arg(self.data()).args(args).stdin(Stdio::null());
        command
    }

    pub(crate) fn boxherd(&self, args: &[&str]) -> Said {
        self.command(args).output().expect("boxherd runs").into()
    }

    /// Makes a box without a network; `flags` come after the name.
    pub(crate) fn create(&self, name: &str, flags: &[&str]) {
        self.boxherd(&[&["create", name, "--network", "none"], flags].concat()).ok();
    }

    /// The control groups of the data folder, one per hierarchy.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let installation = std::fs::read_to_string(self.data().join("installation"));
        let Ok(installation) = installation else { return Vec::new() };
        let top = PathBuf::from("/sys/fs/cgroup");
        let hierarchies = std::fs::read_dir(&top).expect("cgroups").flatten();
        let mut folders: Vec<_> = hierarchies.map(|entry| entry.path()).collect();
        folders.push(top);
        let group = format!("boxherd-{}", installation.trim());
        folders.iter().map(|folder| folder.join(&group)).filter(|group| group.is_dir()).collect()
    }

    /// The devices of the data folder's networks; `netd` takes them away before it ends.
    fn devices(&self) -> Vec<String> {
        let installation = std::fs::read_to_string(self.data().join("installation"));
        let Ok(installation) = installation else { return Vec::new() };
        let ours = format!("bh{}", &installation[..5]);
        let devices = std::fs::read_dir("/sys/class/net").expect("interfaces").flatten();
        let names = devices.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(&ours)).collect()
    }

    /// Runs a shell line in a box as its root, for at most a minute.
    pub(crate) fn sh(&self, name: &str, line: &str) -> Said {
        self.boxherd(&["exec", "--timeout", "60s", name, "--", "sh", "-c", line])
    }

    /// The state of a box and why.
    pub(crate) fn state(&self, name: &str) -> String {
        let shown = self.boxherd(&["show", name, "-o", "json"]).ok();
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        format!("{} {}", shown["state"], shown["reason"]).replace('"', "")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let names = self.boxherd(&["ls", "-q"]).out;
        for name in names.lines() {
            let removed = self.boxherd(&["rm", "--force", name]);
            if removed.code != Some(0) && !std::thread::panicking() {
                panic!("cannot delete `{name}`: {}", removed.err);
            }
        }
        if self.data().join("pool.img").exists() {
            let unmounted = Command::new("umount").arg(self.data().join("pool")).status();
            let unmounted = unmounted.is_ok_and(|status| status.success());
            assert!(unmounted || std::thread::panicking(), "the pool is still in use");
        }
        // They are kept for the next box; that they are empty is part of what is tested.
        for group in self.groups() {
            let removed = std::fs::remove_dir(&group);
            if !std::thread::panicking() {
                removed.unwrap_or_else(|error| panic!("`{}`: {error}", group.display()));
            }
        }
        let left = Leftovers::of(self.folder.path().to_string_lossy());
        let mut left = left.find_after(Duration::from_secs(20));
        left.extend(self.devices());
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
    }
}
