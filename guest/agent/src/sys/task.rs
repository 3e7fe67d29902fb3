//! Processes, signals, limits, and the machine as a whole.

use super::*;

extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn sethostname(name: *const c_char, length: usize) -> c_int;
    fn clock_settime(clock: c_int, time: *const TimeSpec) -> c_int;
    fn clock_gettime(clock: c_int, time: *mut TimeSpec) -> c_int;
    fn signalfd(fd: c_int, mask: *const u64, flags: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const u64, old: *mut u64) -> c_int;
    fn wait4(pid: c_int, status: *mut c_int, options: c_int, usage: *mut Usage) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn clone(
        entry: extern "C" fn(*mut c_void) -> c_int,
        stack: *mut c_void,
        flags: c_int,
        argument: *mut c_void,
        ...
    ) -> c_int;
    fn waitid(kind: c_int, id: c_int, info: *mut c_int, options: c_int) -> c_int;
    fn ptrace(request: c_long, pid: c_int, address: c_ulong, data: c_ulong) -> c_long;
    fn setrlimit(resource: c_int, limits: *const [u64; 2]) -> c_int;
    fn reboot(command: c_int) -> c_int;
    fn signal(number: c_int, handler: usize) -> usize;
    fn umask(mask: u32) -> u32;
    fn sched_setaffinity(pid: c_int, bytes: usize, mask: *const u64) -> c_int;
    pub fn kill(pid: c_int, signal: c_int) -> c_int;
    pub fn getpid() -> c_int;
    pub fn setsid() -> c_int;
    pub fn dup2(from: c_int, to: c_int) -> c_int;
    pub fn chdir(path: *const c_char) -> c_int;
    pub fn setgroups(count: usize, groups: *const u32) -> c_int;
    pub fn setgid(gid: u32) -> c_int;
    pub fn setuid(uid: u32) -> c_int;
    pub fn fchown(fd: c_int, uid: u32, gid: u32) -> c_int;
    pub fn execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    pub fn _exit(code: c_int) -> !;
}

/// Forks this process into new namespaces. Returns 0 in the child and its pid in the parent.
pub fn fork_into(namespaces: c_int) -> Result<c_int> {
    check(unsafe { syscall(number::CLONE as c_long, (namespaces | SIGCHLD) as c_ulong, 0, 0, 0, 0) } as c_int)
}

/// Runs `entry` in a child that shares the memory of this process, which is suspended until the child execs or exits.
///
/// # Safety
/// `entry` must end in `execve` or `_exit` and leave the shared memory in a state with which this process can continue.
pub unsafe fn spawn(entry: extern "C" fn(*mut c_void) -> c_int, argument: *mut c_void) -> Result<c_int> {
    const STACK_BYTES: usize = 64 * 1024;
    let mut stack = Vec::<u128>::with_capacity(STACK_BYTES / 16);
    let top = stack.as_mut_ptr().add(STACK_BYTES / 16);
    check(clone(entry, top.cast(), CLONE_VM | CLONE_VFORK | SIGCHLD, argument))
}

pub fn open_pidfd(pid: c_int) -> Result<OwnedFd> {
    own(unsafe { syscall(PIDFD_OPEN, pid, 0) } as c_int)
}

/// Closes every descriptor of a process that goes on without any.
pub fn close_all() {
    const CLOSE_RANGE: c_long = 436;
    unsafe { syscall(CLOSE_RANGE, 0 as c_ulong, c_int::MAX as c_ulong, 0 as c_ulong) };
}

/// Limits this process and those that it starts to the first `count` processors.
pub fn keep_to_processors(count: usize) -> Result<()> {
    let mut mask = [0u64; 16];
    for number in 0..count.min(64 * mask.len()) {
        mask[number / 64] |= 1 << (number % 64);
    }
    check(unsafe { sched_setaffinity(0, std::mem::size_of_val(&mask), mask.as_ptr()) }).map(|_| ())
}

pub fn set_host_name(name: &[u8]) -> Result<()> {
    check(unsafe { sethostname(name.as_ptr().cast(), name.len()) }).map(|_| ())
}

pub fn set_clock(unix_ns: u64) -> Result<()> {
    let time = TimeSpec { sec: (unix_ns / 1_000_000_000) as i64, nsec: (unix_ns % 1_000_000_000) as i64 };
    check(unsafe { clock_settime(0, &time) }).map(|_| ())
}

/// Returns seconds and nanoseconds of the clock from which the kernel takes the times of files.
pub fn coarse_time() -> Result<(i64, i64)> {
    const REALTIME_COARSE: c_int = 5;
    let mut time = TimeSpec::default();
    check(unsafe { clock_gettime(REALTIME_COARSE, &mut time) })?;
    Ok((time.sec, time.nsec))
}

const SIG_BLOCK: c_int = 0;

const SIG_SETMASK: c_int = 2;

/// Returns a descriptor that becomes readable when a child changes state, and blocks the signal itself.
pub fn child_signals() -> Result<OwnedFd> {
    let mask = [1u64 << (SIGCHLD - 1), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    check(unsafe { sigprocmask(SIG_BLOCK, mask.as_ptr(), std::ptr::null_mut()) })?;
    own(unsafe { signalfd(-1, mask.as_ptr(), O_NONBLOCK | O_CLOEXEC) })
}

/// Gives a child the signal state that programs expect: no signal is blocked or ignored. Rust's runtime ignores SIGPIPE;
/// the exec resets handlers.
pub fn reset_signals() {
    const SIGPIPE: c_int = 13;
    let none = [0u64; 16];
    unsafe {
        signal(SIGPIPE, 0);
        sigprocmask(SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Has the kernel reap children as soon as they end.
pub fn ignore_children() {
    const SIG_IGN: usize = 1;
    unsafe { signal(SIGCHLD, SIG_IGN) };
}

/// Sleeps until a signal is handled.
pub fn pause_here() {
    extern "C" {
        fn pause() -> c_int;
    }
    unsafe { pause() };
}

/// Reaps the next child that has ended. Returns its pid, wait status and resource use, or None when there is none now.
pub fn reap() -> Option<(c_int, c_int, Usage)> {
    let (mut status, mut usage) = (0, Usage::default());
    loop {
        let pid = unsafe { wait4(-1, &mut status, WNOHANG | WALL, &mut usage) };
        if pid <= 0 {
            return None;
        }
        if status & 0xff != STOPPED {
            return Some((pid, status, usage));
        }
        // A thread that a snapshot did not wait for has stopped now.
        release_task(pid, if status >> 16 == 0 { status >> 8 } else { 0 });
    }
}

const WALL: c_int = 0x4000_0000;
/// Lowest byte of the wait status of a thread that has stopped.
const STOPPED: c_int = 0x7f;

/// Begins to trace a thread and tells it to stop. Nobody but the tracer learns of it.
pub fn seize_task(id: c_int) -> Result<()> {
    const SEIZE: c_long = 0x4206;
    const INTERRUPT: c_long = 0x4207;
    check(unsafe { ptrace(SEIZE, id, 0, 0) } as c_int)?;
    check(unsafe { ptrace(INTERRUPT, id, 0, 0) } as c_int).map(|_| ())
}

/// Ends the tracing of a thread that has stopped, and delivers the signal that it was about to receive, if not 0.
pub fn release_task(id: c_int, signal: c_int) {
    const DETACH: c_long = 17;
    unsafe { ptrace(DETACH, id, 0, signal as c_ulong) };
}

/// Returns the signal that a traced thread was about to receive, or 0, if it has stopped. Reaps nothing.
pub fn stop_of(id: c_int) -> Option<c_int> {
    const BY_PID: c_int = 1;
    const WSTOPPED: c_int = 2;
    const GET_SIGNAL: c_long = 0x4202;
    const EVENT_STOP: c_int = 128;
    /// Of `siginfo_t` on 64-bit machines: the first field, and `si_status`.
    const NUMBER: usize = 0;
    const STATUS: usize = 6;
    let mut info = [0 as c_int; 32];
    let result = unsafe { waitid(BY_PID, id, info.as_mut_ptr(), WSTOPPED | WNOHANG | WALL) };
    if result < 0 || info[NUMBER] == 0 {
        return None;
    }
    // Linux has an event of the tracer in the second byte of the status; gVisor has only the event, from 128 on, or 0.
    if info[STATUS] >= EVENT_STOP {
        return Some(0);
    }
    let mut signal = [0 as c_int; 32];
    let known = unsafe { ptrace(GET_SIGNAL, id, 0, signal.as_mut_ptr() as c_ulong) } == 0;
    Some(if known { signal[NUMBER] } else { 0 })
}

/// Waits until this child (−1: any) has ended. Returns its pid.
pub fn wait_end(pid: c_int) -> Result<c_int> {
    let mut status = 0;
    check(unsafe { waitpid(pid, &mut status, 0) })
}

pub fn set_limit(resource: c_int, soft: u64, hard: u64) -> Result<()> {
    check(unsafe { setrlimit(resource, &[soft, hard]) }).map(|_| ())
}

pub fn set_umask(mask: u32) {
    unsafe { umask(mask) };
}

/// Powers the machine off. Returns only when the kernel refuses.
pub fn power_off() {
    const RB_POWER_OFF: c_int = 0x4321_fedc;
    unsafe { reboot(RB_POWER_OFF) };
}
