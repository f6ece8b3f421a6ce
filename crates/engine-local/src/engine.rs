//! The [`Engine`] of this machine: what blocks runs in threads of its own.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use boxherd_engine::{
    Check, Child, ConsoleChunk, DiskTruth, Disks, Engine, EngineError, Images, LinkStream, Made,
    Running, Snapshots, Truth, TruthState, Usage,
};
use boxherd_link::Link;
use boxherd_model::{
    BoxId, BoxName, BoxSpec, ByteSize, Capability, CapabilitySet, DiskId, DiskMount, EngineName,
    ImageInfo, ImageRef, Progress, Room, SnapshotId,
};
use boxherd_net::netd::NetdCommand;
use tokio::net::TcpStream;

use crate::capabilities::Probed;
use crate::core::Core;
use crate::error::{at, storage};
use crate::helper::Helper;
use crate::sandbox::{self, Renewal};
use crate::shortcut;

type Copy = fn(&Core, BoxId, &[Child]) -> Result<Vec<Made>, EngineError>;

/// How much longer than the grace an agent may take to end.
const AGENT_SLACK: Duration = Duration::from_secs(2);

/// Boxes on this machine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LocalEngine {
    name: EngineName,
    core: Arc<Core>,
    /// Probed when somebody asks: who only uses a box does not.
    probed: Arc<OnceLock<Probed>>,
    netd: Option<Arc<NetdCommand>>,
}

impl LocalEngine {
    /// Opens the engine on the data folder `data`, making what is missing of it. Any number of
    /// processes may have the same folder open. Boxes are started by `helper`.
    ///
    /// Blocks for about a millisecond.
    pub fn open(name: EngineName, data: &Path, helper: Helper) -> Result<Self, EngineError> {
        let core = Core::open(data, helper)?;
        Ok(Self { name, core: Arc::new(core), probed: Arc::default(), netd: None })
    }

    fn probed(&self) -> &Probed {
        self.probed.get_or_init(|| Probed::probe(&self.core))
    }

    /// Starts `netd` with this command when a box on a network needs it. Without, names do not
    /// resolve in boxes and `--egress` opens for addresses only.
    #[must_use]
    pub fn with_netd(mut self, command: NetdCommand) -> Self {
        self.netd = Some(Arc::new(command));
        self
    }

    /// The id of the installation: 32 hex digits, made once for the data folder.
    #[must_use]
    pub fn installation(&self) -> &str {
        self.core.data.installation()
    }

    /// The networks of the boxes, for `netd` and for reconciliation.
    #[must_use]
    pub fn networks(&self) -> &boxherd_net::Networks {
        &self.core.networks
    }

    /// Where the boxes' disks are, for reconciliation.
    #[must_use]
    pub fn pool(&self) -> &crate::storage::Pool {
        &self.core.pool
    }

    /// Takes away what the installation made on this host: networks, empty control groups. For the
    /// end of an installation, and for tests; no box may be left.
    pub fn dismantle(&self) -> Result<(), EngineError> {
        self.core.networks.dismantle().map_err(crate::error::network)?;
        self.core.pool.settle().map_err(storage)?;
        // What others deleted and may still be at.
        self.core.pool.sweep().map_err(storage)?;
        let groups = self.core.hierarchies.as_ref();
        groups.map_or(Ok(()), |groups| groups.remove_ours()).map_err(at("remove control groups"))
    }

    /// Runs `work` in a thread that may block, alone with the box. Work whose caller has gone before
    /// it could begin is not begun: the caller's next call may be the delete that must come last.
    async fn alone<T: Send + 'static>(
        &self,
        id: BoxId,
        work: impl FnOnce(&Core) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let wanted = Arc::new(());
        let caller = Arc::downgrade(&wanted);
        let begin = move |core: &Core| match caller.strong_count() {
            0 => Err(EngineError::refused("begin", "the caller has gone")),
            _ => {
                let _pass = core.fences.enter(id)?;
                work(core)
            }
        };
        let done = self.blocking(move |core| core.alone(id, || begin(core))).await;
        drop(wanted);
        done
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Core) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (core, span) = (Arc::clone(&self.core), tracing::Span::current());
        let done = tokio::task::spawn_blocking(move || span.in_scope(|| work(&core))).await;
        done.map_err(|error| EngineError::refused("run the engine's work", error))?
    }

    /// Either kind of fork.
    async fn copy(
        &self,
        source: BoxId,
        children: &[Child],
        copy: Copy,
    ) -> Result<Vec<Made>, EngineError> {
        let children = children.to_vec();
        self.alone(source, move |core| {
            let ids: Vec<BoxId> = children.iter().map(|child| child.id).collect();
            core.alone_with_all(&ids, || copy(core, source, &children))
        })
        .await
    }

    /// Tells a box with a kernel of its own what nobody else can.
    async fn renew(&self, id: BoxId, renewal: Option<Renewal>) -> Result<(), EngineError> {
        let Some(renewal) = renewal else { return Ok(()) };
        let failed = |error| EngineError::refused("open a link to the box", error);
        let link = Link::open(self.core.connect(id)?).await.map_err(failed)?;
        let renewed = sandbox::renew(&link, renewal).await;
        link.close().await;
        renewed
    }

    /// Asks the agent to end everything. One that cannot be asked is killed by the caller.
    async fn ask_to_stop(&self, id: BoxId, grace: Duration) {
        let asked = async {
            let stream = self.core.connect(id).ok()?;
            let link = Link::open(stream).await.ok()?;
            link.stop(grace).await.ok()
        };
        if tokio::time::timeout(grace + AGENT_SLACK, asked).await.ok().flatten().is_none() {
            tracing::debug!(%id, "the agent did not end by itself");
        }
    }
}

#[async_trait]
impl Engine for LocalEngine {
    fn name(&self) -> &EngineName {
        &self.name
    }

    fn capabilities(&self) -> &CapabilitySet {
        &self.probed().set
    }

    fn why_not(&self, capability: Capability) -> String {
        self.probed().why_not(capability)
    }

    async fn checks(&self) -> Vec<Check> {
        let this = self.clone();
        let checked = self.blocking(move |core| Ok(crate::checks::all(core, this.probed()))).await;
        checked.unwrap_or_else(|error| vec![crate::checks::failed(&error)])
    }

    #[tracing::instrument(name = "engine.create", level = "debug", skip_all, fields(%id))]
    async fn create(&self, id: BoxId, spec: &BoxSpec) -> Result<Made, EngineError> {
        let spec = spec.clone();
        self.alone(id, move |core| core.create(id, &spec)).await
    }

    #[tracing::instrument(name = "engine.start", level = "debug", skip_all, fields(%id))]
    async fn start(&self, id: BoxId) -> Result<Running, EngineError> {
        let netd = self.netd.clone();
        let started = self.alone(id, move |core| core.start(id, netd.as_deref()));
        let (running, renewal) = started.await?;
        self.renew(id, renewal).await?;
        Ok(running)
    }

    #[tracing::instrument(name = "engine.launch", level = "debug", skip_all, fields(%id))]
    async fn launch(&self, id: BoxId, spec: &BoxSpec) -> Result<(Made, Running), EngineError> {
        let (spec, netd) = (spec.clone(), self.netd.clone());
        // In one thread: one hand-over less to another processor, which may have to wake first.
        let launched = self.alone(id, move |core| core.launch(id, &spec, netd.as_deref()));
        let (made, (running, renewal)) = launched.await?;
        self.renew(id, renewal).await?;
        Ok((made, running))
    }

    #[tracing::instrument(name = "engine.stop", level = "debug", skip_all, fields(%id))]
    async fn stop(&self, id: BoxId, grace: Duration) -> Result<(), EngineError> {
        if self.alone(id, move |core| core.begin_stop(id)).await? {
            self.ask_to_stop(id, grace).await;
            self.alone(id, move |core| core.finish_stop(id)).await?;
        }
        Ok(())
    }

    #[tracing::instrument(name = "engine.suspend", level = "debug", skip_all, fields(%id))]
    async fn suspend(&self, id: BoxId) -> Result<(), EngineError> {
        self.alone(id, move |core| core.suspend(id)).await
    }

    #[tracing::instrument(name = "engine.resume", level = "debug", skip_all, fields(%id))]
    async fn resume(&self, id: BoxId) -> Result<(), EngineError> {
        let state = self.blocking(move |core| core.state(id)).await?;
        if state == Some(TruthState::Hibernated) {
            return self.start(id).await.map(drop);
        }
        let renewal = self.alone(id, move |core| core.resume(id)).await?;
        self.renew(id, renewal).await
    }

    #[tracing::instrument(name = "engine.hibernate", level = "debug", skip_all, fields(%id))]
    async fn hibernate(&self, id: BoxId) -> Result<(), EngineError> {
        self.alone(id, move |core| core.hibernate(id)).await
    }

    #[tracing::instrument(name = "engine.fork", level = "debug", skip_all, fields(%source))]
    async fn fork(&self, source: BoxId, children: &[Child]) -> Result<Vec<Made>, EngineError> {
        self.copy(source, children, Core::fork).await
    }

    #[tracing::instrument(name = "engine.fork_live", level = "debug", skip_all, fields(%source))]
    async fn fork_live(&self, source: BoxId, children: &[Child]) -> Result<Vec<Made>, EngineError> {
        self.copy(source, children, Core::fork_live).await
    }

    #[tracing::instrument(name = "engine.delete", level = "debug", skip_all, fields(%id))]
    async fn delete(&self, id: BoxId) -> Result<(), EngineError> {
        let netd = self.netd.clone();
        let work = move |core: &Core| {
            core.delete(id)?;
            core.leave_the_networks(netd.as_deref());
            Ok(())
        };
        self.alone(id, work).await
    }

    async fn claim(&self, id: BoxId, token: u64) -> Result<(), EngineError> {
        self.blocking(move |core| core.fences.claim(id, token)).await
    }

    async fn tidy(&self) -> Result<(), EngineError> {
        let netd = self.netd.clone();
        self.blocking(move |core| core.tidy(netd.as_deref())).await
    }

    async fn inspect(&self, id: BoxId) -> Result<Option<Truth>, EngineError> {
        self.blocking(move |core| core.inspect(id)).await
    }

    #[tracing::instrument(name = "engine.list", level = "debug", skip_all)]
    async fn list(&self) -> Result<Vec<Truth>, EngineError> {
        self.blocking(Core::list).await
    }

    #[tracing::instrument(name = "engine.connect", level = "debug", skip_all, fields(%id))]
    async fn connect(&self, id: BoxId) -> Result<Box<dyn LinkStream>, EngineError> {
        // Nothing in it waits: a socket of this machine answers at once or not at all.
        self.core.connect(id)
    }

    async fn dial(&self, id: BoxId, port: u16) -> Option<TcpStream> {
        let dialled = shortcut::dial(Arc::clone(&self.core), id, port).await;
        dialled.unwrap_or_else(|error| {
            tracing::debug!(%id, port, %error, "the short way to a port leads nowhere");
            None
        })
    }

    async fn rename(&self, id: BoxId, name: &BoxName) -> Result<(), EngineError> {
        let name = name.clone();
        let renewal = self.alone(id, move |core| core.rename(id, &name)).await?;
        // It is called so from now on, whatever its agent does; its files say so when it starts again.
        if let Err(error) = self.renew(id, renewal).await {
            tracing::warn!(%id, %error, "a box was not told its new name");
        }
        Ok(())
    }

    async fn settle(&self) -> Result<(), EngineError> {
        // What went wrong is told in either case.
        match self.core.pool.is_settled() {
            true => self.core.settle(),
            false => self.blocking(Core::settle).await,
        }
    }

    async fn reshape(&self, id: BoxId, spec: &BoxSpec) -> Result<(), EngineError> {
        let spec = spec.clone();
        self.alone(id, move |core| core.reshape(id, &spec)).await
    }

    async fn console(&self, id: BoxId, from: u64) -> Result<ConsoleChunk, EngineError> {
        self.blocking(move |core| core.console(id, from)).await
    }

    async fn usage(&self, id: BoxId) -> Result<Usage, EngineError> {
        self.blocking(move |core| core.usage(id)).await
    }

    async fn room(&self) -> Result<Option<Room>, EngineError> {
        // Two calls of the kernel, which take less than to hand them to another thread.
        self.core.room().map(Some)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    fn disks(&self) -> Option<&dyn Disks> {
        self.capabilities().has(Capability::Disks).then_some(self as &dyn Disks)
    }
}

#[async_trait]
impl Disks for LocalEngine {
    async fn make(&self, disk: DiskId, size: ByteSize) -> Result<(), EngineError> {
        self.blocking(move |core| core.make_disk(disk, size)).await
    }

    async fn remove(&self, disk: DiskId) -> Result<(), EngineError> {
        self.blocking(move |core| core.remove_disk(disk)).await
    }

    async fn attach(&self, id: BoxId, mount: &DiskMount) -> Result<(), EngineError> {
        let mount = mount.clone();
        self.alone(id, move |core| core.attach_disk(id, &mount)).await
    }

    async fn detach(&self, id: BoxId, disk: DiskId) -> Result<(), EngineError> {
        self.alone(id, move |core| core.detach_disk(id, disk)).await
    }

    async fn list(&self) -> Result<Vec<DiskTruth>, EngineError> {
        self.blocking(Core::list_disks).await
    }
}

#[async_trait]
impl Snapshots for LocalEngine {
    async fn take(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), EngineError> {
        self.alone(id, move |core| core.take_snapshot(id, snapshot)).await
    }

    async fn restore(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), EngineError> {
        self.alone(id, move |core| core.restore_snapshot(id, snapshot)).await
    }

    async fn remove(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), EngineError> {
        self.alone(id, move |core| core.pool.remove_snapshot(id, snapshot).map_err(storage)).await
    }

    async fn list(&self, id: BoxId) -> Result<Vec<SnapshotId>, EngineError> {
        self.blocking(move |core| core.pool.snapshots(id).map_err(storage)).await
    }
}

#[async_trait]
impl Images for LocalEngine {
    async fn pull(
        &self,
        image: &ImageRef,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, EngineError> {
        self.core.images.pull(image, progress).await.map_err(crate::images::refused)
    }

    async fn import(
        &self,
        name: &ImageRef,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, EngineError> {
        self.core.images.import(name, path, progress).await.map_err(crate::images::refused)
    }

    async fn list(&self) -> Result<Vec<ImageInfo>, EngineError> {
        self.blocking(|core| core.images.list().map_err(crate::images::refused)).await
    }

    async fn remove(&self, image: &ImageRef) -> Result<(), EngineError> {
        let image = image.clone();
        self.blocking(move |core| core.remove_image(&image)).await
    }
}
