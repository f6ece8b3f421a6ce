//! How the agent of a box is reached: in which instance, and in which of its folders.

use std::sync::Arc;
use std::time::Duration;

use boxherd_engine::{EngineError, LinkStream};
use boxherd_lxd_client::{Error, Instance, InstanceInfo};
use boxherd_model::BoxId;

use crate::early::Early;
use crate::error::{failed, failed_of};
use crate::guest::{self, Connection, FOLDERS, Reached, Relay};
use crate::names::Seen;
use crate::server::Known;
use crate::{machine, marks};

/// Connections that connecting to an agent takes: both outputs of an exec, its input and its control, and
/// one to look at the instance. All are opened at once.
const CONNECTIONS: usize = 5;
/// With how many of them it begins.
const FIRST: usize = 2;
/// Where a box is.
struct At {
    instance: Instance,
    info: InstanceInfo,
    /// In which its agent is looked for first.
    folder: String,
}

/// An agent that was asked for.
struct Call {
    at: At,
    relay: Result<Relay, EngineError>,
}

impl Known {
    /// Connects to the agent of a box that runs, or to what stands in for it. A virtual machine may take
    /// as long as `patience` until it has booted.
    pub(crate) async fn connect(
        &self,
        id: BoxId,
        patience: Duration,
    ) -> Result<Connection, EngineError> {
        let call = self.call(id).await?;
        self.answered(id, call, patience).await
    }

    /// The same, which does not wait until the agent has said its first word: what it is told goes out
    /// meanwhile.
    pub(crate) async fn connect_early(
        self: Arc<Self>,
        id: BoxId,
    ) -> Result<Box<dyn LinkStream>, EngineError> {
        let Call { at, relay } = self.call(id).await?;
        let relay = match relay {
            Ok(relay) => relay,
            Err(_) => {
                let call = Call { at, relay };
                return Ok(self.answered(id, call, machine::LONGEST_SILENCE).await?.into_stream());
            }
        };
        let settled = async move { Ok(self.settle(id, at).await?.into_stream()) };
        Ok(Box::new(Early::asked(id, relay, Box::pin(settled))))
    }

    async fn answered(
        &self,
        id: BoxId,
        call: Call,
        patience: Duration,
    ) -> Result<Connection, EngineError> {
        let Call { at, relay } = call;
        let reached = match relay {
            Ok(relay) => relay.answered().await?,
            Err(EngineError::Refused { .. }) if machine::is_machine(&at.info) => {
                machine::until_it_answers(id, &at.instance, patience).await?;
                match machine::cannot_run(&at.info) {
                    None => Relay::ask(id, &at.instance, &at.folder).await?.answered().await?,
                    Some(why) => Reached::Not(why),
                }
            }
            Err(error) => return Err(error),
        };
        match reached {
            Reached::There(stream) => Ok(Connection::Agent(stream)),
            Reached::Not(_) => self.settle(id, at).await,
        }
    }

    /// Asks for the program that connects to the agent of a box.
    async fn call(&self, id: BoxId) -> Result<Call, EngineError> {
        self.client.warm(CONNECTIONS, FIRST).await.map_err(failed("connect to the server"))?;
        if let Some(seen) = self.names.guess(id)
            && let Some(call) = self.call_at(id, seen).await?
        {
            return Ok(call);
        }
        // It is called otherwise by now, or gone.
        self.look(id).await?;
        let seen = self.names.get(id).ok_or(EngineError::NoSuchBox(id))?;
        self.call_at(id, seen).await?.ok_or(EngineError::NoSuchBox(id))
    }

    /// The same in an instance that may be the box; `None` when it is not. To look what it is costs no
    /// time, since its agent is asked for meanwhile, to whom nothing is said before.
    async fn call_at(&self, id: BoxId, seen: Seen) -> Result<Option<Call>, EngineError> {
        let instance = self.client.instance(&seen.name);
        let folder = seen.folder.unwrap_or_else(|| FOLDERS[0].to_owned());
        let (info, relay) = tokio::join!(instance.get(), Relay::ask(id, &instance, &folder));
        let info = match info {
            Ok(info) if self.ours(&info) == Some(id) => info,
            Ok(_) | Err(Error::NotFound { .. }) => {
                self.names.forget(id);
                return Ok(None);
            }
            Err(error) => return Err(self.failed("look at the instance", error).await),
        };
        self.names.see(id, &info);
        Ok(Some(Call { at: At { instance, info, folder }, relay }))
    }

    /// Connects to the agent of a box where it is not in the folder that it was looked for in, and
    /// remembers where it is, or that it runs nowhere.
    async fn settle(&self, id: BoxId, at: At) -> Result<Connection, EngineError> {
        let At { instance, info, folder } = at;
        if let Some(why) = marks::native(&info) {
            return Ok(guest::native(&instance, why, true));
        }
        let (there, found) = guest::settle(id, &instance, &info, &folder).await?;
        let mark = match &there {
            Connection::Native(native) if native.for_good => {
                Some((marks::NATIVE, marks::native_for(&native.why)))
            }
            Connection::Agent(_) if found != folder => Some((marks::FOLDER, found.to_owned())),
            Connection::Native(_) | Connection::Agent(_) => None,
        };
        if let Some((mark, text)) = mark
            && let Err(error) = marks::set(&instance, mark, &text).await
        {
            // It is found out again the next time.
            tracing::debug!(%id, %error, mark, "not written down");
        }
        Ok(there)
    }

    /// Has the agent of a box that is about to be started tried again.
    pub(crate) async fn try_agent(
        &self,
        id: BoxId,
        instance: &Instance,
        info: &InstanceInfo,
    ) -> Result<(), EngineError> {
        if !info.config.contains_key(marks::NATIVE) {
            return Ok(());
        }
        let unset = marks::set(instance, marks::NATIVE, "").await;
        unset.map_err(failed_of(id, "have the agent tried again"))
    }
}
