//! The engine itself: each method of the trait, step by step.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use boxherd_engine::{
    Check, Child, ConsoleChunk, Disks, Engine, EngineError, Images, LinkStream, Made, Running,
    Snapshots, Survey, Truth, TruthState, Usage, Verdict,
};
use boxherd_lxd_client::{Error, NewInstance, Remote, Server, StateChange};
use boxherd_model::{BoxId, BoxName, BoxSpec, Capability, CapabilitySet, EngineName, ImageRef};

use crate::changes::when_idle;
use crate::error::{failed, failed_of, no_member, not_made, with_causes};
use crate::server::{Facts, Known, Settings, addresses};
use crate::{disks, guest, machine, marks, origin, spec, state};

/// How long it may take until an agent was brought into an instance, which greets then.
const LONGEST_SETTLING: Duration = Duration::from_secs(600);

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

impl LxdEngine {
    /// An engine on a server. Nothing is asked of the server yet, which may be out of reach.
    ///
    /// # Errors
    ///
    /// When `remote` cannot be one.
    pub fn new(settings: Settings, remote: &Remote) -> Result<Self, EngineError> {
        let facts = &settings.facts;
        let driver = facts.pool_driver.as_deref();
        let limits_disks = driver.is_some_and(|driver| disks::WITH_QUOTAS.contains(&driver));
        let some = [
            disks::why_not(facts).is_none().then_some(Capability::Disks),
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

    /// Has a running box be called otherwise, as far as it knows itself.
    async fn set_hostname(&self, id: BoxId, name: &str) -> Result<(), EngineError> {
        let there = self.known.connect(id, machine::LONGEST_SILENCE).await?;
        guest::set_hostname(there, name).await
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
            Capability::Disks => {
                disks::why_not(&self.known.settings.facts).unwrap_or_default()
            }
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
        self.known.enter(id).await?;
        self.known.names.intend(id);
        let ground = self.known.ground(&spec::profiles(spec)).await?;
        let image = spec::image(&spec.image, self.known.settings.image.as_ref())?;
        let source = self.known.origin(image).await?.into_source();
        let mut new = spec::instance(id, spec, source, &ground)?;
        new.config.extend(self.known.claims.mark(id));
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
        self.known.enter(id).await?;
        self.known.start(id).await
    }

    async fn stop(&self, id: BoxId, grace: Duration) -> Result<(), EngineError> {
        self.known.enter(id).await?;
        self.known.stop(id, grace).await
    }

    async fn suspend(&self, id: BoxId) -> Result<(), EngineError> {
        self.known.enter(id).await?;
        match state::state(&self.known.there(id).await?.1) {
            TruthState::Suspended => Ok(()),
            TruthState::Running => self.known.freeze(id).await,
            _ => Err(EngineError::WrongState { op: "suspend", found: "stopped" }),
        }
    }

    async fn resume(&self, id: BoxId) -> Result<(), EngineError> {
        self.known.enter(id).await?;
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
        for id in children.iter().map(|child| child.id).chain([source]) {
            self.known.enter(id).await?;
        }
        self.copy(source, children).await
    }

    fn default_image(&self) -> Option<&ImageRef> {
        self.known.settings.image.as_ref()
    }

    async fn fetches(&self, image: &ImageRef) -> Result<bool, EngineError> {
        Ok(origin::split(image).is_some() && !self.known.has_alias(image).await?)
    }

    async fn adopt(&self, id: BoxId, name: &BoxName) -> Result<Option<BoxSpec>, EngineError> {
        self.known.adopt(id, name).await
    }

    async fn delete(&self, id: BoxId) -> Result<(), EngineError> {
        // What was refused before it began has nothing that could be deleted, and may be refused again.
        if self.known.names.is_only_intended(id) {
            self.known.is_gone(id);
            return Ok(());
        }
        self.known.enter(id).await?;
        let Some((instance, info)) = self.known.info(id).await? else { return Ok(()) };
        if marks::is_adopted(&info) {
            self.take_all_away(id, &instance, &info).await;
            return self.known.release(id, &instance).await;
        }
        if !matches!(state::state(&info), TruthState::Stopped(_)) {
            self.known.stop(id, Duration::ZERO).await?;
        }
        match when_idle(|| instance.delete()).await {
            Ok(()) | Err(Error::NotFound { .. }) => {
                self.known.is_gone(id);
                Ok(())
            }
            Err(error) => Err(failed("delete the instance")(error)),
        }
    }

    async fn claim(&self, id: BoxId, token: u64) -> Result<(), EngineError> {
        self.known.claim(id, token).await
    }

    async fn inspect(&self, id: BoxId) -> Result<Option<Truth>, EngineError> {
        self.known.inspect(id).await
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
                truth = self.known.truth_of(id, &instance, &full.info).await;
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
        self.known.enter(id).await?;
        let (instance, info) = self.known.there(id).await?;
        let step = "rename the instance";
        let config = serde_json::json!({ (marks::NAME): new, (marks::INSTANCE): info.name });
        let keep = serde_json::json!({ "config": config });
        instance.patch(&keep).await.map_err(failed_of(id, step))?;
        if matches!(state::state(&info), TruthState::Stopped(_)) {
            let (instance, info) = self.known.there(id).await?;
            self.known.settle_name(id, instance, &info).await?;
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
        self.known.enter(id).await?;
        let (instance, info) = self.known.there(id).await?;
        let ground = self.known.ground(&info.profiles).await?;
        let devices = spec::devices(spec, &ground)?;
        let config = spec::reshaped(spec)?;
        let change = serde_json::json!({ "config": config, "devices": devices });
        instance.patch(&change).await.map_err(failed_of(id, "change the instance"))
    }

    async fn console(&self, id: BoxId, from: u64) -> Result<ConsoleChunk, EngineError> {
        self.known.console(id, from).await
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

    fn disks(&self) -> Option<&dyn Disks> {
        self.capabilities.has(Capability::Disks).then_some(self)
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }
}
