//! The configuration that `lxc` and `incus` have, read and written as they do.
//!
//! ```text
//! config.yml            remotes by name
//! client.crt client.key this client, for all of them
//! servercerts/NAME.crt  the certificate of the remote NAME
//! ```
//!
//! Files are replaced as a whole: whoever reads while this writes, reads the old one.

mod file;
mod images;
mod locations;

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

pub use file::RemoteEntry;
pub use images::ImageRemote;
pub use locations::{Flavour, Locations};

use crate::client::{DEFAULT_PROJECT, Remote};
use crate::config::file::File;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::identity::Identity;

/// The remote that is there without being written down: this machine's server.
const LOCAL: &str = "local";

/// A configuration, as it is in its folder.
#[derive(Clone, Debug)]
pub struct Config {
    folder: PathBuf,
    flavour: Flavour,
    socket: Option<PathBuf>,
    file: File,
}

impl Config {
    /// Reads the configuration; one that does not exist yet only knows `local`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Invalid`] for a file that is no such configuration.
    pub fn load(locations: &Locations) -> Result<Self> {
        let folder = locations
            .folder()
            .ok_or_else(|| Error::invalid("configuration", "no folder for it is known"))?;
        let text = read(&folder.join("config.yml"))?.unwrap_or_default();
        let text = String::from_utf8(text)
            .map_err(|_| Error::invalid("`config.yml`", "it is not UTF-8"))?;
        let mut file = File::parse(&text)?;
        file.remotes.entry(LOCAL.to_owned()).or_insert_with(|| RemoteEntry {
            addr: "unix://".to_owned(),
            ..RemoteEntry::default()
        });
        if file.default_remote.is_empty() {
            file.default_remote = LOCAL.to_owned();
        }
        Ok(Self { folder, flavour: locations.flavour, socket: locations.socket(), file })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whose configuration it is.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The name of the remote that is meant when none is named.
    #[must_use]
    pub fn default_remote(&self) -> &str {
        &self.file.default_remote
    }

    /// All remotes, by name.
    pub fn remotes(&self) -> impl Iterator<Item = (&str, &RemoteEntry)> {
        self.file.remotes.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// What is needed to connect to the remote `name`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when there is none, [`Error::Invalid`] when it has no instances
    /// (`simplestreams`), wants another kind of login, or has no pinned certificate.
    pub fn remote(&self, name: &str) -> Result<Remote> {
        let what = || format!("remote `{name}`");
        let entry = self.file.remotes.get(name);
        let entry = entry.ok_or_else(|| Error::NotFound { message: what() })?;
        if !matches!(entry.protocol.as_str(), "" | "lxd" | "incus") {
            let why = format!("it speaks `{}` and has no instances", entry.protocol);
            return Err(Error::invalid(what(), why));
        }
        if !matches!(entry.auth_type.as_str(), "" | "tls") {
            let why = format!("it wants to be logged into by `{}`, not `tls`", entry.auth_type);
            return Err(Error::invalid(what(), why));
        }
        let endpoint = self.endpoint(&entry.addr)?;
        let (mut identity, mut server_certificate) = (None, None);
        if matches!(endpoint, Endpoint::Https { .. }) {
            identity = self.identity()?;
            server_certificate = self.server_certificate(name)?;
            if server_certificate.is_none() {
                return Err(Error::invalid(what(), "its certificate is not pinned: add it again"));
            }
        }
        let project = match entry.project.as_str() {
            "" => DEFAULT_PROJECT.to_owned(),
            project => project.to_owned(),
        };
        Ok(Remote { endpoints: vec![endpoint], identity, server_certificate, project })
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint> {
        match (address, &self.socket) {
            ("" | "unix:" | "unix://", Some(socket)) => Ok(Endpoint::Unix(socket.clone())),
            _ => Endpoint::parse(address),
        }
    }

    /// The client's certificate and key, if there are any.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Invalid`] for files that are none.
    pub fn identity(&self) -> Result<Option<Identity>> {
        let certificate = read(&self.folder.join("client.crt"))?;
        let key = read(&self.folder.join("client.key"))?;
        certificate.zip(key).map(|(cert, key)| Identity::from_pem(&cert, &key)).transpose()
    }

    /// The client's certificate and key; made, for `name`, when there are none. `lxc` and `incus`
    /// use them from then on.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Invalid`] for files that are none.
    pub fn identity_or_new(&self, name: &str) -> Result<Identity> {
        if let Some(identity) = self.identity()? {
            return Ok(identity);
        }
        let (certificate, key) = Identity::generate(name)?;
        // The key first: a certificate without its key would not be replaced.
        write(&self.folder.join("client.key"), key.as_bytes())?;
        write(&self.folder.join("client.crt"), certificate.as_bytes())?;
        Identity::from_pem(certificate.as_bytes(), key.as_bytes())
    }

    fn server_certificate(&self, name: &str) -> Result<Option<CertificateDer<'static>>> {
        let Some(pem) = read(&self.pin(name))? else { return Ok(None) };
        let what = format!("certificate of the remote `{name}`");
        CertificateDer::from_pem_slice(&pem).map(Some).map_err(|error| Error::invalid(what, error))
    }

    fn pin(&self, name: &str) -> PathBuf {
        self.folder.join("servercerts").join(format!("{name}.crt"))
    }

    /// Writes down the remote `name` with the certificate that its server has.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when there is one of that name, [`Error::Invalid`] for a name that none
    /// can have, [`Error::Io`].
    pub fn add(&mut self, name: &str, remote: &Remote) -> Result<()> {
        check_name(name)?;
        if self.file.remotes.contains_key(name) {
            return Err(Error::Conflict { message: format!("the remote `{name}` already exists") });
        }
        let [endpoint] = &remote.endpoints[..] else {
            return Err(Error::invalid(format!("remote `{name}`"), "`config.yml` has one address"));
        };
        if let Some(certificate) = &remote.server_certificate {
            write(&self.pin(name), pem(certificate).as_bytes())?;
        }
        let protocol = match self.flavour {
            Flavour::Lxd => "lxd",
            Flavour::Incus => "incus",
        };
        let entry = RemoteEntry {
            addr: endpoint.to_string(),
            protocol: protocol.to_owned(),
            auth_type: "tls".to_owned(),
            project: remote.project.clone(),
            ..RemoteEntry::default()
        };
        self.file.remotes.insert(name.to_owned(), entry);
        self.save()
    }

    /// Strikes out the remote `name`, and its certificate. The server goes on trusting this client.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Conflict`] for the default one, [`Error::Io`].
    pub fn remove(&mut self, name: &str) -> Result<()> {
        if self.file.default_remote == name {
            return Err(Error::Conflict { message: format!("`{name}` is the default remote") });
        }
        if self.file.remotes.remove(name).is_none() {
            return Err(Error::NotFound { message: format!("remote `{name}`") });
        }
        self.save()?;
        let pin = self.pin(name);
        match std::fs::remove_file(&pin) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove", &pin, error)),
            _ => Ok(()),
        }
    }

    fn save(&self) -> Result<()> {
        write(&self.folder.join("config.yml"), self.file.print()?.as_bytes())
    }
}

/// A name is part of a file's name, and is followed by a colon on command lines.
fn check_name(name: &str) -> Result<()> {
    let bad = |c: char| matches!(c, ':' | '/' | ' ') || c.is_control();
    if name.is_empty() || name.starts_with('.') || name.contains(bad) {
        return Err(Error::invalid(format!("name `{name}` of a remote"), "use letters and digits"));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io("read", path, error)),
    }
}

/// Replaces a file at once, for its owner only.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let replace = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    replace().map_err(|error| io("write", path, error))
}

fn io(verb: &str, path: &Path, source: std::io::Error) -> Error {
    Error::Io { what: format!("cannot {verb} `{}`", path.display()), source }
}

/// RFC 7468.
fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
