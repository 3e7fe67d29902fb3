//! Phase 3: one loop that serves all processes, the channel and the exits of children.

use crate::boot::Machine;
use crate::changes::Snapshots;
use crate::channel::Channel;
use crate::connection::Connections;
use crate::memory::Memory;
use crate::message::{self, kind, Command, Ending, FaultCode, Request, Step};
use crate::oom;
use crate::process::{self, Process};
use crate::setup::{self, Ready};
use crate::sys::{self, PollFd};
use crate::wire::{Malformed, Parsed};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Interval of checks for a terminal that lost the end of its input.
const TERMINAL_CHECK_MS: i32 = 100;
/// Time for which output is still read after the process itself has ended.
const DRAIN: Duration = Duration::from_millis(100);
/// Time for which the host's end of the channel may be gone before the machine is powered off.
const HOST_GONE: Duration = Duration::from_secs(2);
/// Output is not read while this many bytes wait for the port.
const BACKLOG_BYTES_MAX: usize = 512 * 1024;

pub struct Agent {
    machine: Machine,
    channel: Channel,
    children: OwnedFd,
    phase: Phase,
    processes: Vec<Process>,
    connections: Connections,
    snapshots: Snapshots,
    /// Parts of a START payload that have arrived so far.
    partial: Vec<u8>,
    /// True once the pid 1 of the user's processes has ended, and they with it.
    init_ended: bool,
    host_gone: Option<Instant>,
    memory: Option<Memory>,
}

/// Phase of the run. Phases follow one another and never go back.
enum Phase {
    /// Waits for SETUP.
    Waiting,
    Ready(Ready),
    /// CHANGES was received. The changes are sent once every process has ended and its output is sent.
    Ending {
        ready: Ready,
        /// Mount of the image to compare with.
        base: String,
    },
    Over,
}

/// Owner of a descriptor that is polled.
#[derive(Clone, Copy)]
enum Source {
    Port,
    Children,
    Stdin(u16),
    Output(u16, usize),
    Connection(u16),
}

fn malformed(Malformed(rule): Malformed) -> Error {
    Error::new(ErrorKind::InvalidData, format!("the host sent {rule}"))
}

impl Agent {
    pub fn new(machine: Machine, children: OwnedFd, port: OwnedFd) -> Self {
        let channel = Channel::new(port);
        let memory = machine.memory_bytes.map(Memory::of);
        Agent {
            machine,
            channel,
            children,
            phase: Phase::Waiting,
            processes: Vec::new(),
            connections: Connections::default(),
            snapshots: Snapshots::default(),
            partial: Vec::new(),
            init_ended: false,
            host_gone: None,
            memory,
        }
    }

    /// Sends HELLO and serves until the host is gone or breaks the protocol.
    pub fn serve(&mut self) -> Result<()> {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        message::encode_hello(self.channel.out(), kernel.trim_end(), env!("CARGO_PKG_VERSION"));
        let (mut fds, mut sources) = (Vec::new(), Vec::new());
        loop {
            self.channel.flush()?;
            let collecting_ms = self.watch(&mut fds, &mut sources);
            match sys::wait_for(&mut fds, self.timeout_ms(collecting_ms)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for (fd, source) in fds.iter().zip(&sources) {
                if fd.revents != 0 {
                    self.dispatch(*source, fd.revents)?;
                }
            }
            if let Some(memory) = self.memory.as_mut() {
                memory.watch(self.machine.namespaces.init, &mut self.processes);
            }
            self.processes.iter().for_each(Process::keep_ended);
            self.settle();
            self.finish();
            if self.host_gone.map_or(false, |since| since.elapsed() > HOST_GONE) {
                return Ok(());
            }
        }
    }

    /// Lists the descriptors to poll. Output is polled only while there is credit and room for it. Returns the milliseconds
    /// until output has to be polled that is not yet, because its pieces are collected; −1 when there is none. The clock is read
    /// once for both: an output that is neither polled nor waited for would stand still.
    fn watch(&self, fds: &mut Vec<PollFd>, sources: &mut Vec<Source>) -> i32 {
        fds.clear();
        sources.clear();
        let now = Instant::now();
        let mut soonest: Option<Duration> = None;
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
        for (id, fd, events) in self.connections.wanted(room) {
            add(fd, events, Source::Connection(id));
        }
        for process in &self.processes {
            if let Some(stdin) = process.stdin.as_ref().filter(|stdin| !stdin.queue.is_empty()) {
                add(stdin.fd.as_raw_fd(), sys::POLLOUT, Source::Stdin(process.id));
            }
            if !room || process.credit < message::COST_MIN {
                continue;
            }
            for (index, output) in process.outputs.iter().enumerate() {
                let output = match output {
                    Some(output) => output,
                    None => continue,
                };
                let wait = output.collecting(now);
                if wait.is_zero() {
                    add(output.fd.as_raw_fd(), sys::POLLIN, Source::Output(process.id, index));
                } else {
                    soonest = Some(soonest.map_or(wait, |before| before.min(wait)));
                }
            }
        }
        soonest.map_or(-1, |wait| wait.as_millis() as i32 + 1)
    }

    /// Milliseconds until something has to be done that no descriptor announces; −1 when there is nothing.
    fn timeout_ms(&self, collecting_ms: i32) -> i32 {
        if self.host_gone.is_some() {
            return 20;
        }
        let terminal = if self.processes.iter().any(Process::may_lose_end) { TERMINAL_CHECK_MS } else { -1 };
        let memory = self.memory.as_ref().filter(|_| !self.processes.is_empty()).map_or(-1, Memory::pause_ms);
        let waits = [self.drain_ms(), collecting_ms, terminal, memory];
        waits.into_iter().filter(|wait| *wait >= 0).min().unwrap_or(-1)
    }

    fn drain_ms(&self) -> i32 {
        let drained = |process: &&Process| process.outputs.iter().flatten().any(|output| output.owed == 0);
        let ends = self.processes.iter().filter(drained).filter_map(|process| process.ended);
        ends.min().map_or(-1, |ended| DRAIN.saturating_sub(ended.elapsed()).as_millis() as i32 + 1)
    }

    fn dispatch(&mut self, source: Source, events: i16) -> Result<()> {
        let channel = &mut self.channel;
        match source {
            Source::Port => return self.receive(events),
            Source::Children => self.bury(),
            Source::Stdin(id) => self.stdin(id, Process::feed),
            Source::Connection(id) => self.connections.serve(id, channel),
            Source::Output(id, index) => {
                if let Some(process) = self.processes.iter_mut().find(|process| process.id == id) {
                    process.pump(index, channel);
                }
            }
        }
        Ok(())
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
        if self.connections.handle(id, &request, &mut self.channel) {
            return Ok(());
        }
        match request {
            Request::Setup(setup) => return self.set_up(&setup),
            Request::StartPart(part) => self.partial.extend_from_slice(&part),
            Request::Start(last) => {
                self.partial.extend_from_slice(&last);
                let command = message::decode_command(&std::mem::take(&mut self.partial))?;
                return self.start(id, command);
            }
            Request::Changes => return self.begin_changes(),
            Request::Connect(port) => return self.connect(id, port),
            Request::Snapshot(step) => return self.snapshot(step),
            Request::Stdin(bytes) => self.stdin(id, |process| process.offer(&bytes)),
            Request::StdinClose => self.stdin(id, Process::close_stdin),
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
        if !matches!(self.phase, Phase::Waiting) {
            return Err(Malformed("SETUP twice"));
        }
        self.connections.set_up(setup.network.as_ref());
        self.phase = match setup::set_up(&self.machine, setup) {
            Ok(ready) => {
                message::encode_ready(self.channel.out(), &ready.boot_id, &ready.steps);
                Phase::Ready(ready)
            }
            Err(error) => self.give_up(FaultCode::Setup, &error),
        };
        Ok(())
    }

    fn give_up(&mut self, code: FaultCode, error: &Error) -> Phase {
        message::encode_fault(self.channel.out(), code, &error.to_string());
        Phase::Over
    }

    /// Checks that a process or a connection of this number may begin.
    fn admit(&self, id: u16) -> Parsed<()> {
        if !matches!(self.phase, Phase::Ready(_)) {
            return Err(Malformed("START or CONNECT before SETUP or after CHANGES"));
        }
        if id == 0 || self.processes.iter().any(|process| process.id == id) || self.connections.has(id) {
            return Err(Malformed("START or CONNECT with a number that is in use"));
        }
        Ok(())
    }

    fn connect(&mut self, id: u16, port: u16) -> Parsed<()> {
        self.admit(id)?;
        self.connections.connect(id, port, &mut self.channel);
        Ok(())
    }

    fn start(&mut self, id: u16, mut command: Command) -> Parsed<()> {
        self.admit(id)?;
        let namespaces = &self.machine.namespaces;
        let spawned = match process::identify(&mut command, namespaces) {
            Ok(Some(Err(unknown))) => {
                message::encode_unknown(self.channel.out(), id, unknown);
                return Ok(());
            }
            Ok(Some(Ok(identity))) => {
                message::encode_identity(self.channel.out(), id, &identity);
                process::spawn(id, &command, namespaces)
            }
            Ok(None) => process::spawn(id, &command, namespaces),
            Err(error) => Err(error),
        };
        match spawned {
            // The kernel reports these for namespaces whose pid 1 has ended, for example after `halt` or `reboot`.
            Err(error) if matches!(error.raw_os_error(), Some(sys::ENOMEM) | Some(sys::ESRCH)) => {
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

    /// Runs `step` on a process's stdin and returns as credit the bytes that it took. A process that has ended is ignored:
    /// the host sent the frame before it knew of the end.
    fn stdin(&mut self, id: u16, step: impl FnOnce(&mut Process) -> usize) {
        let taken = self.find(id).map_or(0, step);
        if taken > 0 {
            self.channel.frame(kind::STDIN_CREDIT, id).u32(taken as u32).finish();
        }
    }

    fn signal(&mut self, id: u16, signal: i32) {
        if let Some(process) = self.find(id).filter(|process| process.pid > 0) {
            unsafe { sys::kill(-process.pid, signal) };
        }
    }

    /// Reaps the children that have ended and reports the user's processes among them.
    fn bury(&mut self) {
        let mut record = [0u8; 128];
        while sys::read_fd(self.children.as_raw_fd(), &mut record).is_ok() {}
        if let Some(hardware) = &self.machine.hardware {
            oom::mark_victims(&hardware.kernel_log, &mut self.processes);
        }
        while let Some((pid, status, usage)) = sys::reap() {
            self.init_ended |= pid == self.machine.namespaces.init;
            if let Some(process) = self.processes.iter_mut().find(|process| process.pid == pid) {
                let ending = process.end(status, usage);
                message::encode_ending(self.channel.out(), process.id, &ending);
            }
        }
    }

    /// Drains the output of processes that have ended, and drops those with no output left.
    fn settle(&mut self) {
        let channel = &mut self.channel;
        for process in &mut self.processes {
            let late = match process.ended {
                Some(ended) => ended.elapsed() >= DRAIN,
                None => continue,
            };
            while channel.backlog() < BACKLOG_BYTES_MAX && (process.pump(0, channel) || process.pump(1, channel)) {}
            for output in &mut process.outputs {
                if late && output.as_ref().map_or(false, |output| output.owed == 0) {
                    *output = None;
                }
            }
            if process.finished() {
                channel.frame(kind::OUTPUT_END, process.id).finish();
            }
        }
        self.processes.retain(|process| !process.finished());
    }

    fn snapshot(&mut self, step: Step) -> Parsed<()> {
        let ready = match &self.phase {
            Phase::Ready(ready) => ready,
            _ => return Err(Malformed("SNAPSHOT before SETUP or after CHANGES")),
        };
        match step {
            // It has ended just before.
            Step::Cancel => {}
            Step::Accept if self.snapshots.accept() => {}
            Step::Accept => return Err(Malformed("the acceptance of no snapshot")),
            Step::Take => {
                for (id, request) in self.snapshots.take(&self.machine, ready, &mut self.channel) {
                    self.handle(id, request)?;
                }
            }
        }
        Ok(())
    }

    /// Kills the pid 1 of the user's processes. The kernel ends everything in its namespaces with it, the overlay last.
    fn begin_changes(&mut self) -> Parsed<()> {
        let ready = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Ready(ready) => ready,
            _ => return Err(Malformed("CHANGES before SETUP, or twice")),
        };
        self.connections.reset(&mut self.channel);
        self.phase = match self.snapshots.base(&self.machine, ready.layers) {
            Ok(base) => Phase::Ending { ready, base },
            Err(error) => self.give_up(FaultCode::Changes, &error),
        };
        if !self.init_ended {
            unsafe { sys::kill(self.machine.namespaces.init, sys::SIGKILL) };
        }
        Ok(())
    }

    /// Sends the changes once they were requested and no process can make more.
    fn finish(&mut self) {
        let quiet = self.init_ended && self.processes.is_empty();
        let (ready, base) = match &self.phase {
            Phase::Ending { ready, base } if quiet => (ready, base),
            _ => return,
        };
        let sent = self.snapshots.finish(&self.machine, ready, base, &mut self.channel).and_then(|(bytes, entries)| {
            message::encode_changes_end(self.channel.out(), bytes, entries, setup::disk_full());
            self.channel.flush_all()
        });
        self.phase = match sent {
            Ok(()) => Phase::Over,
            Err(error) if setup::disk_full() => self.give_up(FaultCode::DiskFull, &error),
            Err(error) => self.give_up(FaultCode::Changes, &error),
        };
    }
}
