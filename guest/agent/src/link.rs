//! Configuration of a network interface by the classic ioctls. The host helper is built from this file as well: it configures
//! the interface that gVisor takes over.

use crate::sys::{self, told};
use std::io::Result;
use std::os::raw::c_ulong;
use std::os::unix::io::OwnedFd;

#[derive(Debug, PartialEq, Eq)]
pub struct Address {
    /// Address of 4 or 16 bytes in network order.
    pub address: Vec<u8>,
    pub prefix: u8,
    pub gateway: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Network {
    pub mac: [u8; 6],
    pub mtu: u16,
    pub ip4: Option<Address>,
    pub ip6: Option<Address>,
    pub nameservers: Vec<Vec<u8>>,
}

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const ARPHRD_ETHER: u16 = 1;

const SIOCADDRT: c_ulong = 0x890b;
const SIOCGIFINDEX: c_ulong = 0x8933;
const SIOCSIFFLAGS: c_ulong = 0x8914;
const SIOCSIFADDR: c_ulong = 0x8916;
const SIOCSIFNETMASK: c_ulong = 0x891c;
const SIOCSIFMTU: c_ulong = 0x8922;
const SIOCSIFHWADDR: c_ulong = 0x8924;

const IFF_UP: u16 = 1;
const IFF_MULTICAST: u16 = 0x1000;
const RTF_UP: u16 = 1;
const RTF_GATEWAY: u16 = 2;

/// `struct ifreq`: the interface and a union of 24 bytes.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    value: [u8; 24],
}

/// `struct rtentry`.
#[repr(C)]
struct Route4 {
    _pad1: c_ulong,
    destination: [u8; 16],
    gateway: [u8; 16],
    mask: [u8; 16],
    flags: u16,
    _pad2: [u16; 3],
    _rest: [u64; 7],
}

/// `struct in6_ifreq`.
#[repr(C)]
struct Address6 {
    address: [u8; 16],
    prefix: u32,
    index: i32,
}

/// `struct in6_rtmsg`.
#[repr(C)]
struct Route6 {
    destination: [u8; 16],
    source: [u8; 16],
    gateway: [u8; 16],
    kind: u32,
    destination_length: u16,
    source_length: u16,
    metric: u32,
    info: c_ulong,
    flags: u32,
    index: i32,
}

fn request(interface: &str, value: &[u8]) -> InterfaceRequest {
    let mut request = InterfaceRequest { name: [0; 16], value: [0; 24] };
    request.name[..interface.len()].copy_from_slice(interface.as_bytes());
    request.value[..value.len()].copy_from_slice(value);
    request
}

/// `struct sockaddr_in` with port 0.
fn socket_address(address: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    out[..2].copy_from_slice(&AF_INET.to_ne_bytes());
    out[4..8].copy_from_slice(address);
    out
}

/// Raises the loopback interface, which works without a network too.
pub fn raise_loopback() -> Result<()> {
    up("lo")
}

fn up(name: &str) -> Result<()> {
    let socket = sys::control_socket(i32::from(AF_INET as i16))?;
    sys::control(&socket, SIOCSIFFLAGS, &mut request(name, &IFF_UP.to_ne_bytes())).map(|_| ())
}

/// Configures an interface and raises it.
pub fn configure(name: &str, network: &Network) -> Result<()> {
    let socket = sys::control_socket(i32::from(AF_INET as i16))?;
    let set = |step, code, value: &[u8]| told(step, sys::control(&socket, code, &mut request(name, value)));
    let mut hardware = ARPHRD_ETHER.to_ne_bytes().to_vec();
    hardware.extend_from_slice(&network.mac);
    set("mac", SIOCSIFHWADDR, &hardware)?;
    set("mtu", SIOCSIFMTU, &i32::from(network.mtu).to_ne_bytes())?;
    if let Some(ip4) = &network.ip4 {
        set("address", SIOCSIFADDR, &socket_address(&ip4.address))?;
        let mask = u32::MAX.checked_shl(32 - u32::from(ip4.prefix)).unwrap_or(0);
        set("netmask", SIOCSIFNETMASK, &socket_address(&mask.to_be_bytes()))?;
    }
    set("up", SIOCSIFFLAGS, &(IFF_UP | IFF_MULTICAST).to_ne_bytes())?;
    if let Some(ip4) = &network.ip4 {
        told("route", add_route4(&socket, &ip4.gateway))?;
    }
    match &network.ip6 {
        Some(ip6) => told("IPv6", configure6(name, ip6)),
        None => Ok(()),
    }
}

fn add_route4(socket: &OwnedFd, gateway: &[u8]) -> Result<()> {
    let any = socket_address(&[0; 4]);
    let mut route = Route4 {
        _pad1: 0,
        destination: any,
        gateway: socket_address(gateway),
        mask: any,
        flags: RTF_UP | RTF_GATEWAY,
        _pad2: [0; 3],
        _rest: [0; 7],
    };
    sys::control(socket, SIOCADDRT, &mut route).map(|_| ())
}

fn configure6(name: &str, ip6: &Address) -> Result<()> {
    let socket = sys::control_socket(i32::from(AF_INET6 as i16))?;
    let mut lookup = request(name, &[]);
    sys::control(&socket, SIOCGIFINDEX, &mut lookup)?;
    let index = i32::from_ne_bytes([lookup.value[0], lookup.value[1], lookup.value[2], lookup.value[3]]);
    let mut address = Address6 { address: [0; 16], prefix: u32::from(ip6.prefix), index };
    address.address.copy_from_slice(&ip6.address);
    sys::control(&socket, SIOCSIFADDR, &mut address)?;
    let mut route = Route6 {
        destination: [0; 16],
        source: [0; 16],
        gateway: [0; 16],
        kind: 0,
        destination_length: 0,
        source_length: 0,
        metric: 1,
        info: 0,
        flags: u32::from(RTF_UP | RTF_GATEWAY),
        index,
    };
    route.gateway.copy_from_slice(&ip6.gateway);
    sys::control(&socket, SIOCADDRT, &mut route).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_structures_have_the_kernels_size() {
        assert_eq!(std::mem::size_of::<InterfaceRequest>(), 40);
        assert_eq!(std::mem::size_of::<Route4>(), 120);
        assert_eq!(std::mem::size_of::<Address6>(), 24);
        assert_eq!(std::mem::size_of::<Route6>(), 80);
    }
}
