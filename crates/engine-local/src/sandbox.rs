//! Boxes with a kernel of their own (gVisor), whose memory can be saved: orders to their wardens,
//! and the folder `memory` in which one box's memory lies until it is brought back.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

use boxherd_engine::{Child, EngineError, Made, TruthState, Unsupported, fault};
use boxherd_link::agent_config::ConfigFile;
use boxherd_link::{Link, LinkError, ReadRange, Refresh, WriteOptions};
use boxherd_model::{BoxId, Capability, Isolation, Timings};
use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, open};

use crate::copies::layers;
use crate::core::Core;
use crate::data::{BoxFolder, ORDERS};
use crate::error::{at, helper, storage};
use crate::helper::wire::{self, Failure, Sandbox};
use crate::helper::{HelperError, Order};
use crate::identity;
use crate::record::BoxRecord;
use crate::start::{open_folder, socket_path};

/// The first gVisor whose flags and saved memory we know, as a date.
const OLDEST: u32 = 20_240_101;

/// What a box that goes on from saved memory has to be told, because what it knows is of another time
/// or of another box.
#[derive(Debug)]
pub(crate) struct Renewal {
    /// `None` where the kernel was told from outside, and time and randomness went on.
    hostname: Option<String>,
    files: Vec<ConfigFile>,
}

/// Whether there is a gVisor, which is asked for its version only when it is used: that takes as long
/// as a few boxes.
pub(crate) fn is_here() -> Result<PathBuf, String> {
    crate::checks::find("runsc").ok_or_else(|| {
        "`runsc`, which is gVisor, is not installed; Debian has it in backports".to_owned()
    })
}

/// gVisor's program, if it is here and of use. Asked once.
pub(crate) fn runsc() -> Result<PathBuf, String> {
    static ASKED: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut asked = ASKED.lock();
    if let Some(program) = &*asked {
        return Ok(program.clone());
    }
    let program = is_here()?;
    judge(&version(&program)?)?;
    *asked = Some(program.clone());
    Ok(program)
}

/// What gVisor says it is.
pub(crate) fn version(program: &Path) -> Result<String, String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(|error| format!("`runsc --version` failed: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.lines().next().unwrap_or_default().trim().to_owned())
}

/// Whether a version is of use, or why not. Pure.
pub(crate) fn judge(version: &str) -> Result<(), String> {
    match released(version) {
        Some(date) if date >= OLDEST => Ok(()),
        Some(_) => {
            Err(format!("`{version}` is older than {OLDEST}; Debian has a newer one in backports"))
        }
        None => Err(format!("`runsc --version` said `{version}`, which names no version")),
    }
}

/// The date in `runsc version 0.0~20240729.0` and `runsc version release-20240729.0`. Pure.
fn released(version: &str) -> Option<u32> {
    let last = version.rsplit(' ').next()?;
    let date = last.rsplit(['~', '-']).next()?.split('.').next()?;
    (date.len() == 8).then(|| date.parse().ok()).flatten()
}

impl Core {
    /// How a box gets a kernel of its own; `None` for boxes that have the host's.
    pub(crate) fn sandbox(
        &self,
        record: &BoxRecord,
        folder: &BoxFolder,
    ) -> Result<Option<Sandbox>, EngineError> {
        if record.spec.isolation != Isolation::Gvisor {
            return Ok(None);
        }
        let runsc = runsc().map_err(|reason| Unsupported {
            op: "isolation",
            capability: Capability::Gvisor,
            reason,
        })?;
        let memory = folder.memory();
        let restore = memory_is_saved(folder);
        if !restore {
            forget_memory(folder).map_err(at("forget what is left of saved memory"))?;
            DirBuilder::new().mode(0o700).create(&memory).map_err(at("make a place for memory"))?;
            self.give_agent(folder).map_err(at("write the agent"))?;
        }
        Ok(Some(Sandbox { runsc, memory, restore }))
    }

    fn give_agent(&self, folder: &BoxFolder) -> io::Result<()> {
        // Its draft carries the process id, which threads share.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock();
        let agent =
            self.data.readable_agent(boxherd_agent_blob::AGENT, boxherd_agent_blob::SHA256)?;
        crate::record::remove(&folder.agent())?;
        fs::hard_link(agent, folder.agent())
    }

    /// What a box that was brought back has to be told.
    pub(crate) fn renewal(&self, id: BoxId, record: &BoxRecord) -> Result<Renewal, EngineError> {
        let lease = self.networks.find(id).map_err(crate::error::network)?;
        let files = config_files(identity::files(id, record, lease.as_ref(), true));
        Ok(Renewal { hostname: Some(record.spec.name.to_string()), files })
    }

    /// What a box that was renamed has to be told, besides what its kernel calls it.
    pub(crate) fn new_name(&self, id: BoxId, record: &BoxRecord) -> Result<Renewal, EngineError> {
        let lease = self.networks.find(id).map_err(crate::error::network)?;
        let files = config_files(identity::files(id, record, lease.as_ref(), false));
        Ok(Renewal { hostname: None, files })
    }

    /// Saves the memory of a box to its folder and ends it.
    pub(crate) fn hibernate(&self, id: BoxId) -> Result<(), EngineError> {
        let folder = self.sandboxed(id, "hibernate", Capability::Hibernate)?;
        drop(self.warm.take(id));
        empty(&folder.memory()).map_err(at("forget what is left of saved memory"))?;
        Warden::of(&folder)?.order(Order::Hibernate)?;
        sync(&folder.memory()).map_err(at("write the memory to disk"))?;
        fault::point("hibernate.saved");
        self.finish_stop(id)
    }

    /// Copies of disk and memory. The source stands still for all of it.
    pub(crate) fn fork_live(
        &self,
        source: BoxId,
        children: &[Child],
    ) -> Result<Vec<Made>, EngineError> {
        let folder = self.sandboxed(source, "fork --live", Capability::LiveFork)?;
        let image = self.record(source)?.image;
        let made = self.copy_live(source, &folder, image.as_ref(), children);
        let emptied = empty(&folder.memory()).map_err(at("forget the saved memory"));
        let made = made.and_then(|made| emptied.map(|()| made));
        self.or_remove(children, made)
    }

    fn copy_live(
        &self,
        source: BoxId,
        folder: &BoxFolder,
        image: Option<&String>,
        children: &[Child],
    ) -> Result<Vec<Made>, EngineError> {
        for child in children {
            self.begin(child.id, &child.spec, image.cloned())?;
        }
        empty(&folder.memory()).map_err(at("forget what is left of saved memory"))?;
        drop(self.warm.take(source));
        let begun = Instant::now();
        let mut timings = Timings::default();
        let warden = Warden::of(folder)?;
        warden.order(Order::Save)?;
        timings.push("memory", begun.elapsed());
        fault::point("live-fork.saved");
        let copied = self.pool.clone_layers(source, &layers(children)).map_err(storage);
        // Whatever came of it, the source goes on.
        warden.order(Order::GoOn)?;
        copied?;
        timings.push("disk", begun.elapsed());
        for child in children {
            let to = self.folder(child.id);
            fs::hard_link(folder.agent(), to.agent()).map_err(at("share the agent"))?;
            share(&folder.memory(), &to.memory()).map_err(at("share the saved memory"))?;
            self.finish(child.id)?;
        }
        let made = Made { image_digest: image.cloned(), timings, ..Made::default() };
        Ok(vec![made; children.len()])
    }

    /// The folder of a running box whose memory can be saved.
    fn sandboxed(
        &self,
        id: BoxId,
        op: &'static str,
        capability: Capability,
    ) -> Result<BoxFolder, EngineError> {
        if self.record(id)?.spec.isolation != Isolation::Gvisor {
            let reason =
                "the box shares the host's kernel, and memory is saved of boxes that were \
                          made with `--isolation gvisor`"
                    .to_owned();
            return Err(Unsupported { op, capability, reason }.into());
        }
        match self.state(id)? {
            Some(TruthState::Running) => Ok(self.folder(id)),
            Some(TruthState::Suspended) => Err(EngineError::WrongState { op, found: "suspended" }),
            Some(TruthState::Hibernated) => {
                Err(EngineError::WrongState { op, found: "hibernated" })
            }
            Some(_) => Err(EngineError::WrongState { op, found: "stopped" }),
            None => Err(EngineError::NoSuchBox(id)),
        }
    }
}

/// Tells a box that goes on from saved memory who and where it is now.
pub(crate) async fn renew(link: &Link, renewal: Renewal) -> Result<(), EngineError> {
    let failed = |error| EngineError::refused("tell the box who it is now", error);
    if let Some(hostname) = renewal.hostname {
        refresh(link, hostname).await?;
    }
    for file in renewal.files {
        write(link, file).await.map_err(failed)?;
    }
    Ok(())
}

async fn refresh(link: &Link, hostname: String) -> Result<(), EngineError> {
    let failed = |error| EngineError::refused("tell the box who it is now", error);
    let mut entropy = [0; 64];
    rustix::rand::getrandom(&mut entropy, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| at("gather randomness for the box")(error.into()))?;
    let refresh = Refresh {
        clock: Some(SystemTime::now()),
        entropy: Some(entropy.to_vec().into()),
        hostname: Some(hostname),
        machine_id: None,
    };
    link.refresh(refresh).await.map(drop).map_err(failed)
}

/// Whether memory lies ready to be brought back. The warden says so once all of it is there.
pub(crate) fn memory_is_saved(folder: &BoxFolder) -> bool {
    folder.memory().join(COMPLETE).exists()
}

/// In the folder of memory that is all there.
pub(crate) const COMPLETE: &str = "complete";

/// Gives up memory that was saved.
pub(crate) fn forget_memory(folder: &BoxFolder) -> io::Result<()> {
    match fs::remove_dir_all(folder.memory()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Leaves the folder, which a running box has mounted.
pub(crate) fn empty(memory: &Path) -> io::Result<()> {
    // First what says that the rest can be used.
    crate::record::remove(&memory.join(COMPLETE))?;
    for entry in fs::read_dir(memory)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

/// What was acknowledged is on disk. The folder is in the box's reach outside of gVisor.
fn sync(memory: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    for entry in fs::read_dir(memory)? {
        File::from(open(entry?.path(), flags, Mode::empty())?).sync_all()?;
    }
    File::open(memory)?.sync_all()
}

/// Gives `to` what lies in `from`, of which nothing is ever written again.
fn share(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::hard_link(entry.path(), to.join(entry.file_name()))?;
    }
    File::create(to.join(COMPLETE)).map(drop)
}

/// As the agent is told of files.
pub(crate) fn config_files(files: Vec<(String, String)>) -> Vec<ConfigFile> {
    let file = |(path, content): (String, String)| {
        let ours = content.starts_with(identity::OURS);
        let only_over = if ours { identity::OURS.to_owned() } else { String::new() };
        ConfigFile { path, content, only_over }
    };
    files.into_iter().map(file).collect()
}

/// A connection to the warden of a box.
struct Warden(UnixStream);

impl Warden {
    fn of(folder: &BoxFolder) -> Result<Self, EngineError> {
        let connected = open_folder(folder.path().to_owned())
            .and_then(|handle| UnixStream::connect(socket_path(&handle, ORDERS)));
        connected.map(Self).map_err(at("connect to the box's warden"))
    }

    /// Has it do something, and waits until it is done.
    fn order(&self, order: Order) -> Result<(), EngineError> {
        let asked = wire::send(&self.0, &order, &[])
            .and_then(|()| wire::receive_on_stream::<Result<(), Failure>>(&self.0))
            .and_then(|done| done.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
        let done = asked.map_err(at("talk to the box's warden"))?;
        done.map_err(|failure| helper(HelperError::Failed(failure)))
    }
}

/// Unless the box's administrator has put something else in its place.
async fn write(link: &Link, file: ConfigFile) -> Result<(), LinkError> {
    let files = link.files();
    let present = files.read(&file.path, ReadRange::default())?.read_all(LARGEST).await;
    let kept = |present: Bytes| !present.starts_with(file.only_over.as_bytes());
    if !file.only_over.is_empty() && present.is_ok_and(kept) {
        return Ok(());
    }
    let options = WriteOptions { mode: Some(0o644), parents: true, ..WriteOptions::default() };
    let mut writer = files.write(&file.path, options)?;
    writer.send(file.content.into()).await?;
    writer.finish().await
}

/// Of a file that tells a box who it is, in bytes.
const LARGEST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_both_kinds_have_a_date() {
        assert_eq!(released("runsc version 0.0~20240729.0"), Some(20_240_729));
        assert_eq!(released("runsc version release-20250901.0"), Some(20_250_901));
        assert_eq!(released("runsc version 0.0~20221219.0"), Some(20_221_219));
        assert_eq!(released("runsc version 1.2"), None);
        assert_eq!(released(""), None);
    }

    #[test]
    fn an_old_gvisor_is_refused_by_its_version() {
        assert!(judge("runsc version 0.0~20240729.0").is_ok());
        assert!(judge("runsc version 0.0~20221219.0").unwrap_err().contains("0.0~20221219.0"));
        assert!(judge("").unwrap_err().contains("names no version"));
    }
}
