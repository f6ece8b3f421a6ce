//! Hosts that have the first version of control groups only: freezing and killing are other code.

use crate::lab::Lab;

#[test]
fn the_freezer_of_the_first_version_suspends_and_forks() {
    let test = "the_freezer_of_the_first_version_suspends_and_forks";
    let Some(lab) = Lab::on_v1(test) else { return };
    lab.create("web", &[]);
    lab.sh("web", "echo here > /root/f").ok();
    lab.boxherd(&["suspend", "web"]).ok();
    assert!(lab.state("web").starts_with("suspended"));
    lab.boxherd(&["resume", "web"]).ok();
    assert_eq!(lab.sh("web", "cat /root/f").ok(), "here\n");
    lab.boxherd(&["fork", "web", "copy"]).ok();
    assert_eq!(lab.sh("copy", "cat /root/f").ok(), "here\n");
    lab.boxherd(&["suspend", "web", "copy"]).ok();
    lab.boxherd(&["rm", "--force", "web", "copy"]).ok();
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
}
