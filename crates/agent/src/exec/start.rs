//! From a request to a running process and the agent's ends of its streams.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use boxherd_link::ExitStatus;
use boxherd_link::channel::{STDERR, STDOUT};
use boxherd_link::proto::{self, Answer, Cause};
use boxherd_link::users::{User, find_user};
use boxherd_sys::pty;
use boxherd_sys::spawn::{Credentials, Spawn, SpawnError, Step};
use boxherd_sys::watch::Watched;
use bytes::Bytes;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use super::command::{Prepared, prepare};
use super::output::Output;
use crate::children::ExitWait;
use crate::{Inner, failure};

/// A command that runs, or whose start already decided how it ended.
pub(super) struct Started {
    pub(super) process: Option<(Pid, ExitWait)>,
    pub(super) ended: Option<ExitStatus>,
    /// Output that the agent itself has to say, such as `not found`.
    pub(super) message: Bytes,
    pub(super) outputs: Vec<(u8, Arc<Watched>)>,
    pub(super) input: Option<Arc<Watched>>,
    pub(super) terminal: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) detach_ttl: Option<Duration>,
}

impl Started {
    pub(super) fn group(&self) -> Option<Pid> {
        self.process.as_ref().map(|(pid, _)| *pid)
    }
}

/// The agent's ends and the child's.
struct Ends {
    outputs: Vec<(u8, Arc<Watched>)>,
    input: Option<Arc<Watched>>,
    child: ChildEnds,
}

/// Input, output and error output of a child. What is `None` is the terminal that the input is,
/// else nothing.
type ChildEnds = [Option<OwnedFd>; 3];

/// Starts the box's main program, with no input and both outputs in one pipe, whose end this gives
/// too. The error is what a shell would have exited with, and a line that says why.
pub(crate) fn start_cmd(inner: &Inner, exec: &proto::Exec) -> Result<CmdStarted, (i32, String)> {
    let refused = |reason: String| (CANNOT, format!("boxherd: {reason}\n"));
    let user = look_up(inner, exec.user.as_deref().unwrap_or("0")).map_err(refused)?;
    let prepared = prepare(exec, &user).map_err(refused)?;
    let pipe = output_pipe().and_then(|(reader, writer)| Ok((reader, writer.try_clone()?, writer)));
    let (output, stdout, stderr) = pipe.map_err(|error| refused(format!("no pipe: {error}")))?;
    let ends = [None, Some(stdout), Some(stderr)];
    match spawn_in_workdir(inner, exec, &user, &prepared, &ends) {
        Ok((_, wait)) => Ok(CmdStarted { wait, output: Output::new(STDOUT, output) }),
        Err(SpawnError { step: Step::Exec, source }) => Err(like_a_shell(
            &exec.argv.first().map_or("".into(), |n| String::from_utf8_lossy(n)),
            &source,
        )),
        Err(error) => Err(refused(sentence(&error, exec))),
    }
}

/// What a shell exits with when it cannot run a command that is there.
const CANNOT: i32 = 126;

/// A main program that runs.
pub(crate) struct CmdStarted {
    pub(crate) wait: ExitWait,
    pub(crate) output: Output,
}

/// Starts what was asked for. The error is the answer to the client.
pub(super) fn start(inner: &Inner, exec: &proto::Exec) -> Result<Started, Box<Answer>> {
    let exec = &inner.config.defaults.under(exec);
    let refused = |message: String| Box::new(failure(Cause::Refused, 0, message));
    let user = look_up(inner, exec.user.as_deref().unwrap_or("0")).map_err(refused)?;
    let prepared = prepare(exec, &user).map_err(refused)?;
    let ends = open_ends(exec).map_err(|error| refused(format!("no streams: {error}")))?;
    let spawned = spawn_in_workdir(inner, exec, &user, &prepared, &ends.child);
    let mut started = Started {
        process: None,
        ended: None,
        message: Bytes::new(),
        outputs: ends.outputs,
        input: ends.input,
        terminal: exec.pty.is_some(),
        timeout: exec.timeout_ms.map(Duration::from_millis),
        // The largest number stands for ever.
        detach_ttl: (exec.detach_ttl_ms != u64::MAX)
            .then(|| Duration::from_millis(exec.detach_ttl_ms)),
    };
    match spawned {
        Ok(process) => started.process = Some(process),
        Err(SpawnError { step: Step::Exec, source }) => {
            let name = prepared.argv.first().map(|n| n.to_string_lossy()).unwrap_or_default();
            let (code, message) = like_a_shell(&name, &source);
            started.message = message.into();
            started.ended = Some(ExitStatus::Code(code));
            (started.outputs, started.input) = (Vec::new(), None);
        }
        Err(error) => return Err(refused(sentence(&error, exec))),
    }
    Ok(started)
}

fn look_up(inner: &Inner, who: &str) -> Result<User, String> {
    // A box without these files still has numbers.
    let passwd = fs::read(inner.place(b"/etc/passwd")).unwrap_or_default();
    let group = fs::read(inner.place(b"/etc/group")).unwrap_or_default();
    find_user(who, &passwd, &group)
}

fn open_ends(exec: &proto::Exec) -> io::Result<Ends> {
    if let Some(size) = exec.pty {
        let pty = pty::open(cells(size.rows), cells(size.cols))?;
        let master = Arc::new(Watched::new(pty.master)?);
        return Ok(Ends {
            outputs: vec![(STDOUT, Arc::clone(&master))],
            // A terminal is always written to: replies and signals travel that way.
            input: Some(master),
            child: [Some(pty.slave), None, None],
        });
    }
    let (stdout, child_stdout) = output_pipe()?;
    let (stderr, child_stderr) = output_pipe()?;
    let (input, child_stdin) = if exec.stdin {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        (Some(watched(writer)?), Some(reader))
    } else {
        (None, None)
    };
    Ok(Ends {
        outputs: vec![(STDOUT, stdout), (STDERR, stderr)],
        input,
        child: [child_stdin, Some(child_stdout), Some(child_stderr)],
    })
}

/// A number of rows or columns as the kernel counts them.
pub(super) fn cells(count: u32) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn output_pipe() -> io::Result<(Arc<Watched>, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((watched(reader)?, writer))
}

/// Only the agent's end does not block: the other end is the program's.
fn watched(fd: OwnedFd) -> io::Result<Arc<Watched>> {
    fcntl_setfl(&fd, OFlags::NONBLOCK)?;
    Ok(Arc::new(Watched::new(fd)?))
}

fn spawn_in_workdir(
    inner: &Inner,
    exec: &proto::Exec,
    user: &User,
    prepared: &Prepared,
    ends: &ChildEnds,
) -> Result<(Pid, ExitWait), SpawnError> {
    if let Some(asked) = &exec.workdir {
        return spawn_in(inner, user, prepared, ends, exec.pty.is_some(), inner.place(asked));
    }
    let home = inner.place(user.home.as_os_str().as_bytes());
    match spawn_in(inner, user, prepared, ends, exec.pty.is_some(), home) {
        Err(SpawnError { step: Step::Workdir, .. }) => {
            spawn_in(inner, user, prepared, ends, exec.pty.is_some(), inner.place(b"/"))
        }
        result => result,
    }
}

fn spawn_in(
    inner: &Inner,
    user: &User,
    prepared: &Prepared,
    ends: &ChildEnds,
    terminal: bool,
    workdir: PathBuf,
) -> Result<(Pid, ExitWait), SpawnError> {
    let workdir = CString::new(workdir.into_os_string().into_vec()).map_err(|_| SpawnError {
        step: Step::Workdir,
        source: io::ErrorKind::InvalidInput.into(),
    })?;
    let fd = |i: usize| -> BorrowedFd<'_> {
        let first = ends[0].as_ref().filter(|_| terminal);
        ends[i].as_ref().or(first).map_or(inner.null.as_fd(), AsFd::as_fd)
    };
    inner.config.children.spawn(&Spawn {
        programs: &prepared.programs,
        argv: &prepared.argv,
        env: &prepared.env,
        workdir: Some(workdir.as_c_str()).filter(|dir: &&CStr| !dir.is_empty()),
        stdio: [fd(0), fd(1), fd(2)],
        credentials: credentials(user),
        terminal,
    })
}

/// `None` when the agent is that user already: then nothing need be permitted.
fn credentials(user: &User) -> Option<Credentials<'_>> {
    use rustix::process::{getegid, geteuid, getgroups};
    let current = getgroups().unwrap_or_default();
    let same_groups = current.iter().all(|g| user.groups.contains(&g.as_raw()))
        && user.groups.iter().all(|g| *g == user.gid || current.iter().any(|c| c.as_raw() == *g));
    let same_user = geteuid().as_raw() == user.uid && getegid().as_raw() == user.gid;
    if same_user && (same_groups || groups_are_fixed()) {
        return None;
    }
    Some(Credentials { uid: user.uid, gid: user.gid, groups: Some(&user.groups) })
}

/// Where an ordinary user has made the box and has one id to give to it, nobody may change groups.
fn groups_are_fixed() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|text| text.trim_ascii() == b"deny")
}

fn like_a_shell(name: &str, error: &io::Error) -> (i32, String) {
    match error.kind() {
        io::ErrorKind::NotFound => (127, format!("{name}: not found\n")),
        io::ErrorKind::PermissionDenied => (CANNOT, format!("{name}: permission denied\n")),
        _ => (CANNOT, format!("{name}: cannot execute: {error}\n")),
    }
}

fn sentence(error: &SpawnError, exec: &proto::Exec) -> String {
    let SpawnError { step, source } = error;
    match step {
        Step::Workdir => {
            let dir = exec.workdir.clone().unwrap_or_default();
            format!("cannot enter `{}` in the box: {source}", String::from_utf8_lossy(&dir))
        }
        Step::Credentials => {
            format!("cannot run as `{}`: {source}", exec.user.as_deref().unwrap_or("0"))
        }
        Step::Clone => format!("cannot start a process in the box: {source}"),
        Step::Setup | Step::Exec => format!("cannot set up the process: {source}"),
    }
}
