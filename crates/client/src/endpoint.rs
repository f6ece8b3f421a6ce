//! Where a server is. Pure.

use std::net::IpAddr;
use std::path::PathBuf;

use hyper::Uri;
use hyper::http::uri::Parts;

use crate::Error;

/// An endpoint that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

impl Endpoint {
    /// From `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:PATH`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            let forms = "use `https://HOST:PORT`, `http://HOST:PORT` or `unix:PATH`";
            Error::Config(format!("`{text}` is no address of a server ({why}): {forms}"))
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(wrong("no path")),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let uri: Uri = text.parse().map_err(|_| wrong("not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("no scheme")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("it has a path"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("it has a user"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self::Tcp { host, port, tls })
    }

    /// From a URL of HTTP with a path, which is answered too.
    pub(crate) fn with_path(text: &str) -> Result<(Self, String), Error> {
        let parts = text.parse::<Uri>().ok().map(Uri::into_parts);
        let (scheme, authority, path) = match parts {
            Some(Parts {
                scheme: Some(s), authority: Some(a), path_and_query: Some(path), ..
            }) => (s, a, path),
            _ => return Err(Error::Config(format!("`{text}` is no URL"))),
        };
        Ok((Self::parse(&format!("{scheme}://{authority}"))?, path.to_string()))
    }

    /// Whether it is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }

    /// What requests name as their origin.
    pub(crate) fn origin(&self) -> Result<Uri, Error> {
        let text = match self {
            Self::Unix(_) => "http://localhost".to_owned(),
            Self::Tcp { host, port, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                format!("{scheme}://{host}:{port}")
            }
        };
        text.parse().map_err(|_| Error::Config(format!("`{text}` is no origin")))
    }

    /// Whether others could read what is sent.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Tcp { tls: true, .. } => false,
            Self::Tcp { host, .. } => {
                let loopback = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
                !(loopback || host == "localhost")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let tcp = |host: &str, port, tls| Endpoint::Tcp { host: host.to_owned(), port, tls };
        assert_eq!(Endpoint::parse("http://[::1]:9443").unwrap(), tcp("::1", 9443, false));
        assert_eq!(
            Endpoint::parse("https://herd.example/").unwrap(),
            tcp("herd.example", 443, true)
        );
        assert_eq!(Endpoint::parse("unix:/run/b").unwrap(), Endpoint::Unix("/run/b".into()));
        for wrong in
            ["", "unix:", "localhost:9443", "ftp://a", "http://a/b", "http://u@a", "http://"]
        {
            assert!(matches!(Endpoint::parse(wrong), Err(Error::Config(_))), "{wrong}");
        }
    }

    #[test]
    fn what_others_could_read_is_open() {
        let open = |text: &str| Endpoint::parse(text).unwrap().is_open();
        assert!(open("http://10.0.0.1:9443") && open("http://localhost.example"));
        assert!(!open("http://127.0.0.1") && !open("http://[::1]:1") && !open("http://localhost"));
        assert!(!open("https://10.0.0.1") && !open("unix:/a"));
    }
}
