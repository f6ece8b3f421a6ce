//! A data folder of the test's own, and the program under test.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use boxherd_testkit::{Ids, Leftovers, USER, as_user};

/// A data folder with boxes in it. Dropped, it deletes the boxes and looks for what is left.
#[derive(Debug)]
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    who: Who,
    /// Whether the folder is a filesystem of its own.
    small: bool,
}

/// Who runs the program.
#[derive(Debug, Clone, Copy)]
enum Who {
    Root,
    User(Ids),
    /// Root, who sees no unified hierarchy of control groups.
    OnV1,
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
            folder: folder(),
            who: Who::Root,
            small: false,
        })
    }

    /// The same on a small filesystem of its own, of the kind `ext4`, `btrfs` or `tmpfs`.
    #[allow(dead_code, reason = "not every target has tests of full disks")]
    pub(crate) fn small(test: &str, kind: &str, mib: u32) -> Option<Self> {
        let programs = [format!("mkfs.{kind}"), "mount".to_owned(), "umount".to_owned()];
        let programs: Vec<&str> = programs.iter().map(String::as_str).collect();
        let programs = if kind == "tmpfs" { &programs[1..] } else { &programs[..] };
        let able = boxherd_testkit::programs_or_skip(test, programs);
        let mut lab = able.then(|| Self::open(test)).flatten()?;
        let image = tempfile::NamedTempFile::new().expect("a file");
        let made = Command::new("sh")
            .args(["-ec", MOUNT, "sh", kind, &mib.to_string()])
            .args([image.path(), lab.folder.path()])
            .output()
            .expect("sh runs");
        assert!(made.status.success(), "{made:?}");
        lab.small = true;
        Some(lab)
    }

    /// Fills the filesystem of the data folder but for `left` bytes.
    #[allow(dead_code, reason = "not every target has tests of full disks")]
    pub(crate) fn fill(&self, left: u64) {
        let mut file = File::create(self.folder.path().join("filling")).expect("a file");
        let block = vec![0x5a; 64 << 10];
        let free = || {
            let free = rustix::fs::statvfs(self.folder.path()).expect("statvfs");
            free.f_bavail * free.f_frsize
        };
        while free() > left {
            let rest = usize::try_from(free() - left).expect("it is small").min(block.len());
            if file.write_all(&block[..rest]).and_then(|()| file.sync_data()).is_err() {
                break;
            }
        }
    }

    /// Frees what [`fill`](Self::fill) took.
    #[allow(dead_code, reason = "not every target has tests of full disks")]
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.folder.path().join("filling")).expect("it was filled");
        // Btrfs frees when it commits.
        assert!(
            Command::new("sync")
                .arg("-f")
                .arg(self.folder.path())
                .status()
                .expect("sync")
                .success()
        );
    }

    /// The same on a host that has the first version of control groups only.
    pub(crate) fn on_v1(test: &str) -> Option<Self> {
        if !Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists()
            || !Path::new("/sys/fs/cgroup/freezer").exists()
        {
            boxherd_testkit::skip(test, "control groups are not of both versions");
            return None;
        }
        let mut lab = Self::open(test)?;
        lab.who = Who::OnV1;
        Some(lab)
    }

    /// The same for an ordinary user.
    pub(crate) fn of_user(test: &str, ids: Ids) -> Option<Self> {
        boxherd_testkit::user_or_skip(test, ids).then(|| {
            let folder = folder();
            chown(folder.path(), Some(USER), Some(USER)).expect("chown");
            Self { folder, who: Who::User(ids), small: false }
        })
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_boxherd"));
        let mut command = match self.who {
            Who::Root => Command::new(program),
            Who::User(ids) => as_user(program, ids),
            Who::OnV1 => {
                let hide = "umount /sys/fs/cgroup/unified && exec \"$@\"";
                let mut command = Command::new("unshare");
                command.args(["--mount", "--propagation", "private", "sh", "-c", hide, "sh"]);
                command.arg(program);
                command
            }
        };
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

/// Mounts the file `$3`, of `$2` MiB, at `$4`.
const MOUNT: &str = r#"
    test "$1" != tmpfs || exec mount -t tmpfs -o "size=$2M" none "$4"
    truncate -s "$2M" "$3"
    case "$1" in
        ext4) mkfs.ext4 -q -m 0 "$3" ;;
        btrfs) mkfs.btrfs -q "$3" ;;
    esac
    exec mount -o loop "$3" "$4"
"#;

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("boxherd-test-").tempdir().expect("tempdir")
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
        boxherd_testkit::unmount_pool(&self.data());
        if self.small {
            boxherd_testkit::unmount(self.folder.path());
        }
        // `netd` outlives the last box by some seconds, and takes the networks down.
        let left = Leftovers::of_data(&self.data()).find_after(Duration::from_secs(20));
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
    }
}
