//! Detection of processes that the kernel killed for lack of memory, which only its log reports.

use crate::process::Process;
use crate::sys;
use std::fs;
use std::os::raw::c_int;
use std::os::unix::io::{AsRawFd, OwnedFd};

/// Reads new kernel messages and marks the processes whose session contains a killed one.
pub fn mark_victims(kernel_log: &OwnedFd, processes: &mut [Process]) {
    let mut record = [0u8; 8192];
    loop {
        match sys::read_fd(kernel_log.as_raw_fd(), &mut record) {
            Ok(length) => {
                if let Some(victim) = victim_in(&record[..length]) {
                    mark(victim, processes);
                }
            }
            // EPIPE: records were overwritten before they were read; the next read continues with the oldest one.
            Err(error) if error.raw_os_error() == Some(sys::EPIPE) => {}
            Err(_) => return,
        }
    }
}

/// Returns the pid in a record such as `3,411,8391,-;Out of memory: Killed process 97 (python3) total-vm:…`.
fn victim_in(record: &[u8]) -> Option<c_int> {
    const MARK: &str = "Killed process ";
    let text = std::str::from_utf8(record).ok()?;
    let (_, rest) = text.split_once(MARK)?;
    rest.split(' ').next()?.parse().ok()
}

/// Marks the processes to which the victim may belong. Each has its own session; a victim that is gone may belong to any.
pub fn mark(victim: c_int, processes: &mut [Process]) {
    let session = session_of(victim);
    for process in processes.iter_mut().filter(|process| process.pid > 0) {
        process.out_of_memory |= process.pid == victim || session.map_or(true, |session| session == process.pid);
    }
}

fn session_of(pid: c_int) -> Option<c_int> {
    session_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Returns the sixth field of /proc/PID/stat. The second is a name in parentheses that may contain any characters.
fn session_in(stat: &str) -> Option<c_int> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_victim_is_found_in_the_kernels_words() {
        let record = b"3,411,8391,-;Out of memory: Killed process 97 (python3) total-vm:1kB, anon-rss:2kB\n";
        assert_eq!(victim_in(record), Some(97));
        assert_eq!(victim_in(b"6,1,2,-;oom_reaper: reaped process 97 (python3)"), None);
        assert_eq!(victim_in(b"\xff Killed process 1 "), None);
    }

    #[test]
    fn the_session_is_read_past_a_name_with_parentheses() {
        assert_eq!(session_in("97 (a) b) c) S 1 97 42 0 -1 4194560"), Some(42));
        assert_eq!(session_in("97"), None);
    }
}
