//! What is done in a box, over its link.

use std::sync::Arc;

use boxherd_engine::{ConsoleChunk, Engine, EngineError, Usage};
use boxherd_link::{Exec, ExecRequest, Link, LinkError};
use boxherd_model::policy::Decision;
use boxherd_model::spec::is_another_user;
use boxherd_model::{Address, Capability, Request};
use boxherd_store::BoxRecord;
use futures_util::FutureExt as _;

use crate::herd::decide;
use crate::lookup::engine_error;
use crate::{Herd, HerdError};

impl Herd {
    /// A link to the agent of a box; wakes the box when it is suspended. Links are kept and shared
    /// for as long as they hold.
    pub async fn link(&self, address: &Address) -> Result<Link, HerdError> {
        let record = self.find(address).await?;
        self.link_of(record).await.map(|(_, link)| link)
    }

    /// Runs a command in a box with what its spec says of environment, folder and user; what the
    /// request says comes first.
    pub async fn exec(&self, address: &Address, request: ExecRequest) -> Result<Exec, HerdError> {
        let record = self.find(address).await?;
        let (record, link) = self.link_of(record).await?;
        let request = with_spec(request, &record);
        let engine = self.engine_of(&record)?;
        if request.user.as_deref().is_some_and(is_another_user)
            && !engine.capabilities().has(Capability::Uids)
        {
            let source = engine.unsupported("user", Capability::Uids);
            return Err(engine_error("run a command in", &record, source));
        }
        link.exec(request).await.map_err(|source| not_begun(&record, source))
    }

    /// What a box wrote to its console from byte `from` on.
    pub async fn console(&self, address: &Address, from: u64) -> Result<ConsoleChunk, HerdError> {
        let record = self.find(address).await?;
        let chunk = self.engine_of(&record)?.console(record.id, from).await;
        chunk.map_err(|source| engine_error("read the console of", &record, source))
    }

    /// What a box uses now, as its engine measures it.
    pub async fn usage(&self, address: &Address) -> Result<Usage, HerdError> {
        let record = self.find(address).await?;
        let usage = self.engine_of(&record)?.usage(record.id).await;
        usage.map_err(|source| engine_error("measure", &record, source))
    }

    pub(crate) async fn link_of(
        &self,
        mut record: BoxRecord,
    ) -> Result<(BoxRecord, Link), HerdError> {
        if decide(&record, Request::Use).is_err() {
            // It may have been started by others since it was last seen.
            self.look(&mut record).await?;
        }
        if decide(&record, Request::Use)? == Decision::WakeThenProceed {
            record = self.wake(record).await?;
        }
        if let Some(link) = self.kept_link(&record) {
            return Ok((record, link));
        }
        let engine = Arc::clone(self.engine_of(&record)?);
        let stream = match engine.connect(record.id).await {
            Ok(stream) => stream,
            Err(error) => return Err(self.why_no_link(&engine, record, error).await),
        };
        let link = Link::open(stream).await;
        let link =
            link.map_err(|source| HerdError::Link { name: record.spec.name.to_string(), source })?;
        self.links.lock().insert(record.id, link.clone());
        Ok((record, link))
    }

    fn kept_link(&self, record: &BoxRecord) -> Option<Link> {
        let mut links = self.links.lock();
        let link = links.get(&record.id)?;
        if link.closed().now_or_never().is_none() {
            return Some(link.clone());
        }
        links.remove(&record.id);
        None
    }

    /// A box that was last seen running and does not answer: what is true of it says why.
    async fn why_no_link(
        &self,
        engine: &Arc<dyn Engine>,
        mut record: BoxRecord,
        error: EngineError,
    ) -> HerdError {
        tracing::debug!(engine = %engine.name(), id = %record.id, %error, "no link");
        if let Err(worse) = self.look(&mut record).await {
            return worse;
        }
        match decide(&record, Request::Use) {
            Err(refused) => refused,
            Ok(_) => engine_error("connect to", &record, error),
        }
    }
}

/// A command that did not begin: the agent may have had a reason, or be the reason.
fn not_begun(record: &BoxRecord, source: LinkError) -> HerdError {
    let name = record.spec.name.to_string();
    match source {
        LinkError::Refused { .. } => HerdError::NotBegun { name, source },
        _ => HerdError::Link { name, source },
    }
}

fn with_spec(mut request: ExecRequest, record: &BoxRecord) -> ExecRequest {
    let spec = &record.spec;
    let mut env: Vec<_> = spec.env.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    env.retain(|(key, _)| !request.env.iter().any(|(asked, _)| asked == key));
    env.append(&mut request.env);
    request.env = env;
    request.workdir = request.workdir.or_else(|| spec.workdir.clone());
    request.user = request.user.or_else(|| spec.user.clone());
    request
}
