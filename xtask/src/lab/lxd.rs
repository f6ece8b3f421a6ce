//! A real LXD or Incus server without systemd: one daemon, its pools, its bridge and its images, all
//! in one folder.
//!
//! ```text
//! FOLDER/lab.env     what tests need to know: `kind=`, `socket=`, `https=`, `password=`, `cache=`
//! FOLDER/d1          $LXD_DIR or $INCUS_DIR
//! FOLDER/conf        $LXD_CONF or $INCUS_CONF of the client that the lab itself runs
//! target/lab/cache   archives of images, for all labs; kept by `down`
//! ```

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::lab::daemon::{Daemon, Kind};
use crate::lab::{guests, image, quotas, sweep};

/// The default port of the HTTPS API of LXD, on 127.0.0.1.
pub(crate) const PORT: u16 = 8443;

/// The default port of Incus.
pub(crate) const INCUS_PORT: u16 = 8453;

/// The longest path of a unix socket, `sun_path` of unix(7) without its final NUL.
const SOCKET_PATH: usize = 107;

/// The single-server lab.
pub(crate) struct Lab {
    folder: PathBuf,
    port: u16,
    daemon: Daemon,
}

impl Lab {
    pub(crate) fn new(kind: Kind, folder: PathBuf, port: u16) -> anyhow::Result<Self> {
        let folder = std::path::absolute(folder)?;
        let daemon = Daemon { kind, home: folder.join("d1"), conf: folder.join("conf") };
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
            bail!("it is up already: take it `down` first");
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
            "{} is up in {:.1} s: {}=`{}`",
            self.daemon.kind.name(),
            started.elapsed().as_secs_f64(),
            self.variable(),
            self.folder.display()
        );
        Ok(())
    }

    /// As [`Lab::up`], but content with one that is up already. Returns whether it was not.
    pub(crate) fn ensure_up(&self) -> anyhow::Result<bool> {
        if self.folder.join("lab.env").exists() {
            if self.daemon.answers() {
                println!("{} is up already, and stays", self.daemon.kind.name());
                return Ok(false);
            }
            self.down()?;
        }
        self.up()?;
        Ok(true)
    }

    fn try_up(&self) -> anyhow::Result<()> {
        let cache = image::cache()?;
        fs::create_dir_all(&self.folder)?;
        let images = [image::tiny(&cache)?, image::debian(&cache)?];
        let password = image::random_word()?;
        self.daemon.start()?;
        self.daemon.admin(&["init", "--preseed"], &self.preseed(&password))?;
        quotas::keep(&self.daemon.home.join("storage-pools/bt"))?;
        for image in &images {
            guests::import(&self.daemon, image)?;
        }
        self.write_env(&password)
    }

    fn preseed(&self, password: &str) -> String {
        let (port, bridge) = (self.port, self.bridge());
        let subnet = port % 250;
        let trust = match self.daemon.kind {
            Kind::Lxd => format!("\n  core.trust_password: {password}"),
            // It knows tokens only.
            Kind::Incus => String::new(),
        };
        format!(
            "\
config:
  core.https_address: 127.0.0.1:{port}{trust}
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
        writeln!(file, "kind={}", self.daemon.kind.client())?;
        writeln!(file, "socket={}\ncache={}", socket.display(), image::cache()?.display())?;
        writeln!(file, "https=127.0.0.1:{}\npassword={password}", self.port)?;
        Ok(())
    }

    /// The variable by which tests learn of it.
    pub(crate) fn variable(&self) -> &'static str {
        match self.daemon.kind {
            Kind::Lxd => "BOXHERD_LAB_LXD",
            Kind::Incus => "BOXHERD_LAB_INCUS",
        }
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
            if let Err(error) = self.daemon.admin(&["shutdown", "--timeout", "20"], "") {
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
        let images = self.daemon.client(&["image", "list", "--format", "csv", "-c", "l"])?;
        let guests = guests::list(&self.daemon)?;
        println!("up: https://127.0.0.1:{}, folder `{}`", self.port, self.folder.display());
        println!("images: {}", images.split_whitespace().collect::<Vec<_>>().join(" "));
        println!("guests: {}", guests.len());
        Ok(())
    }
}
