//! Certificates for domains of users from an authority that speaks ACME (RFC 8555).
//!
//! A domain is proven over HTTP (RFC 8555, 8.3): the authority asks this server at port 80, which answers
//! only if the domain leads here. So a certificate is also the proof that a domain is its user's to bind.
//! What is obtained is kept in a folder, one file for each domain, and renewed when two thirds of its life
//! are over.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{Path as Segment, Request, State};
use axum::http::{StatusCode, Uri, header, uri};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, LetsEncrypt,
    NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use parking_lot::{Mutex, RwLock};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::tls;

const ACCOUNT: &str = "account.json";
/// When it is looked for domains that want a certificate.
const LOOK: Duration = Duration::from_secs(2);
/// After a failure, how long is waited until an authority is asked again for the same domain: at first,
/// and at most. Authorities count failures.
const PAUSES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The authority refused, or was not reached.
    #[error("the authority gave no certificate")]
    Authority(#[from] instant_acme::Error),
    /// It could not convince itself that the domain leads here.
    #[error("the authority did not find that the domain leads here: {0}")]
    Unproven(String),
    /// What it gave, or what was kept, makes no certificate.
    #[error("the certificate cannot be used")]
    Unusable(#[source] BoxError),
    /// The folder of certificates cannot be used.
    #[error("cannot use `{}`", .path.display())]
    Folder {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// With whom certificates are kept up to date.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of the authority; `None` is Let's Encrypt.
    pub directory: Option<String>,
    /// Whom the authority may write to.
    pub contact: Option<String>,
    /// A PEM file with the only root that the authority itself is trusted by; `None` are those of the
    /// host.
    pub root: Option<PathBuf>,
    /// Where account and certificates are kept.
    pub folder: PathBuf,
}

/// Certificates of domains.
#[derive(Debug, Clone)]
pub struct Acme {
    settings: Arc<Settings>,
    known: Arc<RwLock<HashMap<String, Known>>>,
    /// Proofs that the authority asks for, by token.
    proofs: Arc<Mutex<HashMap<String, String>>>,
}

#[derive(Debug, Clone)]
struct Known {
    certificate: Arc<CertifiedKey>,
    renew_at: SystemTime,
}

/// When a domain is tried again.
#[derive(Debug)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl Acme {
    /// With the certificates that are kept already.
    pub fn open(settings: Settings) -> Result<Self, AcmeError> {
        fs::create_dir_all(&settings.folder).map_err(folder(&settings.folder))?;
        let mut known = HashMap::new();
        for entry in fs::read_dir(&settings.folder).map_err(folder(&settings.folder))? {
            let path = entry.map_err(folder(&settings.folder))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let Some(name) = name.strip_suffix(".pem") else { continue };
            let pem = fs::read(&path).map_err(folder(&path))?;
            match Known::read(&pem) {
                Ok(kept) => drop(known.insert(name.to_owned(), kept)),
                // It is obtained anew.
                Err(error) => tracing::warn!(%error, name, "a certificate that was kept"),
            }
        }
        let known = Arc::new(RwLock::new(known));
        Ok(Self { settings: Arc::new(settings), known, proofs: Arc::default() })
    }

    /// TLS as `others` speak it, but for domains that have a certificate here.
    #[must_use]
    pub fn tls(&self, others: &ServerConfig) -> Arc<ServerConfig> {
        let mut config = others.clone();
        let others = Arc::clone(&config.cert_resolver);
        config.cert_resolver = Arc::new(ByDomain { known: Arc::clone(&self.known), others });
        Arc::new(config)
    }

    /// What answers at port 80: proofs to the authority, and to everybody else where to go, which is
    /// `port` of the same name.
    pub fn router(&self, port: u16) -> Router {
        let proof = |State(acme): State<Self>, Segment(token): Segment<String>| async move {
            let proof = acme.proofs.lock().get(&token).cloned();
            proof.ok_or(StatusCode::NOT_FOUND)
        };
        Router::new()
            .route("/.well-known/acme-challenge/{token}", get(proof))
            .fallback(move |request: Request| async move { elsewhere(&request, port) })
            .with_state(self.clone())
    }

    /// Keeps certificates of the domains that `domains` answers, for as long as this is polled. Those
    /// that are bound no more are not renewed.
    pub async fn keep<E: fmt::Display>(&self, domains: impl AsyncFn() -> Result<Vec<String>, E>) {
        let mut account = None;
        let mut pauses: HashMap<String, Pause> = HashMap::new();
        loop {
            match domains().await {
                Err(error) => tracing::error!(%error, "domains could not be listed"),
                Ok(domains) => {
                    pauses.retain(|name, _| domains.contains(name));
                    for name in domains.iter().filter(|name| self.wants(name)) {
                        if pauses.get(name).is_some_and(|pause| Instant::now() < pause.until) {
                            continue;
                        }
                        match self.obtain(&mut account, name).await {
                            Ok(()) => drop(pauses.remove(name)),
                            Err(error) => {
                                let length = pauses.get(name).map_or(PAUSES.0, |p| p.length * 2);
                                let length = length.min(PAUSES.1);
                                let error = &error as &dyn std::error::Error;
                                tracing::warn!(error, name, again_in = ?length, "no certificate");
                                let pause = Pause { until: Instant::now() + length, length };
                                pauses.insert(name.clone(), pause);
                            }
                        }
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn wants(&self, name: &str) -> bool {
        let known = self.known.read();
        known.get(name).is_none_or(|known| known.renew_at <= SystemTime::now())
    }

    async fn obtain(&self, account: &mut Option<Account>, name: &str) -> Result<(), AcmeError> {
        let account = match account {
            Some(account) => account,
            none => none.insert(self.account().await?),
        };
        let names = [Identifier::Dns(name.to_owned())];
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        let mut told = Vec::new();
        let ready = async {
            let mut authorizations = order.authorizations();
            while let Some(authorization) = authorizations.next().await {
                let mut authorization = authorization?;
                if authorization.status == AuthorizationStatus::Valid {
                    continue;
                }
                let challenge = authorization.challenge(ChallengeType::Http01);
                let none = || AcmeError::Unproven("it does not ask over HTTP".to_owned());
                let mut challenge = challenge.ok_or_else(none)?;
                let proof = challenge.key_authorization().as_str().to_owned();
                self.proofs.lock().insert(challenge.token.clone(), proof);
                told.push(challenge.token.clone());
                challenge.set_ready().await?;
            }
            match order.poll_ready(&RetryPolicy::default()).await? {
                OrderStatus::Ready => Ok(()),
                status => Err(AcmeError::Unproven(format!("the order is {status:?}"))),
            }
        };
        let ready = ready.await;
        self.proofs.lock().retain(|token, _| !told.contains(token));
        ready?;
        let key = KeyPair::generate().map_err(unusable)?;
        let request = CertificateParams::new(vec![name.to_owned()])
            .and_then(|params| params.serialize_request(&key))
            .map_err(unusable)?;
        order.finalize_csr(request.der()).await?;
        let chain = order.poll_certificate(&RetryPolicy::default()).await?;
        let pem = key.serialize_pem() + &chain;
        let known = Known::read(pem.as_bytes())?;
        self.write(&format!("{name}.pem"), &pem)?;
        self.known.write().insert(name.to_owned(), known);
        tracing::info!(name, "a certificate was obtained");
        Ok(())
    }

    async fn account(&self) -> Result<Account, AcmeError> {
        let builder = || match &self.settings.root {
            Some(root) => Account::builder_with_root(root),
            None => Account::builder(),
        };
        let path = self.settings.folder.join(ACCOUNT);
        match fs::read(&path) {
            Ok(kept) => {
                let kept: AccountCredentials = serde_json::from_slice(&kept).map_err(unusable)?;
                return Ok(builder()?.from_credentials(kept).await?);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(folder(&path)(error)),
        }
        let contact = self.settings.contact.as_ref().map(|mail| format!("mailto:{mail}"));
        let contact: Vec<_> = contact.as_deref().into_iter().collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = self.settings.directory.clone();
        let directory = directory.unwrap_or_else(|| LetsEncrypt::Production.url().to_owned());
        let (account, credentials) = builder()?.create(&new, directory, None).await?;
        self.write(ACCOUNT, &serde_json::to_string(&credentials).map_err(unusable)?)?;
        Ok(account)
    }

    /// Writes a file that holds a key: whole or not at all.
    fn write(&self, name: &str, text: &str) -> Result<(), AcmeError> {
        let path = self.settings.folder.join(name);
        let draft = path.with_extension("new");
        let written = tls::write(&draft, text, 0o600).and_then(|()| fs::rename(&draft, &path));
        written.map_err(folder(&path))
    }
}

impl Known {
    /// A key and a chain of certificates.
    fn read(pem: &[u8]) -> Result<Self, AcmeError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(unusable)?;
        let first = chain.first().ok_or_else(|| unusable("there is none"))?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(unusable)?;
        let validity = parsed.validity();
        let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let renew_at = u64::try_from(to - (to - from) / 3).map_err(unusable)?;
        let renew_at = SystemTime::UNIX_EPOCH + Duration::from_secs(renew_at);
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(unusable)?;
        let key = any_supported_type(&key).map_err(unusable)?;
        let certificate = CertifiedKey::new(chain, key);
        certificate.keys_match().map_err(unusable)?;
        Ok(Self { certificate: Arc::new(certificate), renew_at })
    }
}

/// Certificates by domain, and by who has them for all other names.
#[derive(Debug)]
struct ByDomain {
    known: Arc<RwLock<HashMap<String, Known>>>,
    others: Arc<dyn ResolvesServerCert>,
}

impl ResolvesServerCert for ByDomain {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let known = hello.server_name().and_then(|name| {
            self.known.read().get(name).map(|known| Arc::clone(&known.certificate))
        });
        known.or_else(|| self.others.resolve(hello))
    }
}

/// The same place, over TLS.
fn elsewhere(request: &Request, port: u16) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<uri::Authority>().ok());
    let Some(host) = host else { return StatusCode::BAD_REQUEST.into_response() };
    let authority = match port {
        443 => host.host().to_owned(),
        port => format!("{}:{port}", host.host()),
    };
    let path = request.uri().path_and_query().map_or("/", uri::PathAndQuery::as_str);
    match Uri::builder().scheme("https").authority(authority).path_and_query(path).build() {
        Ok(place) => Redirect::permanent(&place.to_string()).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn folder(path: &Path) -> impl Fn(io::Error) -> AcmeError {
    let path = path.to_owned();
    move |source| AcmeError::Folder { path: path.clone(), source }
}

fn unusable(source: impl Into<BoxError>) -> AcmeError {
    AcmeError::Unusable(source.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(days: i64) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["app.example.com".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = params.not_before + Duration::from_secs(86_400 * days.unsigned_abs());
        key.serialize_pem() + &params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        let known = Known::read(made(90).as_bytes()).unwrap();
        let begins = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        assert_eq!(known.renew_at, begins + Duration::from_secs(86_400 * 60));
    }

    #[test]
    fn what_is_kept_is_used_again_and_what_is_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("app.example.com.pem"), made(90)).unwrap();
        fs::write(folder.path().join("bad.example.com.pem"), "nothing").unwrap();
        let halves = (made(90), made(90));
        let mixed = halves.0.split_once("-----BEGIN CERT").unwrap().0.to_owned()
            + "-----BEGIN CERT"
            + halves.1.split_once("-----BEGIN CERT").unwrap().1;
        fs::write(folder.path().join("mixed.example.com.pem"), mixed).unwrap();
        let settings = Settings {
            directory: None,
            contact: None,
            root: None,
            folder: folder.path().to_owned(),
        };
        let acme = Acme::open(settings).unwrap();
        let known: Vec<_> = acme.known.read().keys().cloned().collect();
        assert_eq!(known, ["app.example.com"]);
        assert!(acme.wants("other.example.com"));
    }

    #[test]
    fn others_are_told_to_come_over_tls() {
        let to = |host: &str, path: &str, port| {
            let request = Request::builder().uri(path).header(header::HOST, host);
            let answer = elsewhere(&request.body(axum::body::Body::empty()).unwrap(), port);
            let place = answer.headers().get(header::LOCATION);
            place.map(|place| place.to_str().unwrap().to_owned())
        };
        assert_eq!(to("a.example.com", "/x?y", 443).unwrap(), "https://a.example.com/x?y");
        assert_eq!(to("a.example.com:80", "/", 8443).unwrap(), "https://a.example.com:8443/");
        assert_eq!(to("not a host", "/", 443), None);
    }
}
