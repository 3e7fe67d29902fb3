//! System calls of the agent, with errors as `io::Error`. They are declared by hand, so that the build downloads no crate.

mod abi;
mod file;
mod mount;
mod socket;
mod task;

pub use abi::*;
pub use file::*;
pub use mount::*;
pub use socket::*;
pub use task::*;

use std::ffi::{CStr, CString};
use std::io::{Error, ErrorKind, Result};
use std::os::raw::{c_char, c_int, c_long, c_ulong, c_void};
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Returns the errno of the call that just failed.
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
    // SAFETY: the kernel just returned this descriptor, and nothing else owns it.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Converts text to a C string for a system call.
pub fn c(text: &[u8]) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(ErrorKind::InvalidInput, "a NUL byte in a name"))
}

/// Adds the name of the step that failed to an error.
pub fn told<T>(step: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| Error::new(error.kind(), format!("{step}: {error}")))
}
