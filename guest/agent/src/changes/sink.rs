//! Sends the tar of the changes through the channel.

use super::tar;
use crate::channel::Channel;
use crate::message::{self, kind, Request, Step, CHANGES_WINDOW};
use crate::sys;
use crate::wire::{self, HEADER_BYTES, PAYLOAD_BYTES_MAX};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::io::{AsRawFd, OwnedFd};

/// Packs the tar into full frames and sends them as the host grants credit.
pub struct Sink<'a> {
    channel: &'a mut Channel,
    /// The frame being filled, its header included.
    frame: Vec<u8>,
    credit: usize,
    sent: u64,
    /// Messages for later: those about processes.
    pub deferred: Vec<(u16, Request)>,
    /// True once the host asked to stop.
    pub cancelled: bool,
}

/// Bytes that the header of most entries fits in; a larger one extends the frame, which is split again.
const FRAME_BYTES: usize = HEADER_BYTES + PAYLOAD_BYTES_MAX;
const BACKLOG_BYTES_MAX: usize = 512 * 1024;

impl<'a> Sink<'a> {
    pub fn new(channel: &'a mut Channel) -> Self {
        let mut frame = Vec::with_capacity(FRAME_BYTES + 65_536);
        frame.resize(HEADER_BYTES, 0);
        Sink { channel, frame, credit: CHANGES_WINDOW as usize, sent: 0, deferred: Vec::new(), cancelled: false }
    }

    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.room()?.extend_from_slice(bytes);
        Ok(())
    }

    /// Returns the buffer to which the next bytes of the tar are appended.
    pub fn room(&mut self) -> Result<&mut Vec<u8>> {
        while self.frame.len() >= FRAME_BYTES {
            self.send(FRAME_BYTES)?;
        }
        Ok(&mut self.frame)
    }

    /// Sends the first `length` bytes of the current frame; the rest becomes the start of the next one.
    fn send(&mut self, length: usize) -> Result<()> {
        let payload = length - HEADER_BYTES;
        let cost = message::cost_of(payload) as usize;
        while self.credit < cost {
            self.wait_for_credit()?;
        }
        self.frame[..HEADER_BYTES].copy_from_slice(&wire::encode_header(kind::CHANGES_DATA, 0, payload));
        self.channel.out().extend_from_slice(&self.frame[..length]);
        self.frame.drain(HEADER_BYTES..length);
        self.credit -= cost;
        self.sent += payload as u64;
        if self.channel.backlog() > BACKLOG_BYTES_MAX {
            self.channel.flush_all()
        } else {
            self.channel.flush()
        }
    }

    fn wait_for_credit(&mut self) -> Result<()> {
        self.channel.flush_all()?;
        let mut wait = [sys::PollFd { fd: self.channel.fd(), events: sys::POLLIN, revents: 0 }];
        sys::wait_for(&mut wait, -1)?;
        if wait[0].revents & sys::POLLIN == 0 {
            return Err(Error::new(ErrorKind::BrokenPipe, "the host went away"));
        }
        self.check()
    }

    /// Takes what has arrived from the host. Fails when the host asked to stop.
    pub fn check(&mut self) -> Result<()> {
        while self.channel.receive()? {
            loop {
                let next = self
                    .channel
                    .next(|header, payload| (header.process, message::decode_request(header.kind, payload)));
                match next {
                    Ok(None) => break,
                    Ok(Some((0, Ok(Request::Credit(bytes))))) => self.credit += bytes as usize,
                    Ok(Some((0, Ok(Request::Snapshot(Step::Cancel))))) => self.cancelled = true,
                    Ok(Some((process, Ok(request)))) => self.deferred.push((process, request)),
                    Err(_) | Ok(Some((_, Err(_)))) => {
                        return Err(Error::new(ErrorKind::InvalidData, "a malformed frame"))
                    }
                }
            }
        }
        if self.cancelled {
            return Err(Error::new(ErrorKind::Interrupted, "the host asked to stop"));
        }
        Ok(())
    }

    pub fn put_file(&mut self, file: &OwnedFd, size: u64) -> Result<()> {
        let mut rest = size;
        while rest > 0 {
            let frame = self.room()?;
            let limit = rest.min((FRAME_BYTES - frame.len()) as u64) as usize;
            match sys::read_onto(file.as_raw_fd(), frame, limit)? {
                0 => return Err(Error::new(ErrorKind::UnexpectedEof, "a file shrank while it was read")),
                count => rest -= count as u64,
            }
        }
        tar::pad(self.room()?, size);
        Ok(())
    }

    /// Sends the remaining bytes. Returns the size of the whole tar.
    pub fn finish(&mut self) -> Result<u64> {
        while self.frame.len() > FRAME_BYTES {
            self.send(FRAME_BYTES)?;
        }
        if self.frame.len() > HEADER_BYTES {
            self.send(self.frame.len())?;
        }
        Ok(self.sent)
    }
}
