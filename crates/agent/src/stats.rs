//! What the box looks like from inside.

use std::fs;

use boxherd_link::proto::Stats;

use crate::{Inner, lock};

pub(crate) fn stats(inner: &Inner) -> Stats {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let meminfo = read("/proc/meminfo");
    let uptime = inner.started.elapsed().as_millis();
    Stats {
        uptime_ms: u64::try_from(uptime).unwrap_or(u64::MAX),
        load: load(&read("/proc/loadavg")),
        memory_total: memory(&meminfo, "MemTotal:"),
        memory_available: memory(&meminfo, "MemAvailable:"),
        processes: processes().unwrap_or(0),
        execs: u32::try_from(lock(&inner.jobs).values().filter(|job| job.runs()).count())
            .unwrap_or(u32::MAX),
        cmd: lock(&inner.cmd).map(Into::into),
    }
}

/// The three averages of `/proc/loadavg`.
fn load(loadavg: &str) -> Vec<f64> {
    loadavg.split_whitespace().take(3).filter_map(|field| field.parse().ok()).collect()
}

/// A line of `/proc/meminfo`, in bytes; 0 when it is not there.
fn memory(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// How many processes there are, zombies aside. `None` without `/proc`.
pub(crate) fn processes() -> Option<u32> {
    let mut count = 0;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // A process that ended since it was listed does not count.
        if fs::read(entry.path().join("stat")).is_ok_and(|stat| !is_zombie(&stat)) {
            count += 1;
        }
    }
    Some(count)
}

/// The state follows the name, which is in brackets and may itself contain some.
fn is_zombie(stat: &[u8]) -> bool {
    let end = stat.iter().rposition(|b| *b == b')');
    end.and_then(|end| stat.get(end + 2)).is_some_and(|state| matches!(state, b'Z' | b'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_texts_are_understood() {
        assert_eq!(load("0.10 2.00 3.50 1/234 99\n"), [0.1, 2.0, 3.5]);
        let meminfo = "MemTotal:       1000 kB\nMemAvailable:    10 kB\n";
        assert_eq!(memory(meminfo, "MemTotal:"), 1_024_000);
        assert_eq!(memory(meminfo, "MemAvailable:"), 10_240);
        assert_eq!(memory("", "MemTotal:"), 0);
    }

    #[test]
    fn a_name_with_brackets_hides_no_state() {
        assert!(is_zombie(b"12 (a) R (b) Z 1 1"));
        assert!(!is_zombie(b"12 (Z) R 1 1"));
    }

    #[test]
    fn this_process_is_counted() {
        assert!(processes().unwrap() >= 1);
    }
}
