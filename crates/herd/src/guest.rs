//! What is done in a box, over its link.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boxherd_engine::{ConsoleChunk, Engine, EngineError, Usage};
use boxherd_link::client::HANDSHAKE_TIMEOUT;
use boxherd_link::{AgentInfo, Exec, ExecId, ExecRequest, ExitStatus, Link, LinkError, Offsets};
use boxherd_model::policy::Decision;
use boxherd_model::spec::is_another_user;
use boxherd_model::{Address, BoxId, BoxState, Capability, Request};
use boxherd_store::BoxRecord;
use bytes::Bytes;

use crate::herd::decide;
use crate::links::Again;
use crate::lookup::engine_error;
use crate::{Found, Herd, HerdError};

/// How much of what a program says is kept, in bytes.
const OUTPUT: usize = 4096;

impl Herd {
    /// A link to the agent of a box; wakes the box when it is suspended. Links are kept and shared
    /// for as long as they hold.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn link(&self, address: &Address) -> Result<Link, HerdError> {
        let found = self.find(address).await.map(Found)?;
        self.link_to(found).await
    }

    /// The same for a box that was found.
    pub async fn link_to(&self, found: Found) -> Result<Link, HerdError> {
        self.link_of(found.0).await.map(|(_, link)| link)
    }

    /// Who answers in a box, when it has greeted. The link is kept for what comes next.
    ///
    /// # Errors
    ///
    /// As [`link`](Self::link), and when nobody greets.
    pub async fn agent(&self, address: &Address) -> Result<AgentInfo, HerdError> {
        let record = self.find(address).await?;
        let (record, link) = self.link_of(record).await?;
        link.agent().await.map_err(|source| no_link(&record, source))
    }

    /// Runs a command in a box with what its spec says of environment, folder and user; what the
    /// request says comes first. It goes on over another link when its own is lost, for as long as
    /// its agent keeps it.
    pub async fn exec(&self, address: &Address, request: ExecRequest) -> Result<Exec, HerdError> {
        let found = self.find(address).await.map(Found)?;
        self.exec_in(found, request).await
    }

    /// The same in a box that was found.
    #[tracing::instrument(name = "exec", skip_all, fields(name = %found.0.spec.name))]
    pub async fn exec_in(&self, found: Found, request: ExecRequest) -> Result<Exec, HerdError> {
        let (record, link) = self.link_of(found.0).await?;
        let variables = self.variables_in(&record).await?;
        let request = with_spec(request, &record, variables);
        let engine = self.engine_of(&record)?;
        if request.user.as_deref().is_some_and(is_another_user)
            && !engine.capabilities().has(Capability::Uids)
        {
            let source = engine.unsupported("user", Capability::Uids);
            return Err(engine_error("run a command in", &record, source));
        }
        let asked = Instant::now();
        let kept = request.detach_ttl;
        let begun = match link.exec(request).await {
            Ok(begun) => begun,
            Err(source @ LinkError::Refused { .. }) => {
                let name = record.spec.name.to_string();
                return Err(HerdError::NotBegun { name, source });
            }
            Err(source) => {
                let name = record.spec.name.as_str();
                return Err(self.why_lost(record.id, name, source).await);
            }
        };
        self.metrics.executed("start", asked.elapsed());
        // What is not kept, nobody could go on with.
        Ok(match kept.is_zero() {
            true => begun,
            false => begun.healed_by(Arc::new(Again { herd: self.clone(), id: record.id, kept })),
        })
    }

    /// Goes on with a command that was run before, perhaps over another server, and is kept by its
    /// agent. Whoever was there before is there no more.
    #[tracing::instrument(skip_all, fields(name = %found.0.spec.name))]
    pub async fn go_on(&self, found: Found, id: ExecId, from: Offsets) -> Result<Exec, HerdError> {
        let (record, link) = self.link_of(found.0).await?;
        link.reattach(id, from).await.map_err(|source| no_link(&record, source))
    }

    /// A command that was run has ended.
    pub fn exec_ended(&self, took: Duration) {
        self.metrics.executed("run", took);
    }

    /// Copies a file, or a tree with all that is in it, within a box: owners, permissions and times
    /// are those of the original. Nothing is copied into a folder that is there already.
    pub async fn copy_within(
        &self,
        address: &Address,
        from: &str,
        to: &str,
    ) -> Result<(), HerdError> {
        const CP: &str = "cp";
        let record = self.find(address).await?;
        let failed = |source| no_link(&record, source);
        // Says it as every other call that is about files does.
        self.link(address).await?.files().stat(from).await.map_err(failed)?;
        let mut request = ExecRequest::argv([CP, "-a", "-T", "--", from, to]);
        request.user = Some("root".to_owned());
        let done = self.exec(address, request).await?.collect(Bytes::new(), OUTPUT).await;
        let done = done.map_err(failed)?;
        match done.status {
            ExitStatus::Code(0) => Ok(()),
            status => {
                let said = String::from_utf8_lossy(&done.stderr);
                let said = match said.trim().lines().next_back() {
                    Some(line) => line.to_owned(),
                    None => format!("nothing, and ended with {status:?}"),
                };
                Err(HerdError::Program { program: CP, said })
            }
        }
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
            self.look_beside(&mut record).await?;
        }
        if decide(&record, Request::Use)? == Decision::WakeThenProceed {
            record = self.wake(record).await?;
        }
        if let Some(link) = self.links.get(record.id) {
            return Ok((record, link));
        }
        let _turn = self.links.turn(record.id).await;
        if let Some(link) = self.links.get(record.id) {
            return Ok((record, link));
        }
        let engine = Arc::clone(self.engine_of(&record)?);
        engine.called(record.id, &record.spec.name);
        let stream = match engine.connect(record.id).await {
            Ok(stream) => stream,
            Err(error) => return Err(self.why_no_link(&engine, record, error).await),
        };
        // What it is asked first goes out with the greeting.
        let link = Link::begin(stream, engine.greets_within().unwrap_or(HANDSHAKE_TIMEOUT));
        let again = self.links.put(record.id, link.clone());
        self.metrics.linked(again);
        Ok((record, link))
    }

    /// Why something came to nothing that was done over a link. Where that was lost, what has become of
    /// the box says more, once whoever does something to it at this moment is done.
    pub async fn why_lost(&self, id: BoxId, name: &str, source: LinkError) -> HerdError {
        let lost = matches!(source, LinkError::Lost { .. } | LinkError::Closed);
        let ended = if lost { self.has_ended(id, name).await } else { Ok(None) };
        let ended = ended.unwrap_or_else(|error| {
            tracing::debug!(%id, %error, "why a link was lost is not known");
            None
        });
        ended.unwrap_or_else(|| HerdError::Link { name: name.to_owned(), source })
    }

    /// That a box has stopped, or is gone; `None` while it is neither.
    async fn has_ended(&self, id: BoxId, name: &str) -> Result<Option<HerdError>, HerdError> {
        let ended = |reason| Some(HerdError::Ended { name: name.to_owned(), reason });
        let Some(record) = self.store.box_by_id(id).await? else { return Ok(ended(None)) };
        let _held = self.lock(&record).await?;
        let Some(mut record) = self.store.box_by_id(id).await? else { return Ok(ended(None)) };
        self.look(&mut record).await?;
        Ok(match (record.state, record.reason) {
            (BoxState::Stopped, reason @ Some(_)) => ended(reason),
            _ => None,
        })
    }

    /// A box that was last seen running and does not answer: what is true of it says why.
    async fn why_no_link(
        &self,
        engine: &Arc<dyn Engine>,
        mut record: BoxRecord,
        error: EngineError,
    ) -> HerdError {
        tracing::debug!(engine = %engine.name(), id = %record.id, %error, "no link");
        if let Err(worse) = self.look_beside(&mut record).await {
            return worse;
        }
        match decide(&record, Request::Use) {
            Err(refused) => refused,
            Ok(_) => engine_error("connect to", &record, error),
        }
    }
}

pub(crate) fn no_link(record: &BoxRecord, source: LinkError) -> HerdError {
    HerdError::Link { name: record.spec.name.to_string(), source }
}

/// What the request says comes before what the spec says, and that before what the user says.
fn with_spec(
    mut request: ExecRequest,
    record: &BoxRecord,
    variables: BTreeMap<String, String>,
) -> ExecRequest {
    let spec = &record.spec;
    let mut env = variables;
    env.extend(spec.env.clone());
    let mut env: Vec<_> = env.into_iter().collect();
    env.retain(|(key, _)| !request.env.iter().any(|(asked, _)| asked == key));
    env.append(&mut request.env);
    request.env = env;
    request.workdir = request.workdir.or_else(|| spec.workdir.clone());
    request.user = request.user.or_else(|| spec.user.clone());
    request
}
