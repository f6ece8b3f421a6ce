//! On what a run was made.

use std::fs;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// The machine, and how busy it was: figures of a busy machine compare only by their ratios.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processors this process may use.
    pub cpus: usize,
    /// What they call themselves.
    pub cpu: String,
    /// The kernel's release.
    pub kernel: String,
    /// Memory, in bytes.
    pub memory: u64,
    /// Load averages over 1, 5 and 15 minutes when the run began.
    pub load_before: [f64; 3],
    /// The same when it ended.
    pub load_after: [f64; 3],
}

impl Machine {
    /// Looks at the machine at the start of a run.
    pub(crate) fn look() -> anyhow::Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
        let load = load()?;
        Ok(Self {
            cpus: std::thread::available_parallelism()?.get(),
            cpu: model(&cpuinfo).to_owned(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            memory: meminfo("MemTotal")?,
            load_before: load,
            load_after: load,
        })
    }

    pub(crate) fn line(&self) -> String {
        let gib = self.memory as f64 / f64::from(1 << 30);
        format!(
            "{} × {}, {gib:.1} GiB, Linux {}, load {:.2} before and {:.2} after\n",
            self.cpus, self.cpu, self.kernel, self.load_before[0], self.load_after[0]
        )
    }
}

fn model(cpuinfo: &str) -> &str {
    let named = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    named.map_or("unknown processor", |(_, model)| model)
}

/// Load averages over 1, 5 and 15 minutes.
pub(crate) fn load() -> anyhow::Result<[f64; 3]> {
    let text = fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
    parse_load(&text).with_context(|| format!("`{text}` is no load average"))
}

fn parse_load(text: &str) -> Option<[f64; 3]> {
    let mut numbers = text.split_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}

/// A field of `/proc/meminfo`, in bytes.
pub(crate) fn meminfo(field: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    parse_kib(&text, field).with_context(|| format!("no `{field}` in /proc/meminfo"))
}

/// A field of this process's `/proc/self/status`, in bytes.
pub(crate) fn own_status(field: &str) -> anyhow::Result<u64> {
    status(std::process::id(), field)
}

/// A field of `/proc/PID/status`, in bytes.
pub(crate) fn status(pid: u32, field: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_kib(&text, field).with_context(|| format!("no `{field}` in {path}"))
}

fn parse_kib(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: u64 = rest.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_kibibytes() {
        let text = "MemTotal:       24684092 kB\nMemFree:  1 kB\nHugePages_Total:       0\n";
        assert_eq!(parse_kib(text, "MemFree"), Some(1024));
        assert_eq!(parse_kib(text, "Mem"), None);
        assert_eq!(parse_kib(text, "HugePages_Total"), None);
    }

    #[test]
    fn load_averages() {
        assert_eq!(parse_load("0.52 0.58 0.59 1/467 12345\n"), Some([0.52, 0.58, 0.59]));
        assert_eq!(parse_load("0.52 x"), None);
    }

    #[test]
    fn processors_name_themselves() {
        assert_eq!(model("processor\t: 0\nmodel name\t: Some CPU @ 2GHz\n"), "Some CPU @ 2GHz");
        assert_eq!(model(""), "unknown processor");
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let machine = Machine::look().unwrap();
        assert!(machine.cpus > 0 && machine.memory > 0, "{machine:?}");
        assert!(own_status("VmRSS").unwrap() > 0);
    }
}
