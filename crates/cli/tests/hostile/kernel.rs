//! Doors to the kernel that are shut.

use crate::lab::Lab;

/// `EPERM`, `EACCES`, `ENOSYS`, `EAFNOSUPPORT`: all of them mean "no".
const REFUSALS: [&str; 4] = ["1", "13", "38", "97"];

/// System calls by their x86-64 numbers, with arguments that would succeed for a real root or fail
/// with something other than a refusal.
const SYSCALLS: &[(&str, &str)] = &[
    ("mount", r#"165, "none", "/mnt", "tmpfs", 0, 0"#),
    ("umount2", r#"166, "/proc", 0"#),
    ("fsopen", r#"430, "tmpfs", 0"#),
    ("open_tree", r#"428, -100, "/", 1"#),
    ("pivot_root", r#"155, "/", "/""#),
    ("ptrace attach to pid 1", "101, 16, 1, 0, 0"),
    ("syslog", "103, 3, 0, 0"),
    ("add_key", r#"248, "user", "k", "v", 1, -3"#),
    ("request_key", r#"249, "user", "k", 0, -3"#),
    ("keyctl", "250, 0, -3, 1"),
    ("bpf", "321, 0, 0, 0"),
    ("io_uring_setup", "425, 8, 0"),
    ("userfaultfd", "323, 0"),
    ("open_by_handle_at", "304, -100, 0, 0"),
    ("perf_event_open", "298, 0, 0, -1, -1, 0"),
    ("init_module", "175, 0, 0, 0"),
    ("finit_module", "313, 0, 0, 0"),
    ("delete_module", r#"176, "ext4", 0"#),
    ("kexec_load", "246, 0, 0, 0, 0"),
    ("reboot", "169, 0xfee1dead, 672274793, 0x1234567, 0"),
    ("swapon", r#"167, "/tmp/x", 0"#),
    ("acct", r#"163, "/tmp/x""#),
    ("settimeofday", "164, 0, 0"),
    ("iopl", "172, 3"),
    ("unshare a user namespace", "272, 0x10000000"),
    ("unshare a mount namespace", "272, 0x00020000"),
    ("clone3", "435, 0, 0"),
    ("clone a user namespace", "56, 0x10000011, 0, 0, 0, 0"),
    ("setns", "308, 0, 0"),
    ("packet socket", "41, 17, 3, 0x300"),
    ("vsock", "41, 40, 1, 0"),
];

#[test]
fn dangerous_system_calls_are_refused() {
    let Some(lab) = Lab::open("dangerous_system_calls_are_refused") else { return };
    lab.create("evil", &[]);
    refuse_dangerous_calls(&lab, "evil");
}

pub(crate) fn refuse_dangerous_calls(lab: &Lab, evil: &str) {
    for (name, arguments) in SYSCALLS {
        // perl passes texts by address, which it does for variables only.
        let script = format!(
            "my ($n, @a) = ({arguments}); my $r = syscall($n, @a); print $r == -1 ? $!+0 : \"ok $r\""
        );
        let said = lab.boxherd(&["exec", "--timeout", "20s", evil, "--", "perl", "-e", &script]);
        assert!(REFUSALS.contains(&said.out.as_str()), "{name}: {said:?}");
    }
}

#[test]
fn tools_that_change_the_machine_are_refused() {
    let Some(lab) = Lab::open("tools_that_change_the_machine_are_refused") else { return };
    lab.create("evil", &[]);
    for line in [
        "mount -t tmpfs none /mnt",
        "mount -t proc proc /mnt",
        "mount -o remount,rw /usr",
        "umount /proc/kcore || umount /proc/sys",
        "mknod /tmp/disk b 8 0",
        "mknod /tmp/mem c 1 1",
        "echo 1 > /proc/sys/kernel/panic",
        "echo core > /proc/sys/kernel/core_pattern",
        "echo b > /proc/sysrq-trigger",
        "echo 1 > /sys/kernel/profiling",
        "touch /sys/fs/cgroup/x",
        "dmesg",
        "cat /dev/kmsg",
        "cat /proc/kcore | head -c 1 | grep -q .",
        "cat /proc/kallsyms | grep -vq '^0000000000000000'",
        "unshare -U true",
        "unshare -m true",
        "touch /usr/bin/evil",
        "echo x >> /usr/bin/env",
        "date -s 2001-01-01",
        "hwclock --systohc",
        "swapon /dev/zero",
        "ip link add dummy0 type dummy && ip link set lo down && mount",
    ] {
        lab.sh("evil", line).refused();
    }
}

#[test]
fn the_agent_keeps_its_secrets() {
    let Some(lab) = Lab::open("the_agent_keeps_its_secrets") else { return };
    lab.create("evil", &[]);
    for line in [
        "cat /proc/1/exe > /tmp/agent",
        "ls -l /proc/1/fd/ | grep -q .",
        "cat /proc/1/environ",
        "cat /proc/1/maps",
        "head -c 1 /proc/1/mem",
        "cp /proc/1/exe /tmp/a",
        "ls /proc/1/root/",
        "ls /proc/1/cwd/",
        "kill -STOP 1 && grep -q 'State:.T' /proc/1/status",
    ] {
        lab.sh("evil", line).refused();
    }
    let read = "my $to = 'x' x 8; my $local = pack('QQ', unpack('Q', pack('p', $to)), 8);
        my $remote = pack('QQ', 0x400000, 8);
        print syscall(310, 1, $local, 1, $remote, 1, 0) == -1 ? $!+0 : 'read'";
    assert_eq!(lab.boxherd(&["exec", "evil", "--", "perl", "-e", read]).ok(), "1", "EPERM");
    // pidfd_open of the agent may succeed; taking a descriptor through it must not.
    let steal = "my $fd = syscall(434, 1, 0); my $taken = 0;
        for my $n (0..31) { $taken++ if syscall(438, $fd, $n, 0) >= 0 } print $taken";
    let said = lab.boxherd(&["exec", "evil", "--", "perl", "-e", steal]);
    assert_eq!(said.ok(), "0");
}

#[test]
fn a_command_inherits_three_descriptors_and_no_more() {
    let Some(lab) = Lab::open("a_command_inherits_three_descriptors_and_no_more") else { return };
    lab.create("evil", &[]);
    let open = "opendir(my $d, '/proc/self/fd'); print join ' ', sort grep { /\\d/ && readlink(\"/proc/self/fd/$_\") !~ m{/proc/} } readdir $d";
    assert_eq!(lab.boxherd(&["exec", "evil", "--", "perl", "-e", open]).ok(), "0 1 2");
}

#[test]
fn the_link_cannot_be_opened_from_inside() {
    let Some(lab) = Lab::open("the_link_cannot_be_opened_from_inside") else { return };
    lab.create("evil", &[]);
    lab.sh("evil", "grep -q sock /proc/net/unix").refused();
    assert_eq!(lab.sh("evil", "find / -xdev -type s 2>/dev/null | wc -l").ok().trim(), "0");
}

#[test]
fn nothing_types_into_a_terminal() {
    let Some(lab) = Lab::open("nothing_types_into_a_terminal") else { return };
    // Into the one that controls its own session, where nobody would need to be root for it:
    // TIOCGPTPEER, TIOCSCTTY, then TIOCSTI and TIOCLINUX. TIOCGWINSZ shows that it is a terminal.
    let script =
        "$SIG{HUP} = 'IGNORE'; open my $pty, '+<', '/dev/ptmx' or die; my $unlock = pack 'i', 0;
        syscall(16, fileno $pty, 0x40045431, $unlock) == 0 or die;
        my $terminal = syscall(16, fileno $pty, 0x5441, 2); die $! if $terminal < 0;
        syscall(16, $terminal, 0x540e, 0) == 0 or die $!;
        for my $request (0x5413, 0x5412, 0x541c) {
            my $typed = 'x' x 8;
            print syscall(16, $terminal, $request, $typed) == 0 ? 'done' : $! + 0, ' ';
        }";
    for (name, flags) in [("flat", &[][..]), ("nesting", &["--nesting"])] {
        lab.create(name, flags);
        let said = lab.boxherd(&["exec", name, "--", "perl", "-e", script]);
        assert_eq!(said.out, "done 1 1 ", "EPERM twice: {said:?}");
    }
}
