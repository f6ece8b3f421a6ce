//! The engine itself: each method of the trait, step by step.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use boxherd_engine::{
    Check, Child, ConsoleChunk, Engine, EngineError, Images, LinkStream, Made, Running, Snapshots,
    Survey, Truth, TruthState, Usage, Verdict,
};
use boxherd_link::console_ring;
use boxherd_lxd_client::{
    Error, Found, Instance, InstanceInfo, InstancePut, NewInstance, Remote, Server, StateChange,
};
use boxherd_model::{
    BoxId, BoxName, BoxSpec, Capability, CapabilitySet, EngineName, ImageRef, StopReason,
};

use crate::changes::{self, when_idle};
use crate::error::{failed, failed_of, no_member, not_made, with_causes};
use crate::guest::Connection;
use crate::server::{Facts, Known, Settings, addresses};
use crate::{guest, machine, marks, origin, spec, state};

/// How long it may take until an agent was brought into an instance, which greets then.
const LONGEST_SETTLING: Duration = Duration::from_secs(600);
/// What is read of a console at once, in bytes.
const CONSOLE_PIECE: usize = 256 * 1024;
/// The largest console that is fetched, in bytes.
const MOST_CONSOLE: usize = (console_ring::MAX_SIZE + console_ring::HEADER) as usize;

/// Boxes on one server or cluster.
#[derive(Debug)]
pub struct LxdEngine {
    pub(crate) known: Arc<Known>,
    capabilities: CapabilitySet,
}

/// What every server can do.
const CAPABILITIES: [Capability; 13] = [
    Capability::Images,
    Capability::Adopt,
    Capability::Profiles,
    Capability::CloudInit,
    Capability::Suspend,
    Capability::Fork,
    Capability::Snapshot,
    Capability::MemoryLimit,
    Capability::CpuLimit,
    Capability::PidsLimit,
    Capability::Network,
    Capability::Uids,
    Capability::Nesting,
];

/// Pools that limit the disks of instances.
const WITH_QUOTAS: [&str; 4] = ["btrfs", "zfs", "lvm", "ceph"];

impl LxdEngine {
    /// An engine on a server. Nothing is asked of the server yet, which may be out of reach.
    ///
    /// # Errors
    ///
    /// When `remote` cannot be one.
    pub fn new(settings: Settings, remote: &Remote) -> Result<Self, EngineError> {
        let facts = &settings.facts;
        let driver = facts.pool_driver.as_deref();
        let limits_disks = driver.is_some_and(|driver| WITH_QUOTAS.contains(&driver));
        let some = [
            limits_disks.then_some(Capability::DiskLimit),
            facts.clustered.then_some(Capability::Placement),
            facts.virtual_machines.then_some(Capability::VirtualMachines),
        ];
        let capabilities = CAPABILITIES.into_iter().chain(some.into_iter().flatten()).collect();
        Ok(Self { known: Arc::new(Known::new(settings, remote)?), capabilities })
    }

    /// What is known of the server; asked for once, and refused when it does not trust us.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, or does not trust this machine.
    pub async fn server(&self) -> Result<&Server, EngineError> {
        self.known.server().await
    }

    /// What of the server an engine has to know before it asks.
    ///
    /// # Errors
    ///
    /// When the server cannot be asked, or has no such pool.
    pub async fn facts(&self) -> Result<Facts, EngineError> {
        let environment = &self.server().await?.environment;
        Ok(Facts {
            clustered: environment.server_clustered,
            virtual_machines: environment.driver.split('|').any(|driver| driver.trim() == "qemu"),
            pool_driver: self.pool_driver().await?,
        })
    }

    /// What the pool is driven by that disks of boxes are in; `None` where the profile has no root
    /// disk.
    async fn pool_driver(&self) -> Result<Option<String>, EngineError> {
        let Some(name) = self.known.pool().await? else { return Ok(None) };
        let pools = self.known.client.storage_pools().await;
        let pools = pools.map_err(failed("look at the storage pools"))?;
        match pools.into_iter().find(|pool| pool.name == name) {
            Some(pool) => Ok(Some(pool.driver)),
            None => {
                Err(EngineError::refused("use the storage pool", format!("there is no `{name}`")))
            }
        }
    }

    /// The instance of a box that runs, thawed.
    async fn thawed(&self, id: BoxId) -> Result<(Instance, TruthState), EngineError> {
        let (instance, info) = self.known.there(id).await?;
        let state = state::state(&info);
        if state == TruthState::Suspended {
            self.known.change(id, StateChange::UNFREEZE).await?;
        }
        Ok((instance, state))
    }

    /// Makes an instance. A cluster takes a while to see that a member is gone, and chooses it until then:
    /// the others are named one after the other.
    async fn make(&self, mut new: NewInstance) -> Result<(), Error> {
        let client = &self.known.client;
        let make =
            async |new: &NewInstance| client.create_instance(new).await?.wait().await.map(drop);
        let mut made = make(&new).await;
        if new.target.is_some() || !matches!(&made, Err(error) if no_member(error)) {
            return made;
        }
        for member in client.cluster_members().await? {
            if member.is_online() {
                new.target = Some(member.server_name);
                made = make(&new).await;
                if !matches!(&made, Err(error) if no_member(error)) {
                    break;
                }
            }
        }
        made
    }

    /// Gives an instance the name that its box got while it ran.
    async fn settle_name(
        &self,
        id: BoxId,
        instance: Instance,
        info: &InstanceInfo,
    ) -> Result<Instance, EngineError> {
        match marks::name(info) {
            Some(name) if name != info.name => {
                let renamed = instance.rename(&name).await;
                let renamed = renamed.map_err(failed_of(id, "rename the instance"))?;
                self.known.is_called(id, &name);
                Ok(renamed)
            }
            _ => Ok(instance),
        }
    }

    /// Whether a box has stopped because its program has ended, as one that ends at once. The server may
    /// take a while to write that down.
    async fn has_ended(&self, id: BoxId) -> Result<bool, EngineError> {
        let ended = changes::written(|| async {
            Ok(match self.inspect(id).await?.map(|truth| truth.state) {
                Some(TruthState::Stopped(StopReason::Exited { .. })) => Some(true),
                Some(TruthState::Running | TruthState::Stopped(StopReason::HostReboot)) => None,
                _ => Some(false),
            })
        });
        Ok(ended.await?.unwrap_or(false))
    }

    /// Has a running box be called otherwise, as far as it knows itself.
    async fn set_hostname(&self, id: BoxId, name: &str) -> Result<(), EngineError> {
        let there = self.known.connect(id, machine::LONGEST_SILENCE).await?;
        guest::set_hostname(there, name).await
    }

    /// Takes back what says that an instance is a box. The agent in it goes by itself.
    async fn release(&self, id: BoxId, instance: &Instance) -> Result<(), EngineError> {
        let released = async {
            let (info, tag) = instance.get_tagged().await?;
            let mut new = InstancePut::from(info);
            new.config.retain(|key, _| !marks::ALL.contains(&key.as_str()));
            instance.put(&new, Some(&tag)).await?.wait().await
        };
        match released.await {
            Ok(_) | Err(Error::NotFound { .. }) => {
                self.known.is_gone(id);
                Ok(())
            }
            Err(error) => Err(failed("give the instance back")(error)),
        }
    }

    async fn state_of(&self, id: BoxId, instance: &Instance, info: &InstanceInfo) -> Truth {
        let mut truth = state::truth(id, info);
        match truth.state {
            TruthState::Running => {
                // What has ended meanwhile has no addresses.
                truth.addresses = addresses(instance.state().await.ok().as_ref());
            }
            TruthState::Stopped(_) if marks::has_cmd(info) => {
                if let Some(reason) = guest::ending(instance).await {
                    truth.state = TruthState::Stopped(reason);
                }
            }
            _ => {}
        }
        truth
    }
}

#[async_trait]
impl Engine for LxdEngine {
    fn name(&self) -> &EngineName {
        &self.known.settings.name
    }

    fn capabilities(&self) -> &CapabilitySet {
        &self.capabilities
    }

    fn why_not(&self, capability: Capability) -> String {
        match capability {
            Capability::DiskLimit => match &self.known.settings.facts.pool_driver {
                Some(driver) => format!("pools of the kind `{driver}` do not limit disks"),
                None => "it is not known whether the server's pool limits disks".to_owned(),
            },
            Capability::Egress => {
                "an ACL on the server's network says what it may reach".to_owned()
            }
            Capability::PrivateNetworks => {
                "its boxes are in the network of the server's profile; whoever runs the server makes others"
                    .to_owned()
            }
            Capability::Gvisor => "instances have the kernel of their server".to_owned(),
            Capability::Placement => {
                "it is not known to be a cluster; `boxherd engine check` looks again".to_owned()
            }
            Capability::VirtualMachines => {
                "its server did not have `qemu` when it was looked at; `boxherd engine check` looks \
                 again"
                    .to_owned()
            }
            Capability::Disks => "volumes of the server's pools are not offered yet".to_owned(),
            _ => "memory of instances is not saved yet".to_owned(),
        }
    }

    async fn checks(&self) -> Vec<Check> {
        let check = |verdict, found: String, fix: Option<String>| Check {
            name: format!("engine {}", self.name()),
            verdict,
            found,
            fix,
        };
        match self.server().await {
            Ok(server) => {
                let environment = &server.environment;
                let found = format!("{} {}", environment.server, environment.server_version);
                let mut checks = vec![check(Verdict::Works, found, None)];
                if let Err(error) = self.known.check_project().await {
                    let fix = error.hint().map(str::to_owned);
                    checks.push(check(Verdict::Broken, with_causes(&error), fix));
                }
                checks
            }
            Err(error) => {
                let fix = error.hint().map(str::to_owned);
                vec![check(Verdict::Broken, with_causes(&error), fix)]
            }
        }
    }

    async fn create(&self, id: BoxId, spec: &BoxSpec) -> Result<Made, EngineError> {
        self.known.names.intend(id);
        let ground = self.known.ground(&spec::profiles(spec)).await?;
        let image = spec::image(&spec.image, self.known.settings.image.as_ref())?;
        let source = self.known.origin(image).await?.into_source();
        let new = spec::instance(id, spec, source, &ground)?;
        self.known.names.begins(id);
        if let Err(error) = self.make(new.clone()).await {
            if error.nothing_happened() {
                self.known.names.intend(id);
            }
            return Err(not_made(&new, &spec.image, self.known.client.project(), error));
        }
        self.known.is_called(id, &new.name);
        let info = self.known.client.instance(&new.name).get().await;
        let step = "make the instance";
        let info = info.map_err(|error| failed_of(id, step)(error).after_all(step))?;
        let image_digest = info.config.get("volatile.base_image").cloned();
        Ok(Made { image_digest, location: state::location(&info), ..Made::default() })
    }

    async fn start(&self, id: BoxId) -> Result<Running, EngineError> {
        let (instance, info) = self.known.there(id).await?;
        let instance = match state::state(&info) {
            TruthState::Running => instance,
            TruthState::Suspended => {
                self.known.change(id, StateChange::UNFREEZE).await?;
                instance
            }
            _ => {
                let instance = self.settle_name(id, instance, &info).await?;
                self.known.try_agent(id, &instance, &info).await?;
                self.known.change(id, StateChange::START).await?;
                instance
            }
        };
        match self.known.connect(id, machine::LONGEST_BOOT).await {
            Ok(Connection::Native(native)) if marks::has_cmd(&info) => {
                let step = "start the box's program, which is the agent's to do";
                return Err(EngineError::refused(step, native.why));
            }
            Ok(_) => {}
            Err(error) => {
                let ended = marks::has_cmd(&info) && self.has_ended(id).await?;
                return if ended { Ok(Running::default()) } else { Err(error) };
            }
        }
        // It ran, whatever the server says of one that has ended already.
        let state = instance.state().await.ok();
        Ok(Running { addresses: addresses(state.as_ref()), ..Running::default() })
    }

    async fn stop(&self, id: BoxId, grace: Duration) -> Result<(), EngineError> {
        let (instance, state) = self.thawed(id).await?;
        if matches!(state, TruthState::Stopped(_)) {
            return Ok(());
        }
        // The server counts seconds.
        let seconds = i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        if seconds > 0 {
            let asked = when_idle(|| async {
                let stopping = instance.change_state(StateChange::stop(seconds)).await?;
                stopping.quiet_for(grace).wait().await
            });
            match asked.await {
                Ok(_) => return self.known.until_written_down(id).await,
                // It did not end in time.
                Err(Error::OperationFailed { .. } | Error::Cancelled { .. }) => {}
                Err(error) => return Err(failed_of(id, "stop the instance")(error)),
            }
        }
        match self.known.change(id, StateChange::KILL).await {
            Ok(()) => self.known.until_written_down(id).await,
            // It may have ended by itself meanwhile.
            Err(error) => match self.inspect(id).await?.map(|truth| truth.state) {
                Some(TruthState::Stopped(_)) => self.known.until_written_down(id).await,
                _ => Err(error),
            },
        }
    }

    async fn suspend(&self, id: BoxId) -> Result<(), EngineError> {
        match state::state(&self.known.there(id).await?.1) {
            TruthState::Suspended => Ok(()),
            TruthState::Running => self.known.freeze(id).await,
            _ => Err(EngineError::WrongState { op: "suspend", found: "stopped" }),
        }
    }

    async fn resume(&self, id: BoxId) -> Result<(), EngineError> {
        let (_, info) = self.known.there(id).await?;
        match state::state(&info) {
            TruthState::Running => Ok(()),
            TruthState::Suspended => {
                self.known.change(id, StateChange::UNFREEZE).await?;
                match marks::name(&info) {
                    Some(name) if name != info.name => self.set_hostname(id, &name).await,
                    _ => Ok(()),
                }
            }
            _ => Err(EngineError::WrongState { op: "resume", found: "stopped" }),
        }
    }

    async fn fork(&self, source: BoxId, children: &[Child]) -> Result<Vec<Made>, EngineError> {
        self.copy(source, children).await
    }

    fn default_image(&self) -> Option<&ImageRef> {
        self.known.settings.image.as_ref()
    }

    async fn fetches(&self, image: &ImageRef) -> Result<bool, EngineError> {
        Ok(origin::split(image).is_some() && !self.known.has_alias(image).await?)
    }

    async fn adopt(&self, id: BoxId, name: &BoxName) -> Result<Option<BoxSpec>, EngineError> {
        self.known.names.intend(id);
        let instance = self.known.client.instance(name.as_str());
        let (info, tag) = match instance.get_tagged().await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => {
                self.known.check_project().await?;
                return Ok(None);
            }
            Err(error) => return Err(self.known.failed("look at the instance", error).await),
        };
        if marks::is_somebodys(&info) {
            let reason = "another installation of Boxherd says that it is its own";
            return Err(EngineError::refused("take the instance for a box", reason));
        }
        let spec = spec::of(&info, name);
        let mut new = InstancePut::from(info);
        new.config.extend(marks::of(id, &spec, &self.known.settings.installation));
        new.config.insert(marks::ADOPTED.to_owned(), "true".to_owned());
        self.known.names.begins(id);
        let put = async { instance.put(&new, Some(&tag)).await?.wait().await };
        put.await.map_err(failed("take the instance for a box"))?;
        self.known.is_called(id, name.as_str());
        Ok(Some(spec))
    }

    async fn delete(&self, id: BoxId) -> Result<(), EngineError> {
        // What was refused before it began has nothing that could be deleted, and may be refused again.
        if self.known.names.is_only_intended(id) {
            self.known.is_gone(id);
            return Ok(());
        }
        let Some((instance, info)) = self.known.info(id).await? else { return Ok(()) };
        if marks::is_adopted(&info) {
            return self.release(id, &instance).await;
        }
        if !matches!(state::state(&info), TruthState::Stopped(_)) {
            self.stop(id, Duration::ZERO).await?;
        }
        match when_idle(|| instance.delete()).await {
            Ok(()) | Err(Error::NotFound { .. }) => {
                self.known.is_gone(id);
                Ok(())
            }
            Err(error) => Err(failed("delete the instance")(error)),
        }
    }

    async fn claim(&self, _id: BoxId, _token: u64) -> Result<(), EngineError> {
        let reason = "engines on LXD cannot tell servers apart yet: let one have the engine";
        Err(EngineError::refused("take a box over from another server", reason))
    }

    async fn inspect(&self, id: BoxId) -> Result<Option<Truth>, EngineError> {
        match self.known.info(id).await? {
            Some((instance, info)) => Ok(Some(self.state_of(id, &instance, &info).await)),
            None => Ok(None),
        }
    }

    async fn list(&self) -> Result<Vec<Truth>, EngineError> {
        Ok(self.survey().await?.truths)
    }

    async fn survey(&self) -> Result<Survey, EngineError> {
        let mut truths = Vec::new();
        let (ours, lost) = self.known.list().await?;
        for (id, full) in ours {
            let mut truth = state::truth(id, &full.info);
            truth.addresses = addresses(full.state.as_ref());
            if matches!(truth.state, TruthState::Stopped(_)) && marks::has_cmd(&full.info) {
                let instance = self.known.client.instance(&full.info.name);
                truth = self.state_of(id, &instance, &full.info).await;
            }
            truths.push(truth);
        }
        Ok(Survey { truths, lost })
    }

    async fn connect(&self, id: BoxId) -> Result<Box<dyn LinkStream>, EngineError> {
        match Arc::clone(&self.known).connect_early(id).await {
            Err(EngineError::WrongState { found: "suspended", .. }) => {
                let instance = self.known.instance(id).await?;
                Ok(Box::new(guest::connect_later(id, instance, Arc::clone(&self.known))))
            }
            connected => connected,
        }
    }

    fn greets_within(&self) -> Option<Duration> {
        Some(LONGEST_SETTLING)
    }

    fn called(&self, id: BoxId, name: &BoxName) {
        self.known.may_be_called(id, name.as_str());
    }

    async fn rename(&self, id: BoxId, name: &BoxName) -> Result<(), EngineError> {
        let new = spec::name(name)?;
        let (instance, info) = self.known.there(id).await?;
        let step = "rename the instance";
        let config = serde_json::json!({ (marks::NAME): new, (marks::INSTANCE): info.name });
        let keep = serde_json::json!({ "config": config });
        instance.patch(&keep).await.map_err(failed_of(id, step))?;
        if matches!(state::state(&info), TruthState::Stopped(_)) {
            let (instance, info) = self.known.there(id).await?;
            self.settle_name(id, instance, &info).await?;
            return Ok(());
        }
        match state::state(&info) {
            // The server renames what is stopped; until then the box itself knows.
            TruthState::Running => self.set_hostname(id, new).await,
            // It hears of it when it is thawed.
            _ => Ok(()),
        }
    }

    async fn reshape(&self, id: BoxId, spec: &BoxSpec) -> Result<(), EngineError> {
        let (instance, info) = self.known.there(id).await?;
        let ground = self.known.ground(&info.profiles).await?;
        let devices = spec::devices(spec, &ground)?;
        let config = spec::reshaped(spec)?;
        let change = serde_json::json!({ "config": config, "devices": devices });
        instance.patch(&change).await.map_err(failed_of(id, "change the instance"))
    }

    async fn console(&self, id: BoxId, from: u64) -> Result<ConsoleChunk, EngineError> {
        let (instance, info) = self.known.there(id).await?;
        if marks::has_cmd(&info) {
            let ring = guest::console(&instance, MOST_CONSOLE).await;
            return ring.map(|ring| piece_of_ring(&ring, from)).map_err(failed("read the console"));
        }
        // Who has not been started has no log.
        let log = match instance.console_log().await {
            Ok(log) => log,
            Err(Error::NotFound { .. }) => bytes::Bytes::new(),
            Err(error) => return Err(failed("read the console")(error)),
        };
        let end = log.len() as u64;
        let start = from.min(end);
        let data = log.slice(usize::try_from(start).unwrap_or(log.len())..);
        let data = data.slice(..data.len().min(CONSOLE_PIECE));
        Ok(ConsoleChunk { start, data, end })
    }

    async fn usage(&self, id: BoxId) -> Result<Usage, EngineError> {
        let (instance, info) = self.known.there(id).await?;
        let state = instance.state().await.map_err(failed_of(id, "look at the instance"))?;
        let known = |value: i64| u64::try_from(value).ok();
        // The server counts disks that have a limit; what it says of others is not so.
        let counted = info.expanded_devices.values().any(|device| device.contains_key("size"));
        let disks = state.disk.as_ref().filter(|_| counted);
        let disk = disks.and_then(|disks| known(disks.get("root")?.usage));
        Ok(Usage {
            memory: known(state.memory.usage),
            cpu_micros: known(state.cpu.usage / 1000),
            pids: known(state.processes),
            disk,
        })
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }
}

fn piece_of_ring(ring: &[u8], from: u64) -> ConsoleChunk {
    let read_at = |offset: u64, buffer: &mut [u8]| {
        let rest = usize::try_from(offset).ok().and_then(|at| ring.get(at..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    };
    // Reading what is in memory does not fail.
    let chunk = console_ring::read(read_at, from, CONSOLE_PIECE).unwrap_or_default();
    ConsoleChunk { start: chunk.start, data: chunk.data, end: chunk.end }
}

/// The content of a file of an instance, at most `most` bytes; `None` when it is not there.
pub(crate) async fn content(
    instance: &Instance,
    path: &str,
    most: usize,
) -> Result<Option<Vec<u8>>, Error> {
    let mut body = match instance.read_file(path).await {
        Ok(Found::File(_, body)) => body,
        Ok(_) | Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    loop {
        let piece = body
            .chunk()
            .await
            .map_err(|source| Error::Io { what: format!("reading `{path}`"), source })?;
        let Some(piece) = piece else { return Ok(Some(content)) };
        let room = most - content.len();
        content.extend_from_slice(&piece[..piece.len().min(room)]);
        if content.len() == most {
            return Ok(Some(content));
        }
    }
}
