//! Changes of the state that an instance is in, while the server does something with it of its own or
//! has not written down yet what it did.

use std::time::Duration;

use boxherd_engine::{EngineError, Running, TruthState};
use boxherd_lxd_client::{Error, Instance, InstanceInfo, StateChange};
use boxherd_model::{BoxId, StopReason};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::error::failed_of;
use crate::guest::Connection;
use crate::server::{Known, addresses};
use crate::{machine, marks, state};

/// How long the server may be busy with an instance that it is to do something else with.
const LONGEST_BUSY: Duration = Duration::from_secs(60);
/// How long an instance may take to freeze.
const LONGEST_FREEZE: Duration = Duration::from_secs(30);
/// After how long it is asked again; the server itself looks once a second.
const FREEZE_AGAIN: Duration = Duration::from_millis(1200);
/// How long a server may take to write down that it has stopped an instance.
const LONGEST_WRITING: Duration = Duration::from_secs(5);
/// Between looks whether the server has, or is still busy.
const LOOK: Duration = Duration::from_millis(50);

impl Known {
    /// Starts a box, and waits until somebody answers in it or its program has ended.
    pub(crate) async fn start(&self, id: BoxId) -> Result<Running, EngineError> {
        let (instance, info) = self.there(id).await?;
        let instance = match state::state(&info) {
            TruthState::Running => instance,
            TruthState::Suspended => {
                self.change(id, StateChange::UNFREEZE).await?;
                instance
            }
            _ => {
                let instance = self.settle_name(id, instance, &info).await?;
                self.try_agent(id, &instance, &info).await?;
                if let Err(error) = self.change(id, StateChange::START).await {
                    // Incus 6.0.4 says so while it still stops what it began.
                    self.until_written_down(id).await?;
                    return Err(error);
                }
                instance
            }
        };
        match self.connect(id, machine::LONGEST_BOOT).await {
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

    pub(crate) async fn stop(&self, id: BoxId, grace: Duration) -> Result<(), EngineError> {
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
                Ok(_) => return self.until_written_down(id).await,
                // It did not end in time.
                Err(Error::OperationFailed { .. } | Error::Cancelled { .. }) => {}
                Err(error) => return Err(failed_of(id, "stop the instance")(error)),
            }
        }
        match self.change(id, StateChange::KILL).await {
            Ok(()) => self.until_written_down(id).await,
            // It may have ended by itself meanwhile.
            Err(error) => match self.inspect(id).await?.map(|truth| truth.state) {
                Some(TruthState::Stopped(_)) => self.until_written_down(id).await,
                _ => Err(error),
            },
        }
    }

    /// The instance of a box that runs, thawed.
    async fn thawed(&self, id: BoxId) -> Result<(Instance, TruthState), EngineError> {
        let (instance, info) = self.there(id).await?;
        let state = state::state(&info);
        if state == TruthState::Suspended {
            self.change(id, StateChange::UNFREEZE).await?;
        }
        Ok((instance, state))
    }

    /// Gives an instance the name that its box got while it ran.
    pub(crate) async fn settle_name(
        &self,
        id: BoxId,
        instance: Instance,
        info: &InstanceInfo,
    ) -> Result<Instance, EngineError> {
        match marks::name(info) {
            Some(name) if name != info.name => {
                let renamed = instance.rename(&name).await;
                let renamed = renamed.map_err(failed_of(id, "rename the instance"))?;
                self.is_called(id, &name);
                Ok(renamed)
            }
            _ => Ok(instance),
        }
    }

    /// Whether a box has stopped because its program has ended, as one that ends at once. The server may
    /// take a while to write that down.
    async fn has_ended(&self, id: BoxId) -> Result<bool, EngineError> {
        let ended = written(|| async {
            Ok(match self.inspect(id).await?.map(|truth| truth.state) {
                Some(TruthState::Stopped(StopReason::Exited { .. })) => Some(true),
                Some(TruthState::Running | TruthState::Stopped(StopReason::HostReboot)) => None,
                _ => Some(false),
            })
        });
        Ok(ended.await?.unwrap_or(false))
    }

    pub(crate) async fn change(&self, id: BoxId, change: StateChange) -> Result<(), EngineError> {
        let instance = self.instance(id).await?;
        let step = format!("{} the instance", change.action);
        let attempt = || async { instance.change_state(change).await?.wait().await };
        let changed = when_idle(attempt).await;
        changed.map(drop).map_err(failed_of(id, step))
    }

    /// Freezes an instance, or leaves it as it was: cgroups of the first version wait for a process that
    /// does not stand still, which can be for ever.
    pub(crate) async fn freeze(&self, id: BoxId) -> Result<(), EngineError> {
        let instance = self.instance(id).await?;
        let Err(error) = when_idle(|| freeze(&instance)).await else { return Ok(()) };
        if let Err(thaw) = self.change(id, StateChange::UNFREEZE).await {
            tracing::warn!(%id, error = %thaw, "an instance may be half frozen");
        }
        Err(failed_of(id, "freeze the instance")(error))
    }

    /// Waits until the server has written down that it stopped an instance, which it may do after it has
    /// said so: before, it looks as if it still ran, or the server had been started anew meanwhile.
    pub(crate) async fn until_written_down(&self, id: BoxId) -> Result<(), EngineError> {
        let written = written(|| async {
            let Some((_, info)) = self.info(id).await? else { return Ok(Some(())) };
            Ok(match state::state(&info) {
                TruthState::Stopped(reason) if reason != StopReason::HostReboot => Some(()),
                _ => None,
            })
        });
        // What it has not written down by then, it does not.
        written.await.map(Option::unwrap_or_default)
    }
}

/// Has an instance frozen. A process that is in a `vfork` the moment that it is to stand still may be
/// passed over by cgroups of the first version (Linux 6.18), until the next that asks.
async fn freeze(instance: &Instance) -> Result<(), Error> {
    let until = Instant::now() + LONGEST_FREEZE;
    let ask = || async move {
        let freezing = instance.change_state(StateChange::FREEZE).await?;
        freezing.wait_for(until.saturating_duration_since(Instant::now())).await
    };
    let mut asked = FuturesUnordered::from_iter([ask()]);
    let (mut frozen, mut refused) = (None, None);
    // All are waited for: one that still looked would do so for ever once the instance is thawed.
    loop {
        let again = tokio::time::sleep(FREEZE_AGAIN);
        tokio::select! {
            ended = asked.next() => match ended {
                Some(Ok(_)) => frozen = Some(()),
                Some(Err(error)) => refused = Some(error),
                None => break,
            },
            () = again, if frozen.is_none() && refused.is_none() && Instant::now() < until => {
                asked.push(ask());
            }
        }
    }
    match (frozen, refused) {
        (None, Some(error)) => Err(error),
        _ => Ok(()),
    }
}

/// Looks until there is something to be seen of what the server writes down after it has said so, or it
/// has had the time to.
pub(crate) async fn written<T, F>(look: impl Fn() -> F) -> Result<Option<T>, EngineError>
where
    F: Future<Output = Result<Option<T>, EngineError>>,
{
    let until = Instant::now() + LONGEST_WRITING;
    loop {
        let found = look().await?;
        if found.is_some() || Instant::now() >= until {
            return Ok(found);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Does something to an instance once the server is done with what it does to it already, as after it
/// was powered off from inside: an operation of which we know nothing that could be waited for.
pub(crate) async fn when_idle<T, F>(attempt: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let deadline = Instant::now() + LONGEST_BUSY;
    loop {
        match attempt().await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(LOOK).await;
            }
            done => return done,
        }
    }
}

fn is_busy(error: &Error) -> bool {
    let (Error::OperationFailed { message, .. }
    | Error::BadRequest { message }
    | Error::Server { message, .. }) = error
    else {
        return false;
    };
    message.contains("busy running a")
}
