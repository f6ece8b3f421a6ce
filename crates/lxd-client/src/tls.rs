//! TLS with a server that is known by its certificate.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::error::{Error, Result};
use crate::identity::Identity;

/// The SHA-256 of a certificate in DER, as `lxc` prints it: 64 hex digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let sum = digest::digest(&digest::SHA256, certificate.as_ref());
        Self(sum.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Reads 64 hex digits; colons, spaces and case are of no account.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| !matches!(c, ':' | ' '))
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| match pair {
                [high, low] => high << 4 | low,
                _ => 0,
            })
            .collect();
        (digits.len() == 64).then(|| bytes.try_into().ok().map(Self)).flatten()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a presented certificate is the one.
#[derive(Debug)]
pub(crate) enum Trust {
    /// Exactly this one.
    Pinned(CertificateDer<'static>),
    /// Any: only ever to look at what the server presents.
    Any,
}

/// How TLS tells that the certificate is another one.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the server has the certificate {found}, not {pinned}")]
pub(crate) struct Mismatch {
    pub(crate) pinned: Fingerprint,
    pub(crate) found: Fingerprint,
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.trust {
            Trust::Any => Ok(ServerCertVerified::assertion()),
            Trust::Pinned(pinned) if pinned == end_entity => Ok(ServerCertVerified::assertion()),
            Trust::Pinned(pinned) => {
                let (pinned, found) = (Fingerprint::of(pinned), Fingerprint::of(end_entity));
                let mismatch = Arc::new(Mismatch { pinned, found });
                Err(rustls::CertificateError::Other(rustls::OtherError(mismatch)).into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS for a server that is known by its certificate.
pub(crate) fn config(trust: Trust, identity: Option<&Identity>) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(Verifier { trust, provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::invalid("TLS", error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match identity {
        Some(Identity { chain, key }) => builder
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|error| Error::invalid("client certificate", error))?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// The mismatch of certificates in a failed handshake, if that is why it failed.
pub(crate) fn mismatch(error: &std::io::Error) -> Option<Mismatch> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    match tls {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            other.0.downcast_ref::<Mismatch>().cloned()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_reads_what_it_prints() {
        let print = Fingerprint::of(&CertificateDer::from(vec![1, 2, 3]));
        assert_eq!(Fingerprint::parse(&print.to_string()), Some(print.clone()));
        assert_eq!(Fingerprint::parse(&print.to_string().to_uppercase()), Some(print));
        for wrong in ["", "ab", &"z".repeat(64), &"a".repeat(63), &"a".repeat(66)] {
            assert_eq!(Fingerprint::parse(wrong), None, "{wrong}");
        }
    }
}
