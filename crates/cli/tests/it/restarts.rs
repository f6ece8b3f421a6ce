//! Servers of LXD that are killed in the middle of something, and started anew.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use boxherd_testkit::{LxdCluster, lxd_cluster_or_skip};
use serde_json::Value;

use crate::engines::name;
use crate::guests::NO_PROGRAMS;
use crate::lab::{Lab, Said};
use crate::wait;

/// Whoever is killed.
const MEMBER: &str = "n1";
/// Longer than anything is waited for that a server does not answer.
const LONGEST: Duration = Duration::from_secs(150);

/// A server that can be killed, as the engine `lab`.
struct Mortal {
    lab: Lab,
    cluster: LxdCluster,
}

impl Mortal {
    fn open(test: &str) -> Option<Self> {
        let cluster = lxd_cluster_or_skip(test)?;
        let lab = Lab::open(test)?;
        let socket = format!("unix:{}", cluster.lab.socket.display());
        lab.boxherd(&["engine", "add", "lab", "--lxd", &socket, "--image", "deb12"]).ok();
        Some(Self { lab, cluster })
    }

    fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.lab.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("boxherd runs")
    }

    fn create(&self, name: &str) -> Child {
        self.spawn(&["create", &format!("lab:{name}"), "--target", MEMBER])
    }

    fn home(&self) -> PathBuf {
        self.cluster.lab.folder.join(MEMBER)
    }

    /// The root folder of an instance, as the host sees it.
    fn root(&self, name: &str) -> PathBuf {
        self.home().join("storage-pools/default/containers").join(name).join("rootfs")
    }

    fn lxc(&self, args: &[&str]) -> String {
        self.cluster.lab.run(None, args)
    }

    fn query(&self, path: &str) -> Value {
        serde_json::from_str(&self.lxc(&["query", path])).expect("JSON")
    }

    /// That nobody has anything of an instance, and that the server does nothing.
    fn nothing_is_left(&self, name: &str) {
        assert_eq!(self.lab.boxherd(&["ls", "-q"]).ok(), "");
        let instances = self.query("/1.0/instances").to_string();
        assert!(!instances.contains(name), "{instances}");
        assert!(!self.root(name).exists() && !self.home().join("containers").join(name).exists());
        self.nothing_runs();
    }

    fn nothing_runs(&self) {
        wait::until("the server does nothing", || {
            self.query("/1.0/operations")["running"].is_null().then_some(())
        });
    }

    /// Copies a large file to `/srv/file` of a box, and the server dies in the middle of it: what the copy
    /// says. The old file is there, whole, and nothing else.
    fn copy_that_is_cut(&self, name: &str) -> Said {
        let (at, root) = (format!("lab:{name}"), self.root(name).join("srv"));
        let folder = tempfile::tempdir().expect("a folder");
        let big = folder.path().join("big");
        File::create(&big).and_then(|file| file.set_len(1 << 30)).expect("a file");
        let copy = self.spawn(&["cp", big.to_str().expect("text"), &format!("{at}:/srv/file")]);
        let part = || entries(&root).into_iter().find(|entry| entry != "file");
        let size = |part: String| fs::metadata(root.join(part)).map_or(0, |found| found.len());
        catch("it is on its way", || part().is_some_and(|part| size(part) > 1 << 20));
        self.cluster.kill(MEMBER);
        self.cluster.start(MEMBER);
        let said = ended(copy);
        assert_eq!(said.code, Some(1), "{said:?}");
        let there = self.lab.boxherd(&["exec", &at, "sh", "-c", "cd /srv; ls; cat file"]).ok();
        assert_eq!(there, "file\nold\n");
        said
    }

    /// That a box of that name can be made, and be used.
    fn can_be_made(&self, name: &str) {
        ended(self.create(name)).ok();
        let at = format!("lab:{name}");
        assert_eq!(self.lab.boxherd(&["exec", &at, "hostname"]).ok(), format!("{name}\n"));
        self.lab.boxherd(&["rm", "--force", &at]).ok();
        self.nothing_is_left(name);
    }
}

/// What a command says in the end, which it comes to.
fn ended(child: Child) -> Said {
    let since = Instant::now();
    let said = Said::from(child.wait_with_output().expect("it ends"));
    assert!(since.elapsed() < LONGEST, "{said:?}");
    said
}

/// Waits as [`wait::until`], without a pause: what is waited for is soon over.
fn catch(what: &str, mut seen: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !seen() {
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

fn entries(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_create_in_the_middle_of_which_the_server_dies_leaves_nothing() {
    let test = "a_create_in_the_middle_of_which_the_server_dies_leaves_nothing";
    let Some(at) = Mortal::open(test) else { return };
    let name = name("half");
    // As soon as there is anything of it, and with some of its disk.
    for least in [0, 5] {
        let create = at.create(&name);
        let root = at.root(&name);
        let place = root.parent().expect("a folder").to_owned();
        catch("it begins", || place.exists() && entries(&root).len() >= least);
        at.cluster.kill(MEMBER);
        at.cluster.start(MEMBER);
        let said = ended(create);
        assert_eq!(said.code, Some(1), "{said:?}");
        for word in ["`Creating instance`", "started anew", "try it once more"] {
            assert!(said.err.contains(word), "{word} in {said:?}");
        }
        at.nothing_is_left(&name);
        at.can_be_made(&name);
    }
}

#[test]
fn what_a_server_that_stays_away_had_begun_is_removed_when_it_is_back() {
    let test = "what_a_server_that_stays_away_had_begun_is_removed_when_it_is_back";
    let Some(at) = Mortal::open(test) else { return };
    let name = name("away");
    let create = at.create(&name);
    catch("it begins", || entries(&at.root(&name)).len() >= 5);
    at.cluster.kill(MEMBER);
    let said = ended(create);
    assert_eq!(said.code, Some(1), "{said:?}");
    for word in ["`Creating instance`", "not known", "unix.socket", "engine check"] {
        assert!(said.err.contains(word), "{word} in {said:?}");
    }
    let listed = at.lab.boxherd(&["ls"]);
    assert!(listed.err.contains("engine `lab` does not answer"), "{listed:?}");
    assert!(listed.ok().contains("deleting"), "it is said that it is there");
    assert!(at.root(&name).exists());
    at.cluster.start(MEMBER);
    at.nothing_is_left(&name);
    at.can_be_made(&name);
}

#[test]
fn a_file_on_its_way_when_the_server_dies_leaves_the_old_one() {
    let test = "a_file_on_its_way_when_the_server_dies_leaves_the_old_one";
    let Some(at) = Mortal::open(test) else { return };
    let name = name("upload");
    let box_ = format!("lab:{name}");
    ended(at.create(&name)).ok();
    at.lab.boxherd(&["exec", &box_, "sh", "-c", "echo old > /srv/file"]).ok();
    let said = at.copy_that_is_cut(&name);
    assert!(said.err.contains("error: the link to the agent was lost"), "{said:?}");
    assert!(said.err.contains("hint: what was not copied whole is as it was"), "{said:?}");
    // It was nothing that stays.
    let folder = tempfile::tempdir().expect("a folder");
    let new = folder.path().join("new");
    fs::write(&new, "new\n").expect("a file");
    at.lab.boxherd(&["cp", new.to_str().expect("text"), &format!("{box_}:/srv/file")]).ok();
    assert_eq!(at.lab.boxherd(&["exec", &box_, "cat", "/srv/file"]).ok(), "new\n");
    at.lab.boxherd(&["rm", "--force", &box_]).ok();
    at.nothing_is_left(&name);
}

#[test]
fn a_part_of_a_file_is_removed_by_the_server_that_stands_in_for_the_agent() {
    let test = "a_part_of_a_file_is_removed_by_the_server_that_stands_in_for_the_agent";
    let Some(at) = Mortal::open(test) else { return };
    let name = name("native-upload");
    let box_ = format!("lab:{name}");
    at.lxc(&["launch", "-q", "deb12", &name, "--target", MEMBER]);
    let before = format!("{NO_PROGRAMS}; echo old > /srv/file");
    at.lxc(&["exec", &name, "--", "sh", "-c", &before]);
    at.lab.boxherd(&["exec", &box_, "true"]).ok();
    assert!(at.lab.boxherd(&["show", &box_]).ok().contains("since no agent runs"));
    at.copy_that_is_cut(&name);
    at.lab.boxherd(&["rm", "--force", &box_]).ok();
    at.lxc(&["delete", "--force", &name]);
    at.nothing_is_left(&name);
}

#[test]
fn an_agent_on_its_way_when_the_server_dies_is_put_there_again() {
    let test = "an_agent_on_its_way_when_the_server_dies_is_put_there_again";
    let Some(at) = Mortal::open(test) else { return };
    let name = name("push");
    let box_ = format!("lab:{name}");
    at.lxc(&["launch", "-q", "deb12", &name, "--target", MEMBER]);
    // Adopted, but nothing was run in it yet.
    at.lab.boxherd(&["show", &box_]).ok();
    let init = at.query(&format!("/1.0/instances/{name}/state"))["pid"].to_string();
    let place = PathBuf::from(format!("/proc/{init}/root/run/boxherd"));
    let exec = at.spawn(&["exec", &box_, "echo", "here"]);
    catch("it is on its way", || entries(&place).iter().any(|entry| entry.starts_with("agent-")));
    at.cluster.kill(MEMBER);
    at.cluster.start(MEMBER);
    let said = ended(exec);
    match said.code {
        // It was there just in time.
        Some(0) => assert_eq!(said.out, "here\n"),
        code => assert!(code == Some(125) && said.err.contains("error: "), "{said:?}"),
    }
    assert_eq!(at.lab.boxherd(&["exec", &box_, "echo", "here"]).ok(), "here\n");
    // One whole one, and at most the part of the one that never came.
    let (parts, whole): (Vec<_>, Vec<_>) = entries(&place)
        .into_iter()
        .filter(|entry| entry.starts_with("agent-"))
        .partition(|entry| entry.contains(".beside-"));
    assert!(whole.len() == 1 && parts.len() <= 1, "{whole:?} {parts:?}");
    // Of its arguments one is this word and nothing else.
    let running = "grep -lz '^guest$' /proc/[0-9]*/cmdline 2>/dev/null | wc -l";
    assert_eq!(at.lab.boxherd(&["exec", &box_, "sh", "-c", running]).ok(), "1\n", "{said:?}");
    println!("the command ended with {:?}, and {} parts are left", said.code, parts.len());
    let logs = at.query(&format!("/1.0/instances/{name}/logs")).to_string();
    assert!(!logs.contains("exec_"), "{logs}");
    at.lab.boxherd(&["rm", "--force", &box_]).ok();
    at.lxc(&["delete", "--force", &name]);
    at.nothing_runs();
}

#[test]
fn a_snapshot_in_the_middle_of_which_the_server_dies_is_none_and_the_box_goes_on() {
    let test = "a_snapshot_in_the_middle_of_which_the_server_dies_is_none_and_the_box_goes_on";
    let Some(at) = Mortal::open(test) else { return };
    let (name, copy) = (name("saved"), name("saved-copy"));
    let (box_, copies) = (format!("lab:{name}"), format!("/1.0/instances/{name}/snapshots"));
    ended(at.create(&name)).ok();
    let place = at.home().join("storage-pools/default/containers-snapshots").join(&name);
    for args in [&["snapshot", "create", &box_, "one"][..], &["fork", &box_, &copy]] {
        let (before, saved) =
            (entries(&place), at.lab.boxherd(&["snapshot", "ls", "-q", &box_]).ok());
        let child = at.spawn(args);
        let begun = || {
            let mut new = entries(&place).into_iter().filter(|entry| !before.contains(entry));
            new.any(|snapshot| !entries(&place.join(snapshot).join("rootfs")).is_empty())
        };
        catch("it begins", begun);
        at.cluster.kill(MEMBER);
        at.cluster.start(MEMBER);
        let said = ended(child);
        assert_eq!(said.code, Some(1), "{args:?}: {said:?}");
        assert!(said.err.contains("started anew"), "{args:?}: {said:?}");
        assert_eq!(at.lab.boxherd(&["ls", "-q"]).ok(), format!("{name}\n"), "{args:?}");
        assert_eq!(at.lab.state(&box_), "running null", "{args:?}");
        let now = at.lab.boxherd(&["snapshot", "ls", "-q", &box_]).ok();
        assert_eq!(now, saved, "{args:?}");
        at.lab.boxherd(args).ok();
        let kept = at.query(&copies).as_array().expect("a list").len();
        assert_eq!(kept, 1, "the snapshot that was asked for: {}", at.query(&copies));
    }
    assert_eq!(at.lab.boxherd(&["exec", &copy, "hostname"]).ok(), format!("{copy}\n"));
    at.lab.boxherd(&["rm", "--force", &box_, &copy]).ok();
    at.nothing_is_left(&name);
}
