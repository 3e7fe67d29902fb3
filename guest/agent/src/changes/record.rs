//! What an earlier snapshot has: one short record for each path of the upper directory, in the order of the walk. A snapshot
//! of 100,000 files has about 6 MB of them.

use std::io::{Error, ErrorKind, Result};

/// What a snapshot shows at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing, although the image has something there.
    Removed,
    /// Anything but a folder.
    Leaf,
    /// A folder below which the image's content shows.
    Merged,
    /// A folder below which only the run's own files show.
    Solid,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Number of folders above it.
    pub depth: u32,
    pub name: &'a [u8],
    pub state: State,
    /// Digest of everything but the content.
    pub meta: u64,
    /// Digest of the content of a file.
    pub content: u64,
    /// Digest of inode and time of change; 0 where the kernel does not note each change.
    pub stamp: u64,
    /// Digest of all names of a file that has several, otherwise 0.
    pub group: u64,
}

/// A record to take what is not told from.
pub const NOTHING: Record =
    Record { depth: 0, name: b"", state: State::Removed, meta: 0, content: 0, stamp: 0, group: 0 };

const NUMBERS: usize = 4;
const FIXED_BYTES: usize = 4 + 1 + NUMBERS * 8 + 1;

impl Record<'_> {
    pub fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.depth.to_le_bytes());
        out.push(self.state as u8);
        for number in [self.meta, self.content, self.stamp, self.group] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        // A name has at most 255 bytes.
        out.push(self.name.len() as u8);
        out.extend_from_slice(self.name);
    }
}

/// Records of one snapshot, of which the agent holds as many as its memory allows.
pub struct Records {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Records {
    /// `memory`: bytes of the guest, of which they take a 16th at most, because two are held while one is taken.
    pub fn within(memory: u64) -> Self {
        const SHARE: u64 = 16;
        const MAX: u64 = 64 * 1024 * 1024;
        Records { bytes: Vec::new(), bytes_max: (memory / SHARE).min(MAX) as usize }
    }

    /// Fails when there are too many.
    pub fn add(&mut self, record: &Record) -> Result<()> {
        if self.bytes.len() + FIXED_BYTES + record.name.len() > self.bytes_max {
            let reason = "too many files were changed for the memory of this instance: close it to keep them, or open one with more memory";
            return Err(Error::new(ErrorKind::OutOfMemory, reason));
        }
        record.append(&mut self.bytes);
        Ok(())
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads records one after the other.
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(records: &'a [u8]) -> Self {
        Cursor { rest: records }
    }

    pub fn peek(&self) -> Option<Record<'a>> {
        let fixed = self.rest.get(..FIXED_BYTES)?;
        let number = |index: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&fixed[5 + index * 8..13 + index * 8]);
            u64::from_le_bytes(bytes)
        };
        let length = usize::from(fixed[FIXED_BYTES - 1]);
        Some(Record {
            depth: u32::from_le_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]),
            name: self.rest.get(FIXED_BYTES..FIXED_BYTES + length)?,
            state: match fixed[4] {
                0 => State::Removed,
                1 => State::Leaf,
                2 => State::Merged,
                _ => State::Solid,
            },
            meta: number(0),
            content: number(1),
            stamp: number(2),
            group: number(3),
        })
    }

    fn advance(&mut self, record: &Record) {
        self.rest = &self.rest[FIXED_BYTES + record.name.len()..];
    }

    /// Takes the next record of this depth whose name is `name` or comes before it; None when there is none before a folder
    /// above ends.
    pub fn take_until(&mut self, depth: u32, name: Option<&[u8]>) -> Option<Record<'a>> {
        let record = self.peek().filter(|record| record.depth == depth)?;
        if name.map_or(false, |name| record.name > name) {
            return None;
        }
        self.advance(&record);
        Some(record)
    }

    /// Skips everything below a folder of this depth.
    pub fn skip_below(&mut self, depth: u32) {
        while let Some(record) = self.peek().filter(|record| record.depth > depth) {
            self.advance(&record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_records_than_memory_for_them() {
        let long = [b'n'; 255];
        let mut records = Records::within(16 * 2 * (FIXED_BYTES + long.len()) as u64);
        for _ in 0..2 {
            records.add(&record(1, &long)).unwrap();
        }
        assert!(records.add(&record(1, b"")).unwrap_err().to_string().contains("more memory"));
        assert_eq!(records.into_bytes().len(), 2 * (FIXED_BYTES + long.len()));
    }

    fn record(depth: u32, name: &[u8]) -> Record<'_> {
        Record { depth, name, state: State::Solid, meta: 1, content: u64::MAX, stamp: 3, group: 4 }
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let mut out = Vec::new();
        let long = [b'n'; 255];
        for (depth, name) in [(0, &b""[..]), (1, b"a"), (2, &long), (2, b"z"), (1, b"c")] {
            record(depth, name).append(&mut out);
        }
        let mut cursor = Cursor::new(&out);
        assert_eq!(cursor.take_until(0, None), Some(record(0, b"")));
        assert_eq!(cursor.take_until(1, Some(b"A")), None);
        assert_eq!(cursor.take_until(1, Some(b"b")), Some(record(1, b"a")));
        assert_eq!(cursor.take_until(1, Some(b"b")), None);
        assert_eq!(cursor.take_until(2, None), Some(record(2, &long)));
        cursor.skip_below(1);
        assert_eq!(cursor.take_until(2, None), None);
        assert_eq!(cursor.take_until(1, Some(b"c")), Some(record(1, b"c")));
        assert_eq!(cursor.peek(), None);
    }
}
