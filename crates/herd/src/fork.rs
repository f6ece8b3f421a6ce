//! Copies of a box.

use std::sync::Arc;

use boxherd_engine::{Child, Engine};
use boxherd_model::policy::Event;
use boxherd_model::{
    Address, BoxName, BoxSpec, BoxState, BoxStatus, Capability, Holdings, NetworkName, Request,
    StopReason,
};
use boxherd_store::{BoxRecord, OperationKind, Outcome};
use futures_util::future::join_all;

use crate::create::check_needs;
use crate::deadline;
use crate::herd::{apply, decide, status};
use crate::lookup::engine_error;
use crate::reshape::move_to;
use crate::{Herd, HerdError};

/// The copies that are asked for.
#[derive(Debug, Clone)]
pub struct Fork {
    /// One copy for each name.
    pub names: Vec<BoxName>,
    /// Memory too, not the disk alone.
    pub live: bool,
}

/// What becomes of copies that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// They run if the source has processes.
    AsSource,
    /// They run.
    Runs,
    /// They do not.
    Stopped,
}

impl Herd {
    /// Copies a box. The copies run when this returns if the source has processes, and are stopped
    /// if it has none. All of them are made, or none is left.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn fork(&self, address: &Address, fork: Fork) -> Result<Vec<BoxStatus>, HerdError> {
        self.fork_as(address, fork, After::AsSource, |_| Ok(())).await
    }

    /// The same for copies that are not in all like their source: they are in `network`, if that is
    /// given, and `change` changes what else is different.
    #[tracing::instrument(name = "fork", skip_all, fields(%address))]
    pub async fn fork_changed(
        &self,
        address: &Address,
        fork: Fork,
        network: Option<&NetworkName>,
        change: impl Fn(&mut BoxSpec) -> Result<(), HerdError> + Send + Sync,
    ) -> Result<Vec<BoxStatus>, HerdError> {
        let source = self.find(address).await?;
        let engine = self.engine_of(&source)?;
        let to = match network {
            Some(network) => Some(self.engine_network(engine, network).await?),
            None => None,
        };
        let change = |spec: &mut BoxSpec| {
            if let Some(to) = &to {
                move_to(spec, to)?;
            }
            change(spec)?;
            check_needs(engine, spec)
        };
        self.fork_as(address, fork, After::AsSource, change).await
    }

    /// The same, with what becomes of the copies and what else is different about them.
    pub(crate) async fn fork_as(
        &self,
        address: &Address,
        fork: Fork,
        after: After,
        dress: impl Fn(&mut BoxSpec) -> Result<(), HerdError> + Send,
    ) -> Result<Vec<BoxStatus>, HerdError> {
        let record = self.find(address).await?;
        let _held = self.lock(&record).await?;
        let mut source = self.find(address).await?;
        self.look(&mut source).await?;
        decide(&source, Request::Fork)?;
        let engine = Arc::clone(self.engine_of(&source)?);
        let needed = if fork.live { Capability::LiveFork } else { Capability::Fork };
        if !engine.capabilities().has(needed) {
            return Err(engine_error("fork", &source, engine.unsupported("fork", needed)));
        }
        let mut copies = self.records_of_copies(&engine, &source, fork.names, dress)?;
        let runs = match after {
            After::AsSource => source.state != BoxState::Stopped,
            After::Runs => true,
            After::Stopped => false,
        };
        let to_be = if runs { BoxState::Running } else { BoxState::Stopped };
        let more = copies.iter().map(|copy| Holdings::of(&copy.spec.limits, to_be));
        let more = more.fold(Holdings::default(), Holdings::and);
        let admitted = self.admit(&engine, self.quota().await?, more).await?;
        let ids: Vec<_> = copies.iter().map(|copy| copy.id).collect();
        let begun = self.begin(OperationKind::Fork, ids, None, &copies).await?;
        // They are in the store, and count.
        drop(admitted);
        for copy in &mut copies {
            copy.last_operation = Some(begun.id());
        }
        let made = async {
            self.copy(&engine, &source, &mut copies, fork.live).await?;
            begun.reached("made");
            if runs {
                self.boot_all(&engine, &mut copies).await?;
            }
            begun.reached("started");
            Ok(())
        };
        match made.await {
            Ok(()) => {
                self.end(begun, Outcome::Done, &copies, &[]).await?;
                Ok(copies.into_iter().map(status).collect())
            }
            Err(failed) => {
                self.undo(&engine, begun, copies, &failed).await?;
                Err(engine_error("fork", &source, failed))
            }
        }
    }

    fn records_of_copies(
        &self,
        engine: &Arc<dyn Engine>,
        source: &BoxRecord,
        names: Vec<BoxName>,
        dress: impl Fn(&mut BoxSpec) -> Result<(), HerdError>,
    ) -> Result<Vec<BoxRecord>, HerdError> {
        let copy = |name| {
            let mut spec = source.spec.clone();
            spec.name = name;
            // A copy outlives whoever asked for it.
            spec.ephemeral = false;
            deadline::rearm(&mut spec.timers, self.now())?;
            dress(&mut spec)?;
            self.new_record(engine, spec)
        };
        names.into_iter().map(copy).collect()
    }

    async fn copy(
        &self,
        engine: &Arc<dyn Engine>,
        source: &BoxRecord,
        copies: &mut [BoxRecord],
        live: bool,
    ) -> Result<(), boxherd_engine::EngineError> {
        let children: Vec<_> =
            copies.iter().map(|copy| Child { id: copy.id, spec: copy.spec.clone() }).collect();
        let made = match live {
            true => engine.fork_live(source.id, &children).await?,
            false => engine.fork(source.id, &children).await?,
        };
        for (copy, made) in copies.iter_mut().zip(made) {
            copy.details.image_digest = made.image_digest;
            copy.details.notes = made.notes;
            copy.details.timings = made.timings;
            apply(copy, Event::Starting);
            apply(copy, Event::Stopped(StopReason::Requested));
        }
        Ok(())
    }

    async fn boot_all(
        &self,
        engine: &Arc<dyn Engine>,
        copies: &mut [BoxRecord],
    ) -> Result<(), boxherd_engine::EngineError> {
        let boots = copies.iter_mut().map(|copy| self.boot(engine, copy));
        let booted: Result<(), _> = join_all(boots).await.into_iter().collect();
        booted.map_err(|error| error.after_all("start the copies"))
    }
}
