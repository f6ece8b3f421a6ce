//! What travels between an engine, its helper and the first process of a box: messages with
//! descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cgroup::MemoryWatch;
use crate::uids::UidBase;

/// The largest message, in bytes. A list of a thousand egress rules fits.
pub(super) const LARGEST: usize = 160 * 1024;
/// The most descriptors with one message.
const DESCRIPTORS: usize = 40;

/// What an engine asks of its helper. The first descriptor of each is where the answer goes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make the first process of a box. What becomes of it is said where the answer goes, in a
    /// [`Start`] with [`StartFds`]; the answer follows that.
    Begin(Begin),
    /// Give the box whose first process the descriptor follows another host name.
    Rename(String),
    /// Mount the second descriptor, a detached mount, at this path of the box whose first process
    /// the first one follows.
    Attach(String),
    /// Unmount the mount of this path and number in such a box.
    Detach(String, u64),
    /// Do something with files that may belong to any id of an ordinary user's boxes.
    Work(Work),
    /// Try what a start does, for `doctor`.
    Probe {
        /// Where, with [`super::probe::FOLDERS`] in it.
        folder: std::path::PathBuf,
        /// Whether the asker is root.
        root: bool,
    },
}

/// What is done with trees of files.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Make the empty folder `target` a copy of `source`.
    Copy {
        /// A folder.
        source: std::path::PathBuf,
        /// A folder that is there.
        target: std::path::PathBuf,
    },
    /// Remove a tree.
    Remove {
        /// Its root.
        path: std::path::PathBuf,
    },
}

/// What the namespaces of a box need.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Begin {
    /// The box's host ids; what an ordinary user has when there are none.
    pub(crate) uids: Option<UidBase>,
    /// Whether it is cloned into a group of the unified hierarchy, whose folder comes along.
    pub(crate) unified: bool,
    /// Whether namespaces and mounts are allowed inside.
    pub(crate) nesting: bool,
    /// Whether the box has a kernel of its own.
    pub(crate) sandboxed: bool,
}

/// All that starting a box needs beyond descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// The box's name.
    pub(crate) hostname: String,
    /// What the box has mounted.
    pub(crate) root: Root,
    /// Its place on a network; loopback only when there is none.
    pub(crate) lease: Option<boxherd_net::Lease>,
    /// Where the networks are: data folder and installation.
    pub(crate) networks: (std::path::PathBuf, String),
    /// Files of the box's own root that depend on the start: path, content.
    pub(crate) files: Vec<(String, String)>,
    /// Whether the agent runs a main program at once, which finds the network there.
    pub(crate) runs: bool,
    /// Whether what tells one machine from another is to be made anew: machine id, SSH host keys.
    pub(crate) new_identity: bool,
    /// Which boot this is.
    pub(crate) boot_id: String,
    /// How many control groups are joined by writing to `tasks`.
    pub(crate) tasks: usize,
    /// Whether the agent is to watch the box's memory.
    pub(crate) memory: bool,
    /// Where the box's disks are mounted.
    pub(crate) volumes: Vec<String>,
    /// The kernel of its own that the box has.
    pub(crate) sandbox: Option<Sandbox>,
}

/// How a box gets a kernel of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sandbox {
    /// gVisor's program.
    pub(crate) runsc: std::path::PathBuf,
    /// `boxes/ID/memory`.
    pub(crate) memory: std::path::PathBuf,
    /// Whether the box's memory is in there, to go on with.
    pub(crate) restore: bool,
}

/// What is mounted as `/`: an overlay.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Root {
    /// Whether nobody asks for the writable layer after the box is gone, so that nothing of it has
    /// to reach the disk.
    pub(crate) passing: bool,
    /// The folders below the writable one, topmost first.
    pub(crate) layers: Vec<std::path::PathBuf>,
    /// Paths of the host bound into it, read-only.
    pub(crate) binds: Vec<String>,
}

/// The descriptors of [`Request::Start`], in this order.
#[derive(Debug)]
pub(crate) struct StartFds {
    /// `boxes/ID`.
    pub(crate) folder: OwnedFd,
    /// The writable layer's folder.
    pub(crate) layer: OwnedFd,
    /// `dev` of the data folder.
    pub(crate) devices: OwnedFd,
    pub(crate) agent: OwnedFd,
    pub(crate) listener: OwnedFd,
    pub(crate) config: OwnedFd,
    pub(crate) console: OwnedFd,
    pub(crate) exit: OwnedFd,
    pub(crate) tasks: Vec<OwnedFd>,
    pub(crate) memory: Option<MemoryWatch>,
    /// Where the warden of a sandbox listens for the engine's orders.
    pub(crate) orders: Option<OwnedFd>,
    /// The box's disks, mounted nowhere yet.
    pub(crate) volumes: Vec<OwnedFd>,
}

impl StartFds {
    pub(crate) fn to_vec(&self) -> Vec<BorrowedFd<'_>> {
        let Self { folder, layer, devices, agent, listener, config, console, exit, .. } = self;
        let fixed = [folder, layer, devices, agent, listener, config, console, exit];
        let memory = self.memory.iter().flat_map(|watch| [&watch.bell, &watch.kills]);
        let last = self.orders.iter().chain(&self.volumes);
        fixed.into_iter().chain(&self.tasks).chain(memory).chain(last).map(AsFd::as_fd).collect()
    }

    pub(crate) fn from_vec(start: &Start, fds: Vec<OwnedFd>) -> Option<Self> {
        let mut fds = fds.into_iter();
        let this = Self {
            folder: fds.next()?,
            layer: fds.next()?,
            devices: fds.next()?,
            agent: fds.next()?,
            listener: fds.next()?,
            config: fds.next()?,
            console: fds.next()?,
            exit: fds.next()?,
            tasks: fds.by_ref().take(start.tasks).collect(),
            memory: match start.memory {
                true => Some(MemoryWatch { bell: fds.next()?, kills: fds.next()? }),
                false => None,
            },
            orders: if start.sandbox.is_some() { Some(fds.next()?) } else { None },
            volumes: fds.collect(),
        };
        let whole = this.tasks.len() == start.tasks && this.volumes.len() == start.volumes.len();
        whole.then_some(this)
    }
}

/// A box runs; a descriptor that follows its first process comes with it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    /// What was written to `runtime.json`.
    pub(crate) pid: i32,
    /// Phases and their lengths in microseconds.
    pub(crate) timings: Vec<(String, u64)>,
}

/// A step that failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Such as `mount proc on /proc`.
    pub(crate) step: String,
    /// What the system said.
    pub(crate) message: String,
    /// Its number, where it has one.
    pub(crate) errno: Option<i32>,
}

impl Failure {
    /// Of work on files.
    pub(crate) fn of_storage(error: &crate::storage::StorageError) -> Self {
        Self { step: error.to_string(), message: super::start::chain(error), errno: error.errno() }
    }

    /// For `map_err`: what the system said about `step`.
    pub(crate) fn at<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        let step = step.into();
        move |error| {
            let error = error.into();
            Self { step, message: error.to_string(), errno: error.raw_os_error() }
        }
    }
}

/// Sends one message.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    send_text(socket, &serde_json::to_vec(message)?, fds)
}

/// Sends a message that is written already.
pub(crate) fn send_text(socket: impl AsFd, text: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if text.len() > LARGEST || fds.len() > DESCRIPTORS {
        return Err(io::Error::other("too much for one message"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    sendmsg(socket, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Sends descriptors, however many, to somebody who knows how many come.
pub(crate) fn send_fds(socket: impl AsFd, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    fds.chunks(DESCRIPTORS).try_for_each(|some| send(&socket, &(), some))
}

/// Receives what [`send_fds`] sends; `None` when the other side is gone before all came.
pub(crate) fn receive_fds(socket: impl AsFd, count: usize) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut fds = Vec::with_capacity(count);
    while fds.len() < count {
        match receive::<()>(&socket)? {
            Some((_, some)) if !some.is_empty() => fds.extend(some),
            _ => return Ok(None),
        }
    }
    Ok(Some(fds))
}

/// Receives one message; `None` when the other side is gone. Nobody else may read from the socket.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let Some((text, fds)) = receive_text(socket)? else { return Ok(None) };
    Ok(Some((serde_json::from_slice(&text)?, fds)))
}

/// The same without reading what the message says.
pub(crate) fn receive_text(socket: impl AsFd) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    // As long as it is: a copy of a process pays for every page that it writes to.
    let look = RecvFlags::PEEK | RecvFlags::TRUNC;
    let (_, length) = retry_on_intr(|| recv(&socket, &mut [0_u8; 0], look))?;
    if length > LARGEST {
        return Err(io::Error::other("too much for one message"));
    }
    let mut text = vec![0; length];
    let received = receive_into(socket, &mut text, RecvFlags::empty())?;
    Ok(received.map(|(_, fds)| (text, fds)))
}

/// The same over a stream, on which a message comes at a time and each is answered.
pub(crate) fn receive_on_stream<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<T>> {
    let mut text = vec![0; LARGEST];
    let Some((length, _)) = receive_into(socket, &mut text, RecvFlags::empty())? else {
        return Ok(None);
    };
    Ok(Some(serde_json::from_slice(&text[..length])?))
}

/// Receives one message into `text`; its length, or `None` when the other side is gone.
pub(super) fn receive_into(
    socket: impl AsFd,
    text: &mut [u8],
    flags: RecvFlags,
) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        let mut slices = [IoSliceMut::new(&mut *text)];
        recvmsg(&socket, &mut slices, &mut control, flags | RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((received.bytes > 0).then_some((received.bytes, fds)))
}
