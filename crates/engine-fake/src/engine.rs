//! The engine itself: each method of the trait, step by step.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use boxherd_engine::{
    Check, Child, ConsoleChunk, Disks, Engine, EngineError, LinkStream, Made, Running, Snapshots,
    Survey, Truth, TruthState, Usage, Verdict,
};
use boxherd_model::{
    BoxId, BoxName, BoxSpec, Capability, CapabilitySet, EngineName, ImageRef, NetworkSpec,
    StopReason, Timings,
};
use parking_lot::Mutex;

use crate::guest::Guest;
use crate::world::{World, blocking};
use crate::{FaultPlan, disk};

/// What the fake can do. It has no kernel to hold limits, networks or user ids with. `suspend`
/// needs root: without it nobody knows which processes belong to a box.
pub const CAPABILITIES: [Capability; 4] =
    [Capability::Suspend, Capability::Fork, Capability::Snapshot, Capability::Disks];

/// One handle on a fake engine, as one process would have it.
#[derive(Debug)]
pub struct FakeEngine {
    name: EngineName,
    capabilities: CapabilitySet,
    faults: FaultPlan,
    /// The tokens with which boxes were claimed over this handle.
    claims: Mutex<BTreeMap<BoxId, u64>>,
    pub(crate) world: Arc<World>,
}

impl FakeEngine {
    /// A fake engine of that name without boxes.
    ///
    /// # Errors
    ///
    /// When no temporary folder can be made.
    pub fn new(name: EngineName) -> io::Result<Self> {
        let root = rustix::process::geteuid().is_root();
        let possible = CAPABILITIES.into_iter();
        let capabilities = possible.filter(|c| root || *c != Capability::Suspend).collect();
        Ok(Self {
            name,
            capabilities,
            faults: FaultPlan::default(),
            claims: Mutex::default(),
            world: Arc::new(World::new()?),
        })
    }

    /// The same without `capability`, to test what is refused.
    #[must_use]
    pub fn without(mut self, capability: Capability) -> Self {
        self.capabilities = self.capabilities.without(capability);
        self
    }

    /// The same with `capability`, which it accepts and does nothing about: to test what is decided
    /// before an engine is asked.
    #[must_use]
    pub fn pretending(mut self, capability: Capability) -> Self {
        self.capabilities = self.capabilities.iter().chain([capability]).collect();
        self
    }

    /// Another handle on the same boxes, as the next process would open it. Its faults are its own.
    #[must_use]
    pub fn reopened(&self) -> Self {
        Self {
            name: self.name.clone(),
            capabilities: self.capabilities.clone(),
            faults: FaultPlan::default(),
            claims: Mutex::default(),
            world: Arc::clone(&self.world),
        }
    }

    /// What goes wrong on purpose.
    #[must_use]
    pub fn faults(&self) -> &FaultPlan {
        &self.faults
    }

    /// The folder that is the disk of `id`.
    #[must_use]
    pub fn disk(&self, id: BoxId) -> PathBuf {
        self.world.disk(id)
    }

    /// The processes of a running box end although nobody asked.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoSuchBox`].
    pub fn crash(&self, id: BoxId, reason: StopReason) -> Result<(), EngineError> {
        let mut entry = self.world.entry(id)?;
        entry.guest = None;
        entry.state = TruthState::Stopped(reason);
        Ok(())
    }

    /// A box is gone although nobody asked.
    ///
    /// # Errors
    ///
    /// When its folder cannot be removed.
    pub fn vanish(&self, id: BoxId) -> io::Result<()> {
        self.world.forget(id);
        disk::remove(&self.world.home(id))
    }

    /// The host restarts: nothing runs any more, disks are as they were.
    pub fn reboot(&self) {
        for id in self.world.ids() {
            let Ok(mut entry) = self.world.entry(id) else { continue };
            entry.guest = None;
            if matches!(entry.state, TruthState::Running | TruthState::Suspended) {
                entry.state = TruthState::Stopped(StopReason::HostReboot);
            }
        }
    }

    /// Lets a change of a box begin that was claimed over this handle last, or over none.
    pub(crate) fn pass(&self, id: BoxId) -> Result<(), EngineError> {
        match self.claims.lock().get(&id) {
            Some(token) if self.world.fence(id) != Some(*token) => Err(EngineError::Fenced(id)),
            _ => Ok(()),
        }
    }

    /// Makes a half-made box whole.
    fn finish(&self, id: BoxId, since: Instant) -> Result<Made, EngineError> {
        let mut entry = self.world.entry(id)?;
        entry.state = TruthState::Stopped(StopReason::Requested);
        let mut timings = Timings::default();
        timings.push("rootfs", since.elapsed());
        let wished = entry.spec.network != NetworkSpec::None;
        let notes = wished.then(|| format!("no network: {}", self.why_not(Capability::Network)));
        let notes = notes.into_iter().collect();
        Ok(Made { notes, timings, ..Made::default() })
    }

    async fn copy_to(&self, source: BoxId, child: &Child) -> Result<Made, EngineError> {
        let since = Instant::now();
        self.world.begin(child.id, &child.spec)?;
        self.faults.reach("fork.copy").await?;
        let (world, to) = (Arc::clone(&self.world), self.world.disk(child.id));
        blocking("copy the disk", move || world.copy_disk(source, &to)).await?;
        self.finish(child.id, since)
    }

    /// Ends what runs of a box.
    async fn end(&self, id: BoxId, grace: Duration) -> Result<(), EngineError> {
        let Some(guest) = self.world.take_guest(id) else { return Ok(()) };
        blocking("end its processes", move || {
            guest.stop(grace);
            Ok(())
        })
        .await
    }

    async fn erase(&self, id: BoxId) -> Result<(), EngineError> {
        let world = Arc::clone(&self.world);
        blocking("remove the disk", move || {
            let _alone = world.folders.lock();
            disk::remove(&world.home(id))
        })
        .await?;
        self.world.forget(id);
        Ok(())
    }
}

#[async_trait]
impl Engine for FakeEngine {
    fn name(&self) -> &EngineName {
        &self.name
    }

    fn capabilities(&self) -> &CapabilitySet {
        &self.capabilities
    }

    fn why_not(&self, capability: Capability) -> String {
        format!("the fake engine runs boxes as ordinary processes and has no `{capability}`")
    }

    /// Whatever names a remote, `REMOTE:ALIAS`.
    async fn fetches(&self, image: &ImageRef) -> Result<bool, EngineError> {
        Ok(image.as_str().contains(':'))
    }

    async fn checks(&self) -> Vec<Check> {
        vec![Check {
            name: "temporary folder".to_owned(),
            verdict: Verdict::Works,
            found: "it could be made".to_owned(),
            fix: None,
        }]
    }

    async fn create(&self, id: BoxId, spec: &BoxSpec) -> Result<Made, EngineError> {
        let since = Instant::now();
        self.faults.reach("create").await?;
        self.pass(id)?;
        let lacking = spec.needs().into_iter().find(|(_, needed)| !self.capabilities.has(*needed));
        if let Some((field, capability)) = lacking {
            return Err(self.unsupported(field, capability));
        }
        self.world.begin(id, spec)?;
        self.faults.reach("create.disk").await?;
        let world = Arc::clone(&self.world);
        blocking("make the disk", move || {
            let _alone = world.folders.lock();
            disk::make(&world.disk(id))
        })
        .await?;
        let made = self.finish(id, since)?;
        self.faults.reach("create.end").await?;
        Ok(made)
    }

    async fn start(&self, id: BoxId) -> Result<Running, EngineError> {
        let since = Instant::now();
        self.faults.reach("start").await?;
        self.pass(id)?;
        match self.world.truth(id).map(|truth| truth.state) {
            Some(TruthState::Running) => return Ok(Running::default()),
            Some(TruthState::Suspended) => {
                return Err(EngineError::WrongState { op: "start", found: "suspended" });
            }
            _ => self.world.state(id, "start")?,
        };
        self.faults.reach("start.agent").await?;
        {
            let mut entry = self.world.entry(id)?;
            let guest = Guest::start(&entry.spec, self.world.disk(id), entry.console.clone())
                .map_err(|error| EngineError::refused("start the agent", error))?;
            entry.guest = Some(guest);
            entry.state = TruthState::Running;
        }
        self.faults.reach("start.end").await?;
        let mut timings = Timings::default();
        timings.push("agent", since.elapsed());
        Ok(Running { timings, ..Running::default() })
    }

    async fn stop(&self, id: BoxId, grace: Duration) -> Result<(), EngineError> {
        self.faults.reach("stop").await?;
        self.pass(id)?;
        if let Some(Truth { state: TruthState::Stopped(_), .. }) = self.world.truth(id) {
            return Ok(());
        }
        self.world.state(id, "stop")?;
        self.end(id, grace).await?;
        self.world.entry(id)?.state = TruthState::Stopped(StopReason::Requested);
        self.faults.reach("stop.end").await
    }

    async fn suspend(&self, id: BoxId) -> Result<(), EngineError> {
        self.faults.reach("suspend").await?;
        self.pass(id)?;
        match self.world.state(id, "suspend")? {
            TruthState::Running => {
                let mut entry = self.world.entry(id)?;
                entry.state = TruthState::Suspended;
                entry.guest.iter_mut().for_each(Guest::suspend);
            }
            TruthState::Suspended => {}
            _ => return Err(EngineError::WrongState { op: "suspend", found: "stopped" }),
        }
        self.faults.reach("suspend.end").await
    }

    async fn resume(&self, id: BoxId) -> Result<(), EngineError> {
        self.faults.reach("resume").await?;
        self.pass(id)?;
        match self.world.state(id, "resume")? {
            TruthState::Suspended => {
                let mut entry = self.world.entry(id)?;
                entry.state = TruthState::Running;
                entry.guest.iter_mut().for_each(Guest::resume);
            }
            TruthState::Running => {}
            _ => return Err(EngineError::WrongState { op: "resume", found: "stopped" }),
        }
        self.faults.reach("resume.end").await
    }

    async fn fork(&self, source: BoxId, children: &[Child]) -> Result<Vec<Made>, EngineError> {
        self.faults.reach("fork").await?;
        self.pass(source)?;
        self.world.state(source, "fork")?;
        let mut made = Vec::with_capacity(children.len());
        for child in children {
            match self.copy_to(source, child).await {
                Ok(whole) => made.push(whole),
                Err(error) => {
                    for child in &children[..=made.len()] {
                        self.erase(child.id).await?;
                    }
                    return Err(error);
                }
            }
        }
        self.faults.reach("fork.end").await?;
        Ok(made)
    }

    async fn delete(&self, id: BoxId) -> Result<(), EngineError> {
        self.faults.reach("delete").await?;
        self.faults.see(id)?;
        self.pass(id)?;
        if let Ok(mut entry) = self.world.entry(id) {
            entry.state = TruthState::Partial;
        }
        self.end(id, Duration::ZERO).await?;
        self.faults.reach("delete.disk").await?;
        self.erase(id).await?;
        if self.claims.lock().remove(&id).is_some() {
            self.world.lower_fence(id);
        }
        self.faults.reach("delete.end").await
    }

    async fn claim(&self, id: BoxId, token: u64) -> Result<(), EngineError> {
        self.faults.reach("claim").await?;
        self.world.raise_fence(id, token)?;
        self.claims.lock().insert(id, token);
        Ok(())
    }

    async fn inspect(&self, id: BoxId) -> Result<Option<Truth>, EngineError> {
        self.faults.reach("inspect").await?;
        self.faults.see(id)?;
        Ok(self.world.truth(id))
    }

    async fn list(&self) -> Result<Vec<Truth>, EngineError> {
        Ok(self.survey().await?.truths)
    }

    async fn survey(&self) -> Result<Survey, EngineError> {
        self.faults.reach("list").await?;
        let is_seen = |truth: &Truth| self.faults.see(truth.id).is_ok();
        let (truths, lost): (Vec<_>, Vec<_>) = self.world.truths().into_iter().partition(is_seen);
        Ok(Survey { truths, lost: lost.into_iter().map(|truth| truth.name.to_string()).collect() })
    }

    async fn connect(&self, id: BoxId) -> Result<Box<dyn LinkStream>, EngineError> {
        self.faults.reach("connect").await?;
        self.faults.see(id)?;
        let entry = self.world.entry(id)?;
        match &entry.guest {
            Some(guest) => guest.connect(),
            None => Err(EngineError::WrongState { op: "connect", found: "stopped" }),
        }
    }

    async fn rename(&self, id: BoxId, name: &BoxName) -> Result<(), EngineError> {
        self.faults.reach("rename").await?;
        self.pass(id)?;
        self.world.entry(id)?.spec.name = name.clone();
        Ok(())
    }

    async fn reshape(&self, id: BoxId, spec: &BoxSpec) -> Result<(), EngineError> {
        self.faults.reach("reshape").await?;
        self.pass(id)?;
        self.world.entry(id)?.spec = spec.clone();
        Ok(())
    }

    async fn console(&self, id: BoxId, from: u64) -> Result<ConsoleChunk, EngineError> {
        self.faults.reach("console").await?;
        Ok(self.world.entry(id)?.console.read(from))
    }

    async fn usage(&self, id: BoxId) -> Result<Usage, EngineError> {
        self.faults.reach("usage").await?;
        self.world.state(id, "usage")?;
        let folder = self.world.disk(id);
        let disk = blocking("measure the disk", move || disk::used(&folder)).await?;
        Ok(Usage { disk: Some(disk), ..Usage::default() })
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        self.capabilities.has(Capability::Snapshot).then_some(self as &dyn Snapshots)
    }

    fn disks(&self) -> Option<&dyn Disks> {
        self.capabilities.has(Capability::Disks).then_some(self as &dyn Disks)
    }
}
