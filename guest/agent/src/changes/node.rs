//! Files of the upper directory and of the image, and how two of them are compared.

use super::tar::{Entry, Kind};
use crate::sys::{self, c, Statx, Subject};
use std::ffi::{CStr, CString};
use std::io::{ErrorKind, Result};
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

pub const S_IFMT: u16 = 0o170000;
pub const S_IFSOCK: u16 = 0o140000;
pub const S_IFLNK: u16 = 0o120000;
pub const S_IFREG: u16 = 0o100000;
pub const S_IFBLK: u16 = 0o060000;
pub const S_IFDIR: u16 = 0o040000;
pub const S_IFCHR: u16 = 0o020000;

/// A directory entry and its metadata; symbolic links are not followed.
pub struct Node {
    pub dir: RawFd,
    pub name: CString,
    pub stat: Statx,
}

impl Node {
    pub fn at(dir: RawFd, name: &CStr) -> Result<Node> {
        Ok(Node { dir, name: name.to_owned(), stat: sys::stat_at(dir, name)? })
    }

    /// Returns None when there is no entry of that name.
    pub fn find(dir: RawFd, name: &CStr) -> Result<Option<Node>> {
        match Node::at(dir, name) {
            Ok(node) => Ok(Some(node)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn is(&self, kind: u16) -> bool {
        self.stat.mode & S_IFMT == kind
    }

    pub fn is_whiteout(&self) -> bool {
        self.is(S_IFCHR) && self.stat.rdev_major == 0 && self.stat.rdev_minor == 0
    }

    pub fn open(&self, flags: i32) -> Result<OwnedFd> {
        sys::open_at(self.dir, &self.name, flags | sys::O_NOFOLLOW)
    }

    /// Returns the path for system calls that take no directory descriptor.
    pub fn subject(&self) -> Result<Subject> {
        let path = [format!("/proc/self/fd/{}/", self.dir).as_bytes(), self.name.to_bytes()].concat();
        Ok(Subject::At(c(&path)?))
    }
}

pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Returns the extended attributes in order of name, except the overlay's own. `names` is a buffer for their list.
pub fn xattrs_of(subject: &Subject, names: &mut [u8]) -> Result<Xattrs> {
    let length = sys::list_xattrs(subject, names)?;
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if !name.starts_with(b"trusted.overlay.") {
            found.push((name.to_vec(), sys::get_xattr(subject, &c(name)?)?.unwrap_or_default()));
        }
    }
    found.sort();
    Ok(found)
}

pub fn entry<'a>(node: &Node, path: &'a [u8], kind: Kind) -> Entry<'a> {
    let stat = &node.stat;
    let size = if kind == Kind::File { stat.size } else { 0 };
    let device = if node.is(S_IFCHR) || node.is(S_IFBLK) { (stat.rdev_major, stat.rdev_minor) } else { (0, 0) };
    let mtime = (stat.mtime.sec, stat.mtime.nsec);
    Entry {
        path,
        kind,
        mode: u32::from(stat.mode),
        uid: stat.uid,
        gid: stat.gid,
        size,
        mtime,
        link: b"",
        device,
        xattrs: &[],
    }
}

pub fn kind_of(node: &Node) -> Kind {
    match node.stat.mode & S_IFMT {
        S_IFREG => Kind::File,
        S_IFLNK => Kind::Symlink,
        S_IFCHR => Kind::Character,
        S_IFBLK => Kind::Block,
        _ => Kind::Fifo,
    }
}

pub fn same_owner(a: &Node, b: &Node) -> bool {
    (a.stat.mode, a.stat.uid, a.stat.gid) == (b.stat.mode, b.stat.uid, b.stat.gid)
}

/// Compares everything but extended attributes and content. Opening a file for writing copies it up, which is not a change.
pub fn same_leaf(node: &Node, below: &Node, target: &[u8]) -> Result<bool> {
    let (a, b) = (&node.stat, &below.stat);
    let same = same_owner(node, below)
        && (a.mtime.sec, a.mtime.nsec) == (b.mtime.sec, b.mtime.nsec)
        && (a.rdev_major, a.rdev_minor) == (b.rdev_major, b.rdev_minor)
        && (a.size == b.size || !node.is(S_IFREG));
    Ok(same && (!node.is(S_IFLNK) || sys::read_link(below.dir, &below.name)? == target))
}

pub fn same_content(node: &Node, below: &Node) -> Result<bool> {
    if !node.is(S_IFREG) {
        return Ok(true);
    }
    let (a, b) = (node.open(sys::O_RDONLY)?, below.open(sys::O_RDONLY)?);
    let (mut left, mut right) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let (read, other) = (fill(&a, &mut left)?, fill(&b, &mut right)?);
        if left[..read] != right[..other] {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

pub fn fill(fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match sys::read_fd(fd.as_raw_fd(), &mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
