//! The system calls the agent makes, with errors as `io::Error`. Declared by hand: no crate, nothing to download.

use std::ffi::{CStr, CString};
use std::io::{Error, ErrorKind, Result};
use std::os::raw::{c_char, c_int, c_long, c_ulong, c_void};
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};

pub const O_RDONLY: c_int = 0;
pub const O_RDWR: c_int = 2;
pub const O_NOCTTY: c_int = 0o400;
pub const O_NONBLOCK: c_int = 0o4000;
pub const O_CLOEXEC: c_int = 0o2000000;
#[cfg(target_arch = "x86_64")]
pub const O_DIRECTORY: c_int = 0o200000;
#[cfg(target_arch = "x86_64")]
pub const O_NOFOLLOW: c_int = 0o400000;
#[cfg(target_arch = "aarch64")]
pub const O_DIRECTORY: c_int = 0o40000;
#[cfg(target_arch = "aarch64")]
pub const O_NOFOLLOW: c_int = 0o100000;

pub const MS_RDONLY: c_ulong = 1;
pub const MS_NOSUID: c_ulong = 2;
pub const MS_NODEV: c_ulong = 4;
pub const MS_NOEXEC: c_ulong = 8;
pub const MS_NOATIME: c_ulong = 1024;
pub const MS_BIND: c_ulong = 4096;
pub const MS_MOVE: c_ulong = 8192;

pub const CLONE_VM: c_int = 0x100;
pub const CLONE_VFORK: c_int = 0x4000;
pub const CLONE_NEWNS: c_int = 0x20000;
pub const CLONE_NEWPID: c_int = 0x20000000;

pub const SIGKILL: c_int = 9;
pub const SIGCHLD: c_int = 17;

pub const ENOENT: i32 = 2;
pub const EIO: i32 = 5;
pub const EPIPE: i32 = 32;
pub const ENOEXEC: i32 = 8;
pub const ENOMEM: i32 = 12;
pub const EACCES: i32 = 13;
pub const ENOTDIR: i32 = 20;
pub const ELOOP: i32 = 40;
pub const ENODATA: i32 = 61;
pub const ENOTSUP: i32 = 95;

pub const POLLIN: i16 = 1;
pub const POLLOUT: i16 = 4;
pub const POLLHUP: i16 = 16;

pub const WNOHANG: c_int = 1;

pub const AT_FDCWD: c_int = -100;
pub const AT_SYMLINK_NOFOLLOW: c_int = 0x100;

pub const RLIM_INFINITY: u64 = u64::MAX;
pub const RLIMIT_STACK: c_int = 3;
pub const RLIMIT_CORE: c_int = 4;
pub const RLIMIT_NPROC: c_int = 6;
pub const RLIMIT_NOFILE: c_int = 7;
pub const RLIMIT_MEMLOCK: c_int = 8;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const FINIT_MODULE: i64 = 313;
    pub const CLONE: i64 = 56;
    pub const PIVOT_ROOT: i64 = 155;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const FINIT_MODULE: i64 = 273;
    pub const CLONE: i64 = 220;
    pub const PIVOT_ROOT: i64 = 41;
}
const OPEN_TREE: c_long = 428;
const MOVE_MOUNT: c_long = 429;
const PIDFD_OPEN: c_long = 434;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct PollFd {
    pub fd: RawFd,
    pub events: i16,
    pub revents: i16,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct TimeVal {
    pub sec: i64,
    pub usec: i64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct TimeSpec {
    pub sec: i64,
    pub nsec: i64,
}

/// `struct rusage`; the fields nobody reads are only there for their place.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub user: TimeVal,
    pub system: TimeVal,
    pub max_rss_kib: i64,
    pub shared: [i64; 3],
    pub minor_faults: i64,
    pub major_faults: i64,
    pub swaps: i64,
    pub blocks_in: i64,
    pub blocks_out: i64,
    pub messages: [i64; 3],
    pub voluntary_switches: i64,
    pub involuntary_switches: i64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct StatxTime {
    pub sec: i64,
    pub nsec: u32,
    _reserved: i32,
}

/// `struct statx`: the same on every architecture.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Statx {
    _mask: u32,
    _block_size: u32,
    _attributes: u64,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u16,
    _spare: u16,
    pub ino: u64,
    pub size: u64,
    pub blocks: u64,
    _attributes_mask: u64,
    _atime: StatxTime,
    _btime: StatxTime,
    _ctime: StatxTime,
    pub mtime: StatxTime,
    pub rdev_major: u32,
    pub rdev_minor: u32,
    _dev: [u32; 2],
    _rest: [u64; 14],
}

/// `struct statfs` of 64-bit Linux.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct StatFs {
    _kind: i64,
    pub block_size: i64,
    pub blocks: u64,
    pub blocks_free: u64,
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
    _rest: [u64; 8],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WinSize {
    pub rows: u16,
    pub columns: u16,
    pub pixels: [u16; 2],
}

extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void) -> c_int;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn openat(dir: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
    fn read(fd: c_int, buffer: *mut c_void, length: usize) -> isize;
    fn write(fd: c_int, buffer: *const c_void, length: usize) -> isize;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
    fn setns(fd: c_int, kind: c_int) -> c_int;
    fn sethostname(name: *const c_char, length: usize) -> c_int;
    fn clock_settime(clock: c_int, time: *const TimeSpec) -> c_int;
    fn signalfd(fd: c_int, mask: *const u64, flags: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const u64, old: *mut u64) -> c_int;
    fn wait4(pid: c_int, status: *mut c_int, options: c_int, usage: *mut Usage) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn clone(entry: extern "C" fn(*mut c_void) -> c_int, stack: *mut c_void, flags: c_int, argument: *mut c_void, ...) -> c_int;
    fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: u32, out: *mut Statx) -> c_int;
    fn statfs(path: *const c_char, out: *mut StatFs) -> c_int;
    fn getdents64(fd: c_int, buffer: *mut c_void, length: usize) -> isize;
    fn readlinkat(dir: c_int, path: *const c_char, buffer: *mut c_char, length: usize) -> isize;
    fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, length: usize) -> isize;
    fn fgetxattr(fd: c_int, name: *const c_char, value: *mut c_void, length: usize) -> isize;
    fn flistxattr(fd: c_int, list: *mut c_char, length: usize) -> isize;
    fn llistxattr(path: *const c_char, list: *mut c_char, length: usize) -> isize;
    fn setrlimit(resource: c_int, limits: *const [u64; 2]) -> c_int;
    fn sync();
    fn reboot(command: c_int) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    pub fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    pub fn kill(pid: c_int, signal: c_int) -> c_int;
    pub fn getpid() -> c_int;
    pub fn setsid() -> c_int;
    pub fn dup2(from: c_int, to: c_int) -> c_int;
    pub fn chdir(path: *const c_char) -> c_int;
    pub fn setgroups(count: usize, groups: *const u32) -> c_int;
    pub fn setgid(gid: u32) -> c_int;
    pub fn setuid(uid: u32) -> c_int;
    pub fn fchown(fd: c_int, uid: u32, gid: u32) -> c_int;
    fn signal(number: c_int, handler: usize) -> usize;
    pub fn execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    pub fn _exit(code: c_int) -> !;
    fn umask(mask: u32) -> u32;
}

/// The errno of the call that just failed.
pub fn errno() -> i32 {
    Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn check(result: c_int) -> Result<c_int> {
    if result < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_size(result: isize) -> Result<usize> {
    if result < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(result as usize)
    }
}

fn own(result: c_int) -> Result<OwnedFd> {
    // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Text as the C string a system call wants.
pub fn c(text: &[u8]) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(ErrorKind::InvalidInput, "a NUL byte in a name"))
}

pub fn open_at(dir: RawFd, path: &CStr, flags: c_int) -> Result<OwnedFd> {
    own(unsafe { openat(dir, path.as_ptr(), flags | O_CLOEXEC) })
}

pub fn open_path(path: &str, flags: c_int) -> Result<OwnedFd> {
    let path = c(path.as_bytes())?;
    own(unsafe { open(path.as_ptr(), flags | O_CLOEXEC) })
}

pub fn read_fd(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    check_size(unsafe { read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// Appends at most `limit` bytes to `out` without clearing the room for them first.
pub fn read_onto(fd: RawFd, out: &mut Vec<u8>, limit: usize) -> Result<usize> {
    out.reserve(limit);
    let end = out.len();
    // SAFETY: the room is reserved, and only what the kernel wrote becomes part of the vector.
    unsafe {
        let count = check_size(read(fd, out.as_mut_ptr().add(end).cast(), limit))?;
        out.set_len(end + count);
        Ok(count)
    }
}

pub fn write_fd(fd: RawFd, bytes: &[u8]) -> Result<usize> {
    check_size(unsafe { write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

/// Waits for any of the descriptors, at most `timeout_ms` (−1: for ever).
pub fn wait_for(fds: &mut [PollFd], timeout_ms: c_int) -> Result<()> {
    check(unsafe { poll(fds.as_mut_ptr(), fds.len() as c_ulong, timeout_ms) }).map(|_| ())
}

/// Says which step of a longer job failed.
pub fn told<T>(step: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| Error::new(error.kind(), format!("{step}: {error}")))
}

pub fn mount_fs(source: &str, target: &str, kind: &str, flags: c_ulong, data: &str) -> Result<()> {
    let (from, to, kind, data) = (c(source.as_bytes())?, c(target.as_bytes())?, c(kind.as_bytes())?, c(data.as_bytes())?);
    check(unsafe { mount(from.as_ptr(), to.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) })
        .map(|_| ())
        .map_err(|error| Error::new(error.kind(), format!("mount {source} on {target}: {error}")))
}

/// A private copy of the mount at `path`, attached nowhere yet.
pub fn open_tree(path: &str) -> Result<OwnedFd> {
    const OPEN_TREE_CLONE: c_int = 1;
    let path = c(path.as_bytes())?;
    own(unsafe { syscall(OPEN_TREE, AT_FDCWD, path.as_ptr(), OPEN_TREE_CLONE | O_CLOEXEC) } as c_int)
}

/// Attaches a mount from `open_tree` at `path`; a symbolic link there is followed.
pub fn attach(tree: &OwnedFd, path: &str) -> Result<()> {
    const FROM_EMPTY_PATH: c_int = 4;
    const TO_SYMLINKS: c_int = 0x10;
    let (from, to) = (c(b"")?, c(path.as_bytes())?);
    let flags = FROM_EMPTY_PATH | TO_SYMLINKS;
    check(unsafe { syscall(MOVE_MOUNT, tree.as_raw_fd(), from.as_ptr(), AT_FDCWD, to.as_ptr(), flags) } as c_int).map(|_| ())
}

/// Makes the mount at `path` the root of this mount namespace and of every process whose root was the old one, which is
/// gone afterwards.
pub fn pivot_root(path: &str) -> Result<()> {
    extern "C" {
        fn umount2(target: *const c_char, flags: c_int) -> c_int;
    }
    const MNT_DETACH: c_int = 2;
    change_directory(path)?;
    let here = c(b".")?;
    // Both on the same spot: the old root ends up on top of the new one, where it can be taken away.
    check(unsafe { syscall(number::PIVOT_ROOT as c_long, here.as_ptr(), here.as_ptr()) } as c_int)?;
    check(unsafe { umount2(here.as_ptr(), MNT_DETACH) }).map(|_| ())
}

pub fn change_root(path: &str) -> Result<()> {
    extern "C" {
        fn chroot(path: *const c_char) -> c_int;
    }
    let path = c(path.as_bytes())?;
    check(unsafe { chroot(path.as_ptr()) }).map(|_| ())
}

pub fn change_directory(path: &str) -> Result<()> {
    let path = c(path.as_bytes())?;
    check(unsafe { chdir(path.as_ptr()) }).map(|_| ())
}

/// Stops sharing the working and root directory with the kernel's own threads, as pid 1 does from the start.
pub fn own_directories() -> Result<()> {
    extern "C" {
        fn unshare(what: c_int) -> c_int;
    }
    const CLONE_FS: c_int = 0x200;
    check(unsafe { unshare(CLONE_FS) }).map(|_| ())
}

pub fn enter(fd: &OwnedFd, kinds: c_int) -> Result<()> {
    check(unsafe { setns(fd.as_raw_fd(), kinds) }).map(|_| ())
}

/// Like `enter`, for a child that must not own the descriptor.
pub fn enter_raw(fd: RawFd, kinds: c_int) -> c_int {
    unsafe { setns(fd, kinds) }
}

/// A pipe: read end, write end. Neither survives an exec.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    check(unsafe { pipe2(fds.as_mut_ptr(), O_CLOEXEC) })?;
    // SAFETY: pipe2 succeeded, so both are fresh descriptors.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

pub fn set_nonblocking(fd: &OwnedFd) -> Result<()> {
    extern "C" {
        fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    }
    const F_SETFL: c_int = 4;
    check(unsafe { fcntl(fd.as_raw_fd(), F_SETFL, O_NONBLOCK) }).map(|_| ())
}

pub fn load_module(file: &OwnedFd) -> Result<()> {
    check(unsafe { syscall(number::FINIT_MODULE as c_long, file.as_raw_fd(), b"\0".as_ptr(), 0) } as c_int).map(|_| ())
}

/// Copies this process into new namespaces: 0 in the child, its pid in the parent.
pub fn fork_into(namespaces: c_int) -> Result<c_int> {
    check(unsafe { syscall(number::CLONE as c_long, (namespaces | SIGCHLD) as c_ulong, 0, 0, 0, 0) } as c_int)
}

/// Runs `entry` in a child that borrows our memory while we stand still, until it execs or exits.
///
/// # Safety
/// `entry` must end in `execve` or `_exit` and leave our memory in a state we can go on with.
pub unsafe fn spawn(entry: extern "C" fn(*mut c_void) -> c_int, argument: *mut c_void) -> Result<c_int> {
    const STACK_BYTES: usize = 64 * 1024;
    let mut stack = Vec::<u128>::with_capacity(STACK_BYTES / 16);
    let top = stack.as_mut_ptr().add(STACK_BYTES / 16);
    check(clone(entry, top.cast(), CLONE_VM | CLONE_VFORK | SIGCHLD, argument))
}

pub fn open_pidfd(pid: c_int) -> Result<OwnedFd> {
    own(unsafe { syscall(PIDFD_OPEN, pid, 0) } as c_int)
}

pub fn set_host_name(name: &[u8]) -> Result<()> {
    check(unsafe { sethostname(name.as_ptr().cast(), name.len()) }).map(|_| ())
}

pub fn set_clock(unix_ns: u64) -> Result<()> {
    let time = TimeSpec { sec: (unix_ns / 1_000_000_000) as i64, nsec: (unix_ns % 1_000_000_000) as i64 };
    check(unsafe { clock_settime(0, &time) }).map(|_| ())
}

const SIG_BLOCK: c_int = 0;
const SIG_SETMASK: c_int = 2;

/// A descriptor that becomes readable when a child changed state; the signal itself is blocked.
pub fn child_signals() -> Result<OwnedFd> {
    let mask = [1u64 << (SIGCHLD - 1), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    check(unsafe { sigprocmask(SIG_BLOCK, mask.as_ptr(), std::ptr::null_mut()) })?;
    own(unsafe { signalfd(-1, mask.as_ptr(), O_NONBLOCK | O_CLOEXEC) })
}

/// Gives a child the signal state every program expects: nothing blocked, nothing ignored (Rust's runtime ignores SIGPIPE;
/// handlers do not survive the exec).
pub fn reset_signals() {
    const SIGPIPE: c_int = 13;
    let none = [0u64; 16];
    unsafe {
        signal(SIGPIPE, 0);
        sigprocmask(SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Children that end are forgotten by the kernel at once.
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

/// The next child that ended: pid, wait status, what it used. None when there is none now.
pub fn reap() -> Option<(c_int, c_int, Usage)> {
    let (mut status, mut usage) = (0, Usage::default());
    let pid = unsafe { wait4(-1, &mut status, WNOHANG, &mut usage) };
    if pid > 0 {
        Some((pid, status, usage))
    } else {
        None
    }
}

/// Waits until this child (−1: any) ended; its pid.
pub fn wait_end(pid: c_int) -> Result<c_int> {
    let mut status = 0;
    check(unsafe { waitpid(pid, &mut status, 0) })
}

pub fn stat_at(dir: RawFd, name: &CStr) -> Result<Statx> {
    const BASIC: u32 = 0x7ff;
    let mut out = Statx::default();
    check(unsafe { statx(dir, name.as_ptr(), AT_SYMLINK_NOFOLLOW, BASIC, &mut out) })?;
    Ok(out)
}

pub fn stat_fs(path: &str) -> Result<StatFs> {
    let (path, mut out) = (c(path.as_bytes())?, StatFs::default());
    check(unsafe { statfs(path.as_ptr(), &mut out) })?;
    Ok(out)
}

pub fn read_entries(dir: RawFd, buffer: &mut [u8]) -> Result<usize> {
    check_size(unsafe { getdents64(dir, buffer.as_mut_ptr().cast(), buffer.len()) })
}

pub fn read_link(dir: RawFd, name: &CStr) -> Result<Vec<u8>> {
    let mut target = vec![0u8; 4096];
    let length = check_size(unsafe { readlinkat(dir, name.as_ptr(), target.as_mut_ptr().cast(), target.len()) })?;
    target.truncate(length);
    Ok(target)
}

/// Whose extended attributes are asked for: an open file's, or those of the thing at a path itself.
pub enum Subject {
    Open(RawFd),
    At(CString),
}

/// Value of an extended attribute; None when there is none of that name.
pub fn get_xattr(subject: &Subject, name: &CStr) -> Result<Option<Vec<u8>>> {
    let mut value = vec![0u8; 65_536];
    let (room, length) = (value.as_mut_ptr().cast(), value.len());
    let result = match subject {
        Subject::Open(fd) => unsafe { fgetxattr(*fd, name.as_ptr(), room, length) },
        Subject::At(path) => unsafe { lgetxattr(path.as_ptr(), name.as_ptr(), room, length) },
    };
    match check_size(result) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(error) if matches!(error.raw_os_error(), Some(ENODATA) | Some(ENOTSUP)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Names of the extended attributes, each ended by NUL, in the caller's buffer.
pub fn list_xattrs(subject: &Subject, names: &mut [u8]) -> Result<usize> {
    let (room, length) = (names.as_mut_ptr().cast(), names.len());
    let result = match subject {
        Subject::Open(fd) => unsafe { flistxattr(*fd, room, length) },
        Subject::At(path) => unsafe { llistxattr(path.as_ptr(), room, length) },
    };
    match check_size(result) {
        Err(error) if error.raw_os_error() == Some(ENOTSUP) => Ok(0),
        other => other,
    }
}

pub fn change_owner(path: &CStr, uid: u32, gid: u32) -> Result<()> {
    extern "C" {
        fn lchown(path: *const c_char, uid: u32, gid: u32) -> c_int;
    }
    check(unsafe { lchown(path.as_ptr(), uid, gid) }).map(|_| ())
}

/// Sets the modification time and leaves the access time alone.
pub fn set_mtime(path: &CStr, sec: i64, nsec: i64) -> Result<()> {
    extern "C" {
        fn utimensat(dir: c_int, path: *const c_char, times: *const TimeSpec, flags: c_int) -> c_int;
    }
    const UTIME_OMIT: i64 = (1 << 30) - 2;
    let times = [TimeSpec { sec: 0, nsec: UTIME_OMIT }, TimeSpec { sec, nsec }];
    check(unsafe { utimensat(AT_FDCWD, path.as_ptr(), times.as_ptr(), AT_SYMLINK_NOFOLLOW) }).map(|_| ())
}

pub fn set_limit(resource: c_int, soft: u64, hard: u64) -> Result<()> {
    check(unsafe { setrlimit(resource, &[soft, hard]) }).map(|_| ())
}

pub fn set_umask(mask: u32) {
    unsafe { umask(mask) };
}

/// Any socket will do: it only carries the ioctls that configure interfaces.
pub fn control_socket(domain: c_int) -> Result<OwnedFd> {
    const SOCK_DGRAM_CLOEXEC: c_int = 2 | O_CLOEXEC;
    own(unsafe { socket(domain, SOCK_DGRAM_CLOEXEC, 0) })
}

/// An ioctl whose argument points to a value.
pub fn control<T>(fd: &OwnedFd, request: c_ulong, value: &mut T) -> Result<c_int> {
    check(unsafe { ioctl(fd.as_raw_fd(), request, value as *mut T) })
}

/// An ioctl whose argument is a number.
pub fn control_number(fd: &OwnedFd, request: c_ulong, value: c_ulong) -> Result<c_int> {
    check(unsafe { ioctl(fd.as_raw_fd(), request, value) })
}

pub fn sync_disks() {
    unsafe { sync() };
}

/// Turns the machine off. Returns only when the kernel will not.
pub fn power_off() {
    const RB_POWER_OFF: c_int = 0x4321_fedc;
    unsafe { reboot(RB_POWER_OFF) };
}
