//! Standard streams of a process: moves bytes between its pipes and the channel.

use crate::channel::Channel;
use crate::message::{self, flag, kind, Command, Ending};
use crate::process::{end_input, is_raw, Process};
use crate::setup;
use crate::sys;
use crate::wire::{self, HEADER_BYTES};
use std::collections::VecDeque;
use std::io::{ErrorKind, Result};
use std::os::raw::{c_int, c_ulong};
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Descriptor from which the output of a process is read.
pub struct Output {
    pub fd: OwnedFd,
    /// Bytes that were in the pipe when the process ended; they are sent however slow the reader is.
    pub owed: usize,
    /// Time of the last read.
    pub read_at: Option<Instant>,
    /// True while small pieces are collected, because they follow each other within `COLLECT`.
    pub collects: bool,
}

impl Output {
    pub fn new(fd: OwnedFd) -> Output {
        Output { fd, owed: 0, read_at: None, collects: false }
    }

    /// Returns the time from `now` for which pieces are still collected; zero when the output is to be read as soon as there is
    /// some.
    pub fn collecting(&self, now: Instant) -> Duration {
        match self.read_at {
            Some(read_at) if self.collects => COLLECT.saturating_sub(now.saturating_duration_since(read_at)),
            _ => Duration::ZERO,
        }
    }

    fn note_read(&mut self, count: usize) {
        let now = Instant::now();
        let soon = self.read_at.map_or(false, |before| now.duration_since(before) < 2 * COLLECT);
        self.collects = soon && count < SMALL_BYTES;
        self.read_at = Some(now);
    }
}

pub struct Stdin {
    pub fd: OwnedFd,
    pub queue: VecDeque<u8>,
    pub closing: bool,
}

/// Time for which small pieces of output are collected. A frame for each costs both sides more than its bytes do.
const COLLECT: Duration = Duration::from_millis(1);
const SMALL_BYTES: usize = 32 * 1024;

/// Size of a pipe for output: what a program may write in the time for which small pieces are collected.
const OUTPUT_PIPE_BYTES: c_int = 256 * 1024;

const FIONREAD: c_ulong = 0x541b;

/// Returns the read end and the write end of a pipe for the output of a command.
pub fn output_pipe(command: &Command) -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = sys::pipe()?;
    sys::set_nonblocking(&read)?;
    sys::enlarge_pipe(&write, OUTPUT_PIPE_BYTES);
    if command.uid != 0 {
        // Lets the process open /dev/stdout again.
        unsafe { sys::fchown(write.as_raw_fd(), command.uid, command.gid) };
    }
    Ok((read, write))
}

/// Returns the number of bytes that can be read now.
fn readable(fd: &OwnedFd) -> usize {
    let mut count = 0i32;
    sys::control(fd, FIONREAD, &mut count).map(|_| count as usize).unwrap_or(0)
}

/// Bytes read at once. With its header, a full frame has the size in which the host reads, so it need not be put together.
pub const CHUNK_BYTES: usize = 64 * 1024 - HEADER_BYTES;

/// The returned numbers are bytes of stdin that the process took, or that were discarded because it will never read them.
impl Process {
    pub fn offer(&mut self, bytes: &[u8]) -> usize {
        match self.stdin.as_mut().filter(|stdin| !stdin.closing) {
            Some(stdin) => {
                stdin.queue.extend(bytes);
                self.feed()
            }
            None => bytes.len(),
        }
    }

    pub fn close_stdin(&mut self) -> usize {
        if let Some(stdin) = self.stdin.as_mut() {
            stdin.closing = true;
        }
        self.feed()
    }

    /// Writes waiting stdin to the process, as far as its pipe has room.
    pub fn feed(&mut self) -> usize {
        let stdin = match self.stdin.as_mut() {
            Some(stdin) => stdin,
            None => return 0,
        };
        let queued = stdin.queue.back().copied();
        let (taken, gone) = feed(stdin.fd.as_raw_fd(), &mut stdin.queue);
        self.last_typed = queued.unwrap_or(self.last_typed);
        if gone || (stdin.closing && stdin.queue.is_empty()) {
            self.stdin = None;
            if let Some(terminal) = &self.terminal {
                end_input(terminal, self.last_typed);
            }
        }
        taken
    }

    /// Reports whether the program may yet switch a terminal whose input has ended out of line mode, and lose the end.
    pub fn may_lose_end(&self) -> bool {
        self.stdin.is_none() && self.ended.is_none() && self.terminal.is_some()
    }

    /// Ends the input of a terminal again if the program has switched line mode off since.
    pub fn keep_ended(&self) {
        if let Some(terminal) = self.terminal.as_ref().filter(|terminal| self.may_lose_end() && is_raw(terminal)) {
            end_input(terminal, self.last_typed);
        }
    }

    /// Sends one chunk of output, as far as credit allows. Returns false when there was none.
    pub fn pump(&mut self, index: usize, channel: &mut Channel) -> bool {
        let limit = CHUNK_BYTES.min(self.credit as usize);
        let output = match self.outputs[index].as_mut() {
            Some(output) if self.credit >= message::COST_MIN => output,
            _ => return false,
        };
        let stream = if index == 0 { kind::STDOUT } else { kind::STDERR };
        match forward(channel, (stream, self.id), output.fd.as_raw_fd(), limit) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            // EIO is the end of file of a terminal: the last process that had it open is gone.
            Ok(0) | Err(_) => {
                self.outputs[index] = None;
                false
            }
            Ok(count) => {
                self.credit -= message::cost_of(count);
                output.owed = output.owed.saturating_sub(count);
                output.note_read(count);
                true
            }
        }
    }

    /// Marks the process as ended and reports how it ended.
    pub fn end(&mut self, status: c_int, usage: sys::Usage) -> Ending {
        self.pid = 0;
        self.ended = Some(Instant::now());
        self.stdin = None;
        for output in self.outputs.iter_mut().flatten() {
            output.owed = readable(&output.fd);
        }
        let signal = status & 0x7f;
        let mut flags = 0;
        for (flag, applies) in [
            (flag::CORE_DUMP, signal != 0 && status & 0x80 != 0),
            (flag::OUT_OF_MEMORY, self.out_of_memory),
            (flag::DISK_FULL, setup::disk_full()),
        ] {
            flags |= if applies { flag } else { 0 };
        }
        let (exit_code, signal) = if signal == 0 { (status >> 8 & 0xff, -1) } else { (-1, signal) };
        Ending { exit_code, signal, flags, duration_us: self.started.elapsed().as_micros() as u64, usage }
    }

    /// Reports whether the process has ended and all its output was sent.
    pub fn finished(&self) -> bool {
        self.ended.is_some() && self.outputs.iter().all(Option::is_none)
    }
}

/// Writes the queue to a pipe or socket, as far as it has room. Returns the number of bytes that it took or that nothing will
/// read, and whether the other end is closed.
pub fn feed(fd: RawFd, queue: &mut VecDeque<u8>) -> (usize, bool) {
    let mut taken = 0;
    while !queue.is_empty() {
        let (head, _) = queue.as_slices();
        match sys::write_fd(fd, head) {
            Ok(count) => {
                queue.drain(..count);
                taken += count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => {
                taken += queue.len();
                queue.clear();
                return (taken, true);
            }
        }
    }
    (taken, false)
}

/// Reads at most `limit` bytes directly into a frame of the channel. Returns their number, 0 at the end.
pub fn forward(channel: &mut Channel, (kind, id): (u8, u16), fd: RawFd, limit: usize) -> Result<usize> {
    let out = channel.out();
    let start = out.len();
    out.extend_from_slice(&wire::encode_header(kind, id, 0));
    let result = sys::read_onto(fd, out, limit);
    match result {
        Ok(count) if count > 0 => {
            out[start..start + HEADER_BYTES].copy_from_slice(&wire::encode_header(kind, id, count));
        }
        _ => out.truncate(start),
    }
    result
}
