//! Snapshots: the changes while the run goes on, each against those that the host accepted before.

use super::digest::Digests;
use super::freeze;
use super::sink::Sink;
use super::{mount_base, send, Before};
use crate::boot::Machine;
use crate::channel::Channel;
use crate::message::{self, Request, SnapshotEnd};
use crate::setup::Ready;
use std::io::Result;

#[derive(Default)]
pub struct Snapshots {
    /// Made for the first snapshot.
    digests: Option<Digests>,
    /// Records of the last accepted snapshot.
    accepted: Vec<u8>,
    /// Records of the last snapshot, until it is accepted.
    latest: Option<Vec<u8>>,
    /// Mount of the image, once it was needed.
    base: Option<String>,
}

impl Snapshots {
    /// Returns the mount of the image to compare with.
    pub fn base(&mut self, machine: &Machine, layers: usize) -> Result<String> {
        let base = match self.base.take() {
            Some(base) => base,
            None => mount_base(machine, layers)?,
        };
        self.base = Some(base.clone());
        Ok(base)
    }

    /// Makes the last snapshot the one that later changes are compared with. Returns false when there is none.
    pub fn accept(&mut self) -> bool {
        match self.latest.take() {
            Some(records) => {
                self.accepted = records;
                true
            }
            None => false,
        }
    }

    /// Sends a snapshot and its end. Returns the messages that arrived meanwhile, which are to be handled next.
    pub fn take(&mut self, machine: &Machine, ready: &Ready, channel: &mut Channel) -> Vec<(u16, Request)> {
        self.latest = None;
        let mut sink = Sink::new(channel);
        let mut end = SnapshotEnd::default();
        if let Err(error) = self.send(machine, ready, &mut sink, &mut end) {
            end.failure = error.to_string();
        }
        let deferred = std::mem::take(&mut sink.deferred);
        message::encode_snapshot_end(channel.out(), &end);
        deferred
    }

    fn send(&mut self, machine: &Machine, ready: &Ready, sink: &mut Sink, end: &mut SnapshotEnd) -> Result<()> {
        let base = self.base(machine, ready.layers)?;
        let digests = self.digests.get_or_insert_with(|| Digests::new(machine.hardware.is_some()));
        let before = Before { base: &base, placeholders: &ready.placeholders, records: &self.accepted };
        let frozen = freeze::freeze(machine)?;
        let (entries, records) = send(&before, machine, sink, Some(digests))?;
        // The last bytes are in memory, and nothing is read any more.
        end.frozen_us = frozen.thaw()?;
        (end.entries, end.bytes) = (entries, sink.finish()?);
        self.latest = Some(records);
        Ok(())
    }

    /// Sends what was changed since the last accepted snapshot, after everything has ended. Returns bytes and entries.
    pub fn finish(
        &mut self,
        machine: &Machine,
        ready: &Ready,
        base: &str,
        channel: &mut Channel,
    ) -> Result<(u64, u64)> {
        let before = Before { base, placeholders: &ready.placeholders, records: &self.accepted };
        let digests = self.digests.as_ref().filter(|_| !self.accepted.is_empty());
        let mut sink = Sink::new(channel);
        let (entries, _) = send(&before, machine, &mut sink, digests)?;
        Ok((sink.finish()?, entries))
    }
}
