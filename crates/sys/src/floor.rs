//! The least that the kernel wants for a box: what `boxherd bench` holds our figures against.
//!
//! One `clone` into the namespaces that a box has, an overlay as its root with the filesystems of
//! the kernel that a box has mounted, `pivot_root`, and `true` in it; if asked for, a pair of network
//! devices with an address, control groups, and a writable layer with a limit. There is no filter,
//! nothing that is hidden, and no agent; and nothing of its root has to reach the disk. The child borrows the parent's memory until it executes, as in
//! [`crate::spawn`], so that nothing is copied: no real engine can be faster than this on the same
//! kernel.

mod disk;
mod port;

use std::ffi::{CString, c_int, c_void};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::ptr;

use rustix::process::{Pid, WaitOptions, waitpid};

use disk::Disk;

/// Bytes of stack for the child's half.
const STACK: usize = 64 * 1024;

/// A program in namespaces of its own, ready to be run over and over.
#[derive(Debug)]
pub struct Floor {
    steps: Vec<Step>,
    program: CString,
    namespaces: c_int,
    groups: Vec<PathBuf>,
    disk: Option<Disk>,
    /// What the overlay leaves, with which it cannot be mounted again.
    mark: PathBuf,
}

/// What of a box the floor has besides its root.
#[derive(Debug, Clone, Default)]
pub struct Extent {
    /// A network namespace.
    pub network: bool,
    /// A pair of network devices in it, with an address and a default route.
    pub port: bool,
    /// Control groups of v1, which are made and joined in every run. They have no such folder yet,
    /// and what is above them there is.
    pub groups: Vec<PathBuf>,
    /// A subvolume with a limit as its writable layer, made in every run. See [`Floor::limits_disks`].
    pub disk: bool,
}

/// A step failed.
#[derive(Debug, thiserror::Error)]
#[error("{step} failed")]
pub struct FloorError {
    /// Which one.
    pub step: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// What the child does before it executes: one system call each, on strings made beforehand.
#[derive(Debug)]
enum Step {
    Write { path: CString, text: CString },
    Mount { source: CString, target: CString, kind: CString, flags: libc::c_ulong, data: CString },
    Enter(CString),
    Talk(Vec<u8>),
    PivotHere,
    DropOldRoot,
}

/// What the child works on. It lives in the parent, which waits meanwhile.
struct Plan<'a> {
    floor: &'a Floor,
    /// To write `0` to.
    tasks: &'a [OwnedFd],
    argv: [*const libc::c_char; 2],
    /// How many steps went well.
    done: usize,
    errno: c_int,
}

// === impl Floor ===

impl Floor {
    /// The root is made of folders in `folder`, an empty directory, and mounted there, in mounts
    /// that nobody else sees.
    pub fn new(folder: &Path, extent: Extent) -> io::Result<Self> {
        let Extent { network, port, groups, disk } = extent;
        let text = |text: &str| CString::new(text).map_err(io::Error::from);
        let below = |name: &str| CString::new(folder.join(name).as_os_str().as_bytes());
        let write =
            |path, content| io::Result::Ok(Step::Write { path: text(path)?, text: text(content)? });
        let mount = |kind: &str, name: &str, flags: libc::c_ulong, data: &str| {
            let (source, kind, data) = (text(kind)?, text(kind)?, text(data)?);
            io::Result::Ok(Step::Mount { source, target: below(name)?, kind, flags, data })
        };
        prepare(folder)?;
        let disk = disk.then(|| Disk::in_folder(folder)).transpose()?;
        let layer = disk.as_ref().map_or(folder, Disk::path);
        let layers = format!(
            "userxattr,volatile,lowerdir={},upperdir={},workdir={}",
            folder.join("lower").display(),
            layer.join("upper").display(),
            layer.join("work").display()
        );
        let mark = layer.join("work/work/incompat");
        let hidden = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        let mut steps = vec![
            write("/proc/self/setgroups", "deny")?,
            write("/proc/self/uid_map", "0 0 1")?,
            write("/proc/self/gid_map", "0 0 1")?,
            Step::bind("", text("/")?, libc::MS_REC | libc::MS_PRIVATE)?,
            mount("overlay", "root", libc::MS_NODEV, &layers)?,
            Step::bind("/usr", below("root/usr")?, libc::MS_BIND | libc::MS_REC)?,
            mount("proc", "root/proc", hidden, "")?,
            mount("tmpfs", "root/run", libc::MS_NOSUID | libc::MS_NODEV, "mode=755")?,
            mount("devpts", "root/dev/pts", libc::MS_NOSUID | libc::MS_NOEXEC, "mode=620")?,
            mount("tmpfs", "root/dev/shm", libc::MS_NOSUID | libc::MS_NODEV, "mode=1777")?,
            mount("mqueue", "root/dev/mqueue", hidden, "")?,
        ];
        if network {
            // The kernel mounts it for the owner of the network namespace only.
            steps.push(mount("sysfs", "root/sys", hidden | libc::MS_RDONLY, "")?);
        }
        if port {
            steps.push(Step::Talk(port::messages()));
        }
        steps.extend([Step::Enter(below("root")?), Step::PivotHere, Step::DropOldRoot]);
        let mut namespaces = libc::CLONE_NEWUSER
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWCGROUP;
        if network {
            namespaces |= libc::CLONE_NEWNET;
        }
        Ok(Self { steps, program: text("/usr/bin/true")?, namespaces, groups, disk, mark })
    }

    /// Whether [`Extent::disk`] can be had in `folder`: it is on btrfs that counts what is written.
    pub fn limits_disks(folder: &Path) -> io::Result<bool> {
        disk::possible(folder)
    }

    /// Runs the program once and waits for its end. [`clear`](Self::clear) comes before the next run.
    pub fn run(&self) -> Result<(), FloorError> {
        let failed = |step: &str, source| FloorError { step: step.to_owned(), source };
        let disk = self.disk.as_ref().map_or(Ok(()), Disk::make);
        disk.map_err(|source| failed("make a disk", source))?;
        let tasks = self.groups.iter().map(|group| make_group(group));
        let tasks = tasks.collect::<io::Result<Vec<_>>>();
        let tasks = tasks.map_err(|source| failed("make a control group", source))?;
        let argv = [self.program.as_ptr(), ptr::null()];
        let mut plan = Plan { floor: self, tasks: &tasks, argv, done: 0, errno: 0 };
        let pid = clone_child(&mut plan).map_err(|source| failed("clone", source))?;
        let status = loop {
            match waitpid(Some(pid), WaitOptions::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed("wait", error.into())),
                Ok(ended) => break ended.and_then(|(_, status)| status.exit_status()),
            }
        };
        if plan.errno != 0 {
            let step = self.steps.get(plan.done).map_or("execute".to_owned(), |s| format!("{s:?}"));
            return Err(failed(&step, io::Error::from_raw_os_error(plan.errno)));
        }
        match status {
            Some(0) => Ok(()),
            other => Err(failed("true", io::Error::other(format!("it ended with {other:?}")))),
        }
    }
}

impl Floor {
    /// Removes what a run has left.
    pub fn clear(&self) -> io::Result<()> {
        let groups = self.groups.iter().map(fs::remove_dir);
        groups.chain([fs::remove_dir_all(&self.mark)]).try_for_each(|removed| match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })?;
        self.disk.as_ref().map_or(Ok(()), Disk::remove)
    }
}

/// A group with the limits that a box has, and what joins it.
fn make_group(group: &Path) -> io::Result<OwnedFd> {
    fs::create_dir(group)?;
    let open = |file: &str| File::options().write(true).open(group.join(file));
    for (file, limit) in [("memory.limit_in_bytes", "8589934592"), ("pids.max", "4096")] {
        match open(file) {
            // A file of another controller.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            file => file?.write_all(limit.as_bytes())?,
        }
    }
    open("tasks").map(OwnedFd::from)
}

/// Makes what the overlay is made of.
fn prepare(folder: &Path) -> io::Result<()> {
    for name in ["lower/usr", "lower/proc", "lower/sys", "lower/run", "upper", "work", "root"] {
        fs::create_dir_all(folder.join(name))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        fs::create_dir_all(folder.join("lower/dev").join(name))?;
    }
    for name in ["bin", "lib", "lib64"] {
        match symlink(Path::new("usr").join(name), folder.join("lower").join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn clone_child(plan: &mut Plan<'_>) -> io::Result<Pid> {
    let mut stack: Vec<MaybeUninit<u8>> = Vec::with_capacity(STACK);
    let top = stack.as_mut_ptr().wrapping_add(STACK);
    let top = top.wrapping_sub(top as usize % 16).cast::<c_void>();
    let flags = plan.floor.namespaces | libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let plan = ptr::from_mut(plan).cast::<c_void>();
    // SAFETY: the stack and the plan outlive the child's use of them, because CLONE_VFORK returns
    // only once the child has executed or ended. The child only makes system calls; the handlers
    // that this process may have set are not run in it, since nobody knows its process id to
    // signal it before it has executed.
    let pid = unsafe { libc::clone(child_half, top, flags, plan) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Pid::from_raw(pid).ok_or_else(|| io::Error::other("clone returned no process id"))
}

/// Runs in the child, on its own stack, in the parent's memory.
extern "C" fn child_half(plan: *mut c_void) -> c_int {
    // SAFETY: `plan` is the parent's `Plan`, which nobody else touches while the parent waits.
    let plan = unsafe { &mut *plan.cast::<Plan<'_>>() };
    let floor = plan.floor;
    for tasks in plan.tasks {
        // SAFETY: a live descriptor, of which the child has a copy, and one byte.
        if unsafe { libc::write(tasks.as_raw_fd(), c"0".as_ptr().cast(), 1) } < 0 {
            plan.errno = errno();
        }
    }
    let steps = if plan.errno == 0 { &floor.steps[..] } else { &[] };
    for step in steps {
        if step.take() < 0 {
            plan.errno = errno();
            break;
        }
        plan.done += 1;
    }
    if plan.errno == 0 {
        let env = [ptr::null::<libc::c_char>()];
        // SAFETY: a string and two lists that end in null, all alive in the waiting parent.
        unsafe { libc::execve(floor.program.as_ptr(), plan.argv.as_ptr(), env.as_ptr()) };
        plan.errno = errno();
    }
    // SAFETY: ends this process only, running nothing of the parent's on the way.
    unsafe { libc::_exit(127) }
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

// === impl Step ===

impl Step {
    /// A mount of no filesystem of its own.
    fn bind(source: &str, target: CString, flags: libc::c_ulong) -> io::Result<Self> {
        let (source, none) = (CString::new(source)?, CString::default);
        Ok(Self::Mount { source, target, kind: none(), flags, data: none() })
    }

    /// Less than 0 when it failed, with the reason in `errno`.
    fn take(&self) -> libc::c_long {
        match self {
            Self::Write { path, text } => write_file(path, text),
            Self::Mount { source, target, kind, flags, data } => {
                let (from, to, kind) = (source.as_ptr(), target.as_ptr(), kind.as_ptr());
                let data = data.as_ptr().cast();
                // SAFETY: four live strings.
                libc::c_long::from(unsafe { libc::mount(from, to, kind, *flags, data) })
            }
            // SAFETY: a live string. The child has a file system context of its own.
            Self::Enter(path) => unsafe { libc::chdir(path.as_ptr()) }.into(),
            Self::Talk(messages) => port::exchange(messages),
            Self::PivotHere => {
                let here = c".".as_ptr();
                // SAFETY: two live strings.
                unsafe { libc::syscall(libc::SYS_pivot_root, here, here) }
            }
            // SAFETY: a live string.
            Self::DropOldRoot => unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }.into(),
        }
    }
}

fn write_file(path: &CString, text: &CString) -> libc::c_long {
    // SAFETY: a live string.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return -1;
    }
    let bytes = text.as_bytes();
    // SAFETY: pointer and length are those of a live slice.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    // SAFETY: opened above, and closed once. The child has a descriptor table of its own.
    unsafe { libc::close(fd) };
    written as libc::c_long
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_with_a_port_is_part_of_it() {
        if !rustix::process::geteuid().is_root() {
            return boxherd_testkit::skip("a_network_with_a_port_is_part_of_it", "needs root");
        }
        let folder = tempfile::tempdir().unwrap();
        let extent = Extent { network: true, port: true, ..Extent::default() };
        let floor = Floor::new(folder.path(), extent).unwrap();
        for _ in 0..2 {
            floor.run().unwrap();
            floor.clear().unwrap();
        }
    }

    #[test]
    fn a_step_that_fails_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let floor = Floor::new(folder.path(), Extent::default()).unwrap();
        fs::remove_dir_all(folder.path().join("lower")).unwrap();
        // As root it is the mount, for others the maps may be refused before.
        let failed = floor.run().unwrap_err();
        assert!(failed.step.starts_with("Mount") || failed.step.starts_with("Write"), "{failed:?}");
    }
}
