//! A client: where it connects to, as whom, and what it repeats.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use boxherd_boxd_api as api;
use boxherd_boxd_api::boxd_api_client::BoxdApiClient;
use hyper::Uri;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status};

use crate::endpoint::Endpoint;
use crate::tokens::{Credentials, Secret, Tokens};
use crate::transport::Transport;
use crate::{Boxes, Error, Files, MAX_MESSAGE};

/// How long is waited before each time something is tried again.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1500)];

pub(crate) type Wire = BoxdApiClient<Transport>;

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
    tokens: Tokens,
    origin: Uri,
}

/// What a client is made of; see [`Client::builder`].
#[derive(Debug, Default)]
pub struct Builder {
    endpoint: Option<String>,
    key: Option<Secret>,
    token: Option<Secret>,
    ca: Option<Vec<u8>>,
    plaintext: bool,
}

impl Builder {
    /// Where the server is: `https://HOST:PORT`, `http://HOST:PORT` or `unix:PATH`.
    ///
    /// ```no_run
    /// let builder = boxherd_client::Client::builder().endpoint("http://127.0.0.1:9443");
    /// ```
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// As whom: a key of `boxherd key create`, which is exchanged for tokens.
    ///
    /// ```no_run
    /// let builder = boxherd_client::Client::builder().api_key("bxd_…");
    /// ```
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(Secret(key.into()));
        self
    }

    /// As whom: a token, used as it is and never renewed. It wins over a key.
    ///
    /// ```no_run
    /// let builder = boxherd_client::Client::builder().token("eyJ…");
    /// ```
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Secret(token.into()));
        self
    }

    /// Certificates in PEM that are trusted, and no others; without, those of the system are.
    ///
    /// ```no_run
    /// # fn example() -> std::io::Result<()> {
    /// let authority = std::fs::read("/var/lib/boxherd/tls/ca.pem")?;
    /// let builder = boxherd_client::Client::builder().ca(authority);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into());
        self
    }

    /// Sends the key in the clear to other machines too, which is refused otherwise.
    ///
    /// ```no_run
    /// let builder =
    ///     boxherd_client::Client::builder().endpoint("http://10.0.0.7:9443").allow_plaintext();
    /// ```
    #[must_use]
    pub fn allow_plaintext(mut self) -> Self {
        self.plaintext = true;
        self
    }

    /// Connects, and exchanges the key: one that is wrong is an error here.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), boxherd_client::Error> {
    /// let client = boxherd_client::Client::builder()
    ///     .endpoint("http://127.0.0.1:9443")
    ///     .api_key("bxd_…")
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(self) -> Result<Client, Error> {
        let text =
            self.endpoint.ok_or_else(|| Error::Config("no endpoint was given".to_owned()))?;
        let endpoint = Endpoint::parse(&text)?;
        if endpoint.is_open() && !self.plaintext {
            let why = "others could read the key: use `https:`, or a tunnel to loopback";
            return Err(Error::Config(format!("`{text}` is not encrypted, and {why}")));
        }
        let credentials = match (self.token, self.key) {
            (Some(token), _) => Credentials::Token(token),
            (None, Some(key)) => Credentials::Key(key),
            (None, None) => return Err(Error::Config("no API key was given".to_owned())),
        };
        let tls = match &endpoint {
            Endpoint::Tcp { tls: true, .. } => Some(trusting(self.ca.as_deref())?),
            _ => None,
        };
        let origin = endpoint.origin()?;
        let tokens = Tokens::new(credentials, origin.clone());
        let client =
            Client(Arc::new(Inner { transport: Transport::new(endpoint, tls), tokens, origin }));
        again(Repeat::Looks, || client.token()).await?;
        Ok(client)
    }
}

fn trusting(pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Config(format!("certificates: {error}"));
    let mut roots = RootCertStore::empty();
    match pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(Error::Config("there is no certificate that could be trusted".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

impl Client {
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

    /// The caller's boxes.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// for found in client.boxes().list().await? {
    ///     println!("{}", found.name);
    /// }
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

    /// The id of the user that the key belongs to.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{}", client.whoami().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn whoami(&self) -> Result<String, Error> {
        let ask = |mut wire: Wire, asked| async move { wire.whoami(asked).await };
        Ok(self.call(Repeat::Looks, api::WhoamiRequest {}, ask).await?.user_id)
    }

    async fn token(&self) -> Result<Secret, Error> {
        self.0.tokens.get(&self.0.transport).await
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
        if !self.0.tokens.forget(&token).await {
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

    #[tokio::test]
    async fn a_key_is_not_sent_in_the_clear() {
        let builder = Client::builder().endpoint("http://192.0.2.1:9443").api_key("bxd_1");
        assert!(matches!(builder.connect().await, Err(Error::Config(_))));
    }
}
