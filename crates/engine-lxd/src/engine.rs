//! The engine itself: each method of the trait, step by step.

use std::time::Duration;

use async_trait::async_trait;
use boxherd_engine::{
    Check, Child, ConsoleChunk, Engine, EngineError, LinkStream, Made, Running, Truth, TruthState,
    Usage, Verdict,
};
use boxherd_lxd_client::{Client, Error, Instance, InstanceInfo, Remote, Server, StateChange};
use boxherd_model::{BoxId, BoxName, BoxSpec, Capability, CapabilitySet, EngineName, ImageRef};
use tokio::sync::OnceCell;

use crate::error::{failed, failed_of};
use crate::names::{Names, box_of};
use crate::spec::{self, Ground};
use crate::{guest, state};

/// What of an engine is for an operator to say.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the engine is called.
    pub name: EngineName,
    /// Which installation this is: instances of others are not touched.
    pub installation: String,
    /// What boxes are made of whose spec names no image: an alias or a fingerprint of the server.
    pub image: Option<ImageRef>,
    /// The storage pool for the disks of boxes; the one of the profile `default` when none is named.
    pub pool: Option<String>,
}

/// Boxes on one server or cluster.
#[derive(Debug)]
pub struct LxdEngine {
    settings: Settings,
    capabilities: CapabilitySet,
    client: Client,
    names: Names,
    ground: OnceCell<Ground>,
}

/// What every server can do.
const CAPABILITIES: [Capability; 6] = [
    Capability::Suspend,
    Capability::MemoryLimit,
    Capability::CpuLimit,
    Capability::PidsLimit,
    Capability::Network,
    Capability::Uids,
];

impl LxdEngine {
    /// An engine on a server. Nothing is asked of the server yet, which may be out of reach.
    ///
    /// # Errors
    ///
    /// When `remote` cannot be one.
    pub fn new(settings: Settings, remote: &Remote) -> Result<Self, EngineError> {
        let client = Client::new(remote).map_err(failed("use what is known of the server"))?;
        let capabilities = CAPABILITIES.into_iter().chain([Capability::Nesting]).collect();
        let (names, ground) = (Names::default(), OnceCell::new());
        Ok(Self { settings, capabilities, client, names, ground })
    }

    /// What is known of the server; asked for once, and refused when it does not trust us.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, or does not trust this machine.
    pub async fn server(&self) -> Result<&Server, EngineError> {
        let asked = async {
            let server = self.client.server().await?;
            server.trusted()?;
            Ok(server)
        };
        asked.await.map_err(failed(format!("use the server of `{}`", self.settings.name)))
    }

    async fn ground(&self) -> Result<&Ground, EngineError> {
        let look = async || {
            let profile = self.client.profile("default").await;
            let profile = profile.map_err(failed("look at the profile `default`"))?;
            Ok::<_, EngineError>(Ground {
                installation: self.settings.installation.clone(),
                image: self.settings.image.clone(),
                pool: self.settings.pool.clone(),
                devices: profile.devices,
            })
        };
        self.ground.get_or_try_init(look).await
    }

    fn ours(&self, info: &InstanceInfo) -> Option<BoxId> {
        box_of(info, &self.settings.installation)
    }

    /// Every instance of ours, and from now on their names are known.
    async fn look(&self) -> Result<Vec<(BoxId, InstanceInfo)>, EngineError> {
        let all = self.client.instances().await.map_err(failed("list the instances"))?;
        let ours: Vec<_> =
            all.into_iter().filter_map(|info| Some((self.ours(&info)?, info))).collect();
        self.names.replace(ours.iter().map(|(id, info)| (*id, info.name.clone())));
        Ok(ours)
    }

    /// The instance of a box, by the name that it had when it was seen last.
    async fn find(&self, id: BoxId) -> Result<Option<Instance>, EngineError> {
        if self.names.get(id).is_none() {
            self.look().await?;
        }
        Ok(self.names.get(id).map(|name| self.client.instance(&name)))
    }

    async fn instance(&self, id: BoxId) -> Result<Instance, EngineError> {
        self.find(id).await?.ok_or(EngineError::NoSuchBox(id))
    }

    /// What the server has of a box, under whatever name.
    async fn info(&self, id: BoxId) -> Result<Option<(Instance, InstanceInfo)>, EngineError> {
        let Some(instance) = self.find(id).await? else { return Ok(None) };
        match instance.get().await {
            Ok(info) if self.ours(&info) == Some(id) => return Ok(Some((instance, info))),
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(failed("look at the instance")(error)),
        }
        // It has another name by now, or is gone.
        let found = self.look().await?.into_iter().find(|(found, _)| *found == id);
        Ok(found.map(|(_, info)| (self.client.instance(&info.name), info)))
    }

    async fn change(&self, id: BoxId, change: StateChange) -> Result<(), EngineError> {
        let step = format!("{} the instance", change.action);
        let instance = self.instance(id).await?;
        let operation = instance.change_state(change).await.map_err(failed_of(id, &step))?;
        operation.wait().await.map(drop).map_err(failed_of(id, step))
    }
}

#[async_trait]
impl Engine for LxdEngine {
    fn name(&self) -> &EngineName {
        &self.settings.name
    }

    fn capabilities(&self) -> &CapabilitySet {
        &self.capabilities
    }

    fn why_not(&self, capability: Capability) -> String {
        match capability {
            Capability::Egress => "use an ACL of the server's on its network".to_owned(),
            Capability::Images => "images are the server's: `lxc image` has them".to_owned(),
            Capability::Gvisor => "instances have the kernel of their server".to_owned(),
            _ => "LXD engines do not offer it yet".to_owned(),
        }
    }

    async fn checks(&self) -> Vec<Check> {
        let check = |verdict, found: String, fix: Option<String>| Check {
            name: format!("engine {}", self.settings.name),
            verdict,
            found,
            fix,
        };
        match self.server().await {
            Ok(server) => {
                let environment = &server.environment;
                let found = format!("{} {}", environment.server, environment.server_version);
                vec![check(Verdict::Works, found, None)]
            }
            Err(error) => {
                let fix = error.hint().map(str::to_owned);
                vec![check(Verdict::Broken, with_causes(&error), fix)]
            }
        }
    }

    async fn create(&self, id: BoxId, spec: &BoxSpec) -> Result<Made, EngineError> {
        let ground = self.ground().await?;
        let new = spec::instance(id, spec, ground)?;
        let made = async {
            let operation = self.client.create_instance(&new).await?;
            operation.wait().await
        };
        made.await.map_err(|error| not_made(&new.name, &spec.image, error))?;
        self.names.put(id, &new.name);
        Ok(Made::default())
    }

    async fn start(&self, id: BoxId) -> Result<Running, EngineError> {
        let (instance, info) = self.info(id).await?.ok_or(EngineError::NoSuchBox(id))?;
        if state::state(&info) != TruthState::Running {
            self.change(id, StateChange::START).await?;
        }
        drop(guest::connect(id, &instance).await?);
        Ok(Running::default())
    }

    async fn stop(&self, id: BoxId, grace: Duration) -> Result<(), EngineError> {
        let (instance, info) = self.info(id).await?.ok_or(EngineError::NoSuchBox(id))?;
        match state::state(&info) {
            TruthState::Stopped(_) => return Ok(()),
            TruthState::Suspended => self.change(id, StateChange::UNFREEZE).await?,
            _ => {}
        }
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        if seconds > 0 {
            let asked = async {
                let operation = instance.change_state(StateChange::stop(seconds)).await?;
                operation.wait().await
            };
            match asked.await {
                Ok(_) => return Ok(()),
                // It did not end in time.
                Err(Error::OperationFailed { .. } | Error::Cancelled { .. }) => {}
                Err(error) => return Err(failed_of(id, "stop the instance")(error)),
            }
        }
        match self.change(id, StateChange::KILL).await {
            Err(error) if self.is_stopped(id).await => {
                tracing::debug!(%error, %id, "it ended by itself meanwhile");
                Ok(())
            }
            done => done,
        }
    }

    async fn suspend(&self, id: BoxId) -> Result<(), EngineError> {
        match self.inspect(id).await?.ok_or(EngineError::NoSuchBox(id))?.state {
            TruthState::Suspended => Ok(()),
            TruthState::Running => self.change(id, StateChange::FREEZE).await,
            _ => Err(EngineError::WrongState { op: "suspend", found: "stopped" }),
        }
    }

    async fn resume(&self, id: BoxId) -> Result<(), EngineError> {
        match self.inspect(id).await?.ok_or(EngineError::NoSuchBox(id))?.state {
            TruthState::Running => Ok(()),
            TruthState::Suspended => self.change(id, StateChange::UNFREEZE).await,
            _ => Err(EngineError::WrongState { op: "resume", found: "stopped" }),
        }
    }

    async fn fork(&self, _source: BoxId, _children: &[Child]) -> Result<Vec<Made>, EngineError> {
        Err(self.unsupported("fork", Capability::Fork))
    }

    async fn delete(&self, id: BoxId) -> Result<(), EngineError> {
        let Some((instance, info)) = self.info(id).await? else { return Ok(()) };
        if !matches!(state::state(&info), TruthState::Stopped(_)) {
            self.stop(id, Duration::ZERO).await?;
        }
        match instance.delete().await {
            Ok(()) | Err(Error::NotFound { .. }) => {
                self.names.forget(id);
                Ok(())
            }
            Err(error) => Err(failed("delete the instance")(error)),
        }
    }

    async fn claim(&self, _id: BoxId, _token: u64) -> Result<(), EngineError> {
        let reason = "LXD engines do not offer it yet: let one server have the engine";
        Err(EngineError::refused("take a box over from another server", reason))
    }

    async fn inspect(&self, id: BoxId) -> Result<Option<Truth>, EngineError> {
        let found = self.info(id).await?;
        Ok(found.and_then(|(_, info)| state::truth(id, &info, Vec::new())))
    }

    async fn list(&self) -> Result<Vec<Truth>, EngineError> {
        let ours = self.look().await?;
        Ok(ours.iter().filter_map(|(id, info)| state::truth(*id, info, Vec::new())).collect())
    }

    async fn connect(&self, id: BoxId) -> Result<Box<dyn LinkStream>, EngineError> {
        let instance = self.instance(id).await?;
        Ok(Box::new(guest::connect(id, &instance).await?))
    }

    async fn rename(&self, id: BoxId, name: &BoxName) -> Result<(), EngineError> {
        let _ = (id, name);
        Err(EngineError::refused("rename the instance", "LXD engines do not offer it yet"))
    }

    async fn console(&self, id: BoxId, from: u64) -> Result<ConsoleChunk, EngineError> {
        let _ = (id, from);
        Err(EngineError::refused("read the console", "LXD engines do not offer it yet"))
    }

    async fn usage(&self, id: BoxId) -> Result<Usage, EngineError> {
        self.instance(id).await?;
        Ok(Usage::default())
    }
}

impl LxdEngine {
    async fn is_stopped(&self, id: BoxId) -> bool {
        let found = self.inspect(id).await;
        let state = found.ok().flatten().map(|truth| truth.state);
        matches!(state, Some(TruthState::Stopped(_)))
    }
}

fn not_made(name: &str, image: &ImageRef, error: Error) -> EngineError {
    match error {
        Error::Conflict { message } => EngineError::Refused {
            step: format!("make the instance `{name}`"),
            source: message.into(),
            hint: Some("the server has one of that name, which is not ours".to_owned()),
        },
        Error::NotFound { message } => EngineError::Image {
            image: image.to_string(),
            reason: message,
            hint: Some("`lxc image list` says which images the server has".to_owned()),
        },
        error => failed(format!("make the instance `{name}`"))(error),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
