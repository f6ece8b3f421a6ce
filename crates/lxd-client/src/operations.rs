//! Operations: what the server does in the background, and how its end is awaited.

use std::fmt;
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::client::Client;
use crate::envelope;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::transport::Call;
use crate::url::Url;

/// How far an operation is: the `status_code` of the API, doc/rest-api "status codes".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationStatus {
    /// It waits, or runs, or is being cancelled.
    Running,
    /// It ended well.
    Success,
    /// It ended in failure.
    Failure,
    /// It was cancelled.
    Cancelled,
}

/// An operation as the server describes it.
#[derive(Clone, Deserialize)]
pub(crate) struct OperationInfo {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) status_code: u16,
    #[serde(default)]
    pub(crate) err: String,
    /// When any of it changed last.
    #[serde(default)]
    pub(crate) updated_at: String,
    #[serde(default)]
    pub(crate) metadata: Value,
    #[serde(default)]
    pub(crate) location: String,
}

impl OperationInfo {
    pub(crate) fn status(&self) -> OperationStatus {
        match self.status_code {
            200 => OperationStatus::Success,
            400..=499 if self.status_code == 401 => OperationStatus::Cancelled,
            400..=499 => OperationStatus::Failure,
            _ => OperationStatus::Running,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.status() != OperationStatus::Running
    }

    /// What an operation that is over came to: its metadata, or why there is none.
    pub(crate) fn outcome(self) -> Result<Value> {
        match self.status() {
            OperationStatus::Cancelled => Err(Error::Cancelled { operation: self.description }),
            OperationStatus::Failure => Err(failure(self.description, self.err)),
            _ => Ok(self.metadata),
        }
    }
}

/// Failures that callers tell apart come as words only.
fn failure(operation: String, message: String) -> Error {
    if envelope::is_taken(&message) {
        return Error::Conflict { message };
    }
    // What Incus says of an alias that stands for no image.
    if message == "Image not provided for instance creation" {
        return Error::NotFound { message };
    }
    Error::OperationFailed { operation, message }
}

/// Without the metadata, where the secrets of websockets are.
impl fmt::Debug for OperationInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationInfo")
            .field("id", &self.id)
            .field("description", &self.description)
            .field("status_code", &self.status_code)
            .field("err", &self.err)
            .finish_non_exhaustive()
    }
}

/// An operation that was started.
///
/// It is waited for as long as the server says that it gets anywhere: one of which nothing has changed
/// for [`crate::Settings::operation_patience`] has stalled. A server that is lost meanwhile is waited for
/// as well. Neither is so for commands, which may be silent for as long as they run.
#[derive(Clone, Debug)]
pub struct Operation {
    client: Client,
    info: OperationInfo,
    seen: Option<u64>,
    quiet: Quiet,
}

/// For how long an operation may show no progress.
#[derive(Clone, Copy, Debug)]
enum Quiet {
    /// As long as the client is patient, and longer.
    For(Duration),
    /// It is a command.
    Ever,
}

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(500);

impl Operation {
    pub(crate) fn new(client: Client, info: OperationInfo, seen: Option<u64>) -> Self {
        Self { client, info, seen, quiet: Quiet::For(Duration::ZERO) }
    }

    /// The same, of a command.
    pub(crate) fn of_command(self) -> Self {
        Self { quiet: Quiet::Ever, ..self }
    }

    /// The same where it is known that nothing will be told of it for so long.
    #[must_use]
    pub fn quiet_for(self, longer: Duration) -> Self {
        Self { quiet: Quiet::For(longer), ..self }
    }

    /// Its UUID.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.info.id
    }

    /// What it does, in the server's words.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.info.description
    }

    /// What the server told when it started.
    #[must_use]
    pub fn metadata(&self) -> &Value {
        &self.info.metadata
    }

    /// Waits until it is over, and returns what it came to. One that has stalled is cancelled, where the
    /// server can.
    ///
    /// # Errors
    ///
    /// [`Error::OperationFailed`] or [`Error::Conflict`] with the server's words,
    /// [`Error::Cancelled`], [`Error::Stalled`], [`Error::OperationLost`],
    /// [`Error::OperationForgotten`], and whatever a call may fail with.
    pub async fn wait(&self) -> Result<Value> {
        if self.info.is_over() {
            return self.info.clone().outcome();
        }
        let patience = self.client.core.settings.operation_patience;
        let mut progress = Progress::new(match self.quiet {
            Quiet::For(longer) => Some(patience.saturating_add(longer)),
            Quiet::Ever => None,
        });
        if let Some(info) = self.heard(&mut progress).await? {
            return info.outcome();
        }
        self.long_poll(&mut progress).await?.outcome()
    }

    /// As [`Operation::wait`], but no longer than `limit`. The operation goes on beyond it.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`], and what [`Operation::wait`] may fail with.
    pub async fn wait_for(&self, limit: Duration) -> Result<Value> {
        tokio::time::timeout(limit, self.wait())
            .await
            .map_err(|_| Error::Timeout { call: self.info.description.clone(), after: limit })?
    }

    /// As [`Operation::wait`], and tells meanwhile, twice a second, what the server says of it.
    ///
    /// # Errors
    ///
    /// As [`Operation::wait`].
    pub async fn wait_telling(&self, mut tell: impl FnMut(&Value)) -> Result<Value> {
        let mut ending = std::pin::pin!(self.wait());
        loop {
            if let Ok(ended) = tokio::time::timeout(LOOK, &mut ending).await {
                return ended;
            }
            let looking = self.client.get::<OperationInfo>(self.client.scoped(self.url()));
            tokio::select! {
                ended = &mut ending => return ended,
                // Only the wait says what became of it.
                info = looking => if let Ok(info) = info { tell(&info.metadata) },
            }
        }
    }

    /// Cancels it, where the server can.
    ///
    /// # Errors
    ///
    /// [`Error::BadRequest`] when it cannot be cancelled, [`Error::NotFound`] when it is over.
    pub async fn cancel(&self) -> Result<()> {
        let url = self.client.scoped(self.url());
        self.client.sync(Call::new(Method::DELETE, url)).await.map(drop)
    }

    /// Whether it is over now.
    pub(crate) async fn is_over(&self) -> Result<bool> {
        match self.client.get::<OperationInfo>(self.client.scoped(self.url())).await {
            Ok(info) => Ok(info.is_over()),
            Err(Error::NotFound { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The end as the events tell it; `None` when they cannot.
    async fn heard(&self, progress: &mut Progress) -> Result<Option<OperationInfo>> {
        let hub = &self.client.core.hub;
        hub.listen(&self.client);
        // Events of other members of a cluster come by way of the members' own connections, which
        // may be down; a long poll is passed on to the member that has the operation.
        let clustered = !matches!(self.info.location.as_str(), "" | "none");
        let end = self.seen.filter(|_| !clustered).and_then(|mark| hub.end_of(self.id(), mark));
        let Some(mut end) = end else { return Ok(None) };
        loop {
            match tokio::time::timeout(progress.next(), &mut end).await {
                Ok(Ok(info)) => return Ok(Some(info)),
                // The websocket broke.
                Ok(Err(_)) => return Ok(None),
                // An end that was not told (a server that keeps it to itself) must not hang anybody.
                Err(_) => {
                    let looked = self.client.get(self.client.scoped(self.url())).await;
                    let info: OperationInfo = looked.map_err(|error| self.lost(error))?;
                    if info.is_over() {
                        return Ok(Some(info));
                    }
                    self.check(&info, progress).await?;
                }
            }
        }
    }

    async fn long_poll(&self, progress: &mut Progress) -> Result<OperationInfo> {
        let mut away = None;
        loop {
            let asked = Instant::now();
            match self.poll(progress.next()).await {
                Ok(info) if info.is_over() => return Ok(info),
                Ok(info) => {
                    away = None;
                    self.check(&info, progress).await?;
                }
                Err(error) if error.is_away() && !matches!(self.quiet, Quiet::Ever) => {
                    let since = *away.get_or_insert(asked);
                    if since.elapsed() >= self.client.core.settings.lost_patience {
                        return Err(self.lost(error));
                    }
                }
                Err(error) => return Err(self.lost(error)),
            }
            // One that answers before the time is not to be asked without a pause.
            tokio::time::sleep_until(asked + LOOK.min(progress.next())).await;
        }
    }

    async fn poll(&self, longest: Duration) -> Result<OperationInfo> {
        let seconds = longest.as_secs().max(1);
        let url = Url::new(["operations", self.id(), "wait"]);
        let url = url.query("timeout", &seconds.to_string());
        let call = Call::new(Method::GET, self.client.scoped(url));
        let name = call.name();
        let limit = Duration::from_secs(seconds) + self.client.core.settings.answer_limit;
        let (head, body) = self.client.whole(call, limit).await?;
        match envelope::open(&name, head.status, &body)? {
            envelope::Answer::Sync(value) => envelope::metadata(&name, value),
            envelope::Answer::Async(info) => Ok(info),
        }
    }

    /// Gives up on one that gets nowhere.
    async fn check(&self, info: &OperationInfo, progress: &mut Progress) -> Result<()> {
        progress.see(info);
        let Some(after) = progress.stalled() else { return Ok(()) };
        if let Err(error) = self.cancel().await {
            tracing::debug!(id = self.id(), %error, "not cancelled");
        }
        Err(Error::Stalled {
            endpoint: self.client.core.transport.preferred().to_string(),
            operation: self.info.description.clone(),
            id: self.info.id.clone(),
            after,
        })
    }

    /// What a look at it that failed says of it.
    fn lost(&self, error: Error) -> Error {
        let operation = self.info.description.clone();
        match error {
            Error::NotFound { .. } => Error::OperationForgotten { operation },
            error if error.is_away() => Error::OperationLost { operation, source: Box::new(error) },
            error => error,
        }
    }

    fn url(&self) -> Url {
        Url::new(["operations", self.id()])
    }

    /// The websocket with a secret of this operation's.
    pub(crate) fn websocket_url(&self, secret: &str) -> Url {
        let url = Url::new(["operations", self.id(), "websocket"]).query("secret", secret);
        self.client.scoped(url)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}
