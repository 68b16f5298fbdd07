"""The default seccomp profile: what Docker's allows, as a compact table.

System calls that a container has no business with (loading modules, kexec, new mounts or namespaces without
the capability) fail with EPERM. What a capability opens is listed beside it. Names that this machine's
libseccomp does not know are skipped by the runtime. Source: the profile that the moby project publishes
(module github.com/moby/profiles/seccomp v0.1).
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

ALLOWED = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair

    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
    faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32
    fchownat fcntl fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
    ftruncate64 futimesat getcwd getdents getdents64 ioctl lchown lchown32 link linkat listmount _llseek lseek
    lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pread64 preadv
    preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename renameat renameat2 rmdir
    sendfile sendfile64 splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync
    sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64
    utimes vmsplice write writev

    fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr
    lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat

    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
    io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect pipe pipe2 poll ppoll
    ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4

    brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall
    mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
    process_mrelease remap_file_pages

    execve execveat exit exit_group fork vfork getpgid getpgrp getpid getppid getsid gettid kill pause
    pidfd_open pidfd_send_signal prctl rseq setpgid setsid tgkill tkill wait4 waitid waitpid set_tid_address
    get_robust_list set_robust_list get_thread_area set_thread_area uretprobe riscv_hwprobe

    capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid
    getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
    setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
    setuid setuid32

    alarm restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn

    adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times

    futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake ipc mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv
    msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget

    getcpu getpriority getrandom getrlimit getrusage ioprio_get ioprio_set prlimit64 sched_getaffinity
    sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield setpriority setrlimit sysinfo ugetrlimit uname

    landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp

    process_vm_readv process_vm_writev ptrace
"""

BY_CAPABILITY = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": """bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
    lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
        quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare""",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}

# By `uname -m`: the runtime's names for the architecture and those it also runs, and the calls that only it
# has.
MACHINES = {
    "x86_64": (["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "arch_prctl modify_ldt"),
    "aarch64": (
        ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    "riscv64": (["SCMP_ARCH_RISCV64"], "riscv_flush_icache"),
    "ppc64le": (["SCMP_ARCH_PPC64LE"], "sync_file_range2 swapcontext"),
    "s390x": (
        ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
        "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    ),
}

AF_VSOCK = 40
ENOSYS = 38
NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET
PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)


def default(capabilities: Collection[str], machine: str) -> dict[str, Any]:
    """The profile in the OCI runtime specification's form, for a container with these capabilities on `uname -m`.

    On a machine that the table does not know the architectures are left to the runtime.
    """
    return _default(frozenset(capabilities) & frozenset(BY_CAPABILITY), machine)


@cache
def _default(capabilities: frozenset[str], machine: str) -> dict[str, Any]:
    architectures, own = MACHINES.get(machine, ([], ""))
    names = ALLOWED.split() + own.split()
    for capability in sorted(capabilities):
        names += BY_CAPABILITY[capability].split()
    rules = [_allow(sorted(set(names))), _allow(["socket"], 0, AF_VSOCK, "SCMP_CMP_NE")]
    rules += [_allow(["personality"], 0, value, "SCMP_CMP_EQ") for value in PERSONALITIES]
    if "CAP_SYS_ADMIN" not in capabilities:
        # The flags are clone's first argument, on s390 its second. clone3 keeps them in memory, where no
        # filter sees them: "no such call" makes C libraries fall back to clone.
        flags = 1 if machine.startswith("s390") else 0
        rules.append(_allow(["clone"], flags, NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ", second=0))
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS})
    profile: dict[str, Any] = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": rules}
    return {**profile, "architectures": architectures} if architectures else profile


def _allow(names: list[str], index: int = 0, value: int = 0, op: str = "", second: int = 0) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": names, "action": "SCMP_ACT_ALLOW"}
    if op:
        rule["args"] = [{"index": index, "value": value, "valueTwo": second, "op": op}]
    return rule
