//! What can be typed, and nothing of what it does.

mod boxes;
mod disks;
mod engines;
mod examples;
mod exec;
mod images;
mod proxy;
mod server;
mod spec;
mod values;

pub(crate) use boxes::*;
pub(crate) use disks::*;
pub(crate) use engines::*;
pub(crate) use exec::*;
pub(crate) use images::*;
pub(crate) use proxy::*;
pub(crate) use server::*;
pub(crate) use spec::BoxFlags;
pub(crate) use values::{CopyEnd, EnvVar, Forward, LabelChange, NewName};

use std::path::PathBuf;

use boxherd_model::EngineName;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// Isolated Linux machines for agents, jobs, previews and people.
#[derive(Debug, Parser)]
#[command(name = "boxherd", version, max_term_width = 100, infer_long_args = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where boxes are kept; `/var/lib/boxherd` for root, else `~/.local/share/boxherd`
    #[arg(long, global = true, value_name = "DIR", env = "BOXHERD_DATA", hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,
    /// A Postgres database to write boxes down in, `postgres://USER:PASSWORD@HOST/DATABASE`, and not
    /// in the data folder. With a password in it, use the variable: others see what commands are given
    #[arg(long, global = true, value_name = "URL", env = "BOXHERD_STORE", hide_env_values = true)]
    pub(crate) store: Option<String>,
    /// Ask the server at `https://HOST:PORT`, `http://127.0.0.1:PORT` or `unix:PATH` instead of the
    /// boxes of this machine
    #[arg(long, global = true, value_name = "URL", env = "BOXHERD_SERVER", hide_env_values = true)]
    pub(crate) server: Option<String>,
    /// Where the server's API key is, unless it is in the variable `BOXHERD_API_KEY`, or a
    /// token in `BOXHERD_TOKEN`
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Trust the server by these certificates only
    #[arg(long, global = true, value_name = "FILE", env = "BOXHERD_CA", hide_env_values = true)]
    pub(crate) ca: Option<PathBuf>,
    /// How results are printed; with `json`, errors too
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// Print no progress and no notes; `ls` and `snapshot ls` print names only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say what is done, on standard error; `-vv` says more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Use no colours; so does a variable `NO_COLOR`
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
    /// Names, one a line
    Name,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<RunArgs>),
    Create(Box<CreateArgs>),
    Ls(LsArgs),
    Top(TopArgs),
    Show(NameArgs),
    Rm(RmArgs),
    /// Start boxes that are stopped, with the disk they had
    ///
    /// A box that runs is left alone, and one that is suspended is resumed.
    #[command(after_help = examples::START)]
    Start(NamesArgs),
    /// End every process of boxes and keep their disks
    ///
    /// Processes are asked to end and are killed after `--grace`; a suspended box is woken for it.
    #[command(after_help = examples::STOP)]
    Stop(StopArgs),
    /// Stop boxes and start them again
    ///
    /// Processes are asked to end and are killed after `--grace`; a stopped box is only started.
    #[command(after_help = examples::RESTART)]
    Restart(StopArgs),
    /// Freeze boxes: they keep their memory and use no processor
    ///
    /// Any use (exec, shell, cp, port) wakes a suspended box.
    #[command(after_help = examples::SUSPEND)]
    Suspend(NamesArgs),
    /// Let suspended boxes go on where they were, and bring hibernated ones back
    #[command(after_help = examples::RESUME)]
    Resume(NamesArgs),
    /// Save the memory of boxes to disk and end their processes; `resume` brings them back
    ///
    /// Needs an engine that can save memory; `boxherd doctor` says whether this machine has one.
    #[command(after_help = examples::HIBERNATE)]
    Hibernate(NamesArgs),
    Fork(ForkArgs),
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    Rename(RenameArgs),
    Label(LabelArgs),
    Exec(ExecArgs),
    Shell(ShellArgs),
    Cp(CpArgs),
    Logs(LogsArgs),
    Port(PortArgs),
    #[command(subcommand)]
    Proxy(ProxyCommand),
    #[command(subcommand)]
    Disk(DiskCommand),
    Image(ImagesOf),
    #[command(subcommand)]
    Engine(EngineCommand),
    Doctor(DoctorArgs),
    Serve(ServeArgs),
    Connect(ConnectArgs),
    #[command(subcommand)]
    Key(KeyCommand),
    #[command(subcommand)]
    User(UserCommand),
    Bench(BenchArgs),
    Completion(CompletionArgs),
    #[command(hide = true)]
    Netd(NetdArgs),
}

/// Look at what this machine can do, and how to get the rest
///
/// Tries what boxes need (namespaces, mounts, control groups, networks) instead of reading versions,
/// changes nothing, and needs no privileges. Says for everything that is missing how to get it. Exits
/// with 1 when something is missing without which no box runs.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Prepare a btrfs pool in the data folder, for fast forks and disk limits
    #[arg(long)]
    pub(crate) fix: bool,
    /// How large that pool may grow
    #[arg(long, value_name = "SIZE", default_value = "64GiB", requires = "fix")]
    pub(crate) pool: boxherd_model::ByteSize,
}

/// Measure this machine: boxes, the kernel's floor, and peers that are installed
///
/// Makes boxes called `bench-…` in the data folder and deletes them. Everything is measured in turns,
/// so that the ratios hold on a busy machine. Disks are limited where this machine can.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = examples::BENCH)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,
    /// Only these; every one when not given
    #[arg(value_name = "CONTEST", value_parser = clap::builder::PossibleValuesParser::new(boxherd_bench::NAMES))]
    pub(crate) only: Vec<String>,
    /// Rounds of what is fast; what is slow makes a tenth of it, at least 3
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rounds: u32,
    /// How many boxes are made in a burst
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub(crate) boxes: u32,
    /// How many idle boxes are weighed
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub(crate) idle: u32,
    /// How large the file is that goes in and out
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub(crate) file_size: boxherd_model::ByteSize,
    /// Measure no peers
    #[arg(long)]
    pub(crate) no_peers: bool,
}

/// What is measured that is not this machine.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    Lxd(BenchLxdArgs),
    Delay(BenchDelayArgs),
}

/// Make a server far away: a port of this machine that leads to it, and delays what passes
///
/// Prints the port, and ends when standard input does.
#[derive(Debug, Args)]
pub(crate) struct BenchDelayArgs {
    /// The server, such as `lab.example:8443`
    #[arg(value_name = "HOST:PORT")]
    pub(crate) target: String,
    /// How far away
    #[arg(long, value_name = "TIME", default_value = "27ms", value_parser = values::duration)]
    pub(crate) round_trip: std::time::Duration,
}

/// Measure boxes on servers of LXD and Incus, beside the files API, `lxc exec` and pyinfra's connector
///
/// Makes a box called `bench-…` on each engine and deletes it. It is reached as the engine is (by a unix
/// socket, or by TLS) and, by TLS, from so far away as `--round-trip` says: through a proxy in this
/// process that delays what passes.
#[derive(Debug, Args)]
pub(crate) struct BenchLxdArgs {
    /// Only this engine; may be repeated. Every one of LXD and Incus when not given
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Vec<EngineName>,
    /// How far away
    #[arg(long, value_name = "TIME", default_value = "27ms", value_parser = values::duration)]
    pub(crate) round_trip: std::time::Duration,
    /// Rounds of small files; commands have twice as many, what is slow a tenth, at least 3
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rounds: u32,
    /// How large the file is that goes in and out
    #[arg(long, value_name = "SIZE", default_value = "100MB")]
    pub(crate) file_size: boxherd_model::ByteSize,
    /// A Python with `pyinfra-lxd-api-connector`, which then takes part; `cargo xtask bench python` makes
    /// one
    #[arg(long, value_name = "FILE")]
    pub(crate) python: Option<PathBuf>,
    /// Measure no peers
    #[arg(long, conflicts_with = "python")]
    pub(crate) no_peers: bool,
}

/// Let another program drive boxes, over standard input and output
///
/// For connectors such as that of pyinfra: one process answers many requests at once (commands, files,
/// lists), each with its own stream. `docs/connect.md` specifies the frames. Ends when standard input
/// ends, and ends what it ran.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// Speak over standard input and output, which is the only way there is
    #[arg(long, required = true)]
    pub(crate) stdio: bool,
}

/// Print a completion script
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// For which shell
    pub(crate) shell: clap_complete::Shell,
}

/// Answer DNS for boxes; started by Boxherd itself
#[derive(Debug, Args)]
pub(crate) struct NetdArgs {
    /// The installation whose boxes are served
    pub(crate) installation: String,
}

#[cfg(test)]
mod tests;
