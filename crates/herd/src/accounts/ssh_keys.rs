//! Public keys by which users are recognised.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use boxherd_model::Timestamp;
use boxherd_store::SshKeyRecord;
use sha2::{Digest as _, Sha256};

use crate::{Herd, HerdError};

/// The kinds of keys that are taken (RFC 4253 §6.6, RFC 5656, RFC 8709, OpenSSH's `sk-`).
const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];
/// The longest line, in bytes; an RSA key of 16384 bits has 2800.
const MAX_LINE: usize = 8192;
/// The longest label, in characters.
const MAX_LABEL: usize = 256;

impl Herd {
    /// Links a public key with the caller, as a line of `authorized_keys` without options. Gives its
    /// fingerprint. Linking one's own key again changes nothing.
    pub async fn link_public_key(&self, line: &str, label: &str) -> Result<String, HerdError> {
        let user = self.user_id()?;
        let (fingerprint, key, comment) = parsed(line)?;
        let known = self.store.ssh_key(&fingerprint).await?;
        if known.is_some_and(|known| known.user == user) {
            return Ok(fingerprint);
        }
        let label = if label.is_empty() { comment } else { label };
        let label = label.chars().filter(|c| !c.is_control()).take(MAX_LABEL).collect();
        let created: Timestamp = self.now();
        let record = SshKeyRecord { fingerprint: fingerprint.clone(), user, key, label, created };
        self.store.add_ssh_key(&record).await?;
        Ok(fingerprint)
    }
}

/// Fingerprint, key without comment, comment. Pure.
fn parsed(line: &str) -> Result<(String, String, &str), HerdError> {
    let invalid = |reason: &str| HerdError::Invalid { field: "pubkey", reason: reason.to_owned() };
    if line.len() > MAX_LINE {
        return Err(invalid("it is too long"));
    }
    let line = line.trim();
    if line.contains(['\n', '\r', '\0']) {
        return Err(invalid("it is more than one line"));
    }
    let (kind, rest) = line.split_once(' ').ok_or_else(|| invalid("write `KIND BASE64`"))?;
    if !KINDS.contains(&kind) {
        return Err(invalid("its kind is none that is known, such as `ssh-ed25519`"));
    }
    let (text, comment) = rest.trim_start().split_once(' ').unwrap_or((rest.trim_start(), ""));
    let blob = BASE64_STANDARD.decode(text).map_err(|_| invalid("the key is not in base64"))?;
    // A string with the kind, and then what makes up a key of it.
    let named = u32::try_from(kind.len()).unwrap_or(u32::MAX).to_be_bytes();
    let body = blob.strip_prefix(&named).and_then(|rest| rest.strip_prefix(kind.as_bytes()));
    if body.is_none_or(|body| body.len() < 32) {
        return Err(invalid("the key is not of the kind that it says"));
    }
    let hash = BASE64_STANDARD_NO_PAD.encode(Sha256::digest(&blob));
    Ok((format!("SHA256:{hash}"), format!("{kind} {text}"), comment.trim()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn a_key_has_the_fingerprint_that_ssh_keygen_prints() {
        let line = format!("  {KEY} me@home here\n");
        let (fingerprint, key, comment) = parsed(&line).unwrap();
        assert_eq!(fingerprint, FINGERPRINT);
        assert_eq!((key.as_str(), comment), (KEY, "me@home here"));
    }

    /// `ssh-keygen -lf` of `KEY`.
    const FINGERPRINT: &str = "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA";

    #[test]
    fn what_is_no_key_is_refused() {
        let mixed = KEY.replace("ssh-ed25519 ", "ssh-rsa ");
        let two = format!("{KEY}\n{KEY}");
        let long = format!("{KEY} {}", "x".repeat(MAX_LINE));
        let options = format!("command=\"sh\" {KEY}");
        let lines = ["", "ssh-ed25519", "ssh-ed25519 !!", "ssh-ed25519 AAAA", &mixed, &two, &long];
        for line in lines.into_iter().chain([options.as_str()]) {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(ssh-rsa )?\\PC{0,80}") {
            drop(parsed(&text));
        }
    }
}
