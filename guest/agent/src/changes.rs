//! Phase 4: the changes of the run as a tar of the overlay's upper directory, less what is the same in the image below it.
//! Removed names are devices 0/0 and opaque folders have an extended attribute, as in the overlay, because a run may give
//! a file any name: the `.wh.` names of OCI layers are ordinary here.

use crate::boot::{Machine, UPPER};
use crate::channel::Channel;
use crate::message;
use crate::setup;
use crate::sink::Sink;
use crate::sys::{self, c, Statx, Subject};
use crate::tar::{self, Entry, Kind};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

const S_IFMT: u16 = 0o170000;
const S_IFSOCK: u16 = 0o140000;
const S_IFLNK: u16 = 0o120000;
const S_IFREG: u16 = 0o100000;
const S_IFBLK: u16 = 0o060000;
const S_IFDIR: u16 = 0o040000;
const S_IFCHR: u16 = 0o020000;

/// Extended attribute of a folder that hides everything below it.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// Sends CHANGES_DATA as credit allows, then CHANGES_END. No process may write to the disk any more.
pub fn send(base: &str, machine: &Machine, placeholders: &[String], channel: &mut Channel) -> Result<()> {
    let mut walk = Walk {
        sink: Sink::new(channel),
        placeholders,
        links: HashMap::new(),
        pending: Vec::new(),
        entries: 0,
        buffer: vec![0; 64 * 1024],
    };
    let upper = sys::open_path(UPPER, sys::O_RDONLY | sys::O_DIRECTORY)?;
    let lower = sys::open_path(base, sys::O_RDONLY | sys::O_DIRECTORY)?;
    walk.root(&upper, &lower)?;
    if walk.entries > 0 {
        tar::append_end(walk.sink.room()?);
    }
    if let Some(hardware) = &machine.hardware {
        if setup::read_line(&hardware.disk_errors)? != "0" {
            return Err(Error::new(ErrorKind::InvalidData, "the run damaged its own disk"));
        }
    }
    let entries = walk.entries;
    let bytes = walk.sink.finish()?;
    message::encode_changes_end(channel.out(), bytes, entries, setup::disk_full());
    channel.flush_all()
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

/// A directory entry and its metadata; symbolic links are not followed.
struct Node {
    dir: RawFd,
    name: CString,
    stat: Statx,
}

impl Node {
    fn at(dir: RawFd, name: &CStr) -> Result<Node> {
        Ok(Node { dir, name: name.to_owned(), stat: sys::stat_at(dir, name)? })
    }

    /// Returns None when there is no entry of that name.
    fn find(dir: RawFd, name: &CStr) -> Result<Option<Node>> {
        match Node::at(dir, name) {
            Ok(node) => Ok(Some(node)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is(&self, kind: u16) -> bool {
        self.stat.mode & S_IFMT == kind
    }

    fn is_whiteout(&self) -> bool {
        self.is(S_IFCHR) && self.stat.rdev_major == 0 && self.stat.rdev_minor == 0
    }

    fn open(&self, flags: i32) -> Result<OwnedFd> {
        sys::open_at(self.dir, &self.name, flags | sys::O_NOFOLLOW)
    }

    /// Returns the path for system calls that take no directory descriptor.
    fn subject(&self) -> Result<Subject> {
        let path = [format!("/proc/self/fd/{}/", self.dir).as_bytes(), self.name.to_bytes()].concat();
        Ok(Subject::At(c(&path)?))
    }
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Returns the extended attributes in order of name, except the overlay's own. `names` is a buffer for their list.
fn xattrs_of(subject: &Subject, names: &mut [u8]) -> Result<Xattrs> {
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

struct Walk<'a, 'b> {
    sink: Sink<'a>,
    placeholders: &'b [String],
    /// Inode with several names → its first path, under which it was sent, or is in the image unchanged.
    links: HashMap<u64, Vec<u8>>,
    /// Headers of folders that are sent before the first change below them.
    pending: Vec<Vec<u8>>,
    entries: u64,
    /// Buffer for the names of a folder's entries or of extended attributes.
    buffer: Vec<u8>,
}

impl Walk<'_, '_> {
    fn root(&mut self, upper: &OwnedFd, lower: &OwnedFd) -> Result<()> {
        let (node, below) = (Node::at(upper.as_raw_fd(), &c(b".")?)?, Node::at(lower.as_raw_fd(), &c(b".")?)?);
        self.folder(&node, upper, Some(&below), b"./", false)?;
        self.children(upper, Some(lower), b"")?;
        self.pending.pop();
        Ok(())
    }

    fn children(&mut self, upper: &OwnedFd, lower: Option<&OwnedFd>, path: &[u8]) -> Result<()> {
        for name in self.names(upper)? {
            let node = Node::at(upper.as_raw_fd(), &name)?;
            let below = match lower {
                Some(lower) => Node::find(lower.as_raw_fd(), &name)?,
                None => None,
            };
            self.child(&node, below.as_ref(), &[path, name.to_bytes()].concat())?;
        }
        Ok(())
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

    fn child(&mut self, node: &Node, below: Option<&Node>, path: &[u8]) -> Result<()> {
        if node.is_whiteout() || node.is(S_IFSOCK) {
            // A tar cannot hold sockets, but what the socket replaced is removed nevertheless.
            return below.map_or(Ok(()), |_| self.whiteout(path));
        }
        if !node.is(S_IFDIR) {
            return self.leaf(node, below, path);
        }
        let upper = node.open(sys::O_RDONLY | sys::O_DIRECTORY)?;
        let path = &[path, b"/"].concat();
        let mut below = below.filter(|below| below.is(S_IFDIR));
        let mark = sys::get_xattr(&Subject::Open(upper.as_raw_fd()), &c(OPAQUE)?)?;
        let hides = below.is_some() && mark.as_deref() == Some(b"y");
        if hides {
            below = None;
        }
        let lower = below.map(|below| below.open(sys::O_RDONLY | sys::O_DIRECTORY)).transpose()?;
        self.folder(node, &upper, below, path, hides)?;
        self.children(&upper, lower.as_ref(), path)?;
        self.pending.pop();
        Ok(())
    }

    /// Queues a folder's header, which is sent before its contents: at once if the folder itself differs, otherwise with the
    /// first change below it.
    fn folder(
        &mut self,
        node: &Node,
        open: &OwnedFd,
        below: Option<&Node>,
        path: &[u8],
        opaque: bool,
    ) -> Result<()> {
        let mut xattrs = xattrs_of(&Subject::Open(open.as_raw_fd()), &mut self.buffer)?;
        let same = match below {
            Some(below) => same_owner(node, below) && xattrs == xattrs_of(&below.subject()?, &mut self.buffer)?,
            None => self.is_placeholder(path),
        };
        if opaque {
            xattrs.push((OPAQUE.to_vec(), b"y".to_vec()));
        }
        let mut header = Vec::new();
        tar::append_header(&mut header, &Entry { xattrs: &xattrs, ..entry(node, path, Kind::Directory) });
        self.pending.push(header);
        if same {
            Ok(())
        } else {
            self.begin_entry()
        }
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

    fn leaf(&mut self, node: &Node, below: Option<&Node>, path: &[u8]) -> Result<()> {
        if node.is(S_IFREG) && node.stat.size == 0 && self.is_placeholder(path) {
            return Ok(());
        }
        let linked = node.stat.nlink > 1;
        // Before the comparison: even a file that is as it was in the image may have become a name of another one.
        if let Some(first) = self.links.get(&node.stat.ino).filter(|_| linked).cloned() {
            let link = Entry { link: &first, size: 0, ..entry(node, path, Kind::HardLink) };
            self.begin_entry()?;
            self.entries += 1;
            tar::append_header(self.sink.room()?, &link);
            return Ok(());
        }
        if linked {
            self.links.insert(node.stat.ino, path.to_vec());
        }
        let target = if node.is(S_IFLNK) { sys::read_link(node.dir, &node.name)? } else { Vec::new() };
        let file = if node.is(S_IFREG) { Some(node.open(sys::O_RDONLY)?) } else { None };
        let subject = file.as_ref().map_or_else(|| node.subject(), |file| Ok(Subject::Open(file.as_raw_fd())))?;
        let xattrs = xattrs_of(&subject, &mut self.buffer)?;
        if let Some(below) = below {
            let same = same_leaf(node, below, &target)? && xattrs == xattrs_of(&below.subject()?, &mut self.buffer)?;
            if same && same_content(node, below)? {
                return Ok(());
            }
        }
        self.begin_entry()?;
        self.entries += 1;
        let kind = match node.stat.mode & S_IFMT {
            S_IFREG => Kind::File,
            S_IFLNK => Kind::Symlink,
            S_IFCHR => Kind::Character,
            S_IFBLK => Kind::Block,
            _ => Kind::Fifo,
        };
        tar::append_header(self.sink.room()?, &Entry { link: &target, xattrs: &xattrs, ..entry(node, path, kind) });
        file.map_or(Ok(()), |file| self.sink.put_file(&file, node.stat.size))
    }
}

fn entry<'a>(node: &Node, path: &'a [u8], kind: Kind) -> Entry<'a> {
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

fn same_owner(a: &Node, b: &Node) -> bool {
    (a.stat.mode, a.stat.uid, a.stat.gid) == (b.stat.mode, b.stat.uid, b.stat.gid)
}

/// Compares everything but extended attributes and content. Opening a file for writing copies it up, which is not a change.
fn same_leaf(node: &Node, below: &Node, target: &[u8]) -> Result<bool> {
    let (a, b) = (&node.stat, &below.stat);
    let same = same_owner(node, below)
        && (a.mtime.sec, a.mtime.nsec) == (b.mtime.sec, b.mtime.nsec)
        && (a.rdev_major, a.rdev_minor) == (b.rdev_major, b.rdev_minor)
        && (a.size == b.size || !node.is(S_IFREG));
    Ok(same && (!node.is(S_IFLNK) || sys::read_link(below.dir, &below.name)? == target))
}

fn same_content(node: &Node, below: &Node) -> Result<bool> {
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

fn fill(fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match sys::read_fd(fd.as_raw_fd(), &mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
