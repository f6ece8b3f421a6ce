//! Stopping, freezing and deleting.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use boxherd_engine::{EngineError, TruthState, fault};
use boxherd_model::{BoxId, BoxName, BoxSpec, Capability, Isolation};
use boxherd_net::netd::NetdCommand;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use crate::cgroup::Group;
use crate::core::Core;
use crate::data::BoxFolder;
use crate::error::{at, helper, network, storage};
use crate::record::{self, BoxRecord, Ended};
use crate::sandbox::{Renewal, forget_memory};

/// How long the kernel may take to end processes that were killed.
const PATIENCE: Duration = Duration::from_secs(10);

impl Core {
    /// Whether the box has processes that could be asked to end; a frozen one is thawed, so that it
    /// hears. Notes that it was asked.
    pub(crate) fn begin_stop(&self, id: BoxId) -> Result<bool, EngineError> {
        self.record(id)?;
        let folder = self.folder(id);
        drop(self.warm.take(id));
        if self.pidfd(&folder).map_err(at("look for the box's processes"))?.is_none() {
            forget_memory(&folder).map_err(at("give the saved memory up"))?;
            return Ok(false);
        }
        record::write(&folder.ended(), &Ended {}).map_err(at("note that the box is stopped"))?;
        fault::point("stop.noted");
        if let Some(group) = self.group(id)
            && group.is_frozen().map_err(at("look at the freezer"))?
        {
            group.thaw().map_err(at("thaw the box"))?;
        }
        Ok(true)
    }

    /// Kills what is left and takes the groups away.
    pub(crate) fn finish_stop(&self, id: BoxId) -> Result<(), EngineError> {
        let folder = self.folder(id);
        self.kill(id, &folder)?;
        fault::point("stop.killed");
        if let Some(group) = self.group(id) {
            group.remove().map_err(at("remove the box's control groups"))?;
        }
        Ok(())
    }

    fn kill(&self, id: BoxId, folder: &BoxFolder) -> Result<(), EngineError> {
        let pidfd = self.pidfd(folder).map_err(at("look for the box's processes"))?;
        if let Some(pidfd) = pidfd {
            match pidfd_send_signal(&pidfd, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(errno) => return Err(at("end the box's processes")(errno.into())),
            }
            let group = self.group(id);
            let thawed = group.as_ref().map_or(Ok(()), |group| self.thaw_if_frozen(group));
            thawed.map_err(at("thaw the box"))?;
            // Its end is that of all: the kernel ends and reaps the others first.
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
            let timeout = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
            poll(&mut fds, Some(&timeout)).map_err(|e| at("wait for the box's end")(e.into()))?;
        }
        // What a crash has left without a record.
        self.group(id).map_or(Ok(()), |group| group.kill()).map_err(at("end the box's processes"))
    }

    fn thaw_if_frozen(&self, group: &Group) -> io::Result<()> {
        if group.is_frozen()? { group.thaw() } else { Ok(()) }
    }

    pub(crate) fn suspend(&self, id: BoxId) -> Result<(), EngineError> {
        let group = self.running_group(id, "suspend")?;
        group.freeze().map_err(at("freeze the box"))?;
        fault::point("suspend.frozen");
        Ok(())
    }

    /// What the box could not be told meanwhile comes back.
    pub(crate) fn resume(&self, id: BoxId) -> Result<Option<Renewal>, EngineError> {
        let group = self.running_group(id, "resume")?;
        let frozen = group.is_frozen().map_err(at("look at the freezer"))?;
        group.thaw().map_err(at("thaw the box"))?;
        let record = self.record(id)?;
        let renewed = frozen && record.spec.isolation == Isolation::Gvisor;
        renewed.then(|| self.renewal(id, &record)).transpose()
    }

    fn running_group(&self, id: BoxId, op: &'static str) -> Result<Group, EngineError> {
        let Some(group) = self.group(id) else {
            return Err(crate::capabilities::missing(op, Capability::Suspend));
        };
        // Also what tells a box that is not there from one that is stopped.
        match self.state(id)? {
            Some(TruthState::Running | TruthState::Suspended) => Ok(group),
            Some(_) => Err(EngineError::WrongState { op, found: "stopped" }),
            None => Err(EngineError::NoSuchBox(id)),
        }
    }

    /// What has to be told to the box itself comes back.
    pub(crate) fn rename(&self, id: BoxId, name: &BoxName) -> Result<Option<Renewal>, EngineError> {
        let mut record = self.record(id)?;
        record.spec.name = name.clone();
        let folder = self.folder(id);
        record::write(&folder.record(), &record).map_err(at("write `box.json`"))?;
        fault::point("rename.written");
        self.networks.rename(id, name).map_err(network)?;
        match self.pidfd(&folder).map_err(at("look for the box's processes"))? {
            Some(_) if record.spec.isolation == Isolation::Gvisor => match self.state(id)? {
                Some(TruthState::Running) => self.renewal(id, &record).map(Some),
                // It is told when it goes on.
                _ => Ok(None),
            },
            Some(pidfd) => {
                self.helper.rename(pidfd.as_fd(), name.as_str()).map_err(helper)?;
                match self.state(id)? {
                    Some(TruthState::Running) => self.new_name(id, &record).map(Some),
                    // Its files have the name when it starts again.
                    _ => Ok(None),
                }
            }
            None => Ok(None),
        }
    }

    /// What changed is looked at when the box is started.
    pub(crate) fn reshape(&self, id: BoxId, spec: &BoxSpec) -> Result<(), EngineError> {
        self.refuse_what_cannot_be(spec)?;
        let mut record = self.record(id)?;
        record.spec = spec.clone();
        drop(self.warm.take(id));
        record::write(&self.folder(id).record(), &record).map_err(at("write `box.json`"))
    }

    /// Each step removes one thing and succeeds when it is gone; the folder, by which the box is
    /// known, goes last.
    pub(crate) fn delete(&self, id: BoxId) -> Result<(), EngineError> {
        let folder = self.folder(id);
        drop(self.warm.take(id));
        self.kill(id, &folder)?;
        fault::point("delete.killed");
        self.release_disks(id)?;
        fault::point("delete.disks");
        if let Some(group) = self.group(id) {
            group.remove().map_err(at("remove the box's control groups"))?;
        }
        fault::point("delete.groups");
        self.networks.release(id).map_err(network)?;
        fault::point("delete.lease");
        self.pool.delete_layer(id).map_err(storage)?;
        fault::point("delete.layer");
        if folder.path().exists() {
            self.release_ids(id, &folder).map_err(at("give back the box's host ids"))?;
            fault::point("delete.uids");
            fs::remove_dir_all(folder.path()).map_err(at("remove the box's folder"))?;
        }
        self.data.remove_unmade(id).map_err(at("remove the box's folder"))?;
        self.fences.forget(id).map_err(at("forget who may change the box"))
    }

    /// What deleting boxes left to be done: their disks are freed, and with the last one goes what
    /// they had together.
    pub(crate) fn settle(&self) -> Result<(), EngineError> {
        self.pool.settle().map_err(storage)?;
        self.leave_the_groups().map_err(at("remove the control groups of the installation"))
    }

    /// Sees to it that the networks go with the last box.
    pub(crate) fn leave_the_networks(&self, netd: Option<&NetdCommand>) {
        if let Some(netd) = netd
            && let Err(error) = self.networks.settle(netd)
        {
            tracing::warn!(%error, "a network that no box uses may stay up");
        }
    }

    /// A box has a folder from before it has a lease until after it had one, so that what others make
    /// meanwhile is left alone.
    pub(crate) fn tidy(&self, netd: Option<&NetdCommand>) -> Result<(), EngineError> {
        let swept = self.networks.sweep(|id| self.folder(id).path().exists()).map_err(network)?;
        for id in swept {
            tracing::info!(%id, "released the address of a box that is gone");
        }
        netd.map_or(Ok(()), |netd| self.networks.wake_netd_if_up(netd)).map_err(network)?;
        self.pool.sweep().map_err(storage)?;
        self.leave_the_groups().map_err(at("remove the control groups of the installation"))
    }

    /// After the last box, nothing of the installation is left among the control groups. Not at each
    /// delete: the next box would have to make them anew.
    fn leave_the_groups(&self) -> io::Result<()> {
        let Some(hierarchies) = &self.hierarchies else { return Ok(()) };
        match fs::read_dir(self.data.boxes())?.next() {
            Some(_) => Ok(()),
            None => hierarchies.remove_ours_if_empty(),
        }
    }

    fn release_ids(&self, id: BoxId, folder: &BoxFolder) -> io::Result<()> {
        let known = [folder.record(), folder.draft()].into_iter().find_map(|path| {
            // One that is damaged is as good as none: the claims say whose they are.
            record::read::<BoxRecord>(&path).ok().flatten()
        });
        match (known, &self.uids) {
            (_, None) => Ok(()),
            (Some(record), Some(uids)) => record.uids.map_or(Ok(()), |base| uids.release(base)),
            (None, Some(uids)) => uids.release_all_of(id),
        }
    }
}
