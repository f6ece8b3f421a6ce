//! What callers give to and get from a link.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

/// How long a command outlives a lost link unless the request says otherwise.
pub const DEFAULT_DETACH_TTL: Duration = Duration::from_secs(60);

/// The agent at the other end, by its own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentInfo {
    /// The release it is from, such as `0.1.0`.
    pub version: String,
    /// The newest protocol that both sides speak.
    pub protocol: u32,
    /// What it can do beyond the first protocol, such as `reattach`.
    pub features: Vec<String>,
}

/// How the feature begins of what stands in for an agent that cannot run in its box: the engine's own
/// way of running commands and moving files, which is slower and can less. The rest of it says why.
pub const NATIVE: &str = "native: ";

impl AgentInfo {
    /// Why it is no agent, where an engine stands in for one. See [`NATIVE`].
    #[must_use]
    pub fn native(&self) -> Option<&str> {
        self.features.iter().find_map(|feature| feature.strip_prefix(NATIVE))
    }
}

/// Names one command in one agent. Random, so that an id from before a restart names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecId(pub(crate) u64);

impl ExecId {
    /// The id as a number.
    #[must_use]
    pub const fn from_u64(id: u64) -> Self {
        Self(id)
    }

    /// The id as a number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ExecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ExecId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A program and its arguments; the program is searched in `PATH` of the request or the box.
    Argv(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtySize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// A command to run in a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// What to run.
    pub command: Command,
    /// Set on top of the box's default environment (`PATH`, `HOME`, `USER`, `LOGNAME`, `SHELL`).
    pub env: Vec<(String, String)>,
    /// Where to run it; the user's home if it exists, else `/`.
    pub workdir: Option<String>,
    /// Whom to run it as: `NAME`, `UID`, `NAME:GROUP` or `UID:GID`; root when not given.
    pub user: Option<String>,
    /// Whether there is input; `/dev/null` when not.
    pub stdin: bool,
    /// Whether the input, of a command that has one, is over before it began: its end goes along with the
    /// request.
    pub ended: bool,
    /// A terminal of this size; input, output and errors are then one stream, reported as output.
    pub pty: Option<PtySize>,
    /// After this long the process group is killed and the exit is [`ExitStatus::TimedOut`].
    pub timeout: Option<Duration>,
    /// How long it outlives a lost link. Zero: it dies with the link.
    pub detach_ttl: Duration,
}

impl ExecRequest {
    /// Runs a program with every default: no input, root, no time limit.
    #[must_use]
    pub fn argv<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self::new(Command::Argv(argv.into_iter().map(Into::into).collect()))
    }

    /// Runs a line through `/bin/sh -c` with every default.
    #[must_use]
    pub fn shell(line: impl Into<String>) -> Self {
        Self::new(Command::Shell(line.into()))
    }

    fn new(command: Command) -> Self {
        Self {
            command,
            env: Vec::new(),
            workdir: None,
            user: None,
            stdin: false,
            ended: false,
            pty: None,
            timeout: None,
            detach_ttl: DEFAULT_DETACH_TTL,
        }
    }
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// It wrote to its output, or to its terminal.
    Stdout(Bytes),
    /// It wrote to its error output.
    Stderr(Bytes),
    /// It ended. All its output came before; nothing comes after.
    Exit(ExitStatus),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It returned this code, 0 to 255. 126: it could not be executed. 127: it was not found.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// It was killed because its time was up.
    TimedOut,
}

impl ExitStatus {
    /// The code a shell would show: 128 + N for signal N, 124 for a timeout as `timeout(1)` has it.
    #[must_use]
    pub const fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code & 0xff,
            Self::Signal(signal) => (128 + signal) & 0xff,
            Self::TimedOut => 124,
        }
    }

    /// Whether it returned 0.
    #[must_use]
    pub const fn success(self) -> bool {
        matches!(self, Self::Code(0))
    }
}

/// How much of a command's streams has been delivered, in bytes from its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offsets {
    /// Output handed to the caller.
    pub stdout: u64,
    /// Error output handed to the caller.
    pub stderr: u64,
}

/// A command that has ended, with its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// Its output, at most the limit that was given.
    pub stdout: Bytes,
    /// Its error output, at most the limit that was given.
    pub stderr: Bytes,
    /// How it ended.
    pub status: ExitStatus,
    /// Whether output was thrown away because it exceeded the limit.
    pub truncated: bool,
}

/// A TCP port on which something in the box listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// The address it is bound to; `0.0.0.0` or `::` for every address.
    pub address: IpAddr,
}

/// What the agent says about the box. Claims: limits and metering come from the engine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentStats {
    /// Time since the agent started.
    pub uptime: Duration,
    /// Load averages over 1, 5 and 15 minutes, as `/proc/loadavg` shows them in the box.
    pub load: [f64; 3],
    /// Memory as `/proc/meminfo` shows it in the box, in bytes.
    pub memory_total: u64,
    /// Memory available, in bytes.
    pub memory_available: u64,
    /// Processes in the box.
    pub processes: u32,
    /// Commands that run now, with or without a client.
    pub execs: u32,
    /// How often `cmd` was restarted; `None` without `cmd`.
    pub cmd: Option<CmdStats>,
}

/// What became of the box's main program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CmdStats {
    /// Whether it runs now.
    pub running: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended the last time.
    pub last_exit: Option<ExitStatus>,
}

/// What to renew after resume, fork or restore. What is `None` or `false` is left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refresh {
    /// The time by the host's clock. Refused quietly where the box may not set it (a box with a
    /// user namespace shares the host's clock and needs no step); see [`Refreshed::clock`].
    pub clock: Option<SystemTime>,
    /// Fresh randomness for the box's kernel.
    pub entropy: Option<Bytes>,
    /// A new host name.
    pub hostname: Option<String>,
    /// A new `/etc/machine-id`: 32 hex digits.
    pub machine_id: Option<String>,
}

/// What a refresh did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Whether the clock was stepped. `false` where the kernel does not let the box.
    pub clock: bool,
    /// Whether the randomness was credited, as opposed to only mixed in.
    pub entropy_credited: bool,
}

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// What `stat(2)` says about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits, including set-uid, set-gid and sticky.
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
    /// Bytes allocated on disk.
    pub allocated: u64,
    /// Owner inside the box.
    pub uid: u32,
    /// Group inside the box.
    pub gid: u32,
    /// Hard links.
    pub nlink: u64,
    /// Device number inside the box.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Last access.
    pub accessed: SystemTime,
    /// Last change of the content.
    pub modified: SystemTime,
    /// Last change of the inode.
    pub changed: SystemTime,
}

/// One entry of a directory. The name is the box's: never use it as a path on the host unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: OsString,
    /// What it is, not following links.
    pub stat: FileStat,
    /// Where it points, when it is a symbolic link.
    pub target: Option<PathBuf>,
}

/// What `statvfs(3)` says about a file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatVfs {
    /// Size in bytes.
    pub total: u64,
    /// Bytes free for root.
    pub free: u64,
    /// Bytes free for everyone.
    pub available: u64,
    /// Inodes.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Longest name.
    pub name_max: u64,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// Which bytes of a file to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadRange {
    /// The first byte.
    pub offset: u64,
    /// How many at most; to the end when not given.
    pub length: Option<u64>,
}

/// How to write a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Permission bits; those of the file that is replaced, else 0644.
    pub mode: Option<u32>,
    /// Owner and group inside the box; those of the file that is replaced, else root.
    pub owner: Option<(u32, u32)>,
    /// Make missing directories, 0755.
    pub parents: bool,
    /// Write in place from this byte on and keep the rest. Without it the file is written beside
    /// its place and renamed, so that readers see the old content or the new and nothing between.
    pub at: Option<u64>,
    /// With `at`: the file ends after the last byte written.
    pub truncate: bool,
    /// On disk before [`finish`](crate::FileWriter::finish) returns. Without it, a crash of the host
    /// soon afterwards may leave neither the old content nor the new.
    pub sync: bool,
}

/// How to remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Directories with everything in them.
    pub recursive: bool,
    /// Succeed when there is nothing.
    pub missing_ok: bool,
}

/// How to make a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MkdirOptions {
    /// Permission bits; 0755 when not given.
    pub mode: Option<u32>,
    /// Make missing parents, and succeed when the directory exists.
    pub parents: bool,
}

/// How to unpack a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TarOptions {
    /// Make the directory that is unpacked into, and its parents.
    pub parents: bool,
    /// Give everything to this owner and group instead of those in the archive.
    pub owner: Option<(u32, u32)>,
}
