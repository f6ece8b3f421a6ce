//! What a client is made of.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::endpoint::Endpoint;
use crate::exchange::{Exchange, HTTP_1};
use crate::login::{Credentials, Login, Secret};
use crate::transport::{H2, Transport};
use crate::{Client, Error, env};

/// What a client is made of; see [`Client::builder`].
#[derive(Debug, Default)]
pub struct Builder {
    endpoint: Option<String>,
    key: Option<Secret>,
    token: Option<Secret>,
    ca: Option<Vec<u8>>,
    exchange: Option<String>,
    plaintext: bool,
}

impl Builder {
    /// As the environment says. `BOXHERD_SERVER` is asked with `BOXHERD_TOKEN` or `BOXHERD_API_KEY`,
    /// and trusted by the file `BOXHERD_CA` where that is set. Where there is no `BOXHERD_SERVER`,
    /// the variables of the boxd SDKs say all of it: `BOXD_BASE_URL` or `BOXD_API_URL`, `BOXD_TOKEN`
    /// or `BOXD_API_KEY`, and `BOXD_EXCHANGE_URL`. The two are never mixed: a key goes to no server
    /// that it is not for.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), boxherd_client::Error> {
    /// let client = boxherd_client::Builder::from_env()?.allow_plaintext().connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_env() -> Result<Self, Error> {
        let found = env::read(|name| std::env::var(name).ok())?;
        let read = |file: String| {
            let failed = |error| Error::Config(format!("cannot read `{file}`: {error}"));
            std::fs::read(Path::new(&file)).map_err(failed)
        };
        Ok(Self {
            endpoint: Some(found.endpoint),
            key: found.key.map(Secret),
            token: found.token.map(Secret),
            ca: found.ca.map(read).transpose()?,
            exchange: found.exchange,
            plaintext: false,
        })
    }

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

    /// Where the key is exchanged, over HTTP/1.1; without, at the server itself.
    ///
    /// ```no_run
    /// let builder = boxherd_client::Client::builder()
    ///     .endpoint("https://boxd.example:9443")
    ///     .exchange_url("https://app.boxd.example/api/v1/auth/token");
    /// ```
    #[must_use]
    pub fn exchange_url(mut self, url: impl Into<String>) -> Self {
        self.exchange = Some(url.into());
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
        refuse_open(&endpoint, &text, self.plaintext)?;
        let ca = self.ca.as_deref();
        let credentials = match (self.token, self.key) {
            (Some(token), _) => Credentials::Token(token),
            (None, Some(key)) => Credentials::Key(key),
            (None, None) => return Err(Error::Config("no API key was given".to_owned())),
        };
        let origin = endpoint.origin()?;
        let exchange = match &self.exchange {
            None => Exchange::Here(origin.clone()),
            Some(url) => {
                let (endpoint, path) = Endpoint::with_path(url)?;
                refuse_open(&endpoint, url, self.plaintext)?;
                let tls = endpoint.is_tls().then(|| trusting(ca, HTTP_1)).transpose()?;
                Exchange::There { endpoint, path, tls }
            }
        };
        let tls = endpoint.is_tls().then(|| trusting(ca, H2)).transpose()?;
        let login = Login::new(credentials, exchange);
        Client::over(Transport::new(endpoint, tls), login, origin, None).await
    }
}

fn refuse_open(endpoint: &Endpoint, text: &str, allowed: bool) -> Result<(), Error> {
    if !endpoint.is_open() || allowed {
        return Ok(());
    }
    let why = "others could read the key: use `https:`, or a tunnel to loopback";
    Err(Error::Config(format!("`{text}` is not encrypted, and {why}")))
}

/// Who is trusted, and what is spoken.
fn trusting(pem: Option<&[u8]>, protocol: &[u8]) -> Result<Arc<ClientConfig>, Error> {
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
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_not_sent_in_the_clear() {
        let builder = Client::builder().endpoint("http://192.0.2.1:9443").api_key("bxd_1");
        assert!(matches!(builder.connect().await, Err(Error::Config(_))));
        let builder = Client::builder().endpoint("http://127.0.0.1:1").api_key("bxd_1");
        let elsewhere = builder.exchange_url("http://192.0.2.1/token");
        assert!(matches!(elsewhere.connect().await, Err(Error::Config(_))));
    }
}
