//! What is the matter with a connection that TLS refused.

use std::error::Error;
use std::io;

/// Why there is no safe connection, and never will be by asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The certificate is of nobody who is trusted, for another name, or out of date.
    Untrusted,
    /// What answers does not speak TLS.
    Plain,
}

/// Looks for the error of TLS below those of HTTP.
pub(super) fn fault(error: &(dyn Error + 'static)) -> Option<Fault> {
    match error.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::InvalidCertificate(_)) => return Some(Fault::Untrusted),
        Some(rustls::Error::InvalidMessage(_)) => return Some(Fault::Plain),
        _ => {}
    }
    // An `io::Error` does not name the error that it wraps as its source, but that one's.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let wrapped = wrapped.and_then(|error| fault(error));
    wrapped.or_else(|| error.source().and_then(fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_found_below_other_errors() {
        let of_tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::other(of_tls));
        assert_eq!(fault(&wrapped), Some(Fault::Untrusted));
        assert_eq!(fault(&io::Error::other("refused")), None);
    }
}
