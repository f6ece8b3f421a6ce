//! Between the types of callers and those of the wire.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::types::{
    AgentStats, CmdStats, Command, DirEntry, ExecRequest, ExitStatus, FileKind, FileStat, Listener,
    PtySize, StatVfs,
};
use crate::{proto, types};

/// The bytes of a path inside the box.
pub(crate) fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Whole milliseconds; saturates.
pub(crate) struct Millis(pub(crate) u64);

impl From<PtySize> for proto::Size {
    fn from(size: PtySize) -> Self {
        Self { rows: size.rows.into(), cols: size.cols.into() }
    }
}

impl From<ExecRequest> for proto::Exec {
    fn from(request: ExecRequest) -> Self {
        let (argv, shell) = match request.command {
            Command::Argv(argv) => (argv.into_iter().map(String::into_bytes).collect(), None),
            Command::Shell(line) => (Vec::new(), Some(line.into_bytes())),
        };
        let env = request.env.into_iter();
        Self {
            argv,
            shell,
            env: env
                .map(|(name, value)| proto::Env { name: name.into(), value: value.into() })
                .collect(),
            workdir: request.workdir.map(String::into_bytes),
            user: request.user,
            stdin: request.stdin,
            pty: request.pty.map(Into::into),
            timeout_ms: request.timeout.map(|t| Millis::from(t).0),
            detach_ttl_ms: Millis::from(request.detach_ttl).0,
        }
    }
}

impl From<proto::Exit> for ExitStatus {
    /// An agent that says nothing of the end is taken to say 255: an exit is never made a success.
    fn from(exit: proto::Exit) -> Self {
        match exit.ended {
            Some(proto::Ended::Code(code)) => Self::Code(code & 0xff),
            Some(proto::Ended::Signal(signal)) => Self::Signal(signal.clamp(1, 127)),
            Some(proto::Ended::TimedOut(_)) => Self::TimedOut,
            None => Self::Code(255),
        }
    }
}

impl From<ExitStatus> for proto::Exit {
    fn from(status: ExitStatus) -> Self {
        let ended = match status {
            ExitStatus::Code(code) => proto::Ended::Code(code),
            ExitStatus::Signal(signal) => proto::Ended::Signal(signal),
            ExitStatus::TimedOut => proto::Ended::TimedOut(proto::Nothing {}),
        };
        Self { ended: Some(ended) }
    }
}

impl From<SystemTime> for proto::Time {
    fn from(time: SystemTime) -> Self {
        let clamp = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self { seconds: clamp(after.as_secs()), nanos: after.subsec_nanos() },
            Err(before) => {
                let before = before.duration();
                let (carry, nanos) = match before.subsec_nanos() {
                    0 => (0, 0),
                    nanos => (1, 1_000_000_000 - nanos),
                };
                Self { seconds: -clamp(before.as_secs()) - carry, nanos }
            }
        }
    }
}

impl From<proto::Time> for SystemTime {
    /// A time that the host cannot represent becomes the epoch.
    fn from(time: proto::Time) -> Self {
        let whole = Duration::from_secs(time.seconds.unsigned_abs());
        let whole = match time.seconds {
            0.. => UNIX_EPOCH.checked_add(whole),
            _ => UNIX_EPOCH.checked_sub(whole),
        };
        let nanos = Duration::from_nanos(time.nanos.min(999_999_999).into());
        whole.and_then(|t| t.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
    }
}

fn time(time: Option<proto::Time>) -> SystemTime {
    time.map_or(UNIX_EPOCH, Into::into)
}

fn kind(mode: u32) -> FileKind {
    match mode & 0o170_000 {
        0o040_000 => FileKind::Directory,
        0o120_000 => FileKind::Symlink,
        0o010_000 => FileKind::Fifo,
        0o140_000 => FileKind::Socket,
        0o020_000 => FileKind::CharDevice,
        0o060_000 => FileKind::BlockDevice,
        _ => FileKind::File,
    }
}

impl From<proto::Stat> for FileStat {
    fn from(stat: proto::Stat) -> Self {
        Self {
            kind: kind(stat.mode),
            mode: stat.mode & 0o7777,
            size: stat.size,
            allocated: stat.allocated,
            uid: stat.uid,
            gid: stat.gid,
            nlink: stat.nlink,
            dev: stat.dev,
            ino: stat.ino,
            accessed: time(stat.accessed),
            modified: time(stat.modified),
            changed: time(stat.changed),
        }
    }
}

impl From<proto::Entry> for DirEntry {
    fn from(entry: proto::Entry) -> Self {
        Self {
            name: OsString::from_vec(entry.name),
            stat: entry.stat.unwrap_or_default().into(),
            target: entry.target.map(|t| PathBuf::from(OsString::from_vec(t))),
        }
    }
}

impl From<proto::StatVfs> for StatVfs {
    fn from(fs: proto::StatVfs) -> Self {
        Self {
            total: fs.total,
            free: fs.free,
            available: fs.available,
            files: fs.files,
            files_free: fs.files_free,
            name_max: fs.name_max,
            read_only: fs.read_only,
        }
    }
}

/// `None` for a port or an address that cannot be.
pub(crate) fn listener(listener: &proto::Listener) -> Option<Listener> {
    let address = match listener.address.len() {
        4 => IpAddr::from(*listener.address.first_chunk::<4>()?),
        16 => IpAddr::from(*listener.address.first_chunk::<16>()?),
        _ => return None,
    };
    Some(Listener { port: u16::try_from(listener.port).ok().filter(|p| *p != 0)?, address })
}

impl From<Listener> for proto::Listener {
    fn from(listener: Listener) -> Self {
        let address = match listener.address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        Self { port: listener.port.into(), address }
    }
}

impl From<proto::CmdStats> for CmdStats {
    fn from(cmd: proto::CmdStats) -> Self {
        let last_exit = cmd.last_exit.map(Into::into);
        Self { running: cmd.running, restarts: cmd.restarts, last_exit }
    }
}

impl From<CmdStats> for proto::CmdStats {
    fn from(cmd: CmdStats) -> Self {
        let last_exit = cmd.last_exit.map(Into::into);
        Self { running: cmd.running, restarts: cmd.restarts, last_exit }
    }
}

impl From<proto::Stats> for AgentStats {
    fn from(stats: proto::Stats) -> Self {
        let load = |i: usize| stats.load.get(i).copied().filter(|l| l.is_finite()).unwrap_or(0.0);
        Self {
            uptime: Duration::from_millis(stats.uptime_ms),
            load: [load(0), load(1), load(2)],
            memory_total: stats.memory_total,
            memory_available: stats.memory_available,
            processes: stats.processes,
            execs: stats.execs,
            cmd: stats.cmd.map(Into::into),
        }
    }
}

impl From<types::Refresh> for proto::Refresh {
    fn from(refresh: types::Refresh) -> Self {
        Self {
            clock: refresh.clock.map(Into::into),
            entropy: refresh.entropy.map(Into::into),
            hostname: refresh.hostname,
            machine_id: refresh.machine_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_survive_the_wire(seconds in -1i64 << 40..1i64 << 40, nanos in 0u32..1_000_000_000) {
            let time: SystemTime = proto::Time { seconds, nanos }.into();
            prop_assert_eq!(proto::Time::from(time), proto::Time { seconds, nanos });
        }

        #[test]
        fn no_time_panics(seconds: i64, nanos: u32) {
            let _: SystemTime = proto::Time { seconds, nanos }.into();
        }
    }

    #[test]
    fn an_exit_without_an_ending_is_no_success() {
        assert_eq!(ExitStatus::from(proto::Exit::default()), ExitStatus::Code(255));
    }

    #[test]
    fn impossible_listeners_are_dropped() {
        let odd = proto::Listener { port: 80, address: vec![1, 2, 3] };
        assert_eq!(listener(&odd), None);
        let odd = proto::Listener { port: 70_000, address: vec![0; 4] };
        assert_eq!(listener(&odd), None);
    }
}
