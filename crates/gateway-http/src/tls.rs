//! Certificates: from files, or from an authority of our own for trying things out.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WantsServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ConfigBuilder, ServerConfig};

/// What is spoken, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The authority's certificate in its folder, which clients are to trust.
pub const AUTHORITY: &str = "ca.pem";
const AUTHORITY_KEY: &str = "ca.key";
/// Certificates that are kept for names; more, and all are made anew.
const MOST_MADE: usize = 1000;

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error("cannot use `{}`", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certificate and key do not go together, or are of no use.
    #[error("the certificate and its key cannot be used")]
    Pair(#[source] rustls::Error),
    /// A certificate could not be made.
    #[error("a certificate could not be made")]
    Made(#[source] rcgen::Error),
}

/// With a chain of certificates and a key from PEM files.
pub fn from_files(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect)
        .map_err(|error| file(certificates, error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, error))?;
    server(chain, key)
}

/// With certificates of an authority that lives in `folder` and is made when it is not there: one for
/// `names`, and one for each other name that a client asks for. Clients trust them by [`AUTHORITY`] in
/// that folder.
pub fn of_own_authority(folder: &Path, names: &[String]) -> Result<Arc<ServerConfig>, TlsError> {
    let issuer = authority(folder)?;
    let first = certified(&issuer, names)?;
    let names = names.to_vec();
    let by_name = ByName { issuer, first, names, made: Mutex::default() };
    Ok(finished(builder()?.with_cert_resolver(Arc::new(by_name))))
}

fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    Ok(finished(builder()?.with_single_cert(chain, key).map_err(TlsError::Pair)?))
}

fn builder() -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?;
    Ok(builder.with_no_client_auth())
}

fn finished(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Certificates by the name that a client asks for. A wildcard covers one label, and proxies of boxes
/// have two; domains are bound while the server runs.
#[derive(Debug)]
struct ByName {
    issuer: Issuer<'static, KeyPair>,
    first: Arc<CertifiedKey>,
    /// Whom the first one is for.
    names: Vec<String>,
    made: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl ByName {
    fn of(&self, name: &str) -> Arc<CertifiedKey> {
        let mut made = self.made.lock();
        if let Some(known) = made.get(name) {
            return Arc::clone(known);
        }
        let fresh = match certified(&self.issuer, &[name.to_owned()]) {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::warn!(%error, name, "no certificate for a name");
                return Arc::clone(&self.first);
            }
        };
        if made.len() >= MOST_MADE {
            made.clear();
        }
        made.insert(name.to_owned(), Arc::clone(&fresh));
        fresh
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let other = hello.server_name().filter(|name| !self.names.iter().any(|own| own == name));
        Some(other.map_or_else(|| Arc::clone(&self.first), |name| self.of(name)))
    }
}

fn certified(
    issuer: &Issuer<'static, KeyPair>,
    names: &[String],
) -> Result<Arc<CertifiedKey>, TlsError> {
    let key = KeyPair::generate().map_err(TlsError::Made)?;
    let params = CertificateParams::new(names.to_vec()).map_err(TlsError::Made)?;
    let certificate = params.signed_by(&key, issuer).map_err(TlsError::Made)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|text| TlsError::Pair(rustls::Error::General(text.to_owned())))?;
    let key = any_supported_type(&key).map_err(TlsError::Pair)?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}

fn authority(folder: &Path) -> Result<Issuer<'static, KeyPair>, TlsError> {
    let (path, key_path) = (folder.join(AUTHORITY), folder.join(AUTHORITY_KEY));
    if key_path.exists() && path.exists() {
        let key = fs::read_to_string(&key_path).map_err(|error| file(&key_path, error))?;
        let key = KeyPair::from_pem(&key).map_err(|error| file(&key_path, error))?;
        return Ok(Issuer::new(authority_params(), key));
    }
    let key = KeyPair::generate().map_err(TlsError::Made)?;
    let params = authority_params();
    let certificate = params.self_signed(&key).map_err(TlsError::Made)?;
    fs::create_dir_all(folder).map_err(|error| file(folder, error))?;
    write(&key_path, &key.serialize_pem(), 0o600).map_err(|error| file(&key_path, error))?;
    write(&path, &certificate.pem(), 0o644).map_err(|error| file(&path, error))?;
    Ok(Issuer::new(params, key))
}

/// The same each time, since those of a certificate name it.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Boxherd development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(crate) fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    use io::Write as _;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

fn file(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TlsError {
    TlsError::File { path: path.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_made_once_and_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        of_own_authority(folder.path(), &names).unwrap();
        let first = fs::read_to_string(folder.path().join(AUTHORITY)).unwrap();
        of_own_authority(folder.path(), &names).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(AUTHORITY)).unwrap(), first);
    }

    #[test]
    fn a_certificate_for_a_name_is_made_once_and_their_number_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let issuer = authority(folder.path()).unwrap();
        let names = vec!["localhost".to_owned()];
        let first = certified(&issuer, &names).unwrap();
        let by_name = ByName { issuer, first, names, made: Mutex::default() };
        let one = by_name.of("api.web.localhost");
        assert!(Arc::ptr_eq(&one, &by_name.of("api.web.localhost")));
        assert!(!Arc::ptr_eq(&one, &by_name.of("app.example.com")));
        for number in 0..MOST_MADE + 10 {
            by_name.of(&format!("{number}.localhost"));
        }
        assert!(by_name.made.lock().len() <= MOST_MADE);
    }

    #[test]
    fn files_that_are_not_there_are_named() {
        let refused = from_files(Path::new("/no/cert"), Path::new("/no/key")).err().unwrap();
        assert_eq!(refused.to_string(), "cannot use `/no/cert`");
    }
}
