//! The Debian packages that tests need, and what goes untested without each.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::backports;

/// A program that tests run, the Debian package that has it, and the tests that need it.
struct Needed {
    program: &'static str,
    package: &'static str,
    tests: &'static str,
}

/// Packages of Debian's backports: the release has one that is too old, or none.
const BACKPORTED: &[&str] = &["incus-base", "runsc"];

const NEEDED: &[Needed] = &[
    Needed { program: "mkfs.btrfs", package: "btrfs-progs", tests: "disk limits and fast forks" },
    Needed { program: "nft", package: "nftables", tests: "networks of boxes" },
    Needed { program: "ip", package: "iproute2", tests: "networks of boxes" },
    Needed { program: "newuidmap", package: "uidmap", tests: "rootless boxes with subuid ranges" },
    Needed { program: "mmdebstrap", package: "mmdebstrap", tests: "`debian:CODENAME` images" },
    Needed { program: "docker-registry", package: "docker-registry", tests: "image pulls" },
    Needed { program: "skopeo", package: "skopeo", tests: "image pulls" },
    Needed { program: "openssl", package: "openssl", tests: "pulls over HTTPS" },
    Needed { program: "bwrap", package: "bubblewrap", tests: "boxes in boxes" },
    Needed { program: "umoci", package: "umoci", tests: "image pulls" },
    Needed { program: "tmux", package: "tmux", tests: "terminals" },
    Needed { program: "setpriv", package: "util-linux", tests: "rootless boxes" },
    Needed { program: "useradd", package: "passwd", tests: "rootless boxes" },
    Needed { program: "runsc", package: "runsc", tests: "boxes with gVisor, saved memory" },
    Needed { program: "ping", package: "iputils-ping", tests: "networks of boxes" },
    Needed { program: "pebble", package: "pebble", tests: "certificates by ACME" },
    Needed { program: "lxd", package: "lxd", tests: "LXD" },
    Needed { program: "lxc", package: "lxd-client", tests: "LXD" },
    Needed { program: "incus", package: "incus-base", tests: "Incus" },
    Needed { program: "dnsmasq", package: "dnsmasq-base", tests: "LXD" },
    Needed { program: "unsquashfs", package: "squashfs-tools", tests: "LXD" },
    Needed { program: "busybox", package: "busybox-static", tests: "LXD" },
    Needed { program: "setfattr", package: "attr", tests: "LXD" },
    Needed { program: "setfacl", package: "acl", tests: "LXD" },
    Needed { program: "rsync", package: "rsync", tests: "LXD" },
    Needed { program: "xz", package: "xz-utils", tests: "LXD" },
    Needed { program: "doas", package: "doas", tests: "connectors for pyinfra" },
    Needed { program: "linux.uml", package: "user-mode-linux", tests: "Debian's own kernel" },
    Needed { program: "insmod", package: "kmod", tests: "Debian's own kernel" },
    Needed { program: "pg_ctlcluster", package: "postgresql", tests: "the store on Postgres" },
];

/// Where Debian keeps programs; `PATH` of an ordinary user lacks the `sbin` ones.
const FOLDERS: &[&str] =
    &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

fn installed(program: &str) -> bool {
    FOLDERS.iter().any(|folder| Path::new(folder).join(program).exists())
}

fn missing() -> Vec<&'static Needed> {
    NEEDED.iter().filter(|needed| !installed(needed.program)).collect()
}

/// Installs what is missing when it can, and says which tests will be skipped when it cannot.
pub(crate) fn provide() -> anyhow::Result<()> {
    let wanted = missing();
    if wanted.is_empty() {
        return Ok(());
    }
    if installed("apt-get") && is_root()? {
        let packages = wanted.iter().map(|needed| needed.package);
        let (backported, mut packages): (Vec<_>, Vec<_>) =
            packages.partition(|package| BACKPORTED.contains(package));
        packages.dedup();
        if !packages.is_empty() {
            println!("installing {}", packages.join(" "));
            apt_get(&["update", "-q"])?;
            apt_get(&[INSTALL, &packages].concat())?;
        }
        // What these are for is tested where they can be had.
        if !backported.is_empty()
            && let Err(error) = from_backports(&backported)
        {
            println!("cannot install {}: {error:#}", backported.join(" "));
        }
    }
    for needed in missing() {
        println!(
            "SKIPPED: {} (`{}` is missing, Debian package `{}`)",
            needed.tests, needed.program, needed.package
        );
    }
    Ok(())
}

const INSTALL: &[&str] = &["install", "-q", "-y", "--no-install-recommends"];

fn from_backports(packages: &[&str]) -> anyhow::Result<()> {
    let suite = backports::enable()?.context("no package source here tells where Debian is")?;
    println!("installing {} from {suite}", packages.join(" "));
    apt_get(&["update", "-q"])?;
    apt_get(&[INSTALL, &["-t", &suite], packages].concat())
}

fn is_root() -> anyhow::Result<bool> {
    let output = Command::new("id").arg("-u").output().context("cannot run `id -u`")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

fn apt_get(args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::process::Stdio::null())
        .status()
        .context("cannot run `apt-get`")?;
    if !status.success() {
        bail!("`apt-get {}` failed: {status}", args.join(" "));
    }
    Ok(())
}
