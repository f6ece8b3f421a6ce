//! The client itself: a remote, its project, and one call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::header::ETAG;
use hyper::http::response::Parts;
use hyper::{Method, Response, StatusCode};
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use crate::endpoint::Endpoint;
use crate::envelope::{self, Answer};
use crate::error::{Error, Result};
use crate::events::Hub;
use crate::identity::Identity;
use crate::instances::{Etag, Instance};
use crate::operations::Operation;
use crate::pool::PooledBody;
use crate::server::Server;
use crate::transport::{Call, Transport};
use crate::url::Url;

/// A server or a cluster, and what this client needs to be let in.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Its endpoints, the one to be asked first first. All of them have the same certificate.
    pub endpoints: Vec<Endpoint>,
    /// The client's certificate; of no use for unix sockets.
    pub identity: Option<Identity>,
    /// The server's certificate: it is trusted, and nothing else.
    pub server_certificate: Option<CertificateDer<'static>>,
    /// The project; `default` is the one that every server has.
    pub project: String,
}

impl Remote {
    /// The server behind a unix socket.
    #[must_use]
    pub fn unix(socket: impl Into<std::path::PathBuf>) -> Self {
        Self {
            endpoints: vec![Endpoint::Unix(socket.into())],
            identity: None,
            server_certificate: None,
            project: DEFAULT_PROJECT.to_owned(),
        }
    }
}

pub(crate) const DEFAULT_PROJECT: &str = "default";

/// How patient a client is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// For a connection, TLS included.
    pub connect_limit: Duration,
    /// For the whole answer to a call that is answered at once. Streams and files are not limited.
    pub answer_limit: Duration,
    /// How often a call is repeated that can be repeated without harm: nothing was sent, or it only
    /// reads.
    pub retries: u32,
    /// The pause before the first repetition; doubled before each further one.
    pub retry_after: Duration,
    /// How long an operation is waited for that shows no progress. The server tells it by the time of
    /// its last change; many tell of none between begin and end, however much there is to do.
    pub operation_patience: Duration,
    /// How long a server is waited for that is lost while it does an operation.
    pub lost_patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_limit: Duration::from_secs(10),
            answer_limit: Duration::from_secs(60),
            retries: 2,
            retry_after: Duration::from_millis(100),
            operation_patience: Duration::from_secs(30 * 60),
            lost_patience: Duration::from_secs(30),
        }
    }
}

pub(crate) struct Core {
    pub(crate) transport: Transport,
    pub(crate) settings: Settings,
    pub(crate) hub: Arc<Hub>,
    server: OnceCell<Server>,
}

/// A client of one server or cluster, for one project. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) core: Arc<Core>,
    project: Arc<str>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", self.core.transport.preferred())
            .field("project", &self.project)
            .finish()
    }
}

impl Client {
    /// A client with the usual patience. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the remote has no endpoint, or certificates that cannot be used.
    pub fn new(remote: &Remote) -> Result<Self> {
        Self::with_settings(remote, Settings::default())
    }

    /// A client. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// As [`Client::new`].
    pub fn with_settings(remote: &Remote, settings: Settings) -> Result<Self> {
        let transport = Transport::new(remote, settings)?;
        let core = Core { transport, settings, hub: Arc::default(), server: OnceCell::new() };
        Ok(Self { core: Arc::new(core), project: remote.project.as_str().into() })
    }

    /// A client that the server is known to trust: asks it once.
    ///
    /// # Errors
    ///
    /// [`Error::Untrusted`], and whatever a connection may fail with.
    pub async fn connect(remote: &Remote) -> Result<Self> {
        let client = Self::new(remote)?;
        client.server().await?.trusted()?;
        Ok(client)
    }

    /// The same server, another project.
    #[must_use]
    pub fn in_project(&self, project: &str) -> Self {
        Self { core: Arc::clone(&self.core), project: project.into() }
    }

    /// The project of its calls.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Opens `count` connections ahead of their use, all at once, and returns when `first` of them are
    /// there: whatever is done next saves two round trips. Over a unix socket there is nothing to save,
    /// and nothing is opened.
    ///
    /// # Errors
    ///
    /// Whatever a connection may fail with.
    pub async fn warm(&self, count: usize, first: usize) -> Result<()> {
        self.core.transport.warm(count, first).await
    }

    /// How many connections this client, with all its clones, ever opened.
    #[must_use]
    pub fn connections_opened(&self) -> u64 {
        self.core.transport.dialled()
    }

    /// What the server says of itself; asked once.
    ///
    /// # Errors
    ///
    /// Whatever a call may fail with.
    pub async fn server(&self) -> Result<&Server> {
        self.core.server.get_or_try_init(|| self.read_server()).await
    }

    /// What the server says of itself now.
    ///
    /// # Errors
    ///
    /// Whatever a call may fail with.
    pub async fn read_server(&self) -> Result<Server> {
        self.get(self.url([])).await
    }

    /// An instance of this project, whether it exists or not.
    #[must_use]
    pub fn instance(&self, name: &str) -> Instance {
        Instance::new(self.clone(), name)
    }

    // === calls ===

    /// A path in this client's project.
    pub(crate) fn url<const N: usize>(&self, segments: [&str; N]) -> Url {
        self.scoped(Url::new(segments))
    }

    /// `url` in this client's project.
    pub(crate) fn scoped(&self, url: Url) -> Url {
        if &*self.project == DEFAULT_PROJECT { url } else { url.query("project", &self.project) }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T> {
        let call = Call::new(Method::GET, url);
        let name = call.name();
        envelope::metadata(&name, self.sync(call).await?)
    }

    /// The same with the version of what was read.
    pub(crate) async fn get_tagged<T: DeserializeOwned>(&self, url: Url) -> Result<(T, Etag)> {
        let call = Call::new(Method::GET, url);
        let name = call.name();
        let (head, body) = self.whole(call, self.core.settings.answer_limit).await?;
        let tag = head.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        match envelope::open(&name, head.status, &body)? {
            Answer::Sync(value) => Ok((envelope::metadata(&name, value)?, Etag(tag))),
            Answer::Async(_) => Err(Error::protocol(name, "an operation instead of a result")),
        }
    }

    /// A call that is answered with its result.
    pub(crate) async fn sync(&self, call: Call) -> Result<serde_json::Value> {
        let name = call.name();
        match self.answer(call).await? {
            Answer::Sync(value) => Ok(value),
            Answer::Async(_) => Err(Error::protocol(name, "an operation instead of a result")),
        }
    }

    /// A call that starts an operation.
    pub(crate) async fn start(&self, call: Call) -> Result<Operation> {
        let name = call.name();
        let seen = self.core.hub.mark();
        match self.answer(call).await? {
            Answer::Async(info) => Ok(Operation::new(self.clone(), info, seen)),
            Answer::Sync(_) => Err(Error::protocol(name, "a result instead of an operation")),
        }
    }

    /// As [`Client::start`], for calls whose body takes as long as it takes.
    pub(crate) async fn start_unlimited(&self, call: Call) -> Result<Operation> {
        let name = call.name();
        let seen = self.core.hub.mark();
        let response = self.stream(call).await?;
        let status = response.status();
        let body = self.collect(&name, response.into_body()).await?;
        match envelope::open(&name, status, &body)? {
            Answer::Async(info) => Ok(Operation::new(self.clone(), info, seen)),
            Answer::Sync(_) => Err(Error::protocol(name, "a result instead of an operation")),
        }
    }

    /// A call that is answered with a result or an operation, to its end.
    pub(crate) async fn finish(&self, call: Call) -> Result<()> {
        let seen = self.core.hub.mark();
        match self.answer(call).await? {
            Answer::Sync(_) => Ok(()),
            Answer::Async(info) => Operation::new(self.clone(), info, seen).wait().await.map(drop),
        }
    }

    pub(crate) async fn start_json(
        &self,
        method: Method,
        url: Url,
        body: &impl Serialize,
    ) -> Result<Operation> {
        self.start(Call::new(method, url).json(body)?).await
    }

    async fn answer(&self, call: Call) -> Result<Answer> {
        let name = call.name();
        let (head, body) = self.whole(call, self.core.settings.answer_limit).await?;
        envelope::open(&name, head.status, &body)
    }

    /// A call with its whole answer in memory, within `limit`.
    pub(crate) async fn whole(&self, call: Call, limit: Duration) -> Result<(Parts, Bytes)> {
        let name = call.name();
        let exchange = async {
            let (head, body) = self.core.transport.send(call).await?.into_parts();
            Ok((head, self.collect(&name, body).await?))
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Timeout { call: name, after: limit }),
        }
    }

    /// A call whose answer is read as it comes; an error of the server's is opened.
    pub(crate) async fn stream(&self, call: Call) -> Result<Response<PooledBody>> {
        let name = call.name();
        let response = self.core.transport.send(call).await?;
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let status = response.status();
        let body = self.collect(&name, response.into_body()).await?;
        Err(match envelope::open(&name, status, &body) {
            Err(error) => error,
            Ok(_) => Error::protocol(name, format!("no error in an answer with {status}")),
        })
    }

    pub(crate) async fn collect(&self, call: &str, body: PooledBody) -> Result<Bytes> {
        let collected = body.collect().await.map_err(|error| self.broken(call, error))?;
        Ok(collected.to_bytes())
    }

    /// That the connection ended in the middle of an answer.
    pub(crate) fn broken(&self, call: &str, error: hyper::Error) -> Error {
        Error::Broken {
            endpoint: self.core.transport.preferred().to_string(),
            call: call.to_owned(),
            source: std::io::Error::other(error),
        }
    }
}
