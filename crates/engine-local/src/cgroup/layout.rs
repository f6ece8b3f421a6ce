//! Which hierarchy holds which controller, read from `/proc/self/mountinfo`. Pure but for
//! [`Layout::detect`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A controller that boxes use. On v2, freezing is no controller of its own, and neither is the
/// accounting of processor time; there the unified hierarchy itself stands for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
    Cpuacct,
    Freezer,
}

impl Controller {
    pub(crate) const ALL: [Self; 5] =
        [Self::Memory, Self::Pids, Self::Cpu, Self::Cpuacct, Self::Freezer];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Freezer => "freezer",
        }
    }

    /// Part of every v2 hierarchy, whatever its list of controllers says.
    const fn is_in_core_of_v2(self) -> bool {
        matches!(self, Self::Cpuacct | Self::Freezer)
    }
}

/// Where the hierarchies are mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    v1: Vec<(Controller, PathBuf)>,
    unified: Option<PathBuf>,
    /// The controllers that the unified hierarchy holds.
    unified_has: Vec<Controller>,
}

/// Where a controller is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    V1(&'a Path),
    V2(&'a Path),
}

impl Layout {
    /// Looks at this host.
    pub(crate) fn detect() -> io::Result<Self> {
        let layout = Self::parse(&fs::read_to_string("/proc/self/mountinfo")?);
        let Some(root) = layout.unified() else { return Ok(layout) };
        let controllers = fs::read_to_string(root.join("cgroup.controllers"))?;
        Ok(layout.with_unified_controllers(&controllers))
    }

    /// Reads the mounts; a mount of a part of a hierarchy does not count.
    pub(crate) fn parse(mountinfo: &str) -> Self {
        let mut layout = Self::default();
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let mut before = before.split(' ').skip(3);
            let (Some("/"), Some(point)) = (before.next(), before.next()) else { continue };
            let mut after = after.split(' ');
            let (kind, options) = (after.next(), after.nth(1).unwrap_or_default());
            match kind {
                // The last one mounted there is the one that is seen.
                Some("cgroup2") => layout.unified = Some(PathBuf::from(point)),
                Some("cgroup") => layout.add_v1(point, options),
                _ => {}
            }
        }
        layout
    }

    /// With what the `cgroup.controllers` of the unified hierarchy's root says.
    pub(crate) fn with_unified_controllers(mut self, controllers: &str) -> Self {
        let named = |c: &Controller| controllers.split_whitespace().any(|n| n == c.as_str());
        self.unified_has = Controller::ALL.into_iter().filter(named).collect();
        self
    }

    /// Without the unified hierarchy, as on a host that never mounted it.
    #[cfg(test)]
    pub(crate) fn without_unified(self) -> Self {
        Self { unified: None, unified_has: Vec::new(), ..self }
    }

    fn add_v1(&mut self, point: &str, options: &str) {
        for controller in Controller::ALL {
            if options.split(',').any(|option| option == controller.as_str()) {
                self.v1.push((controller, PathBuf::from(point)));
            }
        }
    }

    pub(crate) fn unified(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    /// The controllers to be passed down the unified hierarchy.
    pub(crate) fn delegated(&self) -> impl Iterator<Item = Controller> + '_ {
        self.unified_has.iter().copied().filter(|controller| !controller.is_in_core_of_v2())
    }

    /// Where `controller` is. The unified hierarchy freezes and kills better than v1 does, so it is
    /// preferred for that wherever it is mounted.
    pub(crate) fn place(&self, controller: Controller) -> Option<Place<'_>> {
        let v1 = self.v1.iter().find(|(held, _)| *held == controller);
        let unified = self.unified.as_deref();
        if controller == Controller::Freezer
            && let Some(path) = unified
        {
            return Some(Place::V2(path));
        }
        if let Some((_, path)) = v1 {
            return Some(Place::V1(path));
        }
        // The time that v2 accounts without its controller is that of the group, which is enough.
        let held = self.unified_has.contains(&controller) || controller.is_in_core_of_v2();
        unified.filter(|_| held).map(Place::V2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,nosuid shared:10 - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/freezer rw,nosuid shared:11 - cgroup cgroup rw,freezer
34 30 0:30 / /sys/fs/cgroup/pids rw,nosuid shared:12 - cgroup cgroup rw,pids
35 30 0:31 / /sys/fs/cgroup/systemd rw,nosuid shared:13 - cgroup cgroup rw,xattr,name=systemd
";
    const UNIFIED: &str = "\
22 20 0:20 / /proc rw,nosuid - proc proc rw
30 23 0:26 / /sys/fs/cgroup rw,nosuid,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate
";
    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn v1(path: &str) -> Option<Place<'_>> {
        Some(Place::V1(Path::new(path)))
    }

    fn v2(path: &str) -> Option<Place<'_>> {
        Some(Place::V2(Path::new(path)))
    }

    #[test]
    fn controllers_of_v1_share_or_have_hierarchies() {
        let layout = Layout::parse(V1);
        assert_eq!(layout.place(Controller::Cpu), v1("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(layout.place(Controller::Cpuacct), v1("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(layout.place(Controller::Memory), v1("/sys/fs/cgroup/memory"));
        assert_eq!(layout.place(Controller::Freezer), v1("/sys/fs/cgroup/freezer"));
        assert_eq!(layout.unified(), None);
    }

    #[test]
    fn a_unified_host_has_what_its_root_says() {
        let layout = Layout::parse(UNIFIED).with_unified_controllers("cpuset cpu io memory\n");
        assert_eq!(layout.place(Controller::Memory), v2("/sys/fs/cgroup"));
        assert_eq!(layout.place(Controller::Freezer), v2("/sys/fs/cgroup"));
        assert_eq!(layout.place(Controller::Cpuacct), v2("/sys/fs/cgroup"));
        assert_eq!(layout.place(Controller::Pids), None);
        let delegated: Vec<_> = layout.delegated().collect();
        assert_eq!(delegated, [Controller::Memory, Controller::Cpu]);
    }

    #[test]
    fn a_hybrid_host_limits_with_v1_and_freezes_with_v2() {
        let layout = Layout::parse(HYBRID).with_unified_controllers("hugetlb");
        assert_eq!(layout.place(Controller::Memory), v1("/sys/fs/cgroup/memory"));
        assert_eq!(layout.place(Controller::Cpuacct), v1("/sys/fs/cgroup/cpuacct"));
        assert_eq!(layout.place(Controller::Freezer), v2("/sys/fs/cgroup/unified"));
        let v1_only = layout.without_unified();
        assert_eq!(v1_only.place(Controller::Freezer), v1("/sys/fs/cgroup/freezer"));
    }

    #[test]
    fn parts_of_hierarchies_and_nonsense_are_passed_over() {
        let part = "32 31 0:29 /docker/x /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\nnonsense\n";
        assert_eq!(Layout::parse(part), Layout::default());
        assert_eq!(Layout::default().place(Controller::Freezer), None);
    }
}
