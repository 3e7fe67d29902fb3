//! System calls of the helper, with errors as `io::Error`. They are declared by hand, so that the build downloads no crate.

use std::ffi::CString;
use std::fs::File;
use std::io::{Error, Result};
use std::os::raw::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;

const SYS_PTRACE: c_long = 101;
const SYS_CAPGET: c_long = 125;
const SYS_CAPSET: c_long = 126;
const SYS_KEYCTL: c_long = 250;
const SYS_UNSHARE: c_long = 272;
const SYS_SECCOMP: c_long = 317;
const SYS_MEMFD_CREATE: c_long = 319;
const SYS_CLOSE_RANGE: c_long = 436;

const F_DUPFD_CLOEXEC: c_int = 1030;
const F_ADD_SEALS: c_int = 1033;
/// F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_WRITE.
const EVERY_SEAL: c_int = 15;
const SEEK_DATA: c_int = 3;
const SEEK_HOLE: c_int = 4;
const ENXIO: i32 = 6;
const ENOSYS: i32 = 38;
const KEYCTL_JOIN_SESSION_KEYRING: c_ulong = 1;
const KEYCTL_READ: c_ulong = 11;
/// KEY_SPEC_SESSION_KEYRING.
const SESSION_KEYRING: c_long = -3;
const PR_SET_PDEATHSIG: c_int = 1;
const PR_CAPBSET_READ: c_int = 23;
const PR_CAPBSET_DROP: c_int = 24;
/// _LINUX_CAPABILITY_VERSION_3: sets of 64 bits in two halves.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
const SIGKILL: c_ulong = 9;

pub const MFD_CLOEXEC: c_uint = 1;
pub const MFD_ALLOW_SEALING: c_uint = 2;

#[repr(C)]
struct Limit {
    soft: u64,
    hard: u64,
}

extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn bind(socket: c_int, address: *const c_void, length: c_uint) -> c_int;
    fn setsockopt(socket: c_int, level: c_int, option: c_int, value: *const c_void, length: c_uint) -> c_int;
    fn if_nametoindex(name: *const c_char) -> c_uint;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_char,
    ) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn lseek(fd: c_int, offset: i64, whence: c_int) -> i64;
    fn prctl(option: c_int, value: c_ulong) -> c_int;
    fn getppid() -> c_int;
    #[link_name = "fork"]
    fn c_fork() -> c_int;
    fn setrlimit(resource: c_uint, limit: *const Limit) -> c_int;
    fn setgroups(count: usize, groups: *const c_uint) -> c_int;
    fn setresgid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn setresuid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
}

const F_SETFD: c_int = 2;
const FD_CLOEXEC: c_int = 1;
const MNT_DETACH: c_int = 2;

fn check(result: c_long) -> Result<c_long> {
    if result < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Creates a file in memory (memfd_create(2)).
pub fn memory_file(flags: c_uint) -> Result<File> {
    let name = b"contree\0".as_ptr() as *const c_char;
    // SAFETY: the name ends with NUL; the kernel returns a new descriptor that nothing else owns.
    unsafe { check(syscall(SYS_MEMFD_CREATE, name, flags)).map(|fd| File::from_raw_fd(fd as c_int)) }
}

/// Seals the file against writing, shrinking, growing and removal of the seals.
pub fn seal(file: &File) -> Result<()> {
    // SAFETY: changes flags of a descriptor that is open.
    unsafe { check(fcntl(file.as_raw_fd(), F_ADD_SEALS, EVERY_SEAL).into()).map(drop) }
}

/// Returns start and end of the first stretch of data at or after `from`, or None when only a hole follows.
pub fn next_data(file: &File, from: i64) -> Result<Option<(i64, i64)>> {
    // SAFETY: moves the position of a descriptor that is open.
    let seek = |offset, whence| unsafe { check(lseek(file.as_raw_fd(), offset, whence)) };
    match seek(from, SEEK_DATA) {
        Err(error) if error.raw_os_error() == Some(ENXIO) => Ok(None),
        Err(error) => Err(error),
        Ok(start) => Ok(Some((start, seek(start, SEEK_HOLE)?))),
    }
}

/// Lets the program that this process executes inherit a file. Returns its descriptor.
pub fn keep_open(file: File) -> Result<c_int> {
    let fd = file.into_raw_fd();
    // SAFETY: changes a flag of a descriptor that is open.
    unsafe { check(fcntl(fd, F_SETFD, 0 as c_int).into())? };
    Ok(fd)
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: c_uint) -> Result<()> {
    // SAFETY: nothing in this program owns one of them.
    unsafe { check(syscall(SYS_CLOSE_RANGE, first, c_uint::MAX, 0 as c_uint)).map(drop) }
}

/// Joins a new session keyring and reports whether it is empty according to the kernel (keyctl(2)). A kernel without
/// keyrings has no keys to hide.
pub fn join_empty_keyring() -> bool {
    let nothing = std::ptr::null::<u8>();
    // SAFETY: no name is given, so nothing is read; no buffer is given, so that only the size of the content comes back.
    let bytes = unsafe {
        check(syscall(SYS_KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, nothing))
            .and_then(|_| check(syscall(SYS_KEYCTL, KEYCTL_READ, SESSION_KEYRING, nothing, 0 as c_ulong)))
    };
    match bytes {
        Ok(size) => size == 0,
        Err(error) => error.raw_os_error() == Some(ENOSYS),
    }
}

/// Has the kernel kill this process when its parent ends. This also holds for the program that it executes, as long as
/// neither changes its user.
pub fn die_with_parent() -> Result<()> {
    // SAFETY: sets a number of the process.
    unsafe { check(prctl(PR_SET_PDEATHSIG, SIGKILL).into()).map(drop) }
}

/// Returns the process id of the parent, or 0 when it is outside the PID namespace.
pub fn parent() -> i64 {
    // SAFETY: only reads a number of the process.
    unsafe { getppid().into() }
}

/// Takes ownership of a descriptor that this program inherited.
pub fn inherited(fd: c_int) -> File {
    // SAFETY: nothing else in this program uses that descriptor; a descriptor that is not open only causes errors.
    unsafe { File::from_raw_fd(fd) }
}

pub fn limit(resource: c_uint, value: u64) -> Result<()> {
    let both = Limit { soft: value, hard: value };
    // SAFETY: the kernel reads the structure during the call.
    unsafe { check(setrlimit(resource, &both).into()).map(drop) }
}

/// Changes permanently to a user with a single group.
pub fn become_user(uid: c_uint, gid: c_uint) -> Result<()> {
    // SAFETY: the list of groups is empty, so nothing is read.
    unsafe {
        check(setgroups(0, std::ptr::null()).into())?;
        check(setresgid(gid, gid, gid).into())?;
        check(setresuid(uid, uid, uid).into()).map(drop)
    }
}

/// Adds the name of the step that failed to an error.
pub fn told<T>(step: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| Error::new(error.kind(), format!("{step}: {error}")))
}

/// Opens a socket for the ioctls that configure interfaces. Any kind of socket can carry them.
pub fn control_socket(domain: c_int) -> Result<OwnedFd> {
    const SOCK_DGRAM: c_int = 2;
    open_socket(domain, SOCK_DGRAM, 0)
}

pub fn open_socket(domain: c_int, kind: c_int, protocol: c_int) -> Result<OwnedFd> {
    const SOCK_CLOEXEC: c_int = 0o2000000;
    // SAFETY: the kernel just made the descriptor, and nothing else owns it.
    unsafe { check(socket(domain, kind | SOCK_CLOEXEC, protocol).into()).map(|fd| OwnedFd::from_raw_fd(fd as c_int)) }
}

/// Binds a socket to an address in the kernel's layout.
pub fn bind_socket(socket: &OwnedFd, address: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads the address during the call.
    unsafe { check(bind(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as c_uint).into()).map(drop) }
}

pub fn set_option(socket: &OwnedFd, level: c_int, option: c_int, value: c_int) -> Result<()> {
    let length = std::mem::size_of::<c_int>() as c_uint;
    // SAFETY: the kernel reads the value during the call.
    unsafe {
        check(setsockopt(socket.as_raw_fd(), level, option, (&value as *const c_int).cast(), length).into()).map(drop)
    }
}

/// Returns the index of an interface in this network namespace.
pub fn interface_index(name: &str) -> Result<c_int> {
    let name = CString::new(name)?;
    // SAFETY: the name ends with NUL and lives until the call returns.
    match unsafe { if_nametoindex(name.as_ptr()) } {
        0 => Err(Error::last_os_error()),
        index => Ok(index as c_int),
    }
}

/// Calls an ioctl whose argument points to a value.
pub fn control<T>(fd: &OwnedFd, request: c_ulong, value: &mut T) -> Result<c_int> {
    // SAFETY: callers pair each request with the structure that the kernel expects.
    unsafe { check(ioctl(fd.as_raw_fd(), request, value as *mut T).into()).map(|result| result as c_int) }
}

/// Keeps an inherited descriptor from programs that are started later.
pub fn close_on_exec(fd: c_int) -> Result<()> {
    // SAFETY: changes a flag of a descriptor, which the kernel checks.
    unsafe { check(fcntl(fd, F_SETFD, FD_CLOEXEC).into()).map(drop) }
}

/// Unmounts the mount that covers a path.
pub fn uncover(path: &str) -> Result<()> {
    let path = CString::new(path)?;
    // SAFETY: the path ends with NUL and lives until the call returns.
    unsafe { check(umount2(path.as_ptr(), MNT_DETACH).into()).map(drop) }
}

const MS_NOSUID: c_ulong = 2;
const MS_NODEV: c_ulong = 4;
const MS_BIND: c_ulong = 0x1000;
const MS_REC: c_ulong = 0x4000;
const MS_PRIVATE: c_ulong = 0x4_0000;

/// Gives this process a mount namespace of its own, whose mounts nobody else sees.
pub fn own_mounts() -> Result<()> {
    const CLONE_NEWNS: c_ulong = 0x2_0000;
    // SAFETY: no pointer is read.
    unsafe { check(syscall(SYS_UNSHARE, CLONE_NEWNS))? };
    mount_at(Path::new("none"), Path::new("/"), MS_REC | MS_PRIVATE)
}

/// Covers a folder with an empty one that everybody may enter.
pub fn cover(folder: &Path) -> Result<()> {
    mount_at(Path::new("tmpfs"), folder, MS_NOSUID | MS_NODEV)
}

/// Mounts a file over another one.
pub fn bind_file(from: &Path, to: &Path) -> Result<()> {
    mount_at(from, to, MS_BIND)
}

/// Calls mount(2) with a tmpfs as file system, which binding and changing the propagation ignore.
fn mount_at(source: &Path, target: &Path, flags: c_ulong) -> Result<()> {
    let [source, target] = [source, target].map(|path| CString::new(path.as_os_str().as_bytes()));
    let (source, target) = (source?, target?);
    let (kind, data) = (b"tmpfs\0".as_ptr().cast(), b"mode=711,size=64k\0".as_ptr().cast());
    // SAFETY: all texts end with NUL and live until the call returns.
    unsafe { check(mount(source.as_ptr(), target.as_ptr(), kind, flags, data).into()).map(drop) }
}

/// Enlarges the table of descriptors so that it has room for the number `last`. Later, in a program with threads, the kernel
/// would wait for all processors to do that. The size is kept when another program is executed.
pub fn make_room(last: c_int) -> Result<()> {
    // SAFETY: makes a new descriptor, which is closed at once.
    unsafe { check(fcntl(0, F_DUPFD_CLOEXEC, last).into()).map(|fd| drop(File::from_raw_fd(fd as c_int))) }
}

/// Limits the capabilities of the program that this process executes as root of its user namespace (capabilities(7)): it gets
/// those in `given` that this process has, and those in `kept`. It and its children can never get others.
pub fn limit_capabilities(given: u64, kept: u64) -> Result<()> {
    let header = [CAPABILITY_VERSION, 0];
    // Effective, permitted and inheritable: first their lower halves, then the upper ones.
    let mut sets = [0u32; 6];
    // SAFETY: the kernel reads the header and writes both halves of the three sets.
    unsafe { check(syscall(SYS_CAPGET, header.as_ptr(), sets.as_mut_ptr()))? };
    for (half, set) in sets.chunks_mut(3).enumerate() {
        set[2] = set[1] & (given >> (32 * half)) as u32;
    }
    // First, because a capability that was dropped cannot become inheritable any more.
    // SAFETY: the kernel reads the header and the sets during the call.
    unsafe { check(syscall(SYS_CAPSET, header.as_ptr(), sets.as_ptr()))? };
    // SAFETY: reads and changes a set of the process; a number that is too high is an error.
    for capability in (0..64).take_while(|number| unsafe { prctl(PR_CAPBSET_READ, *number) } >= 0) {
        if kept >> capability & 1 == 0 {
            unsafe { check(prctl(PR_CAPBSET_DROP, capability).into())? };
        }
    }
    Ok(())
}

/// Starts a copy of this process. Returns its pid in this one, and 0 in the copy.
pub fn fork() -> Result<c_int> {
    // SAFETY: no thread runs yet, so nothing in the copy is left half done.
    unsafe { check(c_fork().into()).map(|pid| pid as c_int) }
}

/// Waits for the next child to end. Returns its pid and wait status.
pub fn next_end() -> Result<(c_int, c_int)> {
    let mut status = 0;
    // SAFETY: the kernel writes the status during the call.
    unsafe { check(waitpid(-1, &mut status, 0).into()).map(|pid| (pid as c_int, status)) }
}

/// Lets the parent trace this process (ptrace(2), PTRACE_TRACEME).
pub fn be_traced() -> Result<()> {
    // SAFETY: no pointer is read.
    unsafe { check(syscall(SYS_PTRACE, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong)).map(drop) }
}

/// Asks whether seccomp filters can trap system calls (seccomp(2), SECCOMP_GET_ACTION_AVAIL).
pub fn ask_for_seccomp() -> Result<()> {
    const GET_ACTION_AVAIL: c_uint = 2;
    const TRAP: u32 = 0x0003_0000;
    // SAFETY: the kernel reads the number during the call.
    unsafe { check(syscall(SYS_SECCOMP, GET_ACTION_AVAIL, 0 as c_uint, &TRAP as *const u32)).map(drop) }
}

/// Makes a user namespace, and a network namespace that belongs to it: some systems allow only the first (unshare(2)).
pub fn enter_user_namespace() -> Result<()> {
    const CLONE_NEWUSER: c_ulong = 0x1000_0000;
    const CLONE_NEWNET: c_ulong = 0x4000_0000;
    // SAFETY: no pointer is read.
    unsafe {
        check(syscall(SYS_UNSHARE, CLONE_NEWUSER))?;
        check(syscall(SYS_UNSHARE, CLONE_NEWNET)).map(drop)
    }
}
