//! Starts programs in the image, and holds their state while they run.

mod users;

pub use users::{Identity, Unknown};

use crate::boot::Namespaces;
use crate::message::{Command, OUTPUT_WINDOW};
use crate::streams::{output_pipe, Output, Stdin};
use crate::sys::{self, c};
use std::collections::VecDeque;
use std::ffi::CString;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::raw::{c_char, c_int, c_ulong, c_void};
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

const TIOCSCTTY: c_ulong = 0x540e;
const TIOCSWINSZ: c_ulong = 0x5414;
const TIOCSPTLCK: c_ulong = 0x4004_5431;
const TIOCGPTPEER: c_ulong = 0x5441;

/// One process of the user, from START until both EXITED and OUTPUT_END are sent.
pub struct Process {
    pub id: u16,
    /// Pid in the agent's namespace; 0 once the process was reaped.
    pub pid: c_int,
    pub started: Instant,
    pub stdin: Option<Stdin>,
    /// stdout and stderr; only the first is used with a terminal.
    pub outputs: [Option<Output>; 2],
    pub terminal: Option<OwnedFd>,
    /// Last byte of the terminal's input.
    pub last_typed: u8,
    pub credit: u32,
    pub out_of_memory: bool,
    pub ended: Option<Instant>,
}

/// Result of `spawn` besides the process: its pid in its own namespace, and the reason if it did not start.
pub struct Spawned {
    pub process: Process,
    pub visible_pid: u32,
    pub refusal: Option<Refusal>,
}

pub struct Refusal {
    pub exit_code: i32,
    pub message: String,
}

/// The three standard descriptors of a child, and the agent's ends of them.
struct Stdio {
    child: [OwnedFd; 3],
    stdin: Option<OwnedFd>,
    outputs: [Option<OwnedFd>; 2],
    terminal: Option<OwnedFd>,
}

/// Data that the child needs. It is made before the clone, because the child shares the agent's memory and must hardly allocate.
struct Plan<'a> {
    command: &'a Command,
    namespaces: RawFd,
    group: Option<&'static str>,
    stdio: [RawFd; 3],
    terminal: bool,
    cwd: CString,
    /// Paths of the program to try, in order.
    programs: Vec<CString>,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    outcome: Outcome,
}

/// Written by the child, read by the agent after the child has called exec or exited.
#[derive(Default)]
struct Outcome {
    visible_pid: c_int,
    /// The step that failed and its errno; errno is 0 when the program runs.
    step: &'static str,
    errno: i32,
}

/// Fills in the ids and groups of a command's user, and HOME if that is wanted. Returns the identity that a request for an
/// account is answered with.
pub fn identify(
    command: &mut Command,
    namespaces: &Namespaces,
) -> Result<Option<std::result::Result<Identity, Unknown>>> {
    let account = command.account.take();
    if account.is_none() && command.uid == 0 && command.gid == 0 {
        return Ok(None);
    }
    let accounts = users::Accounts::read(namespaces)?;
    let (user, home) = match &account {
        Some(account) => (account.user.clone(), account.home),
        None => (format!("{}:{}", command.uid, command.gid).into_bytes(), false),
    };
    let resolved = accounts.resolve(&user);
    if let Ok(identity) = &resolved {
        (command.uid, command.gid, command.groups) = (identity.uid, identity.gid, identity.groups.clone());
        if home {
            command.env.retain(|entry| !entry.starts_with(b"HOME="));
            command.env.push([b"HOME=", &identity.home[..]].concat());
        }
    } else if account.is_none() {
        command.groups = vec![command.gid];
    }
    Ok(account.map(|_| resolved))
}

pub fn spawn(id: u16, command: &Command, namespaces: &Namespaces) -> Result<Spawned> {
    let stdio = match command.terminal {
        Some(size) => terminal(command, size, &namespaces.terminals)?,
        None => pipes(command, &namespaces.null)?,
    };
    let argv: Vec<CString> = command.argv.iter().map(|text| c(text)).collect::<Result<_>>()?;
    let env: Vec<CString> = command.env.iter().map(|text| c(text)).collect::<Result<_>>()?;
    let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
    let mut plan = Plan {
        command,
        namespaces: namespaces.pidfd.as_raw_fd(),
        group: namespaces.group,
        stdio: [stdio.child[0].as_raw_fd(), stdio.child[1].as_raw_fd(), stdio.child[2].as_raw_fd()],
        terminal: stdio.terminal.is_some(),
        cwd: c(&command.cwd)?,
        programs: programs(command)?,
        argv: pointers(&argv),
        env: pointers(&env),
        outcome: Outcome::default(),
    };
    let started = Instant::now();
    // SAFETY: `child` execs or exits, and touches only the plan, which outlives it.
    let pid = unsafe { sys::spawn(child, (&mut plan as *mut Plan).cast()) }?;
    let outcome = &plan.outcome;
    let refusal = if outcome.errno == 0 { None } else { Some(refuse(command, outcome)) };
    let visible_pid = outcome.visible_pid as u32;
    let process = Process {
        id,
        pid,
        started,
        stdin: stdio.stdin.map(|fd| Stdin { fd, queue: VecDeque::new(), closing: false }),
        outputs: stdio.outputs.map(|fd| fd.map(Output::new)),
        terminal: stdio.terminal,
        last_typed: b'\n',
        credit: OUTPUT_WINDOW,
        out_of_memory: false,
        ended: None,
    };
    Ok(Spawned { process, visible_pid, refusal })
}

/// Returns the paths that a shell would try for argv[0].
fn programs(command: &Command) -> Result<Vec<CString>> {
    const PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let name = &command.argv[0];
    if name.contains(&b'/') {
        return Ok(vec![c(name)?]);
    }
    let path = command.env.iter().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(PATH);
    path.split(|byte| *byte == b':')
        .map(|folder| {
            let folder: &[u8] = if folder.is_empty() { b"." } else { folder };
            c(&[folder, b"/", name].concat())
        })
        .collect()
}

fn refuse(command: &Command, outcome: &Outcome) -> Refusal {
    let name = String::from_utf8_lossy(&command.argv[0]).into_owned();
    let reason = Error::from_raw_os_error(outcome.errno).to_string();
    let reason = reason.split(" (os error").next().unwrap_or_default();
    if outcome.step != "exec" {
        return Refusal { exit_code: 126, message: format!("{name}: {}: {reason}\n", outcome.step) };
    }
    match outcome.errno {
        sys::ENOENT if name.contains('/') => {
            Refusal { exit_code: 127, message: format!("{name}: No such file or directory\n") }
        }
        sys::ENOENT => Refusal { exit_code: 127, message: format!("{name}: command not found\n") },
        sys::ENOTDIR => Refusal { exit_code: 127, message: format!("{name}: {reason}\n") },
        _ => Refusal { exit_code: 126, message: format!("{name}: {reason}\n") },
    }
}

fn pipes(command: &Command, null: &OwnedFd) -> Result<Stdio> {
    let (stdin, child_stdin) = if command.stdin {
        let (read, write) = sys::pipe()?;
        sys::set_nonblocking(&write)?;
        (Some(write), read)
    } else {
        (None, null.try_clone()?)
    };
    let (stdout, child_stdout) = output_pipe(command)?;
    let (stderr, child_stderr) = output_pipe(command)?;
    let child = [child_stdin, child_stdout, child_stderr];
    Ok(Stdio { child, stdin, outputs: [Some(stdout), Some(stderr)], terminal: None })
}

/// Opens a pseudo-terminal in the user's own /dev/pts, so that `tty` and `who` work inside.
fn terminal(command: &Command, (columns, rows): (u16, u16), terminals: &OwnedFd) -> Result<Stdio> {
    const TTY_GROUP: u32 = 5;
    let flags = sys::O_RDWR | sys::O_NOCTTY | sys::O_NONBLOCK;
    let master = sys::open_at(terminals.as_raw_fd(), &c(b"ptmx")?, flags)?;
    sys::control(&master, TIOCSPTLCK, &mut 0i32)?;
    let flags = (sys::O_RDWR | sys::O_NOCTTY | sys::O_CLOEXEC) as c_ulong;
    let peer = sys::control_number(&master, TIOCGPTPEER, flags)?;
    // SAFETY: the ioctl just made this descriptor, and nothing else owns it.
    let slave = unsafe { OwnedFd::from_raw_fd(peer) };
    unsafe { sys::fchown(slave.as_raw_fd(), command.uid, TTY_GROUP) };
    let child = [slave.try_clone()?, slave.try_clone()?, slave];
    resize(&master, columns, rows)?;
    let stdin = if command.stdin { Some(master.try_clone()?) } else { None };
    if stdin.is_none() {
        end_input(&master, b'\n');
    }
    Ok(Stdio { child, stdin, outputs: [Some(master.try_clone()?), None], terminal: Some(master) })
}

const TCGETS: c_ulong = 0x5401;
const TCSETS: c_ulong = 0x5402;
const ICANON: u32 = 2;

/// Ends a terminal's input after the byte `last`. It cannot be closed on its own, only by the end-of-file character, which
/// ends an empty line; on an unfinished one, the first only sends the line. A terminal that is not in line mode has no such
/// character, so it is put into line mode, where what is unread becomes a line.
pub fn end_input(terminal: &OwnedFd, last: u8) {
    const ICRNL: u32 = 0o400;
    const VEOF: usize = 4;
    const END_OF_TRANSMISSION: u8 = 4;
    let mut settings = sys::Termios::default();
    let known = sys::control(terminal, TCGETS, &mut settings).is_ok();
    let lines = settings.local & ICANON != 0;
    if known && !lines {
        settings.local |= ICANON;
        let _ = sys::control(terminal, TCSETS, &mut settings);
    }
    let mark = if known && settings.characters[VEOF] != 0 { settings.characters[VEOF] } else { END_OF_TRANSMISSION };
    let finished = last == b'\n' || last == mark || (last == b'\r' && settings.input & ICRNL != 0);
    let marks = [mark, mark];
    let _ = sys::write_fd(terminal.as_raw_fd(), if finished || !lines { &marks[..1] } else { &marks });
}

/// Reports whether a terminal is not in line mode.
pub fn is_raw(terminal: &OwnedFd) -> bool {
    let mut settings = sys::Termios::default();
    sys::control(terminal, TCGETS, &mut settings).is_ok() && settings.local & ICANON == 0
}

pub fn resize(terminal: &OwnedFd, columns: u16, rows: u16) -> Result<()> {
    let mut size = sys::WinSize { rows, columns, pixels: [0; 2] };
    sys::control(terminal, TIOCSWINSZ, &mut size).map(|_| ())
}

/// Runs in the child between clone and exec, in the agent's memory while the agent is suspended.
extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes its plan and waits for this function.
    let plan = unsafe { &mut *argument.cast::<Plan>() };
    if let Err((step, error)) = become_program(plan) {
        plan.outcome.step = step;
        plan.outcome.errno = error.raw_os_error().unwrap_or(sys::EIO);
        unsafe { sys::_exit(127) };
    }
    unreachable!("exec does not return");
}

type Step<T> = std::result::Result<T, (&'static str, Error)>;

fn at<T>(step: &'static str, result: Result<T>) -> Step<T> {
    result.map_err(|error| (step, error))
}

fn verdict(result: c_int) -> Result<()> {
    if result < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(())
    }
}

fn become_program(plan: &mut Plan) -> Step<()> {
    unsafe {
        plan.outcome.visible_pid = sys::getpid();
        sys::setsid();
        at("namespaces", verdict(sys::enter_raw(plan.namespaces, sys::CLONE_NEWNS)))?;
        if let Some(group) = plan.group {
            // A run that removed the control groups has lost its own limits; those of the host still hold.
            let _ = fs::write(group, "0");
        }
        for (target, fd) in plan.stdio.iter().enumerate() {
            at("stdio", verdict(sys::dup2(*fd, target as c_int)))?;
        }
        if plan.terminal {
            at("terminal", verdict(sys::ioctl(0, TIOCSCTTY, 0)))?;
        }
    }
    at("working directory", enter_directory(plan))?;
    at("user", become_user(plan.command))?;
    sys::reset_signals();
    at("exec", Err(execute(plan)))
}

/// Enters the working directory and creates it if it is missing.
fn enter_directory(plan: &Plan) -> Result<()> {
    let result = verdict(unsafe { sys::chdir(plan.cwd.as_ptr()) });
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(String::from_utf8_lossy(&plan.command.cwd).as_ref())?;
            verdict(unsafe { sys::chdir(plan.cwd.as_ptr()) })
        }
        other => other,
    }
}

fn become_user(command: &Command) -> Result<()> {
    if command.groups.is_empty() {
        return Ok(());
    }
    verdict(unsafe { sys::setgroups(command.groups.len(), command.groups.as_ptr()) })?;
    verdict(unsafe { sys::setgid(command.gid) })?;
    verdict(unsafe { sys::setuid(command.uid) })
}

/// Tries all paths and returns the most informative errno: "permission denied" takes precedence over "not found".
fn execute(plan: &Plan) -> Error {
    let mut denied = false;
    for program in &plan.programs {
        unsafe { sys::execve(program.as_ptr(), plan.argv.as_ptr(), plan.env.as_ptr()) };
        match sys::errno() {
            sys::ENOENT | sys::ENOTDIR => {}
            sys::EACCES => denied = true,
            sys::ENOEXEC => return run_by_shell(plan, program),
            other => return Error::from_raw_os_error(other),
        }
    }
    Error::from_raw_os_error(if denied { sys::EACCES } else { sys::ENOENT })
}

/// Runs a script without `#!` with the shell, as shells and execvp do.
fn run_by_shell(plan: &Plan, program: &CString) -> Error {
    let shell = b"/bin/sh\0".as_ptr().cast::<c_char>();
    let mut argv = vec![shell, program.as_ptr()];
    argv.extend_from_slice(&plan.argv[1..]);
    unsafe { sys::execve(shell, argv.as_ptr(), plan.env.as_ptr()) };
    Error::from_raw_os_error(sys::ENOEXEC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(name: &str, env: &[&str]) -> Command {
        Command {
            argv: vec![name.into()],
            env: env.iter().map(|entry| entry.as_bytes().to_vec()).collect(),
            cwd: b"/".to_vec(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            account: None,
            stdin: false,
            terminal: None,
        }
    }

    #[test]
    fn a_bare_name_is_looked_up_in_the_commands_own_path() {
        let found = programs(&command("x", &["PATH=/a::/b"])).unwrap();
        assert_eq!(found, [c(b"/a/x").unwrap(), c(b"./x").unwrap(), c(b"/b/x").unwrap()]);
        assert_eq!(programs(&command("./x", &["PATH=/a"])).unwrap(), [c(b"./x").unwrap()]);
        assert_eq!(programs(&command("x", &[])).unwrap().len(), 6);
    }

    #[test]
    fn what_cannot_run_is_told_like_a_shell_does() {
        let told = |errno, name: &str| {
            let refusal = refuse(&command(name, &[]), &Outcome { visible_pid: 1, step: "exec", errno });
            (refusal.exit_code, refusal.message)
        };
        assert_eq!(told(sys::ENOENT, "nix"), (127, "nix: command not found\n".into()));
        assert_eq!(told(sys::ENOENT, "/nix"), (127, "/nix: No such file or directory\n".into()));
        assert_eq!(told(sys::EACCES, "/etc"), (126, "/etc: Permission denied\n".into()));
    }
}
