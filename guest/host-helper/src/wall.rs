//! Becomes another program, which inherits no more than it was given.

use std::ffi::OsString;
use std::io::{Result, Seek, SeekFrom, Write};
use std::os::raw::c_uint;
use std::os::unix::io::{AsRawFd, IntoRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::filter::{self, Instruction};
use crate::{invalid, number, sys};

/// Limits by the names of prlimit(1), with their numbers (asm-generic/resource.h).
const LIMITS: [(&str, c_uint); 5] = [("fsize", 1), ("core", 4), ("nproc", 6), ("nofile", 7), ("as", 9)];

/// `DESCRIPTORS [NAME=VALUE]... -- PROGRAM [ARGUMENT]...`
///
/// Keeps the descriptors below DESCRIPTORS and closes all others; sets the limits; becomes the user `uid` in the group
/// `gid`; joins a session keyring of its own. The program is bubblewrap, which has to build the jail before the filter of
/// system calls holds: it finds the filter in the descriptor numbered DESCRIPTORS (`--seccomp`).
pub fn start(arguments: &[OsString]) -> Result<()> {
    let separator = arguments.iter().position(|argument| argument == "--").ok_or_else(|| invalid("no program"))?;
    let (own, program) = (&arguments[..separator], &arguments[separator + 1..]);
    let (descriptors, settings) = own.split_first().ok_or_else(|| invalid("a number of descriptors is needed"))?;
    let (path, rest) = program.split_first().ok_or_else(|| invalid("no program"))?;
    let descriptors = number(descriptors)? as c_uint;
    sys::close_from(descriptors)?;
    let settings = settings.iter().map(setting).collect::<Result<Vec<_>>>()?;
    // Before the limits, which may forbid any file.
    if !settings.contains(&("filter", 0)) {
        hand_over(&filter::jail(), descriptors)?;
    }
    let (mut uid, mut gid) = (None, None);
    for (name, value) in settings {
        match name {
            "filter" => {}
            "uid" => uid = Some(value),
            "gid" => gid = Some(value),
            _ => set_limit(name, value)?,
        }
    }
    if let (Some(uid), Some(gid)) = (uid, gid) {
        sys::become_user(uid as c_uint, gid as c_uint)?;
    }
    // A kernel without keyrings has none to hide; a container that forbids this forbids their use, too. So does the filter.
    let _ = sys::join_new_keyring();
    Err(Command::new(path).args(rest).exec())
}

fn setting(argument: &OsString) -> Result<(&str, u64)> {
    let (name, value) = argument.to_str().and_then(|text| text.split_once('=')).ok_or_else(|| invalid("no setting"))?;
    Ok((name, number(&value.into())?))
}

fn set_limit(name: &str, value: u64) -> Result<()> {
    let (_, resource) = LIMITS.iter().find(|(known, _)| *known == name).ok_or_else(|| invalid("no such setting"))?;
    sys::limit(*resource, value)
}

/// Leaves the filter in the first free descriptor, for the program to read.
fn hand_over(filter: &[Instruction], descriptor: c_uint) -> Result<()> {
    let mut file = sys::memory_file(0)?;
    if file.as_raw_fd() as c_uint != descriptor {
        return Err(invalid("a descriptor below the number given is not open"));
    }
    file.write_all(&filter::bytes(filter))?;
    file.seek(SeekFrom::Start(0))?;
    let _ = file.into_raw_fd();
    Ok(())
}
