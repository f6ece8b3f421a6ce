//! Trust tokens, as `lxc config trust add` prints them: base64 of JSON.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::tls::Fingerprint;

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    client_name: String,
    fingerprint: String,
    addresses: Vec<String>,
    secret: String,
    #[serde(default)]
    expires_at: Option<String>,
}

/// A token that lets one client in, once.
#[derive(Clone)]
pub struct Token {
    text: String,
    client_name: String,
    fingerprint: Fingerprint,
    endpoints: Vec<Endpoint>,
    expires_at: Option<String>,
}

/// Without what it is good for.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("client_name", &self.client_name)
            .field("fingerprint", &self.fingerprint)
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`], without the token in its words.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let invalid = |why: &str| Error::invalid("trust token", why);
        let json = STANDARD.decode(text).map_err(|_| invalid("it is no base64"))?;
        // What the parser says may quote the secret.
        let wire: Wire = serde_json::from_slice(&json)
            .map_err(|_| invalid("it lacks a fingerprint, addresses or a secret"))?;
        let fingerprint = Fingerprint::parse(&wire.fingerprint)
            .ok_or_else(|| invalid("its fingerprint is no SHA-256"))?;
        let address = |address: &String| Endpoint::parse(&format!("https://{address}"));
        let endpoints = wire.addresses.iter().map(address).collect::<Result<Vec<_>>>()?;
        if endpoints.is_empty() || wire.secret.is_empty() {
            return Err(invalid("it has no address or no secret"));
        }
        Ok(Self {
            text: text.to_owned(),
            client_name: wire.client_name,
            fingerprint,
            endpoints,
            expires_at: wire.expires_at.filter(|time| !time.starts_with("0001-")),
        })
    }

    /// The name that the server will have for the client.
    #[must_use]
    pub fn client_name(&self) -> &str {
        &self.client_name
    }

    /// The server's certificate.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Where the server may be reached.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Until when it is good, RFC 3339; `None` for ever.
    #[must_use]
    pub fn expires_at(&self) -> Option<&str> {
        self.expires_at.as_deref()
    }

    /// What is sent.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(json: &str) -> Result<Token> {
        Token::parse(&STANDARD.encode(json))
    }

    #[test]
    fn a_token_is_read_and_not_shown() {
        let print = "ab".repeat(32);
        let read = token(&format!(
            r#"{{"client_name":"me","fingerprint":"{print}","addresses":["10.0.0.1:8443","[fd00::1]:8443"],"secret":"hush","expires_at":"0001-01-01T00:00:00Z"}}"#
        ))
        .unwrap();
        assert_eq!(read.client_name(), "me");
        assert_eq!(read.fingerprint().to_string(), print);
        assert_eq!(read.endpoints()[1].to_string(), "https://[fd00::1]:8443");
        assert_eq!(read.expires_at(), None);
        let shown = format!("{read:?}");
        assert!(!shown.contains("hush") && !shown.contains(read.text()), "{shown}");
    }

    #[test]
    fn what_lacks_something_is_refused_without_its_secret() {
        for json in [
            "{}",
            r#"{"fingerprint":"ab","addresses":["a"],"secret":"hush"}"#,
            r#"{"fingerprint":"","addresses":[],"secret":"hush"}"#,
            r#"{"secret":"hush"}"#,
        ] {
            let error = token(json).unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_no_token(text in ".*") {
            prop_assert!(Token::parse(&text).is_err());
        }
    }
}
