//! Images for guests of tests: `tiny` (only busybox, made in a second) and `deb12` (Debian 12).
//!
//! Neither has a real init: theirs is a shell script that brings up the network, and asks every process to
//! end when LXD sends SIGPWR, which is how LXD stops a container.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

const INIT: &str = r#"#!/bin/sh
stop() {
    trap '' PWR TERM INT
    kill -TERM -1
    n=0
    # This shell, `ls` and its pipe; what does not listen is killed with the machine.
    while [ $n -lt 40 ] && [ "$(ls -d /proc/[0-9]* | grep -c .)" -gt 4 ]; do
        n=$((n + 1))
        sleep 0.05
    done
    exit 0
}
trap stop PWR TERM INT
busybox ip link set lo up 2>/dev/null
if [ -e /sys/class/net/eth0 ]; then
    busybox ip link set eth0 up
    busybox udhcpc -q -n -t 5 -i eth0 -s /etc/udhcpc.sh >/dev/null 2>&1 &
fi
while :; do sleep 3600 & wait $!; done
"#;

const UDHCPC: &str = r#"#!/bin/sh
[ "$1" = bound ] && busybox ip addr replace "$ip/$mask" dev "$interface"
"#;

/// An image as LXD imports it: metadata and root file system as two archives.
pub(crate) struct Image {
    pub(crate) alias: &'static str,
    pub(crate) metadata: PathBuf,
    pub(crate) rootfs: PathBuf,
}

/// Where archives are kept.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let cache = crate::lab::default_folder("cache")?;
    fs::create_dir_all(&cache)?;
    Ok(cache)
}

/// Packages of `deb12` beyond the essential ones.
const PACKAGES: &str = "python3-minimal,iproute2,sudo,ca-certificates,busybox-static";

/// Debian 12 with sudo and Python, made once by mmdebstrap.
pub(crate) fn debian(cache: &Path) -> anyhow::Result<Image> {
    // Another recipe is another file.
    let mut recipe = DefaultHasher::new();
    (INIT, UDHCPC, PACKAGES).hash(&mut recipe);
    let rootfs = cache.join(format!("deb12-{:016x}.tar", recipe.finish()));
    if !rootfs.exists() {
        println!("making the image `deb12`, once");
        let work = Work::new(cache)?;
        script(&work.join("init"), INIT)?;
        script(&work.join("udhcpc.sh"), UDHCPC)?;
        let tar = work.join("deb12.tar");
        let copy = |file: &str, to: &str| {
            format!("--customize-hook=copy-in {} {to}", work.join(file).display())
        };
        run(Command::new("mmdebstrap")
            .args(["--quiet", "--variant=minbase"])
            .arg(format!("--include={PACKAGES}"))
            .arg(copy("udhcpc.sh", "/etc"))
            .arg(copy("init", "/usr/sbin"))
            .arg("bookworm")
            .arg(&tar))?;
        fs::rename(tar, &rootfs)?;
    }
    Ok(Image { alias: "deb12", metadata: metadata(cache, "deb12")?, rootfs })
}

/// A root file system of one static program.
pub(crate) fn tiny(cache: &Path) -> anyhow::Result<Image> {
    let work = Work::new(cache)?;
    let root = work.join("root");
    for folder in ["bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp", "var/tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for folder in ["tmp", "var/tmp"] {
        fs::set_permissions(root.join(folder), fs::Permissions::from_mode(0o1777))?;
    }
    busybox(&root.join("bin"))?;
    script(&root.join("sbin/init"), INIT)?;
    script(&root.join("etc/udhcpc.sh"), UDHCPC)?;
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:\n";
    fs::write(root.join("etc/passwd"), passwd)?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    let rootfs = cache.join("tiny.tar");
    archive(&work, "root", ".", &rootfs)?;
    Ok(Image { alias: "tiny", metadata: metadata(cache, "tiny")?, rootfs })
}

/// A folder for what is being made, gone when it is dropped: several labs may share a cache.
struct Work(PathBuf);

impl Work {
    fn new(cache: &Path) -> anyhow::Result<Self> {
        let folder = cache.join(format!("work-{}", random_word()?));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("`{}` stays: {error}", self.0.display());
        }
    }
}

/// Busybox, and a link to it for each program that it can be.
fn busybox(bin: &Path) -> anyhow::Result<()> {
    const DYNAMIC: &[u8] = b"/lib64/ld-linux";
    let program = fs::read("/bin/busybox").context("cannot read `/bin/busybox`")?;
    if program.windows(DYNAMIC.len()).any(|window| window == DYNAMIC) {
        bail!("`/bin/busybox` is not static: install Debian's `busybox-static`");
    }
    let to = bin.join("busybox");
    fs::write(&to, program)?;
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    let list = Command::new(&to).arg("--list").output().context("cannot run busybox")?;
    let names = String::from_utf8(list.stdout)?;
    for name in names.lines().filter(|name| !["busybox", "init"].contains(name)) {
        symlink("busybox", bin.join(name))?;
    }
    Ok(())
}

fn metadata(cache: &Path, alias: &str) -> anyhow::Result<PathBuf> {
    let (work, file) = (Work::new(cache)?, cache.join(format!("{alias}.meta.tar")));
    let text = format!(
        "architecture: x86_64\ncreation_date: 1700000000\n\
         properties:\n  description: {alias} for tests\n  os: {alias}\n"
    );
    fs::create_dir(work.join("meta"))?;
    fs::write(work.join("meta/metadata.yaml"), text)?;
    archive(&work, "meta", "metadata.yaml", &file)?;
    Ok(file)
}

/// Archives what is in a folder of `work`, and puts the archive in its place at once.
fn archive(work: &Work, folder: &str, what: &str, to: &Path) -> anyhow::Result<()> {
    let half = work.join("half.tar");
    run(Command::new("tar")
        .args(["--owner=0", "--group=0", "--numeric-owner", "--sort=name", "-C"])
        .arg(work.join(folder))
        .arg("-cf")
        .arg(&half)
        .arg(what))?;
    Ok(fs::rename(half, to)?)
}

fn script(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("cannot run {program:?}"))?;
    if !status.success() {
        bail!("{program:?} failed: {status}");
    }
    Ok(())
}

/// 128 random bits in hex.
pub(crate) fn random_word() -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
