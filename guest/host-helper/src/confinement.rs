//! Executes another program, which inherits only the descriptors and rights that it is given.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::os::raw::{c_int, c_uint};
use std::os::unix::io::{AsRawFd, IntoRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::filter::{self, Instruction};
use crate::{invalid, number, shown, sys};

/// Limits by the names of prlimit(1), with their numbers (asm-generic/resource.h).
const LIMITS: [(&str, c_uint); 5] = [("fsize", 1), ("core", 4), ("nproc", 6), ("nofile", 7), ("as", 9)];

/// `DESCRIPTORS [NAME=VALUE]... -- PROGRAM [ARGUMENT]...`
///
/// Keeps the descriptors below DESCRIPTORS and closes all others, joins the control groups `group`, makes the files `show`
/// reachable (`shown`), sets the limits, and becomes the user `uid` in the group `gid`. Joins a new session keyring and writes
/// to the descriptor `facts` whether it is empty. Ends with the process `parent`, which must be the one that started it. The
/// program is bubblewrap, which has to build the jail before the seccomp filter holds. It reads the filter from the descriptor
/// numbered DESCRIPTORS (`--seccomp`): QEMU's, or gVisor's with `gvisor=1`. For QEMU it reads this program, for the start inside
/// the jail, from the next one (`--ro-bind-data`), because its user may not be able to open the file by name.
pub fn start(arguments: &[OsString]) -> Result<()> {
    let separator = arguments.iter().position(|argument| argument == "--").ok_or_else(|| invalid("no program"))?;
    let (own, program) = (&arguments[..separator], &arguments[separator + 1..]);
    let (descriptors, settings) = own.split_first().ok_or_else(|| invalid("a number of descriptors is needed"))?;
    let (path, rest) = program.split_first().ok_or_else(|| invalid("no program"))?;
    let descriptors = number(descriptors)? as c_uint;
    sys::close_from(descriptors)?;
    for file in files(settings, "group=") {
        sys::told("control group", join(file))?;
    }
    sys::told("programs in a closed folder", shown::show(&files(settings, "show=")))?;
    let settings = settings.iter().filter_map(|argument| setting(argument).transpose());
    let settings = settings.collect::<Result<Vec<_>>>()?;
    // Before the limits are set, because they may forbid any file.
    if settings.contains(&("gvisor", 1)) {
        hand_over(&filter::gvisor(), descriptors)?;
    } else {
        hand_over(&filter::jail(), descriptors)?;
        hand_over_self(descriptors + 1)?;
    }
    let (mut uid, mut gid, mut parent, mut facts) = (None, None, None, None);
    for (name, value) in settings {
        match name {
            "gvisor" => {}
            "uid" => uid = Some(value),
            "gid" => gid = Some(value),
            "parent" => parent = Some(value as i64),
            "facts" => facts = Some(value as c_int),
            _ => set_limit(name, value)?,
        }
    }
    if let (Some(uid), Some(gid)) = (uid, gid) {
        sys::become_user(uid as c_uint, gid as c_uint)?;
    }
    // After the change of user, which would reset it.
    sys::die_with_parent()?;
    if matches!(parent, Some(parent) if parent != sys::parent()) {
        return Err(Error::new(ErrorKind::NotFound, "the process that started this one is gone"));
    }
    let empty = sys::join_empty_keyring();
    if let Some(fd) = facts {
        tell(fd, if empty { "session keyring: empty\n" } else { "session keyring: unknown\n" })?;
    }
    Err(Command::new(path).args(rest).exec())
}

/// `DESCRIPTOR -- PROGRAM [ARGUMENT]...`
///
/// Asks on a socket with one byte, waits for the answer, and executes the program without that descriptor. Ends instead when the
/// other end of the socket is closed, and when its parent ends. bubblewrap requests the latter only some time after it has
/// started its child, which would go on if bubblewrap was killed before. This function requests it before it asks. The thread of
/// the engine that answers is the one with which bubblewrap ends, so what comes after an answer ends with the engine. An open
/// socket would not prove that: other threads of a killed engine hold it until they end, which is later on a busy machine.
pub fn start_inside(arguments: &[OsString]) -> Result<()> {
    let (descriptor, path, rest) = match arguments {
        [descriptor, separator, path, rest @ ..] if separator == "--" => (descriptor, path, rest),
        _ => return Err(invalid("no program")),
    };
    sys::die_with_parent()?;
    let mut engine = sys::inherited(number(descriptor)? as c_int);
    engine.write_all(b"\n")?;
    engine.read_exact(&mut [0])?;
    drop(engine);
    Err(Command::new(path).args(rest).exec())
}

/// Returns the files of the settings `NAME=FILE`.
fn files<'a>(settings: &'a [OsString], name: &str) -> Vec<&'a str> {
    settings.iter().filter_map(|argument| argument.to_str()?.strip_prefix(name)).collect()
}

/// Moves this process, and all that it starts, into a control group through its file `cgroup.procs`, or `tasks` in cgroup v1.
/// In v1 the kernel moves a thread that moves itself at once; for any other it waits some 10 ms.
fn join(file: &str) -> Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(b"0")
}

/// Writes a line to a descriptor that stays open for the program.
fn tell(descriptor: c_int, line: &str) -> Result<()> {
    let mut file = sys::inherited(descriptor);
    let written = file.write_all(line.as_bytes());
    let _ = file.into_raw_fd();
    written
}

/// Returns name and value of a setting that is a number; None for one that is a file.
fn setting(argument: &OsString) -> Result<Option<(&str, u64)>> {
    let (name, value) = argument.to_str().and_then(|text| text.split_once('=')).ok_or_else(|| invalid("no setting"))?;
    if matches!(name, "group" | "show") {
        return Ok(None);
    }
    Ok(Some((name, number(&value.into())?)))
}

fn set_limit(name: &str, value: u64) -> Result<()> {
    let (_, resource) = LIMITS.iter().find(|(known, _)| *known == name).ok_or_else(|| invalid("no such setting"))?;
    sys::limit(*resource, value)
}

/// Opens this program's own file in the first free descriptor, for bubblewrap to read.
fn hand_over_self(descriptor: c_uint) -> Result<()> {
    let own = sys::keep_open(File::open("/proc/self/exe")?)?;
    if own != descriptor as c_int {
        return Err(invalid("a descriptor is open that should not be"));
    }
    Ok(())
}

/// Puts the filter into the first free descriptor, for bubblewrap to read.
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
