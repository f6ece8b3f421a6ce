//! Who the client is for a server: its certificate and key.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Result};
use crate::tls::Fingerprint;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A client certificate with its key.
pub struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads `client.crt` and `client.key`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when they are not PEM, or are encrypted.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self> {
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::invalid("client certificate", error))?;
        if chain.is_empty() {
            return Err(Error::invalid("client certificate", "there is none in the file"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            // What the parser says may quote the key.
            Error::invalid("client key", "no unencrypted private key in PEM")
        })?;
        Ok(Self { chain, key })
    }

    /// Makes a certificate much like the one that `lxc` makes: self-signed, for ten years, and ECDSA; on
    /// P-256, which the server checks sooner than P-384. Returned as PEM: the certificate and its key.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when no key can be made.
    pub fn generate(name: &str) -> Result<(String, String)> {
        let failed = |error: rcgen::Error| Error::invalid("new client certificate", error);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "boxherd");
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = validity();
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// The certificate that the server sees.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&Fingerprint::of(self.certificate())).finish()
    }
}

/// From yesterday, for servers whose clocks are late, for ten years.
fn validity<T: From<SystemTime>>() -> (T, T) {
    let now = SystemTime::now();
    ((now - DAY).into(), (now + 3650 * DAY).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_identity_can_be_read_and_does_not_show_its_key() {
        let (certificate, key) = Identity::generate("me@here").unwrap();
        let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let shown = format!("{identity:?}");
        assert_eq!(shown, format!("Identity({})", Fingerprint::of(identity.certificate())));
        let error = Identity::from_pem(certificate.as_bytes(), b"secret").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(Identity::from_pem(b"", key.as_bytes()).is_err());
    }
}
