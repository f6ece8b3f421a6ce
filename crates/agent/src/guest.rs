//! The agent of a machine whose init is somebody else's, such as a container of LXD.
//!
//! There the host can run a program and speak with its standard descriptors, and nothing more. What it
//! runs is a [`relay`] between those and the agent, which outlives it: a *guest agent* of its own
//! session, that listens on a socket in a folder of root's. The first relay starts it. It ends when for
//! some time it had no link and no command, so that nothing is left of it in machines that are not
//! looked at any more.
//!
//! In its folder the host may leave a configuration for it, which is that of [`crate::init`] without what
//! an init does. A machine whose `cmd` has ended for good is powered off.
//!
//! A relay holds the folder's lock while it looks for the agent, and the agent while it leaves: there is
//! never a second agent that listens, and none that ends with a connection that it has not served.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use boxherd_link::ExitStatus;
use boxherd_link::agent_config::{
    AgentConfig as Config, BESIDE, CONFIG, CUT_OFF, GUEST, KEPT, KEPT_CONSOLE, KEPT_EXIT, RELAY,
};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::system::RebootCommand;
use tokio::task::JoinSet;

use crate::Children;
use crate::init::Console;

/// The socket in an agent's folder.
const SOCKET: &str = "socket";
/// What is locked in it.
const LOCK: &str = "lock";
/// Longer than it takes to put an agent there.
const LONGEST_PUT: Duration = Duration::from_secs(600);
/// What a relay moves at once, in bytes.
const PIECE: usize = 64 * 1024;

/// What to do with arguments that are for a guest: `relay FOLDER TTL` and `guest FOLDER TTL`, with the
/// time in seconds.
pub(crate) fn role(arguments: &[String]) -> Option<io::Result<u8>> {
    let [role, folder, ttl] = arguments else { return None };
    let bad = |_| io::Error::new(io::ErrorKind::InvalidInput, "the time is no number of seconds");
    let place = ttl.parse().map_err(bad);
    let place = place.map(|ttl| Place { folder: folder.into(), ttl: Duration::from_secs(ttl) });
    match role.as_str() {
        RELAY => Some(place.and_then(|place| relay(&place))),
        GUEST => Some(place.and_then(|place| guest(&place))),
        _ => None,
    }
}

/// Where a guest agent is, and how long it stays when nobody needs it.
struct Place {
    folder: PathBuf,
    ttl: Duration,
}

impl Place {
    fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }

    /// The lock, once nobody else has it.
    fn lock(&self) -> io::Result<File> {
        let lock = File::options().create(true).append(true).open(self.folder.join(LOCK))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(lock)
    }
}

/// Connects standard input and output to the agent, which is started when there is none.
fn relay(place: &Place) -> io::Result<u8> {
    take_place()?;
    let stream = match UnixStream::connect(place.socket()) {
        Ok(stream) => stream,
        Err(_) => begin(place)?,
    };
    let (upward, stdout) = (stream.try_clone()?, rustix::io::dup(rustix::stdio::stdout())?);
    // The host has said all it will when its end closes; what the agent says after that still comes.
    std::thread::spawn(move || {
        // A descriptor that cannot be read has ended, and an agent that takes no more tells by its own end.
        drop(pump(&mut io::stdin().lock(), &upward));
        drop(upward.shutdown(Shutdown::Write));
    });
    // From here on the agent may have heard the host.
    match pump(&mut &stream, &File::from(stdout)) {
        Ok(()) => Ok(0),
        // The host is gone.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => {
            eprintln!("boxherd-agent: {error}");
            Ok(CUT_OFF)
        }
    }
}

/// A program that was put there beside its place takes it, now that it runs, with what it is to know:
/// whoever comes meanwhile finds whole ones or none.
fn take_place() -> io::Result<()> {
    let Some(called) = std::env::args_os().next() else { return Ok(()) };
    let Some((place, mark)) = called.to_str().and_then(|called| called.split_once(BESIDE)) else {
        return Ok(());
    };
    let config = Path::new(place).with_file_name(CONFIG);
    let mut beside = config.clone().into_os_string();
    beside.push(format!("{BESIDE}{mark}"));
    std::fs::rename(beside, config)?;
    std::fs::rename(&called, place)
}

fn pump(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&piece[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Connects to the agent, which is started unless somebody else has done that meanwhile.
fn begin(place: &Place) -> io::Result<UnixStream> {
    let folder = &place.folder;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    check_owner(folder)?;
    let _lock = place.lock()?;
    let socket = place.socket();
    if let Ok(stream) = UnixStream::connect(&socket) {
        return Ok(stream);
    }
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // What cannot be removed now is found again by the next one.
    drop(sweep(folder, LONGEST_PUT));
    let listener = UnixListener::bind(&socket)?;
    let started = Command::new("/proc/self/exe")
        .arg(GUEST)
        .arg(folder)
        .arg(place.ttl.as_secs().to_string())
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .spawn();
    if let Err(error) = started {
        drop(std::fs::remove_file(&socket));
        return Err(error);
    }
    // It listens already, and answers when it has started.
    UnixStream::connect(&socket)
}

/// Removes what was put there beside its place and never took it, because the host was lost meanwhile:
/// what nobody has changed for so long.
fn sweep(folder: &Path, unchanged: Duration) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_beside = entry.file_name().to_str().is_some_and(|name| name.contains(BESIDE));
        // Who puts it there may say that it is of any time; when it was changed says the kernel.
        let changed = SystemTime::UNIX_EPOCH
            + Duration::from_secs(u64::try_from(entry.metadata()?.ctime()).unwrap_or(0));
        if is_beside && changed.elapsed().is_ok_and(|age| age >= unchanged) {
            match std::fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whoever else may write there could be spoken with in place of the agent.
fn check_owner(folder: &Path) -> io::Result<()> {
    let found = rustix::fs::stat(folder)?;
    let others = Mode::from_raw_mode(found.st_mode).intersects(Mode::RWXG | Mode::RWXO);
    if found.st_uid != rustix::process::geteuid().as_raw() || others {
        let reason = format!("`{}` is not for one user only", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    Ok(())
}

/// Serves links to the listener on descriptor 0.
fn guest(place: &Place) -> io::Result<u8> {
    let listener = UnixListener::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::process::setsid()?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    listener.set_nonblocking(true)?;
    let config = match File::open(place.folder.join(CONFIG)) {
        Ok(file) => crate::init::read_config(file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Config::default(),
        Err(error) => return Err(error),
    };
    let kept = if config.cmd.is_empty() { None } else { Some(Kept::open()?) };
    let console = kept.as_ref().map(|kept| kept.console.try_clone()).transpose()?;
    let console = Console::new(console, config.console_size)?;
    let runtime = crate::init::runtime()?;
    let ended = runtime.block_on(serve(place, listener, &config, console));
    runtime.shutdown_background();
    if let (Some(status), Some(kept)) = (ended?, kept) {
        kept.power_off(status)?;
    }
    Ok(0)
}

/// What outlives the machine's power: the console of `cmd`, and what `cmd` ended with.
struct Kept {
    console: File,
    exit: PathBuf,
}

impl Kept {
    fn open() -> io::Result<Self> {
        let folder = Path::new(KEPT);
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        check_owner(folder)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let console = options.open(folder.join(KEPT_CONSOLE))?;
        let exit = folder.join(KEPT_EXIT);
        // What an earlier run ended with.
        match std::fs::remove_file(&exit) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Self { console, exit }),
        }
    }

    /// A box whose `cmd` has ended for good is stopped.
    fn power_off(&self, status: ExitStatus) -> io::Result<()> {
        crate::files::replace(&self.exit, status.shell_code().to_string().as_bytes(), 0o600)?;
        rustix::fs::sync();
        Ok(rustix::system::reboot(RebootCommand::PowerOff)?)
    }
}

/// Until nobody needs the agent any more, or `cmd` has ended for good, which it says then.
async fn serve(
    place: &Place,
    listener: UnixListener,
    config: &Config,
    console: Console,
) -> io::Result<Option<ExitStatus>> {
    let agent = crate::init::agent(config, Children::by_pidfd(), false)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let mut links = JoinSet::new();
    let mut cmd = std::pin::pin!(crate::init::supervise(&agent, config, console));
    loop {
        tokio::select! {
            status = &mut cmd => return Ok(Some(status)),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let agent = agent.clone();
                    links.spawn(async move { agent.serve(stream).await });
                }
                Err(error) if crate::is_passing(&error) => {
                    tokio::time::sleep(crate::RETRY_ACCEPT).await;
                }
                Err(error) => return Err(error),
            },
            Some(_) = links.join_next() => {}
            () = tokio::time::sleep(place.ttl), if links.is_empty() && config.cmd.is_empty() => {
                if !agent.is_busy() && leave(place, &listener)? {
                    return Ok(None);
                }
            }
        }
    }
}

/// Takes the socket away, unless somebody is at it.
fn leave(place: &Place, listener: &tokio::net::UnixListener) -> io::Result<bool> {
    // Whoever has it starts an agent, or connects to this one.
    let _lock = place.lock()?;
    let mut polled = [rustix::event::PollFd::new(listener, rustix::event::PollFlags::IN)];
    let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    if rustix::event::poll(&mut polled, Some(&none))? > 0 {
        return Ok(false);
    }
    std::fs::remove_file(place.socket())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_taken_is_swept_and_only_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let beside = format!("agent-0123{BESIDE}4567");
        for name in [&beside, "agent-0123", CONFIG, LOCK] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let left = || std::fs::read_dir(folder.path()).unwrap().count();
        sweep(folder.path(), LONGEST_PUT).unwrap();
        assert_eq!(left(), 4, "somebody may still be at it");
        sweep(folder.path(), Duration::ZERO).unwrap();
        assert_eq!(left(), 3);
        assert!(!folder.path().join(beside).exists());
    }
}
