//! Where a server listens.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// The port of the API when an address names none.
const PORT: u16 = 8443;

/// One address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A unix socket; whoever may open it is trusted.
    Unix(PathBuf),
    /// TLS on a TCP port.
    Https {
        /// A name or an address, without brackets.
        host: String,
        /// The TCP port.
        port: u16,
    },
}

impl Endpoint {
    /// Reads an address of `config.yml`: `https://HOST[:PORT]` or `unix://[PATH]`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for anything else, also for `unix://` without a path: where the socket
    /// of this machine is, the environment tells ([`crate::Locations`]).
    pub fn parse(address: &str) -> Result<Self> {
        let invalid = |why: &str| Error::invalid(format!("address `{address}`"), why);
        if let Some(path) = address.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(invalid("it names no absolute path of a socket"));
            }
            return Ok(Self::Unix(path.into()));
        }
        let rest = address.strip_prefix("https://").ok_or_else(|| {
            invalid("only `https://HOST[:PORT]` and `unix://PATH` can be connected to")
        })?;
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = split(authority).ok_or_else(|| invalid("the port is no number"))?;
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(invalid("it names no host"));
        }
        Ok(Self::Https { host: host.to_owned(), port })
    }

    /// What the `Host` header says.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Unix(_) => "lxd".to_owned(),
            Self::Https { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Https { host, port } => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Https { .. } => write!(f, "https://{}", self.authority()),
        }
    }
}

/// Host and port of `HOST`, `HOST:PORT`, `[ADDRESS]`, `[ADDRESS]:PORT` or a bare IPv6 address.
fn split(authority: &str) -> Option<(&str, u16)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after {
            "" => Some((host, PORT)),
            _ => Some((host, after.strip_prefix(':')?.parse().ok()?)),
        };
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Some((authority, PORT)),
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((authority, PORT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn https(host: &str, port: u16) -> Endpoint {
        Endpoint::Https { host: host.to_owned(), port }
    }

    #[test]
    fn addresses_of_the_configuration_are_read() {
        let cases = [
            ("https://10.0.0.1:8443", https("10.0.0.1", 8443)),
            ("https://lxd.example", https("lxd.example", 8443)),
            ("https://lxd.example:9443/", https("lxd.example", 9443)),
            ("https://[fd00::1]:9443", https("fd00::1", 9443)),
            ("https://fd00::1", https("fd00::1", 8443)),
            ("unix:///var/lib/lxd/unix.socket", Endpoint::Unix("/var/lib/lxd/unix.socket".into())),
            ("unix:/run/x", Endpoint::Unix("/run/x".into())),
        ];
        for (address, endpoint) in cases {
            assert_eq!(Endpoint::parse(address).unwrap(), endpoint, "{address}");
            assert_eq!(Endpoint::parse(&endpoint.to_string()).unwrap(), endpoint);
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        for address in ["", "http://a", "https://", "https://a:b", "https://[::1", "unix://", "a b"]
        {
            assert!(Endpoint::parse(address).is_err(), "{address}");
        }
    }
}
