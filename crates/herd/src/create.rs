//! Making a box.

use std::sync::Arc;
use std::time::Instant;

use boxherd_engine::{Engine, EngineError, Running};
use boxherd_model::policy::Event;
use boxherd_model::{
    BoxId, BoxSpec, BoxState, BoxStatus, Caller, Capability, DiskMount, EngineName, Holdings,
    ImageRef, NetworkSpec, Timestamp,
};
use boxherd_store::{BoxRecord, Details, OperationKind, Outcome, StoreError};

use tracing::Span;
use tracing::field::Empty;

use crate::deadline;
use crate::herd::{apply, status};
use crate::journal::Begun;
use crate::{Herd, HerdError, MachineSpec, Volume};

/// How long an idempotency key is remembered, in milliseconds: a day.
const KEY_LIFE: i64 = 24 * 3600 * 1000;

/// A box that is asked for.
#[derive(Debug, Clone)]
pub struct Create {
    /// What is asked for.
    pub spec: BoxSpec,
    /// Where; the default engine when `None`.
    pub engine: Option<EngineName>,
    /// Two requests with the same key within a day make one box.
    pub key: Option<String>,
    /// Disks that are mounted before anything of it runs.
    pub volumes: Vec<Volume>,
    /// The document that `spec` was made from, and the commands of its first start.
    pub machine: Option<MachineSpec>,
}

impl From<BoxSpec> for Create {
    fn from(spec: BoxSpec) -> Self {
        Self { spec, engine: None, key: None, volumes: Vec::new(), machine: None }
    }
}

impl Herd {
    /// Makes a box and starts it. It runs when this returns, or there is nothing of it.
    #[tracing::instrument(skip_all, fields(name = %create.spec.name, phases = Empty))]
    pub async fn create(&self, create: Create) -> Result<BoxStatus, HerdError> {
        let engine = self.engine(create.engine.as_ref())?;
        let mut create = create;
        check_timers(&create.spec)?;
        check_text(&create.spec)?;
        deadline::rearm(&mut create.spec.timers, self.now())?;
        if create.spec.image == ImageRef::host()
            && let Some(image) = engine.default_image()
        {
            create.spec.image = image.clone();
        }
        self.keep_apart(engine, &mut create.spec).await?;
        let quota = self.quota().await?;
        quota.iter().for_each(|quota| quota.fill_in(&mut create.spec));
        self.check_trust(&create.spec).await?;
        check_needs(engine, &create.spec)?;
        self.check_image(engine, &create.spec).await?;
        if let Some(machine) = &create.machine {
            self.check_secrets(machine).await?;
        }
        let mounts = self.mounts(engine, &create.volumes).await?;
        let key = create.key.map(|key| self.own_key(&key));
        if let Some(earlier) = self.made_before(key.as_deref()).await? {
            return Ok(earlier);
        }
        let began = Instant::now();
        let more = Holdings::of(&create.spec.limits, BoxState::Pending);
        let admitted = self.admit(engine, quota, more).await?;
        let mut record = self.new_record(engine, create.spec)?;
        let begun =
            self.begin(OperationKind::Create, vec![record.id], key, &[record.clone()]).await;
        let begun = match begun {
            // Somebody with the same key was faster.
            Err(HerdError::Store(StoreError::KeyTaken)) => {
                return Err(HerdError::Busy { name: record.spec.name.to_string() });
            }
            begun => begun?,
        };
        // It is in the store, and counts.
        drop(admitted);
        record.details.timings.push("journal", began.elapsed());
        record.last_operation = Some(begun.id());
        if let Some(machine) = &create.machine
            && let Err(error) = self.keep_machine(record.id, machine).await
        {
            self.end(begun, Outcome::Failed, &[], &[record.id]).await?;
            return Err(error);
        }
        let made = async {
            self.launch(engine, &mut record, &mounts).await?;
            begun.reached("made");
            Ok(())
        };
        match made.await {
            Ok(()) => {
                self.end(begun, Outcome::Done, std::slice::from_ref(&record), &[]).await?;
                self.metrics.created(&record.details.timings);
                Span::current().record("phases", record.details.timings.to_string());
                if create.machine.is_some_and(|machine| !machine.packages.is_empty()) {
                    self.start_packages(record.id);
                }
                Ok(status(record))
            }
            Err(source) => {
                self.undo(engine, begun, vec![record.clone()], &source).await?;
                Err(HerdError::Create { name: record.spec.name.to_string(), source })
            }
        }
    }

    pub(crate) fn new_record(
        &self,
        engine: &Arc<dyn Engine>,
        spec: BoxSpec,
    ) -> Result<BoxRecord, HerdError> {
        let maker = spec.ephemeral.then(|| self.session()).transpose()?;
        Ok(BoxRecord {
            id: BoxId::new(),
            engine: engine.name().clone(),
            owner: self.caller.user(),
            spec,
            state: BoxState::Pending,
            reason: None,
            failure: None,
            created: self.now(),
            maker,
            last_operation: None,
            details: Details::default(),
        })
    }

    async fn launch(
        &self,
        engine: &Arc<dyn Engine>,
        record: &mut BoxRecord,
        mounts: &[DiskMount],
    ) -> Result<(), EngineError> {
        apply(record, Event::Starting);
        let (made, running) = match mounts {
            [] => engine.launch(record.id, &record.spec).await?,
            mounts => {
                let made = engine.create(record.id, &record.spec).await?;
                attach(engine, record.id, mounts).await?;
                let running = engine.start(record.id).await;
                (made, running.map_err(|error| error.after_all("start the box"))?)
            }
        };
        record.details.image_digest = made.image_digest;
        record.details.location = made.location;
        record.details.notes = made.notes;
        record.details.timings.0.extend(made.timings.0);
        started(record, running);
        Ok(())
    }

    /// Starts the processes of a box and writes into the record what the engine said.
    pub(crate) async fn boot(
        &self,
        engine: &Arc<dyn Engine>,
        record: &mut BoxRecord,
    ) -> Result<(), EngineError> {
        apply(record, Event::Starting);
        started(record, engine.start(record.id).await?);
        Ok(())
    }

    /// Ends an operation whose boxes could not be made, and removes what there is of them. A box of which
    /// something may be left is `deleting` from now on: whoever opens the store next tries again.
    pub(crate) async fn undo(
        &self,
        engine: &Arc<dyn Engine>,
        begun: Begun,
        boxes: Vec<BoxRecord>,
        why: &EngineError,
    ) -> Result<(), HerdError> {
        let (mut left, mut gone) = (Vec::new(), Vec::new());
        for mut record in boxes {
            if self.remove_failed(engine, record.id, why).await {
                gone.push(record.id);
            } else {
                apply(&mut record, Event::Deleting);
                record.failure = Some(crate::reconcile::chain(why));
                left.push(record);
            }
        }
        self.end(begun, Outcome::Failed, &left, &gone).await
    }

    /// Removes a box that could not be made. Answers whether nothing of it is left.
    async fn remove_failed(&self, engine: &Arc<dyn Engine>, id: BoxId, why: &EngineError) -> bool {
        let removed = engine.delete(id).await;
        if let Err(error) = &removed {
            tracing::warn!(%id, %error, "a box that could not be made was not removed yet");
        }
        match why {
            // The engine may still be at it, and what it is about to make cannot be seen yet.
            EngineError::Unfinished { .. } => false,
            // Nothing was begun.
            EngineError::Unreachable { .. } => true,
            _ => removed.is_ok(),
        }
    }

    /// Users have networks of their own: a box of one can reach no box of another.
    async fn keep_apart(
        &self,
        engine: &Arc<dyn Engine>,
        spec: &mut BoxSpec,
    ) -> Result<(), HerdError> {
        if let NetworkSpec::Bridge { name, .. } = &mut spec.network {
            *name = self.engine_network(engine, name).await?;
        }
        Ok(())
    }

    /// Keys of one caller are nothing to another.
    fn own_key(&self, key: &str) -> String {
        match self.caller {
            Caller::Host => key.to_owned(),
            Caller::User(id) => format!("{id}/{key}"),
        }
    }

    async fn made_before(&self, key: Option<&str>) -> Result<Option<BoxStatus>, HerdError> {
        let Some(key) = key else { return Ok(None) };
        let since = Timestamp::from_millis(self.now().millis() - KEY_LIFE);
        let Some(operation) = self.store.by_key(key, since).await? else { return Ok(None) };
        let Some(id) = operation.boxes.first() else { return Ok(None) };
        let made = self.store.box_by_id(*id).await?;
        // One that could not be made may still be there.
        Ok(made.filter(|record| record.state != BoxState::Deleting).map(status))
    }
}

async fn attach(
    engine: &Arc<dyn Engine>,
    id: BoxId,
    mounts: &[DiskMount],
) -> Result<(), EngineError> {
    let disks = engine.disks().ok_or_else(|| engine.unsupported("volumes", Capability::Disks))?;
    for mount in mounts {
        disks.attach(id, mount).await?;
    }
    Ok(())
}

/// A box that is to be put away after no time would be put away at every look.
fn check_timers(spec: &BoxSpec) -> Result<(), HerdError> {
    let timers = &spec.timers;
    let fields = [
        ("timers.suspend_after_idle", timers.suspend_after_idle),
        ("timers.hibernate_after_idle", timers.hibernate_after_idle),
    ];
    match fields.into_iter().find(|(_, idle)| *idle == Some(0)) {
        Some((field, _)) => {
            let reason = "0 s is no time; leave it out, and it is never done".to_owned();
            Err(HerdError::Invalid { field, reason })
        }
        None => Ok(()),
    }
}

/// Refuses text that no program can be told.
fn check_text(spec: &BoxSpec) -> Result<(), HerdError> {
    let env = spec.env.iter().flat_map(|(name, value)| [name, value]);
    let fields = [
        ("user", spec.user.iter().any(|text| text.contains('\0'))),
        ("workdir", spec.workdir.iter().any(|text| text.contains('\0'))),
        ("cmd", spec.cmd.iter().any(|text| text.contains('\0'))),
        ("env", env.into_iter().any(|text| text.contains('\0'))),
    ];
    match fields.into_iter().find(|(_, bad)| *bad) {
        Some((field, _)) => Err(HerdError::Invalid { field, reason: "it has a NUL".to_owned() }),
        None => Ok(()),
    }
}

/// Refuses a spec that the engine cannot honour, before anything is made.
pub(crate) fn check_needs(engine: &Arc<dyn Engine>, spec: &BoxSpec) -> Result<(), HerdError> {
    let missing = spec.needs().into_iter().find(|(_, need)| !engine.capabilities().has(*need));
    match missing {
        Some((field, capability)) => Err(HerdError::Create {
            name: spec.name.to_string(),
            source: engine.unsupported(field, capability),
        }),
        None => Ok(()),
    }
}

/// Writes into the record what the engine said of a box that runs.
fn started(record: &mut BoxRecord, running: Running) {
    apply(record, Event::Started);
    record.details.addresses = running.addresses;
    record.details.notes.extend(running.notes);
    record.details.notes.sort();
    record.details.notes.dedup();
    record.details.timings.0.extend(running.timings.0);
}
