//! Making a box gone.

use boxherd_engine::EngineError;
use boxherd_model::policy::Event;
use boxherd_model::{Address, Request};
use boxherd_store::{BoxRecord, Durability, OperationKind, Outcome};
use tokio::time::Instant;

use crate::herd::{apply, decide};
use crate::lookup::engine_error;
use crate::{Herd, HerdError};

impl Herd {
    /// Deletes a box, whatever state it is in. When its engine does not answer, the box stays
    /// `deleting` and is deleted when the engine is back; that is an error here, so that nobody
    /// takes it for gone.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn delete(&self, address: &Address) -> Result<(), HerdError> {
        let record = self.find(address).await?;
        self.delete_record(record).await
    }

    pub(crate) async fn delete_record(&self, record: BoxRecord) -> Result<(), HerdError> {
        self.delete_by(record, None).await
    }

    /// The same, where the engine has no longer than `until`.
    pub(crate) async fn delete_by(
        &self,
        mut record: BoxRecord,
        until: Option<Instant>,
    ) -> Result<(), HerdError> {
        decide(&record, Request::Delete)?;
        let _held = self.lock(&record).await?;
        // Somebody else may have deleted it while this waited.
        if self.store.box_by_id(record.id).await?.is_none() {
            return Ok(());
        }
        self.links.remove(record.id);
        let begun = self.begin(OperationKind::Delete, vec![record.id], None, &[]).await?;
        let deleting = self.engine_of(&record)?.delete(record.id);
        let deleted = match until {
            None => deleting.await,
            Some(until) => tokio::time::timeout_at(until, deleting).await.unwrap_or_else(|_| {
                Err(EngineError::Unreachable { source: "it is busy, or does not answer".into() })
            }),
        };
        match deleted {
            Ok(()) => {
                begun.reached("made");
                self.activity.forget(record.id);
                // A power cut would bring the record of an ephemeral box back, and whoever opens
                // the store next removes it again: nothing that was acknowledged is lost.
                let durability = match record.spec.ephemeral {
                    true => Durability::Process,
                    false => Durability::Disk,
                };
                self.end_with(begun, Outcome::Done, &[], &[record.id], durability).await
            }
            Err(source) => {
                // The box is `deleting` from now on: whoever opens the store next tries again.
                let error = engine_error("delete", &record, source);
                apply(&mut record, Event::Deleting);
                record.failure = Some(crate::reconcile::chain(&error));
                self.end(begun, Outcome::Failed, &[record], &[]).await?;
                Err(error)
            }
        }
    }
}
