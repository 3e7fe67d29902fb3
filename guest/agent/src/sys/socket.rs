//! Sockets, as far as the standard library has no call that never blocks.

use super::*;
use std::net::{SocketAddr, TcpStream};

extern "C" {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn connect(fd: c_int, address: *const u8, length: u32) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_int, length: u32) -> c_int;
}

/// Opens a socket for the ioctls that configure interfaces. Any kind of socket can carry them.
pub fn control_socket(domain: c_int) -> Result<OwnedFd> {
    const SOCK_DGRAM_CLOEXEC: c_int = 2 | O_CLOEXEC;
    own(unsafe { socket(domain, SOCK_DGRAM_CLOEXEC, 0) })
}

/// Begins a TCP connection. The socket becomes writable once it is connected or has failed; `TcpStream::take_error` tells which.
pub fn begin_connect(address: &SocketAddr) -> Result<TcpStream> {
    const AF_INET: c_int = 2;
    const AF_INET6: c_int = 10;
    const SOCK_STREAM: c_int = 1;
    const EINPROGRESS: i32 = 115;
    let domain = if address.is_ipv4() { AF_INET } else { AF_INET6 };
    let fd = own(unsafe { socket(domain, SOCK_STREAM | O_CLOEXEC | O_NONBLOCK, 0) })?;
    let address = encode(domain as u16, address);
    match check(unsafe { connect(fd.as_raw_fd(), address.as_ptr(), address.len() as u32) }) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from(fd)),
    }
}

/// Encodes `struct sockaddr_in` or `struct sockaddr_in6`.
fn encode(domain: u16, address: &SocketAddr) -> Vec<u8> {
    let mut out = domain.to_ne_bytes().to_vec();
    out.extend_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(address) => {
            out.extend_from_slice(&address.ip().octets());
            out.extend_from_slice(&[0; 8]);
        }
        SocketAddr::V6(address) => {
            out.extend_from_slice(&address.flowinfo().to_ne_bytes());
            out.extend_from_slice(&address.ip().octets());
            out.extend_from_slice(&address.scope_id().to_ne_bytes());
        }
    }
    out
}

/// Makes the end of a connection, when it is closed, a reset for its other side.
pub fn reset_on_close(stream: &TcpStream) {
    const SOL_SOCKET: c_int = 1;
    const SO_LINGER: c_int = 13;
    // `struct linger`: on, for no time.
    let linger: [c_int; 2] = [1, 0];
    unsafe { setsockopt(stream.as_raw_fd(), SOL_SOCKET, SO_LINGER, linger.as_ptr(), 8) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_kernels_form() {
        let ip4 = encode(2, &"127.0.0.1:8080".parse().unwrap());
        assert_eq!(ip4, [2, 0, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let ip6 = encode(10, &"[::1]:1".parse().unwrap());
        assert_eq!((ip6.len(), &ip6[..8], ip6[23], ip6[27]), (28, &[10, 0, 0, 1, 0, 0, 0, 0][..], 1, 0));
    }
}
