//! The allow-list. What is not here is refused with EPERM; what this version has never heard of,
//! with ENOSYS, so that programs fall back as on an older kernel.

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is made.
    Allow,
    /// It fails with this error number.
    Errno(u16),
    /// It depends on an argument.
    Match {
        /// Which one, from 0 on. Only its lower 32 bits count.
        argument: u8,
        /// The bits that are looked at.
        mask: u32,
        /// Values of those bits, and what they lead to.
        cases: &'static [(u32, Decision)],
        /// For every other value.
        otherwise: &'static Decision,
    },
}

use Decision::{Allow, Errno, Match};

const REFUSE: Decision = Errno(libc::EPERM as u16);
const UNKNOWN: Decision = Errno(libc::ENOSYS as u16);
const WHOLE: u32 = u32::MAX;

/// Files and folders. `open_by_handle_at` is not among them: a handle names any file of a
/// filesystem, whatever is mounted.
const FILES_AND_FOLDERS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_sendfile,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_umask,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_sync,
    libc::SYS_readahead,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_fadvise64,
    libc::SYS_getdents64,
    libc::SYS_openat,
    libc::SYS_mkdirat,
    libc::SYS_fchownat,
    libc::SYS_newfstatat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_readlinkat,
    libc::SYS_fchmodat,
    libc::SYS_faccessat,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_sync_file_range,
    libc::SYS_vmsplice,
    libc::SYS_utimensat,
    libc::SYS_fallocate,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_name_to_handle_at,
    libc::SYS_syncfs,
    libc::SYS_renameat2,
    libc::SYS_copy_file_range,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_statx,
    libc::SYS_openat2,
    libc::SYS_faccessat2,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_chroot,
    libc::SYS_mknodat,
];

/// Memory. `userfaultfd` is not among them: it stops the kernel in the middle of a copy, which
/// exploits want.
const MEMORY: &[libc::c_long] = &[
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_mlockall,
    libc::SYS_munlockall,
    libc::SYS_remap_file_pages,
    libc::SYS_memfd_create,
    libc::SYS_membarrier,
    libc::SYS_mlock2,
    libc::SYS_pkey_mprotect,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
    libc::SYS_process_madvise,
    libc::SYS_memfd_secret,
    libc::SYS_process_mrelease,
    libc::SYS_get_mempolicy,
];

/// Processes and threads. `ptrace` stops at the box's own processes, and at the agent, which is
/// not dumpable.
const PROCESSES_AND_THREADS: &[libc::c_long] = &[
    libc::SYS_sched_yield,
    libc::SYS_getpid,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_wait4,
    libc::SYS_kill,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_getsid,
    libc::SYS_ptrace,
    libc::SYS_prctl,
    libc::SYS_gettid,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_exit_group,
    libc::SYS_waitid,
    libc::SYS_rseq,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_getcpu,
    libc::SYS_restart_syscall,
];

/// Users and capabilities. `sudo` must work in a box; ids outside its range do not exist in it.
const USERS_AND_CAPABILITIES: &[libc::c_long] = &[
    libc::SYS_getuid,
    libc::SYS_getgid,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_geteuid,
    libc::SYS_getegid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_getgroups,
    libc::SYS_setgroups,
    libc::SYS_setresuid,
    libc::SYS_getresuid,
    libc::SYS_setresgid,
    libc::SYS_getresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_capget,
    libc::SYS_capset,
];

/// Signals.
const SIGNALS: &[libc::c_long] = &[
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_signalfd4,
];

/// Time. Setting the clock is not among them; `adjtimex` reads, and the kernel refuses it to
/// write.
const TIME: &[libc::c_long] = &[
    libc::SYS_nanosleep,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
];

/// Waiting. `io_uring` is not here, and the asynchronous I/O before it is [`ABSENT`].
const WAITING: &[libc::c_long] = &[
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    libc::SYS_inotify_init1,
];

/// Connections. Which sockets there may be is decided in [`CONDITIONAL`].
const CONNECTIONS: &[libc::c_long] = &[
    libc::SYS_connect,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
];

/// System V and POSIX messages. They have a namespace of their own.
const SYSTEM_V_AND_POSIX_MESSAGES: &[libc::c_long] = &[
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmdt,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semctl,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_mq_timedsend,
    libc::SYS_mq_timedreceive,
    libc::SYS_mq_notify,
    libc::SYS_mq_getsetattr,
];

/// Limits and scheduling. Each only lowers, or is bounded by the box's cgroups.
const LIMITS_AND_SCHEDULING: &[libc::c_long] = &[
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
    libc::SYS_prlimit64,
    libc::SYS_getrusage,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_sched_setparam,
    libc::SYS_sched_getparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_getattr,
    libc::SYS_ioprio_set,
    libc::SYS_ioprio_get,
];

/// The rest.
const THE_REST: &[libc::c_long] = &[
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    libc::SYS_seccomp,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
];

/// Calls that newer architectures never had.
#[cfg(target_arch = "x86_64")]
const LEGACY: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_getdents,
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_creat,
    libc::SYS_link,
    libc::SYS_unlink,
    libc::SYS_symlink,
    libc::SYS_readlink,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_ustat,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_mknod,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_getpgrp,
    libc::SYS_arch_prctl,
    libc::SYS_pause,
    libc::SYS_signalfd,
    libc::SYS_alarm,
    libc::SYS_time,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_inotify_init,
];

#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[libc::c_long] = &[];

/// What every box may call, whatever the arguments.
const ALLOWED: &[&[libc::c_long]] = &[
    FILES_AND_FOLDERS,
    MEMORY,
    PROCESSES_AND_THREADS,
    USERS_AND_CAPABILITIES,
    SIGNALS,
    TIME,
    WAITING,
    CONNECTIONS,
    SYSTEM_V_AND_POSIX_MESSAGES,
    LIMITS_AND_SCHEDULING,
    THE_REST,
    LEGACY,
];

/// Answered as by a kernel that was built without it, so that programs do it another way. The
/// contexts of asynchronous I/O come out of one number for the whole machine, `fs.aio-max-nr`, which
/// one box could use up.
const ABSENT: &[libc::c_long] = &[
    libc::SYS_io_setup,
    libc::SYS_io_destroy,
    libc::SYS_io_getevents,
    libc::SYS_io_submit,
    libc::SYS_io_cancel,
];

const NAMESPACES: libc::c_int = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;

/// Of the many netlink families these three: addresses and routes, `ss`, and device events. The
/// others are the kernel's least trodden code.
const NETLINK: Decision = Match {
    argument: 2,
    mask: WHOLE,
    cases: &[
        (libc::NETLINK_ROUTE as u32, Allow),
        (libc::NETLINK_SOCK_DIAG as u32, Allow),
        (libc::NETLINK_KOBJECT_UEVENT as u32, Allow),
    ],
    otherwise: &REFUSE,
};

// `linux/fs.h`: copies that share blocks began with btrfs and have its type, 0x94.
const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940d;
const FIDEDUPERANGE: u32 = 0xc018_9436;

/// The other requests of btrfs, by the type in their second byte. Subvolumes and snapshots would take
/// files to where a box's limit and its deletion do not look. `ENOTTY` is what any other filesystem
/// answers.
const BTRFS: Decision = Match {
    argument: 1,
    mask: 0xff00,
    cases: &[(0x9400, Errno(libc::ENOTTY as u16))],
    otherwise: &Allow,
};

/// What depends on arguments.
const CONDITIONAL: &[(libc::c_long, Decision)] = &[
    // No packet, vsock, crypto or other rare sockets.
    (
        libc::SYS_socket,
        Match {
            argument: 0,
            mask: WHOLE,
            cases: &[
                (libc::AF_UNIX as u32, Allow),
                (libc::AF_INET as u32, Allow),
                (libc::AF_INET6 as u32, Allow),
                (libc::AF_NETLINK as u32, NETLINK),
            ],
            otherwise: &Errno(libc::EAFNOSUPPORT as u16),
        },
    ),
    (
        libc::SYS_socketpair,
        Match {
            argument: 0,
            mask: WHOLE,
            cases: &[(libc::AF_UNIX as u32, Allow)],
            otherwise: &Errno(libc::EAFNOSUPPORT as u16),
        },
    ),
    (
        libc::SYS_ioctl,
        Match {
            argument: 1,
            mask: WHOLE,
            cases: &[
                // Both type into a terminal as if its user had.
                (libc::TIOCSTI as u32, REFUSE),
                (libc::TIOCLINUX as u32, REFUSE),
                (FICLONE, Allow),
                (FICLONERANGE, Allow),
                (FIDEDUPERANGE, Allow),
            ],
            otherwise: &BTRFS,
        },
    ),
    // Linux, with or without address randomisation, 32-bit address spaces, and the question.
    (
        libc::SYS_personality,
        Match {
            argument: 0,
            mask: !(libc::ADDR_NO_RANDOMIZE as u32),
            cases: &[
                (0, Allow),
                (0x0008, Allow),
                (0x0002_0000, Allow),
                (0x0002_0008, Allow),
                (WHOLE & !(libc::ADDR_NO_RANDOMIZE as u32), Allow),
            ],
            otherwise: &REFUSE,
        },
    ),
];

/// Without `nesting`: threads and processes, but no namespaces. `clone3` keeps its flags in memory,
/// where a filter cannot look, so that it does not exist; the C library then uses `clone`.
const FLAT: &[(libc::c_long, Decision)] = &[
    (
        libc::SYS_clone,
        Match { argument: 0, mask: NAMESPACES as u32, cases: &[(0, Allow)], otherwise: &REFUSE },
    ),
    (libc::SYS_clone3, UNKNOWN),
];

/// With `nesting`: namespaces and mounts, for Docker, bubblewrap or systemd in the box.
const NESTING: &[libc::c_long] = &[
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// The highest number this version knows, `set_mempolicy_home_node`.
const LAST_KNOWN: u32 = 450;

/// What one kind of box may call.
#[derive(Debug, Clone)]
pub struct Policy {
    decisions: Vec<Decision>,
}

impl Policy {
    /// For a box with or without `nesting`.
    #[must_use]
    pub fn new(nesting: bool) -> Self {
        let mut policy = Self { decisions: vec![REFUSE; LAST_KNOWN as usize + 1] };
        ALLOWED.iter().copied().flatten().for_each(|number| policy.set(*number, Allow));
        CONDITIONAL.iter().for_each(|(number, decision)| policy.set(*number, *decision));
        ABSENT.iter().for_each(|number| policy.set(*number, UNKNOWN));
        if nesting {
            NESTING.iter().for_each(|number| policy.set(*number, Allow));
        } else {
            FLAT.iter().for_each(|(number, decision)| policy.set(*number, *decision));
        }
        policy
    }

    /// What becomes of the call with that number.
    #[must_use]
    pub fn decide(&self, number: u32) -> Decision {
        self.decisions.get(number as usize).copied().unwrap_or(UNKNOWN)
    }

    pub(super) const fn last_known(&self) -> u32 {
        LAST_KNOWN
    }

    fn set(&mut self, number: libc::c_long, decision: Decision) {
        let number = usize::try_from(number).expect("call numbers are not negative");
        self.decisions[number] = decision;
    }
}
