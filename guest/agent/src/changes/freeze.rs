//! Holds the run still while a snapshot is read, unnoticed by its programs, and lets it run on.
//!
//! A microVM's kernel freezes the file system: programs run on and wait only where they write to it. gVisor cannot, so there
//! every thread is stopped, by ptrace: unlike SIGSTOP it is not told to parents, so no shell sees its jobs stop, and should
//! the agent die, they run on.

use crate::boot::{Machine, DISK};
use crate::sys;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::raw::{c_int, c_ulong};
use std::os::unix::io::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

const FIFREEZE: c_ulong = 0xc004_5877;
const FITHAW: c_ulong = 0xc004_5878;

/// Time in which all threads have to stop.
const STOP_MAX: Duration = Duration::from_secs(5);
/// The same for those of a debugger: one that stops at all, as under strace, does so at its next system call.
const STOP_TRACED_MAX: Duration = Duration::from_secs(1);
/// Interval at which threads that have not stopped yet are looked at.
const LOOK: Duration = Duration::from_micros(200);
/// Looks at which a thread was in an uninterruptible wait, after which it counts as stopped: it waits for a child of `vfork`
/// that has stopped.
const LOOKS_WAITING: u32 = 20;

/// Lets the run go on when it is dropped.
pub struct Frozen {
    hold: Hold,
    since: Instant,
}

enum Hold {
    Disk { disk: OwnedFd, tick: (i64, i64) },
    Tasks(Vec<Task>),
    Released,
}

pub fn freeze(machine: &Machine) -> Result<Frozen> {
    if machine.hardware.is_none() {
        let mut frozen = Frozen { hold: Hold::Tasks(Vec::new()), since: Instant::now() };
        if let Hold::Tasks(tasks) = &mut frozen.hold {
            stop_all(tasks, machine.namespaces.init)?;
        }
        return Ok(frozen);
    }
    let disk = sys::open_path(DISK, sys::O_RDONLY | sys::O_DIRECTORY)?;
    // Writes out most of what is dirty while the programs still run. The rest follows when the file system is frozen; after
    // that, even a write to mapped memory changes the file's ctime.
    sys::sync_disk(&disk)?;
    let since = Instant::now();
    sys::control_number(&disk, FIFREEZE, 0)?;
    Ok(Frozen { hold: Hold::Disk { disk, tick: sys::coarse_time()? }, since })
}

impl Frozen {
    /// Returns the microseconds for which the run stood still. Fails when the run itself ended that early.
    pub fn thaw(mut self) -> Result<u64> {
        self.release()?;
        Ok(self.since.elapsed().as_micros() as u64)
    }

    fn release(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.hold, Hold::Released) {
            Hold::Disk { disk, tick } => {
                // What is written from now on has a later ctime than everything in the snapshot.
                while sys::coarse_time()? == tick {
                    sleep(Duration::from_millis(1));
                }
                sys::control_number(&disk, FITHAW, 0).map(|_| ())
            }
            Hold::Tasks(tasks) => {
                for task in tasks {
                    // One that has not stopped yet is released when it does, by whoever reaps children.
                    if let Some(signal) = task.stopped {
                        sys::release_task(task.id, signal);
                    }
                }
                Ok(())
            }
            Hold::Released => Ok(()),
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.release();
    }
}

struct Task {
    id: c_int,
    /// The signal that it was about to receive, or 0, once it has stopped.
    stopped: Option<c_int>,
    looks_waiting: u32,
}

/// Stops every thread but those of the agent. New ones are looked for until there are none, because one that runs can start
/// others.
fn stop_all(tasks: &mut Vec<Task>, init: c_int) -> Result<()> {
    let started = Instant::now();
    loop {
        let id = match look(tasks, init)? {
            None => return Ok(()),
            Some(id) => id,
        };
        let waited = started.elapsed();
        if waited > STOP_MAX || (waited > STOP_TRACED_MAX && tracer_of(id).is_some()) {
            return Err(Error::new(ErrorKind::TimedOut, unstoppable(id)));
        }
        sleep(LOOK);
    }
}

/// Tells all threads to stop. Returns one that has not stopped yet, or was not told before.
fn look(tasks: &mut Vec<Task>, init: c_int) -> Result<Option<c_int>> {
    let mut running = None;
    for id in threads(init)? {
        let task = match tasks.iter_mut().find(|task| task.id == id) {
            Some(task) => task,
            None => {
                match state(id) {
                    // Stopped by the user or a debugger, who are stopped too, or ended.
                    None | Some(b'T') | Some(b't') | Some(b'Z') | Some(b'X') => {}
                    Some(_) => {
                        running = Some(id);
                        if sys::seize_task(id).is_ok() {
                            tasks.push(Task { id, stopped: None, looks_waiting: 0 });
                        }
                    }
                }
                continue;
            }
        };
        if task.stopped.is_none() {
            task.stopped = sys::stop_of(id);
        }
        if task.stopped.is_none() {
            match state(id) {
                Some(b'D') if task.looks_waiting >= LOOKS_WAITING => {}
                Some(b'D') => {
                    task.looks_waiting += 1;
                    running = Some(id);
                }
                None | Some(b'Z') | Some(b'X') => {}
                Some(_) => running = Some(id),
            }
        }
    }
    Ok(running)
}

/// Returns the ids of all threads but the agent's and those of the pid 1 of the user's processes, which only waits.
fn threads(init: c_int) -> Result<Vec<c_int>> {
    let own = unsafe { sys::getpid() };
    let mut found = Vec::new();
    for process in numbers("/proc")?.into_iter().filter(|id| *id != own && *id != init) {
        // It may have ended meanwhile.
        found.extend(numbers(&format!("/proc/{process}/task")).unwrap_or_default());
    }
    Ok(found)
}

fn numbers(folder: &str) -> Result<Vec<c_int>> {
    Ok(fs::read_dir(folder)?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Returns the reason why a thread did not stop, with the names and numbers that the run itself knows.
fn unstoppable(id: c_int) -> String {
    match tracer_of(id) {
        None => format!("{} does not stop", named(id)),
        Some(tracer) => {
            format!("{} is traced by {}, and cannot be stopped: end the tracing first", named(id), named(tracer))
        }
    }
}

/// Returns the debugger of a thread, unless that is this agent.
fn tracer_of(id: c_int) -> Option<c_int> {
    let own = unsafe { sys::getpid() };
    status(id, "TracerPid:")?.parse().ok().filter(|tracer| *tracer != 0 && *tracer != own)
}

fn named(id: c_int) -> String {
    let number = status(id, "NSpid:").unwrap_or_else(|| id.to_string());
    match status(id, "Name:") {
        Some(name) => format!("process {number} ({name})"),
        None => format!("process {number}"),
    }
}

/// Returns the last word of a line of /proc/PID/status; of NSpid, that is the number in the innermost namespace.
fn status(id: c_int, field: &str) -> Option<String> {
    let text = fs::read(format!("/proc/{id}/status")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().last().map(str::to_string)
}

/// Returns the letter of a thread's state, as proc(5) lists them; None when it has ended.
fn state(id: c_int) -> Option<u8> {
    let line = fs::read(format!("/proc/{id}/stat")).ok()?;
    // The name before it, in parentheses, may contain any character.
    let end = line.iter().rposition(|byte| *byte == b')')?;
    line.get(end + 2).copied()
}
