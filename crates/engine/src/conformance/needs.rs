//! What cases need beyond what every engine has. The only place that decides what is skipped.

use std::fmt;

use boxherd_model::Capability;

/// Something that not every engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A capability.
    Has(Capability),
    /// Processes, root filesystem and host name of its own in each box.
    Isolation,
    /// Boxes that have the host's kernel, and not one of their own that lacks something.
    HostKernel,
    /// Boxes whose memory can be saved and brought back.
    SavedMemory,
    /// Boxes of which the agent is the init.
    AgentIsInit,
    /// Limits of disks in which the image does not count.
    OwnLimit,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Has(capability) => write!(f, "needs `{capability}`"),
            Self::Isolation => f.pad("needs boxes that are isolated"),
            Self::HostKernel => f.pad("needs boxes with the host's kernel"),
            Self::AgentIsInit => f.pad("needs boxes without an init of their own"),
            Self::OwnLimit => f.pad("needs limits of disks in which the image does not count"),
            Self::SavedMemory => f.pad("needs boxes whose memory is saved"),
        }
    }
}

use Capability::{
    CpuLimit, DiskLimit, Disks, Fork, MemoryLimit, Nesting, PidsLimit, Snapshot, Suspend, Uids,
};
use Need::{AgentIsInit, Has, HostKernel, Isolation, OwnLimit, SavedMemory};

/// Whole themes, by prefix, and single cases.
const NEEDS: &[(&str, &[Need])] = &[
    ("fork::", &[Has(Fork)]),
    ("snapshots::", &[Has(Snapshot)]),
    // gVisor: a box mounts nothing while it runs.
    ("disks::", &[Has(Disks), HostKernel]),
    ("disks::isolated_", &[Isolation]),
    ("disks::nested_", &[Isolation, Has(Nesting)]),
    ("disks::isolated_a_suspended_", &[Has(Suspend)]),
    ("disks::copies_", &[Has(Fork)]),
    ("suspend::", &[Has(Suspend)]),
    ("fork::a_suspended_box_can_be_copied", &[Has(Suspend)]),
    ("snapshots::a_suspended_box_stays_suspended", &[Has(Suspend)]),
    ("reopen::what_was_suspended_still_is", &[Has(Suspend)]),
    ("reopen::snapshots_are_still_there", &[Has(Snapshot)]),
    ("limits::memory_", &[Has(MemoryLimit)]),
    ("limits::neighbours_", &[Has(MemoryLimit)]),
    ("limits::a_box_that_ran_out_", &[Has(MemoryLimit)]),
    // Elsewhere the kernel ends one process, and the box goes on.
    ("limits::memory_beyond_", &[AgentIsInit]),
    ("limits::memory_of_", &[AgentIsInit]),
    ("limits::memory_that_", &[AgentIsInit]),
    ("limits::neighbours_", &[AgentIsInit]),
    ("limits::a_box_that_ran_out_", &[AgentIsInit]),
    ("limits::processes_", &[Has(PidsLimit)]),
    ("limits::a_fork_bomb_", &[Has(PidsLimit)]),
    ("limits::processor_", &[Has(CpuLimit)]),
    ("memory::", &[SavedMemory]),
    ("snapshots::a_restored_box_has_the_limits_", &[Has(MemoryLimit)]),
    // gVisor: the box ends instead, because its kernel is out of threads.
    ("limits::processes_beyond_the_limit_", &[HostKernel]),
    // gVisor: no program is told that its terminal has another size.
    ("pty::a_new_size_reaches_the_command", &[HostKernel]),
    // gVisor: `/proc/PID/status` has no such lines, files have no holes to be counted, and the
    // time of a folder that was just unpacked into may change once more.
    ("exec_table::no_signal_is_", &[HostKernel]),
    ("files::a_sparse_gigabyte_is_read", &[HostKernel]),
    ("trees::a_tree_survives_a_round_trip", &[HostKernel]),
    // The pools of servers count the image, which is larger than the limits of these cases.
    ("limits::a_full_disk_", &[Has(DiskLimit), OwnLimit]),
    ("fork::a_copy_keeps_the_limit_of_its_disk", &[Has(DiskLimit), OwnLimit]),
    ("fork::a_copy_may_have_another_limit_", &[Has(DiskLimit), OwnLimit]),
    ("snapshots::a_restored_disk_keeps_its_limit", &[Has(DiskLimit), OwnLimit]),
    ("snapshots::a_full_disk_goes_back_to_what_it_was", &[Has(DiskLimit), OwnLimit]),
    ("lifecycle::a_box_knows_its_host_name", &[Isolation, AgentIsInit]),
    ("lifecycle::a_box_sees_only_its_own_processes", &[Isolation, AgentIsInit]),
    ("fork::a_copy_has_its_own_host_name", &[Isolation, AgentIsInit]),
    ("snapshots::a_restored_box_keeps_its_host_name", &[Isolation, AgentIsInit]),
    ("crowd::boxes_do_not_", &[Isolation]),
    // Elsewhere an image is the box's own, which it may write.
    ("files::host_files_of_the_image_are_read_only", &[Isolation, AgentIsInit]),
    ("exec_table::a_user_", &[Has(Uids)]),
    ("entries::owners_are_set", &[Has(Uids)]),
    ("files::a_file_of_another_user_", &[Has(Uids)]),
];

/// What the case of that name needs.
#[must_use]
pub fn needs(case: &str) -> Vec<Need> {
    let matching = NEEDS.iter().filter(|(prefix, _)| case.starts_with(prefix));
    matching.flat_map(|(_, needs)| needs.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::conformance::cases;

    #[test]
    fn every_line_of_the_table_is_about_some_case() {
        for (prefix, _) in NEEDS {
            assert!(cases().iter().any(|case| case.name.starts_with(prefix)), "{prefix}");
        }
    }

    #[test]
    fn no_two_cases_share_a_name() {
        let names: BTreeSet<_> = cases().into_iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases().len());
    }
}
