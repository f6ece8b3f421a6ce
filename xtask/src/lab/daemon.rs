//! One daemon of LXD or Incus, without systemd.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::lab::sweep;

/// Which of the two it is, and what its programs are called.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Lxd,
    Incus,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lxd => "LXD",
            Self::Incus => "Incus",
        }
    }

    /// The client.
    pub(crate) fn client(self) -> &'static str {
        match self {
            Self::Lxd => "lxc",
            Self::Incus => "incus",
        }
    }

    fn daemon(self) -> &'static str {
        match self {
            Self::Lxd => "lxd",
            Self::Incus => "/usr/libexec/incus/incusd",
        }
    }

    /// The beginning of a command line that administrates the daemon.
    fn admin(self) -> &'static [&'static str] {
        match self {
            Self::Lxd => &["lxd"],
            Self::Incus => &["incus", "admin"],
        }
    }

    /// The variables for the folders of the daemon and of the client.
    fn variables(self) -> (&'static str, &'static str) {
        match self {
            Self::Lxd => ("LXD_DIR", "LXD_CONF"),
            Self::Incus => ("INCUS_DIR", "INCUS_CONF"),
        }
    }
}

/// One daemon.
pub(crate) struct Daemon {
    pub(crate) kind: Kind,
    /// Its folder, `$LXD_DIR` or `$INCUS_DIR`.
    pub(crate) home: PathBuf,
    /// The folder of the clients that the lab runs.
    pub(crate) conf: PathBuf,
}

impl Daemon {
    /// Starts it, and waits until it answers.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        if !rustix::process::geteuid().is_root() {
            bail!("{} needs root", self.kind.name());
        }
        fs::create_dir_all(&self.home)?;
        fs::create_dir_all(&self.conf)?;
        // Guests run as other users and must get through to their root folders.
        fs::set_permissions(&self.home, fs::Permissions::from_mode(0o711))?;
        let log = fs::File::create(self.home.with_extension("log"))?;
        let program = self.kind.daemon();
        self.env(Command::new(program).args(["--group", "root", "--verbose"]))
            .env(sweep::MARK, &self.home)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{program}`"))?;
        self.admin(&["waitready", "--timeout", "60"], "").map(drop)
    }

    /// Whether it answers.
    pub(crate) fn answers(&self) -> bool {
        self.home.join("unix.socket").exists() && self.client(&["query", "/1.0"]).is_ok()
    }

    /// Administrates it.
    pub(crate) fn admin(&self, args: &[&str], stdin: &str) -> anyhow::Result<String> {
        self.run(&[self.kind.admin(), args].concat(), stdin)
    }

    /// Asks it, by its own client.
    pub(crate) fn client(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run(&[&[self.kind.client()], args].concat(), "")
    }

    fn run(&self, words: &[&str], stdin: &str) -> anyhow::Result<String> {
        let mut child = self
            .env(Command::new(words[0]).args(&words[1..]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run `{}`", words[0]))?;
        let mut input = child.stdin.take().context("it was asked for")?;
        input.write_all(stdin.as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` failed: {}", words.join(" "), text.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// They fetch images and "instance types" by themselves: a proxy that is not there keeps them in.
    fn env<'command>(&self, command: &'command mut Command) -> &'command mut Command {
        let (home, conf) = self.kind.variables();
        command
            .env(home, &self.home)
            .env(conf, &self.conf)
            .env("HTTPS_PROXY", "http://127.0.0.1:9")
            .env("HTTP_PROXY", "http://127.0.0.1:9")
            .env("NO_PROXY", "127.0.0.0/8,localhost")
    }
}
