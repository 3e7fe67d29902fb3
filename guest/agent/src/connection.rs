//! TCP connections that the agent makes, for the host, to programs that listen in the run (docs/guest-protocol.md §6).

use crate::channel::Channel;
use crate::link::Network;
use crate::message::{self, kind, Request, CONNECTION_WINDOW};
use crate::streams::{feed, forward, CHUNK_BYTES};
use crate::sys;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::io::{AsRawFd, RawFd};

/// Number of frames that a connection fills before the others get their turn.
const FRAMES_PER_TURN: usize = 4;

/// Reasons of DISCONNECTED.
#[derive(Clone, Copy)]
enum Reason {
    /// Both sides have ended their direction.
    Ended = 0,
    /// Nothing listens.
    Refused = 1,
    /// The connection was reset by either side.
    Reset = 2,
}

struct Connection {
    id: u16,
    socket: TcpStream,
    /// Addresses to try if this one refuses, the next one last. None once the connection is made.
    others: Option<Vec<SocketAddr>>,
    /// Bytes from the host that the socket has not taken yet.
    queue: VecDeque<u8>,
    /// True once the host has ended its direction.
    closing: bool,
    /// True once nothing can be written to the socket any more.
    shut: bool,
    /// True once the program has ended its direction.
    ended: bool,
    credit: u32,
}

#[derive(Default)]
pub struct Connections {
    all: Vec<Connection>,
    /// Addresses of the run's interface.
    interface: Vec<IpAddr>,
}

impl Connections {
    /// Takes note of the addresses at which programs that do not listen on the loopback interface are found.
    pub fn set_up(&mut self, network: Option<&Network>) {
        let addresses = network.into_iter().flat_map(|network| [&network.ip4, &network.ip6]).flatten();
        self.interface = addresses.filter_map(|found| address_of(&found.address)).collect();
    }

    pub fn has(&self, id: u16) -> bool {
        self.all.iter().any(|connection| connection.id == id)
    }

    pub fn connect(&mut self, id: u16, port: u16, channel: &mut Channel) {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let addresses = loopback.iter().chain(&self.interface);
        let mut others: Vec<_> = addresses.map(|address| SocketAddr::new(*address, port)).collect();
        others.reverse();
        match begin(&mut others) {
            None => tell_end(channel, id, Reason::Refused),
            Some(socket) => self.all.push(Connection {
                id,
                socket,
                others: Some(others),
                queue: VecDeque::new(),
                closing: false,
                shut: false,
                ended: false,
                credit: CONNECTION_WINDOW,
            }),
        }
    }

    /// Lists the connections to poll, with the events to wait for. They are read only when there is `room` to send.
    pub fn wanted(&self, room: bool) -> impl Iterator<Item = (u16, RawFd, i16)> + '_ {
        let events = move |connection: &Connection| connection.events(room);
        let all =
            self.all.iter().map(move |connection| (connection.id, connection.socket.as_raw_fd(), events(connection)));
        all.filter(|(_, _, events)| *events != 0)
    }

    /// Moves the bytes of a connection that is ready.
    pub fn serve(&mut self, id: u16, channel: &mut Channel) {
        self.step(id, channel, |connection, channel| connection.serve(channel));
    }

    /// Handles a frame about a connection. Returns false if there is none of this number.
    pub fn handle(&mut self, id: u16, request: &Request, channel: &mut Channel) -> bool {
        if !self.has(id) {
            return false;
        }
        self.step(id, channel, |connection, channel| match request {
            Request::Stdin(bytes) => connection.offer(bytes, channel),
            Request::StdinClose => {
                connection.closing = true;
                connection.send(channel)
            }
            Request::Credit(bytes) => {
                connection.credit = connection.credit.saturating_add(*bytes);
                None
            }
            Request::Kill(_) => {
                sys::reset_on_close(&connection.socket);
                Some(Reason::Reset)
            }
            _ => None,
        });
        true
    }

    /// Resets all connections.
    pub fn reset(&mut self, channel: &mut Channel) {
        for connection in self.all.drain(..) {
            sys::reset_on_close(&connection.socket);
            tell_end(channel, connection.id, Reason::Reset);
        }
    }

    fn step(
        &mut self,
        id: u16,
        channel: &mut Channel,
        step: impl FnOnce(&mut Connection, &mut Channel) -> Option<Reason>,
    ) {
        if let Some(index) = self.all.iter().position(|connection| connection.id == id) {
            if let Some(reason) = step(&mut self.all[index], channel) {
                self.all.swap_remove(index);
                tell_end(channel, id, reason);
            }
        }
    }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let ip4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    ip4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Begins a connection to the last of the addresses that does not fail at once, and removes those that were tried.
fn begin(addresses: &mut Vec<SocketAddr>) -> Option<TcpStream> {
    std::iter::from_fn(|| addresses.pop()).find_map(|address| sys::begin_connect(&address).ok())
}

fn tell_end(channel: &mut Channel, id: u16, reason: Reason) {
    channel.frame(kind::DISCONNECTED, id).u8(reason as u8).finish();
}

/// Methods that move bytes return the reason when the connection is over.
impl Connection {
    fn events(&self, room: bool) -> i16 {
        let reads = self.others.is_none() && !self.ended && room && self.credit >= message::COST_MIN;
        let writes = self.others.is_some() || !self.queue.is_empty();
        (if reads { sys::POLLIN } else { 0 }) | (if writes { sys::POLLOUT } else { 0 })
    }

    fn serve(&mut self, channel: &mut Channel) -> Option<Reason> {
        match self.others.take() {
            Some(others) => self.finish_connect(others, channel),
            None => self.send(channel).or_else(|| self.receive(channel)),
        }
    }

    fn finish_connect(&mut self, mut others: Vec<SocketAddr>, channel: &mut Channel) -> Option<Reason> {
        if matches!(self.socket.take_error(), Ok(None)) {
            let _ = self.socket.set_nodelay(true);
            channel.frame(kind::CONNECTED, self.id).finish();
            return None;
        }
        match begin(&mut others) {
            None => Some(Reason::Refused),
            Some(socket) => {
                self.socket = socket;
                self.others = Some(others);
                None
            }
        }
    }

    fn offer(&mut self, bytes: &[u8], channel: &mut Channel) -> Option<Reason> {
        self.queue.extend(bytes);
        self.send(channel)
    }

    /// Writes what waits, as far as the socket has room, and returns the credit of it.
    fn send(&mut self, channel: &mut Channel) -> Option<Reason> {
        let (taken, gone) = feed(self.socket.as_raw_fd(), &mut self.queue);
        if taken > 0 {
            channel.frame(kind::STDIN_CREDIT, self.id).u32(taken as u32).finish();
        }
        // What the program sent before it closed its side may still be there to read.
        if gone && self.ended {
            return Some(Reason::Reset);
        }
        if !self.shut && (gone || (self.closing && self.queue.is_empty())) {
            self.shut = true;
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        self.over()
    }

    fn receive(&mut self, channel: &mut Channel) -> Option<Reason> {
        for _ in 0..FRAMES_PER_TURN {
            if self.ended || self.credit < message::COST_MIN {
                break;
            }
            let limit = CHUNK_BYTES.min(self.credit as usize);
            match forward(channel, (kind::STDOUT, self.id), self.socket.as_raw_fd(), limit) {
                Ok(0) => {
                    self.ended = true;
                    channel.frame(kind::OUTPUT_END, self.id).finish();
                    return self.over();
                }
                Ok(count) => {
                    self.credit -= message::cost_of(count);
                    if count < limit {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Some(Reason::Reset),
            }
        }
        None
    }

    fn over(&self) -> Option<Reason> {
        if self.shut && self.ended {
            Some(Reason::Ended)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::PollFd;
    use crate::wire;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::os::unix::io::OwnedFd;
    use std::os::unix::net::UnixStream;

    /// Connections, and the frames that they send instead of passing them to a host.
    struct Bench {
        connections: Connections,
        channel: Channel,
        _host: UnixStream,
    }

    impl Bench {
        fn new() -> Bench {
            let (port, host) = UnixStream::pair().unwrap();
            let channel = Channel::new(OwnedFd::from(port));
            Bench { connections: Connections::default(), channel, _host: host }
        }

        fn ask(&mut self, id: u16, request: Request) {
            assert!(self.connections.handle(id, &request, &mut self.channel));
        }

        /// Serves connections until the next frame, and returns its number, kind and payload.
        fn frame(&mut self) -> (u16, u8, Vec<u8>) {
            loop {
                let out = self.channel.out();
                if let Some((header, payload, length)) = wire::decode(out).unwrap() {
                    let frame = (header.process, header.kind, payload.to_vec());
                    out.drain(..length);
                    return frame;
                }
                let wanted: Vec<_> = self.connections.wanted(true).collect();
                let polled = wanted.iter().map(|(_, fd, events)| PollFd { fd: *fd, events: *events, revents: 0 });
                let mut polled: Vec<_> = polled.collect();
                sys::wait_for(&mut polled, 10_000).unwrap();
                let ready = wanted.iter().zip(&polled).filter(|(_, polled)| polled.revents != 0);
                let ids: Vec<u16> = ready.map(|((id, _, _), _)| *id).collect();
                assert!(!ids.is_empty(), "nothing happens any more");
                ids.iter().for_each(|id| self.connections.serve(*id, &mut self.channel));
            }
        }

        /// Makes a connection to a new listener. Returns the listener's end.
        fn connected(&mut self, id: u16) -> TcpStream {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            self.connections.connect(id, listener.local_addr().unwrap().port(), &mut self.channel);
            assert_eq!(self.frame(), (id, kind::CONNECTED, vec![]));
            listener.accept().unwrap().0
        }
    }

    #[test]
    fn each_direction_ends_on_its_own_and_the_number_is_free_afterwards() {
        let mut bench = Bench::new();
        for _ in 0..2 {
            let mut program = bench.connected(7);
            bench.ask(7, Request::Stdin(b"question".to_vec()));
            assert_eq!(bench.frame(), (7, kind::STDIN_CREDIT, 8u32.to_le_bytes().to_vec()));
            bench.ask(7, Request::StdinClose);
            let mut question = String::new();
            program.read_to_string(&mut question).unwrap();
            assert_eq!(question, "question");
            program.write_all(b"answer").unwrap();
            assert_eq!(bench.frame(), (7, kind::STDOUT, b"answer".to_vec()));
            assert!(bench.connections.has(7));
            drop(program);
            assert_eq!(bench.frame(), (7, kind::OUTPUT_END, vec![]));
            assert_eq!(bench.frame(), (7, kind::DISCONNECTED, vec![0]));
            assert!(!bench.connections.has(7));
        }
    }

    #[test]
    fn a_port_at_which_nothing_listens_is_refused_at_every_address() {
        let mut bench = Bench::new();
        bench.connections.interface = vec!["127.0.0.2".parse().unwrap()];
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        bench.connections.connect(1, free, &mut bench.channel);
        assert_eq!(bench.frame(), (1, kind::DISCONNECTED, vec![1]));
        // At the interface only.
        let listener = TcpListener::bind("127.0.0.2:0").unwrap();
        bench.connections.connect(1, listener.local_addr().unwrap().port(), &mut bench.channel);
        assert_eq!(bench.frame(), (1, kind::CONNECTED, vec![]));
    }

    #[test]
    fn a_reset_arrives_at_the_other_side_in_both_directions() {
        let mut bench = Bench::new();
        let mut program = bench.connected(1);
        bench.ask(1, Request::Kill(9));
        assert_eq!(bench.frame(), (1, kind::DISCONNECTED, vec![2]));
        assert_eq!(program.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        let program = bench.connected(2);
        sys::reset_on_close(&program);
        drop(program);
        assert_eq!(bench.frame(), (2, kind::DISCONNECTED, vec![2]));
        let _program = bench.connected(3);
        bench.connections.reset(&mut bench.channel);
        assert_eq!(bench.frame(), (3, kind::DISCONNECTED, vec![2]));
        assert!(!bench.connections.handle(3, &Request::StdinClose, &mut bench.channel), "it is gone");
    }

    #[test]
    fn a_connection_without_credit_is_not_read() {
        let mut bench = Bench::new();
        let mut program = bench.connected(1);
        program.set_nonblocking(true).unwrap();
        let mut received = 0;
        while bench.connections.wanted(true).count() > 0 {
            let _ = program.write(&[0; 65_536]);
            loop {
                let (_, kind, payload) = bench.frame();
                assert_eq!(kind, kind::STDOUT);
                received += message::cost_of(payload.len()) as usize;
                if bench.channel.out().is_empty() {
                    break;
                }
            }
        }
        let window = CONNECTION_WINDOW as usize;
        assert!(received <= window && received > window - message::COST_MIN as usize, "{received} bytes");
        while program.write(&[0; 65_536]).is_ok() {}
        bench.ask(1, Request::Credit(100));
        assert_eq!(bench.connections.wanted(false).count(), 0, "the channel has no room");
        assert_eq!(bench.frame().2.len(), 100 + window - received);
    }
}
