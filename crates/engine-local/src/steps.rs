//! Where tests kill this engine.

/// Every point of this engine at which `BOXHERD_KILL_AT` kills a build with debug assertions: the
/// process that called the engine, at those that begin with `helper.` its helper.
pub const STEPS: &[&str] = &[
    "create.shelf",
    "create.folder",
    "create.uids",
    "create.draft",
    "create.layer",
    "create.root",
    "create.whole",
    "start.lease",
    "start.groups",
    "start.cloned",
    "start.running",
    "helper.cloned",
    "helper.mapped",
    "helper.recorded",
    "helper.plugged",
    "suspend.frozen",
    "stop.noted",
    "stop.killed",
    "rename.written",
    "fork.claimed",
    "fork.frozen",
    "fork.cloned",
    "live-fork.saved",
    "hibernate.saved",
    "restore.swapped",
    "attach.claimed",
    "attach.mounted",
    "detach.unmounted",
    "delete.killed",
    "delete.disks",
    "delete.groups",
    "delete.lease",
    "delete.layer",
    "delete.uids",
    "pool.begun",
    "pool.formatted",
    "pool.mounted",
    "pool.counted",
    "pool.unmounted",
    "pool.whole",
    "pool.ready",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn points(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                points(&path, found);
            } else if !path.ends_with("steps.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let calls = text.split("fault::point(\"").skip(1);
                found.extend(calls.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_point_is_listed_and_every_one_listed_is_there() {
        let mut found = BTreeSet::new();
        points(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let listed: BTreeSet<String> = STEPS.iter().map(|step| (*step).to_owned()).collect();
        assert_eq!(found, listed);
    }
}
