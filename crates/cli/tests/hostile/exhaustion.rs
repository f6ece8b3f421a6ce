//! Boxes that use up whatever they can get.

use crate::lab::Lab;
use crate::wait;

#[test]
fn a_fork_bomb_stays_in_its_box() {
    let Some(lab) = Lab::open("a_fork_bomb_stays_in_its_box") else { return };
    lab.create("bomb", &["--pids", "64"]);
    lab.create("neighbour", &[]);
    let bomb = "while (1) { my $p = fork; if (defined $p && $p == 0) { sleep 60; exit } last unless defined $p } print \"full\"";
    let said = lab.boxherd(&["exec", "--timeout", "30s", "bomb", "--", "perl", "-e", bomb]);
    assert_eq!(said.out, "full", "{said:?}");
    assert_eq!(lab.sh("neighbour", "echo fine").ok(), "fine\n");
    lab.boxherd(&["rm", "--force", "bomb"]).ok();
}

#[test]
fn out_of_memory_ends_the_box_and_nobody_else() {
    let Some(lab) = Lab::open("out_of_memory_ends_the_box_and_nobody_else") else { return };
    lab.create("hog", &["--memory", "64M"]);
    lab.create("neighbour", &["--memory", "64M"]);
    let said =
        lab.sh("hog", "sleep 1000 & perl -e 'my @x; push @x, \"a\" x 1000000 while 1'; echo on");
    assert_eq!((said.code, &*said.out), (Some(125), ""), "{said:?}");
    assert!(said.err.contains("`hog` stopped while it was used: oom"), "{said:?}");
    assert_eq!(lab.state("hog"), "stopped oom");
    assert_eq!(lab.state("neighbour"), "running null");
    assert_eq!(lab.sh("neighbour", "echo fine").ok(), "fine\n");
    // It starts again, and works.
    lab.boxherd(&["start", "hog"]).ok();
    assert_eq!(lab.sh("hog", "echo again").ok(), "again\n");
}

#[test]
fn a_console_that_is_flooded_stays_small_and_is_not_run_after() {
    let Some(lab) = Lab::open("a_console_that_is_flooded") else { return };
    // It never ends and writes as fast as it can.
    lab.create(
        "loud",
        &["--", "perl", "-e", "$| = 1; my $n = 0; print $n++, qq(\n) x 4000 while 1"],
    );
    wait::until("something was written", || {
        (!lab.boxherd(&["logs", "loud"]).ok().is_empty()).then_some(())
    });
    for flags in [&[][..], &["--tail", "100"]] {
        let logs = lab.boxherd(&[&["logs"], flags, &["loud"]].concat()).ok();
        assert!(logs.len() <= 1 << 20, "{} bytes of console, which has 1 MiB", logs.len());
    }
    assert_eq!(lab.sh("loud", "echo fine").ok(), "fine\n");
}

#[test]
fn a_box_out_of_memory_ends_on_the_first_version() {
    let Some(lab) = Lab::on_v1("a_box_out_of_memory_ends_on_the_first_version") else { return };
    lab.create("hog", &["--memory", "32M"]);
    lab.sh("hog", "exec perl -e '$x = \"a\" x 1e8; sleep 60'").refused();
    assert_eq!(lab.state("hog"), "stopped oom");
}
