//! Boxes that want `boxherd cp` to write where it should not: outside of its destination on the
//! host, or into files of the host by way of the box.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use boxherd_link::channel;
use boxherd_link::frame::Kind;
use boxherd_link::proto::{Answer, Nothing, Stat};
use tar::{Builder, EntryType, Header};

use crate::lab::{Lab, Said};
use crate::rogue::{answers, frame, last_words, replace_agent};

/// A folder of the host with a destination for copies, and beside it what no copy may touch.
struct Host {
    folder: tempfile::TempDir,
}

const UNTOUCHED: &str = "untouched";

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(folder.path().join("victim/inner")).expect("mkdir");
        fs::write(folder.path().join("victim/file"), UNTOUCHED).expect("write");
        fs::create_dir(folder.path().join("out")).expect("mkdir");
        Self { folder }
    }

    fn victim(&self) -> PathBuf {
        self.folder.path().join("victim")
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// `boxherd cp evil:FROM OUT`
    fn copy(&self, lab: &Lab, from: &str) -> Said {
        lab.boxherd(&["cp", &format!("evil:{from}"), self.out().to_str().expect("UTF-8")])
    }

    /// Asserts that nothing happened outside of the destination.
    fn is_untouched(&self) {
        assert_eq!(names(self.folder.path()), ["out", "victim"]);
        assert_eq!(names(&self.victim()), ["file", "inner"]);
        assert_eq!(names(&self.victim().join("inner")), Vec::<String>::new());
        assert_eq!(fs::read_to_string(self.victim().join("file")).expect("read"), UNTOUCHED);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut names: Vec<_> =
        entries.map(|entry| String::from_utf8_lossy(entry.file_name().as_bytes()).into()).collect();
    names.sort_unstable();
    names
}

/// A shell line that plants a tree of links to the host's `victim`, by every way there is.
fn plant(victim: &Path) -> String {
    let victim = victim.display();
    format!(
        "rm -rf /srv/tree; mkdir -p /srv/tree/deep; cd /srv/tree
         ln -s {victim} abs; ln -s ../../../../../../../../..{victim} up
         ln -s /proc/self/root{victim} proc; ln -s {victim}/file file; ln -s ../victim near
         ln -s /proc/1/root/proc/self/cwd cwd; ln -s loop loop
         ln -s ../../victim/inner deep/inner; echo x > \"$(printf 'new\\nline')\""
    )
}

/// Puts folders and files with content where the links were.
const UNPLANT: &str = "cd /srv/tree && rm -rf * && for d in abs up proc near cwd deep/inner; do
        mkdir -p $d && echo evil > $d/file && echo evil > $d/new; done
        echo evil > file; echo evil > loop";

#[test]
fn links_of_a_box_lead_nowhere_on_the_host() {
    let Some(lab) = Lab::open("links_of_a_box_lead_nowhere_on_the_host") else { return };
    let host = Host::new();
    lab.create("evil", &[]);
    lab.sh("evil", &plant(&host.victim())).ok();
    host.copy(&lab, "/srv/tree").ok();
    let copied = host.out().join("tree");
    assert_eq!(fs::read_link(copied.join("abs")).expect("a link"), host.victim());
    assert_eq!(fs::read_to_string(copied.join("new\nline")).expect("read"), "x\n");
    host.is_untouched();
    // Now the links are here, and what the box has there is to be written through them.
    lab.sh("evil", UNPLANT).ok();
    host.copy(&lab, "/srv/tree").refused();
    host.is_untouched();
    lab.sh("evil", "cd /srv/tree && rm -rf abs up proc near cwd deep").ok();
    host.copy(&lab, "/srv/tree").ok();
    assert_eq!(fs::read_to_string(copied.join("file")).expect("read"), "evil\n");
    assert!(!copied.join("file").is_symlink(), "it replaced the link");
    host.is_untouched();
}

#[test]
fn a_box_that_changes_its_tree_meanwhile_gains_nothing() {
    let Some(lab) = Lab::open("a_box_that_changes_its_tree_meanwhile") else { return };
    let host = Host::new();
    lab.create("evil", &["--", "sh", "-c", "while :; do sh /tmp/plant; sh /tmp/unplant; done"]);
    let script = |name: &str, text: &str| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), text).expect("write");
        let from = file.path().to_str().expect("UTF-8");
        lab.boxherd(&["cp", from, &format!("evil:/tmp/{name}")]).ok();
    };
    script("plant", &plant(&host.victim()));
    script("unplant", UNPLANT);
    for _ in 0..40 {
        // Whether a copy succeeds depends on what it meets.
        host.copy(&lab, "/srv/tree");
        host.copy(&lab, "/srv/tree/file");
        host.is_untouched();
    }
}

#[test]
fn entries_that_are_no_files_are_refused_by_name() {
    let Some(lab) = Lab::open("entries_that_are_no_files") else { return };
    let host = Host::new();
    lab.create("evil", &[]);
    lab.sh("evil", "mkdir /srv/tree && mkfifo /srv/tree/fifo /srv/fifo").ok();
    let socket = "use Socket; socket my $s, AF_UNIX, SOCK_STREAM, 0 or die;
        bind $s, sockaddr_un('/srv/socket') or die";
    lab.boxherd(&["exec", "evil", "--", "perl", "-e", socket]).ok();
    for from in ["/srv/tree", "/srv/fifo", "/srv/socket", "/dev/zero"] {
        let said = host.copy(&lab, from);
        assert_eq!(said.code, Some(1), "{from}: {said:?}");
        assert!(said.err.contains("neither a file"), "{from}: {said:?}");
    }
    assert_eq!(names(&host.out()), ["tree"], "the folder that was begun");
    host.is_untouched();
}

#[test]
fn what_goes_in_stays_in() {
    let Some(lab) = Lab::open("what_goes_in_stays_in") else { return };
    let host = Host::new();
    let evil = host.out().join("evil");
    fs::create_dir(&evil).expect("mkdir");
    fs::write(evil.join("file"), "evil").expect("write");
    symlink("file", evil.join("link")).expect("symlink");
    lab.create("evil", &[]);
    let victim = host.victim();
    let (victim, from) = (victim.display(), evil.to_str().expect("UTF-8"));
    let links = [
        format!("{victim}"),
        format!("../../../../../../..{victim}"),
        format!("/proc/self/root{victim}"),
        format!("/proc/1/root{victim}"),
        format!("/proc/1/cwd{victim}"),
    ];
    for (number, link) in links.iter().enumerate() {
        lab.sh("evil", &format!("ln -sfn {link} /srv/dir; ln -sfn {link}/file /srv/file")).ok();
        // Dangling in the box, or refused: nothing of the host is reached.
        lab.boxherd(&["cp", &format!("{from}/file"), "evil:/srv/file"]);
        lab.boxherd(&["cp", &format!("{from}/file"), &format!("evil:/srv/dir/{number}")]);
        lab.boxherd(&["cp", from, "evil:/srv/dir"]);
        lab.boxherd(&["cp", &format!("{from}/file"), &format!("evil:/../../..{victim}/file")]);
        host.is_untouched();
    }
}

#[test]
fn descriptors_of_the_agent_are_no_way_to_files_of_the_host() {
    let Some(lab) = Lab::open("descriptors_of_the_agent_are_no_way") else { return };
    let host = Host::new();
    let big = host.out().join("big");
    fs::write(&big, vec![7; 3 << 20]).expect("write");
    lab.create("evil", &[]);
    for number in 0..24 {
        lab.sh("evil", &format!("ln -sfn /proc/self/fd/{number} /srv/fd")).ok();
        // Through the link, and as a name of its own.
        lab.boxherd(&["cp", big.to_str().expect("UTF-8"), "evil:/srv/fd"]);
        let direct = format!("evil:/proc/self/fd/{number}");
        lab.boxherd(&["cp", big.to_str().expect("UTF-8"), &direct]);
    }
    // Nothing beside the box's own disk has grown.
    let boxes = fs::read_dir(crate::rogue::folder(&lab)).expect("a folder").flatten();
    for file in boxes {
        let length = file.metadata().expect("stat").len();
        assert!(length < 1 << 20, "{} has {length} bytes", file.path().display());
    }
    lab.boxherd(&["logs", "evil"]).ok();
    assert_eq!(lab.sh("evil", "echo fine").ok(), "fine\n");
}

/// An entry whose name is written as it is, which a builder would refuse.
fn entry(archive: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, link: &str) {
    let mut header = Header::new_old();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o4777);
    let content: &[u8] = if kind == EntryType::Regular { b"evil" } else { b"" };
    header.set_size(content.len() as u64);
    header.set_cksum();
    archive.append(&header, content).expect("in memory");
}

/// What a lying agent says to a copy of a folder: that it is one, and then an archive.
fn lies(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> [Vec<u8>; 2] {
    let mut archive = Builder::new(Vec::new());
    fill(&mut archive);
    let archive = archive.into_inner().expect("in memory");
    let folder = Answer::Stat(Stat { mode: 0o40777, ..Stat::default() });
    let content = frame(Kind::Data, 0, channel::MAIN, 2, &archive);
    [last_words(1, folder), [content, last_words(2, Answer::Done(Nothing {}))].concat()]
}

#[test]
fn an_agent_that_lies_about_names_writes_nowhere() {
    let Some(lab) = Lab::open("an_agent_that_lies_about_names") else { return };
    let host = Host::new();
    lab.create("evil", &[]);
    let plays: [crate::rogue::Play; 6] = [
        |stream| answers(stream, &lies(|a| entry(a, EntryType::Regular, "../../new", ""))),
        |stream| answers(stream, &lies(|a| entry(a, EntryType::Directory, "../../new", ""))),
        |stream| {
            let through = |a: &mut Builder<_>| {
                entry(a, EntryType::Symlink, "link", "../../victim");
                entry(a, EntryType::Regular, "link/new", "");
            };
            answers(stream, &lies(through));
        },
        |stream| {
            let through = |a: &mut Builder<_>| {
                entry(a, EntryType::Link, "linked", "../../victim/file");
                entry(a, EntryType::Regular, "linked", "");
            };
            answers(stream, &lies(through));
        },
        |stream| answers(stream, &lies(|a| entry(a, EntryType::Char, "null", ""))),
        |stream| answers(stream, &lies(|a| entry(a, EntryType::Regular, "/../victim/file", ""))),
    ];
    for play in plays {
        replace_agent(&lab, play);
        let said = host.copy(&lab, "/srv/tree");
        assert_eq!(said.code, Some(1), "{said:?}");
        let why = ["leads out", "neither a file", "outside of destination"];
        assert!(why.iter().any(|why| said.err.contains(why)), "{said:?}");
        host.is_untouched();
    }
}
