//! Control messages, as protobuf: a peer of another release skips what it does not know.
//!
//! Tags never change their meaning. Field comments give units where the names do not. Paths and
//! names inside the box are bytes: Linux does not promise UTF-8.

#![expect(missing_docs, reason = "generated accessors; the fields are named for what they hold")]

use prost::{Enumeration, Message, Oneof};

/// The newest protocol this crate speaks.
pub const PROTOCOL: u32 = 1;
/// The oldest protocol this crate still speaks.
pub const OLDEST_PROTOCOL: u32 = 1;

/// First message of each side.
#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    #[prost(uint32, tag = "2")]
    pub oldest_protocol: u32,
    #[prost(string, tag = "3")]
    pub version: String,
    #[prost(string, repeated, tag = "4")]
    pub features: Vec<String>,
}

/// Opens a stream.
#[derive(Clone, PartialEq, Message)]
pub struct Open {
    #[prost(oneof = "Request", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    pub request: Option<Request>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Request {
    #[prost(message, tag = "1")]
    Exec(Exec),
    #[prost(message, tag = "2")]
    Reattach(Reattach),
    #[prost(message, tag = "3")]
    Read(Read),
    #[prost(message, tag = "4")]
    Write(Write),
    #[prost(message, tag = "5")]
    TarOut(TarOut),
    #[prost(message, tag = "6")]
    TarIn(TarIn),
    #[prost(message, tag = "7")]
    List(Path),
    #[prost(message, tag = "8")]
    Dial(Dial),
    #[prost(message, tag = "9")]
    Call(Call),
}

#[derive(Clone, PartialEq, Message)]
pub struct Exec {
    /// Exactly one of `argv` and `shell`.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub argv: Vec<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub shell: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "3")]
    pub env: Vec<Env>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub workdir: Option<Vec<u8>>,
    #[prost(string, optional, tag = "5")]
    pub user: Option<String>,
    #[prost(bool, tag = "6")]
    pub stdin: bool,
    #[prost(message, optional, tag = "7")]
    pub pty: Option<Size>,
    #[prost(uint64, optional, tag = "8")]
    pub timeout_ms: Option<u64>,
    #[prost(uint64, tag = "9")]
    pub detach_ttl_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Env {
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Size {
    #[prost(uint32, tag = "1")]
    pub rows: u32,
    #[prost(uint32, tag = "2")]
    pub cols: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Reattach {
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    #[prost(uint64, tag = "2")]
    pub stdout: u64,
    #[prost(uint64, tag = "3")]
    pub stderr: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Path {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Read {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    #[prost(uint64, optional, tag = "3")]
    pub length: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Write {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    #[prost(uint32, optional, tag = "2")]
    pub mode: Option<u32>,
    #[prost(message, optional, tag = "3")]
    pub owner: Option<Owner>,
    #[prost(bool, tag = "4")]
    pub parents: bool,
    #[prost(uint64, optional, tag = "5")]
    pub at: Option<u64>,
    #[prost(bool, tag = "6")]
    pub truncate: bool,
    #[prost(bool, tag = "7")]
    pub sync: bool,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Owner {
    #[prost(uint32, tag = "1")]
    pub uid: u32,
    #[prost(uint32, tag = "2")]
    pub gid: u32,
}

/// What it was before `prefix` is a [`Path`], on the wire too.
#[derive(Clone, PartialEq, Message)]
pub struct TarOut {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    /// Put before the names of what is in a directory, which is an entry itself then.
    #[prost(bytes = "vec", tag = "2")]
    pub prefix: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TarIn {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub parents: bool,
    #[prost(message, optional, tag = "3")]
    pub owner: Option<Owner>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Dial {
    #[prost(uint32, tag = "1")]
    pub port: u32,
}

/// One question, one answer.
#[derive(Clone, PartialEq, Message)]
pub struct Call {
    #[prost(oneof = "Ask", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17")]
    pub ask: Option<Ask>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Ask {
    #[prost(message, tag = "1")]
    Stat(Path),
    #[prost(message, tag = "2")]
    Lstat(Path),
    #[prost(message, tag = "3")]
    StatVfs(Path),
    #[prost(message, tag = "4")]
    Mkdir(Mkdir),
    #[prost(message, tag = "5")]
    Remove(Remove),
    /// `from` becomes `to`.
    #[prost(message, tag = "6")]
    Rename(Pair),
    #[prost(message, tag = "7")]
    Truncate(Truncate),
    /// `from` is the text of the link, `to` its place.
    #[prost(message, tag = "8")]
    Symlink(Pair),
    #[prost(message, tag = "9")]
    ReadLink(Path),
    /// `from` exists, `to` is its new name.
    #[prost(message, tag = "10")]
    HardLink(Pair),
    #[prost(message, tag = "11")]
    SetTimes(SetTimes),
    #[prost(message, tag = "12")]
    Chmod(Chmod),
    #[prost(message, tag = "13")]
    Chown(Chown),
    #[prost(message, tag = "14")]
    Listening(Nothing),
    #[prost(message, tag = "15")]
    Stats(Nothing),
    #[prost(message, tag = "16")]
    Refresh(Refresh),
    #[prost(message, tag = "17")]
    Stop(Stop),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Nothing {}

#[derive(Clone, PartialEq, Message)]
pub struct Mkdir {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    #[prost(uint32, optional, tag = "2")]
    pub mode: Option<u32>,
    #[prost(bool, tag = "3")]
    pub parents: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Remove {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub recursive: bool,
    #[prost(bool, tag = "3")]
    pub missing_ok: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Pair {
    #[prost(bytes = "vec", tag = "1")]
    pub from: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub to: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Truncate {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub size: u64,
}

/// Seconds and nanoseconds since the epoch; nanoseconds count forward also before it.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Time {
    #[prost(sint64, tag = "1")]
    pub seconds: i64,
    #[prost(uint32, tag = "2")]
    pub nanos: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct SetTimes {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub accessed: Option<Time>,
    #[prost(message, optional, tag = "3")]
    pub modified: Option<Time>,
    #[prost(bool, tag = "4")]
    pub no_follow: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Chmod {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub mode: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Chown {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    #[prost(uint32, optional, tag = "2")]
    pub uid: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub gid: Option<u32>,
    #[prost(bool, tag = "4")]
    pub no_follow: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Refresh {
    #[prost(message, optional, tag = "1")]
    pub clock: Option<Time>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub entropy: Option<Vec<u8>>,
    #[prost(string, optional, tag = "3")]
    pub hostname: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub machine_id: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Stop {
    #[prost(uint64, tag = "1")]
    pub grace_ms: u64,
}

/// A control message on an open stream, to the agent.
#[derive(Clone, PartialEq, Message)]
pub struct Control {
    #[prost(oneof = "Do", tags = "1, 2, 3, 4")]
    pub what: Option<Do>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub enum Do {
    /// Sends this signal to the process group.
    #[prost(int32, tag = "1")]
    Signal(i32),
    #[prost(message, tag = "2")]
    Resize(Size),
    /// Let go of the command without ending it.
    #[prost(message, tag = "3")]
    Detach(Nothing),
    /// Of what is written, so many bytes more should be under way.
    #[prost(uint32, tag = "4")]
    Widen(u32),
}

/// A control message from the agent.
#[derive(Clone, PartialEq, Message)]
pub struct Reply {
    #[prost(oneof = "Answer", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10")]
    pub answer: Option<Answer>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Answer {
    #[prost(message, tag = "1")]
    Failure(Failure),
    /// It was done, and there is nothing to say.
    #[prost(message, tag = "2")]
    Done(Nothing),
    /// A command runs.
    #[prost(message, tag = "3")]
    Started(Started),
    /// A command ended; all output came before.
    #[prost(message, tag = "4")]
    Exit(Exit),
    #[prost(message, tag = "5")]
    Stat(Stat),
    #[prost(message, tag = "6")]
    StatVfs(StatVfs),
    #[prost(message, tag = "7")]
    Path(Path),
    #[prost(message, tag = "8")]
    Listening(Listening),
    #[prost(message, tag = "9")]
    Stats(Stats),
    #[prost(message, tag = "10")]
    Refreshed(Refreshed),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Cause {
    /// `message` says why.
    Refused = 0,
    /// `errno` says why.
    Errno = 1,
    /// This agent does not know the request.
    Unsupported = 2,
    UnknownExec = 3,
    OutputGone = 4,
    TakenOver = 5,
}

#[derive(Clone, PartialEq, Message)]
pub struct Failure {
    #[prost(enumeration = "Cause", tag = "1")]
    pub cause: i32,
    #[prost(int32, tag = "2")]
    pub errno: i32,
    #[prost(string, tag = "3")]
    pub message: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Started {
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    /// Bytes of input that the agent has: go on after them.
    #[prost(uint64, tag = "2")]
    pub stdin: u64,
    /// Whether there is input that is still open.
    #[prost(bool, tag = "3")]
    pub stdin_open: bool,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Exit {
    #[prost(oneof = "Ended", tags = "1, 2, 3")]
    pub ended: Option<Ended>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub enum Ended {
    #[prost(int32, tag = "1")]
    Code(i32),
    #[prost(int32, tag = "2")]
    Signal(i32),
    #[prost(message, tag = "3")]
    TimedOut(Nothing),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Stat {
    /// `st_mode`: kind and permission bits.
    #[prost(uint32, tag = "1")]
    pub mode: u32,
    #[prost(uint64, tag = "2")]
    pub size: u64,
    #[prost(uint64, tag = "3")]
    pub allocated: u64,
    #[prost(uint32, tag = "4")]
    pub uid: u32,
    #[prost(uint32, tag = "5")]
    pub gid: u32,
    #[prost(uint64, tag = "6")]
    pub nlink: u64,
    #[prost(uint64, tag = "7")]
    pub dev: u64,
    #[prost(uint64, tag = "8")]
    pub ino: u64,
    #[prost(message, optional, tag = "9")]
    pub accessed: Option<Time>,
    #[prost(message, optional, tag = "10")]
    pub modified: Option<Time>,
    #[prost(message, optional, tag = "11")]
    pub changed: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct StatVfs {
    #[prost(uint64, tag = "1")]
    pub total: u64,
    #[prost(uint64, tag = "2")]
    pub free: u64,
    #[prost(uint64, tag = "3")]
    pub available: u64,
    #[prost(uint64, tag = "4")]
    pub files: u64,
    #[prost(uint64, tag = "5")]
    pub files_free: u64,
    #[prost(uint64, tag = "6")]
    pub name_max: u64,
    #[prost(bool, tag = "7")]
    pub read_only: bool,
}

/// Sent length-delimited, as data: a directory may be larger than a message.
#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub stat: Option<Stat>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub target: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Listening {
    #[prost(message, repeated, tag = "1")]
    pub listeners: Vec<Listener>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Listener {
    #[prost(uint32, tag = "1")]
    pub port: u32,
    /// 4 or 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub address: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Stats {
    #[prost(uint64, tag = "1")]
    pub uptime_ms: u64,
    #[prost(double, repeated, tag = "2")]
    pub load: Vec<f64>,
    #[prost(uint64, tag = "3")]
    pub memory_total: u64,
    #[prost(uint64, tag = "4")]
    pub memory_available: u64,
    #[prost(uint32, tag = "5")]
    pub processes: u32,
    #[prost(uint32, tag = "6")]
    pub execs: u32,
    #[prost(message, optional, tag = "7")]
    pub cmd: Option<CmdStats>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct CmdStats {
    #[prost(bool, tag = "1")]
    pub running: bool,
    #[prost(uint32, tag = "2")]
    pub restarts: u32,
    #[prost(message, optional, tag = "3")]
    pub last_exit: Option<Exit>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Refreshed {
    #[prost(bool, tag = "1")]
    pub clock: bool,
    #[prost(bool, tag = "2")]
    pub entropy_credited: bool,
}
