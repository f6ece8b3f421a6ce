//! Names and labels.

use boxherd_model::{Address, BoxName, BoxStatus, Labels, Request};
use boxherd_store::{OperationKind, Outcome};

use crate::herd::{decide, status};
use crate::lookup::engine_error;
use crate::{Herd, HerdError};

impl Herd {
    /// Gives a box another name, which is on disk when this returns.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn rename(&self, address: &Address, name: BoxName) -> Result<BoxStatus, HerdError> {
        let record = self.find(address).await?;
        let _held = self.lock(&record).await?;
        let mut record = self.find(address).await?;
        decide(&record, Request::Rename)?;
        // Before it has the name, so that it never answers where another does.
        self.settle_label(&record, &name).await?;
        let begun = self.begin(OperationKind::Rename, vec![record.id], None, &[]).await?;
        record.last_operation = Some(begun.id());
        let old = std::mem::replace(&mut record.spec.name, name);
        // The store first: it is what knows whether the name is free. A crash in between leaves
        // the operation in the journal, and whoever recovers it tells the engine.
        if let Err(taken) = self.store.update(std::slice::from_ref(&record)).await {
            record.spec.name = old;
            self.forget_labels(&record).await?;
            self.end(begun, Outcome::Failed, &[record], &[]).await?;
            return Err(taken.into());
        }
        // Another may have come to the name in this moment.
        self.settle_label(&record, &record.spec.name).await?;
        let told = self.engine_of(&record)?.rename(record.id, &record.spec.name).await;
        begun.reached("made");
        match told {
            Ok(()) => {
                self.forget_labels(&record).await?;
                self.end(begun, Outcome::Done, std::slice::from_ref(&record), &[]).await?;
                Ok(status(record))
            }
            Err(source) => {
                record.spec.name = old;
                self.forget_labels(&record).await?;
                let error = engine_error("rename", &record, source);
                self.end(begun, Outcome::Failed, &[record], &[]).await?;
                Err(error)
            }
        }
    }

    /// Sets some labels of a box and removes others.
    pub async fn label(
        &self,
        address: &Address,
        set: Labels,
        remove: Vec<String>,
    ) -> Result<BoxStatus, HerdError> {
        let record = self.find(address).await?;
        let _held = self.lock(&record).await?;
        let mut record = self.find(address).await?;
        decide(&record, Request::Label)?;
        record.spec.labels.extend(set);
        for key in remove {
            record.spec.labels.remove(&key);
        }
        self.store.update(std::slice::from_ref(&record)).await?;
        Ok(status(record))
    }
}
