//! A client: where it connects to, as whom, and what it repeats.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use boxherd_boxd_api::boxd_api_client::BoxdApiClient;
use hyper::Uri;
use tokio::sync::OnceCell;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status};

use crate::embedded::{self, Embedded};
use crate::login::{Login, Secret};
use crate::transport::Transport;
use crate::{
    Boxes, Builder, Checkpoints, Disks, Domains, Error, Files, Images, Keys, MAX_MESSAGE, Networks,
    Ports, Proxies, Refusal, Secrets, Snapshots, Templates, Tokens, Users, Variables,
};

/// How long is waited before each time something is tried again.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1500)];

pub(crate) type Wire = BoxdApiClient<Transport>;

/// Calls a method of the wire, as often as `Looks` or `Changes` allows.
macro_rules! ask {
    ($client:expr, $repeat:ident, $method:ident, $asked:expr) => {
        $client
            .call(
                $crate::client::Repeat::$repeat,
                $asked,
                |mut wire: $crate::client::Wire, asked| async move { wire.$method(asked).await },
            )
            .await
    };
}
pub(crate) use ask;

/// What is known of a call that failed on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It only looks: done twice is as good as once.
    Looks,
    /// It changes something: it is done again only when it never left.
    Changes,
}

/// A client of a server. Clones share one connection and one token.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    transport: Transport,
    login: Login,
    origin: Uri,
    /// What of Boxherd's own the server knows, once it was asked.
    knows: OnceCell<Vec<String>>,
    /// The server, if it is ours.
    _embedded: Option<Embedded>,
}

impl Client {
    /// Refuses to ask a server for what it does not know of, and would leave out without a word.
    pub(crate) async fn needs(&self, what: &'static str) -> Result<(), Error> {
        let ask = async || {
            let config = ask!(self, Looks, get_config, boxherd_boxd_api::GetConfigRequest {})?;
            Ok::<_, Error>(config.boxherd_knows)
        };
        let knows = self.0.knows.get_or_try_init(ask).await?;
        if knows.iter().any(|known| known == what) {
            return Ok(());
        }
        let message = format!("the server does not know of `{what}`, which is Boxherd's own");
        Err(Error::Unsupported(Refusal::new(tonic::Code::Unimplemented, message)))
    }

    /// What is needed for a client.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), boxherd_client::Error> {
    /// let builder = boxherd_client::Client::builder().endpoint("unix:/run/boxherd.sock");
    /// let client = builder.api_key("bxd_…").connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Connects to a server with an API key.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), boxherd_client::Error> {
    /// let client = boxherd_client::Client::connect("http://127.0.0.1:9443", "bxd_…").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(url: &str, key: &str) -> Result<Self, Error> {
        Self::builder().endpoint(url).api_key(key).connect().await
    }

    /// Connects as the environment says; see [`Builder::from_env`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), boxherd_client::Error> {
    /// let client = boxherd_client::Client::from_env().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn from_env() -> Result<Self, Error> {
        Builder::from_env()?.connect().await
    }

    /// The boxes of a data folder of this machine, without a server that runs already: one is
    /// started (`boxherd`, or the program that `BOXHERD_BIN` names) and asked over a socket in that
    /// folder. It ends with the last clone of this client, or with this process; boxes go on.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), boxherd_client::Error> {
    /// let client = boxherd_client::Client::embedded("/var/lib/boxherd").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn embedded(data: impl AsRef<Path>) -> Result<Self, Error> {
        embedded::start(data.as_ref()).await
    }

    /// The caller's boxes.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{} boxes", client.boxes().list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn boxes(&self) -> Boxes {
        Boxes::new(self.clone())
    }

    /// The files of a box, which is named by its name or id.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let hosts = client.files("web").read("/etc/hosts").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn files(&self, of: impl Into<String>) -> Files {
        Files::new(self.clone(), of.into())
    }

    /// The ways into a box by HTTP.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.proxies("web").create("api", Some(8080)).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn proxies(&self, of: impl Into<String>) -> Proxies {
        Proxies::new(self.clone(), of.into())
    }

    /// The ports of the host that lead to a box.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let open = client.ports("web").expose(5432, "tcp").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn ports(&self, of: impl Into<String>) -> Ports {
        Ports::new(self.clone(), of.into())
    }

    /// The saved disks of a box, to go back to.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.checkpoints("web").create("before").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn checkpoints(&self, of: impl Into<String>) -> Checkpoints {
        Checkpoints::new(self.clone(), of.into())
    }

    /// The caller's saved boxes, to make others from.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.snapshots().create("web", "golden").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(self.clone())
    }

    /// The caller's templates.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let all = client.templates().list().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn templates(&self) -> Templates {
        Templates::new(self.clone())
    }

    /// The caller's disks.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let disk = client.disks().create("data", 1 << 30).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn disks(&self) -> Disks {
        Disks::new(self.clone())
    }

    /// The caller's domains.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.domains().bind("www.example.com", "web").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn domains(&self) -> Domains {
        Domains::new(self.clone())
    }

    /// The caller's networks.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.networks().create("back").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn networks(&self) -> Networks {
        Networks::new(self.clone())
    }

    /// The variables that commands are given.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.variables().set("EDITOR", "vi", &boxherd_client::Scope::All).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn variables(&self) -> Variables {
        Variables::new(self.clone())
    }

    /// The secrets that commands are given.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.secrets().set("PASSWORD", "…", &boxherd_client::Scope::All).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        Secrets::new(self.clone())
    }

    /// The caller's tokens.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let token = client.tokens().create(None).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        Tokens::new(self.clone())
    }

    /// The caller's API keys.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let key = client.keys().create("ci", None).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys::new(self.clone())
    }

    /// Who there is, and what each may have. For administrators.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let users = client.users().list().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn users(&self) -> Users {
        Users::new(self.clone())
    }

    /// What boxes are made of.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let images = client.images().list().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn images(&self) -> Images {
        Images::new(self.clone())
    }

    /// Over a transport; exchanges the key, so that one that is wrong is an error now.
    pub(crate) async fn over(
        transport: Transport,
        login: Login,
        origin: Uri,
        embedded: Option<Embedded>,
    ) -> Result<Self, Error> {
        let knows = OnceCell::new();
        let inner = Inner { transport, login, origin, knows, _embedded: embedded };
        let client = Self(Arc::new(inner));
        again(Repeat::Looks, || client.token()).await?;
        Ok(client)
    }

    async fn token(&self) -> Result<Secret, Error> {
        self.0.login.get(&self.0.transport).await
    }

    /// Calls a method, with a token, as often as `repeat` allows.
    pub(crate) async fn call<A, R, F>(
        &self,
        repeat: Repeat,
        asked: A,
        method: impl Fn(Wire, Request<A>) -> F,
    ) -> Result<R, Error>
    where
        A: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        again(repeat, || self.authorised(|| asked.clone(), &method)).await
    }

    /// Calls a method once, and once more with another token if the first is refused: a server does
    /// nothing for who is not recognised.
    pub(crate) async fn authorised<A, R, F>(
        &self,
        mut asked: impl FnMut() -> A,
        method: impl Fn(Wire, Request<A>) -> F,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let token = self.token().await?;
        let refused = match self.once(&token, asked(), &method).await {
            Err(Error::Unauthenticated(refused)) => Error::Unauthenticated(refused),
            done => return done,
        };
        if !self.0.login.forget(&token).await {
            return Err(refused);
        }
        let token = self.token().await?;
        self.once(&token, asked(), method).await
    }

    /// Calls a method once.
    async fn once<A, R, F>(
        &self,
        token: &Secret,
        asked: A,
        method: impl Fn(Wire, Request<A>) -> F,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", token.0)
            .parse()
            .map_err(|_| Error::Config("the token is not one".to_owned()))?;
        bearer.set_sensitive(true);
        let mut request = Request::new(asked);
        request.metadata_mut().insert("authorization", bearer);
        Ok(method(self.wire(), request).await?.into_inner())
    }

    /// Calls once with what cannot be had a second time.
    pub(crate) async fn call_once<A, R, F>(
        &self,
        asked: A,
        method: impl Fn(Wire, Request<A>) -> F,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let token = self.token().await?;
        self.once(&token, asked, method).await
    }

    fn wire(&self) -> Wire {
        BoxdApiClient::with_origin(self.0.transport.clone(), self.0.origin.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }
}

/// Does something until it is done, fails for good, or was tried often enough.
async fn again<R, F>(repeat: Repeat, mut attempt: impl FnMut() -> F) -> Result<R, Error>
where
    F: Future<Output = Result<R, Error>>,
{
    for pause in PAUSES {
        match attempt().await {
            Err(Error::Unavailable { maybe_done, .. })
                if repeat == Repeat::Looks || !maybe_done =>
            {
                tokio::time::sleep(pause).await;
            }
            done => return done,
        }
    }
    attempt().await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn attempts(repeat: Repeat, maybe_done: bool) -> usize {
        let tried = Cell::new(0);
        let failed: Result<(), _> = again(repeat, || {
            tried.set(tried.get() + 1);
            async move { Err(Error::Unavailable { message: "gone".to_owned(), maybe_done }) }
        })
        .await;
        assert!(failed.is_err());
        tried.get()
    }

    #[tokio::test]
    async fn what_may_have_been_done_is_not_done_again() {
        assert_eq!(attempts(Repeat::Changes, true).await, 1);
        assert_eq!(attempts(Repeat::Changes, false).await, PAUSES.len() + 1);
        assert_eq!(attempts(Repeat::Looks, true).await, PAUSES.len() + 1);
    }
}
