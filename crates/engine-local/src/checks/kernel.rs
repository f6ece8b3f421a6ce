//! What a start asks of the kernel, tried by the helper, and the way out of each refusal.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use boxherd_engine::Check;
use rustix::io::Errno;

use super::{broken, chain, is_root, missing, works};
use crate::helper::Helper;
use crate::helper::probe::{FOLDERS, Trial, Tried};
use crate::helper::wire::Failure;

/// Every trial: what it is called, and what is said of it when it works.
const TRIALS: [(Trial, &str, &str); 8] = [
    (Trial::UserNamespace, "user namespaces", "one can be made"),
    (Trial::OtherNamespaces, "other namespaces", "mounts, processes, network, names, IPC"),
    (Trial::IdMap, "ids", "a box's ids can be mapped"),
    (Trial::IdMappedMount, "id-mapped mounts", "on the data folder's filesystem"),
    (Trial::KernelFilesystems, "mounts in boxes", "proc, sysfs, tmpfs, devpts, mqueue"),
    (Trial::Overlay, "overlay", "a box's root can be mounted on the data folder"),
    (Trial::Loopback, "loopback", "comes up inside a box"),
    (Trial::Filter, "system call filter", "seccomp takes the filter of boxes"),
];

/// The checks, and how many ids a box has, when that was found out.
pub(super) fn all(data: &Path, helper: &Helper) -> (Vec<Check>, Option<u32>) {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let kernel =
        format!("{} {}, {}", text(uname.sysname()), text(uname.release()), text(uname.machine()));
    let mut checks = vec![works("kernel", kernel)];
    let scratch = match Scratch::near(data) {
        Ok(scratch) => scratch,
        Err(error) => {
            let found = format!("cannot write to `{}`: {error}", data.display());
            checks.push(broken("data folder", found, "choose another one with `--data DIR`"));
            return (checks, None);
        }
    };
    checks.push(works("data folder", format!("`{}` can be written to", data.display())));
    match helper.probe(&scratch.0) {
        Ok(probed) => {
            checks.extend(report(&probed.tried, &Settings::read(), is_root()));
            (checks, probed.ids)
        }
        Err(error) => {
            let fix = "run `boxherd doctor` again; if it stays so, report it as a fault of boxherd";
            checks.push(broken("helper", chain(&error), fix));
            (checks, None)
        }
    }
}

/// One check for each trial. Pure.
fn report(tried: &[Tried], settings: &Settings, root: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    for (trial, name, good) in TRIALS {
        if trial == Trial::IdMappedMount && !root {
            continue;
        }
        checks.push(match tried.iter().find(|tried| tried.trial == trial) {
            None => broken(name, "not tried, as something above failed", "mend that first"),
            Some(Tried { failure: None, .. }) => works(name, good),
            Some(Tried { failure: Some(failure), .. }) => {
                let found = format!("{} failed: {}", failure.step, failure.message);
                match trial {
                    Trial::Loopback => missing(name, found, fix(trial, failure, settings, root)),
                    _ => broken(name, found, fix(trial, failure, settings, root)),
                }
            }
        });
    }
    checks
}

/// Settings by which distributions keep ordinary users from making namespaces. Read only to find
/// the fix of what failed.
#[derive(Debug, Clone, Copy, Default)]
struct Settings {
    max_user_namespaces: Option<u64>,
    unprivileged_userns_clone: Option<u64>,
    apparmor_restricts: Option<u64>,
}

impl Settings {
    fn read() -> Self {
        let read = |name: &str| {
            fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().parse().ok()
        };
        Self {
            max_user_namespaces: read("user/max_user_namespaces"),
            unprivileged_userns_clone: read("kernel/unprivileged_userns_clone"),
            apparmor_restricts: read("kernel/apparmor_restrict_unprivileged_userns"),
        }
    }

    /// The setting that explains why this process has no power in a user namespace.
    fn culprit(&self, root: bool) -> Option<&'static str> {
        if self.max_user_namespaces == Some(0) {
            return Some("user.max_user_namespaces=65536");
        }
        if root {
            return None;
        }
        if self.unprivileged_userns_clone == Some(0) {
            return Some("kernel.unprivileged_userns_clone=1");
        }
        let restricts = self.apparmor_restricts.is_some_and(|value| value != 0);
        restricts.then_some("kernel.apparmor_restrict_unprivileged_userns=0")
    }
}

/// What to do about a trial that failed. Pure.
fn fix(trial: Trial, failure: &Failure, settings: &Settings, root: bool) -> String {
    let errno = failure.errno.map(Errno::from_raw_os_error);
    let forbidden = matches!(errno, Some(Errno::PERM | Errno::ACCESS));
    if (trial == Trial::UserNamespace || forbidden)
        && let Some(setting) = settings.culprit(root)
    {
        return format!(
            "as root: `sysctl -w {setting}`; a file in `/etc/sysctl.d` with it lasts over reboots"
        );
    }
    let text = match (trial, errno) {
        (Trial::UserNamespace | Trial::OtherNamespaces, Some(Errno::NOSPC)) => {
            "raise the limits in `/proc/sys/user`, such as `max_user_namespaces`"
        }
        (Trial::UserNamespace | Trial::OtherNamespaces, Some(Errno::INVAL | Errno::NOSYS)) => {
            "use a kernel with namespaces of every kind (CONFIG_USER_NS and its like) and `clone3`"
        }
        (Trial::KernelFilesystems, _) if forbidden => {
            "parts of `/proc` or `/sys` are hidden from this process, as in containers; run outside \
             of one, or unmask them (`podman run --security-opt unmask=ALL`)"
        }
        (Trial::Overlay, Some(Errno::INVAL)) => {
            "the data folder's filesystem cannot be below an overlay; choose one on ext4, btrfs or \
             xfs with `--data DIR`"
        }
        (Trial::Overlay, Some(Errno::NODEV)) => "load the kernel's module: `modprobe overlay`",
        (Trial::IdMappedMount, _) => {
            "the data folder's filesystem has no id-mapped mounts; choose one on ext4, btrfs or xfs \
             with `--data DIR`"
        }
        (Trial::Filter, _) => "use a kernel with CONFIG_SECCOMP_FILTER",
        _ if forbidden => {
            "a container, a system call filter or a security module around this process forbids \
             it; run outside of it, or with more privileges (`podman run --privileged`)"
        }
        _ => "use a newer kernel; Boxherd is tested with Linux 6.1 and later",
    };
    text.to_owned()
}

/// A folder with [`FOLDERS`], in the data folder, or where the data folder would be. Goes when it is
/// dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn near(data: &Path) -> io::Result<Self> {
        let there = data.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
        let this = Self(there.join(format!(".boxherd-doctor-{}", std::process::id())));
        fs::create_dir(&this.0)?;
        FOLDERS.iter().try_for_each(|folder| fs::create_dir(this.0.join(folder)))?;
        Ok(this)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The overlay leaves an empty folder that an ordinary user may not even list; all of them are
        // empty and can be removed nevertheless.
        let mut removed = Ok(());
        for folder in ["layer/work/work"].iter().chain(FOLDERS.iter().rev()).chain(&[""]) {
            match fs::remove_dir(self.0.join(folder)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => removed = Err(error),
                _ => {}
            }
        }
        if let Err(error) = removed {
            tracing::warn!(%error, path = %self.0.display(), "the trial's folder stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(trial: Trial, errno: Errno) -> Tried {
        let error = io::Error::from(errno);
        Tried { trial, failure: Some(Failure::at("it")(error)) }
    }

    fn fix_of(trial: Trial, errno: Errno, settings: Settings, root: bool) -> String {
        fix(trial, &failed(trial, errno).failure.unwrap(), &settings, root)
    }

    #[test]
    fn every_trial_that_fails_has_a_fix() {
        for (trial, ..) in TRIALS {
            for errno in [Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::NOSPC, Errno::NODEV] {
                for root in [false, true] {
                    assert_ne!(fix_of(trial, errno, Settings::default(), root), "", "{trial:?}");
                }
            }
        }
    }

    #[test]
    fn the_setting_that_forbids_it_is_named() {
        let none = Settings { max_user_namespaces: Some(0), ..Settings::default() };
        let said = fix_of(Trial::UserNamespace, Errno::NOSPC, none, true);
        assert!(said.contains("user.max_user_namespaces=65536"), "{said}");
        let debian = Settings { unprivileged_userns_clone: Some(0), ..Settings::default() };
        let said = fix_of(Trial::UserNamespace, Errno::PERM, debian, false);
        assert!(said.contains("kernel.unprivileged_userns_clone=1"), "{said}");
        // Ubuntu lets anybody make one, and takes the power in it away.
        let ubuntu = Settings { apparmor_restricts: Some(1), ..Settings::default() };
        let said = fix_of(Trial::KernelFilesystems, Errno::ACCESS, ubuntu, false);
        assert!(said.contains("apparmor_restrict_unprivileged_userns=0"), "{said}");
    }

    #[test]
    fn settings_for_ordinary_users_are_not_blamed_when_root_is_refused() {
        let settings = Settings {
            unprivileged_userns_clone: Some(0),
            apparmor_restricts: Some(1),
            max_user_namespaces: Some(1000),
        };
        let said = fix_of(Trial::UserNamespace, Errno::PERM, settings, true);
        assert!(said.contains("container"), "{said}");
    }

    #[test]
    fn what_could_not_be_tried_is_not_said_to_work() {
        let tried = [failed(Trial::UserNamespace, Errno::PERM)];
        let checks = report(&tried, &Settings::default(), true);
        assert_eq!(checks.len(), TRIALS.len());
        assert!(checks.iter().all(|c| c.verdict == boxherd_engine::Verdict::Broken));
    }
}
