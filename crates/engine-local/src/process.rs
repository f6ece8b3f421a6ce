//! What `/proc` says about a process.

use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::record::Runtime;

/// When a process was started, in clock ticks since the boot; `None` when there is none, or only a
/// zombie.
pub(crate) fn start_time(pid: i32) -> io::Result<Option<u64>> {
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

/// Field 22 of `proc_pid_stat(5)`. The name in field 2 may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Follows the process of a record, if that very process still lives.
pub(crate) fn open(runtime: &Runtime, boot_id: &str) -> io::Result<Option<std::os::fd::OwnedFd>> {
    let Some(pid) = Pid::from_raw(runtime.pid).filter(|_| runtime.boot_id == boot_id) else {
        return Ok(None);
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    // Looked at once it is held, so that the number cannot change hands in between.
    Ok((start_time(runtime.pid)? == Some(runtime.start_time)).then_some(pidfd))
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
        assert_eq!(parse_stat(&format!("42 (a) Z (b) {rest}")), Some(4711));
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
