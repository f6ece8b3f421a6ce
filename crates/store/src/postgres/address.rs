//! Where a Postgres server is, and how it is spoken to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::StoreError;
use crate::error::Source;

/// How long a server is waited for that does not answer at all.
const CONNECT: Duration = Duration::from_secs(5);
/// How long after the last sign of life a connection is given up.
const SILENCE: Duration = Duration::from_secs(15);

/// Where a server is.
pub(super) struct Address {
    config: Config,
    /// `None` when it is spoken to in plain text.
    tls: Option<MakeRustlsConnect>,
}

impl Address {
    /// Understands an address. `trusted` answers the certificates by which other hosts are known, and
    /// is asked only when there is need.
    pub(super) fn parse(
        url: &str,
        trusted: impl FnOnce() -> Result<RootCertStore, StoreError>,
    ) -> Result<Self, StoreError> {
        let mut config: Config = url.parse().map_err(refused)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(refused(std::io::Error::other("it names no host")));
        }
        if config.get_application_name().is_none() {
            config.application_name("boxherd");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        config.tcp_user_timeout(SILENCE).keepalives_idle(SILENCE);
        let mode = match config.get_ssl_mode() {
            // Whoever does not say otherwise sends no password over a network in plain text.
            SslMode::Prefer if is_here(&config) => SslMode::Disable,
            SslMode::Prefer => SslMode::Require,
            mode => mode,
        };
        config.ssl_mode(mode);
        let tls = (mode != SslMode::Disable).then(|| tls(trusted()?)).transpose()?;
        Ok(Self { config, tls })
    }

    pub(super) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        match &self.tls {
            None => connect(&self.config, NoTls).await,
            Some(tls) => connect(&self.config, tls.clone()).await,
        }
    }
}

impl fmt::Display for Address {
    /// Never the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => {
                self.config.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default()
            }
        };
        write!(f, "postgres at {host}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn refused(source: impl Into<Source>) -> StoreError {
    StoreError::Address(source.into())
}

/// Whether every host is this one.
fn is_here(config: &Config) -> bool {
    let local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
    };
    // An address, where there is one, is what is connected to, whatever the name beside it.
    match config.get_hostaddrs() {
        [] => config.get_hosts().iter().all(local),
        addresses => addresses.iter().all(std::net::IpAddr::is_loopback),
    }
}

/// The certificates that this host trusts.
pub(super) fn trusted_here() -> Result<RootCertStore, StoreError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    match found.errors.into_iter().next() {
        Some(error) if roots.is_empty() => Err(refused(error)),
        _ => Ok(roots),
    }
}

fn tls(roots: RootCertStore) -> Result<MakeRustlsConnect, StoreError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(refused)?.with_root_certificates(roots).with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

async fn connect<T>(config: &Config, tls: T) -> Result<Client, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    // Its end shows in the client, where everyone who waits is told why.
    tokio::spawn(connection);
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, StoreError> {
        Address::parse(url, || Ok(RootCertStore::empty()))
    }

    #[test]
    fn only_this_host_is_spoken_to_in_plain_text() {
        let plain = |url: &str| parse(url).unwrap().tls.is_none();
        assert!(plain("postgres://ann:secret@localhost/herd"));
        assert!(plain("postgres://127.0.0.1:5433"));
        assert!(plain("host=/run/postgresql user=ann"));
        assert!(!plain("postgres://db.example/herd"));
        assert!(!plain("host=localhost hostaddr=192.0.2.1"));
        assert!(!plain("host=localhost,db.example"));
        assert!(!plain("postgres://localhost/herd?sslmode=require"));
        assert!(plain("postgres://db.example/herd?sslmode=disable"));
    }

    #[test]
    fn what_is_no_address_is_refused_and_passwords_are_never_shown() {
        for url in ["", "postgres://", "nonsense", "postgres://ann:secret@h/herd?color=red"] {
            let refused = parse(url).unwrap_err();
            assert_eq!(refused.code(), "store-address");
            assert!(!format!("{refused:?}").contains("secret"), "{refused:?}");
        }
        let address = parse("postgres://ann:secret@localhost/herd").unwrap();
        assert_eq!(format!("{address} {address:?}"), "postgres at localhost postgres at localhost");
    }
}
