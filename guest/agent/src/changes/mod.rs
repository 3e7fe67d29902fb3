//! The changes of the run as a tar of the overlay's upper directory, less what is the same in the image below it, or in the
//! snapshots that were accepted. Removed names are devices 0/0 and opaque folders have an extended attribute, as in the
//! overlay, because a run may give a file any name: the `.wh.` names of OCI layers are ordinary here.

mod digest;
mod freeze;
mod node;
mod record;
mod sink;
mod snapshot;
mod tar;

pub use snapshot::Snapshots;

use crate::boot::{Machine, UPPER};
use crate::memory;
use crate::setup;
use crate::sys::{self, c, Subject};
use digest::Digests;
use node::*;
use record::{Cursor, Record, Records, State, NOTHING};
use sink::Sink;
use std::collections::HashMap;
use std::ffi::CString;
use std::fs;
use std::hash::Hasher;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::io::{AsRawFd, OwnedFd};
use tar::{Entry, Kind};

/// Extended attribute of a folder that hides everything below it.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// What the changes are compared with.
pub struct Before<'a> {
    /// Mount of the image.
    pub base: &'a str,
    /// Paths that the agent made; they are not changes of the run.
    pub placeholders: &'a [String],
    /// Records of the last accepted snapshot; empty when there is none.
    pub records: &'a [u8],
}

/// Sends the changes as credit allows. Returns the number of entries, and new records if `digests` are given, without which
/// no changes since a snapshot can be told. Nothing may write to the disk meanwhile.
pub fn send(before: &Before, machine: &Machine, sink: &mut Sink, digests: Option<&Digests>) -> Result<(u64, Vec<u8>)> {
    let mut walk = Walk {
        sink,
        placeholders: before.placeholders,
        old: Cursor::new(before.records),
        new: Records::within(memory::total_bytes(machine)?),
        digests,
        groups: HashMap::new(),
        links: HashMap::new(),
        pending: Vec::new(),
        entries: 0,
        buffer: vec![0; 64 * 1024],
    };
    let upper = sys::open_path(UPPER, sys::O_RDONLY | sys::O_DIRECTORY)?;
    let lower = sys::open_path(before.base, sys::O_RDONLY | sys::O_DIRECTORY)?;
    walk.root(&upper, &lower)?;
    if walk.entries > 0 {
        tar::append_end(walk.sink.room()?);
    }
    if let Some(hardware) = &machine.hardware {
        if setup::read_line(&hardware.disk_errors)? != "0" {
            return Err(damaged());
        }
    }
    Ok((walk.entries, walk.new.into_bytes()))
}

fn damaged() -> Error {
    Error::new(ErrorKind::InvalidData, "the run damaged its own disk")
}

/// Mounts the image as it was before the run, for comparison, and returns the path.
pub fn mount_base(machine: &Machine, layers: usize) -> Result<String> {
    machine.mount_layers_again(layers)?;
    let mut folders = machine.lower_folders(layers);
    if folders.len() == 1 {
        return Ok(folders.remove(0));
    }
    const BASE: &str = "/base";
    fs::create_dir_all(BASE)?;
    sys::mount_fs("overlay", BASE, "overlay", sys::MS_RDONLY, &format!("lowerdir={}", folders.join(":")))?;
    Ok(BASE.to_string())
}

/// A file with several names that the walk has met.
#[derive(Clone)]
struct Linked {
    /// Its first path, under which it was sent, or is in the image or an earlier snapshot unchanged.
    first: Vec<u8>,
    sent: bool,
}

/// A path of the upper directory and what there was before.
struct Place<'a> {
    path: &'a [u8],
    depth: u32,
    /// What the image shows there, unless a folder above hides it.
    below: Option<&'a Node>,
    /// What the last snapshot shows there; None when it shows what the image does.
    record: Option<Record<'a>>,
}

struct Walk<'a, 'b, 'c> {
    sink: &'a mut Sink<'c>,
    placeholders: &'b [String],
    old: Cursor<'b>,
    new: Records,
    digests: Option<&'b Digests>,
    /// Inode with several names → digest of them all. Filled only when there are digests.
    groups: HashMap<u64, u64>,
    links: HashMap<u64, Linked>,
    /// Headers of folders that are sent before the first change below them.
    pending: Vec<Vec<u8>>,
    entries: u64,
    /// Buffer for the names of a folder's entries or of extended attributes.
    buffer: Vec<u8>,
}

impl<'b> Walk<'_, 'b, '_> {
    fn root(&mut self, upper: &OwnedFd, lower: &OwnedFd) -> Result<()> {
        if self.digests.is_some() {
            self.gather(upper, b"")?;
        }
        let upper = sys::open_path(UPPER, sys::O_RDONLY | sys::O_DIRECTORY)?;
        let (node, below) = (Node::at(upper.as_raw_fd(), &c(b".")?)?, Node::at(lower.as_raw_fd(), &c(b".")?)?);
        let record = self.old.take_until(0, None);
        let place = Place { path: b"./", depth: 0, below: Some(&below), record };
        self.folder(&node, &upper, &place, (State::Merged, false))?;
        self.children(&upper, Some(lower), b"", 1)?;
        self.pending.pop();
        Ok(())
    }

    /// Fills `groups`.
    fn gather(&mut self, dir: &OwnedFd, path: &[u8]) -> Result<()> {
        for name in self.names(dir)? {
            let node = Node::at(dir.as_raw_fd(), &name)?;
            let path = [path, name.to_bytes()].concat();
            if node.is(S_IFDIR) {
                self.gather(&node.open(sys::O_RDONLY | sys::O_DIRECTORY)?, &[&path[..], b"/"].concat())?;
            } else if let Some(digests) = self.digests.filter(|_| node.stat.nlink > 1) {
                let names = self.groups.entry(node.stat.ino).or_insert(0);
                *names = names.wrapping_add(digests.of(&path));
            }
        }
        Ok(())
    }

    fn children(&mut self, upper: &OwnedFd, lower: Option<&OwnedFd>, path: &[u8], depth: u32) -> Result<()> {
        for name in self.names(upper)? {
            let record = self.pass(depth, Some(name.to_bytes()), lower, path)?;
            let node = Node::at(upper.as_raw_fd(), &name)?;
            let below = match lower {
                Some(lower) => Node::find(lower.as_raw_fd(), &name)?,
                None => None,
            };
            let path = [path, name.to_bytes()].concat();
            self.child(&node, &Place { path: &path, depth, below: below.as_ref(), record })?;
            self.old.skip_below(depth);
        }
        self.pass(depth, None, lower, path).map(|_| ())
    }

    /// Passes the records before `name` (all of the folder's without it), whose paths are gone, and returns that of `name`.
    fn pass(
        &mut self,
        depth: u32,
        name: Option<&[u8]>,
        lower: Option<&OwnedFd>,
        folder: &[u8],
    ) -> Result<Option<Record<'b>>> {
        while let Some(record) = self.old.take_until(depth, name) {
            if Some(record.name) == name {
                return Ok(Some(record));
            }
            let below = match lower {
                Some(lower) => Node::find(lower.as_raw_fd(), &c(record.name)?)?,
                None => None,
            };
            // What the upper directory hides of the image stays hidden.
            if below.is_some() {
                return Err(damaged());
            }
            if record.state != State::Removed {
                self.whiteout(&[folder, record.name].concat())?;
            }
            self.old.skip_below(depth);
        }
        Ok(None)
    }

    fn names(&mut self, dir: &OwnedFd) -> Result<Vec<CString>> {
        let mut names = Vec::new();
        loop {
            let length = sys::read_entries(dir.as_raw_fd(), &mut self.buffer)?;
            if length == 0 {
                names.sort_unstable();
                return Ok(names);
            }
            let mut rest = &self.buffer[..length];
            while rest.len() > 19 {
                // struct linux_dirent64: inode, offset, record length at 16, type at 18, name at 19.
                let size = usize::from(u16::from_ne_bytes([rest[16], rest[17]]));
                let name = rest[19..size].split(|byte| *byte == 0).next().unwrap_or_default();
                if name != b"." && name != b".." {
                    names.push(c(name)?);
                }
                rest = &rest[size..];
            }
        }
    }

    fn child(&mut self, node: &Node, place: &Place) -> Result<()> {
        self.sink.check()?;
        if node.is_whiteout() || node.is(S_IFSOCK) {
            // A tar cannot hold sockets, but what the socket replaced is removed nevertheless.
            if place.below.is_some() {
                self.note(node, place, Record { state: State::Removed, ..NOTHING })?;
            }
            let shown = place.record.map_or(place.below.is_some(), |record| record.state != State::Removed);
            return if shown { self.whiteout(place.path) } else { Ok(()) };
        }
        if !node.is(S_IFDIR) {
            return self.leaf(node, place);
        }
        let upper = node.open(sys::O_RDONLY | sys::O_DIRECTORY)?;
        let path = &[place.path, b"/"].concat();
        let image = place.below.filter(|below| below.is(S_IFDIR));
        let mark = sys::get_xattr(&Subject::Open(upper.as_raw_fd()), &c(OPAQUE)?)?;
        let now = if image.is_some() && mark.as_deref() != Some(b"y") { State::Merged } else { State::Solid };
        let earlier = match place.record {
            Some(record) => Some(record.state),
            None => image.map(|_| State::Merged),
        };
        let hides = now == State::Solid && earlier == Some(State::Merged);
        if hides {
            self.old.skip_below(place.depth);
        } else if now == State::Merged && earlier != Some(State::Merged) {
            return Err(damaged());
        }
        let lower = image.filter(|_| now == State::Merged);
        let record = place.record.filter(|_| !hides);
        self.folder(node, &upper, &Place { path, below: lower, record, ..*place }, (now, hides))?;
        let lower = lower.map(|below| below.open(sys::O_RDONLY | sys::O_DIRECTORY)).transpose()?;
        self.children(&upper, lower.as_ref(), path, place.depth + 1)?;
        self.pending.pop();
        Ok(())
    }

    /// Queues a folder's header, which is sent before its contents: at once if the folder itself differs, otherwise with the
    /// first change below it. `opaque`: it hides a folder that was there before.
    fn folder(&mut self, node: &Node, open: &OwnedFd, place: &Place, (now, opaque): (State, bool)) -> Result<()> {
        let mut xattrs = xattrs_of(&Subject::Open(open.as_raw_fd()), &mut self.buffer)?;
        let meta = self.digests.map_or(0, |digests| digests.of_folder(node, &xattrs));
        let same = match (place.record, place.below) {
            (Some(record), _) => matches!(record.state, State::Merged | State::Solid) && record.meta == meta,
            (None, Some(below)) => same_owner(node, below) && xattrs == xattrs_of(&below.subject()?, &mut self.buffer)?,
            (None, None) => self.is_placeholder(place.path),
        };
        self.note(node, place, Record { state: now, meta, ..NOTHING })?;
        if opaque {
            xattrs.push((OPAQUE.to_vec(), b"y".to_vec()));
        }
        let mut header = Vec::new();
        tar::append_header(&mut header, &Entry { xattrs: &xattrs, ..entry(node, place.path, Kind::Directory) });
        self.pending.push(header);
        if same {
            Ok(())
        } else {
            self.begin_entry()
        }
    }

    /// Adds a record of what is sent now or was before.
    fn note(&mut self, node: &Node, place: &Place, record: Record) -> Result<()> {
        if self.digests.is_none() {
            return Ok(());
        }
        let name = if place.depth == 0 { &b""[..] } else { node.name.to_bytes() };
        self.new.add(&Record { depth: place.depth, name, ..record })
    }

    /// Sends the queued headers of the folders above the entry.
    fn begin_entry(&mut self) -> Result<()> {
        for header in std::mem::take(&mut self.pending) {
            self.entries += 1;
            self.sink.put(&header)?;
        }
        Ok(())
    }

    fn is_placeholder(&self, path: &[u8]) -> bool {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        self.placeholders.iter().any(|placeholder| placeholder.as_bytes().strip_prefix(b"/") == Some(path))
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        self.begin_entry()?;
        self.entries += 1;
        tar::append_header(self.sink.room()?, &Entry { path, kind: Kind::Character, mode: 0, ..tar::PLAIN });
        Ok(())
    }

    fn leaf(&mut self, node: &Node, place: &Place) -> Result<()> {
        let path = place.path;
        let record = place.record;
        if node.is(S_IFREG) && node.stat.size == 0 && record.is_none() && self.is_placeholder(path) {
            return Ok(());
        }
        let group = self.groups.get(&node.stat.ino).copied().filter(|_| node.stat.nlink > 1).unwrap_or(0);
        let known = record.filter(|record| record.state == State::Leaf && record.group == group);
        let linked = node.stat.nlink > 1;
        // Before the comparison: even a file that is as it was in the image may have become a name of another one.
        if let Some(Linked { first, sent }) = self.links.get(&node.stat.ino).filter(|_| linked).cloned() {
            self.note(node, place, Record { state: State::Leaf, group, ..NOTHING })?;
            return if known.is_some() && !sent { Ok(()) } else { self.link(node, path, &first) };
        }
        let sent = self.unlinked_leaf(node, place, known, group)?;
        if linked {
            self.links.insert(node.stat.ino, Linked { first: path.to_vec(), sent });
        }
        Ok(())
    }

    fn link(&mut self, node: &Node, path: &[u8], first: &[u8]) -> Result<()> {
        self.begin_entry()?;
        self.entries += 1;
        tar::append_header(self.sink.room()?, &Entry { link: first, size: 0, ..entry(node, path, Kind::HardLink) });
        Ok(())
    }

    /// Sends a file unless it is the same as before. Returns whether it was sent.
    fn unlinked_leaf(&mut self, node: &Node, place: &Place, known: Option<Record>, group: u64) -> Result<bool> {
        let stamp = self.digests.map_or(0, |digests| digests.stamp(node));
        if let Some(record) = known.filter(|record| stamp != 0 && record.stamp == stamp) {
            self.note(node, place, record)?;
            return Ok(false);
        }
        let target = if node.is(S_IFLNK) { sys::read_link(node.dir, &node.name)? } else { Vec::new() };
        let file = if node.is(S_IFREG) { Some(node.open(sys::O_RDONLY)?) } else { None };
        let subject = file.as_ref().map_or_else(|| node.subject(), |file| Ok(Subject::Open(file.as_raw_fd())))?;
        let xattrs = xattrs_of(&subject, &mut self.buffer)?;
        let meta = self.digests.map_or(0, |digests| digests.of_leaf(node, &target, &xattrs));
        if let Some(record) = known.filter(|record| record.meta == meta) {
            let content = self.content(node, false)?;
            if content == record.content {
                self.note(node, place, Record { stamp, ..record })?;
                return Ok(false);
            }
        }
        if let (None, Some(below)) = (place.record, place.below) {
            let same = same_leaf(node, below, &target)? && xattrs == xattrs_of(&below.subject()?, &mut self.buffer)?;
            if same && same_content(node, below)? {
                return Ok(false);
            }
        }
        self.begin_entry()?;
        self.entries += 1;
        let header = Entry { link: &target, xattrs: &xattrs, ..entry(node, place.path, kind_of(node)) };
        tar::append_header(self.sink.room()?, &header);
        let content = match file {
            Some(file) if self.digests.is_none() => self.sink.put_file(&file, node.stat.size).map(|()| 0),
            Some(_) => self.content(node, true),
            None => Ok(0),
        }?;
        self.note(node, place, Record { state: State::Leaf, meta, content, stamp, group, ..NOTHING })?;
        Ok(true)
    }

    /// Returns the digest of a file's content, 0 for anything else, and sends the content if asked to.
    fn content(&mut self, node: &Node, send: bool) -> Result<u64> {
        let digests = match self.digests.filter(|_| node.is(S_IFREG)) {
            Some(digests) => digests,
            None => return Ok(0),
        };
        let file = node.open(sys::O_RDONLY)?;
        let (mut content, mut rest) = (digests.begin(), node.stat.size);
        while rest > 0 {
            let room = self.buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            let length = fill(&file, &mut self.buffer[..room])?;
            if length < room {
                return Err(Error::new(ErrorKind::UnexpectedEof, "a file shrank while it was read"));
            }
            content.write(&self.buffer[..length]);
            if send {
                self.sink.put(&self.buffer[..length])?;
            } else {
                self.sink.check()?;
            }
            rest -= length as u64;
        }
        if send {
            tar::pad(self.sink.room()?, node.stat.size);
        }
        Ok(content.finish())
    }
}
