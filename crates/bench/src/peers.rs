//! The others: what they need to run `true` in a container like ours, and how they are asked.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use crate::programs::{Program, Workshop};

/// How often one of the slow ones takes part.
const SLOW: u32 = 10;

/// A peer that is installed, and works.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Such as `crun`.
    pub(crate) name: &'static str,
    /// What must be installed.
    program: &'static str,
    /// Runs `true` in a new container and removes it.
    pub(crate) run: Option<Program>,
    /// Runs `true` in a container that runs already.
    pub(crate) exec: Option<Program>,
    /// Freezes and thaws that container.
    pub(crate) pause: Option<[Program; 2]>,
    /// In how many rounds it takes part once.
    pub(crate) every: u32,
    start: Option<Program>,
    stop: Option<Program>,
}

/// The peers that are installed, with a running container each where they know such a thing.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) workshop: Workshop,
    pub(crate) list: Vec<Peer>,
}

impl Peers {
    /// Looks who is installed, and starts their containers from a root filesystem below `scratch`.
    /// Who does not work is named in `skipped`.
    pub(crate) async fn gather(scratch: &Path, skipped: &mut Vec<String>) -> anyhow::Result<Self> {
        let bundle = Bundle::make(&scratch.join("bundle"))?;
        let candidates = [
            oci("crun", &bundle, scratch, 1),
            oci("runc", &bundle, scratch, 2),
            bwrap(&bundle),
            podman(&bundle),
            lxc(&bundle)?,
            lxd(),
        ];
        let mut peers = Self { workshop: Workshop::open()?, list: Vec::new() };
        for peer in candidates {
            if !installed(peer.program) {
                skipped.push(format!("{}: not installed", peer.name));
                continue;
            }
            match peers.try_out(&peer).await {
                Ok(()) => peers.list.push(peer),
                Err(error) => {
                    peers.end(&peer).await;
                    skipped.push(format!("{}: does not work here: {error:#}", peer.name));
                }
            }
        }
        Ok(peers)
    }

    async fn try_out(&self, peer: &Peer) -> anyhow::Result<()> {
        if let Some(run) = &peer.run {
            self.workshop.time(run.clone()).await?;
        }
        if let Some(start) = &peer.start {
            self.workshop.time(start.clone()).await?;
        }
        if let Some(exec) = &peer.exec {
            self.workshop.time(exec.clone()).await?;
        }
        Ok(())
    }

    async fn end(&self, peer: &Peer) {
        if let Some(stop) = &peer.stop {
            // There may be nothing to stop.
            drop(self.workshop.time(stop.clone()).await);
        }
    }

    /// Stops the containers.
    pub(crate) async fn disperse(self) {
        for peer in &self.list {
            self.end(peer).await;
        }
    }
}

pub(crate) fn installed(program: &str) -> bool {
    const FOLDERS: [&str; 5] = ["/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    FOLDERS.iter().any(|folder| Path::new(folder).join(program).exists())
}

/// A bundle as OCI runtimes take it: the host's `/usr`, read-only, as our default image has it.
struct Bundle {
    folder: PathBuf,
    root: PathBuf,
}

impl Bundle {
    fn make(folder: &Path) -> anyhow::Result<Self> {
        let root = folder.join("rootfs");
        for name in ["usr", "proc", "dev", "sys", "tmp", "etc", "run"] {
            fs::create_dir_all(root.join(name)).context("cannot make a bundle for the peers")?;
        }
        for name in ["bin", "lib", "lib64", "sbin"] {
            let link = root.join(name);
            if link.symlink_metadata().is_err() {
                std::os::unix::fs::symlink(format!("usr/{name}"), link)?;
            }
        }
        let bundle = Self { folder: folder.to_owned(), root };
        for (name, command) in [("true", ["true", ""]), ("idle", ["sleep", "100000"])] {
            let bundle = folder.join(name);
            fs::create_dir_all(&bundle)?;
            fs::write(bundle.join("config.json"), bundle_config(folder, command).to_string())?;
        }
        Ok(bundle)
    }
}

fn bundle_config(folder: &Path, command: [&str; 2]) -> serde_json::Value {
    let args: Vec<_> = command.into_iter().filter(|argument| !argument.is_empty()).collect();
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/usr/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
        },
        "root": { "path": folder.join("rootfs"), "readonly": true },
        "hostname": "peer",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
            { "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"] },
        ],
        "linux": { "namespaces": namespaces.map(|kind| json!({ "type": kind })) },
    })
}

/// `crun` and `runc` take the same arguments.
fn oci(name: &'static str, bundle: &Bundle, scratch: &Path, every: u32) -> Peer {
    let state = scratch.join(name);
    let runtime = Program::new([name.into(), "--root".into(), state.into_os_string()]);
    let from = |kind: &str| bundle.folder.join(kind).into_os_string();
    let one = format!("boxherd-bench-{}-{name}", std::process::id());
    let idle = format!("{one}-idle");
    Peer {
        name,
        program: name,
        run: Some(runtime.with(["run".into(), "--bundle".into(), from("true"), one.into()])),
        exec: Some(runtime.with(["exec", &idle, "true"])),
        pause: Some([runtime.with(["pause", &idle]), runtime.with(["resume", &idle])]),
        every,
        start: Some(runtime.with([
            "run".into(),
            "--detach".into(),
            "--bundle".into(),
            from("idle"),
            idle.clone().into(),
        ])),
        stop: Some(runtime.with(["delete", "--force", &idle])),
    }
}

fn bwrap(bundle: &Bundle) -> Peer {
    let root = bundle.root.display().to_string();
    let run = Program::new([
        "bwrap",
        "--unshare-all",
        "--unshare-user",
        "--ro-bind",
        &root,
        "/",
        "--ro-bind",
        "/usr",
        "/usr",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "true",
    ]);
    Peer {
        name: "bwrap",
        program: "bwrap",
        run: Some(run),
        exec: None,
        pause: None,
        every: 1,
        start: None,
        stop: None,
    }
}

fn podman(bundle: &Bundle) -> Peer {
    let podman = Program::new(["podman", "--cgroup-manager=cgroupfs"]);
    let root = bundle.root.display().to_string();
    let idle = format!("boxherd-bench-{}", std::process::id());
    // Its own limits are above what a root without CAP_SYS_RESOURCE may set.
    let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    let container = ["--network=none", limits[0], limits[1], "--volume=/usr:/usr:ro", "--rootfs"];
    Peer {
        name: "podman",
        program: "podman",
        run: Some(podman.with(["run", "--rm"]).with(container).with([&root, "true"])),
        exec: Some(podman.with(["exec", &idle, "true"])),
        pause: Some([podman.with(["pause", &idle]), podman.with(["unpause", &idle])]),
        every: SLOW,
        start: Some(
            podman
                .with(["run", "--detach", "--name", &idle])
                .with(container)
                .with([&root, "sleep", "100000"]),
        ),
        stop: Some(podman.with(["rm", "--force", "--time=0", &idle])),
    }
}

/// The tools of the package `lxc`. It freezes with v1's freezer or a v2 of its own, and not where both
/// are, so it does not take part in that.
fn lxc(bundle: &Bundle) -> anyhow::Result<Peer> {
    let state = bundle.folder.join("lxc");
    let mount = bundle.folder.join("lxc-root");
    let config = bundle.folder.join("lxc.conf");
    fs::create_dir_all(&state)?;
    fs::create_dir_all(&mount)?;
    let lines = [
        "lxc.uts.name = peer".to_owned(),
        format!("lxc.rootfs.path = dir:{}", bundle.root.display()),
        format!("lxc.rootfs.mount = {}", mount.display()),
        "lxc.mount.entry = proc proc proc nodev,noexec,nosuid 0 0".to_owned(),
        "lxc.mount.entry = /usr usr none rbind,ro 0 0".to_owned(),
        "lxc.net.0.type = empty".to_owned(),
        String::new(),
    ];
    fs::write(&config, lines.join("\n"))?;
    let one = format!("boxherd-bench-{}", std::process::id());
    let idle = format!("{one}-idle");
    let tool = |name: &str, container: &str| {
        let state = format!("--lxcpath={}", state.display());
        Program::new([name.to_owned(), format!("--name={container}"), state])
    };
    let start = |container: &str, how: &str, command: &str| {
        let rcfile = format!("--rcfile={}", config.display());
        let command = format!("--define=lxc.init.cmd={command}");
        tool("lxc-start", container).with([rcfile, command, how.to_owned()])
    };
    Ok(Peer {
        name: "lxc",
        program: "lxc-start",
        run: Some(start(&one, "--foreground", "/usr/bin/true")),
        exec: Some(tool("lxc-attach", &idle).with(["--", "true"])),
        pause: None,
        every: SLOW,
        start: Some(start(&idle, "--daemon", "/usr/bin/sleep 100000")),
        stop: Some(tool("lxc-stop", &idle).with(["--kill"])),
    })
}

/// The containers are the user's: only `exec` into one that is called `boxherd-bench`.
fn lxd() -> Peer {
    let exec = Program::new(["lxc", "exec", "boxherd-bench", "--", "true"]);
    Peer {
        name: "lxd",
        program: "lxc",
        run: None,
        exec: Some(exec),
        pause: None,
        every: SLOW,
        start: None,
        stop: None,
    }
}
