//! What the engine knows of its server: which instance a box is, and how it is changed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use boxherd_engine::{EngineError, Truth, TruthState};
use boxherd_lxd_client::{
    Client, Devices, Error, FullInstance, Instance, InstanceInfo, InstanceState, Locations, Remote,
    Server,
};
use boxherd_model::{BoxId, EngineName, ImageRef};
use tokio::sync::OnceCell;

use crate::error::failed;
use crate::fences::Claims;
use crate::guest;
use crate::marks::{self, box_of};
use crate::names::Names;
use crate::spec::{self, Ground};
use crate::state;

/// The option of user data, and the one that servers without the extension `cloud_init` have.
const USER_DATA: &str = "cloud-init.user-data";
const OLD_USER_DATA: &str = "user.user-data";
/// What is done to see which boxes there are.
pub(crate) const LIST: &str = "list the instances";

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
    /// Where `lxc` or `incus` of whoever asks says which remotes there are, for images of theirs.
    pub remotes: Option<Locations>,
    /// How long an operation of the server may show no progress until it is given up; as long as its
    /// client waits when `None`.
    pub patience: Option<Duration>,
    /// What is known of the server without asking it.
    pub facts: Facts,
}

/// What a server can do, as it was when it was looked at last: engines say what they can do before they
/// ask anybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What the pool is driven by, such as `btrfs`, where it is known: not all limit disks.
    pub pool_driver: Option<String>,
    /// Whether it is a cluster, of which one member can be meant.
    pub clustered: bool,
    /// Whether it runs virtual machines.
    pub virtual_machines: bool,
}

/// A server, and what was seen on it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) settings: Settings,
    pub(crate) client: Client,
    pub(crate) names: Names,
    pub(crate) claims: Claims,
    ground: OnceCell<Ground>,
}

impl Known {
    pub(crate) fn new(settings: Settings, remote: &Remote) -> Result<Self, EngineError> {
        let mut patience = boxherd_lxd_client::Settings::default();
        patience.operation_patience = settings.patience.unwrap_or(patience.operation_patience);
        let client = Client::with_settings(remote, patience);
        let client = client.map_err(failed("use what is known of the server"))?;
        let (names, claims) = (Names::default(), Claims::default());
        Ok(Self { settings, client, names, claims, ground: OnceCell::new() })
    }

    pub(crate) async fn server(&self) -> Result<&Server, EngineError> {
        let asked = async {
            let server = self.client.server().await?;
            server.trusted()?;
            Ok(server)
        };
        asked.await.map_err(failed(format!("use the server of `{}`", self.settings.name)))
    }

    /// What the translation of a spec with these profiles depends on. The usual profile is looked at
    /// once, others whenever they are named.
    pub(crate) async fn ground(&self, profiles: &[String]) -> Result<Ground, EngineError> {
        let usual = [spec::DEFAULT_PROFILE.to_owned()];
        if profiles != usual {
            return self.look_at(profiles).await;
        }
        self.ground.get_or_try_init(|| self.look_at(&usual)).await.cloned()
    }

    async fn look_at(&self, profiles: &[String]) -> Result<Ground, EngineError> {
        let server = self.server().await?;
        let user_data = if server.has("cloud_init") { USER_DATA } else { OLD_USER_DATA };
        let mut devices = Devices::new();
        // A device of a later one takes the place of one of that name.
        for name in profiles {
            match self.client.profile(name).await {
                Ok(profile) => devices.extend(profile.devices),
                Err(error) => match self.no_project_of(&error).await {
                    Some(refused) => return Err(refused),
                    None => return Err(no_profile(name)(error)),
                },
            }
        }
        let Settings { installation, pool, .. } = self.settings.clone();
        Ok(Ground { installation, pool, user_data, profiles: profiles.to_vec(), devices })
    }

    /// The pool that disks of boxes are in.
    pub(crate) async fn pool(&self) -> Result<Option<String>, EngineError> {
        let ground = self.ground(&[spec::DEFAULT_PROFILE.to_owned()]).await?;
        Ok(ground.pool().map(str::to_owned))
    }

    /// Every instance of ours with its state, and from now on their names are known. The server looks
    /// into each for it.
    pub(crate) async fn list(
        &self,
    ) -> Result<(Vec<(BoxId, FullInstance)>, Vec<String>), EngineError> {
        let all = match self.client.full_instances().await {
            Ok(all) => all,
            Err(error) => return Err(self.failed(LIST, error).await),
        };
        if all.is_empty() {
            self.check_project().await?;
        }
        let lost = lost(all.iter().map(|full| &full.info));
        let boxes = self.boxes(all.iter().map(|full| &full.info));
        let ours = all.into_iter().filter_map(|full| Some((*boxes.get(&full.info.name)?, full)));
        let ours: Vec<_> = ours.collect();
        ours.iter().for_each(|(id, full)| self.names.see(*id, &full.info));
        Ok((ours, lost))
    }

    /// The instance of a box among all of ours. From now on the names of all are known.
    pub(crate) async fn look(&self, id: BoxId) -> Result<Option<InstanceInfo>, EngineError> {
        let all = match self.client.instances().await {
            Ok(all) => all,
            Err(error) => return Err(self.failed(LIST, error).await),
        };
        if all.is_empty() {
            self.check_project().await?;
        }
        let lost = lost(all.iter());
        let boxes = self.boxes(all.iter());
        let ours = all.into_iter().filter_map(|info| Some((*boxes.get(&info.name)?, info)));
        let ours: Vec<_> = ours.collect();
        ours.iter().for_each(|(id, info)| self.names.see(*id, info));
        match ours.into_iter().find(|(found, _)| *found == id) {
            Some((_, info)) => Ok(Some(info)),
            None if lost.is_empty() => Ok(None),
            // It may be one of those of which nothing but the name is known.
            None => Err(EngineError::Unreachable {
                source: format!(
                    "members of the cluster do not answer, and what they have is not known: {}",
                    lost.join(", ")
                )
                .into(),
            }),
        }
    }

    pub(crate) fn ours(&self, info: &InstanceInfo) -> Option<BoxId> {
        box_of(info, &self.settings.installation)
    }

    /// Which box each instance is, by its name.
    pub(crate) fn boxes<'i>(
        &self,
        all: impl Iterator<Item = &'i InstanceInfo> + Clone,
    ) -> HashMap<String, BoxId> {
        let boxes = marks::boxes_of(all, &self.settings.installation);
        boxes.into_iter().map(|(id, name)| (name, id)).collect()
    }

    /// The instance of a box, by the name that it had when it was seen last.
    async fn find(&self, id: BoxId) -> Result<Option<Instance>, EngineError> {
        if self.names.get(id).is_none() {
            self.look(id).await?;
        }
        Ok(self.names.get(id).map(|seen| self.client.instance(&seen.name)))
    }

    /// The same where it must be there. Nothing is asked of the server when it was seen already.
    pub(crate) async fn instance(&self, id: BoxId) -> Result<Instance, EngineError> {
        self.find(id).await?.ok_or(EngineError::NoSuchBox(id))
    }

    /// What the server has of a box, under whatever name.
    pub(crate) async fn info(
        &self,
        id: BoxId,
    ) -> Result<Option<(Instance, InstanceInfo)>, EngineError> {
        let Some(instance) = self.find(id).await? else { return Ok(None) };
        match instance.get().await {
            Ok(info) if self.ours(&info) == Some(id) => {
                self.names.see(id, &info);
                return Ok(Some((instance, info)));
            }
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(self.failed("look at the instance", error).await),
        }
        // It has another name by now, or is gone.
        self.names.forget(id);
        let found = self.look(id).await?;
        Ok(found.map(|info| (self.client.instance(&info.name), info)))
    }

    /// The same where it must be there.
    pub(crate) async fn there(&self, id: BoxId) -> Result<(Instance, InstanceInfo), EngineError> {
        self.info(id).await?.ok_or(EngineError::NoSuchBox(id))
    }

    pub(crate) async fn inspect(&self, id: BoxId) -> Result<Option<Truth>, EngineError> {
        match self.info(id).await? {
            Some((instance, info)) => Ok(Some(self.truth_of(id, &instance, &info).await)),
            None => Ok(None),
        }
    }

    /// What is true of a box, with what only the instance itself says.
    pub(crate) async fn truth_of(
        &self,
        id: BoxId,
        instance: &Instance,
        info: &InstanceInfo,
    ) -> Truth {
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

    pub(crate) fn may_be_called(&self, id: BoxId, name: &str) {
        self.names.tell(id, name);
    }

    pub(crate) fn is_called(&self, id: BoxId, name: &str) {
        self.names.put(id, name);
        self.claims.is_there(id);
    }

    pub(crate) fn is_gone(&self, id: BoxId) {
        self.names.forget(id);
        self.claims.forget(id);
    }
}

/// What members of a cluster have that do not answer.
fn lost<'i>(all: impl Iterator<Item = &'i InstanceInfo>) -> Vec<String> {
    all.filter(|info| info.is_lost()).map(|info| info.name.clone()).collect()
}

fn no_profile(name: &str) -> impl FnOnce(Error) -> EngineError {
    let step = format!("look at the profile `{name}`");
    move |error| match error {
        Error::NotFound { .. } => EngineError::Refused {
            step,
            source: "the server has none of that name".into(),
            hint: Some("`lxc profile list` says which there are".to_owned()),
        },
        error => failed(step)(error),
    }
}

/// Addresses that others can reach the instance at.
pub(crate) fn addresses(state: Option<&InstanceState>) -> Vec<IpAddr> {
    let interfaces = state.and_then(|state| state.network.as_ref()).into_iter().flatten();
    let all = interfaces.flat_map(|(_, interface)| &interface.addresses);
    all.filter(|address| address.scope == "global")
        .filter_map(|address| address.address.parse().ok())
        .collect()
}
