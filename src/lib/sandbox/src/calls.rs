//! System calls in groups, each with its reason. What a call's arguments may be stands in `filter`.

use nix::libc::{self, c_long};

/// System calls that belong together.
#[derive(Debug)]
pub struct Group {
    /// What they are for.
    pub why: &'static str,
    /// Their numbers.
    pub calls: &'static [c_long],
}

pub(crate) static MEMORY: Group = Group {
    why: "the allocator; pages that are writable are never executable",
    calls: &[
        libc::SYS_brk,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_membarrier,
    ],
};

pub(crate) static LIBRARIES: Group = Group {
    why: "loading a program and its libraries: what is a file may be executable",
    calls: &[
        libc::SYS_execve,
        libc::SYS_set_tid_address,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_arch_prctl,
    ],
};

pub(crate) static THREADS: Group = Group {
    why: "threads for what blocks, waiting for them, and letting others go before a long computation",
    calls: &[
        libc::SYS_clone,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_set_tid_address,
    ],
};

pub(crate) static SIGNALS: Group = Group {
    why: "being told to end, and ending; a panic aborts by a signal to itself",
    calls: &[
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
        libc::SYS_sigaltstack,
        libc::SYS_tgkill,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ],
};

pub(crate) static TIME: Group = Group {
    why: "what time it is, and waiting",
    calls: &[
        libc::SYS_clock_gettime,
        libc::SYS_clock_getres,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_gettimeofday,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_time,
    ],
};

pub(crate) static FILES: Group = Group {
    why: "reading and writing what is open; landlock says what may be opened",
    calls: &[
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_pread64,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_pwrite64,
        libc::SYS_lseek,
        libc::SYS_close,
        libc::SYS_openat,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_fstatfs,
        libc::SYS_statfs,
        libc::SYS_getdents64,
        libc::SYS_readlinkat,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_getcwd,
        libc::SYS_fcntl,
        libc::SYS_ioctl,
        libc::SYS_dup,
        libc::SYS_fadvise64,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_stat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lstat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_access,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_readlink,
    ],
};

pub(crate) static CHANGES: Group = Group {
    why: "making, changing and removing files; landlock says where",
    calls: &[
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_ftruncate,
        libc::SYS_fallocate,
        libc::SYS_flock,
        libc::SYS_msync,
        libc::SYS_unlinkat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_renameat,
        #[cfg(target_arch = "aarch64")]
        38, // renameat, which the libc crate does not name there
        libc::SYS_renameat2,
        libc::SYS_mkdirat,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_fchown,
        libc::SYS_utimensat,
        libc::SYS_umask,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mkdir,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rmdir,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chmod,
    ],
};

pub(crate) static EVENTS: Group = Group {
    why: "waiting for several things at once",
    calls: &[
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_eventfd2,
        libc::SYS_pipe2,
        libc::SYS_ppoll,
        libc::SYS_pselect6,
        libc::SYS_futex,
        libc::SYS_set_robust_list,
        libc::SYS_get_robust_list,
        libc::SYS_rseq,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_create,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_pipe,
    ],
};

pub(crate) static SOCKETS: Group = Group {
    why: "accepting on what was handed over, connecting to the others",
    calls: &[
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_getsockname,
        libc::SYS_getpeername,
        libc::SYS_getsockopt,
        libc::SYS_setsockopt,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_recvmmsg,
        libc::SYS_shutdown,
    ],
};

pub(crate) static LISTENERS: Group = Group {
    why: "listening on a socket of its own; the resolver binds, too",
    calls: &[libc::SYS_bind, libc::SYS_listen],
};

pub(crate) static SELF: Group = Group {
    why: "who it is and what it may use",
    calls: &[
        libc::SYS_getpid,
        libc::SYS_getppid,
        libc::SYS_gettid,
        libc::SYS_getuid,
        libc::SYS_geteuid,
        libc::SYS_getgid,
        libc::SYS_getegid,
        libc::SYS_uname,
        libc::SYS_sysinfo,
        libc::SYS_getrusage,
        libc::SYS_prlimit64,
        libc::SYS_getrandom,
        libc::SYS_getcpu,
        libc::SYS_prctl,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_getrlimit,
    ],
};

pub(crate) static TUNNEL: Group = Group {
    why: "what openvpn does beside: its priority, its memory's limit, its session",
    calls: &[
        libc::SYS_getresuid,
        libc::SYS_getresgid,
        libc::SYS_getgroups,
        libc::SYS_capget,
        libc::SYS_times,
        libc::SYS_chdir,
        libc::SYS_dup3,
        libc::SYS_sched_getaffinity,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_dup2,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_getpgrp,
    ],
};

pub(crate) static SPYING: Group = Group {
    why: "looking into other processes, or taking their descriptors",
    calls: &[
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
    ],
};

pub(crate) static KERNEL: Group = Group {
    why: "changing the kernel or the machine itself",
    calls: &[
        libc::SYS_bpf,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_kexec_file_load,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_syslog,
        libc::SYS_acct,
        libc::SYS_sethostname,
        libc::SYS_setdomainname,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_iopl,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_ioperm,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_modify_ldt,
    ],
};

pub(crate) static CLOCKS: Group = Group {
    why: "setting the clock",
    calls: &[libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_adjtimex, libc::SYS_clock_adjtime],
};

pub(crate) static KEYS: Group =
    Group { why: "the kernel's keyrings", calls: &[libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl] };

pub(crate) static EXOTIC: Group = Group {
    why: "what only attackers would call from here: other roots, files by handle, calls that pass filters by",
    calls: &[
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_clone3, // its flags are behind a pointer; who calls it takes clone instead
        libc::SYS_open_by_handle_at,
        libc::SYS_name_to_handle_at,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_quotactl,
        libc::SYS_vhangup,
        libc::SYS_personality,
        libc::SYS_fanotify_init,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_mount_setattr,
        libc::SYS_memfd_secret,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_uselib,
    ],
};
