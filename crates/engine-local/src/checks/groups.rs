//! Control groups: one is made in each hierarchy, and removed.

use std::fs;
use std::io;
use std::path::Path;

use boxherd_engine::Check;

use super::{is_root, missing, works};
use crate::cgroup::{Controller, Layout, Place};

pub(super) fn all() -> Vec<Check> {
    match Layout::detect() {
        Ok(layout) => Controller::ALL.map(|controller| check(&layout, controller)).into(),
        Err(error) => {
            let found = format!("cannot look at the hierarchies: {error}");
            vec![missing("control groups", found, "mount `/proc` and `/sys/fs/cgroup`")]
        }
    }
}

fn check(layout: &Layout, controller: Controller) -> Check {
    let name = format!("cgroup {}", controller.as_str());
    let (version, root) = match layout.place(controller) {
        Some(Place::V1(root)) => ("v1", root),
        Some(Place::V2(root)) => ("v2", root),
        None => return missing(name, "no mounted hierarchy has it", how_to_mount(controller)),
    };
    match make(root) {
        Ok(()) => works(name, format!("{version}, at `{}`", root.display())),
        Err(error) => {
            let found = format!("{version}, no group can be made at `{}`: {error}", root.display());
            let fix = if is_root() {
                "mount the hierarchy writable: `mount -o remount,rw` on it, or run outside of the \
                 container"
            } else {
                "run as root; boxes of ordinary users have no limits of their own"
            };
            missing(name, found, fix)
        }
    }
}

fn make(root: &Path) -> io::Result<()> {
    let group = root.join(format!("boxherd-doctor-{}", std::process::id()));
    fs::create_dir(&group)?;
    fs::remove_dir(group)
}

fn how_to_mount(controller: Controller) -> String {
    let name = controller.as_str();
    format!(
        "mount the hierarchy with it, or boot a kernel that has it (`cgroup_enable={name}` on its \
         command line)"
    )
}
