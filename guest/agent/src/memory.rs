//! Memory limit where the kernel has none (gVisor): the agent ends a process before the host would end the whole sandbox.

use crate::boot::Machine;
use crate::oom;
use crate::process::Process;
use crate::sys;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::raw::c_int;
use std::time::{Duration, Instant};

/// Interval of checks of the free memory: normally, and once half of the memory is used.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_SHORT: Duration = Duration::from_millis(20);
/// Fraction of the memory below which it counts as exhausted.
const RESERVE_PART: u64 = 64;
/// Time in which the memory of a killed process is freed.
const GRACE: Duration = Duration::from_millis(500);

pub struct Memory {
    bytes: u64,
    looked: Instant,
    pause: Duration,
    /// Time of the last kill.
    killed: Option<Instant>,
}

impl Memory {
    pub fn of(bytes: u64) -> Memory {
        Memory { bytes, looked: Instant::now(), pause: PAUSE, killed: None }
    }

    pub fn pause_ms(&self) -> i32 {
        self.pause.saturating_sub(self.looked.elapsed()).as_millis() as i32 + 1
    }

    /// Kills the largest process when no memory is left, as Linux does.
    pub fn watch(&mut self, init: c_int, processes: &mut [Process]) {
        if processes.is_empty() || self.looked.elapsed() < self.pause {
            return;
        }
        self.looked = Instant::now();
        let free =
            match fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(|table| bytes_of("MemFree:", table)) {
                Some(free) => free,
                None => return,
            };
        self.pause = if free < self.bytes / 2 { PAUSE_SHORT } else { PAUSE };
        if free > self.bytes / RESERVE_PART || self.is_ending() {
            return;
        }
        if let Some(victim) = largest(init) {
            oom::mark(victim, processes);
            unsafe { sys::kill(victim, sys::SIGKILL) };
            self.killed = Some(Instant::now());
        }
    }

    /// Reports whether a process was killed so recently that the kernel's count of free memory may be stale.
    fn is_ending(&self) -> bool {
        self.killed.map_or(false, |since| since.elapsed() < GRACE)
    }
}

/// Returns the memory of the guest.
pub fn total_bytes(machine: &Machine) -> Result<u64> {
    match machine.memory_bytes {
        Some(bytes) => Ok(bytes),
        None => bytes_of("MemTotal:", &fs::read_to_string("/proc/meminfo")?)
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, "/proc/meminfo has no MemTotal")),
    }
}

/// Returns a row of /proc/meminfo, which is in KiB, in bytes.
fn bytes_of(name: &str, table: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Returns the process with the largest resident memory, except the agent and the pid 1 of the user's processes.
fn largest(init: c_int) -> Option<c_int> {
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let sizes = pids.filter(|pid: &c_int| *pid > 1 && *pid != init);
    sizes.filter_map(|pid| Some((resident_pages(pid)?, pid))).max().map(|(_, pid)| pid)
}

/// Returns the second field of /proc/PID/statm.
fn resident_pages(pid: c_int) -> Option<u64> {
    fs::read_to_string(format!("/proc/{pid}/statm")).ok()?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernels_table() {
        assert_eq!(
            bytes_of("MemFree:", "MemTotal:  1048576 kB\nMemFree:          944 kB\nMemAvailable: 1 kB\n"),
            Some(944 * 1024)
        );
        assert_eq!(bytes_of("MemFree:", "MemTotal: 1 kB\n"), None);
        assert_eq!(bytes_of("MemFree:", "MemFree: many kB\n"), None);
    }
}
