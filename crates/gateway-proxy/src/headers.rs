//! Headers on their way through: those of one connection are dropped, and what boxes are told of
//! whoever asks is ours to say. Pure.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers that mean one connection and no more (RFC 9110 §7.6.1, and what is in use).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What else proxies say of clients. From outside it may be anything.
const FORWARDED: [HeaderName; 2] = [header::FORWARDED, HeaderName::from_static("x-real-ip")];
/// The same, by how its names begin.
const PREFIX: &str = "x-forwarded-";
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What boxes are told of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// The address of the client, with its port.
    pub(crate) source: &'a str,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// The name that was called, as it was written.
    pub(crate) host: &'a HeaderValue,
}

/// The protocol that a request or an answer changes to, if `Connection` says so, too.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get(header::UPGRADE)?;
    connection_options(headers)
        .any(|option| option.eq_ignore_ascii_case("upgrade"))
        .then(|| wanted.clone())
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CONNECTION).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim)
}

/// Drops what means one connection only.
pub(crate) fn drop_hop_by_hop(headers: &mut HeaderMap) {
    // A length beside it is not believed (RFC 9112 §6.3).
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> =
            connection_options(headers).filter_map(|option| option.parse().ok()).collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Puts the protocol that is changed to back.
pub(crate) fn put_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Says who asks, and nothing else of it.
pub(crate) fn tell(headers: &mut HeaderMap, seen: Seen<'_>) {
    let said: Vec<_> = headers.keys().filter(|name| is_forwarded(name.as_str())).cloned().collect();
    for name in said.iter().chain(&FORWARDED) {
        headers.remove(name);
    }
    let address = address(seen.source);
    if let Ok(address) = HeaderValue::from_str(address) {
        headers.insert(FOR, address);
    }
    headers.insert(PROTO, HeaderValue::from_static(seen.scheme));
    headers.insert(HOST, seen.host.clone());
    headers.insert(header::HOST, seen.host.clone());
}

/// Also with `_` for `-`, which is the same to CGI and what came of it.
fn is_forwarded(name: &str) -> bool {
    let same = |(theirs, ours): (u8, u8)| theirs == ours || (theirs == b'_' && ours == b'-');
    name.len() >= PREFIX.len() && name.bytes().zip(PREFIX.bytes()).all(same)
}

/// The address without the port. `X-Forwarded-For` has IPv6 addresses without brackets.
fn address(source: &str) -> &str {
    let host = source.rsplit_once(':').map_or(source, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Takes the token out of a request, so that the box does not get to know it.
pub(crate) fn take_token(headers: &mut HeaderMap) -> Option<String> {
    [header::PROXY_AUTHORIZATION, header::AUTHORIZATION].iter().find_map(|name| {
        let value = headers.get(name)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        let token = scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())?;
        headers.remove(name);
        Some(token)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        list.iter().map(pair).collect()
    }

    #[test]
    fn what_means_one_connection_is_dropped_with_what_connection_names() {
        let mut some = headers(&[
            ("connection", "close, X-Own"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("accept", "*/*"),
        ]);
        drop_hop_by_hop(&mut some);
        assert_eq!(some, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn what_is_said_from_outside_is_not_believed() {
        let mut some = headers(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "1"),
            ("x_forwarded_for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
        ]);
        let host = HeaderValue::from_static("web.localhost:1");
        tell(&mut some, Seen { source: "[::1]:5", scheme: "https", host: &host });
        let told = headers(&[
            ("x-forwarded-for", "::1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "web.localhost:1"),
            ("host", "web.localhost:1"),
        ]);
        assert_eq!(some, told);
    }

    #[test]
    fn an_upgrade_is_one_that_connection_says() {
        let both = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade(&both), Some(HeaderValue::from_static("websocket")));
        assert_eq!(upgrade(&headers(&[("upgrade", "websocket")])), None);
    }

    #[test]
    fn a_token_is_taken_and_other_authorizations_are_the_boxs() {
        let mut some = headers(&[("authorization", "bearer abc")]);
        assert_eq!(take_token(&mut some).as_deref(), Some("abc"));
        assert!(some.is_empty());
        let mut both =
            headers(&[("authorization", "Basic eDp5"), ("proxy-authorization", "Bearer abc")]);
        assert_eq!(take_token(&mut both).as_deref(), Some("abc"));
        assert_eq!(both, headers(&[("authorization", "Basic eDp5")]));
    }
}
