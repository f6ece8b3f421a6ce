//! Finding boxes, and telling what is true of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use boxherd_engine::{Engine, EngineError, Survey, Truth};
use boxherd_model::{Address, BoxId, BoxState, BoxStatus, EngineName, Target};
use boxherd_store::{BoxRecord, StoreError};
use futures_util::future::join_all;

use crate::herd::status;
use crate::reconcile::believe;
use crate::{Herd, HerdError};

/// Every box, as far as the engines answered.
#[derive(Debug)]
pub struct Listing {
    /// By engine and name. Boxes of an engine that did not answer stand as they were last seen.
    pub boxes: Vec<BoxStatus>,
    /// Engines that did not answer, and what was seen instead.
    pub unreachable: Vec<(EngineName, EngineError)>,
}

/// How long an engine may take to say which boxes it has: one that is far away and gone would keep
/// everybody waiting for the others.
const LONGEST_LIST: Duration = Duration::from_secs(5);

/// What an engine has, unless it takes too long to say.
async fn listed(engine: &Arc<dyn Engine>) -> Result<Survey, EngineError> {
    match tokio::time::timeout(LONGEST_LIST, engine.survey()).await {
        Ok(answer) => answer,
        Err(_) => {
            let source = format!("no answer within {} s", LONGEST_LIST.as_secs()).into();
            Err(EngineError::Unreachable { source })
        }
    }
}

/// What an engine has, by box.
struct Seen {
    truths: HashMap<BoxId, Truth>,
    /// Whether what is not among them is not there.
    is_whole: bool,
}

impl Seen {
    fn of(survey: Survey) -> Self {
        let Survey { truths, lost } = survey;
        Self {
            truths: truths.into_iter().map(|truth| (truth.id, truth)).collect(),
            is_whole: lost.is_empty(),
        }
    }
}

impl Herd {
    /// Every box of every engine; the engines are asked at once, and one that does not answer costs
    /// an entry in [`Listing::unreachable`].
    pub async fn list(&self) -> Result<Listing, HerdError> {
        let mut records = self.store.boxes().await?;
        records.retain(|record| self.caller.sees(record.owner));
        let asked =
            self.engines.iter().map(|engine| async { (engine.name(), listed(engine).await) });
        let mut unreachable = Vec::new();
        let mut seen: HashMap<EngineName, Seen> = HashMap::new();
        for (name, answer) in join_all(asked).await {
            match answer {
                Ok(survey) => drop(seen.insert(name.clone(), Seen::of(survey))),
                Err(error) => unreachable.push((name.clone(), error)),
            }
        }
        let mut boxes = Vec::with_capacity(records.len());
        for mut record in records {
            let (truth, is_seen) = match seen.get(&record.engine) {
                Some(Seen { truths, is_whole }) => {
                    let truth = truths.get(&record.id);
                    let is_seen = truth.is_some() || *is_whole;
                    if is_seen {
                        self.correct_beside(&mut record, truth).await?;
                    }
                    (truth, is_seen)
                }
                None => (None, false),
            };
            boxes.push(BoxStatus { unreachable: !is_seen, ..told(record, truth) });
        }
        Ok(Listing { boxes, unreachable })
    }

    /// Whether all is there that this herd is made of. Answers the engines that are out of reach.
    ///
    /// # Errors
    ///
    /// The store cannot be read or written to.
    pub async fn check(&self) -> Result<Vec<EngineName>, HerdError> {
        self.store.check().await?;
        let asked =
            self.engines.iter().map(|engine| async { (engine.name(), listed(engine).await) });
        let failed = |(name, answer): (&EngineName, Result<_, _>)| {
            let error = answer.err()?;
            tracing::error!(engine = %name, %error, "out of reach");
            Some(name.clone())
        };
        Ok(join_all(asked).await.into_iter().filter_map(failed).collect())
    }

    /// Everything about one box; as it was seen last where nobody can look now.
    pub async fn show(&self, address: &Address) -> Result<BoxStatus, HerdError> {
        let mut record = self.find(address).await?;
        match self.look_beside(&mut record).await {
            Ok(truth) => Ok(told(record, truth.as_ref())),
            Err(HerdError::Engine { source: EngineError::Unreachable { .. }, .. }) => {
                Ok(BoxStatus { unreachable: true, ..status(record) })
            }
            Err(error) => Err(error),
        }
    }

    /// The record of a box, as it was last seen.
    pub(crate) async fn find(&self, address: &Address) -> Result<BoxRecord, HerdError> {
        let none = || HerdError::NoSuchBox(address.clone());
        match &address.target {
            Target::Id(id) => {
                let found = self.store.box_by_id(*id).await?;
                let meant = |record: &BoxRecord| {
                    self.caller.sees(record.owner)
                        && address.engine.as_ref().is_none_or(|engine| *engine == record.engine)
                };
                found.filter(meant).ok_or_else(none)
            }
            Target::Name(name) => {
                let engine = address.engine.as_ref();
                let mut found = self.store.boxes_by_name(self.caller, engine, name).await?;
                // What is one's own comes first.
                if found.iter().any(|record| record.owner == self.caller.user()) {
                    found.retain(|record| record.owner == self.caller.user());
                }
                match (found.len(), engine) {
                    (0, Some(engine)) => self.adopt(engine, name).await?.ok_or_else(none),
                    (0 | 1, _) => found.pop().ok_or_else(none),
                    _ => Err(HerdError::Ambiguous { name: name.to_string(), of: homes(&found) }),
                }
            }
        }
    }

    /// Asks the engine what is true of a box and writes it down when it is news.
    pub(crate) async fn look(&self, record: &mut BoxRecord) -> Result<Option<Truth>, HerdError> {
        let truth = self.inspect(record).await?;
        self.correct(record, truth.as_ref()).await?;
        Ok(truth)
    }

    /// The same for whoever does not hold the box.
    pub(crate) async fn look_beside(
        &self,
        record: &mut BoxRecord,
    ) -> Result<Option<Truth>, HerdError> {
        let truth = self.inspect(record).await?;
        self.correct_beside(record, truth.as_ref()).await?;
        Ok(truth)
    }

    async fn inspect(&self, record: &BoxRecord) -> Result<Option<Truth>, HerdError> {
        let truth = self.engine_of(record)?.inspect(record.id).await;
        truth.map_err(|source| engine_error("inspect", record, source))
    }

    /// [`correct`](Self::correct) for whoever does not hold the box. What somebody does to it at this moment
    /// is seen before it is written down, and is no news: whoever does it writes that down. A box that is
    /// being deleted has not failed.
    pub(crate) async fn correct_beside(
        &self,
        record: &mut BoxRecord,
        truth: Option<&Truth>,
    ) -> Result<bool, HerdError> {
        let mut believed = record.clone();
        if !believe(&mut believed, truth) {
            return Ok(false);
        }
        match self.try_lock(record).await? {
            Some(_held) => self.correct(record, truth).await,
            None => {
                if believed.state != BoxState::Failed {
                    *record = believed;
                }
                Ok(false)
            }
        }
    }

    /// Writes down what the engine said of a box *after* its record was read. Where somebody has
    /// changed the box since, that counts: the record is read anew. Says whether anything was news.
    pub(crate) async fn correct(
        &self,
        record: &mut BoxRecord,
        truth: Option<&Truth>,
    ) -> Result<bool, HerdError> {
        let found = record.clone();
        if !believe(record, truth) {
            return Ok(false);
        }
        let corrected = match self.store.correct(&found, record).await {
            // An operation of ours has lost the box to another server, whose it is to correct.
            Err(StoreError::Fenced(_)) => false,
            corrected => corrected?,
        };
        match corrected {
            true => self.meters.saw(std::slice::from_ref(record), self.now()),
            false => *record = self.store.box_by_id(record.id).await?.unwrap_or(found),
        }
        Ok(corrected)
    }
}

/// What is known of a box, with what its engine says besides.
fn told(record: BoxRecord, truth: Option<&Truth>) -> BoxStatus {
    let mut told = status(record);
    told.notes.extend(truth.into_iter().flat_map(|truth| truth.notes.clone()));
    told
}

/// Where boxes of one name are, so that they can be told apart.
fn homes(found: &[BoxRecord]) -> Vec<String> {
    let home = |record: &BoxRecord| match record.owner {
        None => record.engine.to_string(),
        Some(_) => format!("{} as {}", record.engine, record.id),
    };
    found.iter().map(home).collect()
}

pub(crate) fn engine_error(op: &'static str, record: &BoxRecord, source: EngineError) -> HerdError {
    HerdError::Engine { op, name: record.spec.name.to_string(), source }
}
