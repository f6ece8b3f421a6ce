//! The client itself.

use std::path::Path;

use super::handles::{
    Boxes, Checkpoints, Disks, Domains, Files, Images, Keys, Networks, Ports, Proxies, Secrets,
    Snapshots, Templates, Tokens, Users, Variables,
};
use super::wait::Wait;
use crate::{Account, Error, ServerConfig};

/// [`Client`](crate::Client), waited for. Clones share one connection and one token.
#[derive(Debug, Clone)]
pub struct Client {
    inner: crate::Client,
    wait: Wait,
}

/// [`Builder`](crate::Builder), waited for.
#[derive(Debug, Default)]
pub struct Builder(crate::Builder);

/// What a builder is told.
macro_rules! told {
    ($($name:ident($($arg:ident: $Arg:ty)?);)*) => {
        impl Builder {$(
            #[doc = concat!(
                "As [`Builder::", stringify!($name), "`](crate::Builder::", stringify!($name), ")."
            )]
            #[must_use]
            pub fn $name(self $(, $arg: $Arg)?) -> Self {
                Self(self.0.$name($($arg)?))
            }
        )*}
    };
}

told! {
    endpoint(endpoint: impl Into<String>);
    api_key(key: impl Into<String>);
    token(token: impl Into<String>);
    ca(pem: impl Into<Vec<u8>>);
    exchange_url(url: impl Into<String>);
    allow_plaintext();
}

impl Builder {
    /// As [`Builder::from_env`](crate::Builder::from_env).
    pub fn from_env() -> Result<Self, Error> {
        crate::Builder::from_env().map(Self)
    }

    /// As [`Builder::connect`](crate::Builder::connect), waited for.
    pub fn connect(self) -> Result<Client, Error> {
        let wait = Wait::new()?;
        Ok(Client { inner: wait.until(self.0.connect())?, wait })
    }
}

impl Client {
    /// As [`Client::builder`](crate::Client::builder).
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// As [`Client::connect`](crate::Client::connect), waited for.
    pub fn connect(url: &str, key: &str) -> Result<Self, Error> {
        Self::builder().endpoint(url).api_key(key).connect()
    }

    /// As [`Client::from_env`](crate::Client::from_env), waited for.
    pub fn from_env() -> Result<Self, Error> {
        Builder::from_env()?.connect()
    }

    /// As [`Client::embedded`](crate::Client::embedded), waited for.
    pub fn embedded(data: impl AsRef<Path>) -> Result<Self, Error> {
        let wait = Wait::new()?;
        Ok(Self { inner: wait.until(crate::Client::embedded(data))?, wait })
    }

    /// As [`Client::whoami`](crate::Client::whoami), waited for.
    pub fn whoami(&self) -> Result<Account, Error> {
        self.wait.until(self.inner.whoami())
    }

    /// As [`Client::config`](crate::Client::config), waited for.
    pub fn config(&self) -> Result<ServerConfig, Error> {
        self.wait.until(self.inner.config())
    }

    /// As [`Client::link_ssh_key`](crate::Client::link_ssh_key), waited for.
    pub fn link_ssh_key(&self, key: &str, label: &str) -> Result<(), Error> {
        self.wait.until(self.inner.link_ssh_key(key, label))
    }
}

/// What a client has.
macro_rules! has {
    ($($name:ident($($of:ident)?) -> $Type:ident;)*) => {
        impl Client {$(
            #[doc = concat!(
                "As [`Client::", stringify!($name), "`](crate::Client::", stringify!($name), ")."
            )]
            #[must_use]
            pub fn $name(&self $(, $of: impl Into<String>)?) -> $Type {
                $Type::new(self.inner.$name($($of)?), self.wait.clone())
            }
        )*}
    };
}

has! {
    boxes() -> Boxes;
    files(of) -> Files;
    proxies(of) -> Proxies;
    ports(of) -> Ports;
    checkpoints(of) -> Checkpoints;
    snapshots() -> Snapshots;
    templates() -> Templates;
    disks() -> Disks;
    domains() -> Domains;
    networks() -> Networks;
    variables() -> Variables;
    secrets() -> Secrets;
    tokens() -> Tokens;
    keys() -> Keys;
    users() -> Users;
    images() -> Images;
}
