//! The seccomp filters of the processes in a jail (Documentation/userspace-api/seccomp_filter.rst), as instructions of classic
//! BPF (linux/filter.h): one for QEMU, one for gVisor and the helper that starts it.

/// `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// Bit that all system call numbers of the x32 ABI have.
const X32: u32 = 0x4000_0000;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
/// Result of calls that the filter does not list: ENOSYS, which programs and libraries handle, as on an older kernel.
const NOT_THERE: u32 = 0x0005_0000 | 38;

/// Condition on the lower half of one argument of a call: under `mask` it must equal one of `values`.
#[derive(Clone, Copy)]
struct Rule {
    number: u32,
    argument: u32,
    mask: u32,
    values: &'static [u32],
}

const EVERY_BIT: u32 = u32::MAX;
const AF_UNIX: u32 = 1;
const CLONE_VM: u32 = 0x100;
const CLONE_THREAD: u32 = 0x1_0000;
/// CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NEW: u32 =
    0x80 | 0x2_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;

/// Allows threads, but neither processes nor namespaces.
const CLONE: Rule =
    Rule { number: 56, argument: 0, mask: CLONE_VM | CLONE_THREAD | CLONE_NEW, values: &[CLONE_VM | CLONE_THREAD] };
/// Allows the process to change its own limits, which it can only lower.
const PRLIMIT64: Rule = Rule { number: 302, argument: 0, mask: EVERY_BIT, values: &[0] };
/// The minimum that starting a program and changing its identity need, and what QEMU sets for itself.
#[rustfmt::skip]
const PRCTL: Rule = Rule {
    number: 157,
    argument: 0,
    mask: EVERY_BIT,
    values: &[
        1, 2, // PDEATHSIG
        3, 4, // DUMPABLE
        7, 8, // KEEPCAPS
        15, 16, // NAME
        21, 22, // SECCOMP
        23, 24, // CAPBSET
        27, 28, // SECUREBITS
        29, 30, // TIMERSLACK
        33, // MCE_KILL: early notice of memory errors
        38, 39, // NO_NEW_PRIVS
        47, // CAP_AMBIENT
        0x5356_4d41, // SET_VMA, the name of memory
    ],
};
/// Ioctls, identified by their second byte: KVM's, and FIONBIO with those that ask whether a file is a terminal or a disk.
const IOCTL_KVM: Rule = Rule { number: 16, argument: 1, mask: 0xff00, values: &[0xae00] };
const IOCTL: Rule = Rule {
    number: 16,
    argument: 1,
    mask: EVERY_BIT,
    values: &[
        0x5401, // TCGETS
        0x541b, // FIONREAD
        0x5421, // FIONBIO
        0x5450,
        0x5451, // FIONCLEX, FIOCLEX
        0x1260,
        0x1268,
        0x127b,
        0x8008_1272, // sizes of disks
    ],
};
const SOCKET: Rule = Rule { number: 41, argument: 0, mask: EVERY_BIT, values: &[AF_UNIX] };
const SOCKETPAIR: Rule = Rule { number: 53, argument: 0, mask: EVERY_BIT, values: &[AF_UNIX] };
/// Calls that only read, use open descriptors, or concern the process itself (asm/unistd_64.h).
#[rustfmt::skip]
const COMMON: &[u32] = &[
    0, 1, 2, 3, 4, 5, 6, 7, 8, // read, write, open, close, stat, fstat, lstat, poll, lseek
    9, 10, 11, 12, 25, 28, // mmap, mprotect, munmap, brk, mremap, madvise
    13, 14, 15, 128, 130, 131, // rt_sigaction, _sigprocmask, _sigreturn, _sigtimedwait, _sigsuspend, sigaltstack
    17, 18, 19, 20, 295, 296, // pread64, pwrite64, readv, writev, preadv, pwritev
    21, 269, 439, // access, faccessat, faccessat2
    22, 293, 32, 33, 292, 72, // pipe, pipe2, dup, dup2, dup3, fcntl
    23, 270, 271, 232, 233, 281, 213, 291, // select, pselect6, ppoll, epoll_wait, _ctl, _pwait, _create, _create1
    24, 34, 35, 230, 219, // sched_yield, pause, nanosleep, clock_nanosleep, restart_syscall
    39, 110, 186, 111, 102, 104, 107, 108, 115, 118, 120, // getpid, getppid, gettid, getpgrp, getuid … getresgid
    42, 44, 45, 46, 47, 48, 51, 52, 54, 55, // connect, sendto, recvfrom, sendmsg, recvmsg, shutdown, names, options
    59, 60, 231, 61, 234, // execve, exit, exit_group, wait4, tgkill
    63, 79, 89, 267, 97, 98, 99, 100, // uname, getcwd, readlink, readlinkat, getrlimit, getrusage, sysinfo, times
    105, 106, 116, 117, 119, 125, 126, // setuid, setgid, setgroups, setresuid, setresgid, capget, capset
    137, 138, 217, 262, 332, // statfs, fstatfs, getdents64, newfstatat, statx
    143, 145, 146, 147, 204, 309, // sched_getparam, _getscheduler, _get_priority_max, _min, _getaffinity, getcpu
    158, 202, 218, 273, 274, 324, 334, // arch_prctl, futex, set_tid_address, robust lists, membarrier, rseq
    201, 228, 229, 96, // time, clock_gettime, clock_getres, gettimeofday
    257, // openat
    283, 286, 287, 282, 289, 284, 290, // timerfd_create, _settime, _gettime, signalfd, signalfd4, eventfd, eventfd2
    317, 318, // seccomp, getrandom
];

/// Calls that QEMU makes on its disk: fsync, fdatasync, ftruncate, fadvise64, sync_file_range, fallocate.
const DISK: &[u32] = &[74, 75, 77, 221, 277, 285];

/// Calls of gVisor's kernel, as its own filter allows them, and of runsc and the helper, which have no other filter.
#[rustfmt::skip]
const GVISOR: &[u32] = &[
    26, 27, 149, 150, 462, // msync, mincore, mlock, munlock, mseal
    38, 222, 223, 226, // setitimer, timer_create, _settime, _delete
    49, 50, 288, 299, 307, // bind, listen, accept4, recvmmsg, sendmmsg
    56, 62, 247, 297, 424, 434, // clone, kill, waitid, rt_tgsigqueueinfo, pidfd_send_signal, pidfd_open
    73, 80, 93, 95, 258, 266, 268, // flock, chdir, fchown, umask, mkdirat, symlinkat, fchmodat
    112, 140, 141, // setsid, getpriority, setpriority
    155, 165, 166, 308, // pivot_root, mount, umount2, setns: in its own namespaces
    276, 319, 326, 327, 328, // tee, memfd_create, copy_file_range, preadv2, pwritev2
];
/// Families of sockets: Unix, those whose ioctls configure interfaces, netlink, and the frames of an interface.
const GVISOR_SOCKET: Rule = Rule { number: 41, argument: 0, mask: EVERY_BIT, values: &[AF_UNIX, 2, 10, 16, 17] };
/// PR_SET_SYSCALL_USER_DISPATCH and PR_SET_PTRACER, besides those of `PRCTL`.
const GVISOR_PRCTL: Rule = Rule { number: 157, argument: 0, mask: EVERY_BIT, values: &[59, 0x5961_6d61] };
/// What gVisor does with the processes of its guest: continue, attach and detach, options, events, registers, signal masks.
const GVISOR_PTRACE: Rule = Rule {
    number: 101,
    argument: 0,
    mask: EVERY_BIT,
    values: &[7, 16, 17, 0x4200, 0x4201, 0x4202, 0x4204, 0x4205, 0x420a, 0x420b],
};
/// Ioctls of seccomp's notifications by their second byte, and those that configure an interface.
const GVISOR_NOTIFY: Rule = Rule { number: 16, argument: 1, mask: 0xff00, values: &[0x2100] };
const GVISOR_INTERFACE: Rule = Rule {
    number: 16,
    argument: 1,
    mask: EVERY_BIT,
    values: &[
        0x890b, // SIOCADDRT
        0x8914, 0x8916, 0x891c, 0x8922, 0x8924, // SIOCSIFFLAGS, IFADDR, IFNETMASK, IFMTU, IFHWADDR
        0x8933, // SIOCGIFINDEX
    ],
};

/// Returns the filter for gVisor and the first process in its jail.
pub fn gvisor() -> Vec<Instruction> {
    let rules = [PRLIMIT64, PRCTL, IOCTL, SOCKETPAIR];
    let own = [GVISOR_SOCKET, GVISOR_PRCTL, GVISOR_PTRACE, GVISOR_NOTIFY, GVISOR_INTERFACE];
    assemble(&[COMMON, DISK, GVISOR], &[&rules[..], &own[..]].concat())
}

/// Returns the filter for QEMU and the first process in its jail.
pub fn jail() -> Vec<Instruction> {
    assemble(&[COMMON, DISK], &[CLONE, PRLIMIT64, PRCTL, IOCTL_KVM, IOCTL, SOCKET, SOCKETPAIR])
}

/// Encodes the instructions as the kernel reads them.
pub fn bytes(filter: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(filter.len() * 8);
    for Instruction { code, if_true, if_false, value } in filter {
        bytes.extend(code.to_ne_bytes());
        bytes.extend([*if_true, *if_false]);
        bytes.extend(value.to_ne_bytes());
    }
    bytes
}

fn assemble(allowed: &[&[u32]], rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        step(LOAD, ARCHITECTURE),
        jump(JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        step(RETURN, KILL_PROCESS),
        step(LOAD, NUMBER),
        jump(JUMP_GREATER_OR_EQUAL, X32, 0, 1),
        step(RETURN, NOT_THERE),
    ];
    // First, because the kernel caches which calls are allowed regardless of their arguments.
    for rule in rules {
        program.extend(check(rule));
    }
    for number in allowed.iter().copied().flatten() {
        program.extend([jump(JUMP_EQUAL, *number, 0, 1), step(RETURN, ALLOW)]);
    }
    program.push(step(RETURN, NOT_THERE));
    program
}

/// Allows the call when its argument meets the condition; otherwise the instructions that follow decide.
fn check(rule: &Rule) -> Vec<Instruction> {
    let mut program = vec![step(LOAD, ARGUMENTS + 8 * rule.argument), step(AND, rule.mask)];
    for value in rule.values {
        program.extend([jump(JUMP_EQUAL, *value, 0, 1), step(RETURN, ALLOW)]);
    }
    program.push(step(LOAD, NUMBER));
    let mut all = vec![jump(JUMP_EQUAL, rule.number, 0, program.len() as u8)];
    all.append(&mut program);
    all
}

fn step(code: u16, value: u32) -> Instruction {
    jump(code, value, 0, 0)
}

fn jump(code: u16, value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls that neither filter allows, whatever their arguments.
    const REFUSED: &[(u32, &str)] = &[
        (57, "fork"),
        (76, "truncate"),
        (82, "rename"),
        (86, "link"),
        (90, "chmod"),
        (91, "fchmod"),
        (103, "syslog"),
        (132, "utime"),
        (164, "settimeofday"),
        (169, "reboot"),
        (175, "init_module"),
        (188, "setxattr"),
        (246, "kexec_load"),
        (248, "add_key"),
        (249, "request_key"),
        (250, "keyctl"),
        (272, "unshare"),
        (280, "utimensat"),
        (298, "perf_event_open"),
        (304, "open_by_handle_at"),
        (310, "process_vm_readv"),
        (311, "process_vm_writev"),
        (321, "bpf"),
        (323, "userfaultfd"),
        (425, "io_uring_setup"),
        (428, "open_tree"),
        (430, "fsopen"),
        (435, "clone3"),
        (437, "openat2"),
        (438, "pidfd_getfd"),
        (452, "fchmodat2"),
    ];

    /// Runs a filter on a call, as the kernel would.
    fn verdict(filter: &[Instruction], architecture: u32, number: u32, arguments: [u32; 3]) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let Instruction { code, if_true, if_false, value } = filter[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { if_true } else { if_false });
            match code {
                LOAD if value == NUMBER => loaded = number,
                LOAD if value == ARCHITECTURE => loaded = architecture,
                LOAD => loaded = arguments[((value - ARGUMENTS) / 8) as usize],
                AND => loaded &= value,
                JUMP_EQUAL => at += jump(loaded == value),
                JUMP_GREATER_OR_EQUAL => at += jump(loaded >= value),
                _ => return value,
            }
        }
    }

    fn allowed(number: u32, first: u32, second: u32) -> bool {
        verdict(&jail(), AUDIT_ARCH_X86_64, number, [first, second, 0]) == ALLOW
    }

    fn allowed_in_gvisor(number: u32, first: u32, second: u32) -> bool {
        verdict(&gvisor(), AUDIT_ARCH_X86_64, number, [first, second, 0]) == ALLOW
    }

    #[test]
    fn what_gvisor_needs_is_allowed_and_what_reaches_beyond_its_jail_is_not_there() {
        for number in COMMON.iter().chain(DISK).chain(GVISOR) {
            assert!(allowed_in_gvisor(*number, 0, 0), "{number}");
        }
        let [packet, alg, vsock, xdp] = [17, 38, 40, 44];
        assert!(allowed_in_gvisor(41, packet, 0));
        for family in [alg, vsock, xdp] {
            assert!(!allowed_in_gvisor(41, family, 0), "socket {family}");
        }
        assert!(allowed_in_gvisor(16, 9, 0xc050_2100), "SECCOMP_IOCTL_NOTIF_RECV");
        assert!(allowed_in_gvisor(16, 9, 0x8914), "SIOCSIFFLAGS");
        assert!(!allowed_in_gvisor(16, 9, 0xae80), "KVM_RUN");
        assert!(!allowed_in_gvisor(16, 0, 0x5412), "TIOCSTI");
        assert!(!allowed_in_gvisor(101, 5, 0), "PTRACE_POKEDATA");
        for (number, name) in REFUSED {
            assert_eq!(verdict(&gvisor(), AUDIT_ARCH_X86_64, *number, [0; 3]), NOT_THERE, "{name}");
        }
    }

    #[test]
    fn what_qemu_needs_is_allowed() {
        for number in COMMON.iter().chain(DISK) {
            assert!(allowed(*number, 0, 0), "{number}");
        }
        assert!(allowed(41, AF_UNIX, 0));
        assert!(allowed(56, 0x3d_0f00, 0), "a thread as glibc makes it");
        assert!(allowed(16, 9, 0xae80), "KVM_RUN");
    }

    #[test]
    fn what_reaches_beyond_the_jail_is_not_there() {
        let [inet, inet6, netlink, alg, vsock] = [2, 10, 16, 38, 40];
        for family in [inet, inet6, netlink, alg, vsock] {
            assert!(!allowed(41, family, 0), "socket {family}");
        }
        assert!(!allowed(56, 17, 0), "fork");
        assert!(!allowed(56, CLONE_VM | CLONE_THREAD | 0x1000_0000, 0), "a user namespace");
        assert!(!allowed(16, 0, 0x5412), "TIOCSTI");
        assert!(!allowed(157, 35, 0), "PR_SET_MM");
        let calls = [
            (58, "vfork"),
            (62, "kill"),
            (92, "chown"),
            (93, "fchown"),
            (101, "ptrace"),
            (165, "mount"),
            (268, "fchmodat"),
            (308, "setns"),
            (319, "memfd_create"),
            (322, "execveat"),
        ];
        for (number, name) in REFUSED.iter().chain(&calls) {
            assert_eq!(verdict(&jail(), AUDIT_ARCH_X86_64, *number, [0; 3]), NOT_THERE, "{name}");
        }
    }

    #[test]
    fn other_tables_of_calls_are_closed() {
        assert_eq!(verdict(&jail(), 0x4000_0003, 0, [0; 3]), KILL_PROCESS, "32 bits");
        assert_eq!(verdict(&jail(), AUDIT_ARCH_X86_64, X32, [0; 3]), NOT_THERE);
    }

    #[test]
    fn a_filter_fits_into_the_kernel() {
        assert!(jail().len() < 4096 && gvisor().len() < 4096);
        assert_eq!(bytes(&jail()).len(), jail().len() * 8);
    }
}
