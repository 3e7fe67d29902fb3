//! Descriptors, files and their metadata.

use super::*;

extern "C" {
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn openat(dir: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
    fn read(fd: c_int, buffer: *mut c_void, length: usize) -> isize;
    fn pread(fd: c_int, buffer: *mut c_void, length: usize, offset: i64) -> isize;
    fn write(fd: c_int, buffer: *const c_void, length: usize) -> isize;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
    fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: u32, out: *mut Statx) -> c_int;
    fn statfs(path: *const c_char, out: *mut StatFs) -> c_int;
    fn getdents64(fd: c_int, buffer: *mut c_void, length: usize) -> isize;
    fn readlinkat(dir: c_int, path: *const c_char, buffer: *mut c_char, length: usize) -> isize;
    fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, length: usize) -> isize;
    fn fgetxattr(fd: c_int, name: *const c_char, value: *mut c_void, length: usize) -> isize;
    fn flistxattr(fd: c_int, list: *mut c_char, length: usize) -> isize;
    fn llistxattr(path: *const c_char, list: *mut c_char, length: usize) -> isize;
    fn sync();
    pub fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
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

/// Reads from the start of a file, which for files of /proc and /sys makes their content anew.
pub fn read_start(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    check_size(unsafe { pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
}

/// Appends at most `limit` bytes to `out` without zeroing the buffer first.
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

/// Waits for any of the descriptors, at most `timeout_ms` (−1: without end).
pub fn wait_for(fds: &mut [PollFd], timeout_ms: c_int) -> Result<()> {
    check(unsafe { poll(fds.as_mut_ptr(), fds.len() as c_ulong, timeout_ms) }).map(|_| ())
}

/// Creates a pipe and returns its read end and write end. Both are closed by an exec.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    check(unsafe { pipe2(fds.as_mut_ptr(), O_CLOEXEC) })?;
    // SAFETY: pipe2 succeeded, so both are new descriptors.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

extern "C" {
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
}

/// Enlarges a pipe if the kernel permits; its size matters only for speed.
pub fn enlarge_pipe(fd: &OwnedFd, bytes: c_int) {
    const F_SETPIPE_SZ: c_int = 1031;
    unsafe { fcntl(fd.as_raw_fd(), F_SETPIPE_SZ, bytes) };
}

pub fn set_nonblocking(fd: &OwnedFd) -> Result<()> {
    const F_SETFL: c_int = 4;
    check(unsafe { fcntl(fd.as_raw_fd(), F_SETFL, O_NONBLOCK) }).map(|_| ())
}

/// Keeps an inherited descriptor from programs that are started later.
pub fn close_on_exec(fd: &OwnedFd) -> Result<()> {
    const FIOCLEX: c_ulong = 0x5451;
    control_number(fd, FIOCLEX, 0).map(|_| ())
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

/// Owner of extended attributes: an open file, or the file at a path, where a final symbolic link is not followed.
pub enum Subject {
    Open(RawFd),
    At(CString),
}

/// Returns the value of an extended attribute, or None when there is none of that name.
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

/// Writes the names of the extended attributes, each terminated by NUL, to the caller's buffer.
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

/// Sets an extended attribute of the file at a path; a final symbolic link is not followed.
pub fn set_xattr(path: &CStr, name: &CStr, value: &[u8]) -> Result<()> {
    extern "C" {
        fn lsetxattr(
            path: *const c_char,
            name: *const c_char,
            value: *const c_void,
            size: usize,
            flags: c_int,
        ) -> c_int;
    }
    check(unsafe { lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) }).map(|_| ())
}

/// Creates a device with this major and minor number, or a FIFO.
pub fn make_node(path: &CStr, mode: u32, (major, minor): (u32, u32)) -> Result<()> {
    extern "C" {
        fn mknod(path: *const c_char, mode: u32, device: u64) -> c_int;
    }
    let (major, minor) = (u64::from(major), u64::from(minor));
    // As makedev(3) of glibc packs them.
    let device = (major & 0xfff) << 8 | (major & !0xfff) << 32 | minor & 0xff | (minor & !0xff) << 12;
    check(unsafe { mknod(path.as_ptr(), mode, device) }).map(|_| ())
}

/// Creates a block device from its number as sysfs writes it: `MAJOR:MINOR`.
pub fn make_block_device(path: &CStr, number: &str) -> Result<()> {
    const S_IFBLK: u32 = 0o060000;
    let parts = number.split_once(':').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    make_node(path, S_IFBLK | 0o600, parts.ok_or(ErrorKind::InvalidData)?)
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

/// Calls an ioctl whose argument points to a value.
pub fn control<T>(fd: &OwnedFd, request: c_ulong, value: &mut T) -> Result<c_int> {
    check(unsafe { ioctl(fd.as_raw_fd(), request, value as *mut T) })
}

/// Calls an ioctl whose argument is a number.
pub fn control_number(fd: &OwnedFd, request: c_ulong, value: c_ulong) -> Result<c_int> {
    check(unsafe { ioctl(fd.as_raw_fd(), request, value) })
}

pub fn sync_disks() {
    unsafe { sync() };
}

/// Writes out one file system, given any of its folders.
pub fn sync_disk(folder: &OwnedFd) -> Result<()> {
    extern "C" {
        fn syncfs(fd: c_int) -> c_int;
    }
    check(unsafe { syncfs(folder.as_raw_fd()) }).map(|_| ())
}
