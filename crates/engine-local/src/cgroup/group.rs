//! The groups of one box.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use boxherd_model::CpuLimit;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::Controller;

/// A period of the processor limit, in microseconds.
const PERIOD: u64 = 100_000;
/// How long the kernel may take to freeze or to empty a group.
const PATIENCE: Duration = Duration::from_secs(10);

/// The groups of one box: one folder in each hierarchy that is used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(super) v1: Vec<(Controller, PathBuf)>,
    /// The folder in the unified hierarchy.
    pub(super) unified: Option<PathBuf>,
}

/// What a new box needs of its groups.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    /// To write `0` to. The kernel checks the rights of whoever opened them.
    pub(crate) tasks: Vec<OwnedFd>,
    pub(crate) memory: Option<MemoryWatch>,
}

/// What the agent watches where the kernel, when memory runs out, kills one process only: v1.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    /// An eventfd that the kernel signals before it kills.
    pub(crate) bell: OwnedFd,
    /// `memory.oom_control`, for reading how often it did.
    pub(crate) kills: OwnedFd,
}

impl Group {
    pub(super) fn forget(&mut self, controller: Controller) {
        self.v1.retain(|(held, _)| *held != controller);
    }

    /// Every folder, once.
    pub(super) fn folders(&self) -> Vec<&Path> {
        let mut folders: Vec<&Path> = self.v1.iter().map(|(_, path)| path.as_path()).collect();
        folders.extend(self.unified.as_deref());
        folders.sort_unstable();
        folders.dedup();
        folders
    }

    /// Those in hierarchies of v1, once.
    pub(super) fn others(&self) -> Vec<&Path> {
        let mut folders = self.folders();
        folders.retain(|folder| Some(*folder) != self.unified.as_deref());
        folders
    }

    fn v1(&self, controller: Controller) -> Option<&Path> {
        self.v1.iter().find(|(held, _)| *held == controller).map(|(_, path)| path.as_path())
    }

    /// A file of `controller`: `old` on v1, `new` on v2.
    fn file(&self, controller: Controller, old: &str, new: &str) -> Option<PathBuf> {
        match self.v1(controller) {
            Some(folder) => Some(folder.join(old)),
            None => self.unified.as_ref().map(|folder| folder.join(new)),
        }
    }

    pub(super) fn limit(&self, memory: u64, pids: u64, cpus: Option<CpuLimit>) -> io::Result<()> {
        let set = |controller, old, new, value: String| match self.file(controller, old, new) {
            // A v2 hierarchy without the controller has no such file, and a default is a wish.
            Some(path) if path.exists() => write(&path, &value),
            _ => Ok(()),
        };
        set(Controller::Memory, "memory.limit_in_bytes", "memory.max", memory.to_string())?;
        set(Controller::Pids, "pids.max", "pids.max", pids.to_string())?;
        if self.v1(Controller::Memory).is_none() {
            let Some(folder) = &self.unified else { return Ok(()) };
            for (file, value) in [("memory.oom.group", "1"), ("memory.swap.max", "0")] {
                let path = folder.join(file);
                if path.exists() {
                    write(&path, value)?;
                }
            }
        }
        cpus.map_or(Ok(()), |cpus| self.limit_cpu(cpus))
    }

    fn limit_cpu(&self, cpus: CpuLimit) -> io::Result<()> {
        let quota = u64::from(cpus.millis()) * PERIOD / 1000;
        match (self.v1(Controller::Cpu), &self.unified) {
            (Some(folder), _) => {
                write(&folder.join("cpu.cfs_period_us"), &PERIOD.to_string())?;
                write(&folder.join("cpu.cfs_quota_us"), &quota.to_string())
            }
            (None, Some(folder)) => write(&folder.join("cpu.max"), &format!("{quota} {PERIOD}")),
            (None, None) => Ok(()),
        }
    }

    /// Opens what the first process of the box joins the other groups through.
    pub(crate) fn joins(&self) -> io::Result<Joins> {
        let tasks = self.others().into_iter();
        let tasks = tasks
            // `tasks` moves one thread, which spares the kernel the lock, a grace period long, that
            // `cgroup.procs` needs to move a whole process.
            .map(|folder| File::options().write(true).open(folder.join("tasks")).map(OwnedFd::from))
            .collect::<io::Result<_>>()?;
        Ok(Joins { tasks, memory: self.watch_memory()? })
    }

    /// Has the kernel tell when the group runs out of memory, until the group is removed.
    fn watch_memory(&self) -> io::Result<Option<MemoryWatch>> {
        let Some(folder) = self.v1(Controller::Memory) else { return Ok(None) };
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let kills = OwnedFd::from(File::open(folder.join("memory.oom_control"))?);
        let pair = format!("{} {}", bell.as_raw_fd(), kills.as_raw_fd());
        write(&folder.join("cgroup.event_control"), &pair)?;
        Ok(Some(MemoryWatch { bell, kills }))
    }

    /// The folder by which the box's processes are known.
    fn home(&self) -> Option<&Path> {
        self.unified.as_deref().or_else(|| self.v1(Controller::Freezer))
    }

    /// The processes in the group; none when there is no group.
    pub(crate) fn processes(&self) -> io::Result<Vec<Pid>> {
        let Some(home) = self.home() else { return Ok(Vec::new()) };
        let listed = match fs::read_to_string(home.join("cgroup.procs")) {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            listed => listed?,
        };
        Ok(listed.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect())
    }

    /// Stops every process of the group where it is, and returns when the last one stands.
    pub(crate) fn freeze(&self) -> io::Result<()> {
        match &self.unified {
            Some(folder) => {
                write(&folder.join("cgroup.freeze"), "1")?;
                wait_for_event(folder, "frozen 1")
            }
            None => self.freeze_v1(),
        }
    }

    fn freeze_v1(&self) -> io::Result<()> {
        let path = self.v1(Controller::Freezer).ok_or(io::ErrorKind::NotFound)?;
        let state = path.join("freezer.state");
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Reading makes the kernel look again; there is nothing to wait on. Writing makes it tell those
            // again that it may have passed over: a process that was in a `vfork` (Linux 6.18).
            write(&state, "FROZEN")?;
            if fs::read_to_string(&state)?.trim() == "FROZEN" {
                return Ok(());
            }
            if Instant::now() > deadline {
                write(&state, "THAWED")?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::yield_now();
        }
    }

    /// Lets the processes go on.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        match (&self.unified, self.v1(Controller::Freezer)) {
            (Some(folder), _) => write(&folder.join("cgroup.freeze"), "0"),
            (None, Some(folder)) => write(&folder.join("freezer.state"), "THAWED"),
            (None, None) => Ok(()),
        }
    }

    /// Whether somebody asked for the group to stand still.
    pub(crate) fn is_frozen(&self) -> io::Result<bool> {
        let state = match (&self.unified, self.v1(Controller::Freezer)) {
            (Some(folder), _) => fs::read_to_string(folder.join("cgroup.freeze")),
            (None, Some(folder)) => fs::read_to_string(folder.join("freezer.state")),
            (None, None) => return Ok(false),
        };
        match state {
            Err(error) if is_absent(&error) => Ok(false),
            state => Ok(matches!(state?.trim(), "1" | "FROZEN" | "FREEZING")),
        }
    }

    /// Kills every process of the group, frozen or not, and returns when none is left.
    pub(crate) fn kill(&self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let processes = self.processes()?;
            if processes.is_empty() {
                return Ok(());
            }
            for pid in processes {
                match kill_process(pid, Signal::KILL) {
                    Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            // v1 leaves a frozen process in D until it thaws; the signal comes first, so that it
            // runs no further instruction of its own.
            self.thaw()?;
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::yield_now();
        }
    }

    /// How many processes of the group were killed because memory ran out.
    pub(crate) fn oom_kills(&self) -> io::Result<u64> {
        let path = self.file(Controller::Memory, "memory.oom_control", "memory.events");
        read_field(path, "oom_kill")
    }

    /// Memory in bytes, processor time in microseconds, processes.
    pub(crate) fn usage(&self) -> io::Result<[Option<u64>; 3]> {
        let number = |path: Option<PathBuf>| -> io::Result<Option<u64>> {
            let Some(path) = path else { return Ok(None) };
            match fs::read_to_string(path) {
                Err(error) if is_absent(&error) => Ok(None),
                text => Ok(text?.trim().parse().ok()),
            }
        };
        let memory = self.file(Controller::Memory, "memory.usage_in_bytes", "memory.current");
        let cpu = match self.v1(Controller::Cpuacct) {
            Some(folder) => number(Some(folder.join("cpuacct.usage")))?.map(|nanos| nanos / 1000),
            None => {
                let stat = self.unified.as_ref().map(|folder| folder.join("cpu.stat"));
                Some(read_field(stat, "usage_usec")?)
            }
        };
        let pids = self.file(Controller::Pids, "pids.current", "pids.current");
        Ok([number(memory)?, cpu, number(pids)?])
    }

    /// Removes the groups.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.folders().into_iter().try_for_each(remove_folder)
    }
}

/// Removes a group that may not be there. A process that has just ended can hold it for a moment.
pub(super) fn remove_folder(folder: &Path) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match absent_is_fine(fs::remove_dir(folder)) {
            Err(error) if error.raw_os_error() == Some(EBUSY) && Instant::now() < deadline => {
                // v1 has no event for this.
                std::thread::sleep(Duration::from_micros(200));
            }
            removed => return removed,
        }
    }
}

const EBUSY: i32 = rustix::io::Errno::BUSY.raw_os_error();

/// There are groups or processes in it.
pub(super) fn is_in_use(error: &io::Error) -> bool {
    let codes = [rustix::io::Errno::BUSY, rustix::io::Errno::NOTEMPTY];
    codes.iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

/// Not there, or removed under our hands.
pub(super) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

pub(super) fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// One write, without the truncation that `fs::write` asks for.
fn write(path: &Path, value: &str) -> io::Result<()> {
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("cannot write `{value}` to `{}`: {error}", path.display()),
        )
    };
    File::options()
        .write(true)
        .open(path)
        .and_then(|mut f| f.write_all(value.as_bytes()))
        .map_err(named)
}

fn read_field(path: Option<PathBuf>, field: &str) -> io::Result<u64> {
    let Some(path) = path else { return Ok(0) };
    let text = match fs::read_to_string(path) {
        Err(error) if is_absent(&error) => return Ok(0),
        text => text?,
    };
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.trim().parse().ok());
    Ok(value.unwrap_or(0))
}

/// The kernel tells of events at most every 10 ms, and a group stands still within 0.1 ms as a rule:
/// for this long it is looked at again and again instead.
const LOOKING: Duration = Duration::from_millis(2);

/// Waits until `cgroup.events` of `folder` has the line `event`.
fn wait_for_event(folder: &Path, event: &str) -> io::Result<()> {
    let path = folder.join("cgroup.events");
    let begun = Instant::now();
    let deadline = begun + PATIENCE;
    while begun.elapsed() < LOOKING {
        if fs::read_to_string(&path)?.lines().any(|line| line == event) {
            return Ok(());
        }
        std::thread::yield_now();
    }
    loop {
        let file = File::open(&path)?;
        if io::read_to_string(&file)?.lines().any(|line| line == event) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = rustix::event::Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::PRI)];
        if poll(&mut fds, Some(&timeout))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with files such as the kernel makes in a group.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|file| drop(File::create(folder.path().join(file)).unwrap()));
        folder
    }

    fn read(folder: &tempfile::TempDir, file: &str) -> String {
        fs::read_to_string(folder.path().join(file)).unwrap()
    }

    #[test]
    fn v2_ends_a_box_without_memory_by_itself() {
        let folder = folder(&["memory.max", "memory.oom.group", "memory.swap.max", "pids.max"]);
        let group = Group { v1: Vec::new(), unified: Some(folder.path().to_owned()) };
        group.limit(1 << 26, 100, None).unwrap();
        assert_eq!(read(&folder, "memory.max"), "67108864");
        assert_eq!(read(&folder, "memory.oom.group"), "1");
        assert!(group.joins().unwrap().memory.is_none());
        let events = "oom 9\noom_kill 4\noom_group_kill 1\n";
        fs::write(folder.path().join("memory.events"), events).unwrap();
        assert_eq!(group.oom_kills().unwrap(), 4);
    }

    #[test]
    fn v1_has_the_agent_told_and_no_start_goes_on_without() {
        let files =
            ["memory.limit_in_bytes", "memory.oom_control", "cgroup.event_control", "tasks"];
        let folder = folder(&files);
        let v1 = vec![(Controller::Memory, folder.path().to_owned())];
        let group = Group { v1, unified: None };
        let watch = group.joins().unwrap().memory.expect("v1 needs it");
        let pair = format!("{} {}", watch.bell.as_raw_fd(), watch.kills.as_raw_fd());
        assert_eq!(read(&folder, "cgroup.event_control"), pair);
        fs::remove_file(folder.path().join("cgroup.event_control")).unwrap();
        assert!(group.joins().is_err());
    }
}
