//! Boxes on a cluster whose members come and go.

use std::fs;
use std::time::{Duration, Instant};

use boxherd_testkit::{LxdCluster, lxd_cluster_or_skip};
use serde_json::Value;

use crate::engines::name;
use crate::lab::Lab;

/// A cluster of the lab's as the engine `cl` of a data folder, by all its addresses.
struct Cluster {
    lab: Lab,
    cluster: LxdCluster,
}

impl Cluster {
    fn open(test: &str) -> Option<Self> {
        let cluster = lxd_cluster_or_skip(test)?;
        let lab = Lab::open(test)?;
        let password = tempfile::NamedTempFile::new().expect("a file");
        fs::write(password.path(), &cluster.lab.password).expect("a file");
        let info: Value =
            serde_json::from_str(&cluster.lab.run(None, &["query", "/1.0"])).expect("JSON");
        let print = info["environment"]["certificate_fingerprint"].as_str().expect("a fingerprint");
        let password = password.path().to_str().expect("text");
        let mut ask = vec!["engine", "add", "cl", "--image", "tiny", "--fingerprint", print];
        let urls: Vec<_> = cluster.lab.https.iter().map(|at| format!("https://{at}")).collect();
        ask.extend(["--password-file", password]);
        ask.extend(urls.iter().flat_map(|url| ["--lxd", url.as_str()]));
        lab.boxherd(&ask).ok();
        Some(Self { lab, cluster })
    }

    /// What is listed of a box.
    fn listed(&self, name: &str) -> Value {
        let said = self.lab.boxherd(&["ls", "-o", "json"]).ok();
        let all: Vec<Value> = serde_json::from_str(&said).expect("JSON");
        let found = all.into_iter().find(|status| status["spec"]["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in {said}"))
    }

    /// Waits until a box is listed as one that can be reached, or not.
    fn wait_until(&self, name: &str, is_reached: bool) {
        let until = Instant::now() + Duration::from_secs(90);
        while self.listed(name)["unreachable"].is_null() != is_reached {
            assert!(Instant::now() < until, "{name} is {}", self.listed(name));
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

#[test]
fn boxes_of_a_member_that_dies_are_unreachable_and_come_back_with_it() {
    let test = "boxes_of_a_member_that_dies_are_unreachable_and_come_back_with_it";
    let Some(at) = Cluster::open(test) else { return };
    let of = |args: &[&str]| at.lab.boxherd(args);
    assert!(of(&["engine", "check", "cl"]).ok().contains("it is one"));
    let (lost, kept, new) = (name("lost"), name("kept"), name("new"));
    let place = |name: &str, member: &str| {
        of(&["create", &format!("cl:{name}"), "--target", member]).ok();
    };
    place(&lost, "n2");
    place(&kept, "n3");
    assert_eq!(
        (&at.listed(&lost)["location"], &at.listed(&kept)["location"]),
        (&"n2".into(), &"n3".into())
    );
    let sheet = of(&["show", &lost]).ok();
    assert!(sheet.contains("location") && sheet.contains("target"), "{sheet}");
    let nowhere = of(&["create", "cl:nowhere", "--target", "n9"]);
    assert!(nowhere.err.contains("`n9`") && nowhere.err.contains("no member"), "{nowhere:?}");
    of(&["exec", &lost, "--", "sh", "-c", "echo before > /root/file"]).ok();

    at.cluster.kill("n2");
    assert_eq!(of(&["exec", &kept, "echo", "on"]).ok(), "on\n");
    at.wait_until(&lost, false);
    assert_eq!(at.listed(&lost)["state"], "running", "as it was seen last");
    assert!(at.listed(&kept)["unreachable"].is_null());
    assert!(of(&["ls"]).ok().contains("unreachable (running)"));
    assert!(of(&["show", &lost]).ok().contains("unreachable"), "nothing more is known");
    let silent = of(&["exec", &lost, "true"]);
    assert!(silent.code == Some(125) && silent.err.contains("not answer"), "{silent:?}");
    // Who says nothing of a member gets one that is there; who does is told.
    of(&["create", &format!("cl:{new}")]).ok();
    assert_ne!(at.listed(&new)["location"], "n2");
    let dead = of(&["create", "cl:dead", "--target", "n2"]);
    assert!(dead.err.contains("`n2`") && dead.err.contains("does not answer"), "{dead:?}");
    assert_eq!(of(&["exec", &new, "echo", "on"]).ok(), "on\n");
    assert_eq!(of(&["exec", &kept, "echo", "on"]).ok(), "on\n");

    at.cluster.start("n2");
    at.wait_until(&lost, true);
    assert_eq!(at.listed(&lost)["state"], "running", "it ran on");
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let said = of(&["exec", &lost, "cat", "/root/file"]);
        if said.code == Some(0) {
            assert_eq!(said.out, "before\n");
            break;
        }
        // The others take a while to see the member again.
        assert!(said.err.contains("not answer") && Instant::now() < until, "{said:?}");
        std::thread::sleep(Duration::from_millis(300));
    }
    of(&["rm", "--force", &lost, &kept, &new]).ok();
    assert_eq!(of(&["ls", "-q"]).ok(), "");
}
