//! A pair of Ethernet interfaces in the jail's own network namespace: gVisor uses one, and the helper forwards the frames of
//! the other. Unlike a tap it needs no device that only root may open.

use std::fs::File;
use std::io::{Error, Read, Result, Write};
use std::os::raw::c_int;

use crate::sys;

const AF_NETLINK: c_int = 16;
const AF_PACKET: c_int = 17;
const SOCK_RAW: c_int = 3;
/// All protocols, in network order (linux/if_ether.h).
const ETH_P_ALL: u16 = 3u16.to_be();

const RTM_NEWLINK: u16 = 16;
/// NLM_F_REQUEST, ACK, EXCL and CREATE.
const REQUEST: u16 = 0x605;
const NLMSG_ERROR: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
/// An empty `struct ifinfomsg`.
const NO_INTERFACE: [u8; 16] = [0; 16];

/// Creates the pair (rtnetlink(7)).
pub fn make_pair(name: &str, peer: &str) -> Result<()> {
    let socket = sys::open_socket(AF_NETLINK, SOCK_RAW, 0)?;
    let mut netlink = File::from(socket);
    netlink.write_all(&pair_message(name, peer))?;
    let mut answer = [0; 1024];
    let length = netlink.read(&mut answer)?;
    match acknowledged(&answer[..length]) {
        Some(0) => Ok(()),
        Some(error) => Err(Error::from_raw_os_error(-error)),
        None => Err(crate::invalid("no answer of the kernel")),
    }
}

fn pair_message(name: &str, peer: &str) -> Vec<u8> {
    let peer = [&NO_INTERFACE[..], &attribute(IFLA_IFNAME, &text(peer))].concat();
    let data = attribute(IFLA_INFO_DATA, &attribute(VETH_INFO_PEER, &peer));
    let info = [attribute(IFLA_INFO_KIND, b"veth\0"), data].concat();
    let body = [&NO_INTERFACE[..], &attribute(IFLA_IFNAME, &text(name)), &attribute(IFLA_LINKINFO, &info)].concat();
    let mut message = Vec::new();
    message.extend((16 + body.len() as u32).to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // Sequence number and port.
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

/// Encodes an attribute: length, kind and value, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend((4 + value.len() as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize((out.len() + 3) / 4 * 4, 0);
    out
}

/// Returns the error number in the kernel's answer, or 0 for none.
fn acknowledged(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let error = i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?);
    if kind == NLMSG_ERROR {
        Some(error)
    } else {
        None
    }
}

/// Opens a socket that receives and sends the frames of an interface (packet(7)).
pub fn open_frames(name: &str) -> Result<File> {
    const SOL_SOCKET: c_int = 1;
    const SO_RCVBUFFORCE: c_int = 33;
    const SOL_PACKET: c_int = 263;
    const PACKET_IGNORE_OUTGOING: c_int = 23;
    const BUFFER_BYTES: c_int = 8 * 1024 * 1024;
    let socket = sys::open_socket(AF_PACKET, SOCK_RAW, 0)?;
    sys::set_option(&socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
    // A smaller buffer loses large frames sooner.
    let _ = sys::set_option(&socket, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES);
    sys::bind_socket(&socket, &address(sys::interface_index(name)?))?;
    Ok(File::from(socket))
}

/// `struct sockaddr_ll`.
fn address(index: c_int) -> Vec<u8> {
    let mut out = (AF_PACKET as u16).to_ne_bytes().to_vec();
    out.extend(ETH_P_ALL.to_ne_bytes());
    out.extend(index.to_ne_bytes());
    out.resize(20, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_kernels_layout() {
        assert_eq!(attribute(3, b"ab\0"), [7, 0, 3, 0, b'a', b'b', 0, 0]);
        let message = pair_message("eth0", "peer");
        assert_eq!(message.len() % 4, 0);
        assert_eq!(u32::from_ne_bytes(message[..4].try_into().unwrap()) as usize, message.len());
        assert_eq!(address(7)[..8], [17, 0, 0, 3, 7, 0, 0, 0]);
        assert_eq!(acknowledged(&[36, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), Some(-1));
        assert_eq!(acknowledged(&[]), None);
    }
}
