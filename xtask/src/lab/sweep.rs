//! Removes what a lab may leave: processes, mounts, loop devices, bridges, cgroups, files.
//!
//! Only what is known to be the lab's by its folder: a process by [`MARK`] in its environment,
//! a mount and a loop device by its path.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Set to `$LXD_DIR` for daemons, and inherited by all that they start. `LXD_DIR` itself would not
/// do: people export it in their shells.
pub(crate) const MARK: &str = "BOXHERD_LAB_DAEMON";

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes everything of the lab in `folder`, and the folder.
pub(crate) fn everything(folder: &Path, bridges: &[String]) -> anyhow::Result<()> {
    let cgroups = kill_all(folder)?;
    unmount_all(folder)?;
    detach_loops(folder)?;
    for bridge in bridges {
        if Path::new("/sys/class/net").join(bridge).exists() {
            run(&["ip", "link", "delete", bridge])?;
        }
    }
    remove_cgroups(&cgroups)?;
    remove_files(folder)
}

/// Processes whose environment names the lab in `folder`: daemons, their helpers, dnsmasq and
/// the monitors of guests; before them the guests, children of monitors, whose environment is clean.
/// Returns the names of the cgroups of guests that they were in.
fn kill_all(folder: &Path) -> anyhow::Result<BTreeSet<String>> {
    let until = Instant::now() + PATIENCE;
    let mut cgroups = BTreeSet::new();
    loop {
        let ours = processes(folder)?;
        if ours.is_empty() {
            return Ok(cgroups);
        }
        if Instant::now() > until {
            bail!("these processes do not end: {ours:?}");
        }
        for pid in ours.iter().flat_map(|pid| children(*pid)).chain(ours.iter().copied()) {
            cgroups.extend(guest_cgroups(pid));
            if let Some(pid) = Pid::from_raw(pid)
                && let Err(error) = kill_process(pid, Signal::KILL)
                && error != rustix::io::Errno::SRCH
            {
                return Err(error).context("cannot kill a process of the lab");
            }
        }
        // They are no children of this program: there is nothing to wait on but time.
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn processes(folder: &Path) -> anyhow::Result<Vec<i32>> {
    let wanted = format!("{MARK}={}/", folder.display());
    let pids = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        // A process may be gone, or a zombie without an environment.
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
                environ.split(|byte| *byte == 0).any(|word| word.starts_with(wanted.as_bytes()))
            })
        })
        .collect();
    Ok(pids)
}

fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn unmount_all(folder: &Path) -> anyhow::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<_> =
        points.map(PathBuf::from).filter(|path| path.starts_with(folder)).collect();
    points.reverse();
    for point in points {
        rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH)
            .with_context(|| format!("cannot unmount `{}`", point.display()))?;
    }
    Ok(())
}

fn detach_loops(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        let backing = fs::read_to_string(entry.path().join("loop/backing_file"));
        // Devices of other kinds, and loops without a file, have none.
        if backing.is_ok_and(|path| Path::new(path.trim_end()).starts_with(folder)) {
            let device = Path::new("/dev").join(entry.file_name());
            run(&["losetup", "--detach", &device.display().to_string()])?;
        }
    }
    Ok(())
}

/// `lxc.payload.NAME` and `lxc.monitor.NAME` of a process, in all hierarchies.
fn guest_cgroups(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let names = text
        .split(['/', '\n'])
        .filter(|name| name.starts_with("lxc.payload.") || name.starts_with("lxc.monitor."));
    names.map(str::to_owned).collect()
}

/// Removes the cgroups of guests that were killed; those that LXD stopped have none any more.
/// `lxc.pivot` is of all guests of the machine, and goes with the last one.
fn remove_cgroups(names: &BTreeSet<String>) -> anyhow::Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let mut hierarchies = vec![root.to_owned()];
    hierarchies.extend(fs::read_dir(root)?.filter_map(|entry| Some(entry.ok()?.path())));
    let pivot = (!guests_of_others()?).then(|| "lxc.pivot".to_owned());
    for name in names.iter().chain(&pivot) {
        for cgroup in hierarchies.iter().map(|hierarchy| hierarchy.join(name)) {
            if cgroup.is_dir()
                && let Err(error) = remove_tree(&cgroup)
            {
                eprintln!("the cgroup `{}` stays: {error}", cgroup.display());
            }
        }
    }
    Ok(())
}

/// Whether some other LXD of this machine has guests.
fn guests_of_others() -> anyhow::Result<bool> {
    let mut pids = fs::read_dir("/proc")?.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(pids.any(|process| {
        fs::read(process.join("cmdline")).is_ok_and(|line| line.starts_with(b"[lxc monitor]"))
    }))
}

fn remove_tree(cgroup: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

fn remove_files(folder: &Path) -> anyhow::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove `{}`", folder.display()))
}

fn run(words: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(words[0]).args(&words[1..]).status()?;
    if !status.success() {
        bail!("`{}` failed: {status}", words.join(" "));
    }
    Ok(())
}
