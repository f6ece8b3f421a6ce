//! Boxes in boxes: what `--nesting` allows, and the kernel refuses without it.

use crate::lab::Lab;

/// What root of a box does, and what it prints at last.
const OF_ROOT: &[(&str, &str)] = &[
    ("unshare -Ur id -u", "0"),
    ("unshare --net --uts --ipc --cgroup echo fine", "fine"),
    ("mount -t tmpfs none /mnt && echo x > /mnt/file && stat -f -c %T /mnt", "tmpfs"),
    ("unshare -Urmpf sh -c 'mount -t proc proc /proc && cat /proc/1/comm'", "sh"),
    ("unshare -Urm sh -c 'mount -t tmpfs none /srv && stat -f -c %T /srv'", "tmpfs"),
    ("unshare -Urm sh -c 'mount --rbind /etc /srv && ls /srv/hostname'", "/srv/hostname"),
];

/// What any user does in a namespace of its own.
const OF_USERS: &[(&str, &str)] = &[
    ("unshare -Ur id -u", "0"),
    ("unshare -Urm sh -c 'mount -t tmpfs none /srv && stat -f -c %T /srv'", "tmpfs"),
];

/// The same, by the program that others use for it.
const BUBBLEWRAP: &[(&str, &str)] = &[
    ("bwrap --ro-bind / / --proc /proc --dev /dev --unshare-all sh -c 'echo $$'", "2"),
    ("bwrap --ro-bind / / --tmpfs /srv --unshare-user --uid 1234 --gid 1234 id -u", "1234"),
    ("bwrap --ro-bind / / --unshare-all sh -c 'echo x > /srv/file || echo read-only'", "read-only"),
];

fn lines() -> Vec<(&'static str, &'static str, &'static str)> {
    let by = |user: &'static str, lines: &'static [(&str, &str)]| {
        lines.iter().map(move |(line, says)| (user, *line, *says))
    };
    let mut lines: Vec<_> = by("0", OF_ROOT).chain(by("1000", OF_USERS)).collect();
    if boxherd_testkit::programs_or_skip("nesting with bubblewrap", &["bwrap"]) {
        lines.extend(by("0", BUBBLEWRAP).chain(by("1000", BUBBLEWRAP)));
    }
    lines
}

#[test]
fn a_box_makes_namespaces_and_mounts_with_nesting_and_not_without() {
    let Some(lab) = Lab::open("a_box_makes_namespaces_and_mounts") else { return };
    lab.create("nest", &["--nesting"]);
    lab.create("flat", &[]);
    let exec = |name, user, line| lab.boxherd(&["exec", "-u", user, name, "--", "sh", "-c", line]);
    for (user, line, says) in lines() {
        let said = exec("nest", user, line);
        assert_eq!(said.out.lines().last(), Some(says), "`{line}` as {user}: {said:?}");
        let said = exec("flat", user, line);
        assert_ne!(said.out.lines().last(), Some(says), "`{line}` as {user}: {said:?}");
        let refused = ["not permitted", "denied", "No permissions"];
        assert!(refused.iter().any(|text| said.err.contains(text)), "`{line}` as {user}: {said:?}");
    }
    // What was mounted by root is the box's own, and gone with it.
    assert_eq!(exec("nest", "0", "cat /mnt/file").ok(), "x\n");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    let data = lab.data().display().to_string();
    assert!(!mounts.lines().any(|line| line.contains(&data)), "seen from outside: {mounts}");
}

#[test]
fn nesting_stays_with_a_box() {
    let Some(lab) = Lab::open("nesting_stays_with_a_box") else { return };
    lab.create("nest", &["--nesting"]);
    lab.boxherd(&["restart", "nest"]).ok();
    lab.boxherd(&["fork", "nest", "copy"]).ok();
    for name in ["nest", "copy"] {
        assert_eq!(lab.sh(name, "unshare -Ur id -u").ok(), "0\n");
    }
}
