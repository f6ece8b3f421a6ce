//! Projects of a server of LXD: ones that are not there, are empty, or are not for us.

use std::fs;

use crate::engines::{Lxd, name};

#[test]
fn a_project_that_is_not_there_is_told_by_its_name() {
    let Some(lxd) = Lxd::open("a_project_that_is_not_there_is_told_by_its_name") else { return };
    let project = name("gone");
    let none = lxd.add("lab", &["--project", &project]);
    let told =
        format!("use the project `{project}` of `lab` failed: the server has no such project");
    assert!(none.err.contains(&told) && none.err.contains("lxc project list"), "{none:?}");
    assert_eq!(lxd.lab.boxherd(&["engine", "ls", "-q"]).ok(), "local\n", "it is not kept");

    lxd.lxc(&["project", "create", &project, "-c", "features.images=false"]);
    lxd.add("lab", &["--project", &project]).ok();
    lxd.lab.boxherd(&["create", "lab:web"]).ok();
    lxd.lab.boxherd(&["rm", "--force", "lab:web"]).ok();
    lxd.lxc(&["project", "delete", &project]);
    let of = |args: &[&str]| lxd.lab.boxherd(args);
    for args in [
        &["create", "lab:web"][..],
        &["exec", "lab:web", "true"],
        &["image", "ls", "--engine", "lab"],
    ] {
        let refused = of(args);
        assert!(refused.err.contains(&told), "{args:?}: {refused:?}");
        assert!(refused.err.contains("hint: "), "{args:?}: {refused:?}");
    }
    let checked = of(&["engine", "check", "lab"]);
    assert!(checked.code == Some(1) && checked.out.contains("no such project"), "{checked:?}");
    let listed = of(&["ls"]);
    assert!(listed.err.contains(&format!("engine `lab` cannot be used: {told}")), "{listed:?}");
    assert_eq!(of(&["ls", "-q"]).ok(), "", "what was refused is not there");
}

#[test]
fn a_project_has_boxes_of_its_own_and_perhaps_images_and_profiles() {
    let test = "a_project_has_boxes_of_its_own_and_perhaps_images_and_profiles";
    let Some(lxd) = Lxd::open(test) else { return };
    let (own, web) = (name("own"), name("same"));
    let of = |args: &[&str]| lxd.lab.boxherd(args);
    lxd.add("lab", &[]).ok();
    lxd.lxc(&["project", "create", &own]);
    // Its profile has no devices, so that the pool that is named has to do.
    lxd.add("own", &["--project", &own]).ok();
    let (here, there) = (format!("lab:{web}"), format!("own:{web}"));
    let none = of(&["create", &there]);
    assert!(none.err.contains("image `tiny`") && none.err.contains(&own), "{none:?}");
    lxd.lxc(&[
        "image",
        "copy",
        "-q",
        "tiny",
        "local:",
        "--alias",
        "tiny",
        "--target-project",
        &own,
    ]);
    of(&["create", &there, "--network", "none"]).ok();
    // One of that name elsewhere is somebody else's.
    let nobody = of(&["exec", &here, "true"]);
    assert!(nobody.err.contains("there is no box"), "{nobody:?}");
    of(&["create", &here]).ok();
    for at in [&here, &there] {
        of(&["exec", at, "--", "sh", "-c", &format!("echo {at} > /root/file")]).ok();
    }
    for at in [&here, &there] {
        assert_eq!(of(&["exec", at, "cat", "/root/file"]).ok(), format!("{at}\n"));
    }
    let both = of(&["exec", &web, "true"]);
    assert!(both.err.contains("lab") && both.err.contains("own"), "{both:?}");
    of(&["rm", "--force", &there]).ok();
    assert_eq!(of(&["exec", &here, "cat", "/root/file"]).ok(), format!("{here}\n"));
    of(&["rm", "--force", &here]).ok();
    let fingerprint = lxd.lxc(&["image", "list", "--project", &own, "-f", "csv", "-c", "f"]);
    lxd.lxc(&["image", "delete", "--project", &own, fingerprint.trim()]);
    // Without a pool nobody says where the disk is to be.
    of(&["engine", "rm", "own"]).ok();
    let socket = format!("unix:{}", lxd.server.socket.display());
    of(&["engine", "add", "own", "--lxd", &socket, "--project", &own]).ok();
    let nowhere = of(&["create", &there, "--disk", "1GiB"]);
    assert!(nowhere.err.contains("hint: "), "{nowhere:?}");
    assert_eq!(of(&["ls", "-q"]).ok(), "");
    lxd.lxc(&["project", "delete", &own]);
}

#[test]
fn a_project_that_is_not_for_us_is_told_apart_from_a_server_that_does_not_know_us() {
    let test = "a_project_that_is_not_for_us_is_told_apart_from_a_server_that_does_not_know_us";
    let Some(lxd) = Lxd::open(test) else { return };
    let (team, other, web) = (name("team"), name("other"), name("web"));
    for project in [&team, &other] {
        let shared = ["-c", "features.images=false", "-c", "features.profiles=false"];
        lxd.lxc(&[&["project", "create", project], &shared[..]].concat());
    }
    let who = name("restricted");
    let trust = ["config", "trust", "add", "--name", &who, "--restricted", "--projects", &team];
    let said = lxd.lxc(&trust);
    let token = tempfile::NamedTempFile::new().expect("a file");
    fs::write(token.path(), said.lines().last().expect("a token")).expect("a file");
    let url = format!("https://{}", lxd.server.https[0]);
    let ask = ["engine", "add", "lab", "--lxd", &url, "--image", "tiny", "--token-file"];
    let path = token.path().to_str().expect("text");
    let of = |args: &[&str]| lxd.lab.boxherd(args);
    of(&[&ask[..], &[path, "--project", &team]].concat()).ok();
    let at = format!("lab:{web}");
    of(&["create", &at]).ok();
    assert_eq!(of(&["exec", &at, "hostname"]).ok(), format!("{web}\n"));

    let file = lxd.lab.data().join("engines/lab/engine.json");
    let mine = fs::read_to_string(&file).expect("a file");
    let use_project = |project: &str| {
        let changed = mine.replace(&format!("\"{team}\""), &format!("\"{project}\""));
        fs::write(&file, changed).expect("a file");
    };
    for project in [other.as_str(), "default"] {
        use_project(project);
        let told =
            format!("use the project `{project}` of `lab` failed: this machine may not use it");
        let new = name("new");
        for args in [
            &["create", &format!("lab:{new}")][..],
            &["exec", &at, "true"],
            &["stop", &at],
            &["ls"],
        ] {
            let refused = of(args);
            assert!(refused.err.contains(&told), "{args:?}: {refused:?}");
        }
        assert!(of(&["create", &at]).err.contains("exists already"), "it is not forgotten");
        assert_eq!(of(&["ls", "-q"]).ok(), format!("{web}\n"), "and what was refused is not there");
    }
    use_project(&team);
    assert_eq!(of(&["exec", &at, "hostname"]).ok(), format!("{web}\n"), "it is as it was");
    of(&["rm", "--force", &at]).ok();

    let trusted = lxd.lxc(&["config", "trust", "list", "-f", "csv"]);
    let line = trusted.lines().find(|line| line.contains(&who)).expect("our certificate");
    let print = line.split(',').find(|field| field.len() == 12).expect("a fingerprint");
    lxd.lxc(&["config", "trust", "remove", print]);
    let unknown = of(&["create", &at]);
    assert!(
        unknown.err.contains("does not trust") && unknown.err.contains("engine add"),
        "{unknown:?}"
    );
    assert_eq!(of(&["ls", "-q"]).ok(), "");
    for project in [&team, &other] {
        lxd.lxc(&["project", "delete", project]);
    }
}
