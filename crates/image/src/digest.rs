//! SHA-256 digests, checked once when they are read.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// `sha256:` and 64 lower-case hex digits. No other algorithm is accepted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Digest(String);

/// The text is not a digest this store accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not `sha256:` and 64 hex digits")]
pub struct DigestError(String);

impl Digest {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256-HEX`: safe as the name of a file.
    pub(crate) fn file_name(&self) -> String {
        self.0.replace(':', "-")
    }

    /// Twelve hex digits, for people.
    pub(crate) fn short(&self) -> &str {
        &self.0[7..19]
    }

    /// The reverse of [`file_name`](Self::file_name).
    pub(crate) fn from_file_name(name: &str) -> Option<Self> {
        name.replacen('-', ":", 1).parse().ok()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        let valid = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self(text.to_owned())).ok_or_else(|| DigestError(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// The digest of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    finish(Sha256::new_with_prefix(bytes))
}

/// The digest of what `hasher` has seen.
pub(crate) fn finish(hasher: Sha256) -> Digest {
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Digest(format!("sha256:{hex}"))
}

/// Hashes what is read through it.
#[derive(Debug)]
pub(crate) struct HashingReader<R> {
    inner: R,
    hasher: Option<Sha256>,
}

impl<R: Read> HashingReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self::when(true, inner)
    }

    /// Hashes nothing unless `wanted`; it costs as much as unpacking.
    pub(crate) fn when(wanted: bool, inner: R) -> Self {
        Self { inner, hasher: wanted.then(Sha256::new) }
    }

    /// Of what has been read so far; of nothing when it was not wanted.
    pub(crate) fn digest(&self) -> Digest {
        finish(self.hasher.clone().unwrap_or_default())
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&into[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_string_has_the_digest_everyone_knows() {
        let known = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b"").as_str(), known);
        assert_eq!(Digest::from_file_name(&sha256(b"").file_name()), Some(sha256(b"")));
        assert_eq!(sha256(b"").short(), "e3b0c44298fc");
    }

    #[test]
    fn only_sha256_in_lower_case_is_a_digest() {
        let upper = sha256(b"").as_str().to_uppercase();
        for text in ["", "sha256:", "sha256:zz", "sha512:00", "../../etc", &upper] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
