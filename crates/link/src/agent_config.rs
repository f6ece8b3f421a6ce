//! What the host tells a new agent before there is a link: read once, from an inherited descriptor.
//!
//! By convention descriptor [`LISTENER_FD`] is the unix socket on which the agent serves links
//! (bound and listening, made by the host), [`CONFIG_FD`] holds an [`AgentConfig`] with its length
//! before it (protobuf's length-delimited form), and [`CONSOLE_FD`], when there is one, is the
//! console's ring file. [`MEMORY_BELL_FD`] and [`MEMORY_KILLS_FD`] come together, where the kernel
//! does not itself end a whole box that runs out of memory. None of it travels in arguments or
//! environment, which every process of the box can read.
//!
//! In a box with a kernel of its own, of which memory is saved and brought back, an agent can hold
//! none of the host's descriptors but the standard ones. It is started with [`SANDBOXED`] as its only
//! argument, finds its configuration on descriptor 0 and the console on 1, and connects to [`GATE`].
//! What it hears there are single bytes: at a [`CONNECTION`] it connects once more, and that
//! connection is a link; at [`PARK`] it lets go of every link, as if they were lost, and of the gate,
//! and connects again when it gets SIGUSR1.

use prost::Message;

/// The listening socket.
pub const LISTENER_FD: i32 = 3;
/// The configuration, from its start to the end of file.
pub const CONFIG_FD: i32 = 4;
/// The console's ring file, opened for reading and writing; closed when the box has none.
pub const CONSOLE_FD: i32 = 5;
/// A file for the exit code of the main program, in decimal: written once, when it has ended for
/// good. Closed when nobody wants to know.
pub const EXIT_FD: i32 = 6;
/// What becomes readable when the box, or a control group around it, runs out of memory: an eventfd.
pub const MEMORY_BELL_FD: i32 = 7;
/// The box's `memory.oom_control` of cgroup v1, which counts the processes that the kernel has
/// killed. The agent ends everything once it has counted one.
pub const MEMORY_KILLS_FD: i32 = 8;

/// The argument of an agent that gets its links through a gate.
pub const SANDBOXED: &str = "sandboxed";
/// Where such a box has the agent's files. Its administrator's only.
pub const DOOR: &str = "/run/boxherd-agent";
/// The unix socket in [`DOOR`] to which an agent connects: first for the gate, then for links.
pub const GATE: &str = "/run/boxherd-agent/gate";
/// At the gate: somebody wants a link.
pub const CONNECTION: u8 = b'c';
/// At the gate: memory is about to be saved.
pub const PARK: u8 = b'p';

/// In the folder of an agent of a guest: what the host says of commands and of `cmd`, if it says
/// anything, with its length before it.
pub const CONFIG: &str = "config";

/// What stands between the path of an agent's program and a mark, where it is put beside its place. Run
/// as [`RELAY`] it takes its place.
pub const BESIDE: &str = ".beside-";

/// The first argument of a program that connects its standard input and output to the agent of a
/// machine that has an init of its own. A folder and a time in seconds follow: the agent is in that
/// folder, and is started when there is none; then it stays until it had no link and no command for
/// that time.
pub const RELAY: &str = "relay";
/// What a relay ends with that has reached the agent, and was cut off from it by an error; 0 when it was
/// not. With anything else it has not reached it.
pub const CUT_OFF: u8 = 1;

/// Whether a relay that ended with `code` had reached the agent.
#[must_use]
pub fn has_reached(code: i32) -> bool {
    code == 0 || code == i32::from(CUT_OFF)
}

/// The same of such an agent, which finds its listening socket on descriptor 0.
pub const GUEST: &str = "guest";

/// Where such an agent keeps what outlives the machine's power. Its administrator's only.
pub const KEPT: &str = "/var/lib/boxherd";
/// In it: the console's ring.
pub const KEPT_CONSOLE: &str = "console";
/// In it: what `cmd` ended with, in decimal, once it has ended for good.
pub const KEPT_EXIT: &str = "exit";

/// The longest configuration an agent accepts, in bytes.
pub const MAX_CONFIG: usize = 1024 * 1024;

/// How an agent starts.
#[derive(Clone, PartialEq, Message)]
pub struct AgentConfig {
    /// Set by the agent when not empty.
    #[prost(string, tag = "1")]
    pub hostname: String,
    /// The main program, as argv; nothing is started when empty. The agent ends when it has ended
    /// for good.
    #[prost(string, repeated, tag = "2")]
    pub cmd: Vec<String>,
    /// The environment of `cmd` and of every command, on top of the defaults. What a command brings
    /// itself comes after it, here and below.
    #[prost(message, repeated, tag = "3")]
    pub env: Vec<crate::proto::Env>,
    /// Where `cmd` and every command runs; the user's home, else `/`.
    #[prost(string, optional, tag = "4")]
    pub workdir: Option<String>,
    /// Whom `cmd` and every command runs as; root when not given.
    #[prost(string, optional, tag = "5")]
    pub user: Option<String>,
    /// What happens when `cmd` ends.
    #[prost(message, optional, tag = "6")]
    pub restart: Option<Restart>,
    /// Size of the console's ring without its header, in bytes; 0 for the default.
    #[prost(uint64, tag = "7")]
    pub console_size: u64,
    // Tag 8 was `oom_first`, and stays unused.
    /// Files that the agent writes before anything else, where nobody else can do it.
    #[prost(message, repeated, tag = "9")]
    pub files: Vec<ConfigFile>,
}

/// A file of [`AgentConfig::files`].
#[derive(Clone, PartialEq, Message)]
pub struct ConfigFile {
    /// Absolute; its folder is made.
    #[prost(string, tag = "1")]
    pub path: String,
    /// All of it.
    #[prost(string, tag = "2")]
    pub content: String,
    /// The file is kept when it is there and does not begin with this.
    #[prost(string, tag = "3")]
    pub only_over: String,
}

/// What happens when `cmd` ends.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Restart {
    /// Starts it again whatever it returned.
    #[prost(bool, tag = "1")]
    pub always: bool,
    /// Starts it again this often in a row when it failed.
    #[prost(uint32, tag = "2")]
    pub on_failure: u32,
}

impl From<boxherd_model::RestartPolicy> for Restart {
    fn from(policy: boxherd_model::RestartPolicy) -> Self {
        use boxherd_model::RestartPolicy;
        match policy {
            RestartPolicy::Never => Self { always: false, on_failure: 0 },
            RestartPolicy::Always => Self { always: true, on_failure: 0 },
            RestartPolicy::OnFailure { max_retries } => {
                Self { always: false, on_failure: max_retries }
            }
        }
    }
}
