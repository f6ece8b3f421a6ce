//! The engines that a data folder knows besides its own: a folder each below `engines`, for its owner only.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use boxherd_engine_lxd::{LxdEngine, Settings};
use boxherd_lxd_client::{Endpoint, Remote};
use boxherd_model::{EngineName, ImageRef};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

const FOLDER: &str = "engines";
const FILE: &str = "engine.json";

/// What is kept of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// What it is.
    pub(crate) kind: Kind,
    /// Where it is.
    pub(crate) endpoints: Vec<String>,
    /// Of what it has.
    pub(crate) project: String,
    /// What boxes are made of when nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<ImageRef>,
    /// Where their disks are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<String>,
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
}

impl Known {
    /// The engine itself; nothing is asked of it yet.
    pub(crate) fn open(&self, name: EngineName, installation: &str) -> Result<LxdEngine, Failure> {
        let endpoints = self.endpoints.iter().map(|text| Endpoint::parse(text));
        let endpoints = endpoints.collect::<Result<Vec<_>, _>>();
        let remote = Remote {
            endpoints: endpoints.map_err(|error| Failure::of(&error, "usage", None))?,
            identity: None,
            server_certificate: None,
            project: self.project.clone(),
        };
        let settings = Settings {
            name,
            installation: installation.to_owned(),
            image: self.image.clone(),
            pool: self.pool.clone(),
        };
        Ok(LxdEngine::new(settings, &remote)?)
    }
}

/// Every engine that a data folder knows, by name.
pub(crate) fn all(data: &Path) -> Result<Vec<(EngineName, Known)>, Failure> {
    let folder = data.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::io(format!("`{}`", folder.display()), &error)),
    };
    let mut engines: Vec<(EngineName, Known)> = Vec::new();
    for entry in entries {
        let entry =
            entry.map_err(|error| Failure::io(format!("`{}`", folder.display()), &error))?;
        let file = entry.file_name();
        // What is no name of an engine is none of ours, such as one that is being written.
        let Some(name) = file.to_str().and_then(|text| text.parse().ok()) else { continue };
        engines.push((name, read(&entry.path())?));
    }
    engines.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    Ok(engines)
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

/// Keeps an engine under a name that none has.
pub(crate) fn add(data: &Path, name: &EngineName, known: &Known) -> Result<(), Failure> {
    let place = place(data, name);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => {
            Failure::new("exists", format!("there is an engine `{name}` already"))
                .hint(format!("`boxherd engine rm {name}` forgets it"))
        }
        _ => Failure::io(format!("`{}`", place.display()), &error),
    };
    if place.exists() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let parent = data.join(FOLDER);
    DirBuilder::new().recursive(true).mode(0o700).create(&parent).map_err(failed)?;
    // Whole, or not there.
    let half = tempfile::Builder::new().prefix(".new-").tempdir_in(&parent).map_err(failed)?;
    let mut file = fs::File::create_new(half.path().join(FILE)).map_err(failed)?;
    serde_json::to_writer_pretty(&mut file, known)
        .map_err(io::Error::from)
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(half.path(), &place))
        .map_err(failed)?;
    // Its folder is another's now.
    drop(half.keep());
    Ok(())
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

fn place(data: &Path, name: &EngineName) -> PathBuf {
    data.join(FOLDER).join(name.as_str())
}
