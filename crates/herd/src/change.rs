//! Starting, stopping, freezing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use boxherd_engine::{Engine, EngineError};
use boxherd_model::policy::{Decision, Event};
use boxherd_model::{Address, BoxState, BoxStatus, Request, StopReason, Timings};
use boxherd_store::{BoxRecord, OperationKind, Outcome};

use crate::herd::{apply, decide, status};
use crate::lookup::engine_error;
use crate::{Herd, HerdError};

impl Herd {
    /// Starts a box that is stopped or failed; wakes one that is suspended.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn start(&self, address: &Address) -> Result<BoxStatus, HerdError> {
        self.change(address, Request::Start, Duration::ZERO).await
    }

    /// Ends every process of a box and keeps its disk: asks, and after `grace` kills.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn stop(&self, address: &Address, grace: Duration) -> Result<BoxStatus, HerdError> {
        self.change(address, Request::Stop, grace).await
    }

    /// Stops, then starts.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn restart(
        &self,
        address: &Address,
        grace: Duration,
    ) -> Result<BoxStatus, HerdError> {
        self.change(address, Request::Restart, grace).await
    }

    /// Freezes a box with its memory in place.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn suspend(&self, address: &Address) -> Result<BoxStatus, HerdError> {
        self.change(address, Request::Suspend, Duration::ZERO).await
    }

    /// Thaws a box, or brings its memory back from disk.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn resume(&self, address: &Address) -> Result<BoxStatus, HerdError> {
        self.change(address, Request::Resume, Duration::ZERO).await
    }

    /// Saves a box's memory to disk and ends its processes.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn hibernate(&self, address: &Address) -> Result<BoxStatus, HerdError> {
        self.change(address, Request::Hibernate, Duration::ZERO).await
    }

    async fn change(
        &self,
        address: &Address,
        request: Request,
        grace: Duration,
    ) -> Result<BoxStatus, HerdError> {
        let record = self.find(address).await?;
        let _held = self.lock(&record).await?;
        // What is true now, and what somebody else changed while this waited.
        let mut record = self.find(address).await?;
        self.look(&mut record).await?;
        match decide(&record, request)? {
            Decision::AlreadySo => Ok(status(record)),
            Decision::Proceed => self.change_held(record, request, false, grace).await,
            Decision::WakeThenProceed => self.change_held(record, request, true, grace).await,
        }
    }

    pub(crate) async fn change_held(
        &self,
        mut record: BoxRecord,
        request: Request,
        wake: bool,
        grace: Duration,
    ) -> Result<BoxStatus, HerdError> {
        let engine = Arc::clone(self.engine_of(&record)?);
        let _admitted = match request {
            Request::Start | Request::Restart | Request::Resume => {
                self.admit_start(&engine, &record).await?
            }
            _ => None,
        };
        let begun = self.begin(OperationKind::Change, vec![record.id], None, &[]).await?;
        record.last_operation = Some(begun.id());
        record.details.timings = Timings::default();
        let done = async {
            if wake {
                self.step(&engine, &mut record, Request::Resume, grace).await?;
            }
            // A box that only had to wake up is where it was wanted.
            if !(wake && request == Request::Start) {
                self.step(&engine, &mut record, request, grace).await?;
            }
            Ok(())
        }
        .await;
        begun.reached("made");
        match done {
            Ok(()) => {
                self.end(begun, Outcome::Done, std::slice::from_ref(&record), &[]).await?;
                Ok(status(record))
            }
            Err(source) => {
                let error = engine_error(verb(request), &record, source);
                if record.state == BoxState::Starting {
                    apply(&mut record, Event::Failed);
                    record.failure = Some(crate::reconcile::chain(&error));
                }
                self.end(begun, Outcome::Failed, &[record], &[]).await?;
                Err(error)
            }
        }
    }

    async fn step(
        &self,
        engine: &Arc<dyn Engine>,
        record: &mut BoxRecord,
        request: Request,
        grace: Duration,
    ) -> Result<(), EngineError> {
        let id = record.id;
        let began = Instant::now();
        match request {
            Request::Start => self.boot(engine, record).await?,
            Request::Stop | Request::Restart => {
                self.links.remove(id);
                engine.stop(id, grace).await?;
                apply(record, Event::Stopped(StopReason::Requested));
                if request == Request::Restart {
                    self.boot(engine, record).await?;
                }
            }
            Request::Suspend => {
                engine.suspend(id).await?;
                apply(record, Event::Suspended);
            }
            Request::Resume => {
                engine.resume(id).await?;
                apply(record, Event::Resumed);
            }
            Request::Hibernate => {
                engine.hibernate(id).await?;
                apply(record, Event::Hibernated);
            }
            Request::Fork
            | Request::Snapshot
            | Request::Restore
            | Request::Use
            | Request::Rename
            | Request::Label
            | Request::Change
            | Request::Disk
            | Request::Delete => unreachable!("`{request}` has a use case of its own"),
        }
        if !matches!(request, Request::Start | Request::Restart) {
            record.details.timings.push(verb(request), began.elapsed());
        }
        Ok(())
    }

    /// Thaws a suspended or hibernated box, because somebody wants to use it.
    pub(crate) async fn wake(&self, record: BoxRecord) -> Result<BoxRecord, HerdError> {
        let by_id = status(record).address();
        self.resume(&by_id).await?;
        self.find(&by_id).await
    }
}

fn verb(request: Request) -> &'static str {
    match request {
        Request::Start => "start",
        Request::Stop => "stop",
        Request::Restart => "restart",
        Request::Suspend => "suspend",
        Request::Resume => "resume",
        Request::Hibernate => "hibernate",
        _ => "change",
    }
}
