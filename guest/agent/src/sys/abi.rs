//! Constants and structures of the kernel's interface, as its headers define them.

use std::os::raw::{c_int, c_long, c_ulong};
use std::os::unix::io::RawFd;

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
pub const MS_REC: c_ulong = 16384;

pub const CLONE_VM: c_int = 0x100;
pub const CLONE_VFORK: c_int = 0x4000;
pub const CLONE_NEWNS: c_int = 0x20000;
pub const CLONE_NEWPID: c_int = 0x20000000;

pub const SIGKILL: c_int = 9;
pub const SIGCHLD: c_int = 17;

pub const ENOENT: i32 = 2;
pub const ESRCH: i32 = 3;
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
pub const RLIMIT_FSIZE: c_int = 1;
pub const RLIMIT_STACK: c_int = 3;
pub const RLIMIT_CORE: c_int = 4;
pub const RLIMIT_NPROC: c_int = 6;
pub const RLIMIT_NOFILE: c_int = 7;
pub const RLIMIT_MEMLOCK: c_int = 8;

#[cfg(target_arch = "x86_64")]
pub mod number {
    pub const FINIT_MODULE: i64 = 313;
    pub const CLONE: i64 = 56;
    pub const PIVOT_ROOT: i64 = 155;
}
#[cfg(target_arch = "aarch64")]
pub mod number {
    pub const FINIT_MODULE: i64 = 273;
    pub const CLONE: i64 = 220;
    pub const PIVOT_ROOT: i64 = 41;
}
pub const OPEN_TREE: c_long = 428;
pub const MOVE_MOUNT: c_long = 429;
pub const PIDFD_OPEN: c_long = 434;

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

/// `struct rusage`; unused fields are only there for the layout.
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

/// `struct statx`, which is the same on every architecture.
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
    pub ctime: StatxTime,
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

/// `struct termios` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Termios {
    pub input: u32,
    _output: u32,
    _control: u32,
    pub local: u32,
    _line: u8,
    pub characters: [u8; 19],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct WinSize {
    pub rows: u16,
    pub columns: u16,
    pub pixels: [u16; 2],
}
