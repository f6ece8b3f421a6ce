//! What `/proc` says about a process.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::record::Runtime;

/// How long the end of a process is waited for that has begun. It takes milliseconds, or as long as
/// the kernel needs to end what the process is the first of, and to give back their memory.
const ENDING: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// What is known of a process that is not a zombie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    /// When it was started, in clock ticks since the boot.
    start_time: u64,
    /// Whether it is on its way out: it runs no more, and its descriptors may be closed already.
    ending: bool,
}

/// When a process was started, in clock ticks since the boot; `None` when there is none, or only a
/// zombie.
pub(crate) fn start_time(pid: i32) -> io::Result<Option<u64>> {
    Ok(stat(pid)?.map(|stat| stat.start_time))
}

fn stat(pid: i32) -> io::Result<Option<Stat>> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(parse_stat(&stat)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_gone(error: &io::Error) -> bool {
    const ESRCH: i32 = rustix::io::Errno::SRCH.raw_os_error();
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// Fields 9 and 22 of `proc_pid_stat(5)`. The name in field 2 may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<Stat> {
    /// `PF_EXITING` of `linux/sched.h`.
    const EXITING: u32 = 0x4;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let flags: u32 = fields.nth(5)?.parse().ok()?;
    let start_time = fields.nth(12)?.parse().ok()?;
    Some(Stat { start_time, ending: flags & EXITING != 0 })
}

/// Follows the process of a record, if that very process still lives. The end of one that is ending
/// is waited for: whoever saw the box's link close has seen the box end.
pub(crate) fn open(runtime: &Runtime, boot_id: &str) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(runtime.pid).filter(|_| runtime.boot_id == boot_id) else {
        return Ok(None);
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    // Looked at once it is held, so that the number cannot change hands in between.
    match stat(runtime.pid)?.filter(|stat| stat.start_time == runtime.start_time) {
        Some(stat) if stat.ending && has_ended(&pidfd)? => Ok(None),
        Some(_) => Ok(Some(pidfd)),
        None => Ok(None),
    }
}

/// Whether a process that is ending has ended, within [`ENDING`].
fn has_ended(pidfd: &OwnedFd) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&ENDING))? > 0)
}

/// Which boot this is.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_confuse() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        let parsed = Stat { start_time: 4711, ending: true };
        assert_eq!(parse_stat(&format!("42 (a) Z (b) {rest}")), Some(parsed));
        let runs = rest.replacen(" 6 ", " 4194560 ", 1);
        let parsed = Stat { ending: false, ..parsed };
        assert_eq!(parse_stat(&format!("42 (a) {runs}")), Some(parsed));
        assert_eq!(parse_stat(&format!("42 (a) {}", rest.replacen('S', "Z", 1))), None);
        assert_eq!(parse_stat("42"), None);
    }

    #[test]
    fn a_process_is_recognised_and_another_with_its_number_is_not() {
        let boot_id = boot_id().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let start_time = start_time(pid).unwrap().unwrap();
        let own = Runtime { pid, start_time, boot_id: boot_id.clone() };
        assert!(open(&own, &boot_id).unwrap().is_some());
        let earlier = Runtime { start_time: start_time - 1, ..own.clone() };
        assert!(open(&earlier, &boot_id).unwrap().is_none());
        assert!(open(&own, "another boot").unwrap().is_none());
    }
}
