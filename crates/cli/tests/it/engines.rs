//! Engines besides the one of this machine: an LXD server of the lab's, and servers that are not there.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use boxherd_testkit::LxdLab;

use crate::lab::{Lab, Said};

/// A server of the lab's, and a data folder.
pub(crate) struct Lxd {
    pub(crate) lab: Lab,
    pub(crate) server: LxdLab,
}

impl Lxd {
    pub(crate) fn open(test: &str) -> Option<Self> {
        let server = boxherd_testkit::lxd_lab_or_skip(test)?;
        Some(Self { lab: Lab::open(test)?, server })
    }

    fn socket(&self) -> String {
        format!("unix:{}", self.server.socket.display())
    }

    fn url(&self) -> String {
        format!("https://{}", self.server.https[0])
    }

    pub(crate) fn add(&self, name: &str, more: &[&str]) -> Said {
        let socket = self.socket();
        let ask = ["engine", "add", name, "--lxd", &socket, "--image", "tiny", "--pool", "bt"];
        self.lab.boxherd(&[&ask, more].concat())
    }

    pub(crate) fn lxc(&self, args: &[&str]) -> String {
        let mut lxc = Command::new("lxc");
        lxc.args(args)
            .env("LXD_DIR", self.server.folder.join("d1"))
            .env("LXD_CONF", self.server.folder.join("conf"));
        Said::from(lxc.output().expect("lxc runs")).ok()
    }
}

/// A name that no other test on the same server has.
pub(crate) fn name(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

#[test]
fn boxes_live_on_a_server_of_lxd() {
    let Some(lxd) = Lxd::open("boxes_live_on_a_server_of_lxd") else { return };
    lxd.add("lab", &[]).ok();
    let of = |args: &[&str]| lxd.lab.boxherd(args);
    assert_eq!(of(&["engine", "ls", "-q"]).ok(), "local\nlab\n");
    assert!(of(&["engine", "check", "lab"]).ok().contains("lxd 5"), "it says what it is");
    let (web, copy) = (name("life"), name("life-copy"));
    let at = format!("lab:{web}");
    of(&["create", &at, "-e", "GREETING=good day", "--", "sh", "-c", "echo begun; sleep 98765"])
        .ok();
    let shown: serde_json::Value =
        serde_json::from_str(&of(&["show", &at, "-o", "json"]).ok()).expect("JSON");
    assert_eq!((&shown["engine"], &shown["spec"]["image"]), (&"lab".into(), &"tiny".into()));
    let said = of(&["exec", &at, "--", "sh", "-c", "hostname; echo $GREETING; exit 7"]);
    assert_eq!((said.code, said.out), (Some(7), format!("{web}\ngood day\n")));
    assert_eq!(of(&["logs", &at]).ok(), "begun\n");
    of(&["suspend", &at]).ok();
    assert_eq!(of(&["exec", &at, "echo", "woken"]).ok(), "woken\n");
    of(&["exec", &at, "sh", "-c", "echo kept > /root/file"]).ok();
    of(&["snapshot", "create", &at, "one"]).ok();
    of(&["exec", &at, "rm", "/root/file"]).ok();
    of(&["stop", &at]).ok();
    of(&["snapshot", "restore", &at, "one"]).ok();
    of(&["start", &at]).ok();
    assert_eq!(of(&["exec", &at, "cat", "/root/file"]).ok(), "kept\n");
    of(&["fork", &at, &copy]).ok();
    assert_eq!(of(&["exec", &copy, "cat", "/etc/hostname", "/root/file"]).out, "kept\n");
    assert_eq!(of(&["exec", &copy, "hostname"]).ok(), format!("{copy}\n"));
    let renamed = name("life-again");
    of(&["rename", &at, &renamed]).ok();
    assert_eq!(of(&["exec", &renamed, "hostname"]).ok(), format!("{renamed}\n"));
    of(&["restart", &renamed]).ok();
    assert!(lxd.lxc(&["list", "-f", "csv", "-c", "n"]).lines().any(|line| line == renamed));
    of(&["rm", "--force", &renamed, &copy]).ok();
    let left = lxd.lxc(&["list", "-f", "csv", "-c", "n"]);
    assert!(!left.contains(&renamed) && !left.contains(&copy), "{left}");
    assert_eq!(of(&["ls", "-q"]).ok(), "");
}

#[test]
fn a_guest_that_is_there_is_adopted_and_given_back() {
    let Some(lxd) = Lxd::open("a_guest_that_is_there_is_adopted_and_given_back") else { return };
    lxd.add("lab", &[]).ok();
    let guest = name("adopted");
    lxd.lxc(&["launch", "-q", "tiny", &guest, "-s", "bt"]);
    let at = format!("lab:{guest}");
    assert_eq!(lxd.lab.boxherd(&["exec", &at, "hostname"]).ok(), format!("{guest}\n"));
    assert_eq!(lxd.lab.boxherd(&["ls", "-q"]).ok(), format!("{guest}\n"));
    // Another installation does not take what is taken.
    let other = Lab::open("another installation").expect("root");
    let socket = lxd.socket();
    other.boxherd(&["engine", "add", "lab", "--lxd", &socket]).ok();
    let refused = other.boxherd(&["exec", &at, "true"]);
    assert!(refused.err.contains("another installation"), "{refused:?}");
    // A copy of it is ours: nobody made it but we.
    let copy = name("adopted-copy");
    lxd.lab.boxherd(&["fork", &at, &copy]).ok();
    lxd.lab.boxherd(&["rm", "--force", &copy]).ok();
    assert!(!lxd.lxc(&["list", "-f", "csv", "-c", "n"]).contains(&copy));
    lxd.lab.boxherd(&["rm", "--force", &at]).ok();
    assert_eq!(lxd.lab.boxherd(&["ls", "-q"]).ok(), "");
    let config = lxd.lxc(&["config", "show", &guest]);
    assert!(!config.contains("boxherd"), "it is as it was: {config}");
    assert!(lxd.lxc(&["list", "-f", "csv", "-c", "ns", &guest]).contains("RUNNING"));
    lxd.lxc(&["delete", "--force", &guest]);
    let gone = lxd.lab.boxherd(&["exec", &at, "true"]);
    assert!(gone.err.contains("there is no box"), "{gone:?}");
}

#[test]
fn two_installations_on_one_server_leave_each_other_alone() {
    let test = "two_installations_on_one_server_leave_each_other_alone";
    let Some(lxd) = Lxd::open(test) else { return };
    lxd.add("lab", &[]).ok();
    let other = Lab::open(test).expect("root");
    let socket = lxd.socket();
    let add = ["engine", "add", "lab", "--lxd", &socket, "--image", "tiny", "--pool", "bt"];
    other.boxherd(&add).ok();
    let web = format!("lab:{}", name("two"));
    lxd.lab.boxherd(&["create", &web]).ok();
    assert_eq!(other.boxherd(&["ls", "-q"]).ok(), "");
    let taken = other.boxherd(&["create", &web]);
    assert!(taken.err.contains("not ours") && taken.code == Some(1), "{taken:?}");
    assert!(!other.boxherd(&["rm", "--force", &web]).out.contains("two"));
    assert_eq!(lxd.lab.boxherd(&["exec", &web, "echo", "alive"]).ok(), "alive\n");
    // A copy that somebody makes at the server has our marks, and is theirs.
    let (instance, copy) = (web.trim_start_matches("lab:"), name("two-copy"));
    lxd.lxc(&["copy", instance, &copy]);
    // One that is brought back from a backup besides has even the server's own mark.
    let (folder, import) = (tempfile::tempdir().expect("a folder"), name("two-import"));
    let backup = folder.path().join("backup");
    let backup = backup.to_str().expect("text");
    lxd.lxc(&["export", "-q", "--instance-only", instance, backup]);
    lxd.lxc(&["import", "-q", "-s", "bt", backup, &import]);
    lxd.lab.boxherd(&["rm", "--force", &web]).ok();
    lxd.lab.boxherd(&["ls"]).ok();
    let left = lxd.lxc(&["list", "-f", "csv", "-c", "n"]);
    assert!(!left.lines().any(|line| line == instance), "{left}");
    for theirs in [&copy, &import] {
        assert!(left.lines().any(|line| line == theirs), "{left}");
        lxd.lxc(&["delete", "--force", theirs]);
    }
}

#[test]
fn a_server_is_added_by_a_token_or_a_password_and_its_certificate() {
    let test = "a_server_is_added_by_a_token_or_a_password_and_its_certificate";
    let Some(lxd) = Lxd::open(test) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("a file");
        path.to_str().expect("text").to_owned()
    };
    let said = lxd.lxc(&["config", "trust", "add", "--name", &name("trust")]);
    let token = file("token", said.lines().last().expect("a token"));
    let url = lxd.url();
    let add = |name: &str, more: &[&str]| {
        lxd.lab.boxherd(&[&["engine", "add", name, "--lxd", &url], more].concat())
    };
    add("token", &["--token-file", &token]).ok();
    assert!(lxd.lab.boxherd(&["engine", "check", "token"]).ok().contains("works"));
    let used = add("again", &["--token-file", &token]);
    assert!(used.err.contains("forbidden"), "a token holds once: {used:?}");

    let password = file("password", &lxd.server.password);
    let none = add("password", &["--password-file", &password]);
    assert!(none.err.contains("--fingerprint"), "{none:?}");
    let zeros = "0".repeat(64);
    let wrong = add("password", &["--password-file", &password, "--fingerprint", &zeros]);
    assert!(wrong.err.contains("has the certificate"), "{wrong:?}");
    let found = wrong.err.split("has the certificate ").nth(1).expect("a fingerprint");
    let found = found.split(',').next().expect("a fingerprint");
    add("password", &["--password-file", &password, "--fingerprint", found]).ok();
    let wrong = file("wrong", "not the password");
    let wrong = add("third", &["--password-file", &wrong, "--fingerprint", found]);
    assert!(wrong.err.contains("does not trust"), "{wrong:?}");
    let unknown = add("fourth", &[]);
    assert!(
        unknown.err.contains("does not know us") && unknown.err.contains("hint"),
        "{unknown:?}"
    );

    // What failed is not there.
    assert_eq!(lxd.lab.boxherd(&["engine", "ls", "-q"]).ok(), "local\npassword\ntoken\n");
    let mode = fs::metadata(lxd.lab.data().join("engines/token/client.key")).expect("a key");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
}

#[test]
fn an_engine_that_is_dead_costs_a_line() {
    let Some(lab) = Lab::open("an_engine_that_is_dead_costs_a_line") else { return };
    lab.create("here", &[]);
    // Nobody listens there.
    let folder = lab.data().join("engines/dead");
    fs::create_dir_all(&folder).expect("a folder");
    let config = "default-remote: local\nremotes:\n  server:\n    addr: unix:///nowhere/socket\n    \
                  protocol: lxd\n";
    fs::write(folder.join("config.yml"), config).expect("a file");
    let engine = r#"{"kind":"lxd","endpoints":["unix:/nowhere/socket"],"project":"default"}"#;
    fs::write(folder.join("engine.json"), engine).expect("a file");
    let listed = lab.boxherd(&["ls"]);
    assert!(listed.err.contains("engine `dead` does not answer"), "{listed:?}");
    assert!(listed.ok().contains("here"));
    assert!(lab.boxherd(&["exec", "here", "echo", "alive"]).ok() == "alive\n");
    let refused = lab.boxherd(&["create", "dead:web"]);
    assert!(refused.err.contains("cannot be reached"), "{refused:?}");
    let checked = lab.boxherd(&["engine", "check", "dead"]);
    assert!(checked.code == Some(1) && checked.out.contains("broken"), "{checked:?}");
    fs::write(folder.join("engine.json"), "{").expect("a file");
    let nonsense = lab.boxherd(&["ls"]);
    assert!(nonsense.err.contains("engine.json"), "{nonsense:?}");
    lab.boxherd(&["engine", "rm", "dead"]).ok();
    lab.boxherd(&["rm", "--force", "here"]).ok();
}

#[test]
fn engines_that_make_no_sense_are_refused() {
    let Some(lab) = Lab::open("engines_that_make_no_sense_are_refused") else { return };
    for (ask, why) in [
        (&["engine", "add", "lab"][..], "--lxd"),
        (&["engine", "add", "local", "--lxd", "unix:/x"], "this machine"),
        (&["engine", "add", "lab", "--lxd", "http://lab.example"], "https"),
        (&["engine", "add", "lab", "--lxd", "unix:relative"], "absolute"),
        (&["engine", "add", "lab", "--lxd", "unix:/nowhere/socket"], "cannot connect"),
        (&["engine", "add", "lab", "--remote", "nonesuch"], "nonesuch"),
        (&["engine", "add", "Not A Name", "--lxd", "unix:/x"], "Not A Name"),
        (&["engine", "rm", "nonesuch"], "there is no engine"),
        (&["engine", "check", "nonesuch"], "there is no engine"),
        (&["create", "nonesuch:web"], "nonesuch"),
        (&["create", "local:web", "--engine", "other"], "two engines"),
    ] {
        let refused = lab.boxherd(ask);
        assert!(refused.code.is_some_and(|code| code != 0), "{ask:?}: {refused:?}");
        assert!(refused.err.contains(why), "{ask:?}: {refused:?}");
    }
    assert_eq!(lab.boxherd(&["engine", "ls", "-q"]).ok(), "local\n");
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
}

#[test]
fn a_create_that_is_interrupted_keeps_nobody_waiting_and_leaves_nothing() {
    let test = "a_create_that_is_interrupted_keeps_nobody_waiting_and_leaves_nothing";
    let Some(lxd) = Lxd::open(test) else { return };
    lxd.add("lab", &[]).ok();
    lxd.lab.create("here", &[]);
    let at = format!("lab:{}", name("interrupted"));
    let mut create = lxd.lab.command(&["create", &at, "--image", "deb12"]);
    let mut create = create.stdout(Stdio::null()).spawn().expect("boxherd runs");
    let instance = at.trim_start_matches("lab:");
    let is_there = || lxd.lxc(&["list", "-f", "csv", "-c", "n"]).contains(instance);
    crate::wait::until("it is begun", || is_there().then_some(()));
    let pid = rustix::process::Pid::from_child(&create);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let begun = Instant::now();
    assert!(!create.wait().expect("it ends").success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // The server is still at it, and cannot be told to stop.
    let begun = Instant::now();
    assert_eq!(lxd.lab.boxherd(&["exec", "here", "echo", "alive"]).ok(), "alive\n");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    crate::wait::until("it is gone", || {
        (lxd.lab.boxherd(&["ls", "-q"]).ok() == "here\n" && !is_there()).then_some(())
    });
}
