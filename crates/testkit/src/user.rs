//! Running a test as an ordinary user, who is made for it and gone afterwards.

use std::env;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::{programs_or_skip, root_or_skip};

/// What the user has of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Its own.
    One,
    /// Its own, and 65,536 more of each kind by `/etc/subuid` and `/etc/subgid`.
    Many,
}

/// Says to the program that is run again that it is.
const AGAIN: &str = "BOXHERD_TEST_AGAIN";

/// Makes an account in an `/etc` of its own, and becomes it. The program is reached through a
/// descriptor, since not every folder above it lets others pass.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work none /etc
echo "boxherd-test:x:$1:$1::/nonexistent:/bin/sh" >> /etc/passwd
printf '%s' "$2" > /etc/subuid
printf '%s' "$2" > /etc/subgid
exec 9< "$3"
user=$1
shift 3
exec setpriv --reuid="$user" --regid="$user" --clear-groups -- /proc/self/fd/9 "$@"
"#;

/// The number of the user, whom nobody else has.
pub const USER: u32 = 47115;

/// Whether programs can be run as an ordinary user; if not, the test is skipped with a line that
/// says why.
#[must_use]
pub fn user_or_skip(test: &str, ids: Ids) -> bool {
    let programs: &[&str] = match ids {
        Ids::One => &["unshare", "setpriv"],
        Ids::Many => &["unshare", "setpriv", "newuidmap", "newgidmap"],
    };
    root_or_skip(test) && programs_or_skip(test, programs)
}

/// A command that runs `program` as an ordinary user, who exists for nobody else.
#[must_use]
pub fn as_user(program: &Path, ids: Ids) -> Command {
    let (user, ranges) = match ids {
        Ids::One => (USER.to_string(), ""),
        Ids::Many => (USER.to_string(), "boxherd-test:1700000000:65536\n"),
    };
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh", &user, ranges]);
    command.arg(program);
    command
}

/// Runs this program again, with its arguments, as an ordinary user. Returns what it ended with, or
/// `None` in the program that was run again. Call it first thing in `main`.
///
/// Without root the test `test` is skipped.
///
/// # Panics
///
/// When the program cannot be run again.
#[must_use]
pub fn again_as_user(test: &str, ids: Ids) -> Option<ExitCode> {
    if env::var_os(AGAIN).is_some() {
        return None;
    }
    if !user_or_skip(test, ids) {
        return Some(ExitCode::SUCCESS);
    }
    let program = env::current_exe().expect("the own program");
    let mut command = as_user(&program, ids);
    command.args(env::args_os().skip(1)).env(AGAIN, "1");
    let ended = command.status().expect("the program is run again");
    // As a shell would say it.
    let code = ended.code().unwrap_or_else(|| 128 + ended.signal().unwrap_or(0));
    Some(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
