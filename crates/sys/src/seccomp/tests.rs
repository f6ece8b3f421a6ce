use super::policy::{Decision, Policy};
use super::program::{self, Instruction, Program};

/// What the kernel does with a program.
fn run(program: &Program, architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = vec![number, architecture, 0, 0];
    data.extend(arguments.iter().flat_map(|a| [*a as u32, (*a >> 32) as u32]));
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Instruction { code, jump_true, jump_false, value } = program.instructions()[at];
        at += 1;
        match code {
            program::LOAD => accumulator = data[value as usize / 4],
            program::AND => accumulator &= value,
            program::JUMP => at += value as usize,
            program::JUMP_IF_EQUAL if accumulator == value => at += usize::from(jump_true),
            program::JUMP_IF_AT_LEAST if accumulator >= value => at += usize::from(jump_true),
            program::JUMP_IF_EQUAL | program::JUMP_IF_AT_LEAST => at += usize::from(jump_false),
            program::RETURN => return value,
            other => panic!("no such instruction: {other:#x}"),
        }
    }
}

fn call(nesting: bool, number: libc::c_long, arguments: [u64; 6]) -> u32 {
    run(&Program::compile(&Policy::new(nesting)), program::NATIVE, number as u32, arguments)
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

#[test]
fn the_program_decides_as_the_policy_says() {
    for nesting in [false, true] {
        let policy = Policy::new(nesting);
        let program = Program::compile(&policy);
        for number in 0..=600 {
            let given = run(&program, program::NATIVE, number, [0; 6]);
            match policy.decide(number) {
                Decision::Allow => assert_eq!(given, ALLOW, "{number}"),
                Decision::Errno(wanted) => assert_eq!(given, errno(wanted.into()), "{number}"),
                Decision::Match { .. } => {}
            }
        }
    }
}

#[test]
fn what_the_threat_model_names_is_refused() {
    let refused = [
        libc::SYS_bpf,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_userfaultfd,
        libc::SYS_open_by_handle_at,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_perf_event_open,
        libc::SYS_syslog,
    ];
    for number in refused {
        assert_eq!(call(false, number, [0; 6]), errno(libc::EPERM), "{number}");
        assert_eq!(call(true, number, [0; 6]), errno(libc::EPERM), "{number}");
    }
}

#[test]
fn namespaces_and_mounts_need_nesting() {
    for number in [libc::SYS_unshare, libc::SYS_setns, libc::SYS_mount, libc::SYS_fsopen] {
        assert_eq!(call(false, number, [0; 6]), errno(libc::EPERM));
        assert_eq!(call(true, number, [0; 6]), ALLOW);
    }
    let flags = |flags: i32| [flags as u64 | 1 << 40, 0, 0, 0, 0, 0];
    assert_eq!(call(false, libc::SYS_clone, flags(libc::CLONE_VM | libc::SIGCHLD)), ALLOW);
    let user = libc::CLONE_NEWUSER | libc::SIGCHLD;
    assert_eq!(call(false, libc::SYS_clone, flags(user)), errno(libc::EPERM));
    assert_eq!(call(true, libc::SYS_clone, flags(user)), ALLOW);
    assert_eq!(call(false, libc::SYS_clone3, [0; 6]), errno(libc::ENOSYS));
}

#[test]
fn sockets_are_of_few_families() {
    let socket = |family: i32, protocol: i32| {
        call(false, libc::SYS_socket, [family as u64, 3, protocol as u64, 0, 0, 0])
    };
    assert_eq!(socket(libc::AF_INET6, 0), ALLOW);
    assert_eq!(socket(libc::AF_NETLINK, libc::NETLINK_ROUTE), ALLOW);
    assert_eq!(socket(libc::AF_NETLINK, libc::NETLINK_NETFILTER), errno(libc::EPERM));
    for family in [libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, libc::AF_BLUETOOTH] {
        assert_eq!(socket(family, 0), errno(libc::EAFNOSUPPORT), "{family}");
    }
}

#[test]
fn nothing_types_into_a_terminal() {
    let request = |request: libc::c_ulong| call(false, libc::SYS_ioctl, [0, request, 0, 0, 0, 0]);
    assert_eq!(request(libc::TIOCSTI), errno(libc::EPERM));
    // The kernel looks at the lower half only.
    assert_eq!(request(libc::TIOCSTI | 1 << 32), errno(libc::EPERM));
    assert_eq!(request(libc::TIOCGWINSZ), ALLOW);
}

#[test]
fn btrfs_copies_blocks_and_nothing_else() {
    // As `linux/btrfs.h` and `linux/fs.h` have them.
    const SUBVOL_CREATE: u64 = 0x5000_940e;
    const SNAP_CREATE_V2: u64 = 0x5000_9417;
    const SUBVOL_CREATE_V2: u64 = 0x5000_9418;
    const TREE_SEARCH: u64 = 0xd000_9411;
    for nesting in [false, true] {
        let request = |request: u64| call(nesting, libc::SYS_ioctl, [0, request, 0, 0, 0, 0]);
        for copies in [0x4004_9409, 0x4020_940d, 0xc018_9436] {
            assert_eq!(request(copies), ALLOW, "{copies:#x}");
        }
        for other in [SUBVOL_CREATE, SNAP_CREATE_V2, SUBVOL_CREATE_V2, TREE_SEARCH] {
            assert_eq!(request(other), errno(libc::ENOTTY), "{other:#x}");
        }
    }
}

#[test]
fn asynchronous_io_is_absent() {
    for nesting in [false, true] {
        assert_eq!(call(nesting, libc::SYS_io_setup, [0; 6]), errno(libc::ENOSYS));
        assert_eq!(call(nesting, libc::SYS_io_submit, [0; 6]), errno(libc::ENOSYS));
    }
}

#[test]
fn other_architectures_are_killed() {
    let program = Program::compile(&Policy::new(false));
    assert_eq!(run(&program, 0x4000_0003, 1, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    // The x32 variants of x86-64 have a high bit in their numbers.
    assert_eq!(run(&program, program::NATIVE, 1 | 0x4000_0000, [0; 6]), errno(libc::ENOSYS));
}

#[test]
fn the_search_is_shallow() {
    // The kernel bounds programs at 4,096 instructions; ours is far from it.
    assert!(Program::compile(&Policy::new(false)).instructions().len() < 400);
}
