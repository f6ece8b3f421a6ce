//! The herd itself: what it holds, and how it opens.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use boxherd_engine::Engine;
use boxherd_model::{
    BoxName, BoxStatus, Caller, EngineName, OperationId, Request, Timestamp, policy,
};
use boxherd_store::{BoxRecord, Store, UserRecord};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::accounts::Signers;
use crate::activity::Activity;
use crate::admission::Admission;
use crate::forwards::Forwards;
use crate::leases::{Here, Leased};
use crate::links::Links;
use crate::locks::{self, Held};
use crate::machine::Runners;
use crate::metrics::Metrics;
use crate::proxies::Routes;
use crate::usage::Meters;
use crate::{HerdConfig, HerdError, names};

/// Makes and drives boxes for one [`Caller`]. One is opened per process and data folder; clones share
/// everything with it, and [`acting_for`](Self::acting_for) gives one that serves somebody else.
#[derive(Debug, Clone)]
pub struct Herd {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) engines: Arc<[Arc<dyn Engine>]>,
    pub(crate) config: Arc<HerdConfig>,
    /// Taken when the first operation begins: listing boxes needs none.
    session: Arc<Mutex<Option<(String, Held)>>>,
    /// Operations of ours that nobody works on any more and that have not ended: left to recovery, as those
    /// of the dead are.
    pub(crate) left: Arc<Mutex<HashSet<OperationId>>>,
    pub(crate) links: Arc<Links>,
    pub(crate) activity: Activity,
    pub(crate) admission: Admission,
    pub(crate) routes: Routes,
    pub(crate) forwards: Arc<Forwards>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) meters: Meters,
    pub(crate) runners: Runners,
    /// The day on which sums of long ago were last forgotten.
    pub(crate) metered_day: Arc<AtomicI64>,
    pub(crate) caller: Caller,
    /// The caller as it was when it was recognised by a token, for a call that does not last.
    pub(crate) recognised: Option<Arc<UserRecord>>,
    pub(crate) signers: Signers,
    pub(crate) here: Here,
}

impl Herd {
    /// Opens a herd over `store` and `engines`, of which the first is the default. Finishes or
    /// undoes what dead processes began, and looks after boxes when the host was restarted; costs
    /// three look-ups when there is nothing to do.
    pub async fn open(
        store: Arc<dyn Store>,
        engines: Vec<Arc<dyn Engine>>,
        config: HerdConfig,
    ) -> Result<Self, HerdError> {
        std::fs::create_dir_all(&config.locks).map_err(|e| lock_error(&config.locks, e))?;
        let herd = Self {
            store,
            engines: engines.into(),
            config: Arc::new(config),
            session: Arc::default(),
            left: Arc::default(),
            links: Arc::default(),
            activity: Activity::default(),
            admission: Admission::default(),
            routes: Routes::default(),
            forwards: Arc::default(),
            metrics: Arc::new(Metrics::new()),
            meters: Meters::default(),
            runners: Runners::default(),
            metered_day: Arc::default(),
            caller: Caller::Host,
            recognised: None,
            signers: Signers::default(),
            here: Here::default(),
        };
        herd.recover().await?;
        herd.after_reboot().await?;
        Ok(herd)
    }

    /// The same herd for another caller, who sees and touches what belongs to it and nothing else.
    #[must_use]
    pub fn acting_for(&self, caller: Caller) -> Self {
        Self { caller, recognised: None, ..self.clone() }
    }

    /// The same for a user who was just recognised and is not looked up again.
    pub(crate) fn recognising(&self, user: UserRecord) -> Self {
        let caller = Caller::User(user.id);
        Self { caller, recognised: Some(Arc::new(user)), ..self.clone() }
    }

    /// For whom this herd acts.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// Says goodbye to every agent, ends the session, and waits for what the engines still do in the
    /// background. Commands that were not detached end. The herd may be used on, with another session.
    pub async fn close(&self) {
        for link in self.links.drain() {
            link.close().await;
        }
        drop(self.session.lock().take());
        self.here.settle().await;
        for engine in self.engines.iter() {
            if let Err(error) = engine.settle().await {
                tracing::warn!(%error, engine = %engine.name(), "something is left to be cleaned up");
            }
        }
    }

    /// The engine of that name, or the default one.
    pub fn engine(&self, name: Option<&EngineName>) -> Result<&Arc<dyn Engine>, HerdError> {
        match name {
            Some(name) => self
                .engines
                .iter()
                .find(|engine| engine.name() == name)
                .ok_or_else(|| HerdError::NoSuchEngine(name.to_string())),
            None => self.engines.first().ok_or_else(|| HerdError::NoSuchEngine("local".to_owned())),
        }
    }

    /// Every engine, the default first.
    #[must_use]
    pub fn engines(&self) -> &[Arc<dyn Engine>] {
        &self.engines
    }

    /// A name that no box is likely to have.
    #[must_use]
    pub fn suggest_name(&self) -> BoxName {
        names::from_random(random())
    }

    /// A name for a copy of the box `of`.
    #[must_use]
    pub fn suggest_copy_name(&self, of: &BoxName) -> BoxName {
        names::of_copy(of, random())
    }

    /// What time it is, by the clock of [`HerdConfig`].
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.config.clock)()
    }

    pub(crate) fn engine_of(&self, record: &BoxRecord) -> Result<&Arc<dyn Engine>, HerdError> {
        self.engine(Some(&record.engine))
    }

    /// The name of this process's session, which is alive from now on.
    pub(crate) fn session(&self) -> Result<String, HerdError> {
        let mut session = self.session.lock();
        if let Some((name, _)) = &*session {
            return Ok(name.clone());
        }
        let name = format!("session-{}", Uuid::now_v7());
        let held = locks::try_hold(&self.config.locks, &name)
            .map_err(|error| lock_error(&self.config.locks, error))?
            .ok_or_else(|| HerdError::Busy { name: name.clone() })?;
        *session = Some((name.clone(), held));
        Ok(name)
    }

    /// Whether the process that began something is still at it. This one is.
    pub(crate) fn is_alive(&self, session: &str) -> Result<bool, HerdError> {
        if self.session.lock().as_ref().is_some_and(|(own, _)| own == session) {
            return Ok(true);
        }
        locks::is_held(&self.config.locks, session)
            .map_err(|error| lock_error(&self.config.locks, error))
    }

    /// Keeps everybody else away from a box until it is dropped.
    pub(crate) async fn lock(&self, record: &BoxRecord) -> Result<Hold, HerdError> {
        let deadline = tokio::time::Instant::now() + self.config.patience;
        let mut pause = std::time::Duration::from_millis(1);
        loop {
            if let Some(hold) = self.try_lock(record).await? {
                return Ok(hold);
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(HerdError::Busy { name: record.spec.name.to_string() });
            }
            // Neither locks nor leases tell when they are free; the pause grows to 50 ms.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(std::time::Duration::from_millis(50));
            if self.config.lease.is_some() && self.store.box_by_id(record.id).await?.is_none() {
                return Ok(Hold::Gone);
            }
        }
    }

    /// The same for who has no time: `None` while somebody else works on the box.
    pub(crate) async fn try_lock(&self, record: &BoxRecord) -> Result<Option<Hold>, HerdError> {
        if let Some(ttl) = self.config.lease {
            return Ok(self.lease(record, ttl).await?.map(Hold::Lease));
        }
        let name = format!("box-{}", record.id);
        let held = locks::try_hold(&self.config.locks, &name)
            .map_err(|error| lock_error(&self.config.locks.join(&name), error))?;
        Ok(held.map(Hold::Kernel))
    }
}

/// What keeps everybody else away from a box until it is dropped.
#[derive(Debug)]
pub(crate) enum Hold {
    /// A lock that the kernel drops with this process. Nobody can be kept from the box while this
    /// process stands still, nor can it be taken over.
    Kernel(#[expect(dead_code, reason = "held, not looked at")] Held),
    /// See [`HerdConfig::lease`].
    Lease(#[expect(dead_code, reason = "held, not looked at")] Leased),
    /// There is no such box any more, and nothing to keep anybody from.
    Gone,
}

pub(crate) fn lock_error(path: &Path, source: std::io::Error) -> HerdError {
    HerdError::Lock { path: path.display().to_string(), source }
}

/// The random half of a version 7 UUID.
pub(crate) fn random() -> u64 {
    Uuid::now_v7().as_u64_pair().1
}

/// Asks the policy, and wraps its refusal.
pub(crate) fn decide(record: &BoxRecord, request: Request) -> Result<policy::Decision, HerdError> {
    policy::decide(record.state, request).map_err(|refusal| HerdError::Refused {
        name: record.spec.name.to_string(),
        request,
        refusal,
    })
}

/// Feeds an event to the policy; an event that cannot happen leaves the state and is logged.
pub(crate) fn apply(record: &mut BoxRecord, event: policy::Event) {
    let Some(state) = policy::after(record.state, event) else {
        tracing::warn!(id = %record.id, state = %record.state, ?event, "impossible event");
        return;
    };
    record.state = state;
    record.reason = match event {
        policy::Event::Stopped(reason) => Some(reason),
        _ => None,
    };
    if event != policy::Event::Failed {
        record.failure = None;
    }
}

pub(crate) fn status(record: BoxRecord) -> BoxStatus {
    BoxStatus {
        id: record.id,
        spec: record.spec,
        engine: record.engine,
        owner: record.owner,
        state: record.state,
        reason: record.reason,
        failure: record.failure,
        created: record.created,
        image_digest: record.details.image_digest,
        addresses: record.details.addresses,
        location: record.details.location,
        unreachable: false,
        notes: record.details.notes,
        last_operation: record.last_operation,
        timings: record.details.timings,
    }
}
