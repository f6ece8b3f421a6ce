//! Certificates: from files, or from an authority of our own for trying things out.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What is spoken, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The authority's certificate in its folder, which clients are to trust.
pub const AUTHORITY: &str = "ca.pem";
const AUTHORITY_KEY: &str = "ca.key";

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

/// With a certificate for `names` of an authority that lives in `folder` and is made when it is not
/// there. Clients trust it by [`AUTHORITY`] in that folder.
pub fn of_own_authority(folder: &Path, names: &[String]) -> Result<Arc<ServerConfig>, TlsError> {
    let issuer = authority(folder)?;
    let key = KeyPair::generate().map_err(TlsError::Made)?;
    let params = CertificateParams::new(names.to_vec()).map_err(TlsError::Made)?;
    let certificate = params.signed_by(&key, &issuer).map_err(TlsError::Made)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|text| TlsError::Pair(rustls::Error::General(text.to_owned())))?;
    server(vec![certificate.der().clone()], key)
}

fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
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

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
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
    fn files_that_are_not_there_are_named() {
        let refused = from_files(Path::new("/no/cert"), Path::new("/no/key")).err().unwrap();
        assert_eq!(refused.to_string(), "cannot use `/no/cert`");
    }
}
