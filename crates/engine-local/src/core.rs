//! What every call of the engine has in its hands. Everything below here blocks.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use boxherd_engine::EngineError;
use boxherd_image::ImageStore;
use boxherd_model::BoxId;
use boxherd_net::Networks;
use parking_lot::Mutex;

use crate::cgroup::{Group, Hierarchies};
use crate::data::{BoxFolder, Data};
use crate::error::{at, data_folder, network, storage};
use crate::fences::Fences;
use crate::helper::Helper;
use crate::link::Warm;
use crate::process;
use crate::record::{self, BoxRecord, Runtime};
use crate::root::{devices, skeleton};
use crate::storage::{Hands, Own, Pool};
use crate::uids::Uids;

/// The engine without its name: paths, rooms below, and what was probed when it was opened.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) data: Data,
    pub(crate) pool: Pool,
    pub(crate) images: ImageStore,
    pub(crate) networks: Networks,
    pub(crate) hierarchies: Option<Hierarchies>,
    /// `None` for an ordinary user, whose boxes share the ids that this user has.
    pub(crate) uids: Option<Uids>,
    pub(crate) helper: Helper,
    pub(crate) agent: PathBuf,
    pub(crate) boot_id: String,
    pub(crate) warm: Warm,
    pub(crate) fences: Fences,
    busy: Mutex<HashMap<BoxId, Arc<Mutex<()>>>>,
}

impl Core {
    pub(crate) fn open(data: &Path, helper: Helper) -> Result<Self, EngineError> {
        // Drafts of what is made once carry the process id, which threads share.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock();
        let data = Data::open(data).map_err(data_folder(data))?;
        let root = rustix::process::geteuid().is_root();
        let hands: Arc<dyn Hands> = if root { Arc::new(Own) } else { Arc::new(helper.clone()) };
        let pool = Pool::open_with(data.root(), hands).map_err(storage)?;
        let images = ImageStore::open(&data.images()).map_err(crate::images::refused)?;
        let networks = Networks::open(data.root(), data.installation()).map_err(network)?;
        let hierarchies = Hierarchies::detect(data.installation());
        let agent = data.agent(boxherd_agent_blob::AGENT, boxherd_agent_blob::SHA256);
        devices::ensure(&data.devices()).map_err(at("make the device files of boxes"))?;
        skeleton::ensure(&data.skeleton()).map_err(at("make the files of boxes"))?;
        Ok(Self {
            uids: root.then(|| Uids::new(data.uids(), data.installation(), &others())),
            hierarchies: hierarchies.map_err(at("look at the control groups"))?,
            agent: agent.map_err(at("write the agent"))?,
            boot_id: process::boot_id().map_err(at("read the boot id"))?,
            warm: Warm::default(),
            fences: Fences::new(data.fences()),
            busy: Mutex::default(),
            data,
            pool,
            images,
            networks,
            helper,
        })
    }

    /// Runs `work` while nothing else changes the box. The herd serialises its own calls, but one
    /// that was dropped goes on in its thread, and must have ended before the next begins.
    pub(crate) fn alone<T>(&self, id: BoxId, work: impl FnOnce() -> T) -> T {
        let lock = Arc::clone(self.busy.lock().entry(id).or_default());
        let done = {
            let _held = lock.lock();
            work()
        };
        drop(lock);
        let mut busy = self.busy.lock();
        if busy.get(&id).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            busy.remove(&id);
        }
        done
    }

    /// The same with several boxes, none of which anybody else knows yet.
    pub(crate) fn alone_with_all<T>(&self, ids: &[BoxId], work: impl FnOnce() -> T) -> T {
        let locks: Vec<_> =
            ids.iter().map(|id| Arc::clone(self.busy.lock().entry(*id).or_default())).collect();
        let _held: Vec<_> = locks.iter().map(|lock| lock.lock()).collect();
        work()
    }

    pub(crate) fn folder(&self, id: BoxId) -> BoxFolder {
        self.data.of(id)
    }

    /// What `start` needs of a box that is whole.
    pub(crate) fn record(&self, id: BoxId) -> Result<BoxRecord, EngineError> {
        let read = record::read(&self.folder(id).record()).map_err(at("read `box.json`"))?;
        read.ok_or(EngineError::NoSuchBox(id))
    }

    pub(crate) fn group(&self, id: BoxId) -> Option<Group> {
        self.hierarchies.as_ref().map(|hierarchies| hierarchies.group(id))
    }

    /// Follows the box's first process, if it lives.
    pub(crate) fn pidfd(&self, folder: &BoxFolder) -> io::Result<Option<OwnedFd>> {
        match record::read::<Runtime>(&folder.runtime()) {
            Ok(Some(runtime)) => process::open(&runtime, &self.boot_id),
            // Cut off by a crash while it was written; then the box runs nothing of its own yet.
            Ok(None) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Which host ids others were given.
fn others() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    [read("/etc/subuid"), read("/etc/subgid")].join("\n")
}
