//! What is true of boxes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

use boxherd_engine::{ConsoleChunk, EngineError, Truth, TruthState, Usage};
use boxherd_link::console_ring;
use boxherd_model::{BoxId, BoxName, Room, StopReason};
use boxherd_net::Lease;
use rustix::fs::{Mode, OFlags, open, statvfs};

use crate::core::Core;
use crate::create::CONSOLE;
use crate::data::BoxFolder;
use crate::error::{at, network};
use crate::record::{self, BoxRecord, Ended, Runtime};
use crate::sandbox;

/// The most of a console that is read at once, in bytes.
const CONSOLE_CHUNK: usize = 256 * 1024;

impl Core {
    pub(crate) fn inspect(&self, id: BoxId) -> Result<Option<Truth>, EngineError> {
        let Some(state) = self.state(id)? else { return Ok(None) };
        let folder = self.folder(id);
        let lease = self.networks.find(id).map_err(network)?;
        let addresses = lease.as_ref().map(Lease::addresses).unwrap_or_default();
        let (name, notes) = (name(id, &folder), Vec::new());
        Ok(Some(Truth { id, name, state, addresses, notes, location: None }))
    }

    pub(crate) fn list(&self) -> Result<Vec<Truth>, EngineError> {
        let entries = fs::read_dir(self.data.boxes()).map_err(at("list the boxes"))?;
        let mut truths = Vec::new();
        for entry in entries {
            let entry = entry.map_err(at("list the boxes"))?;
            let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
            // A box that is deleted meanwhile is not there any more.
            if let Some(id) = id
                && let Some(truth) = self.inspect(id)?
            {
                truths.push(truth);
            }
        }
        Ok(truths)
    }

    /// Where a box stands; `None` when there is nothing of it.
    pub(crate) fn state(&self, id: BoxId) -> Result<Option<TruthState>, EngineError> {
        let folder = self.folder(id);
        if !folder.record().exists() {
            return Ok(folder.path().exists().then_some(TruthState::Partial));
        }
        let pidfd = self.pidfd(&folder).map_err(at("look for the box's processes"))?;
        if pidfd.is_none() && sandbox::memory_is_saved(&folder) {
            return Ok(Some(TruthState::Hibernated));
        }
        if pidfd.is_none() {
            return self.reason(id, &folder).map(|reason| Some(TruthState::Stopped(reason)));
        }
        let frozen = self.group(id).map_or(Ok(false), |group| group.is_frozen());
        let frozen = frozen.map_err(at("look at the freezer"))?;
        Ok(Some(if frozen { TruthState::Suspended } else { TruthState::Running }))
    }

    fn reason(&self, id: BoxId, folder: &BoxFolder) -> Result<StopReason, EngineError> {
        let ended = record::read::<Ended>(&folder.ended()).map_err(at("read `ended.json`"))?;
        let runtime = record::read::<Runtime>(&folder.runtime());
        let Ok(Some(runtime)) = runtime else { return Ok(StopReason::Requested) };
        if ended.is_some() {
            return Ok(StopReason::Requested);
        }
        if runtime.boot_id != self.boot_id {
            return Ok(StopReason::HostReboot);
        }
        // Counted by the kernel, so no claim of the box's.
        let killed = self.group(id).map_or(Ok(0), |group| group.oom_kills());
        if killed.map_err(at("look at the memory group"))? > 0 {
            return Ok(StopReason::Oom);
        }
        let code = exit_code(folder).map_err(at("read the exit record"))?;
        Ok(code.map_or(StopReason::Agent, |code| StopReason::Exited { code }))
    }

    pub(crate) fn console(&self, id: BoxId, from: u64) -> Result<ConsoleChunk, EngineError> {
        self.record(id)?;
        let Some(layer) = self.pool.layer(id) else { return Ok(ConsoleChunk::default()) };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match open(layer.path.join(CONSOLE), flags, Mode::empty()) {
            // It never ran.
            Err(rustix::io::Errno::NOENT) => return Ok(ConsoleChunk::default()),
            file => File::from(file.map_err(|e| at("open the console")(e.into()))?),
        };
        let read_at = |offset, buffer: &mut [u8]| file.read_at(buffer, offset);
        let chunk = console_ring::read(read_at, from, CONSOLE_CHUNK);
        let chunk = chunk.map_err(at("read the console"))?;
        Ok(ConsoleChunk { start: chunk.start, data: chunk.data, end: chunk.end })
    }

    pub(crate) fn usage(&self, id: BoxId) -> Result<Usage, EngineError> {
        self.record(id)?;
        let measured = self.group(id).map_or(Ok([None; 3]), |group| group.usage());
        let [memory, cpu_micros, pids] = measured.map_err(at("read the control groups"))?;
        Ok(Usage { memory, cpu_micros, pids, disk: self.pool.usage(id) })
    }

    /// The memory of this host, and what is free of the disk that the data folder is on.
    pub(crate) fn room(&self) -> Result<Room, EngineError> {
        let memory = rustix::system::sysinfo();
        let memory = (memory.totalram as u64).saturating_mul(u64::from(memory.mem_unit));
        let disk = statvfs(self.data.boxes()).map_err(|e| at("look at the free disk")(e.into()))?;
        Ok(Room { memory, disk: disk.f_bavail.saturating_mul(disk.f_frsize) })
    }
}

/// What the box is called; one that is half made and has no name yet gets one from its id.
fn name(id: BoxId, folder: &BoxFolder) -> BoxName {
    let written = [folder.record(), folder.draft()].into_iter().find_map(|path| {
        // One that is cut off half-way is a name that is not there yet.
        record::read::<BoxRecord>(&path).ok().flatten()
    });
    written.map(|record| record.spec.name).unwrap_or_else(|| {
        format!("box-{}", id.to_string().replace('-', "")).parse().expect("hex digits are a name")
    })
}

/// What the agent wrote about the end of the main program. The box's own claim, so bounded.
fn exit_code(folder: &BoxFolder) -> io::Result<Option<i32>> {
    let file = match File::open(folder.exit()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = [0; 4];
    let length = file.read_at(&mut text, 0)?;
    let code = std::str::from_utf8(&text[..length]).ok().and_then(|t| t.trim().parse().ok());
    Ok(code.filter(|code| (0..=255).contains(code)))
}
