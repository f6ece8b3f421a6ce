//! What only boxes on a server have: profiles, user data for cloud-init, a member of a cluster, a kernel.

use std::fs;

use crate::engines::{Lxd, name};
use crate::lab::Lab;

#[test]
fn a_box_has_what_its_profiles_give_it() {
    let Some(lxd) = Lxd::open("a_box_has_what_its_profiles_give_it") else { return };
    lxd.add("lab", &[]).ok();
    let (web, copy) = (name("profiled"), name("profiled-copy"));
    let (at, profile) = (format!("lab:{web}"), name("Profile_1"));
    lxd.lxc(&["profile", "create", &profile]);
    lxd.lxc(&["profile", "set", &profile, "user.mark=here"]);
    lxd.lxc(&["profile", "device", "add", &profile, "eth7", "nic", "nictype=p2p", "name=eth7"]);
    let both = ["--profile", "default", "--profile", &profile];
    lxd.lab.boxherd(&[&["create", &at], &both[..]].concat()).ok();
    let expanded = |instance: &str| lxd.lxc(&["config", "show", "--expanded", instance]);
    assert!(expanded(&web).contains("user.mark: here"), "{}", expanded(&web));
    let links = lxd.lab.boxherd(&["exec", &at, "ls", "/sys/class/net"]).ok();
    assert!(links.contains("eth0") && links.contains("eth7"), "{links}");
    let sheet = lxd.lab.boxherd(&["show", &at]).ok();
    assert_eq!(sheet.matches("profile").count() - sheet.matches("profiled").count(), 2, "{sheet}");
    lxd.lab.boxherd(&["fork", &at, &copy]).ok();
    assert!(expanded(&copy).contains("user.mark: here"), "a copy has them too");
    lxd.lab.boxherd(&["rm", "--force", &web, &copy]).ok();

    // Devices of every profile go where there is to be no network.
    let quiet = [&["create", &at, "--network", "none"], &both[..]].concat();
    lxd.lab.boxherd(&quiet).ok();
    assert_eq!(lxd.lab.boxherd(&["exec", &at, "ls", "/sys/class/net"]).ok(), "lo\n");
    lxd.lab.boxherd(&["rm", "--force", &web]).ok();

    let missing = lxd.lab.boxherd(&["create", &at, "--profile", "nonesuch"]);
    assert!(missing.err.contains("the profile `nonesuch`"), "{missing:?}");
    assert!(missing.err.contains("hint: `lxc profile list`"), "{missing:?}");
    assert_eq!(lxd.lab.boxherd(&["ls", "-q"]).ok(), "");
    lxd.lxc(&["profile", "delete", &profile]);
}

#[test]
fn user_data_are_put_where_cloud_init_looks() {
    let Some(lxd) = Lxd::open("user_data_are_put_where_cloud_init_looks") else { return };
    lxd.add("lab", &[]).ok();
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("a file");
        path.to_str().expect("text").to_owned()
    };
    let (web, text) = (name("told"), "#cloud-config\npassword: hidden-word\n");
    let (at, data) = (format!("lab:{web}"), file("user-data", text));
    lxd.lab.boxherd(&["create", &at, "--cloud-init", &data]).ok();
    let set = lxd.lxc(&["config", "get", &web, "cloud-init.user-data"]);
    assert_eq!(set.trim_end(), text.trim_end());
    let sheet = lxd.lab.boxherd(&["show", &at]).ok();
    assert!(sheet.contains("#cloud-config") && !sheet.contains("hidden-word"), "{sheet}");
    lxd.lab.boxherd(&["rm", "--force", &web]).ok();

    let spec = file("box.yaml", "image: tiny\ncloud_init: |\n  #!/bin/sh\n  true\n");
    lxd.lab.boxherd(&["create", &at, "-f", &spec]).ok();
    let set = lxd.lxc(&["config", "get", &web, "cloud-init.user-data"]);
    assert_eq!(set.trim_end(), "#!/bin/sh\ntrue");
    lxd.lab.boxherd(&["rm", "--force", &web]).ok();

    for (content, why) in [("", "are empty"), ("packages: []\n", "begin with nothing")] {
        let refused = lxd.lab.boxherd(&["create", &at, "--cloud-init", &file("bad", content)]);
        assert!(refused.code == Some(1) && refused.err.contains(why), "{refused:?}");
    }
    let missing = lxd.lab.boxherd(&["run", "--cloud-init", "/nowhere/data", "--", "true"]);
    assert!(missing.err.contains("/nowhere/data"), "{missing:?}");
    assert_eq!(lxd.lab.boxherd(&["ls", "-q"]).ok(), "");
}

#[test]
fn what_an_engine_does_not_have_is_refused_by_its_name() {
    let test = "what_an_engine_does_not_have_is_refused_by_its_name";
    let Some(lab) = Lab::open(test) else { return };
    let data = tempfile::NamedTempFile::new().expect("a file");
    fs::write(data.path(), "#!/bin/sh\n").expect("a file");
    let data = data.path().to_str().expect("text");
    for (flags, field, capability) in [
        (&["--profile", "default"][..], "profile", "profiles"),
        (&["--cloud-init", data], "cloud-init", "cloud-init"),
        (&["--target", "n1"], "target", "placement"),
        (&["--vm"], "vm", "virtual-machines"),
    ] {
        let refused = lab.boxherd(&[&["create", "web", "--network", "none"], flags].concat());
        let why = format!("`{field}` needs `{capability}`");
        assert!(refused.code == Some(1) && refused.err.contains(&why), "{refused:?}");
    }
    for bad in ["a/b", "..", ""] {
        let refused = lab.boxherd(&["create", "web", "--profile", bad]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
    }
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
}

#[test]
fn a_server_alone_without_kvm_says_that_it_is() {
    let Some(lxd) = Lxd::open("a_server_alone_without_kvm_says_that_it_is") else { return };
    lxd.add("lab", &[]).ok();
    let at = format!("lab:{}", name("alone"));
    let placed = lxd.lab.boxherd(&["create", &at, "--target", "n1"]);
    assert!(placed.err.contains("`placement`"), "{placed:?}");
    let checked = lxd.lab.boxherd(&["engine", "check", "lab"]).ok();
    assert!(checked.contains("it is a server alone") && checked.contains("btrfs"), "{checked}");
    if !checked.contains("it has `qemu`") {
        let machine = lxd.lab.boxherd(&["create", &at, "--vm"]);
        assert!(machine.err.contains("`virtual-machines`"), "{machine:?}");
    }
    // What was written down of a server that is another by now, is written anew.
    let file = lxd.lab.data().join("engines/lab/engine.json");
    let text = fs::read_to_string(&file).expect("an engine");
    fs::write(&file, text.replace("btrfs", "dir")).expect("a file");
    let limited = lxd.lab.boxherd(&["create", &at, "--disk", "1GiB"]);
    assert!(limited.err.contains("`dir` do not limit disks"), "{limited:?}");
    lxd.lab.boxherd(&["engine", "check", "lab"]).ok();
    assert_eq!(fs::read_to_string(&file).expect("an engine"), text);
}
