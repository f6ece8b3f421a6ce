//! Operations: what the server does in the background, and how its end is awaited.

use std::fmt;
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::client::Client;
use crate::envelope;
use crate::error::{Error, Result};
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
#[derive(Clone, Debug)]
pub struct Operation {
    client: Client,
    info: OperationInfo,
    seen: Option<u64>,
}

/// One long poll; the server answers earlier when the operation ends.
const POLL: Duration = Duration::from_secs(60);

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(500);

impl Operation {
    pub(crate) fn new(client: Client, info: OperationInfo, seen: Option<u64>) -> Self {
        Self { client, info, seen }
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

    /// Waits until it is over, and returns what it came to.
    ///
    /// # Errors
    ///
    /// [`Error::OperationFailed`] or [`Error::Conflict`] with the server's words,
    /// [`Error::Cancelled`], and whatever a call may fail with.
    pub async fn wait(&self) -> Result<Value> {
        if self.info.is_over() {
            return self.info.clone().outcome();
        }
        if let Some(info) = self.heard().await? {
            return info.outcome();
        }
        self.long_poll().await?.outcome()
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

    /// The end as the events tell it; `None` when they cannot.
    async fn heard(&self) -> Result<Option<OperationInfo>> {
        let hub = &self.client.core.hub;
        hub.listen(&self.client);
        // Events of other members of a cluster come by way of the members' own connections, which
        // may be down; a long poll is passed on to the member that has the operation.
        let clustered = !matches!(self.info.location.as_str(), "" | "none");
        let end = self.seen.filter(|_| !clustered).and_then(|mark| hub.end_of(self.id(), mark));
        let Some(mut end) = end else { return Ok(None) };
        loop {
            match tokio::time::timeout(POLL, &mut end).await {
                Ok(Ok(info)) => return Ok(Some(info)),
                // The websocket broke.
                Ok(Err(_)) => return Ok(None),
                // An end that was not told (a server that keeps it to itself) must not hang anybody.
                Err(_) => {
                    let info: OperationInfo =
                        self.client.get(self.client.scoped(self.url())).await?;
                    if info.is_over() {
                        return Ok(Some(info));
                    }
                }
            }
        }
    }

    async fn long_poll(&self) -> Result<OperationInfo> {
        let seconds = POLL.as_secs().to_string();
        loop {
            let url = Url::new(["operations", self.id(), "wait"]).query("timeout", &seconds);
            let call = Call::new(Method::GET, self.client.scoped(url));
            let name = call.name();
            let limit = POLL + self.client.core.settings.answer_limit;
            let (head, body) = self.client.whole(call, limit).await?;
            let info = match envelope::open(&name, head.status, &body)? {
                envelope::Answer::Sync(value) => envelope::metadata::<OperationInfo>(&name, value)?,
                envelope::Answer::Async(info) => info,
            };
            if info.is_over() {
                return Ok(info);
            }
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
