//! Phase 3: one loop that serves every process, the channel and the children's deaths.

use crate::boot::Machine;
use crate::changes;
use crate::channel::Channel;
use crate::message::{self, flag, kind, Command, Ending, FaultCode, Request};
use crate::network;
use crate::oom;
use crate::process::{self, Output, Process, Stdin};
use crate::setup::{self, Ready};
use crate::sys::{self, PollFd};
use crate::wire::{self, Malformed, Parsed, HEADER_BYTES};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// How long output may still trickle in after the process itself has ended.
const DRAIN: Duration = Duration::from_millis(100);
/// How long the host's end of the channel may be gone before the machine is switched off.
const HOST_GONE: Duration = Duration::from_secs(2);
/// No more output is read while this much waits for the port.
const BACKLOG_BYTES_MAX: usize = 512 * 1024;
const CHUNK_BYTES: usize = 64 * 1024;

pub struct Agent {
    machine: Machine,
    channel: Channel,
    children: OwnedFd,
    ready: Option<Ready>,
    layers: usize,
    processes: Vec<Process>,
    /// START payload that arrived in parts.
    partial: Vec<u8>,
    host_gone: Option<Instant>,
}

/// What a descriptor we wait for belongs to.
#[derive(Clone, Copy)]
enum Source {
    Port,
    Children,
    Stdin(u16),
    Output(u16, usize),
}

fn malformed(Malformed(rule): Malformed) -> Error {
    Error::new(ErrorKind::InvalidData, format!("the host sent {rule}"))
}

impl Agent {
    pub fn new(machine: Machine, children: OwnedFd, port: OwnedFd) -> Self {
        let channel = Channel::new(port);
        Agent { machine, channel, children, ready: None, layers: 0, processes: Vec::new(), partial: Vec::new(), host_gone: None }
    }

    /// Says HELLO and serves until the host is gone or breaks the protocol.
    pub fn serve(&mut self) -> Result<()> {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        message::encode_hello(self.channel.out(), kernel.trim_end(), env!("CARGO_PKG_VERSION"));
        let (mut fds, mut sources) = (Vec::new(), Vec::new());
        loop {
            self.channel.flush()?;
            self.watch(&mut fds, &mut sources);
            match sys::wait_for(&mut fds, self.timeout_ms()) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for (fd, source) in fds.iter().zip(&sources) {
                if fd.revents != 0 {
                    self.dispatch(*source, fd.revents)?;
                }
            }
            self.settle();
            if self.host_gone.map_or(false, |since| since.elapsed() > HOST_GONE) {
                return Ok(());
            }
        }
    }

    /// Lists what can wake us now: output only while there is credit and room for it.
    fn watch(&self, fds: &mut Vec<PollFd>, sources: &mut Vec<Source>) {
        fds.clear();
        sources.clear();
        let mut add = |fd: RawFd, events: i16, source: Source| {
            fds.push(PollFd { fd, events, revents: 0 });
            sources.push(source);
        };
        let writing = if self.channel.backlog() > 0 { sys::POLLOUT } else { 0 };
        if self.host_gone.is_none() {
            add(self.channel.fd(), sys::POLLIN | writing, Source::Port);
        }
        add(self.children.as_raw_fd(), sys::POLLIN, Source::Children);
        let room = self.channel.backlog() < BACKLOG_BYTES_MAX;
        for process in &self.processes {
            if let Some(stdin) = process.stdin.as_ref().filter(|stdin| !stdin.queue.is_empty()) {
                add(stdin.fd.as_raw_fd(), sys::POLLOUT, Source::Stdin(process.id));
            }
            if !room || process.credit < message::COST_MIN {
                continue;
            }
            for (index, output) in process.outputs.iter().enumerate() {
                if let Some(output) = output {
                    add(output.fd.as_raw_fd(), sys::POLLIN, Source::Output(process.id, index));
                }
            }
        }
    }

    fn timeout_ms(&self) -> i32 {
        if self.host_gone.is_some() {
            return 20;
        }
        let ended = self.processes.iter().filter_map(|process| process.ended).min();
        ended.map_or(-1, |ended| (DRAIN.saturating_sub(ended.elapsed()).as_millis() as i32 + 1).max(1))
    }

    fn dispatch(&mut self, source: Source, events: i16) -> Result<()> {
        match source {
            Source::Port => self.receive(events),
            Source::Children => {
                self.bury();
                Ok(())
            }
            Source::Stdin(id) => {
                self.feed(id);
                Ok(())
            }
            Source::Output(id, index) => {
                self.pump(id, index);
                Ok(())
            }
        }
    }

    fn receive(&mut self, events: i16) -> Result<()> {
        while self.channel.receive()? {
            loop {
                let next = self.channel.next(|header, payload| {
                    message::decode_request(header.kind, payload).map(|request| (header.process, request))
                });
                match next.map_err(malformed)? {
                    None => break,
                    Some(frame) => {
                        let (process, request) = frame.map_err(malformed)?;
                        self.handle(process, request).map_err(malformed)?;
                    }
                }
            }
        }
        if events & sys::POLLHUP != 0 {
            self.host_gone = Some(Instant::now());
        }
        Ok(())
    }

    fn handle(&mut self, id: u16, request: Request) -> Parsed<()> {
        match request {
            Request::Setup(setup) => return self.set_up(&setup),
            Request::StartPart(part) => self.partial.extend_from_slice(&part),
            Request::Start(last) => {
                self.partial.extend_from_slice(&last);
                let command = message::decode_command(&std::mem::take(&mut self.partial))?;
                return self.start(id, &command);
            }
            Request::Changes => self.send_changes(),
            Request::Count => {
                let counters = network::counters().unwrap_or_default();
                message::encode_counters(self.channel.out(), &counters);
            }
            Request::Stdin(bytes) => self.take_stdin(id, &bytes),
            Request::StdinClose => self.close_stdin(id),
            Request::Kill(signal) => self.signal(id, i32::from(signal)),
            Request::Resize(columns, rows) => {
                if let Some(terminal) = self.find(id).and_then(|process| process.terminal.as_ref()) {
                    let _ = process::resize(terminal, columns, rows);
                }
            }
            Request::Credit(bytes) => {
                if let Some(process) = self.find(id) {
                    process.credit = process.credit.saturating_add(bytes);
                }
            }
        }
        Ok(())
    }

    fn find(&mut self, id: u16) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.id == id)
    }

    fn set_up(&mut self, setup: &message::Setup) -> Parsed<()> {
        if self.ready.is_some() {
            return Err(Malformed("SETUP twice"));
        }
        self.layers = setup.layers.len();
        match setup::set_up(&self.machine, setup) {
            Ok(ready) => {
                message::encode_ready(self.channel.out(), &ready.boot_id, &ready.steps);
                self.ready = Some(ready);
            }
            Err(error) => message::encode_fault(self.channel.out(), FaultCode::Setup, &error.to_string()),
        }
        Ok(())
    }

    fn start(&mut self, id: u16, command: &Command) -> Parsed<()> {
        if self.ready.is_none() {
            return Err(Malformed("START before SETUP"));
        }
        if id == 0 || self.processes.iter().any(|process| process.id == id) {
            return Err(Malformed("START with a number that is in use"));
        }
        let namespaces = &self.machine.namespaces;
        match process::spawn(id, command, &namespaces.pidfd, &namespaces.terminals) {
            // The kernel's word for a PID namespace whose pid 1 is dead, which is what `halt` and `reboot` come to.
            Err(error) if error.raw_os_error() == Some(sys::ENOMEM) => {
                self.refuse(id, "the system was halted, or has no memory left\n", 126);
            }
            Err(error) => self.refuse(id, &format!("cannot start a process: {error}\n"), 126),
            Ok(spawned) => {
                self.channel.frame(kind::STARTED, id).u32(spawned.visible_pid).finish();
                if let Some(refusal) = spawned.refusal {
                    let _ = sys::wait_end(spawned.process.pid);
                    self.tell_refused(id, &refusal.message, refusal.exit_code);
                } else {
                    self.processes.push(spawned.process);
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, id: u16, message: &str, exit_code: i32) {
        self.channel.frame(kind::STARTED, id).u32(0).finish();
        self.tell_refused(id, message, exit_code);
    }

    fn tell_refused(&mut self, id: u16, message: &str, exit_code: i32) {
        self.channel.frame(kind::STDERR, id).raw(message.as_bytes()).finish();
        let ending = Ending { exit_code, signal: -1, ..Ending::default() };
        message::encode_ending(self.channel.out(), id, &ending);
        self.channel.frame(kind::OUTPUT_END, id).finish();
    }

    fn take_stdin(&mut self, id: u16, bytes: &[u8]) {
        // A process that is no more is not spoken of: these bytes crossed its end on the way.
        let process = match self.find(id) {
            Some(process) => process,
            None => return,
        };
        match process.stdin.as_mut().filter(|stdin| !stdin.closing) {
            Some(stdin) => {
                stdin.queue.extend(bytes);
                self.feed(id);
            }
            None => self.credit_stdin(id, bytes.len()),
        }
    }

    fn credit_stdin(&mut self, id: u16, count: usize) {
        if count > 0 {
            self.channel.frame(kind::STDIN_CREDIT, id).u32(count as u32).finish();
        }
    }

    /// Gives the process what waits for it; what it will never read is thrown away.
    fn feed(&mut self, id: u16) {
        let process = match self.find(id) {
            Some(process) => process,
            None => return,
        };
        let taken = match process.stdin.as_mut() {
            Some(stdin) => feed_pipe(stdin),
            None => return,
        };
        let last = process.stdin.as_ref().map_or(false, |stdin| stdin.closing && stdin.queue.is_empty());
        if taken.gone || last {
            process.stdin = None;
            if let Some(terminal) = &process.terminal {
                process::end_input(terminal);
            }
        }
        self.credit_stdin(id, taken.bytes);
    }

    fn close_stdin(&mut self, id: u16) {
        if let Some(stdin) = self.find(id).and_then(|process| process.stdin.as_mut()) {
            stdin.closing = true;
        }
        self.feed(id);
    }

    fn signal(&mut self, id: u16, signal: i32) {
        if let Some(process) = self.find(id).filter(|process| process.pid > 0) {
            unsafe { sys::kill(-process.pid, signal) };
        }
    }

    /// Sends one chunk of output, as far as credit allows. False when nothing was there.
    fn pump(&mut self, id: u16, index: usize) -> bool {
        let position = match self.processes.iter().position(|process| process.id == id) {
            Some(position) => position,
            None => return false,
        };
        let process = &mut self.processes[position];
        let limit = CHUNK_BYTES.min(process.credit as usize);
        let output = match process.outputs[index].as_mut() {
            Some(output) if process.credit >= message::COST_MIN => output,
            _ => return false,
        };
        let stream = if index == 0 { kind::STDOUT } else { kind::STDERR };
        match send_output(&mut self.channel, stream, id, output, limit) {
            Some(0) => {
                process.outputs[index] = None;
                false
            }
            Some(count) => {
                process.credit -= message::cost_of(count);
                output.owed = output.owed.saturating_sub(count);
                true
            }
            None => false,
        }
    }

    /// Reports every child that ended.
    fn bury(&mut self) {
        let mut record = [0u8; 128];
        while sys::read_fd(self.children.as_raw_fd(), &mut record).is_ok() {}
        oom::mark_victims(&self.machine.kernel_log, &mut self.processes);
        while let Some((pid, status, usage)) = sys::reap() {
            if let Some(process) = self.processes.iter_mut().find(|process| process.pid == pid) {
                let ending = end(process, status, usage);
                message::encode_ending(self.channel.out(), process.id, &ending);
            }
        }
    }

    /// Drains the output of processes that ended, and forgets those that have nothing left to say.
    fn settle(&mut self) {
        let ended: Vec<u16> =
            self.processes.iter().filter(|process| process.ended.is_some()).map(|process| process.id).collect();
        for id in ended {
            while self.channel.backlog() < BACKLOG_BYTES_MAX && (self.pump(id, 0) || self.pump(id, 1)) {}
            let finished = self.find(id).map_or(false, |process| {
                let late = process.ended.map_or(false, |ended| ended.elapsed() >= DRAIN);
                for output in &mut process.outputs {
                    if late && output.as_ref().map_or(false, |output| output.owed == 0) {
                        *output = None;
                    }
                }
                process.outputs.iter().all(Option::is_none)
            });
            if finished {
                self.channel.frame(kind::OUTPUT_END, id).finish();
                self.processes.retain(|process| process.id != id);
            }
        }
    }

    fn send_changes(&mut self) {
        self.processes.clear();
        let ready = match self.ready.as_ref() {
            Some(ready) => ready,
            None => return message::encode_fault(self.channel.out(), FaultCode::Changes, "CHANGES before SETUP"),
        };
        if let Err(error) = changes::send(&self.machine, self.layers, &ready.placeholders, &mut self.channel) {
            let code = if setup::disk_full() { FaultCode::DiskFull } else { FaultCode::Changes };
            message::encode_fault(self.channel.out(), code, &error.to_string());
        }
    }
}

struct Taken {
    bytes: usize,
    /// The process closed its end.
    gone: bool,
}

fn feed_pipe(stdin: &mut Stdin) -> Taken {
    let mut taken = Taken { bytes: 0, gone: false };
    while !stdin.queue.is_empty() {
        let (head, _) = stdin.queue.as_slices();
        match sys::write_fd(stdin.fd.as_raw_fd(), head) {
            Ok(count) => {
                stdin.queue.drain(..count);
                taken.bytes += count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => {
                taken.bytes += stdin.queue.len();
                stdin.queue.clear();
                taken.gone = true;
            }
        }
    }
    taken
}

/// Reads straight into a frame. Some(0) at the end of output, None when there is nothing now.
fn send_output(channel: &mut Channel, stream: u8, id: u16, output: &mut Output, limit: usize) -> Option<usize> {
    let out = channel.out();
    let start = out.len();
    out.extend_from_slice(&wire::encode_header(stream, id, 0));
    let result = sys::read_onto(output.fd.as_raw_fd(), out, limit);
    match result {
        Ok(count) if count > 0 => {
            out[start..start + HEADER_BYTES].copy_from_slice(&wire::encode_header(stream, id, count));
        }
        _ => out.truncate(start),
    }
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        // The last process that had the terminal open is gone: EIO is a terminal's end of file.
        Err(_) => Some(0),
        Ok(count) => Some(count),
    }
}

/// Marks a process as ended and says how.
fn end(process: &mut Process, status: i32, usage: sys::Usage) -> Ending {
    process.pid = 0;
    process.ended = Some(Instant::now());
    process.stdin = None;
    for output in process.outputs.iter_mut().flatten() {
        output.owed = process::readable(&output.fd);
    }
    let signal = status & 0x7f;
    let mut flags = 0;
    if status & 0x80 != 0 && signal != 0 {
        flags |= flag::CORE_DUMP;
    }
    if process.out_of_memory {
        flags |= flag::OUT_OF_MEMORY;
    }
    if setup::disk_full() {
        flags |= flag::DISK_FULL;
    }
    let (exit_code, signal) = if signal == 0 { (status >> 8 & 0xff, -1) } else { (-1, signal) };
    Ending { exit_code, signal, flags, duration_us: process.started.elapsed().as_micros() as u64, usage }
}
