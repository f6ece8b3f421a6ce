//! Changing what a box is like that is there: its limits and its network.
//!
//! Engines take such a change at the next start. A box that runs is either restarted for it, or the
//! change is refused until the box is stopped.

use std::sync::Arc;
use std::time::Duration;

use boxherd_model::{
    Address, BoxSpec, BoxState, BoxStatus, ByteSize, CpuLimit, EgressRule, Holdings, NetworkName,
    NetworkSpec, Request,
};
use boxherd_store::{OperationKind, Outcome};

use crate::create::check_needs;
use crate::herd::{decide, status};
use crate::lookup::engine_error;
use crate::{Herd, HerdError};

/// When a change of a box holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// A box that runs is refused.
    Stopped,
    /// A box that runs is restarted, with that grace.
    Restarted(Duration),
    /// A box that runs goes on as it is; commands that begin see the change.
    Next,
}

impl Herd {
    /// Gives a box other limits; `None` leaves one as it is. A box that runs is restarted. Says
    /// whether it was.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn resize(
        &self,
        address: &Address,
        cpus: Option<CpuLimit>,
        memory: Option<ByteSize>,
        grace: Duration,
    ) -> Result<(BoxStatus, bool), HerdError> {
        let change = |spec: &mut BoxSpec| {
            spec.limits.cpus = cpus.or(spec.limits.cpus);
            spec.limits.memory = memory.or(spec.limits.memory);
            Ok(())
        };
        self.reshape(address, When::Restarted(grace), change).await
    }

    /// Sets what a stopped box may reach outside; everything when `None`.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn set_egress(
        &self,
        address: &Address,
        rules: Option<Vec<EgressRule>>,
    ) -> Result<BoxStatus, HerdError> {
        let change = |spec: &mut BoxSpec| match &mut spec.network {
            NetworkSpec::Bridge { egress, .. } => {
                *egress = rules;
                Ok(())
            }
            NetworkSpec::None => Err(no_network()),
        };
        self.reshape(address, When::Stopped, change).await.map(|(status, _)| status)
    }

    /// Puts a stopped box into another network of its owner.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn set_network(
        &self,
        address: &Address,
        to: &NetworkName,
    ) -> Result<BoxStatus, HerdError> {
        let record = self.find(address).await?;
        let to = self.engine_network(self.engine_of(&record)?, to).await?;
        let change = |spec: &mut BoxSpec| move_to(spec, &to);
        self.reshape(address, When::Stopped, change).await.map(|(status, _)| status)
    }

    /// Changes the spec of a box. Says whether it was restarted for it.
    pub(crate) async fn reshape(
        &self,
        address: &Address,
        when: When,
        change: impl FnOnce(&mut BoxSpec) -> Result<(), HerdError> + Send,
    ) -> Result<(BoxStatus, bool), HerdError> {
        let record = self.find(address).await?;
        let _held = self.lock(&record).await?;
        let mut record = self.find(address).await?;
        self.look(&mut record).await?;
        let engine = Arc::clone(self.engine_of(&record)?);
        let old = record.spec.clone();
        change(&mut record.spec)?;
        if record.spec == old {
            return Ok((status(record), false));
        }
        check_needs(&engine, &record.spec)?;
        self.check_trust(&record.spec).await?;
        let grace = match when {
            When::Restarted(grace) if record.state == BoxState::Running => Some(grace),
            When::Restarted(_) | When::Stopped | When::Next => None,
        };
        if grace.is_none() && when != When::Next {
            decide(&record, Request::Change)?;
        }
        let before = Holdings::of(&old.limits, record.state);
        let after = Holdings::of(&record.spec.limits, record.state);
        let more = after.memory.saturating_sub(before.memory);
        let more = Holdings { memory: more, ..Holdings::default() };
        let admitted = self.admit(&engine, self.quota().await?, more).await?;
        let begun = self.begin(OperationKind::Change, vec![record.id], None, &[]).await?;
        match engine.reshape(record.id, &record.spec).await {
            Ok(()) => {
                begun.reached("made");
                self.end(begun, Outcome::Done, std::slice::from_ref(&record), &[]).await?;
            }
            Err(source) => {
                record.spec = old;
                let error = engine_error("change", &record, source);
                self.end(begun, Outcome::Failed, &[record], &[]).await?;
                return Err(error);
            }
        }
        // It is in the store, and counts.
        drop(admitted);
        match grace {
            None => Ok((status(record), false)),
            Some(grace) => {
                let done = self.change_held(record, Request::Restart, false, grace).await?;
                Ok((done, true))
            }
        }
    }
}

/// Puts a box into another network; one that has none stays without.
pub(crate) fn move_to(spec: &mut BoxSpec, network: &NetworkName) -> Result<(), HerdError> {
    match &mut spec.network {
        NetworkSpec::Bridge { name, .. } => {
            name.clone_from(network);
            Ok(())
        }
        NetworkSpec::None => Err(no_network()),
    }
}

fn no_network() -> HerdError {
    let reason = "the box was made without a network".to_owned();
    HerdError::Invalid { field: "network", reason }
}
