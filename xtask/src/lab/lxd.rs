//! A real LXD server without systemd: one daemon, its pools, its bridge and its images, all in one
//! folder.
//!
//! ```text
//! FOLDER/lab.env    what tests need to know: `socket=`, `https=`, `password=`
//! FOLDER/d1         $LXD_DIR
//! FOLDER/conf       $LXD_CONF of the `lxc` that the lab itself runs
//! FOLDER/cache      images, kept by `down`
//! ```

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::lab::{guests, image, sweep};

/// The default port of the HTTPS API, on 127.0.0.1.
pub(crate) const PORT: u16 = 8443;

/// The longest path of a unix socket, `sun_path` of unix(7) without its final NUL.
const SOCKET_PATH: usize = 107;

/// One LXD daemon.
pub(crate) struct Daemon {
    /// `$LXD_DIR`.
    pub(crate) home: PathBuf,
    /// `$LXD_CONF` of the clients that the lab runs.
    pub(crate) conf: PathBuf,
}

impl Daemon {
    /// Starts it, and waits until it answers.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.home)?;
        fs::create_dir_all(&self.conf)?;
        // Guests run as other users and must get through to their root folders.
        fs::set_permissions(&self.home, fs::Permissions::from_mode(0o711))?;
        let log = fs::File::create(self.home.with_extension("log"))?;
        self.env(Command::new("lxd").args(["--group", "root", "--verbose"]))
            .env(sweep::MARK, &self.home)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start `lxd`")?;
        self.run("lxd", &["waitready", "--timeout", "60"], "").map(drop)
    }

    /// Runs a program of LXD's against this daemon, and returns what it prints.
    pub(crate) fn run(&self, program: &str, args: &[&str], stdin: &str) -> anyhow::Result<String> {
        let mut child = self
            .env(Command::new(program).args(args))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run `{program}`"))?;
        let mut input = child.stdin.take().context("it was asked for")?;
        input.write_all(stdin.as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("`{program} {}` failed: {}", args.join(" "), text.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// LXD fetches images and "instance types" by itself: a proxy that is not there keeps it in.
    fn env<'command>(&self, command: &'command mut Command) -> &'command mut Command {
        command
            .env("LXD_DIR", &self.home)
            .env("LXD_CONF", &self.conf)
            .env("HTTPS_PROXY", "http://127.0.0.1:9")
            .env("HTTP_PROXY", "http://127.0.0.1:9")
            .env("NO_PROXY", "127.0.0.0/8,localhost")
    }
}

/// The single-server lab.
pub(crate) struct Lab {
    folder: PathBuf,
    port: u16,
    daemon: Daemon,
}

impl Lab {
    pub(crate) fn new(folder: PathBuf, port: u16) -> anyhow::Result<Self> {
        let folder = std::path::absolute(folder)?;
        let daemon = Daemon { home: folder.join("d1"), conf: folder.join("conf") };
        let socket = daemon.home.join("unix.socket");
        if socket.as_os_str().len() > SOCKET_PATH {
            bail!("`{}` is too long for a socket: pass a shorter --folder", socket.display());
        }
        Ok(Self { folder, port, daemon })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Brings everything up, and says how long it took. What a failed try left is taken down.
    pub(crate) fn up(&self) -> anyhow::Result<()> {
        if self.folder.join("lab.env").exists() {
            bail!("it is up already: `cargo xtask lab lxd down` first");
        }
        let started = Instant::now();
        if let Err(error) = self.try_up() {
            let log =
                fs::read_to_string(self.daemon.home.with_extension("log")).unwrap_or_default();
            let tail = log.lines().rev().take(5).collect::<Vec<_>>();
            eprintln!("{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            self.down().context("cannot take down what is half up")?;
            return Err(error);
        }
        println!(
            "LXD is up in {:.1} s: {}=`{}`",
            started.elapsed().as_secs_f64(),
            crate::lab::LXD,
            self.folder.display()
        );
        Ok(())
    }

    fn try_up(&self) -> anyhow::Result<()> {
        let cache = self.folder.join("cache");
        fs::create_dir_all(&cache)?;
        let images = [image::tiny(&cache)?, image::debian(&cache)?];
        let password = image::random_word()?;
        self.daemon.start()?;
        self.daemon.run("lxd", &["init", "--preseed"], &self.preseed(&password))?;
        for image in &images {
            guests::import(&self.daemon, image)?;
        }
        self.write_env(&password)
    }

    fn preseed(&self, password: &str) -> String {
        let (port, bridge) = (self.port, self.bridge());
        let subnet = port % 250;
        format!(
            "\
config:
  core.https_address: 127.0.0.1:{port}
  core.trust_password: {password}
  images.auto_update_interval: '0'
storage_pools:
- {{name: default, driver: dir}}
- {{name: bt, driver: btrfs, config: {{size: 8GiB}}}}
networks:
- name: {bridge}
  type: bridge
  config:
    ipv4.address: 10.77.{subnet}.1/24
    ipv4.nat: 'false'
    ipv4.routing: 'false'
    ipv4.firewall: 'false'
    ipv6.address: none
    raw.dnsmasq: no-resolv
profiles:
- name: default
  devices:
    root: {{path: /, pool: default, type: disk}}
    eth0: {{name: eth0, network: {bridge}, type: nic}}
"
        )
    }

    /// The file that tells that the lab is up, with a secret: for its owner only.
    fn write_env(&self, password: &str) -> anyhow::Result<()> {
        let path = self.folder.join("lab.env");
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let socket = self.daemon.home.join("unix.socket");
        writeln!(file, "socket={}", socket.display())?;
        writeln!(file, "https=127.0.0.1:{}\npassword={password}", self.port)?;
        Ok(())
    }

    fn bridge(&self) -> String {
        format!("lxdlab{}", self.port)
    }

    /// Takes everything down, also what is half up or was killed.
    pub(crate) fn down(&self) -> anyhow::Result<()> {
        if self.daemon.home.exists() {
            if let Err(error) = guests::delete_all(&self.daemon) {
                eprintln!("cannot delete the guests one by one: {error:#}");
            }
            if let Err(error) = self.daemon.run("lxd", &["shutdown", "--timeout", "20"], "") {
                eprintln!("it does not shut down by itself: {error:#}");
            }
        }
        sweep::everything(&self.folder, &[self.bridge()])
    }

    pub(crate) fn status(&self) -> anyhow::Result<()> {
        if !self.folder.join("lab.env").exists() {
            println!("down");
            return Ok(());
        }
        let images =
            self.daemon.run("lxc", &["image", "list", "--format", "csv", "-c", "l"], "")?;
        let guests = guests::list(&self.daemon)?;
        println!("up: https://127.0.0.1:{}, folder `{}`", self.port, self.folder.display());
        println!("images: {}", images.split_whitespace().collect::<Vec<_>>().join(" "));
        println!("guests: {}", guests.len());
        Ok(())
    }
}
