//! Whether the caller may have more, and the host has room for it.
//!
//! Quotas and the room of the host are for users: whoever may open the data folder decides alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use boxherd_engine::Engine;
use boxherd_link::ExecId;
use boxherd_model::{BoxId, BoxSpec, Caller, DEFAULT_PIDS, Excess, Holdings, Quota, UserId};
use boxherd_store::{BoxRecord, Held};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::{Herd, HerdError};

/// Who is being admitted, and how many commands each user runs. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Admission {
    /// One at a time, until what was asked for is in the store.
    alone: Arc<tokio::sync::Mutex<()>>,
    execs: Arc<Mutex<HashMap<UserId, u32>>>,
    /// Slots of commands that go on and to which nobody listens.
    left: Arc<Mutex<HashMap<(BoxId, ExecId), Left>>>,
}

#[derive(Debug)]
struct Left {
    slot: ExecSlot,
    keep: Duration,
    until: Instant,
}

/// Nobody else is admitted until this is dropped.
pub(crate) type Admitted = Option<OwnedMutexGuard<()>>;

/// A command that counts until this is dropped.
#[derive(Debug)]
pub struct ExecSlot {
    of: Option<(Admission, UserId)>,
}

impl Drop for ExecSlot {
    fn drop(&mut self) {
        let Some((admission, user)) = &self.of else { return };
        let mut execs = admission.execs.lock();
        match execs.get_mut(user) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(execs.remove(user)),
        }
    }
}

impl Herd {
    /// The quota of the caller; the host has none.
    pub(crate) async fn quota(&self) -> Result<Option<Quota>, HerdError> {
        match self.caller {
            Caller::Host => Ok(None),
            Caller::User(id) => Ok(Some(match &self.recognised {
                Some(user) => user.quota,
                None => self.user(id).await?.quota,
            })),
        }
    }

    /// Refuses what is too much for the caller or for the host. Nothing is looked up where nothing
    /// is limited.
    pub(crate) async fn admit(
        &self,
        engine: &Arc<dyn Engine>,
        quota: Option<Quota>,
        more: Holdings,
    ) -> Result<Admitted, HerdError> {
        let Some(quota) = quota else { return Ok(None) };
        let takes_room = more.memory > 0 || more.disk > 0;
        if quota == (Quota { execs: quota.execs, ..Quota::default() }) && !takes_room {
            return Ok(None);
        }
        let alone = Arc::clone(&self.admission.alone).lock_owned().await;
        let held = self.store.holdings().await?;
        let own = held.iter().filter(|held| held.owner == self.caller.user());
        let has = together(own).and(self.disk_holdings().await?);
        quota.admit(has, more).map_err(used_up)?;
        if takes_room {
            let room = engine.room().await.map_err(|source| no_room(engine, source))?;
            let there = held.iter().filter(|held| held.engine == *engine.name());
            let fits = room.map_or(Ok(()), |room| room.admit(together(there), more));
            fits.map_err(used_up)?;
        }
        Ok(Some(alone))
    }

    /// The same for a box that has no processes and is to have some.
    pub(crate) async fn admit_start(
        &self,
        engine: &Arc<dyn Engine>,
        record: &BoxRecord,
    ) -> Result<Admitted, HerdError> {
        if boxherd_model::has_processes(record.state) {
            return Ok(None);
        }
        self.admit(engine, self.quota().await?, Holdings::of_start(&record.spec)).await
    }

    /// Refuses users what takes more of the host than a quota counts.
    pub(crate) async fn check_trust(&self, spec: &BoxSpec) -> Result<(), HerdError> {
        let pids = spec.limits.pids.unwrap_or(DEFAULT_PIDS);
        let why = if spec.nesting || pids > DEFAULT_PIDS {
            "`nesting`, and more than 4096 `pids`, are for administrators"
        } else if !spec.profiles.is_empty() {
            // They may have any option and device: privileged machines, folders of the server.
            "`profiles` are for administrators: they may give a box whatever the server has"
        } else if spec.target.is_some() {
            "`target` is for administrators: the cluster chooses"
        } else {
            return Ok(());
        };
        self.is_admin().await.map_err(|error| match error {
            HerdError::Denied(_) => HerdError::Denied(why),
            error => error,
        })
    }

    /// Refuses users images that are not there yet: what is fetched takes room from everybody, and is
    /// let in by what the host is allowed elsewhere.
    pub(crate) async fn check_image(
        &self,
        engine: &Arc<dyn Engine>,
        spec: &BoxSpec,
    ) -> Result<(), HerdError> {
        // What boxes are made of when nobody says, the host has said.
        if self.caller == Caller::Host || engine.default_image() == Some(&spec.image) {
            return Ok(());
        }
        let fetches = engine.fetches(&spec.image).await;
        let failed = |source| HerdError::Create { name: spec.name.to_string(), source };
        if !fetches.map_err(failed)? {
            return Ok(());
        }
        self.is_admin().await.map_err(|error| match error {
            HerdError::Denied(_) => HerdError::Denied(
                "to have images fetched is for administrators; one that was pulled is for all",
            ),
            error => error,
        })
    }

    /// Room for one more command of the caller, for as long as the slot is kept.
    pub async fn exec_slot(&self) -> Result<ExecSlot, HerdError> {
        let Caller::User(user) = self.caller else { return Ok(ExecSlot { of: None }) };
        let limit = self.quota().await?.and_then(|quota| quota.execs);
        let mut execs = self.admission.execs.lock();
        let count = execs.entry(user).or_default();
        if let Some(limit) = limit.filter(|limit| *count >= *limit) {
            if *count == 0 {
                execs.remove(&user);
            }
            return Err(HerdError::Quota { quota: "execs", limit: limit.to_string() });
        }
        *count += 1;
        Ok(ExecSlot { of: Some((self.admission.clone(), user)) })
    }

    /// Has a command count on to which nobody listens: for as long as it is kept, or until somebody
    /// [goes on](Self::take_slot) with it. Without, a quota would be for those who stay on the line.
    pub fn leave_slot(&self, command: (BoxId, ExecId), slot: ExecSlot, keep: Duration) {
        let until = Instant::now() + keep;
        self.admission.left.lock().insert(command, Left { slot, keep, until });
        let left = Arc::clone(&self.admission.left);
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            // Somebody may have gone on with it and left it again.
            let mut left = left.lock();
            if left.get(&command).is_some_and(|left| left.until <= until) {
                left.remove(&command);
            }
        });
    }

    /// The slot of a command with which the caller goes on, and how long it is kept, if this server knows.
    /// It runs already, so that it counts and is not refused.
    #[must_use]
    pub fn take_slot(&self, command: (BoxId, ExecId)) -> (ExecSlot, Option<Duration>) {
        if let Some(left) = self.admission.left.lock().remove(&command) {
            return (left.slot, Some(left.keep));
        }
        let Caller::User(user) = self.caller else { return (ExecSlot { of: None }, None) };
        *self.admission.execs.lock().entry(user).or_default() += 1;
        (ExecSlot { of: Some((self.admission.clone(), user)) }, None)
    }
}

fn together<'h>(held: impl Iterator<Item = &'h Held>) -> Holdings {
    held.fold(Holdings::default(), |sum, held| sum.and(held.holdings))
}

fn used_up(excess: Excess) -> HerdError {
    HerdError::Quota { quota: excess.quota(), limit: excess.to_string() }
}

fn no_room(engine: &Arc<dyn Engine>, source: boxherd_engine::EngineError) -> HerdError {
    HerdError::Engine { op: "look at the room of", name: engine.name().to_string(), source }
}
