//! Where the floor makes control groups of its own.

use std::fs;
use std::path::{Path, PathBuf};

/// What a box is limited by, where each has a hierarchy of the first version.
const CONTROLLERS: [&str; 3] = ["cpuacct", "memory", "pids"];

/// A folder that is not there yet in each hierarchy of v1 in which a box has one. On a host with v2
/// there is none: a box joins its group there as it is cloned, which the floor cannot.
pub(crate) fn for_the_floor() -> std::io::Result<Vec<PathBuf>> {
    let name = format!("boxherd-bench-{}", std::process::id());
    let roots = roots(&fs::read_to_string("/proc/self/mountinfo")?);
    Ok(roots.into_iter().map(|root| root.join(&name)).collect())
}

/// `proc_pid_mountinfo(5)`: fields, of which the fifth is the place, a dash, the type, the source,
/// the options.
fn roots(mounts: &str) -> Vec<PathBuf> {
    let root = |line: &str| {
        let (fields, rest) = line.split_once(" - ")?;
        let place = fields.split(' ').nth(4)?;
        let mut rest = rest.split(' ');
        let options = (rest.next()? == "cgroup").then(|| rest.nth(1))??;
        let limits = options.split(',').any(|option| CONTROLLERS.contains(&option));
        limits.then(|| Path::new(place).to_owned())
    };
    mounts.lines().filter_map(root).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchies_of_v1_that_limit_a_box_are_found() {
        let mounts = "31 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      32 25 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
                      33 25 0:29 / /sys/fs/cgroup/cpu rw shared:9 - cgroup none rw,cpu,cpuacct\n\
                      34 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      35 25 0:31 / /proc rw - proc proc rw\n";
        let found = roots(mounts);
        assert_eq!(found, ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu"].map(PathBuf::from));
    }
}
