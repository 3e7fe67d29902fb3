//! Mounts, roots and namespaces.

use super::*;

extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn setns(fd: c_int, kind: c_int) -> c_int;
}

pub fn mount_fs(source: &str, target: &str, kind: &str, flags: c_ulong, data: &str) -> Result<()> {
    let (from, to, kind, data) =
        (c(source.as_bytes())?, c(target.as_bytes())?, c(kind.as_bytes())?, c(data.as_bytes())?);
    check(unsafe { mount(from.as_ptr(), to.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) })
        .map(|_| ())
        .map_err(|error| Error::new(error.kind(), format!("mount {source} on {target}: {error}")))
}

/// Binds `source` to `target`; symbolic links are followed.
pub fn bind(source: &str, target: &str) -> Result<()> {
    let (from, to, none) = (c(source.as_bytes())?, c(target.as_bytes())?, c(b"")?);
    check(unsafe { mount(from.as_ptr(), to.as_ptr(), none.as_ptr(), MS_BIND, std::ptr::null()) }).map(|_| ())
}

/// Returns a private, detached copy of the mount at `path`.
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
    check(unsafe { syscall(MOVE_MOUNT, tree.as_raw_fd(), from.as_ptr(), AT_FDCWD, to.as_ptr(), flags) } as c_int)
        .map(|_| ())
}

/// Makes the mount at `path` the root of this mount namespace and of every process whose root was the old one, and
/// unmounts the old root.
pub fn pivot_root(path: &str) -> Result<()> {
    extern "C" {
        fn umount2(target: *const c_char, flags: c_int) -> c_int;
    }
    const MNT_DETACH: c_int = 2;
    change_directory(path)?;
    let here = c(b".")?;
    // With the same path for both, the old root is mounted over the new one, where it can be unmounted.
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

/// Stops sharing the working and root directory with the kernel's threads, which pid 1 does from the start.
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

/// Does the same as `enter`, for a child that must not own the descriptor.
pub fn enter_raw(fd: RawFd, kinds: c_int) -> c_int {
    unsafe { setns(fd, kinds) }
}

pub fn load_module(file: &OwnedFd) -> Result<()> {
    check(unsafe { syscall(number::FINIT_MODULE as c_long, file.as_raw_fd(), b"\0".as_ptr(), 0) } as c_int).map(|_| ())
}
