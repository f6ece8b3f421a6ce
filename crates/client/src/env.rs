//! What the environment says of servers. Pure: who asks, reads it.

use std::net::IpAddr;

use hyper::Uri;

use crate::Error;
use crate::login::PATH;

/// Where the SDKs of boxd go when nobody says where.
const BOXD: &str = "https://boxd.sh:9443";

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) endpoint: String,
    pub(crate) token: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) ca: Option<String>,
    pub(crate) exchange: Option<String>,
}

/// Reads the variables that `get` knows; one that is empty is not set.
pub(crate) fn read(get: impl Fn(&str) -> Option<String>) -> Result<Found, Error> {
    let get = |name: &str| get(name).filter(|value| !value.is_empty());
    if let Some(endpoint) = get("BOXHERD_SERVER") {
        let (token, key) = (get("BOXHERD_TOKEN"), get("BOXHERD_API_KEY"));
        return Ok(Found { endpoint, token, key, ca: get("BOXHERD_CA"), exchange: None });
    }
    let (token, key) = (get("BOXD_TOKEN"), get("BOXD_API_KEY"));
    if token.is_none() && key.is_none() {
        return Err(Error::Config(
            "the environment names no server: set `BOXHERD_SERVER` and `BOXHERD_API_KEY`"
                .to_owned(),
        ));
    }
    let url = get("BOXD_BASE_URL").or_else(|| get("BOXD_API_URL"));
    let endpoint = with_scheme(url.as_deref().unwrap_or(BOXD));
    let exchange = get("BOXD_EXCHANGE_URL").or_else(|| exchange_of(&endpoint));
    Ok(Found { endpoint, token, key, ca: None, exchange })
}

/// An address without a scheme is encrypted, unless it is plainly this machine's.
fn with_scheme(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let local = url.starts_with("localhost") || url.starts_with("127.");
    match url {
        url if url.contains("://") => url.to_owned(),
        url if local => format!("http://{url}"),
        url => format!("https://{url}"),
    }
}

/// Where keys for `endpoint` are exchanged, if not there: a cluster that has a name has a console
/// besides, whose name begins with `app.`.
fn exchange_of(endpoint: &str) -> Option<String> {
    let uri: Uri = endpoint.parse().ok()?;
    let host = uri.host()?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let itself = bare == "localhost" || bare.parse::<IpAddr>().is_ok() || bare.starts_with("app.");
    (!itself).then(|| format!("https://app.{host}{PATH}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Found, Error> {
        read(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn a_server_of_ours_comes_first_and_is_told_no_other_key() {
        let found = of(&[
            ("BOXHERD_SERVER", "unix:/run/b"),
            ("BOXHERD_API_KEY", "ours"),
            ("BOXD_API_KEY", "theirs"),
            ("BOXD_TOKEN", "theirs"),
        ]);
        let found = found.unwrap();
        assert_eq!((found.endpoint.as_str(), found.key.as_deref()), ("unix:/run/b", Some("ours")));
        assert_eq!((found.token, found.exchange), (None, None));
    }

    #[test]
    fn a_key_of_ours_is_sent_nowhere_without_a_server() {
        assert!(matches!(of(&[("BOXHERD_API_KEY", "ours")]), Err(Error::Config(_))));
        assert!(matches!(
            of(&[("BOXHERD_SERVER", ""), ("BOXD_API_KEY", "")]),
            Err(Error::Config(_))
        ));
    }

    #[test]
    fn the_variables_of_boxd_are_read_as_its_sdk_reads_them() {
        let endpoint = |url| {
            let found = of(&[("BOXD_API_KEY", "k"), ("BOXD_API_URL", url)]).unwrap();
            (found.endpoint, found.exchange.unwrap_or_default())
        };
        let both = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(endpoint("127.0.0.1:9443/"), both("http://127.0.0.1:9443", ""));
        assert_eq!(endpoint("localhost:1"), both("http://localhost:1", ""));
        assert_eq!(endpoint("http://10.0.0.1:1"), both("http://10.0.0.1:1", ""));
        assert_eq!(endpoint("https://app.x:1"), both("https://app.x:1", ""));
        let console = "https://app.x.example/api/v1/auth/token";
        assert_eq!(endpoint("x.example:9443"), both("https://x.example:9443", console));
        assert_eq!(endpoint(""), both(BOXD, "https://app.boxd.sh/api/v1/auth/token"));
    }

    #[test]
    fn the_newer_name_of_an_address_wins_and_so_does_an_exchange_that_is_named() {
        let found = of(&[
            ("BOXD_TOKEN", "t"),
            ("BOXD_API_KEY", "k"),
            ("BOXD_BASE_URL", "https://new.example"),
            ("BOXD_API_URL", "https://old.example"),
            ("BOXD_EXCHANGE_URL", "http://127.0.0.1:8080/x"),
        ]);
        let found = found.unwrap();
        assert_eq!(found.endpoint, "https://new.example");
        assert_eq!(found.exchange.as_deref(), Some("http://127.0.0.1:8080/x"));
        assert_eq!((found.token.as_deref(), found.key.as_deref()), (Some("t"), Some("k")));
    }
}
