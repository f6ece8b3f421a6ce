//! What the agent does as a program, usually process 1 of a box: it takes over the descriptors it
//! was given, hides from the box, reaps, runs `cmd` under its restart policy, and serves links
//! until `cmd` has ended for good, it is told to stop, or the box has run out of memory.

mod cmd;
mod console;
mod memory;

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::time::Duration;

use boxherd_link::ExitStatus;
use boxherd_link::agent_config::{
    AgentConfig as Config, CONFIG_FD, CONSOLE_FD, ConfigFile, EXIT_FD, GATE, LISTENER_FD,
    MAX_CONFIG, MEMORY_BELL_FD, MEMORY_KILLS_FD, SANDBOXED,
};
use boxherd_sys::clone::exit_now;
use boxherd_sys::init::{signal_all, take_inherited, use_one_arena};
use prost::Message;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal, WaitOptions, set_dumpable_behavior, wait};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use self::console::Console;
use self::memory::Memory;
use crate::gate::Gate;
use crate::{Agent, AgentConfig, Children, Defaults};

/// Threads that block on files, at most.
const THREADS: usize = 4;
/// How long such a thread waits for more before it goes, so that an idle agent is small.
const KEEP_THREAD: Duration = Duration::from_secs(1);
/// Their stacks, in bytes.
const STACK: usize = 256 * 1024;
/// What a shell says of a program that SIGKILL has ended.
const KILLED: i32 = 137;
/// How long what runs may take to end when the agent itself is asked to by a signal.
const SIGNAL_GRACE: Duration = Duration::from_secs(10);

/// Runs until the box is over, and says what the program should exit with: what `cmd` ended with,
/// and 0 when it was told to stop. Does not return when the box has run out of memory.
pub fn run() -> io::Result<u8> {
    use_one_arena();
    // The kernel calls it like its file, which is called like its digest.
    rustix::thread::set_name(c"boxherd-agent")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(done) = crate::guest::role(&arguments) {
        return done;
    }
    let sandboxed = arguments.first().is_some_and(|argument| argument == SANDBOXED);
    let (config, console, given) = if sandboxed { from_standard()? } else { from_numbers()? };
    let config = read_config(config)?;
    config.files.iter().try_for_each(write)?;
    let process_one = std::process::id() == 1;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if !config.hostname.is_empty() {
        rustix::system::sethostname(config.hostname.as_bytes())?;
    }
    let console = Console::new(console, config.console_size)?;
    let runtime = runtime()?;
    let code = runtime.block_on(serve(given, config, console, process_one));
    // A thread that hangs on a dead file system must not keep the box from ending.
    runtime.shutdown_background();
    code
}

/// One thread, and few others for files.
pub(crate) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS)
        .thread_keep_alive(KEEP_THREAD)
        .thread_stack_size(STACK)
        .build()
}

/// Configuration, console and the rest, in the order of their numbers.
type Inherited = (File, Option<File>, Given);

fn from_numbers() -> io::Result<Inherited> {
    let missing = |what: &str| io::Error::other(format!("no {what} was inherited"));
    let listener = take_inherited(LISTENER_FD).ok_or_else(|| missing("listener"))?;
    let config = take_inherited(CONFIG_FD).ok_or_else(|| missing("configuration"))?;
    let console = take_inherited(CONSOLE_FD);
    let exit = take_inherited(EXIT_FD).map(File::from);
    let memory = take_inherited(MEMORY_BELL_FD).zip(take_inherited(MEMORY_KILLS_FD));
    let given = Given { door: Door::Listener(listener), exit, memory };
    Ok((config.into(), console.map(File::from), given))
}

/// What is inherited where nothing but the standard descriptors can be. The programs of the box get
/// others in their place.
fn from_standard() -> io::Result<Inherited> {
    let config = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    // Under its own number, under which it comes back with the memory.
    let console = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let given = Given { door: Door::Gate, exit: None, memory: None };
    Ok((config.into(), Some(console.into()), given))
}

/// Puts a file of the configuration where it belongs.
fn write(file: &ConfigFile) -> io::Result<()> {
    let path = Path::new(&file.path);
    let kept = |text: &String| !file.only_over.is_empty() && !text.starts_with(&file.only_over);
    if std::fs::read_to_string(path).as_ref().is_ok_and(kept) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    crate::files::replace(path, file.content.as_bytes(), 0o644)
}

pub(crate) fn read_config(mut file: File) -> io::Result<Config> {
    // A memory file stands where its writer left it; a pipe has no position.
    drop(file.rewind());
    let mut bytes = Vec::new();
    file.take(MAX_CONFIG as u64).read_to_end(&mut bytes)?;
    Config::decode_length_delimited(&bytes[..]).map_err(io::Error::other)
}

/// Where links come from.
enum Door {
    /// A listening socket.
    Listener(OwnedFd),
    /// See [`Gate`].
    Gate,
}

/// Descriptors that are used within the runtime.
struct Given {
    door: Door,
    exit: Option<File>,
    /// The bell and the count of kills.
    memory: Option<(OwnedFd, OwnedFd)>,
}

async fn serve(
    given: Given,
    config: Config,
    console: Console,
    process_one: bool,
) -> io::Result<u8> {
    let Given { door, exit, memory } = given;
    let memory = Memory::watch(memory.filter(|_| process_one))?;
    let children = Children::by_reaper();
    let mut ended = signal(SignalKind::child())?;
    let mut told = signal(SignalKind::terminate())?;
    let agent = agent(&config, children.clone(), process_one)?;
    let mut cmd = std::pin::pin!(supervise(&agent, &config, console));
    let mut links = std::pin::pin!(links(&agent, door));
    // Kept from turn to turn: a bell that was heard is not heard again.
    let mut out_of_memory = std::pin::pin!(memory.runs_out());
    loop {
        tokio::select! {
            ran_out = &mut out_of_memory => {
                ran_out?;
                match end_at_once()? {}
            }
            _ = ended.recv() => {
                children.reap();
                // Before anybody is told how a command has ended, which would be the end of one
                // process of a box that ends whole.
                if memory.has_run_out()? {
                    match end_at_once()? {}
                }
            }
            result = &mut links => return result.map(|()| 0),
            status = &mut cmd => {
                stop(&agent, &children, Duration::ZERO).await;
                let code = code(status);
                if let Some(mut exit) = exit {
                    // Nobody waits for this process who could be told by its own exit code.
                    write!(exit, "{code}")?;
                }
                return Ok(code);
            }
            _ = told.recv() => {
                let agent = agent.clone();
                tokio::spawn(async move { agent.stop(SIGNAL_GRACE).await });
            }
        }
    }
}

async fn links(agent: &Agent, door: Door) -> io::Result<()> {
    match door {
        Door::Listener(listener) => {
            let listener = StdListener::from(listener);
            listener.set_nonblocking(true)?;
            agent.run(UnixListener::from_std(listener)?).await
        }
        Door::Gate => Gate::new(Path::new(GATE))?.serve(agent).await,
    }
}

/// An agent as it is configured.
pub(crate) fn agent(config: &Config, children: Children, process_one: bool) -> io::Result<Agent> {
    let defaults = Defaults {
        env: config.env.clone(),
        workdir: config.workdir.clone(),
        user: config.user.clone(),
    };
    Agent::new(AgentConfig { children, process_one, defaults, ..AgentConfig::default() })
}

/// Runs `cmd` until it has ended for good, and says how.
pub(crate) async fn supervise(agent: &Agent, config: &Config, console: Console) -> ExitStatus {
    cmd::supervise(agent.inner.as_ref(), config, console).await
}

/// Ends every other process, waits until the last is gone, and ends. Nothing in it needs memory that
/// is not there yet, and nothing else runs meanwhile: links close without a word.
fn end_at_once() -> io::Result<Infallible> {
    signal_all(Signal::KILL.as_raw())?;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => exit_now(KILLED),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Stops while nobody else reaps.
async fn stop(agent: &Agent, children: &Children, grace: Duration) {
    let mut stop = std::pin::pin!(agent.stop(grace));
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    loop {
        tokio::select! {
            () = &mut stop => return,
            _ = tick.tick() => children.reap(),
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    u8::try_from(status.shell_code()).unwrap_or(255)
}
