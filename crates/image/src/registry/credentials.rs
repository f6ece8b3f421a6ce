//! User and password of a registry, from a file of the form of `~/.docker/config.json`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

use crate::ImageError;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Logins {
    auths: HashMap<String, Login>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Login {
    /// base64 of `user:password`; absent when a helper keeps it.
    auth: Option<String>,
}

/// What `file` has for `registry`; anonymous when it has nothing or is not there.
pub(super) fn find(file: Option<&Path>, registry: &str) -> Result<RegistryAuth, ImageError> {
    let Some(file) = file else { return Ok(RegistryAuth::Anonymous) };
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(RegistryAuth::Anonymous);
        }
        Err(error) => return Err(ImageError::io("read", file, error)),
    };
    let bad = |error: io::Error| ImageError::io("understand", file, error);
    let logins: Logins = serde_json::from_slice(&text).map_err(|error| bad(error.into()))?;
    match login(&logins, registry) {
        None => Ok(RegistryAuth::Anonymous),
        Some(auth) => {
            let text = STANDARD.decode(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = text.as_deref().and_then(|text| text.split_once(':'));
            let (user, password) = pair.ok_or_else(|| bad(io::ErrorKind::InvalidData.into()))?;
            Ok(RegistryAuth::Basic(user.to_owned(), password.to_owned()))
        }
    }
}

/// Some programs write the registry as a URL.
fn login<'a>(logins: &'a Logins, registry: &str) -> Option<&'a str> {
    let names = |key: &str| {
        let host = key.split_once("://").map_or(key, |(_, rest)| rest);
        host.split('/').next() == Some(registry)
    };
    let exact = logins.auths.get(registry);
    let found =
        exact.or_else(|| logins.auths.iter().find(|(key, _)| names(key)).map(|(_, login)| login));
    found?.auth.as_deref().filter(|auth| !auth.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_found_by_host() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let auth = STANDARD.encode("ann:se:cret");
        let text = format!(
            r#"{{"auths":{{"https://registry.example/v1/":{{"auth":"{auth}"}},
                "helped.example":{{}}}},"credsStore":"x"}}"#
        );
        fs::write(&file, text).unwrap();

        let found = find(Some(&file), "registry.example").unwrap();
        assert_eq!(found, RegistryAuth::Basic("ann".to_owned(), "se:cret".to_owned()));
        for registry in ["helped.example", "other.example"] {
            assert_eq!(find(Some(&file), registry).unwrap(), RegistryAuth::Anonymous);
        }
        let absent = folder.path().join("absent");
        assert_eq!(find(Some(&absent), "registry.example").unwrap(), RegistryAuth::Anonymous);
    }

    #[test]
    fn a_file_that_is_no_login_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        for text in ["[", r#"{"auths":{"r.example":{"auth":"%"}}}"#] {
            fs::write(&file, text).unwrap();
            let error = find(Some(&file), "r.example").unwrap_err();
            assert!(error.to_string().starts_with("cannot understand"), "{error}");
        }
    }
}
