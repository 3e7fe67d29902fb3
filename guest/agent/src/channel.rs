//! The guest's end of the channel: decodes frames from the bytes of the port, and encodes frames into them.

use crate::sys;
use crate::wire::{self, Header, Parsed, Writer};
use std::io::{ErrorKind, Result};
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

pub struct Channel {
    port: OwnedFd,
    incoming: Vec<u8>,
    /// Offset of the first byte that is not parsed yet.
    parsed: usize,
    outgoing: Vec<u8>,
    /// Offset of the first byte that is not sent yet.
    sent: usize,
}

impl Channel {
    pub fn new(port: OwnedFd) -> Self {
        Channel { port, incoming: Vec::new(), parsed: 0, outgoing: Vec::new(), sent: 0 }
    }

    pub fn fd(&self) -> RawFd {
        self.port.as_raw_fd()
    }

    /// Reads the bytes that the port has now. Returns false when there are none.
    pub fn receive(&mut self) -> Result<bool> {
        const CHUNK_BYTES: usize = 32 * 1024;
        self.incoming.drain(..self.parsed);
        self.parsed = 0;
        match sys::read_onto(self.port.as_raw_fd(), &mut self.incoming, CHUNK_BYTES) {
            Ok(count) => Ok(count > 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Passes the next complete frame to `take`.
    pub fn next<T>(&mut self, take: impl FnOnce(&Header, &[u8]) -> T) -> Parsed<Option<T>> {
        match wire::decode(&self.incoming[self.parsed..])? {
            None => Ok(None),
            Some((header, payload, length)) => {
                let taken = take(&header, payload);
                self.parsed += length;
                Ok(Some(taken))
            }
        }
    }

    /// Returns the buffer to which frames are appended; `flush` sends them.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    pub fn frame(&mut self, kind: u8, process: u16) -> Writer<'_> {
        Writer::new(&mut self.outgoing, kind, process)
    }

    /// Returns the number of bytes that wait for the port.
    pub fn backlog(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Sends as many bytes as the port accepts now.
    pub fn flush(&mut self) -> Result<()> {
        while self.sent < self.outgoing.len() {
            match sys::write_fd(self.port.as_raw_fd(), &self.outgoing[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Ok(())
    }

    /// Sends everything and waits for the port as long as necessary.
    pub fn flush_all(&mut self) -> Result<()> {
        self.flush()?;
        while self.backlog() > 0 {
            let mut wait = [sys::PollFd { fd: self.fd(), events: sys::POLLOUT, revents: 0 }];
            sys::wait_for(&mut wait, -1)?;
            self.flush()?;
        }
        Ok(())
    }
}
