//! The messages of docs/guest-protocol.md §5: decodes those of the host, encodes those of the agent.

use crate::link::{Address, Network};
use crate::process::{Identity, Unknown};
use crate::sys::Usage;
use crate::wire::{Malformed, Parsed, Reader, Writer};

pub const OUTPUT_WINDOW: u32 = 256 * 1024;
pub const CONNECTION_WINDOW: u32 = 1024 * 1024;
pub const CHANGES_WINDOW: u32 = 1024 * 1024;

/// Minimum credit of a data frame, which covers the memory to hold a short one.
pub const COST_MIN: u32 = 64;

/// Returns the credit that a data frame uses.
pub fn cost_of(payload: usize) -> u32 {
    COST_MIN.max(payload as u32)
}

/// Numbers of frame kinds. 0x09 and 0x8b were used for counters and are not used again.
pub mod kind {
    pub const SETUP: u8 = 0x01;
    pub const START: u8 = 0x02;
    pub const STDIN: u8 = 0x03;
    pub const STDIN_CLOSE: u8 = 0x04;
    pub const KILL: u8 = 0x05;
    pub const RESIZE: u8 = 0x06;
    pub const CREDIT: u8 = 0x07;
    pub const CHANGES: u8 = 0x08;
    pub const START_PART: u8 = 0x0a;
    pub const CONNECT: u8 = 0x0c;
    pub const SNAPSHOT: u8 = 0x0b;

    pub const HELLO: u8 = 0x81;
    pub const READY: u8 = 0x82;
    pub const STARTED: u8 = 0x83;
    pub const STDOUT: u8 = 0x84;
    pub const STDERR: u8 = 0x85;
    pub const OUTPUT_END: u8 = 0x86;
    pub const EXITED: u8 = 0x87;
    pub const STDIN_CREDIT: u8 = 0x88;
    pub const CHANGES_DATA: u8 = 0x89;
    pub const CHANGES_END: u8 = 0x8a;
    pub const FAULT: u8 = 0x8c;
    pub const CONNECTED: u8 = 0x8e;
    pub const DISCONNECTED: u8 = 0x8f;
    pub const USER: u8 = 0x90;
    pub const SNAPSHOT_END: u8 = 0x8d;
}

pub mod flag {
    pub const CORE_DUMP: u8 = 1;
    pub const OUT_OF_MEMORY: u8 = 2;
    pub const DISK_FULL: u8 = 4;
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum FaultCode {
    Setup = 1,
    Changes = 2,
    DiskFull = 3,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub bytes: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Setup {
    pub hostname: Vec<u8>,
    pub clock_ns: u64,
    pub entropy: Vec<u8>,
    pub disk_bytes: u64,
    /// Layers of the image, bottom first.
    pub layers: Vec<Extent>,
    pub network: Option<Network>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    pub argv: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
    pub cwd: Vec<u8>,
    pub uid: u32,
    pub gid: u32,
    /// All groups; filled in when it is started, and empty for root.
    pub groups: Vec<u32>,
    /// User to look up in the run's passwd, instead of the ids above.
    pub account: Option<Account>,
    pub stdin: bool,
    /// Columns and rows of the terminal.
    pub terminal: Option<(u16, u16)>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Account {
    /// `USER` or `USER:GROUP`, names or numbers.
    pub user: Vec<u8>,
    /// True when HOME is to be the user's.
    pub home: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    Setup(Box<Setup>),
    /// Payload of a START, or its last part; `decode_command` reads it.
    Start(Vec<u8>),
    /// An earlier part of a START payload.
    StartPart(Vec<u8>),
    Stdin(Vec<u8>),
    StdinClose,
    Kill(u8),
    Resize(u16, u16),
    Credit(u32),
    Changes,
    /// Connect to this port.
    Connect(u16),
    Snapshot(Step),
}

/// What the host wants of a snapshot.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Step {
    /// Begin one.
    Take,
    /// The last one is stored: the next one has only what changed since.
    Accept,
    /// Stop the one that is under way.
    Cancel,
}

pub fn decode_request(kind: u8, payload: &[u8]) -> Parsed<Request> {
    let mut reader = Reader::new(payload);
    let request = match kind {
        kind::SETUP => Request::Setup(Box::new(decode_setup(&mut reader)?)),
        kind::START => Request::Start(reader.take(payload.len())?.to_vec()),
        kind::START_PART => Request::StartPart(reader.take(payload.len())?.to_vec()),
        kind::STDIN => Request::Stdin(reader.take(payload.len())?.to_vec()),
        kind::STDIN_CLOSE => Request::StdinClose,
        kind::KILL => Request::Kill(reader.u8()?),
        kind::RESIZE => Request::Resize(reader.u16()?, reader.u16()?),
        kind::CREDIT => Request::Credit(reader.u32()?),
        kind::CHANGES => Request::Changes,
        kind::CONNECT => Request::Connect(reader.u16()?),
        kind::SNAPSHOT => Request::Snapshot(match reader.u8()? {
            0 => Step::Take,
            1 => Step::Accept,
            2 => Step::Cancel,
            _ => return Err(Malformed("an unknown step of a snapshot")),
        }),
        _ => return Err(Malformed("an unknown kind of frame")),
    };
    reader.end()?;
    Ok(request)
}

fn decode_setup(reader: &mut Reader) -> Parsed<Setup> {
    Ok(Setup {
        hostname: reader.text()?,
        clock_ns: reader.u64()?,
        entropy: reader.bytes()?.to_vec(),
        disk_bytes: reader.u64()?,
        layers: reader.list(|reader| Ok(Extent { offset: reader.u64()?, bytes: reader.u64()? }))?,
        network: match reader.u8()? {
            0 => None,
            _ => Some(decode_network(reader)?),
        },
    })
}

fn decode_network(reader: &mut Reader) -> Parsed<Network> {
    let mut mac = [0; 6];
    mac.copy_from_slice(reader.take(6)?);
    Ok(Network {
        mac,
        mtu: reader.u16()?,
        ip4: decode_address(reader, 4)?,
        ip6: decode_address(reader, 16)?,
        nameservers: reader.list(|reader| reader.text())?,
    })
}

fn decode_address(reader: &mut Reader, length: usize) -> Parsed<Option<Address>> {
    if reader.u8()? == 0 {
        return Ok(None);
    }
    let (address, prefix, gateway) = (reader.bytes()?.to_vec(), reader.u8()?, reader.bytes()?.to_vec());
    if address.len() != length || gateway.len() != length || usize::from(prefix) > length * 8 {
        return Err(Malformed("an address of the wrong size"));
    }
    Ok(Some(Address { address, prefix, gateway }))
}

pub fn decode_command(payload: &[u8]) -> Parsed<Command> {
    let mut reader = Reader::new(payload);
    let argv = reader.list(|reader| reader.text())?;
    let env = reader.list(|reader| reader.text())?;
    let (cwd, uid, gid) = (reader.text()?, reader.u32()?, reader.u32()?);
    let (flags, columns, rows) = (reader.u8()?, reader.u16()?, reader.u16()?);
    let account = if flags & 4 == 0 { None } else { Some(Account { user: reader.text()?, home: flags & 8 != 0 }) };
    reader.end()?;
    if argv.is_empty() {
        return Err(Malformed("a command without a program"));
    }
    let terminal = if flags & 2 == 0 { None } else { Some((columns, rows)) };
    Ok(Command { argv, env, cwd, uid, gid, groups: Vec::new(), account, stdin: flags & 1 != 0, terminal })
}

/// End of a process, as EXITED reports it.
#[derive(Default)]
pub struct Ending {
    pub exit_code: i32,
    pub signal: i32,
    pub flags: u8,
    pub duration_us: u64,
    pub usage: Usage,
}

pub fn encode_ending(out: &mut Vec<u8>, process: u16, ending: &Ending) {
    let usage = &ending.usage;
    let time = |time: &crate::sys::TimeVal| time.sec as u64 * 1_000_000 + time.usec as u64;
    let numbers = [
        ending.duration_us,
        time(&usage.user),
        time(&usage.system),
        usage.max_rss_kib as u64,
        usage.minor_faults as u64,
        usage.major_faults as u64,
        usage.voluntary_switches as u64,
        usage.involuntary_switches as u64,
        usage.blocks_in as u64,
        usage.blocks_out as u64,
    ];
    let writer = Writer::new(out, kind::EXITED, process).i32(ending.exit_code).i32(ending.signal).u8(ending.flags);
    numbers.iter().fold(writer, |writer, number| writer.u64(*number)).finish();
}

pub fn encode_identity(out: &mut Vec<u8>, process: u16, identity: &Identity) {
    Writer::new(out, kind::USER, process).u8(0).u32(identity.uid).u32(identity.gid).bytes(&identity.home).finish();
}

pub fn encode_unknown(out: &mut Vec<u8>, process: u16, unknown: Unknown) {
    Writer::new(out, kind::USER, process).u8(unknown as u8).u32(0).u32(0).bytes(b"").finish();
}

pub fn encode_hello(out: &mut Vec<u8>, kernel: &str, version: &str) {
    Writer::new(out, kind::HELLO, 0).bytes(kernel.as_bytes()).bytes(version.as_bytes()).finish();
}

pub fn encode_changes_end(out: &mut Vec<u8>, bytes: u64, entries: u64, disk_full: bool) {
    let flags = if disk_full { flag::DISK_FULL } else { 0 };
    Writer::new(out, kind::CHANGES_END, 0).u64(bytes).u64(entries).u8(flags).finish();
}

/// End of a snapshot, as SNAPSHOT_END reports it.
#[derive(Default)]
pub struct SnapshotEnd {
    pub bytes: u64,
    pub entries: u64,
    pub frozen_us: u64,
    /// Why there is none; empty when it is complete.
    pub failure: String,
}

pub fn encode_snapshot_end(out: &mut Vec<u8>, end: &SnapshotEnd) {
    let writer = Writer::new(out, kind::SNAPSHOT_END, 0).u64(end.bytes).u64(end.entries).u64(end.frozen_us);
    writer.bytes(end.failure.as_bytes()).finish();
}

pub fn encode_ready(out: &mut Vec<u8>, boot_id: &str, steps: &[(&str, u32)]) {
    let writer = Writer::new(out, kind::READY, 0).bytes(boot_id.as_bytes()).u32(steps.len() as u32);
    steps.iter().fold(writer, |writer, (name, us)| writer.bytes(name.as_bytes()).u32(*us)).finish();
}

pub fn encode_fault(out: &mut Vec<u8>, code: FaultCode, reason: &str) {
    Writer::new(out, kind::FAULT, 0).u8(code as u8).bytes(reason.as_bytes()).finish();
}
