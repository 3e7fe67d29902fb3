//! First process in the jail of a gVisor sandbox. It starts runsc and forwards the frames of its interface to the engine.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::IpAddr;
use std::os::raw::c_int;
use std::os::unix::io::FromRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::link::{self, Address, Network};
use crate::{invalid, sys, veth};

/// Name under which runsc looks for a program that starts its sandbox process (`runsc/gvisorbinaries` of its sources).
pub const PREWARMER: &str = "gvisor-sentry-prewarmer";
/// Arguments that `boot` adds to the command line of the sandbox process, one per line.
const FLAGS: &str = "/bundle/flags";
/// gVisor's own prewarmer, in releases that have one.
const OWN_PREWARMER: &str = "/gvisor/prewarmer";
/// runsc, in releases without a separate program for the sandbox process.
const RUNSC: &str = "/gvisor/runsc";
const DISK: &str = ":1000";
/// Highest number of a descriptor that the sandbox process uses at its start (`startingStdioFD` in `runsc/boot/loader.go`).
const LAST_DESCRIPTOR: c_int = 255;
/// The only capability that gVisor's kernel keeps: SYS_PTRACE, for the processes of its guest.
const KEPT: u64 = 1 << 19;
/// Capabilities for the start: SYS_ADMIN, with which it makes its own root folder.
const STARTING: u64 = KEPT | 1 << 21;
const INTERFACE: &str = "eth0";
const PEER: &str = "peer";
/// MAC address of the helper's end. Its value does not matter, because it is never visible.
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Ethernet header, a VLAN tag, and the largest IP packet.
const FRAME_BYTES_MAX: usize = 18 + 65_535;

/// Network settings from the engine.
#[derive(Default)]
struct Settings {
    /// Descriptor of the socket for frames.
    frames: Option<c_int>,
    mac: Option<[u8; 6]>,
    mtu: u16,
    ip4: Option<Address>,
    ip6: Option<Address>,
}

/// `[NAME=VALUE]... -- PROGRAM [ARGUMENT]...`: runs the program to its end, with a network interface when `mac` is set.
pub fn run(arguments: &[OsString]) -> Result<()> {
    let separator = arguments.iter().position(|argument| argument == "--").ok_or_else(|| invalid("no program"))?;
    let (own, program) = (&arguments[..separator], &arguments[separator + 1..]);
    let settings = parse(own)?;
    if let Some(frames) = settings.frames {
        sys::close_on_exec(frames)?;
    }
    let mut carrier = None;
    if let (Some(mac), Some(frames)) = (settings.mac, settings.frames) {
        let link = sys::told("network interface", make_interface(mac, &settings))?;
        // SAFETY: the engine passed this descriptor, and nothing else in this process uses it.
        carrier = Some(carry(link, unsafe { File::from_raw_fd(frames) })?);
    }
    let (path, rest) = program.split_first().ok_or_else(|| invalid("no program"))?;
    let child = Command::new(path).args(rest).spawn()?;
    loop {
        // This process is pid 1 of the jail, so it also has to reap orphans.
        let (pid, status) = sys::next_end()?;
        if pid == child.id() as c_int {
            let signal = status & 0x7f;
            std::process::exit(if signal == 0 { status >> 8 & 0xff } else { 128 + signal });
        }
        if carrier == Some(pid) {
            std::process::exit(1);
        }
    }
}

fn parse(arguments: &[OsString]) -> Result<Settings> {
    let mut settings = Settings::default();
    for argument in arguments {
        let pair = argument.to_str().and_then(|text| text.split_once('='));
        let (name, value) = pair.ok_or_else(|| invalid("no setting"))?;
        let number = || value.parse::<u16>().map_err(|_| invalid("no number"));
        match name {
            "frames" => settings.frames = Some(number()?.into()),
            "mtu" => settings.mtu = number()?,
            "mac" => settings.mac = Some(parse_mac(value)?),
            "ip4" => settings.ip4 = Some(parse_address(value)?),
            "ip6" => settings.ip6 = Some(parse_address(value)?),
            _ => return Err(invalid("no such setting")),
        }
    }
    Ok(settings)
}

fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| invalid("no MAC address"))
}

/// Parses `address/prefix/gateway`.
fn parse_address(text: &str) -> Result<Address> {
    let bytes = |text: &str| match text.parse() {
        Ok(IpAddr::V4(address)) => Ok(address.octets().to_vec()),
        Ok(IpAddr::V6(address)) => Ok(address.octets().to_vec()),
        Err(_) => Err(invalid("no address")),
    };
    match text.split('/').collect::<Vec<_>>()[..] {
        [address, prefix, gateway] => Ok(Address {
            address: bytes(address)?,
            prefix: prefix.parse().map_err(|_| invalid("no prefix"))?,
            gateway: bytes(gateway)?,
        }),
        _ => Err(invalid("no address, prefix and gateway")),
    }
}

/// Makes the interface that gVisor takes over, together with its addresses and routes.
fn make_interface(mac: [u8; 6], settings: &Settings) -> Result<File> {
    // bubblewrap mounts it read-only; below that it belongs to the jail's own network namespace.
    let _ = sys::uncover("/proc/sys");
    // The kernel must not send packets of its own on this link.
    for (name, value) in
        [("accept_dad", "0"), ("dad_transmits", "0"), ("router_solicitations", "0"), ("accept_ra", "0")]
    {
        for whom in ["default", "all"] {
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{whom}/{name}"), value);
        }
    }
    let _ = fs::write("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1");
    link::raise_loopback()?;
    veth::make_pair(INTERFACE, PEER)?;
    let copy = |address: &Option<Address>| {
        address.as_ref().map(|Address { address, prefix, gateway }| Address {
            address: address.clone(),
            prefix: *prefix,
            gateway: gateway.clone(),
        })
    };
    let network =
        Network { mac, mtu: settings.mtu, ip4: copy(&settings.ip4), ip6: copy(&settings.ip6), nameservers: Vec::new() };
    link::configure(INTERFACE, &network)?;
    let peer = Network { mac: PEER_MAC, mtu: settings.mtu, ip4: None, ip6: None, nameservers: Vec::new() };
    link::configure(PEER, &peer)?;
    veth::open_frames(PEER)
}

/// Starts a process that forwards frames both ways until one side ends. On the engine's side each follows its length (QEMU's
/// `-netdev stream`). It is a process of its own because the kernel takes some 10 ms to close its socket: the jail's other
/// processes end only after the first one, and that has none.
fn carry(link: File, frames: File) -> Result<c_int> {
    let carrier = sys::fork()?;
    if carrier != 0 {
        return Ok(carrier);
    }
    let (link_in, link_out) = (link.try_clone()?, link);
    let (frames_in, frames_out) = (frames.try_clone()?, frames);
    thread::Builder::new().spawn(move || end_with(send(link_in, frames_out)))?;
    end_with(receive(frames_in, link_out))
}

/// Ends the process that forwards frames, and the sandbox with it, when the engine is gone.
fn end_with(result: Result<()>) -> ! {
    if let Err(error) = result {
        eprintln!("contree-host-helper: frames: {error}");
    }
    std::process::exit(1)
}

fn send(mut link: File, mut frames: File) -> Result<()> {
    let mut buffer = vec![0; 4 + FRAME_BYTES_MAX];
    loop {
        let length = link.read(&mut buffer[4..])?;
        buffer[..4].copy_from_slice(&(length as u32).to_be_bytes());
        frames.write_all(&buffer[..4 + length])?;
    }
}

fn receive(mut frames: File, mut link: File) -> Result<()> {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    loop {
        let mut length = [0; 4];
        match frames.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let length = u32::from_be_bytes(length) as usize;
        let frame = buffer.get_mut(..length).ok_or_else(|| Error::new(ErrorKind::InvalidData, "a frame too long"))?;
        frames.read_exact(frame)?;
        // If the interface is not up yet or its queue is full, the frame is lost, as on any link.
        let _ = link.write(frame);
    }
}

/// Starts the sandbox process as runsc requests (`BINARY ARGV0 [ARGUMENT]... ID`). Adds the settings that only its command line
/// accepts: the guest's memory and number of processors, and the descriptor behind its disk.
///
/// Drops capabilities that gVisor would drop itself, one by one on each of its threads, which is a tenth of a start.
pub fn boot(arguments: &[OsString]) -> Result<()> {
    let (binary, rest) = arguments.split_first().ok_or_else(|| invalid("no program"))?;
    let (name, rest) = rest.split_first().ok_or_else(|| invalid("no name"))?;
    let (id, rest) = rest.split_last().ok_or_else(|| invalid("no container"))?;
    let flags = fs::read_to_string(FLAGS)?;
    // runsc's name for itself refers to this program by now.
    let binary = if binary == "/proc/self/exe" { RUNSC.as_ref() } else { binary.as_os_str() };
    let mut command = if Path::new(OWN_PREWARMER).exists() {
        let mut command = Command::new(OWN_PREWARMER);
        command.arg(binary).arg(name);
        command
    } else {
        let mut command = Command::new(binary);
        command.arg0(name);
        command
    };
    // Without the room the start only takes longer.
    let _ = sys::make_room(LAST_DESCRIPTOR);
    sys::told("capabilities", sys::limit_capabilities(STARTING, KEPT))?;
    Err(command.args(rest.iter().map(with_disk)).args(flags.lines()).arg(id).exec())
}

/// Replaces the argument that passes the guest a descriptor with the number of its disk: gVisor gets it as backing of the disk.
fn with_disk(argument: &OsString) -> OsString {
    let passed = argument.to_str().and_then(|text| text.strip_prefix("--pass-fd="));
    match passed.and_then(|pair| pair.strip_suffix(DISK)) {
        Some(descriptor) => format!("--gofer-filestore-fds={descriptor}").into(),
        None => argument.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_nothing_else() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let text = "frames=5 mtu=1500 mac=02:00:00:00:00:0f ip4=10.0.0.2/30/10.0.0.1 ip6=fd00::2/64/fd00::1";
        let settings = parse(&words(text)).unwrap();
        assert_eq!((settings.frames, settings.mtu), (Some(5), 1500));
        assert_eq!(settings.mac, Some([2, 0, 0, 0, 0, 15]));
        let ip4 = settings.ip4.unwrap();
        assert_eq!((ip4.address, ip4.prefix, ip4.gateway), (vec![10, 0, 0, 2], 30, vec![10, 0, 0, 1]));
        assert_eq!(settings.ip6.unwrap().address.len(), 16);
        for bad in ["frames", "frames=x", "mac=1:2", "ip4=10.0.0.2", "ip4=a/b/c", "other=1", "mtu=70000"] {
            assert!(parse(&words(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_disk_is_told_from_other_descriptors() {
        let told = |text: &str| with_disk(&OsString::from(text)).into_string().unwrap();
        assert_eq!(told("--pass-fd=12:1000"), "--gofer-filestore-fds=12");
        assert_eq!(told("--pass-fd=11:3"), "--pass-fd=11:3");
        assert_eq!(told("boot"), "boot");
    }
}
