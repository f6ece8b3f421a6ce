//! What is written down about a box is a hint: what is not so is not believed, and harms nobody.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use crate::lab::Lab;

/// A process of the host that has nothing to do with any box.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().expect("sleep"))
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().expect("it can be asked").is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it ends");
    }
}

fn folder(lab: &Lab, name: &str) -> PathBuf {
    let shown = lab.boxherd(&["show", name, "-o", "json"]).ok();
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    lab.data().join("boxes").join(shown["id"].as_str().expect("an id"))
}

#[test]
fn a_pid_that_is_another_process_now_is_neither_believed_nor_killed() {
    let Some(lab) = Lab::open("a_pid_that_is_another_process_now") else { return };
    lab.create("web", &[]);
    lab.sh("web", "echo kept > /srv/note").ok();
    let mut bystander = Bystander::new();
    let runtime = folder(&lab, "web").join("runtime.json");
    let text = fs::read(&runtime).expect("it runs");
    let mut record: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    record["pid"] = bystander.0.id().into();
    fs::write(&runtime, record.to_string()).expect("write");
    assert_eq!(lab.state("web"), "stopped agent");
    lab.boxherd(&["stop", "web", "--grace", "0s"]).ok();
    lab.boxherd(&["start", "web"]).ok();
    assert_eq!(lab.sh("web", "cat /srv/note").ok(), "kept\n");
    // The process that was not believed to be the box's first one does not run beside the new one.
    assert_eq!(lab.sh("web", "cd /proc; set -- [0-9]*; echo $#").ok(), "2\n");
    lab.boxherd(&["rm", "--force", "web"]).ok();
    assert!(bystander.is_alive());
}

#[test]
fn a_box_with_damaged_records_is_in_nobodys_way_and_can_be_deleted() {
    let Some(lab) = Lab::open("a_box_with_damaged_records") else { return };
    for name in ["a", "b", "c"] {
        lab.create(name, &[]);
    }
    fs::write(folder(&lab, "a").join("runtime.json"), "").expect("write");
    fs::write(folder(&lab, "b").join("box.json"), "{\"spec\":").expect("write");
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "a\nb\nc\n");
    assert_eq!(lab.sh("c", "echo fine").ok(), "fine\n");
    let said = lab.boxherd(&["restart", "b"]);
    assert!(said.code == Some(1) && said.err.contains("box.json` is damaged"), "{said:?}");
    lab.boxherd(&["rm", "--force", "a", "b"]).ok();
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "c\n");
}
