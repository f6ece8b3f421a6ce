//! Who may ask: users, their API keys and tokens, and the log of what was asked for.
//!
//! A secret (an API key, a token) is given out once and never kept: of keys there is a hash, of
//! tokens an id. Whoever shows one is recognised by [`Herd::authenticate`], which looks the key or
//! the token up each time, so that what was taken back is refused at the next call.

mod audit;
mod grants;
mod keys;
mod ssh_keys;
mod tokens;
mod users;

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustix::rand::{GetRandomFlags, getrandom};

pub use self::audit::{Audited, Source};
pub use self::keys::NewKey;
pub(crate) use self::tokens::Signers;
pub use self::tokens::Token;
pub use self::users::Whoami;

use crate::HerdError;

/// A text that must be shown to nobody but whom it is given to.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret into custody.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `N` bytes that nobody can guess.
fn random<const N: usize>() -> Result<[u8; N], HerdError> {
    let mut bytes = [0; N];
    let filled = getrandom(&mut bytes, GetRandomFlags::empty());
    // Up to 256 bytes come whole (getrandom(2)).
    filled.map_err(|error| HerdError::Randomness(error.into()))?;
    Ok(bytes)
}

fn url_safe(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
