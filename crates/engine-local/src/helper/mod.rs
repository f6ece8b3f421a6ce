//! The helper: a small process with one thread that makes boxes.
//!
//! A process with threads cannot be copied safely, and the engine lives in one. So `main` calls
//! [`Helper::fork`] before it starts any; what is then copied for each box is the helper, which has
//! little memory and few descriptors. It ends when nobody can ask it any more: when every copy of
//! the [`Helper`] is gone, or its process. The boxes stay.

mod child;
mod hands;
mod jail;
mod mounts;
pub(crate) mod own_ids;
pub(crate) mod probe;
mod runsc;
mod serve;
mod shortage;
mod start;
mod volumes;
mod warden;
pub(crate) mod wire;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use boxherd_model::Isolation;
use boxherd_sys::clone::{Forked, SingleThreaded, exit_now};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use self::probe::Probed;
pub(crate) use self::volumes::PLACE;
pub(crate) use self::warden::Order;
use self::wire::{Begin, Failure, Request, Start, StartFds, Started, Work};
use crate::record::BoxRecord;

/// A connection to helper processes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Helper {
    socket: Arc<OwnedFd>,
}

/// Why the helper gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelperError {
    /// A step of what it did failed.
    #[error("{} failed: {}", .0.step, .0.message)]
    Failed(Failure),
    /// It is gone, or does not understand.
    #[error("the helper process does not answer")]
    Gone(#[source] io::Error),
}

impl Helper {
    /// Makes `workers` helper processes; one is enough for a command, a server wants one per
    /// processor. Call this first thing in `main`.
    ///
    /// Fails when this process has more than one thread.
    pub fn fork(workers: usize) -> io::Result<Self> {
        let alone = SingleThreaded::check()?;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        for _ in 0..workers.max(1) {
            if let Forked::Child = alone.fork(0, None)? {
                drop(ours);
                let code = match serve::serve(&theirs) {
                    Ok(()) => 0,
                    // Nobody is there to be told; whoever asks next finds the helper gone.
                    Err(_) => 1,
                };
                exit_now(code);
            }
        }
        Ok(Self { socket: Arc::new(ours) })
    }

    /// Begins to make the first process of a box, in that group of the unified hierarchy. It takes
    /// about a millisecond, in which the caller may make the rest of the box.
    pub(crate) fn begin(
        &self,
        record: &BoxRecord,
        group: Option<BorrowedFd<'_>>,
    ) -> Result<Beginning, HelperError> {
        let begin = Begin {
            uids: record.uids,
            unified: group.is_some(),
            nesting: record.spec.nesting,
            sandboxed: record.spec.isolation == Isolation::Gvisor,
        };
        let group: Vec<_> = group.into_iter().collect();
        self.tell(&Request::Begin(begin), &group).map(Beginning)
    }

    /// Changes the host name of a running box.
    pub(crate) fn rename(&self, pidfd: BorrowedFd<'_>, name: &str) -> Result<(), HelperError> {
        self.ask(&Request::Rename(name.to_owned()), &[pidfd]).map(|((), _)| ())
    }

    /// Mounts a detached mount in a running box.
    pub(crate) fn attach(
        &self,
        pidfd: BorrowedFd<'_>,
        tree: BorrowedFd<'_>,
        path: &str,
    ) -> Result<(), HelperError> {
        self.ask(&Request::Attach(path.to_owned()), &[pidfd, tree]).map(|((), _)| ())
    }

    /// Unmounts the mount of that number in a running box.
    pub(crate) fn detach(
        &self,
        pidfd: BorrowedFd<'_>,
        path: &str,
        mount: u64,
    ) -> Result<(), HelperError> {
        self.ask(&Request::Detach(path.to_owned(), mount), &[pidfd]).map(|((), _)| ())
    }

    /// Does something with files that may belong to any id of an ordinary user's boxes.
    pub(crate) fn work(&self, work: Work) -> Result<(), HelperError> {
        self.ask(&Request::Work(work), &[]).map(|((), _)| ())
    }

    /// Tries what a start does, in `folder`, which has [`probe::FOLDERS`].
    pub(crate) fn probe(&self, folder: &Path) -> Result<Probed, HelperError> {
        let root = rustix::process::geteuid().is_root();
        let request = Request::Probe { folder: folder.to_owned(), root };
        self.ask(&request, &[]).map(|(probed, _)| probed)
    }

    fn ask<T: serde::de::DeserializeOwned>(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(T, Vec<OwnedFd>), HelperError> {
        hear(&self.tell(request, fds)?)
    }

    /// Where the answer comes.
    fn tell(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<OwnedFd, HelperError> {
        let pair =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        // The end of the helper, which has the other one then, ends the wait.
        let (ours, theirs) = pair.map_err(|errno| HelperError::Gone(errno.into()))?;
        let mut all = vec![theirs.as_fd()];
        all.extend_from_slice(fds);
        wire::send(&*self.socket, request, &all).map_err(HelperError::Gone)?;
        Ok(ours)
    }
}

fn hear<T: serde::de::DeserializeOwned>(reply: &OwnedFd) -> Result<(T, Vec<OwnedFd>), HelperError> {
    let gone = || HelperError::Gone(io::ErrorKind::UnexpectedEof.into());
    let received = wire::receive(reply).map_err(HelperError::Gone)?.ok_or_else(gone)?;
    let (answer, fds): (Result<T, Failure>, _) = received;
    Ok((answer.map_err(HelperError::Failed)?, fds))
}

/// The first process of a box, which does not know yet what it is. It ends when this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Beginning(OwnedFd);

impl Beginning {
    /// Has it become the box.
    pub(crate) fn start(self, start: &Start, fds: &StartFds) -> Result<Starting, HelperError> {
        match wire::send(&self.0, start, &fds.to_vec()) {
            // It could not be made, and what the helper has said of that is still there.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Starting(self.0)),
            sent => sent.map(|()| Starting(self.0)).map_err(HelperError::Gone),
        }
    }
}

/// A box that a helper is starting, which takes it about a millisecond.
#[derive(Debug)]
#[must_use]
pub(crate) struct Starting(OwnedFd);

impl Starting {
    /// Blocks until the box's agent executes. The descriptor follows its first process.
    pub(crate) fn wait(self) -> Result<(Started, OwnedFd), HelperError> {
        let (started, pidfd) = hear(&self.0)?;
        let missing = || HelperError::Gone(io::Error::other("no descriptor came with the answer"));
        Ok((started, pidfd.into_iter().next().ok_or_else(missing)?))
    }
}
