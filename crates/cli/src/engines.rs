//! The engines that a data folder knows besides its own: a folder each below `engines`, for its owner
//! only.
//!
//! ```text
//! engines/NAME/engine.json     what is kept here
//! engines/NAME/config.yml …    the server and our certificate, as `lxc` keeps them: one remote, `server`
//! ```

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use boxherd_engine_lxd::{Facts, LxdEngine, Settings};
use boxherd_lxd_client::{Config, Endpoint, Flavour, Locations, Remote};
use boxherd_model::{EngineName, ImageRef};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

const FOLDER: &str = "engines";
const FILE: &str = "engine.json";
/// The one remote in an engine's own configuration.
pub(crate) const SERVER: &str = "server";

/// What is kept of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// What it is.
    pub(crate) kind: Kind,
    /// Where it is, the one that is asked first first.
    pub(crate) endpoints: Vec<String>,
    /// Of what it has.
    pub(crate) project: String,
    /// What boxes are made of when nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<ImageRef>,
    /// Where their disks are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<String>,
    /// How many seconds an operation may show no progress there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) patience: Option<u64>,
    /// What drives that pool, when it was looked at last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pool_driver: Option<String>,
    /// Whether it was a cluster then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) clustered: bool,
    /// Whether it ran virtual machines then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) virtual_machines: bool,
}

impl Known {
    fn facts(&self) -> Facts {
        let Self { pool_driver, clustered, virtual_machines, .. } = self.clone();
        Facts { pool_driver, clustered, virtual_machines }
    }

    /// The same with what the server says now.
    pub(crate) fn with(self, facts: Facts) -> Self {
        let Facts { pool_driver, clustered, virtual_machines } = facts;
        Self { pool_driver, clustered, virtual_machines, ..self }
    }
}

/// What an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// An LXD server or cluster.
    Lxd,
    /// An Incus server or cluster.
    Incus,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lxd => "lxd",
            Self::Incus => "incus",
        }
    }

    pub(crate) fn flavour(self) -> Flavour {
        match self {
            Self::Lxd => Flavour::Lxd,
            Self::Incus => Flavour::Incus,
        }
    }
}

/// An engine with the folder that is its own, or is to be.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) name: EngineName,
    pub(crate) known: Known,
    folder: PathBuf,
}

impl Engine {
    /// Where `lxc` would find who we are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How it is reached.
    pub(crate) fn remote(&self) -> Result<Remote, Failure> {
        let mut remote = config(&self.folder, self.known.kind)?.remote(SERVER).map_err(failure)?;
        let endpoints = self.known.endpoints.iter().map(|text| Endpoint::parse(text));
        remote.endpoints = endpoints.collect::<Result<_, _>>().map_err(failure)?;
        remote.project.clone_from(&self.known.project);
        Ok(remote)
    }

    /// What it is, on this installation.
    pub(crate) fn settings(&self, installation: &str) -> Settings {
        Settings {
            name: self.name.clone(),
            installation: installation.to_owned(),
            image: self.known.image.clone(),
            pool: self.known.pool.clone(),
            remotes: Some(Locations::of(self.known.kind.flavour(), |name| std::env::var_os(name))),
            patience: self.known.patience.map(Duration::from_secs),
            facts: self.known.facts(),
        }
    }

    /// The engine itself; nothing is asked of it yet.
    pub(crate) fn open(&self, installation: &str) -> Result<LxdEngine, Failure> {
        Ok(LxdEngine::new(self.settings(installation), &self.remote()?)?)
    }

    /// Writes down what the server says now.
    pub(crate) fn learn(&self, facts: Facts) -> Result<(), Failure> {
        let known = self.known.clone().with(facts);
        if known == self.known {
            return Ok(());
        }
        let failed = |error| Failure::io(format!("`{}`", self.folder.display()), &error);
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(failed)?;
        write(file.as_file_mut(), &known).map_err(failed)?;
        file.persist(self.folder.join(FILE)).map_err(|error| failed(error.error)).map(drop)
    }
}

/// The configuration of an engine's folder, as `lxc` reads it.
pub(crate) fn config(folder: &Path, kind: Kind) -> Result<Config, Failure> {
    let (folders, sockets) = (vec![folder.to_owned()], Vec::new());
    Config::load(&Locations { flavour: kind.flavour(), folders, sockets }).map_err(failure)
}

/// What went wrong with a server before there is an engine.
pub(crate) fn failure(error: boxherd_lxd_client::Error) -> Failure {
    Failure::of(&error, "engine", None)
}

/// Every engine that a data folder knows, by name.
pub(crate) fn all(data: &Path) -> Result<Vec<Engine>, Failure> {
    let folder = data.join(FOLDER);
    let failed = |error| Failure::io(format!("`{}`", folder.display()), &error);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut engines: Vec<Engine> = Vec::new();
    for entry in entries {
        let folder = entry.map_err(failed)?.path();
        let file = folder.file_name().and_then(|name| name.to_str());
        // What is no name of an engine is none of ours, such as one that is being written.
        let Some(name) = file.and_then(|text| text.parse().ok()) else { continue };
        engines.push(Engine { name, known: read(&folder)?, folder });
    }
    engines.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    Ok(engines)
}

/// The engine of that name.
pub(crate) fn one(data: &Path, name: &EngineName) -> Result<Engine, Failure> {
    all(data)?.into_iter().find(|engine| engine.name == *name).ok_or_else(|| no_such(name))
}

fn read(folder: &Path) -> Result<Known, Failure> {
    let file = folder.join(FILE);
    let named = file.display();
    let text = fs::read(&file).map_err(|error| Failure::io(format!("`{named}`"), &error))?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new("config", format!("`{named}`: {error}"))
            .hint("`boxherd engine rm` and `engine add` write it anew")
    })
}

fn write(file: &mut fs::File, known: &Known) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *file, known)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// A folder that becomes an engine's when it is kept, and is gone otherwise.
#[derive(Debug)]
pub(crate) struct New {
    half: tempfile::TempDir,
    place: PathBuf,
    name: EngineName,
}

impl New {
    /// Begins an engine under a name that none has.
    pub(crate) fn begin(data: &Path, name: &EngineName) -> Result<Self, Failure> {
        let place = place(data, name);
        if place.exists() {
            return Err(taken(name));
        }
        let parent = data.join(FOLDER);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&parent);
        let half = made.and_then(|()| tempfile::Builder::new().prefix(".new-").tempdir_in(&parent));
        let half = half.map_err(|error| Failure::io(format!("`{}`", parent.display()), &error))?;
        Ok(Self { half, place, name: name.clone() })
    }

    /// Where its files go.
    pub(crate) fn folder(&self) -> &Path {
        self.half.path()
    }

    /// The engine as it would be.
    pub(crate) fn engine(&self, known: Known) -> Engine {
        Engine { name: self.name.clone(), known, folder: self.folder().to_owned() }
    }

    /// Keeps it: it is there whole, or not at all.
    pub(crate) fn keep(self, known: &Known) -> Result<(), Failure> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => taken(&self.name),
            _ => Failure::io(format!("`{}`", self.place.display()), &error),
        };
        let mut file = fs::File::create_new(self.half.path().join(FILE)).map_err(failed)?;
        write(&mut file, known)
            .and_then(|()| fs::rename(self.half.path(), &self.place))
            .map_err(failed)?;
        // Its folder is another's now.
        let _ = self.half.keep();
        Ok(())
    }
}

/// Copies a remote with what makes us trusted from the configuration of `lxc` or `incus` of whoever
/// asks.
pub(crate) fn adopt(
    new: &New,
    theirs: &Config,
    kind: Kind,
    remote: &Remote,
) -> Result<(), Failure> {
    for name in ["client.key", "client.crt"] {
        let (from, to) = (theirs.folder().join(name), new.folder().join(name));
        match fs::copy(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::io(format!("`{}`", from.display()), &error));
            }
            _ => {}
        }
    }
    config(new.folder(), kind)?.add(SERVER, remote).map_err(failure)
}

/// Forgets an engine.
pub(crate) fn remove(data: &Path, name: &EngineName) -> Result<(), Failure> {
    let place = place(data, name);
    fs::remove_dir_all(&place).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => no_such(name),
        _ => Failure::io(format!("`{}`", place.display()), &error),
    })
}

/// Nobody knows it.
pub(crate) fn no_such(name: &EngineName) -> Failure {
    Failure::new("no-such-engine", format!("there is no engine `{name}`"))
        .hint("`boxherd engine ls` lists those there are")
}

fn taken(name: &EngineName) -> Failure {
    Failure::new("exists", format!("there is an engine `{name}` already"))
        .hint(format!("`boxherd engine rm {name}` forgets it"))
}

fn place(data: &Path, name: &EngineName) -> PathBuf {
    data.join(FOLDER).join(name.as_str())
}
