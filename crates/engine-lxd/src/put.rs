//! Puts the agent into an instance, with what it has to know.

use std::io::Write as _;

use boxherd_agent_blob::{AGENT, PACKED};
use boxherd_link::agent_config::{AgentConfig, CONFIG};
use boxherd_link::proto::Env;
use boxherd_lxd_client::{Error, ExecRequest, FileMeta, Instance, InstanceInfo, NewFile};
use boxherd_model::BoxSpec;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;
use tar::{EntryType, Header};
use tokio::io::AsyncWriteExt as _;

use crate::{machine, marks};

/// Why the agent could not be put somewhere.
pub(crate) enum NotPut {
    /// It could not be put into that folder.
    There(Error),
    /// It runs nowhere in the instance.
    Never(String),
    /// The server could not be asked.
    Failed(Error),
}

impl From<Error> for NotPut {
    fn from(error: Error) -> Self {
        match error {
            // What it says of a folder that is read-only, full, or not there.
            Error::BadRequest { .. } | Error::Server { .. } | Error::NotFound { .. } => {
                Self::There(error)
            }
            error => Self::Failed(error),
        }
    }
}

/// Puts the agent into `folder` as `program`, and what it has to know under a name with the same `mark`:
/// it takes both places when it is run.
pub(crate) async fn put(
    instance: &Instance,
    info: &InstanceInfo,
    [folder, program, mark]: [&str; 3],
) -> Result<(), NotPut> {
    if let Some(why) = machine::cannot_run(info) {
        return Err(NotPut::Never(why));
    }
    let spec = marks::spec(info).ok_or_else(|| {
        NotPut::Failed(Error::Invalid {
            what: format!("`{}` of the instance", marks::SPEC),
            why: "it is no spec of a box: somebody has changed it".to_owned(),
        })
    })?;
    let config = config(&spec).encode_length_delimited_to_vec();
    let place = format!("{folder}/{CONFIG}{mark}");
    let head = head(folder, (&place, &config), program).map_err(|source| {
        NotPut::Failed(Error::Io { what: "packing the agent".to_owned(), source })
    })?;
    match unpack(instance, head).await? {
        true => Ok(()),
        // It has no `tar`, or no room: the server can write files as well, one after the other.
        false => write(instance, folder, (&place, config), program).await,
    }
}

/// All of it in one program of the instance, at half the bytes; whether it did it.
async fn unpack(instance: &Instance, head: Vec<u8>) -> Result<bool, NotPut> {
    let mut request = ExecRequest::new(["tar", "-xzf", "-", "-C", "/"]);
    request.cwd = "/".to_owned();
    let exec = instance.exec(&request).await.map_err(NotPut::Failed)?;
    let ended = exec.wait();
    let mut stream = exec.into_duplex();
    for part in [&head, PACKED] {
        // One that has ended takes nothing, and how it ended is asked anyway.
        drop(stream.write_all(part).await);
    }
    drop(stream.shutdown().await);
    match ended.await {
        Ok(code) => Ok(code == 0),
        Err(Error::OperationFailed { .. }) => Ok(false),
        Err(error) => Err(NotPut::Failed(error)),
    }
}

/// The beginning of an archive, up to the header of the program.
fn head(folder: &str, (place, config): (&str, &[u8]), program: &str) -> std::io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    let header = |path: &str, kind: EntryType, mode: u32, size: usize| {
        let mut header = Header::new_ustar();
        header.set_path(path.trim_start_matches('/'))?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        Ok::<_, std::io::Error>(*header.as_bytes())
    };
    packer.write_all(&header(&format!("{folder}/"), EntryType::Directory, 0o700, 0)?)?;
    packer.write_all(&header(place, EntryType::Regular, 0o600, config.len())?)?;
    packer.write_all(config)?;
    let block = header(program, EntryType::Regular, 0o700, AGENT.len())?;
    packer.write_all(&vec![0; config.len().next_multiple_of(block.len()) - config.len()])?;
    packer.write_all(&block)?;
    packer.finish()
}

async fn write(
    instance: &Instance,
    folder: &str,
    (place, config): (&str, Vec<u8>),
    program: &str,
) -> Result<(), NotPut> {
    let only_root = FileMeta { uid: 0, gid: 0, mode: 0o700 };
    instance.make_directory(folder, only_root).await?;
    let secret = NewFile::with(FileMeta { mode: 0o600, ..only_root });
    instance.write_file(place, secret, config).await?;
    let content = Bytes::from_static(AGENT);
    Ok(instance.write_file(program, NewFile::with(only_root), content).await?)
}

/// What of a spec is for the agent.
fn config(spec: &BoxSpec) -> AgentConfig {
    let env = spec.env.iter().map(|(name, value)| Env {
        name: name.clone().into_bytes(),
        value: value.clone().into_bytes(),
    });
    AgentConfig {
        cmd: spec.cmd.clone(),
        env: env.collect(),
        workdir: spec.workdir.clone(),
        user: spec.user.clone(),
        restart: Some(spec.restart.into()),
        ..AgentConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::MultiGzDecoder;

    use super::*;

    #[test]
    fn both_halves_are_one_archive() {
        let head =
            head("/run/boxherd", ("/run/boxherd/config", b"what it knows"), "/run/boxherd/agent-1");
        let head = head.unwrap();
        let both = [&head[..], PACKED].concat();
        let mut archive = tar::Archive::new(MultiGzDecoder::new(&both[..]));
        let mut entries = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let path = entry.path().unwrap().display().to_string();
            entries.push((path, entry.header().mode().unwrap(), content));
        }
        let [folder, config, program] = &entries[..] else { panic!("{} entries", entries.len()) };
        assert_eq!((folder.0.as_str(), folder.1), ("run/boxherd/", 0o700));
        assert_eq!((config.1, &config.2[..]), (0o600, &b"what it knows"[..]));
        assert_eq!((program.0.as_str(), program.1), ("run/boxherd/agent-1", 0o700));
        assert!(program.2 == AGENT);
    }
}
