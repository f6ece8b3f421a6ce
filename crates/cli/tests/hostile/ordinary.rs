//! Boxes of an ordinary user: the same doors are shut.

use boxherd_testkit::Ids;

use crate::kernel::refuse_dangerous_calls;
use crate::lab::Lab;

#[test]
fn dangerous_system_calls_are_refused_to_boxes_of_users() {
    let test = "dangerous_system_calls_are_refused_to_boxes_of_users";
    let Some(lab) = Lab::of_user(test, Ids::One) else { return };
    lab.create("evil", &[]);
    refuse_dangerous_calls(&lab, "evil");
}

/// The agent's file belongs to the user, who is the box's root.
#[test]
fn box_root_cannot_look_into_the_agent() {
    for ids in [Ids::One, Ids::Many] {
        let Some(lab) = Lab::of_user("box_root_cannot_look_into_the_agent", ids) else { return };
        lab.boxherd(&["create", "web"]).ok();
        let attempts = [
            "cat /proc/1/exe",
            "cat /proc/1/mem",
            "cat /proc/1/maps",
            "readlink /proc/1/fd/3",
            "cat /proc/1/fd/5",
            "readlink /proc/1/exe",
            "perl -e 'syscall(101, 16, 1, 0, 0) == -1 and exit 1'",
            "perl -e 'my $f = syscall(434, 1, 0); syscall(438, $f, 3, 0) == -1 and exit 1'",
        ];
        for attempt in attempts {
            lab.sh("web", &format!("{attempt} >/dev/null 2>&1")).refused();
        }
    }
}
