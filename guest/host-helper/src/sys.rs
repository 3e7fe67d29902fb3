//! The system calls the helper makes, with errors as `io::Error`. Declared by hand: no crate, nothing to download.

use std::ffi::CString;
use std::fs::File;
use std::io::{Error, Result};
use std::os::raw::{c_char, c_int, c_long, c_uint, c_ulong};
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd};

const SYS_KEYCTL: c_long = 250;
const SYS_MEMFD_CREATE: c_long = 319;
const SYS_CLOSE_RANGE: c_long = 436;

const F_ADD_SEALS: c_int = 1033;
/// F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_WRITE.
const EVERY_SEAL: c_int = 15;
const SEEK_DATA: c_int = 3;
const SEEK_HOLE: c_int = 4;
const ENXIO: i32 = 6;
const KEYCTL_JOIN_SESSION_KEYRING: c_ulong = 1;

pub const MFD_CLOEXEC: c_uint = 1;
pub const MFD_ALLOW_SEALING: c_uint = 2;

#[repr(C)]
struct Limit {
    soft: u64,
    hard: u64,
}

/// `struct ifreq`: the interface and a union of 24 bytes.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn lseek(fd: c_int, offset: i64, whence: c_int) -> i64;
    fn setrlimit(resource: c_uint, limit: *const Limit) -> c_int;
    fn setgroups(count: usize, groups: *const c_uint) -> c_int;
    fn setresgid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn setresuid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
}

const TUNSETIFF: c_ulong = 0x4004_54ca;
const IFF_TAP: u16 = 2;
const IFF_NO_PI: u16 = 0x1000;
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

/// A new file in memory (memfd_create(2)).
pub fn memory_file(flags: c_uint) -> Result<File> {
    let name = b"contree\0".as_ptr() as *const c_char;
    // SAFETY: the name ends with NUL; the kernel gives us a descriptor that nobody else knows.
    unsafe { check(syscall(SYS_MEMFD_CREATE, name, flags)).map(|fd| File::from_raw_fd(fd as c_int)) }
}

/// Nobody can write, cut, grow or unseal the file any more.
pub fn seal(file: &File) -> Result<()> {
    // SAFETY: changes flags of a descriptor that is open.
    unsafe { check(fcntl(file.as_raw_fd(), F_ADD_SEALS, EVERY_SEAL).into()).map(drop) }
}

/// Start and end of the first stretch of data at or after `from`; None when only a hole follows.
pub fn next_data(file: &File, from: i64) -> Result<Option<(i64, i64)>> {
    // SAFETY: moves the position of a descriptor that is open.
    let seek = |offset, whence| unsafe { check(lseek(file.as_raw_fd(), offset, whence)) };
    match seek(from, SEEK_DATA) {
        Err(error) if error.raw_os_error() == Some(ENXIO) => Ok(None),
        Err(error) => Err(error),
        Ok(start) => Ok(Some((start, seek(start, SEEK_HOLE)?))),
    }
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: c_uint) -> Result<()> {
    // SAFETY: nothing in this program holds one of them.
    unsafe { check(syscall(SYS_CLOSE_RANGE, first, c_uint::MAX, 0 as c_uint)).map(drop) }
}

/// Joins a new, empty session keyring.
pub fn join_new_keyring() -> Result<()> {
    // SAFETY: no name is given, so nothing is read.
    unsafe { check(syscall(SYS_KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, 0 as c_ulong)).map(drop) }
}

pub fn limit(resource: c_uint, value: u64) -> Result<()> {
    let both = Limit { soft: value, hard: value };
    // SAFETY: the kernel reads the structure during the call.
    unsafe { check(setrlimit(resource, &both).into()).map(drop) }
}

/// Becomes a user in one group and no other, for good.
pub fn become_user(uid: c_uint, gid: c_uint) -> Result<()> {
    // SAFETY: the list of groups is empty, so nothing is read.
    unsafe {
        check(setgroups(0, std::ptr::null()).into())?;
        check(setresgid(gid, gid, gid).into())?;
        check(setresuid(uid, uid, uid).into()).map(drop)
    }
}

/// Says which step of a longer job failed.
pub fn told<T>(step: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| Error::new(error.kind(), format!("{step}: {error}")))
}

/// Any socket will do: it only carries the ioctls that configure interfaces.
pub fn control_socket(domain: c_int) -> Result<OwnedFd> {
    const SOCK_DGRAM_CLOEXEC: c_int = 2 | 0o2000000;
    // SAFETY: the kernel just made the descriptor, and nobody else knows it.
    unsafe { check(socket(domain, SOCK_DGRAM_CLOEXEC, 0).into()).map(|fd| OwnedFd::from_raw_fd(fd as c_int)) }
}

/// An ioctl whose argument points to a value.
pub fn control<T>(fd: &OwnedFd, request: c_ulong, value: &mut T) -> Result<c_int> {
    // SAFETY: callers pair each request with the structure that the kernel expects.
    unsafe { check(ioctl(fd.as_raw_fd(), request, value as *mut T).into()).map(|result| result as c_int) }
}

/// Makes an Ethernet interface of this name whose frames are read from, and written to, the file (tun(4)).
pub fn make_tap(name: &str) -> Result<File> {
    let device = OwnedFd::from(File::options().read(true).write(true).open("/dev/net/tun")?);
    let mut request = InterfaceRequest { name: [0; 16], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    control(&device, TUNSETIFF, &mut request)?;
    Ok(File::from(device))
}

/// Keeps an inherited descriptor from the programs that are started from now on.
pub fn close_on_exec(fd: c_int) -> Result<()> {
    // SAFETY: changes a flag of a descriptor, which the kernel checks.
    unsafe { check(fcntl(fd, F_SETFD, FD_CLOEXEC).into()).map(drop) }
}

/// Takes away the mount that covers a path.
pub fn uncover(path: &str) -> Result<()> {
    let path = CString::new(path)?;
    // SAFETY: the path ends with NUL and lives until the call returns.
    unsafe { check(umount2(path.as_ptr(), MNT_DETACH).into()).map(drop) }
}

/// Waits for the next child to end; its pid and wait status.
pub fn next_end() -> Result<(c_int, c_int)> {
    let mut status = 0;
    // SAFETY: the kernel writes the status during the call.
    unsafe { check(waitpid(-1, &mut status, 0).into()).map(|pid| (pid as c_int, status)) }
}
