//! What the kernel counts by user or for the whole machine: one box takes all it can get, and the
//! others and the host notice nothing.
//!
//! Not here, because taking all of it would need gigabytes: watches of `epoll`, which are counted by
//! user, and open files, which only `fs.file-max` bounds.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::lab::{Lab, Said};

/// Something that the kernel has only so much of.
struct Quota {
    name: &'static str,
    /// perl that defines a function `take`, which takes one and keeps it. False when there is none
    /// left, with the reason in `$!`.
    take: &'static str,
    /// The error number that says so.
    none_left: i32,
}

const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

/// Goes on in a copy with fresh descriptors, long before those of one process are used up; this one
/// keeps what it has until the copy ends.
const SPILL: &str = "my $held = 0;
    sub spill { return if ++$held % 400; if (my $copy = fork) { waitpid $copy, 0; exit }
        syscall(436, 3, 0xffffffff, 0) }";

const QUOTAS: &[Quota] = &[
    Quota {
        name: "inotify instances",
        take: "sub take { syscall(294, 0) >= 0 }",
        none_left: EMFILE,
    },
    Quota {
        name: "inotify watches",
        take: "my (@files, $fd, $at); END { unlink @files }
            sub take {
                if (!defined $fd || $at >= 10000) {
                    $fd = syscall(294, 0); return if $fd < 0; $at = 0
                }
                if ($at == @files) {
                    my $file = \"/dev/shm/watch-$$-$at\"; push @files, $file;
                    open my $made, '>', $file or return
                }
                syscall(254, $fd, $files[$at++], 2) >= 0
            }",
        none_left: ENOSPC,
    },
    Quota {
        name: "terminals",
        take: "my $path = '/dev/ptmx'; sub take { spill(); syscall(2, $path, 2) >= 0 }",
        none_left: ENOSPC,
    },
    Quota {
        name: "message queues",
        take: "my @names; END { syscall(241, $_) for @names }
            sub take {
                my $name = \"queue-$$-\" . @names;
                syscall(240, $name, 0102, 0600, 0) >= 0 and push @names, $name
            }",
        none_left: EMFILE,
    },
    Quota {
        name: "pending signals",
        take: "my $set = pack 'Q', 1 << 33; syscall(14, 0, $set, 0, 8);
            my $info = pack 'iii x116', 34, 0, -1;
            my $own = 0 + $$; sub take { syscall(129, $own, 34, $info) >= 0 }",
        none_left: EAGAIN,
    },
    Quota {
        name: "timers",
        take: "my $id = 'x' x 8; sub take { syscall(222, 0, 0, $id) >= 0 }",
        none_left: EAGAIN,
    },
    Quota {
        name: "locked shared memory",
        take: "my @held; END { syscall(31, $_, 0, 0) for @held }
            sub take {
                my $id = syscall(29, 0, 1 << 20, 0600); return if $id < 0;
                push @held, $id; syscall(31, $id, 11, 0) >= 0
            }",
        none_left: ENOMEM,
    },
    Quota {
        name: "buffers of pipes",
        take: "my $ends = 'x' x 8;
            sub take {
                spill(); syscall(22, $ends) == 0 or return;
                return 1 if syscall(72, unpack('i', $ends), 1032, 0) == 65536;
                $! = 11; 0
            }",
        none_left: EAGAIN,
    },
];

/// Namespaces are counted too, where a box may make any.
const NAMESPACES: Quota = Quota {
    name: "namespaces",
    take: "my $path = '/proc/self/ns/uts';
        sub take { spill(); syscall(272, 0x04000000) == 0 and syscall(2, $path, 0) >= 0 }",
    none_left: ENOSPC,
};

/// What boxes are refused altogether, because it is counted for the whole machine or because the
/// kernel charges it to users with little care.
const REFUSED: &[(&str, &str)] = &[
    ("add_key", r#"248, "user", "k", "v", 1, -3"#),
    ("request_key", r#"249, "user", "k", 0, -3"#),
    ("keyctl", "250, 0, -3, 1"),
    ("fanotify_init", "300, 0, 0"),
    ("io_setup", r#"206, 1, "\0\0\0\0\0\0\0\0""#),
];

impl Quota {
    fn script(&self, then: &str) -> String {
        format!("$| = 1; {SPILL} {} {then}", self.take)
    }

    /// Prints how many there were and why there are no more, and keeps them until its input ends.
    fn take_all(&self) -> String {
        self.script("my $n = 0; $n++ while take(); my $why = $! + 0; print \"$n $why\\n\"; <STDIN>")
    }

    fn take_one(&self) -> String {
        self.script("print take() ? 'taken' : \"none: $!\"")
    }

    fn taken_in(&self, lab: &Lab, name: &str) {
        let said = lab.boxherd(&["exec", name, "--", "perl", "-e", &self.take_one()]);
        assert_eq!(said.out, "taken", "{} in `{name}`: {said:?}", self.name);
    }

    fn taken_on_the_host(&self) {
        let perl = Command::new("perl").args(["-e", &self.take_one()]).output();
        let said = Said::from(perl.expect("perl runs"));
        assert_eq!(said.out, "taken", "{} on the host: {said:?}", self.name);
    }

    /// Takes all that `box` can get, and then one in `neighbour` and one on the host.
    fn exhaust(&self, lab: &Lab, name: &str, neighbour: &str) {
        let holder = Holder::start(lab, name, &self.take_all());
        let (count, why) = holder.said.trim().split_once(' ').expect("a count and a reason");
        let name = self.name;
        assert_eq!(why, self.none_left.to_string(), "{name}: {count} taken");
        assert_ne!(count, "0", "{name}");
        self.taken_in(lab, neighbour);
        self.taken_on_the_host();
        holder.end();
    }
}

/// A program in a box that keeps what it took.
struct Holder {
    exec: Child,
    said: String,
}

impl Holder {
    fn start(lab: &Lab, name: &str, script: &str) -> Self {
        let mut command = lab.command(&["exec", "-i", name, "--", "perl", "-e", script]);
        let mut exec = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
        let mut said = String::new();
        let output = exec.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut said).expect("a line");
        Self { exec, said }
    }

    fn end(mut self) {
        drop(self.exec.stdin.take());
        self.exec.wait().expect("it ends");
    }
}

#[test]
fn what_one_box_uses_up_the_others_still_have() {
    let Some(lab) = Lab::open("what_one_box_uses_up_the_others_still_have") else { return };
    lab.create("greedy", &[]);
    lab.create("neighbour", &[]);
    QUOTAS.iter().for_each(|quota| quota.exhaust(&lab, "greedy", "neighbour"));
}

#[test]
fn a_box_that_may_nest_has_quotas_of_its_own_too() {
    let Some(lab) = Lab::open("a_box_that_may_nest_has_quotas_of_its_own_too") else { return };
    lab.create("greedy", &["--nesting"]);
    lab.create("neighbour", &["--nesting"]);
    NAMESPACES.exhaust(&lab, "greedy", "neighbour");
    QUOTAS.iter().for_each(|quota| quota.exhaust(&lab, "greedy", "neighbour"));
}

#[test]
fn what_is_counted_for_the_whole_machine_is_refused() {
    let Some(lab) = Lab::open("what_is_counted_for_the_whole_machine_is_refused") else { return };
    for (name, flags) in [("flat", &[][..]), ("nesting", &["--nesting"])] {
        lab.create(name, flags);
        for (call, arguments) in REFUSED {
            let script = format!(
                "my ($n, @a) = ({arguments}); print syscall($n, @a) == -1 ? $! + 0 : 'made'"
            );
            let said = lab.boxherd(&["exec", name, "--", "perl", "-e", &script]);
            assert!(["1", "38"].contains(&said.out.as_str()), "{call} in `{name}`: {said:?}");
        }
    }
}
