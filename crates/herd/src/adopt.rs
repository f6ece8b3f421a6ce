//! Machines that are there already, taken for boxes when they are asked for by their engine and name.
//!
//! The host does that, or who has a grant for the boxes of everybody there; it is the host's then. What
//! was adopted is deleted by forgetting it: whoever made it keeps it.

use boxherd_engine::{EngineError, TruthState};
use boxherd_model::{BoxName, BoxSpec, BoxState, Caller, Capability, EngineName};
use boxherd_store::{BoxRecord, OperationKind, Outcome};

use crate::lookup::engine_error;
use crate::{Herd, HerdError};

impl Herd {
    /// The box that a machine of that name is from now on; `None` where there is none that could be.
    pub(crate) async fn adopt(
        &self,
        engine: &EngineName,
        name: &BoxName,
    ) -> Result<Option<BoxRecord>, HerdError> {
        let engine = self.engine(Some(engine))?;
        if self.caller != Caller::Host || !engine.capabilities().has(Capability::Adopt) {
            return Ok(None);
        }
        let mut record = self.new_record(engine, BoxSpec::new(name.clone()))?;
        let kind = OperationKind::Create;
        let begun = self.begin(kind, vec![record.id], None, &[record.clone()]).await?;
        let adopted = async {
            let Some(spec) = engine.adopt(record.id, name).await? else { return Ok(None) };
            let truth = engine.inspect(record.id).await;
            let truth = truth.map_err(|error| error.after_all("take the machine for a box"))?;
            Ok::<_, EngineError>(truth.map(|truth| (spec, truth)))
        };
        match adopted.await {
            Ok(Some((spec, truth))) => {
                record.spec = spec;
                record.details.addresses = truth.addresses;
                (record.state, record.reason) = match truth.state {
                    TruthState::Partial => (BoxState::Failed, None),
                    TruthState::Running => (BoxState::Running, None),
                    TruthState::Suspended => (BoxState::Suspended, None),
                    TruthState::Hibernated => (BoxState::Hibernated, None),
                    TruthState::Stopped(reason) => (BoxState::Stopped, Some(reason)),
                };
                self.end(begun, Outcome::Done, std::slice::from_ref(&record), &[]).await?;
                Ok(Some(record))
            }
            // It may be marked already, and is given back.
            Ok(None) => {
                let nothing = EngineError::NoSuchBox(record.id);
                self.undo(engine, begun, vec![record], &nothing).await?;
                Ok(None)
            }
            Err(source) => {
                self.undo(engine, begun, vec![record.clone()], &source).await?;
                Err(engine_error("adopt", &record, source))
            }
        }
    }
}
