//! Where a call is received: who it is from, and what is written down of it.

use boxherd_herd::{Audited, Herd, HerdError, Source};
use boxherd_model::{Address, BoxId};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use parking_lot::Mutex;
use tonic::{Request, Response, Status};

use crate::service::Answers;
use crate::status::status;
use crate::{Api, Config};

/// What one call works with.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    /// Acts for whoever calls, or in the place of a box's owner by a grant.
    pub(crate) herd: Herd,
    /// Acts for whoever calls.
    pub(crate) caller: Herd,
    pub(crate) config: &'a Config,
    action: &'static str,
    detail: String,
    source: String,
    target: Mutex<Option<BoxId>>,
}

/// Whether a call goes into the audit log when it was served; one that was denied always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Audited,
    Plain,
}

impl Api {
    /// Recognises the caller by its token.
    pub(crate) async fn admit<T>(
        &self,
        action: &'static str,
        detail: String,
        request: &Request<T>,
    ) -> Result<Desk<'_>, Status> {
        let source = request.extensions().get::<Source>().map(ToString::to_string);
        let source = source.unwrap_or_default();
        match self.recognise(request).await {
            Ok(herd) => {
                let target = Mutex::default();
                let caller = herd.clone();
                Ok(Desk { herd, caller, config: &self.config, action, detail, source, target })
            }
            Err(refused) => {
                let audited = Audited { source, action, target: None, detail };
                self.herd.audit(audited, refused.code()).await;
                Err(status(&refused))
            }
        }
    }

    async fn recognise<T>(&self, request: &Request<T>) -> Result<Herd, HerdError> {
        let header = request.metadata().get("authorization");
        let header = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or(HerdError::Unauthenticated(
                "the call has no token: send `authorization: Bearer`",
            ))?;
        self.herd.authenticate(token).await
    }
}

impl Desk<'_> {
    /// Goes to the box that the call names, in the place of its owner if the caller has a grant. What
    /// names no box is left to whoever serves the call.
    pub(crate) async fn enter(&mut self, text: &str) -> Result<(), HerdError> {
        let Ok(address) = text.parse() else { return Ok(()) };
        if let Some(herd) = self.caller.in_place_of_owner(&address).await? {
            self.herd = herd;
            self.detail.push_str(" (by a grant)");
        }
        Ok(())
    }

    /// The box a field names, by id or name.
    pub(crate) fn address(&self, field: &'static str, text: &str) -> Result<Address, HerdError> {
        if text.is_empty() {
            let reason = "name a box, by its name or id".to_owned();
            return Err(HerdError::Invalid { field, reason });
        }
        // What cannot be a name is nobody's name.
        let none = || HerdError::NoSuch { what: "box", name: text.chars().take(80).collect() };
        text.parse().map_err(|_| none())
    }

    /// The box that `vm` names, or a field that releases before 0.2 have instead.
    pub(crate) fn either(&self, vm: &str, older: &str) -> Result<Address, HerdError> {
        self.address("vm", if vm.is_empty() { older } else { vm })
    }

    /// Refuses what is asked for in another org than the caller's own, which is the only one there is
    /// and is called as the user.
    pub(crate) async fn own_org(&self, org: &str) -> Result<(), HerdError> {
        if org.is_empty() {
            return Ok(());
        }
        let own = self.caller.whoami().await?.user;
        match org == own.name.as_str() || org == own.id.to_string() {
            true => Ok(()),
            false => Err(HerdError::NoSuch { what: "org", name: org.chars().take(80).collect() }),
        }
    }

    /// The box that this call turned out to be about, for the audit log.
    pub(crate) fn about(&self, id: BoxId) {
        *self.target.lock() = Some(id);
    }

    /// Writes down what came of the call and answers.
    pub(crate) async fn answer<T>(
        self,
        kept: Kept,
        done: Result<T, HerdError>,
    ) -> Result<Response<T>, Status> {
        let denied = matches!(done, Err(HerdError::Denied(_)));
        if kept == Kept::Audited || denied {
            self.log(done.as_ref().err().map_or("ok", HerdError::code)).await;
        }
        done.map(Response::new).map_err(|error| status(&error))
    }

    /// The same for a command that has begun, and runs while that is written down. Nothing of what it says
    /// is told before.
    pub(crate) fn answer_meanwhile<T: Send + 'static>(
        self,
        answers: Answers<T>,
    ) -> Response<Answers<T>> {
        let logged = self.log_meanwhile();
        let told = async move {
            logged.await;
            answers
        };
        Response::new(Box::pin(told.flatten_stream()))
    }

    /// The same to a client that has said everything: the answer begins with the first thing that the command
    /// says, and goes along with it.
    pub(crate) async fn answer_with_first<T: Send + 'static>(
        self,
        mut answers: Answers<T>,
    ) -> Response<Answers<T>> {
        let logged = self.log_meanwhile();
        let first = answers.next().await;
        logged.await;
        Response::new(Box::pin(stream::iter(first).chain(answers)))
    }

    /// Writes down that a command has begun, whoever goes. Ends when that is done.
    fn log_meanwhile(self) -> impl Future<Output = ()> + Send + 'static {
        let logged = tokio::spawn(self.log("ok"));
        async move {
            if let Err(error) = logged.await {
                tracing::error!(%error, "not written into the audit log");
            }
        }
    }

    fn log(self, outcome: &'static str) -> impl Future<Output = ()> + Send + use<> {
        let Self { caller, action, detail, source, target, .. } = self;
        let audited = Audited { source, action, target: target.into_inner(), detail };
        async move { caller.audit(audited, outcome).await }
    }
}
