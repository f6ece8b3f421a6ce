//! Changes of the state that an instance is in, while the server does something with it of its own or
//! has not written down yet what it did.

use std::time::Duration;

use boxherd_engine::{EngineError, TruthState};
use boxherd_lxd_client::{Error, Instance, StateChange};
use boxherd_model::{BoxId, StopReason};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::error::failed_of;
use crate::server::Known;
use crate::state;

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
