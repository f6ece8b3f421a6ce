//! Removes what a lab may leave: processes, mounts, loop devices, bridges, cgroups, files.
//!
//! Only what is known to be the lab's by its folder: a process by the `LXD_DIR` in its environment,
//! a mount and a loop device by its path.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes everything of the lab in `folder` but its cache of images.
pub(crate) fn everything(folder: &Path, bridges: &[String]) -> anyhow::Result<()> {
    kill_all(folder)?;
    unmount_all(folder)?;
    detach_loops(folder)?;
    for bridge in bridges {
        if Path::new("/sys/class/net").join(bridge).exists() {
            run(&["ip", "link", "delete", bridge])?;
        }
    }
    remove_cgroups()?;
    remove_files(folder)
}

/// Processes whose environment names an `LXD_DIR` in `folder`: daemons, their helpers, dnsmasq and
/// the monitors of guests; before them the guests, children of monitors, whose environment is clean.
fn kill_all(folder: &Path) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let ours = processes(folder)?;
        if ours.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("these processes do not end: {ours:?}");
        }
        for pid in ours.iter().flat_map(|pid| children(*pid)).chain(ours.iter().copied()) {
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
    let wanted = format!("LXD_DIR={}/", folder.display());
    let me = std::process::id().cast_signed();
    let pids = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != me)
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

/// Cgroups of guests that are gone. One that is in use cannot be removed, and is not the lab's:
/// its guests are dead by now.
fn remove_cgroups() -> anyhow::Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let mut roots = vec![root.to_owned()];
    roots.extend(fs::read_dir(root)?.filter_map(|entry| Some(entry.ok()?.path())));
    for hierarchy in roots.iter().filter(|path| path.is_dir()) {
        for entry in fs::read_dir(hierarchy)? {
            let entry = entry?;
            let name = entry.file_name();
            let guests = name.to_str().is_some_and(|name| {
                name == "lxc.pivot"
                    || name.starts_with("lxc.payload.")
                    || name.starts_with("lxc.monitor.")
            });
            if guests && let Err(error) = remove_tree(&entry.path()) {
                eprintln!("the cgroup `{}` stays: {error}", entry.path().display());
            }
        }
    }
    Ok(())
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
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == "cache" {
            continue;
        }
        let removed = if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())
        } else {
            fs::remove_file(entry.path())
        };
        removed.with_context(|| format!("cannot remove `{}`", entry.path().display()))?;
    }
    Ok(())
}

fn run(words: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(words[0]).args(&words[1..]).status()?;
    if !status.success() {
        bail!("`{}` failed: {status}", words.join(" "));
    }
    Ok(())
}
