//! Starting a box: the half that needs no privilege but the data folder's.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use boxherd_engine::{EngineError, Running, fault};
use boxherd_link::agent_config::AgentConfig;
use boxherd_model::{BoxId, ImageRef, Isolation, NetworkSpec, Timings};
use boxherd_net::Lease;
use boxherd_net::netd::NetdCommand;
use prost::Message as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create, open};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::cgroup::Joins;
use crate::core::Core;
use crate::create::{CONSOLE, WORK};
use crate::data::{BoxFolder, ORDERS, SOCKET};
use crate::error::{at, helper, network};
use crate::helper::Beginning;
use crate::helper::wire::{Root, Start, StartFds};
use crate::identity;
use crate::record::{self, BoxRecord};
use crate::root::skeleton;
use crate::sandbox::{Renewal, config_files, empty};

/// Where the overlay filesystem marks its work folder, in the kernel's documentation of overlayfs,
/// "Volatile mount".
const PASSING_MARK: &str = "work/incompat";

/// What gVisor has of threads for itself, at most.
const OWN_THREADS: u32 = 128;
/// How long the agent may take to greet.
const PATIENCE: Duration = Duration::from_secs(10);

/// What there is of a box before anybody knows what it is: its groups, and a process that waits.
#[derive(Debug)]
pub(crate) struct Half {
    joins: Joins,
    process: Beginning,
}

impl Core {
    /// What the box has to be told comes along, if it goes on from saved memory.
    pub(crate) fn start(
        &self,
        id: BoxId,
        netd: Option<&NetdCommand>,
    ) -> Result<(Running, Option<Renewal>), EngineError> {
        let record = self.record(id)?;
        let folder = self.folder(id);
        if self.pidfd(&folder).map_err(at("look for the box's processes"))?.is_some() {
            let lease = self.networks.find(id).map_err(network)?;
            if let (Some(lease), Some(command)) = (&lease, netd) {
                self.wake_netd(lease, command);
            }
            let addresses = lease.as_ref().map(Lease::addresses).unwrap_or_default();
            return Ok((Running { addresses, ..Running::default() }, None));
        }
        self.clear(id, &folder)?;
        let half = self.half(id, &record)?;
        let disk = record.spec.limits.disk;
        self.pool.with_room(id, (disk, false), || self.start_with(id, &record, half, netd))
    }

    /// Begins to make a box's first process, in the groups of the box.
    pub(crate) fn half(&self, id: BoxId, record: &BoxRecord) -> Result<Half, EngineError> {
        let failed = at("make the box's control groups");
        let group = self.hierarchies.as_ref().map(|groups| groups.make_first(id)).transpose();
        let group = group.map_err(failed)?.flatten();
        let process = self.helper.begin(record, group.as_ref().map(OwnedFd::as_fd));
        let process = process.map_err(helper)?;
        let joins = self.groups(id, record)?;
        fault::point("start.groups");
        Ok(Half { joins, process })
    }

    /// Makes the rest of a box that has no other processes, and has its first one become the agent.
    pub(crate) fn start_with(
        &self,
        id: BoxId,
        record: &BoxRecord,
        half: Half,
        netd: Option<&NetdCommand>,
    ) -> Result<(Running, Option<Renewal>), EngineError> {
        let mut running = Running::default();
        let begun = Instant::now();
        let lease = self.lease(id, record, &mut running)?;
        running.addresses = lease.as_ref().map(Lease::addresses).unwrap_or_default();
        fault::point("start.lease");
        running.timings.push("prepare", begun.elapsed());
        let lease = (lease.as_ref(), netd);
        let restored = self.animate(id, record, lease, half, &mut running.timings)?;
        let renewal = restored.then(|| self.renewal(id, record)).transpose()?;
        Ok((running, renewal))
    }

    /// The box's place on its network. One that was not asked for is done without where it cannot
    /// be had.
    fn lease(
        &self,
        id: BoxId,
        record: &BoxRecord,
        running: &mut Running,
    ) -> Result<Option<Lease>, EngineError> {
        let spec = &record.spec;
        if spec.network == NetworkSpec::None {
            self.networks.release(id).map_err(network)?;
            return Ok(None);
        }
        if spec.network == NetworkSpec::default()
            && let Err(error) = self.networks.available()
        {
            running.notes.push(format!("the box has loopback only: {error}"));
            return Ok(None);
        }
        self.networks.reserve(id, &spec.name, &spec.network).map(Some).map_err(network)
    }

    /// Sees to it that somebody answers the box's DNS questions. A box without names still runs.
    fn wake_netd(&self, lease: &Lease, command: &NetdCommand) {
        if let Err(error) = self.networks.wake_netd(lease, command) {
            tracing::warn!(%error, id = %lease.id(), "names do not resolve in the box");
        }
    }

    /// Takes away what the box's last run has left.
    fn clear(&self, id: BoxId, folder: &BoxFolder) -> Result<(), EngineError> {
        if let Some(group) = self.group(id) {
            group.kill().map_err(at("end what is left of the box's last run"))?;
        }
        let left =
            [folder.ended(), folder.runtime(), folder.socket(), folder.orders(), folder.exit()];
        for path in left {
            record::remove(&path).map_err(at("forget the box's last run"))?;
        }
        self.forget_passing_mount(id).map_err(at("forget the box's last mount"))
    }

    /// An overlay that did not have to reach the disk leaves a mark, with which the kernel mounts
    /// its folders no more. Copies have it too. Only the host can reach it.
    fn forget_passing_mount(&self, id: BoxId) -> io::Result<()> {
        let layer = self.pool.layer(id);
        // Boxes of an ordinary user are not mounted so, and their work folder is closed to the user.
        let Some(layer) = layer.filter(|_| self.uids.is_some()) else { return Ok(()) };
        match fs::remove_dir_all(layer.path.join(WORK).join(PASSING_MARK)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn groups(&self, id: BoxId, record: &BoxRecord) -> Result<Joins, EngineError> {
        let Some(hierarchies) = &self.hierarchies else {
            return Ok(Joins::default());
        };
        let mut limits = record.spec.limits;
        if record.spec.isolation == Isolation::Gvisor {
            // They are on top of what the box itself runs.
            limits.pids = limits.pids.map(|pids| pids.saturating_add(OWN_THREADS));
        }
        let group = hierarchies.make(id, &limits);
        group.and_then(|group| group.joins()).map_err(at("make the box's control groups"))
    }

    /// Has a first process become the box.
    fn animate(
        &self,
        id: BoxId,
        record: &BoxRecord,
        (lease, netd): (Option<&Lease>, Option<&NetdCommand>),
        Half { joins, process }: Half,
        timings: &mut Timings,
    ) -> Result<bool, EngineError> {
        let begun = Instant::now();
        let folder = self.folder(id);
        let new_identity = !folder.identity().exists();
        let files = identity::files(id, record, lease, new_identity);
        let (root, mut config) = self.root(record)?;
        let sandbox = self.sandbox(record, &folder)?;
        let restore = sandbox.as_ref().is_some_and(|sandbox| sandbox.restore);
        let sandboxed = sandbox.is_some();
        if sandboxed {
            // Nobody outside can write into what is mounted only inside.
            config.files = config_files(files.clone());
        }
        let (volumes, trees): (Vec<_>, Vec<_>) = self.volumes(id)?.into_iter().unzip();
        let (fds, stream) = self.descriptors(id, &config, joins, sandboxed)?;
        let fds = StartFds { volumes: trees, ..fds };
        let request = Start {
            hostname: record.spec.name.to_string(),
            root,
            lease: lease.cloned(),
            networks: (self.data.root().to_owned(), self.data.installation().to_owned()),
            files,
            runs: !config.cmd.is_empty(),
            new_identity,
            boot_id: self.boot_id.clone(),
            tasks: fds.tasks.len(),
            memory: fds.memory.is_some(),
            volumes,
            sandbox,
        };
        timings.push("files", begun.elapsed());
        let asked = Instant::now();
        let starting = process.start(&request, &fds).map_err(helper)?;
        if let (Some(lease), Some(command)) = (lease, netd) {
            self.wake_netd(lease, command);
        }
        // Only the box holds its ends from now on, so that its end is seen.
        drop(fds);
        let (started, pidfd) = starting.wait().map_err(helper)?;
        fault::point("start.cloned");
        let (took, since) = (started.timings, asked.elapsed());
        let took = took.iter().map(|(phase, took)| (phase, Duration::from_micros(*took)));
        let took: Vec<_> = took.collect();
        // What was left of making its namespaces, and the way there and back.
        timings.push("clone", since.saturating_sub(took.iter().map(|(_, took)| *took).sum()));
        took.into_iter().for_each(|(phase, took)| timings.push(phase, took));
        if sandboxed {
            // What executes is gVisor, and the agent in a while.
            let begun = Instant::now();
            wait_for_greeting(id, &stream, &pidfd)?;
            timings.push("agent", begun.elapsed());
        }
        // An agent that executes greets whoever asks it first, who says so when it does not.
        self.warm.put(id, stream);
        if new_identity {
            // Only that it is there counts, and a link costs less than a file.
            let noted = fs::hard_link(folder.record(), folder.identity());
            noted.map_err(at("note the box's identity"))?;
        }
        fault::point("start.running");
        if restore {
            // It runs, and goes on from what it does now.
            empty(&folder.memory()).map_err(at("forget the saved memory"))?;
        }
        Ok(restore)
    }

    /// What the box mounts, and what its agent is told.
    fn root(&self, record: &BoxRecord) -> Result<(Root, AgentConfig), EngineError> {
        let spec = &record.spec;
        // What such a mount leaves in its work folder, an ordinary user could not take away.
        let passing = spec.ephemeral && self.uids.is_some();
        let mut config = AgentConfig {
            cmd: spec.cmd.clone(),
            workdir: spec.workdir.clone(),
            user: spec.user.clone(),
            restart: Some(spec.restart.into()),
            ..AgentConfig::default()
        };
        let env = |(name, value): (&String, &String)| boxherd_link::proto::Env {
            name: name.clone().into(),
            value: value.clone().into(),
        };
        if spec.image == ImageRef::host() {
            config.env = spec.env.iter().map(env).collect();
            let present = skeleton::BINDS
                .iter()
                .filter(|(path, optional)| !optional || std::path::Path::new(path).exists());
            let binds = present.map(|(path, _)| (*path).to_owned()).collect();
            return Ok((Root { passing, layers: vec![self.data.skeleton()], binds }, config));
        }
        let digest = record.image.as_deref().unwrap_or_default();
        let rootfs = self.images.rootfs(digest).map_err(crate::images::refused)?;
        let rootfs = rootfs.ok_or_else(|| EngineError::Image {
            image: spec.image.to_string(),
            reason: format!("{digest}, from which the box was made, is gone"),
            hint: None,
        })?;
        config.workdir = config.workdir.or(rootfs.config.workdir);
        config.user = config.user.or(rootfs.config.user);
        let of_image = rootfs.config.env.iter().map(|(name, value)| (name, value));
        let of_image = of_image.filter(|(name, _)| !spec.env.contains_key(*name));
        config.env = of_image.chain(&spec.env).map(env).collect();
        Ok((Root { passing, layers: rootfs.layers, binds: Vec::new() }, config))
    }

    fn descriptors(
        &self,
        id: BoxId,
        config: &AgentConfig,
        joins: Joins,
        sandboxed: bool,
    ) -> Result<(StartFds, UnixStream), EngineError> {
        let folder = self.folder(id);
        let layer = self.pool.layer(id).ok_or(EngineError::NoSuchBox(id))?;
        let handle = open_folder(folder.path().to_owned()).map_err(at("open the box's folder"))?;
        let (listener, stream) = listen(&handle).map_err(at("listen for the box's agent"))?;
        let orders = || UnixListener::bind(socket_path(&handle, ORDERS)).map(OwnedFd::from);
        let orders = sandboxed.then(orders).transpose().map_err(at("listen for orders"))?;
        let layer = open_folder(layer.path).map_err(at("open the box's layer"))?;
        let console = rustix::fs::openat(
            &layer,
            CONSOLE,
            OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o600),
        );
        let exit = File::create(folder.exit()).map_err(at("make the exit record"))?;
        let devices = open_folder(self.data.devices()).map_err(at("open the device files"))?;
        let agent = if sandboxed { folder.agent() } else { self.agent.clone() };
        let agent = open(agent, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let fds = StartFds {
            folder: handle,
            layer,
            devices,
            agent: agent.map_err(|e| at("open the agent")(e.into()))?,
            listener: listener.into(),
            config: sealed(config).map_err(at("write the agent's configuration"))?,
            console: console.map_err(|e| at("open the console")(e.into()))?,
            exit: exit.into(),
            tasks: joins.tasks,
            memory: joins.memory,
            orders,
            volumes: Vec::new(),
        };
        Ok((fds, stream))
    }
}

pub(crate) fn open_folder(path: PathBuf) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// The agent's listener, and a first connection to it. The path of a socket may have 107 bytes,
/// which a data folder may exceed; the way through the descriptor never does.
fn listen(folder: &OwnedFd) -> io::Result<(UnixListener, UnixStream)> {
    let path = socket_path(folder, SOCKET);
    let listener = UnixListener::bind(&path)?;
    let stream = UnixStream::connect(&path)?;
    Ok((listener, stream))
}

pub(crate) fn socket_path(folder: &OwnedFd, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())
}

/// A connection to the agent that listens in a box's folder, for use without blocking. One that
/// accepts no more has filled its queue, which is `EAGAIN` at once and no wait.
pub(crate) fn dial(folder: &BoxFolder) -> io::Result<UnixStream> {
    let handle = open_folder(folder.path().to_owned())?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(socket_path(&handle, SOCKET))?)?;
    Ok(socket.into())
}

/// The configuration in memory that nobody can change any more.
fn sealed(config: &AgentConfig) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL;
    let memory = match memfd_create("agent", flags) {
        // Before Linux 6.3.
        Err(rustix::io::Errno::INVAL) => {
            memfd_create("agent", flags.difference(MemfdFlags::NOEXEC_SEAL))?
        }
        memory => memory?,
    };
    let mut file = File::from(memory);
    file.write_all(&config.encode_length_delimited_to_vec())?;
    fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(file.into())
}

/// Waits until the agent has something to say on `stream`, which it accepted then.
fn wait_for_greeting(id: BoxId, stream: &UnixStream, pidfd: &OwnedFd) -> Result<(), EngineError> {
    let timeout = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let (stream, pidfd) = (stream.as_fd(), pidfd.as_fd());
    let mut fds = [stream, pidfd].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let ready = poll(&mut fds, Some(&timeout)).map_err(|e| at("wait for the agent")(e.into()))?;
    if ready == 0 {
        return Err(EngineError::AgentSilent { id, after: PATIENCE });
    }
    // A box whose main program has ended already was running nevertheless.
    Ok(())
}
