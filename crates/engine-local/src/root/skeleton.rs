//! The lowest layer of every box with the image `host`: folders, links into `/usr`, and an `/etc`
//! that owes nothing to the host's accounts.
//!
//! Made once per data folder and never changed, because boxes have it mounted. What
//! depends on the start (`hosts`, `resolv.conf`) is in memory and linked to (see `identity.rs`).

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, chmodat, fchmod, mkdirat, open, openat, symlinkat};

/// What the layer is called. Boxes go on with the one they have, so another content needs another
/// name.
pub(crate) const NAME: &str = "skeleton-3";

/// Folder and mode.
const FOLDERS: [(&str, u32); 26] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("etc/alternatives", 0o755),
    ("etc/ssl", 0o755),
    ("etc/ssl/certs", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("run/lock", 0o1777),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/local", 0o755),
    ("var/log", 0o755),
    ("var/mail", 0o755),
    ("var/opt", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
];

/// Link and target. The first group exists only where the host's own root has it.
const USR_LINKS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
const LINKS: [(&str, &str); 8] = [
    ("var/run", "/run"),
    ("var/lock", "/run/lock"),
    ("etc/mtab", "/proc/self/mounts"),
    ("etc/os-release", "../usr/lib/os-release"),
    ("etc/hostname", "../run/boxherd/hostname"),
    ("etc/hosts", "../run/boxherd/hosts"),
    ("etc/machine-id", "../run/boxherd/machine-id"),
    ("etc/resolv.conf", "../run/boxherd/resolv.conf"),
];

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
sys:x:3:3:sys:/dev:/usr/sbin/nologin
games:x:5:60:games:/usr/games:/usr/sbin/nologin
man:x:6:12:man:/var/cache/man:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";
const GROUP: &str = "\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:8:
man:x:12:
sudo:x:27:
www-data:x:33:
shadow:x:42:
utmp:x:43:
staff:x:50:
games:x:60:
users:x:100:
nogroup:x:65534:
";
const NSSWITCH: &str = "\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
";
/// A prompt says in which box it is.
const PROFILE: &str = "\
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
if [ \"${PS1-}\" ]; then
  if [ \"${BASH-}\" ] && [ \"$BASH\" != /bin/sh ]; then
    PS1='\\u@\\h:\\w\\$ '
  else
    PS1=\"$(hostname)# \"
  fi
fi
";
const LD_SO_CONF: &str = "include /etc/ld.so.conf.d/*.conf\n";

/// File, content, mode.
const FILES: [(&str, &str, u32); 9] = [
    ("etc/passwd", PASSWD, 0o644),
    ("etc/group", GROUP, 0o644),
    ("etc/nsswitch.conf", NSSWITCH, 0o644),
    ("etc/profile", PROFILE, 0o644),
    ("etc/ld.so.conf", LD_SO_CONF, 0o644),
    // What is bound over it at every start is the host's own.
    ("etc/ld.so.cache", "", 0o644),
    ("etc/fstab", "", 0o644),
    ("etc/shells", "/bin/sh\n/bin/bash\n", 0o644),
    ("etc/host.conf", "multi on\n", 0o644),
];

/// What is the same in every box of this host as on the host, and is copied if all may read it.
const COPIES: [&str; 2] = ["etc/protocols", "etc/services"];

/// Makes the folder unless it is there.
pub(crate) fn ensure(folder: &Path) -> io::Result<()> {
    super::once(folder, fill)
}

/// Fills `root`, an empty folder.
fn fill(root: &Path) -> io::Result<()> {
    let base = open(root, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    for (name, mode) in FOLDERS {
        let mode = Mode::from_raw_mode(mode);
        mkdirat(&base, name, mode)?;
        // Whatever the umask took away.
        chmodat(&base, name, mode, AtFlags::empty())?;
    }
    for name in USR_LINKS.iter().filter(|name| Path::new("/usr").join(name).is_dir()) {
        symlinkat(format!("usr/{name}"), &base, *name)?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &base, name)?;
    }
    for (name, content, mode) in FILES {
        put(&base, name, content.as_bytes(), mode)?;
    }
    for name in COPIES {
        copy_if_public(&base, name)?;
    }
    copy_timezone(root)
}

fn put(base: impl rustix::fd::AsFd, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(base, name, flags, Mode::from_raw_mode(mode))?;
    fchmod(&file, Mode::from_raw_mode(mode))?;
    let mut rest = content;
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&file, rest)?..];
    }
    Ok(())
}

fn copy_if_public(base: impl rustix::fd::AsFd, name: &str) -> io::Result<()> {
    let path = Path::new("/").join(name);
    let public =
        |metadata: fs::Metadata| metadata.is_file() && metadata.permissions().mode() & 4 != 0;
    if !fs::symlink_metadata(&path).is_ok_and(public) {
        return Ok(());
    }
    put(base, name, &fs::read(path)?, 0o644)
}

/// The host's time zone is a link into `/usr`.
fn copy_timezone(root: &Path) -> io::Result<()> {
    let into_usr = |target: &Path| target.starts_with("/usr/share/zoneinfo");
    match fs::read_link("/etc/localtime") {
        Ok(target) if into_usr(&target) => symlink(target, root.join("etc/localtime")),
        // Without it, the box has UTC.
        _ => Ok(()),
    }
}

/// What is bound read-only into every box with the image `host`: path, and whether it may be
/// missing on the host.
pub(crate) const BINDS: [(&str, bool); 4] = [
    ("/usr", false),
    ("/etc/alternatives", true),
    ("/etc/ssl/certs", true),
    ("/etc/ld.so.cache", true),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_skeleton_has_what_programs_look_for() {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path()).unwrap();
        let mode =
            |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode("tmp") & 0o7777, 0o1777);
        assert_eq!(mode("root") & 0o7777, 0o700);
        assert_eq!(mode("etc/passwd") & 0o7777, 0o644);
        assert_eq!(fs::read_link(folder.path().join("bin")).unwrap(), Path::new("usr/bin"));
    }

    #[test]
    fn no_account_of_the_host_is_in_it() {
        assert!(!PASSWD.contains("/home"));
        assert_eq!(PASSWD.lines().filter(|line| line.contains(":0:")).count(), 1);
    }
}
