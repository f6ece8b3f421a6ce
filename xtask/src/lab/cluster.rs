//! Three LXD servers as one cluster, on three addresses of the loopback interface.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::lab::daemon::{Daemon, Kind};
use crate::lab::{guests, image, sweep};

const MEMBERS: [u8; 3] = [1, 2, 3];

fn address(member: u8) -> String {
    format!("127.0.0.1{member}:8443")
}

fn daemon(folder: &Path, member: u8) -> Daemon {
    Daemon { kind: Kind::Lxd, home: folder.join(format!("n{member}")), conf: folder.join("conf") }
}

/// Brings the cluster up, and says how long it took.
pub(crate) fn up(folder: &Path) -> anyhow::Result<()> {
    let folder = &std::path::absolute(folder)?;
    if folder.join("lab.env").exists() {
        bail!("it is up already: `cargo xtask lab lxd cluster down` first");
    }
    let started = Instant::now();
    if let Err(error) = try_up(folder) {
        down(folder).context("cannot take down what is half up")?;
        return Err(error);
    }
    println!(
        "the cluster is up in {:.1} s: {}=`{}`",
        started.elapsed().as_secs_f64(),
        crate::lab::LXD_CLUSTER,
        folder.display()
    );
    Ok(())
}

/// As [`up`], but content with one that is up already. Returns whether it was not.
pub(crate) fn ensure_up(folder: &Path) -> anyhow::Result<bool> {
    if folder.join("lab.env").exists() {
        if MEMBERS.iter().all(|member| daemon(folder, *member).answers()) {
            println!("the cluster is up already, and stays");
            return Ok(false);
        }
        down(folder)?;
    }
    up(folder)?;
    Ok(true)
}

fn try_up(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let cache = image::cache()?;
    let images = [image::tiny(&cache)?, image::debian(&cache)?];
    let password = image::random_word()?;
    let first = daemon(folder, MEMBERS[0]);
    first.start()?;
    first.admin(&["init", "--preseed"], &found(&password))?;
    for member in &MEMBERS[1..] {
        let joining = daemon(folder, *member);
        joining.start()?;
        let name = format!("n{member}");
        let printed = first.client(&["cluster", "add", &name, "--quiet"])?;
        let token = printed.lines().last().context("`lxc cluster add` printed no token")?;
        joining.admin(&["init", "--preseed"], &join(*member, token))?;
    }
    for image in &images {
        guests::import(&first, image)?;
    }
    write_env(folder, &password)
}

fn found(password: &str) -> String {
    format!(
        "\
config:
  core.https_address: {}
  core.trust_password: {password}
  images.auto_update_interval: '0'
storage_pools: [{{name: default, driver: dir}}]
profiles: [{{name: default, devices: {{root: {{path: /, pool: default, type: disk}}}}}}]
cluster: {{server_name: n1, enabled: true}}
",
        address(MEMBERS[0])
    )
}

fn join(member: u8, token: &str) -> String {
    format!(
        "\
cluster:
  enabled: true
  server_address: {}
  cluster_token: {token}
  member_config: [{{entity: storage-pool, name: default, key: source, value: ''}}]
",
        address(member)
    )
}

fn write_env(folder: &Path, password: &str) -> anyhow::Result<()> {
    let path = folder.join("lab.env");
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let socket = daemon(folder, MEMBERS[0]).home.join("unix.socket");
    writeln!(file, "kind={}", Kind::Lxd.client())?;
    writeln!(file, "socket={}\ncache={}", socket.display(), image::cache()?.display())?;
    writeln!(file, "https={}", MEMBERS.map(address).join(","))?;
    writeln!(file, "password={password}")?;
    Ok(())
}

/// Takes the cluster down.
pub(crate) fn down(folder: &Path) -> anyhow::Result<()> {
    let folder = &std::path::absolute(folder)?;
    if folder.join("lab.env").exists()
        && let Err(error) = guests::delete_all(&daemon(folder, MEMBERS[0]))
    {
        eprintln!("cannot delete the guests one by one: {error:#}");
    }
    // The servers of a cluster wait for each other when they end; nothing of theirs is kept.
    sweep::everything(folder, &[])
}
