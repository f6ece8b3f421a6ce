//! How a client becomes trusted: by a token, or by the server's trust password.

use std::fmt;

use hyper::Method;
use rustls::pki_types::CertificateDer;
use serde_json::json;

use crate::client::{Client, Remote, Settings};
use crate::dial::{Stream, dial};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::server::Auth;
use crate::tls::{self, Fingerprint, Trust};
use crate::token::Token;
use crate::transport::Call;

/// What makes a server trust a client that it does not know.
#[derive(Clone)]
pub enum Credential {
    /// A token that the server's administrator made for this client.
    Token(Token),
    /// The server's `core.trust_password` (LXD up to 5.0).
    Password(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(token) => f.debug_tuple("Token").field(token).finish(),
            Self::Password(_) => f.write_str("Password"),
        }
    }
}

/// The certificate that a server presents. It proves nothing: compare its fingerprint with what the
/// server's administrator tells, or with a [`Token`].
///
/// # Errors
///
/// [`Error::Connect`], [`Error::Invalid`] for a unix socket.
pub async fn server_certificate(
    endpoint: &Endpoint,
    settings: &Settings,
) -> Result<CertificateDer<'static>> {
    let config = tls::config(Trust::Any, None)?;
    match dial(endpoint, Some(&config), settings.connect_limit).await? {
        Stream::Tls(stream) => {
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let leaf = certificates.first().cloned().map(CertificateDer::into_owned);
            leaf.ok_or_else(|| Error::protocol("TLS", "a server without a certificate"))
        }
        Stream::Unix(_) => Err(Error::invalid(format!("`{endpoint}`"), "it has no certificate")),
    }
}

/// Finds the server that a token is for: the first of its addresses that presents the certificate.
///
/// # Errors
///
/// [`Error::NoEndpoint`] with the reason for each address.
pub async fn server_of(
    token: &Token,
    settings: &Settings,
) -> Result<(Endpoint, CertificateDer<'static>)> {
    let mut causes = Vec::new();
    for endpoint in token.endpoints() {
        match server_certificate(endpoint, settings).await {
            Ok(certificate) if Fingerprint::of(&certificate) == *token.fingerprint() => {
                return Ok((endpoint.clone(), certificate));
            }
            Ok(other) => causes.push(Error::Pin {
                endpoint: endpoint.to_string(),
                pinned: token.fingerprint().clone(),
                found: Fingerprint::of(&other),
            }),
            Err(error) => causes.push(error),
        }
    }
    Err(Error::NoEndpoint { causes })
}

impl Client {
    /// Makes the server trust this client's certificate, under `name`. A client that is trusted
    /// already keeps its credential.
    ///
    /// # Errors
    ///
    /// [`Error::Untrusted`] or [`Error::Forbidden`] when the credential is not good (any more), and
    /// whatever a call may fail with.
    pub async fn become_trusted(&self, name: &str, credential: &Credential) -> Result<()> {
        let server = self.read_server().await?;
        if server.auth == Auth::Trusted {
            return Ok(());
        }
        let mut body = json!({ "type": "client", "name": name });
        match credential {
            Credential::Password(password) => body["password"] = password.as_str().into(),
            Credential::Token(token) => {
                body["trust_token"] = token.text().into();
                // LXD up to 5.0 reads a token where the password goes; Incus has the field for it
                // without telling, and ignores the other.
                if !server.has("explicit_trust_token") {
                    body["password"] = token.text().into();
                }
            }
        }
        // The certificate is the one of the connection.
        let call = Call::new(Method::POST, crate::url::Url::new(["certificates"])).json(&body)?;
        self.sync(call).await?;
        self.read_server().await?.trusted()
    }
}

/// A remote with which `identity` is trusted, from `credential`.
///
/// # Errors
///
/// As [`Client::become_trusted`].
pub async fn enroll(
    endpoint: Endpoint,
    certificate: CertificateDer<'static>,
    identity: Identity,
    name: &str,
    credential: &Credential,
) -> Result<Remote> {
    let remote = Remote {
        endpoints: vec![endpoint],
        identity: Some(identity),
        server_certificate: Some(certificate),
        project: crate::client::DEFAULT_PROJECT.to_owned(),
    };
    Client::new(&remote)?.become_trusted(name, credential).await?;
    Ok(remote)
}

impl Client {
    /// Makes the server forget a certificate, by its fingerprint.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn delete_certificate(&self, fingerprint: &str) -> Result<()> {
        let url = crate::url::Url::new(["certificates", fingerprint]);
        self.sync(Call::new(Method::DELETE, url)).await.map(drop)
    }
}
