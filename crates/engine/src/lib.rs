//! What an engine is: something that makes boxes and gives a byte stream to the agent in each.
//!
//! Everything a user does *in* a box goes over that stream (crate `boxherd-link`) and is written
//! once, so an engine is only lifecycle. This crate holds the [`Engine`] trait with the contract of
//! each method, [`EngineError`], the [`Undo`] stack, and, behind the feature `conformance`, the
//! suite that every engine passes. It knows no concrete engine and no store.
//!
//! Start reading at [`Engine`].

mod check;
#[cfg(feature = "conformance")]
pub mod conformance;
mod disks;
mod error;
pub mod fault;
mod images;
mod snapshots;
mod truth;
mod undo;

pub use check::{Check, Verdict};
pub use disks::{DiskTruth, Disks};
pub use error::{DISK_SPACE, EngineError, LOST, Unsupported};
pub use images::Images;
pub use snapshots::Snapshots;
pub use truth::{ConsoleChunk, Made, Running, Survey, Truth, TruthState, Usage};
pub use undo::Undo;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use boxherd_model::{
    BoxId, BoxName, BoxSpec, Capability, CapabilitySet, EngineName, ImageRef, Room,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A byte stream to the agent of one box.
pub trait LinkStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> LinkStream for S {}

/// One copy that [`Engine::fork`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The id of the copy.
    pub id: BoxId,
    /// The spec of the copy: the source's, with the copy's own name.
    pub spec: BoxSpec,
}

/// Makes and drives boxes.
///
/// For every method:
///
/// * **Who calls.** The herd, which serialises mutations of one box: no two calls that name the
///   same id run at once, except `inspect`, `connect` and `console`. Calls for different boxes run
///   at once.
/// * **Cancellation.** Dropping the future may leave the work half done; the herd then calls
///   [`delete`](Self::delete) (after `create` or `fork`) or [`inspect`](Self::inspect) (after
///   anything else) and believes what it finds. No method may rely on being polled to the end to
///   keep other boxes whole.
/// * **Crash.** The same holds when the process dies: whatever `create` and `fork` had made by
///   then, `delete` of that id removes.
/// * **Refusal.** What an engine cannot do is [`EngineError::Unsupported`]; nothing is ignored.
#[async_trait]
pub trait Engine: fmt::Debug + Send + Sync {
    /// The name of this instance, such as `local`.
    fn name(&self) -> &EngineName;

    /// What this instance can do, probed once when it was opened.
    fn capabilities(&self) -> &CapabilitySet;

    /// Why a capability is missing and how to get it; one sentence each, for errors and `doctor`.
    fn why_not(&self, capability: Capability) -> String;

    /// Looks at what this engine needs and says what works. Called by `doctor` only; may take
    /// seconds; changes nothing.
    async fn checks(&self) -> Vec<Check>;

    /// Makes the disk and the configuration of a box; starts nothing. Called once per id. The
    /// caller has checked [`BoxSpec::needs`] against [`capabilities`](Self::capabilities).
    /// [`EngineError::Unfinished`] where it may still be made after this has returned.
    async fn create(&self, id: BoxId, spec: &BoxSpec) -> Result<Made, EngineError>;

    /// Starts a box that has no process and returns when its agent accepts a link. Succeeds and
    /// changes nothing when it runs already.
    async fn start(&self, id: BoxId) -> Result<Running, EngineError>;

    /// [`create`](Self::create) and then [`start`](Self::start), for an engine that does both at once
    /// with less ado. When it fails the box may be there, made or half-made, until it is deleted.
    async fn launch(&self, id: BoxId, spec: &BoxSpec) -> Result<(Made, Running), EngineError> {
        let made = self.create(id, spec).await?;
        let running = self.start(id).await.map_err(|error| error.after_all("start the box"))?;
        Ok((made, running))
    }

    /// Ends every process of a box and keeps its disk: asks the agent, and after `grace` kills.
    /// Works on a suspended box too. Succeeds when there is no process.
    async fn stop(&self, id: BoxId, grace: Duration) -> Result<(), EngineError>;

    /// Freezes a running box with its memory in place. Idempotent.
    async fn suspend(&self, id: BoxId) -> Result<(), EngineError>;

    /// Thaws a suspended box, or brings a hibernated one back. Idempotent.
    async fn resume(&self, id: BoxId) -> Result<(), EngineError>;

    /// Saves memory to disk and ends every process.
    async fn hibernate(&self, id: BoxId) -> Result<(), EngineError> {
        let _ = id;
        Err(self.unsupported("hibernate", Capability::Hibernate))
    }

    /// Makes copies of the disk of `source`, running or not, each with the limits of its own spec, and
    /// starts none of them. The source stands still for as short as the engine can. Either all copies
    /// are made or none is left.
    async fn fork(&self, source: BoxId, children: &[Child]) -> Result<Vec<Made>, EngineError>;

    /// Like [`fork`](Self::fork) with the memory too: a copy that is started goes on where the source
    /// was. The source runs, and goes on.
    async fn fork_live(&self, source: BoxId, children: &[Child]) -> Result<Vec<Made>, EngineError> {
        let _ = (source, children);
        Err(self.unsupported("fork --live", Capability::LiveFork))
    }

    /// Removes everything the engine has of `id`. Works in every state, on half-made boxes, and
    /// when there is nothing (success). May be called again after it failed.
    async fn delete(&self, id: BoxId) -> Result<(), EngineError>;

    /// Says that the caller has the lease of a box that came with `token`, which grows with every
    /// change of holder. From now on, whatever changes the box over this handle is
    /// [`EngineError::Fenced`] once the box was claimed over another with a greater token; so is this
    /// call. Called before every change where several servers share one store, and else never.
    async fn claim(&self, id: BoxId, token: u64) -> Result<(), EngineError>;

    /// Removes what is left of boxes that are gone, and of what boxes shared: nothing that a box has
    /// which this or another process makes or uses at the same time. Called after dead processes were
    /// found; may be called at any time.
    async fn tidy(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// What boxes are made of whose spec says `host` where those files are not to be had.
    fn default_image(&self) -> Option<&ImageRef> {
        None
    }

    /// Whether a box of that image would have something fetched from elsewhere, by what this engine is
    /// allowed there and its callers may not be.
    async fn fetches(&self, image: &ImageRef) -> Result<bool, EngineError> {
        let _ = image;
        Ok(false)
    }

    /// Takes a machine of that name for the box `id` which is there already and is nobody's box, and
    /// answers what it is like; `None` when there is none. [`delete`](Self::delete) of such a box only
    /// forgets it again. Needs [`Capability::Adopt`].
    async fn adopt(&self, id: BoxId, name: &BoxName) -> Result<Option<BoxSpec>, EngineError> {
        let _ = (id, name);
        Err(self.unsupported("adopt", Capability::Adopt))
    }

    /// What is true of `id` now; `None` when the engine has nothing of it.
    async fn inspect(&self, id: BoxId) -> Result<Option<Truth>, EngineError>;

    /// What is true of every box that this installation made here. One call, not one per box.
    async fn list(&self) -> Result<Vec<Truth>, EngineError>;

    /// The same, with what could not be looked at. A box that is lost so is [`EngineError::Unreachable`]
    /// to every call that names it, also to [`delete`](Self::delete).
    async fn survey(&self) -> Result<Survey, EngineError> {
        Ok(Survey { truths: self.list().await?, lost: Vec::new() })
    }

    /// What `id` is called as far as the herd knows, which is told before it is connected to: an engine
    /// that has not seen the box yet may begin there, and must not believe it.
    fn called(&self, id: BoxId, name: &BoxName) {
        let _ = (id, name);
    }

    /// A new byte stream to the agent. Any number may be open at once. Fails at once when the box
    /// does not run; on a suspended box the stream opens and stays silent.
    async fn connect(&self, id: BoxId) -> Result<Box<dyn LinkStream>, EngineError>;

    /// How long whoever answers at a new stream may take to greet, where that may be longer than usual:
    /// where an agent may have to be brought into the box first.
    fn greets_within(&self) -> Option<Duration> {
        None
    }

    /// A connection to a TCP port on the IPv4 loopback of a box, by a way that is shorter than
    /// through its agent; `None` where there is no such way, or it leads nowhere just now. Who asks
    /// goes through the agent then, which also says what is wrong. Holding the connection keeps
    /// what the box had of a network: it is closed when the box's link ends.
    async fn dial(&self, id: BoxId, port: u16) -> Option<TcpStream> {
        let _ = (id, port);
        None
    }

    /// Changes the name by which the box knows itself. The box may run.
    async fn rename(&self, id: BoxId, name: &BoxName) -> Result<(), EngineError>;

    /// Takes other limits and another network for a box that is there; its image and its disk are
    /// what they were. The box may run: what changed holds from its next start on. The caller has
    /// checked [`BoxSpec::needs`].
    async fn reshape(&self, id: BoxId, spec: &BoxSpec) -> Result<(), EngineError> {
        let _ = (id, spec);
        let reason = "this engine cannot change boxes that are made";
        Err(EngineError::refused("change the box", reason))
    }

    /// Waits for what goes on in the background after calls have returned, as the disk of a deleted
    /// box is freed. Called before a process ends; what is left undone then, a later one finds.
    async fn settle(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// What the box wrote to its console from byte `from` on, at most 256 KiB of it. Works on a
    /// stopped box.
    async fn console(&self, id: BoxId, from: u64) -> Result<ConsoleChunk, EngineError>;

    /// What the box uses now, as the engine measures it.
    async fn usage(&self, id: BoxId) -> Result<Usage, EngineError>;

    /// What there is for all boxes of this engine together; `None` when it refuses by itself what it
    /// has no room for.
    async fn room(&self) -> Result<Option<Room>, EngineError> {
        Ok(None)
    }

    /// Saved disks; `None` without [`Capability::Snapshot`].
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        None
    }

    /// The image store; `None` without [`Capability::Images`].
    fn images(&self) -> Option<&dyn Images> {
        None
    }

    /// Disks of their own; `None` without [`Capability::Disks`].
    fn disks(&self) -> Option<&dyn Disks> {
        None
    }

    /// The error for an operation that lacks `capability`.
    fn unsupported(&self, op: &'static str, capability: Capability) -> EngineError {
        let reason = self.why_not(capability);
        EngineError::Unsupported(Unsupported { op, capability, reason })
    }
}
